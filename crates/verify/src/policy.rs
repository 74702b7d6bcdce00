//! What a resource server expects of a token.

use std::time::Duration;

use edgepass_jose::Algorithm;
use serde::{Deserialize, Serialize};

use crate::duration::DurationText;
use crate::freshness::{DeadlineUnmet, FreshnessConfig, Schedule};

/// A policy as written. `issuer` and `audience` are required; everything else has a default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// The issuer identifier; `iss` must equal it exactly.
    pub issuer: String,
    /// This resource server's identifiers; `aud` must contain one of them.
    pub audience: OneOrMany,
    /// Allowed `alg` values. Default: Ed25519 (and its alias `EdDSA`), ES256, RS256. An empty list
    /// allows nothing.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// The media type expected in `typ`. Default `"at+jwt"` (RFC 9068); `null` accepts any.
    #[serde(default = "default_typ")]
    pub typ: Option<String>,
    /// Clock skew absorbed on `exp`, `nbf` and `iat` alike. Default `"10s"`, at most `"5m"`.
    #[serde(default = "default_leeway")]
    pub leeway: DurationText,
    /// The longest `exp - iat` accepted. Default `"24h"`.
    #[serde(default = "default_max_lifetime")]
    pub max_lifetime: DurationText,
    /// The longest token read, in bytes. Default 16384.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
    /// Where status comes from.
    #[serde(default)]
    pub status: StatusConfig,
    /// How long held copies may be used.
    #[serde(default)]
    pub freshness: FreshnessConfig,
}

/// One string or several.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several; must not be empty.
    Many(Vec<String>),
}

/// Status checking as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// Default `required`.
    pub mode: StatusMode,
    /// Where status lists may lie; each ends in `/`. Default: below the issuer identifier.
    pub uri_prefixes: Option<Vec<String>>,
    /// The largest list, inflated, in bytes. Default 1048576: 8 million one-bit statuses.
    pub max_list_bytes: usize,
    /// The largest response read for any document, in bytes. Default 1048576.
    pub max_response_bytes: usize,
}

/// Whether a token's status is looked up.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusMode {
    /// A token without `status` is refused.
    #[default]
    Required,
    /// A token without `status` has nothing to check.
    WhenPresent,
    /// Status is not checked: a revoked token passes until it expires.
    Ignore,
}

/// A policy that cannot be wrong: made only from a [`PolicyConfig`].
#[derive(Clone, Debug)]
pub struct Policy {
    /// See [`PolicyConfig::issuer`].
    pub issuer: String,
    /// See [`PolicyConfig::audience`].
    pub audience: Vec<String>,
    /// Allowed algorithms.
    pub algorithms: Vec<Algorithm>,
    /// See [`PolicyConfig::typ`].
    pub typ: ExpectedType,
    /// Whole seconds.
    pub leeway: u64,
    /// Whole seconds.
    pub max_lifetime: u64,
    /// See [`PolicyConfig::max_token_bytes`].
    pub max_token_bytes: usize,
    /// See [`StatusConfig::mode`].
    pub status_mode: StatusMode,
    /// See [`StatusConfig::uri_prefixes`].
    pub status_uri_prefixes: Vec<String>,
    /// See [`StatusConfig::max_list_bytes`].
    pub max_list_bytes: usize,
    /// See [`StatusConfig::max_response_bytes`].
    pub max_response_bytes: usize,
    /// The freshness rules.
    pub schedule: Schedule,
}

/// What `typ` must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExpectedType {
    /// This media subtype, `application/` optional, without case.
    Exactly(String),
    /// Anything, or nothing.
    Any,
}

/// Why a [`PolicyConfig`] is not a policy.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// `issuer` is no https URL.
    #[error("issuer must be an https URL (http only on loopback), without query or fragment")]
    IssuerInvalid,
    /// `audience` is empty.
    #[error("audience must name at least one identifier of this resource server")]
    AudienceEmpty,
    /// `algorithms` names one this version does not know.
    #[error("algorithms may hold EdDSA, Ed25519, ES256 and RS256")]
    AlgorithmUnknown,
    /// `leeway` is above [`MAX_LEEWAY`].
    #[error("leeway is at most \"5m\"")]
    LeewayTooLong,
    /// A prefix is no https URL ending in `/`.
    #[error("status.uri_prefixes must be https URLs that end in \"/\"")]
    PrefixInvalid,
    /// The JWK Set's URL is no https URL.
    #[error("the JWK Set's URL must be https (http only on loopback)")]
    JwksUriInvalid,
    /// See [`DeadlineUnmet`].
    #[error(transparent)]
    Deadline(#[from] DeadlineUnmet),
}

/// The most leeway that may be configured; status lists are kept as long after their last token.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

impl TryFrom<PolicyConfig> for Policy {
    type Error = PolicyError;

    fn try_from(config: PolicyConfig) -> Result<Self, PolicyError> {
        if !is_acceptable_url(&config.issuer) || config.issuer.contains(['?', '#']) {
            return Err(PolicyError::IssuerInvalid);
        }
        let audience = match config.audience {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        };
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(PolicyError::AudienceEmpty);
        }
        if config.leeway.0 > MAX_LEEWAY {
            return Err(PolicyError::LeewayTooLong);
        }
        let algorithms = config
            .algorithms
            .iter()
            .map(|name| Algorithm::from_name(name).ok_or(PolicyError::AlgorithmUnknown))
            .collect::<Result<_, _>>()?;
        let status_uri_prefixes = config
            .status
            .uri_prefixes
            .unwrap_or_else(|| vec![format!("{}/", config.issuer.trim_end_matches('/'))]);
        if !status_uri_prefixes.iter().all(|url| is_acceptable_url(url) && url.ends_with('/')) {
            return Err(PolicyError::PrefixInvalid);
        }
        Ok(Self {
            schedule: config.freshness.check()?,
            issuer: config.issuer,
            audience,
            algorithms,
            typ: config.typ.map_or(ExpectedType::Any, ExpectedType::Exactly),
            leeway: config.leeway.0.as_secs(),
            max_lifetime: config.max_lifetime.0.as_secs(),
            max_token_bytes: config.max_token_bytes,
            status_mode: config.status.mode,
            status_uri_prefixes,
            max_list_bytes: config.status.max_list_bytes,
            max_response_bytes: config.status.max_response_bytes,
        })
    }
}

impl Policy {
    /// Whether a status list may be fetched from `uri`: below a configured prefix, and with no
    /// spelling that a URL parser could resolve to somewhere else.
    pub fn allows_status_uri(&self, uri: &str) -> bool {
        let lower = uri.to_ascii_lowercase();
        uri.len() <= MAX_STATUS_URI_BYTES
            && uri.bytes().all(|byte| byte.is_ascii_graphic())
            && !["/.", "\\", "#", "%2e", "%2f", "%5c"].iter().any(|part| lower.contains(part))
            && self.status_uri_prefixes.iter().any(|prefix| uri.starts_with(prefix.as_str()))
    }
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            mode: StatusMode::Required,
            uri_prefixes: None,
            max_list_bytes: 1 << 20,
            max_response_bytes: 1 << 20,
        }
    }
}

/// https, or http to the machine itself; no user information, no back slash, a port of digits.
pub(crate) fn is_acceptable_url(url: &str) -> bool {
    let (rest, loopback_only) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && !authority.contains('@')
        && !host.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit());
    plain && (!loopback_only || ["127.0.0.1", "localhost", "[::1]"].contains(&host))
}

const MAX_STATUS_URI_BYTES: usize = 2048;

fn default_algorithms() -> Vec<String> {
    ["EdDSA", "ES256", "RS256"].map(str::to_owned).to_vec()
}

fn default_typ() -> Option<String> {
    Some("at+jwt".into())
}

fn default_leeway() -> DurationText {
    DurationText(Duration::from_secs(10))
}

fn default_max_lifetime() -> DurationText {
    DurationText(Duration::from_secs(24 * 60 * 60))
}

fn default_max_token_bytes() -> usize {
    16 * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(extra: serde_json::Value) -> Result<Policy, PolicyError> {
        let mut config = json!({"issuer": "https://issuer.example", "audience": "api"});
        for (name, value) in extra.as_object().unwrap() {
            config[name] = value.clone();
        }
        serde_json::from_value::<PolicyConfig>(config).unwrap().try_into()
    }

    #[test]
    fn every_cross_field_rule_has_its_own_error() {
        for (extra, expected) in [
            (json!({"issuer": "http://issuer.example"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "https://issuer.example?x"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "https://"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "https://a@b"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "http://127.0.0.1.evil.example"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "http://127.0.0.1:80@evil.example"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "http://localhost:@evil.example/x"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "https://a\\\\b"}), PolicyError::IssuerInvalid),
            (json!({"issuer": "https://a:b"}), PolicyError::IssuerInvalid),
            (json!({"audience": []}), PolicyError::AudienceEmpty),
            (json!({"audience": ""}), PolicyError::AudienceEmpty),
            (json!({"algorithms": ["HS256"]}), PolicyError::AlgorithmUnknown),
            (json!({"leeway": "6m"}), PolicyError::LeewayTooLong),
            (
                json!({"status": {"uri_prefixes": ["https://x.example"]}}),
                PolicyError::PrefixInvalid,
            ),
        ] {
            assert_eq!(policy(extra.clone()).err(), Some(expected), "{extra}");
        }
        let slow = policy(json!({"freshness": {"deadline": "5s"}}));
        assert!(matches!(slow, Err(PolicyError::Deadline(_))));
        for issuer in ["http://127.0.0.1:8080", "http://localhost", "http://[::1]:1/x"] {
            assert!(policy(json!({"issuer": issuer})).is_ok(), "{issuer}");
        }
    }

    #[test]
    fn an_unknown_field_or_a_bare_number_is_refused() {
        for text in [
            r#"{"issuer":"https://i.example","audience":"a","leway":"1s"}"#,
            r#"{"issuer":"https://i.example","audience":"a","leeway":10}"#,
            r#"{"audience":"a"}"#,
            r#"{"issuer":"https://i.example"}"#,
        ] {
            assert!(serde_json::from_str::<PolicyConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn status_uris_cannot_leave_their_prefix() {
        let policy = policy(json!({})).unwrap();
        assert!(policy.allows_status_uri("https://issuer.example/status-lists/1"));
        for uri in [
            "https://issuer.example.evil/1",
            "https://issuer.example",
            "https://issuer.example/../x",
            "https://issuer.example/%2E%2e/x",
            "https://issuer.example/a\\b",
            "https://issuer.example/a#b",
            "https://issuer.example/a b",
            "https://issuer.example/ä",
            "http://issuer.example/1",
            "HTTPS://issuer.example/1",
            "http://169.254.169.254/",
        ] {
            assert!(!policy.allows_status_uri(uri), "{uri}");
        }
    }
}
