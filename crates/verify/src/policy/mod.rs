//! What a resource server expects of a token.

mod config;
pub mod duration;
pub mod freshness;
pub mod json;
#[cfg(test)]
mod tests;

use std::time::Duration;

use edgepass_jose::{Algorithm, CompactJws};

pub use self::config::{DpopConfig, OneOrMany, PolicyConfig, Profile, StatusConfig, StatusMode};
use crate::documents::status_list_token::ListRules;
use crate::error::ClaimName;
use crate::policy::freshness::{DEFAULT_MAX_LIST_AGE, DeadlineUnmet, ListAgeTooShort, Schedule};
use crate::url;

/// A policy that cannot be wrong: made only from a [`PolicyConfig`].
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) issuer: String,
    pub(crate) audience: Vec<String>,
    pub(crate) audience_claim: ClaimName,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) typ: ExpectedType,
    pub(crate) required_claims: Vec<ClaimName>,
    pub(crate) expected_claims: Vec<(ClaimName, Vec<String>)>,
    pub(crate) scope: ScopeClaim,
    /// Whole seconds.
    pub(crate) leeway: u64,
    /// Whole seconds.
    pub(crate) max_lifetime: u64,
    pub(crate) max_token_bytes: usize,
    pub(crate) dpop: DpopRules,
    pub(crate) status_mode: StatusMode,
    pub(crate) status_uri_prefixes: Vec<String>,
    pub(crate) max_list_bytes: usize,
    pub(crate) max_response_bytes: usize,
    pub(crate) schedule: Schedule,
    /// How old the signed `iat` of a list may be, in whole seconds.
    pub(crate) max_list_age: Option<u64>,
}

/// One of the issuers that a verifier trusts, by the place of its policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IssuerIndex(pub(crate) usize);

/// What `typ` must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ExpectedType {
    /// This media subtype, `application/` optional, without case.
    Exactly(String),
    /// Anything, or nothing.
    Any,
}

/// Where the scope is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ScopeClaim {
    pub(crate) name: ClaimName,
    /// Whether an array of scope tokens is accepted beside a string.
    pub(crate) may_be_array: bool,
}

/// How DPoP proofs are judged.
#[derive(Clone, Debug)]
pub(crate) struct DpopRules {
    pub(crate) algorithms: Vec<Algorithm>,
    /// Whole seconds.
    pub(crate) max_age: u64,
}

/// Why a [`PolicyConfig`] is not a policy.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// `issuer` is empty, or is no https URL where its metadata or lists are to be found by it.
    #[error(
        "issuer must be an https URL (http only on loopback), without query or fragment; another \
         form needs a JWK Set of its own"
    )]
    IssuerInvalid,
    /// Two policies name one issuer.
    #[error("every issuer has one policy")]
    IssuerTwice,
    /// There is no policy, or there are more than [`MAX_ISSUERS`].
    #[error("a verifier has 1 to {MAX_ISSUERS} issuers")]
    IssuerCount,
    /// `audience` is empty.
    #[error("audience must name at least one identifier of this resource server")]
    AudienceEmpty,
    /// `algorithms` names one this version does not know.
    #[error(
        "algorithms may hold EdDSA, Ed25519, ES256, ES384, RS256, RS384, RS512, PS256, PS384 and \
         PS512"
    )]
    AlgorithmUnknown,
    /// A field that profile `rfc9068` fixes.
    #[error("{0} is fixed by profile rfc9068; for other tokens write profile = \"jwt\"")]
    FixedByProfile(&'static str),
    /// A field that profile `jwt` has no default for.
    #[error("profile jwt needs {0}: name what is expected")]
    Unstated(&'static str),
    /// `typ` is empty.
    #[error("typ is a media type such as \"at+jwt\", or null for any")]
    TypeEmpty,
    /// An expected claim with no value that would be accepted.
    #[error("expected_claims: name at least one value for every claim")]
    ExpectedClaimEmpty,
    /// The name of a claim holds more than visible ASCII.
    #[error("names of claims are visible ASCII without quotes and back slashes")]
    ClaimNameInvalid,
    /// `leeway` is above [`MAX_LEEWAY`].
    #[error("leeway is at most \"5m\"")]
    LeewayTooLong,
    /// `max_token_bytes` is above [`MAX_TOKEN_BYTES`].
    #[error("max_token_bytes is at most {MAX_TOKEN_BYTES}")]
    TokenTooLong,
    /// A prefix is no https URL.
    #[error("status.uri_prefixes must be https URLs (http only on loopback)")]
    PrefixInvalid,
    /// The JWK Set's URL is no https URL.
    #[error("the JWK Set's URL must be https (http only on loopback)")]
    JwksUriInvalid,
    /// See [`DeadlineUnmet`].
    #[error(transparent)]
    Deadline(#[from] DeadlineUnmet),
    /// See [`ListAgeTooShort`].
    #[error(transparent)]
    ListAge(#[from] ListAgeTooShort),
}

/// The most issuers one verifier trusts.
pub const MAX_ISSUERS: usize = 64;
/// The longest token that a policy may let in, in bytes: a buffer of that size is kept.
pub const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// The most leeway that may be configured; status lists are kept as long after their last token.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

impl TryFrom<PolicyConfig> for Policy {
    type Error = PolicyError;

    fn try_from(config: PolicyConfig) -> Result<Self, PolicyError> {
        if config.issuer.is_empty() {
            return Err(PolicyError::IssuerInvalid);
        }
        if config.leeway.0 > MAX_LEEWAY {
            return Err(PolicyError::LeewayTooLong);
        }
        if config.max_token_bytes > MAX_TOKEN_BYTES {
            return Err(PolicyError::TokenTooLong);
        }
        if config.typ.as_ref().is_some_and(|typ| typ.as_deref() == Some("")) {
            return Err(PolicyError::TypeEmpty);
        }
        let shape = Shape::of(&config)?;
        let audience = config.audience.into_vec();
        if audience.is_empty() || audience.iter().any(String::is_empty) {
            return Err(PolicyError::AudienceEmpty);
        }
        let expected = config.expected_claims.into_iter();
        let expected_claims: Vec<(ClaimName, Vec<String>)> =
            expected.map(|(name, values)| (name.into(), values.into_vec())).collect();
        if expected_claims.iter().any(|(_, values)| values.is_empty()) {
            return Err(PolicyError::ExpectedClaimEmpty);
        }
        let names =
            shape.required_claims.iter().chain(expected_claims.iter().map(|(name, _)| name));
        let names = names.chain([&shape.audience_claim, &shape.scope.name]);
        if !names.into_iter().all(|name| is_claim_name(name)) {
            return Err(PolicyError::ClaimNameInvalid);
        }
        let status_uri_prefixes = match config.status.uri_prefixes {
            Some(prefixes) => prefixes,
            None if is_issuer_url(&config.issuer) => {
                vec![format!("{}/", config.issuer.trim_end_matches('/'))]
            }
            None => Vec::new(),
        };
        if !status_uri_prefixes.iter().all(|prefix| url::is_acceptable(prefix)) {
            return Err(PolicyError::PrefixInvalid);
        }
        let schedule = config.freshness.check()?;
        // Our own issuer signs lists anew in time; others as often as they please.
        let is_own = config.profile == Profile::Rfc9068 && schedule.deadline().is_some();
        let default = is_own.then_some(DEFAULT_MAX_LIST_AGE);
        let max_list_age = config.freshness.list_age(&schedule, default)?;
        Ok(Self {
            max_list_age: max_list_age.map(|age| age.as_secs()),
            schedule,
            issuer: config.issuer,
            audience,
            audience_claim: shape.audience_claim,
            algorithms: algorithms(&config.algorithms)?,
            typ: shape.typ,
            required_claims: shape.required_claims,
            expected_claims,
            scope: shape.scope,
            leeway: config.leeway.0.as_secs(),
            max_lifetime: config.max_lifetime.0.as_secs(),
            max_token_bytes: cap(config.max_token_bytes),
            dpop: DpopRules {
                algorithms: algorithms(&config.dpop.algorithms)?,
                max_age: config.dpop.max_age.0.as_secs(),
            },
            status_mode: shape.status_mode,
            status_uri_prefixes,
            max_list_bytes: cap(config.status.max_list_bytes),
            max_response_bytes: cap(config.status.max_response_bytes),
        })
    }
}

impl Policy {
    /// Whether a status list may be fetched from `uri`: it begins with a configured prefix, and has
    /// no spelling that a URL parser could resolve to somewhere else.
    pub fn allows_status_uri(&self, uri: &str) -> bool {
        uri.len() <= MAX_STATUS_URI_BYTES
            && uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#".contains(&byte))
            && self.status_uri_prefixes.iter().any(|prefix| begins_with(uri, prefix))
            && has_one_reading(uri)
    }

    pub(crate) fn accepts_type(&self, jws: &CompactJws) -> bool {
        match &self.typ {
            ExpectedType::Exactly(subtype) => jws.header().has_type(subtype),
            ExpectedType::Any => true,
        }
    }

    /// What it accepts of a status list token.
    pub(crate) fn list_rules(&self) -> ListRules<'_> {
        ListRules {
            algorithms: &self.algorithms,
            max_token_bytes: self.max_response_bytes,
            max_list_bytes: self.max_list_bytes,
            max_age: self.max_list_age,
        }
    }

    /// The header's algorithm, if it is allowed.
    pub(crate) fn allowed_algorithm(&self, jws: &CompactJws) -> Option<Algorithm> {
        Algorithm::from_name(jws.header().algorithm())
            .filter(|algorithm| self.algorithms.contains(algorithm))
    }
}

/// What the profile decides.
struct Shape {
    typ: ExpectedType,
    audience_claim: ClaimName,
    required_claims: Vec<ClaimName>,
    scope: ScopeClaim,
    status_mode: StatusMode,
}

impl Shape {
    fn of(config: &PolicyConfig) -> Result<Self, PolicyError> {
        let named = |name: &Option<String>, default: &'static str| {
            name.clone().map_or_else(|| default.into(), ClaimName::from)
        };
        let exactly = |typ: Option<String>| match typ {
            None => ExpectedType::Any,
            // As in tokens, the long form means the short one.
            Some(typ) => ExpectedType::Exactly(
                typ.strip_prefix("application/").map_or_else(|| typ.clone(), str::to_owned),
            ),
        };
        match config.profile {
            Profile::Rfc9068 => {
                let fixed = [
                    ("audience_claim", config.audience_claim.is_some()),
                    ("required_claims", config.required_claims.is_some()),
                    ("scope_claim", config.scope_claim.is_some()),
                ];
                if let Some((name, _)) = fixed.into_iter().find(|(_, written)| *written) {
                    return Err(PolicyError::FixedByProfile(name));
                }
                Ok(Self {
                    typ: exactly(config.typ.clone().unwrap_or_else(|| Some("at+jwt".into()))),
                    audience_claim: "aud".into(),
                    // RFC 9068 §2.2, besides `iss`, `exp` and `aud`.
                    required_claims: ["sub", "client_id", "iat", "jti"].map(ClaimName::from).into(),
                    scope: ScopeClaim { name: "scope".into(), may_be_array: false },
                    status_mode: config.status.mode.unwrap_or(StatusMode::Required),
                })
            }
            Profile::Jwt => {
                let required = config.required_claims.clone().unwrap_or_default();
                Ok(Self {
                    typ: exactly(config.typ.clone().ok_or(PolicyError::Unstated("typ"))?),
                    audience_claim: named(&config.audience_claim, "aud"),
                    required_claims: required.into_iter().map(ClaimName::from).collect(),
                    scope: ScopeClaim {
                        name: named(&config.scope_claim, "scope"),
                        may_be_array: true,
                    },
                    status_mode: config.status.mode.ok_or(PolicyError::Unstated("status.mode"))?,
                })
            }
        }
    }
}

/// Whether metadata and lists can be found by an issuer identifier.
pub fn is_issuer_url(issuer: &str) -> bool {
    url::is_acceptable(issuer) && !issuer.contains(['?', '#'])
}

/// Whether a URI has neither dot segments nor escaped slashes, which parsers resolve in their own ways.
fn has_one_reading(uri: &str) -> bool {
    let has_dots = |uri: &str| {
        let path = uri.split('?').next().unwrap_or_default();
        path.split('/').any(|segment| [".", ".."].contains(&segment))
    };
    if !uri.contains('%') {
        return !has_dots(uri);
    }
    let lower = uri.to_ascii_lowercase();
    !["%2f", "%5c"].iter().any(|escape| lower.contains(escape))
        && !has_dots(&lower.replace("%2e", "."))
}

/// Whether a URI begins with a prefix that ends where a segment of it ends: as a mere text
/// `https://host/lists` also begins `https://host/lists-of-another`, and `https://host` also
/// `https://host.evil.example/`.
fn begins_with(uri: &str, prefix: &str) -> bool {
    uri.strip_prefix(prefix).is_some_and(|rest| {
        let ends = if prefix.contains('?') { &['&'][..] } else { &['/', '?'][..] };
        rest.is_empty() || rest.starts_with(ends) || prefix.ends_with(['/', '?', '=', '&'])
    })
}

/// Names of claims are repeated in challenges, whose texts are quoted (RFC 6750 §3).
fn is_claim_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// A cap in bytes; beyond what a host can address it is no cap, on every host alike.
fn cap(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The algorithms named, each once: EdDSA and Ed25519 are one.
fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, PolicyError> {
    let mut algorithms = Vec::new();
    for name in names {
        let algorithm = Algorithm::from_name(name).ok_or(PolicyError::AlgorithmUnknown)?;
        if !algorithms.contains(&algorithm) {
            algorithms.push(algorithm);
        }
    }
    Ok(algorithms)
}

const MAX_STATUS_URI_BYTES: usize = 2048;
