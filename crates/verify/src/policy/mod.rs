//! The policy of a verifier for the tokens of one issuer.

mod claim_path;
mod config;
pub mod duration;
mod expected;
pub mod freshness;
mod issuer_name;
pub mod json;
mod scope_claims;
#[cfg(test)]
mod tests;

use std::time::Duration;

use edgepass_crypto::is_sound;
use edgepass_jose::{Algorithm, CompactJws, PublicKey};

pub(crate) use self::claim_path::ClaimPath;
pub use self::config::{DpopConfig, OneOrMany, PolicyConfig, Profile, StatusConfig, StatusMode};
pub use self::expected::{Expected, ExpectedClaims, ExpectedValue};
pub(crate) use self::issuer_name::IssuerName;
use self::scope_claims::Grants;
pub use self::scope_claims::{ScopeClaim, ScopeClaims};
pub(crate) use self::scope_claims::{ScopeRule, granted};
use crate::documents::signed::ListRules;
use crate::error::ClaimName;
use crate::policy::freshness::{
    DEFAULT_MAX_LIST_AGE, FreshnessConfig, FreshnessError, HeadUse, KeyFreshness, KeyRules,
    ListAgeTooShort, Schedule,
};
use crate::url;

/// A checked policy, made from a [`PolicyConfig`].
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) issuer: IssuerName,
    pub(crate) audience: Vec<String>,
    pub(crate) audience_claim: ClaimPath,
    pub(crate) algorithms: Vec<Algorithm>,
    pub(crate) typ: ExpectedType,
    pub(crate) required_claims: Vec<ClaimPath>,
    pub(crate) expected_claims: Vec<ExpectedClaim>,
    pub(crate) scope: Vec<ScopeRule>,
    /// Whole seconds.
    pub(crate) leeway: u64,
    /// Whole seconds.
    pub(crate) max_lifetime: u64,
    pub(crate) max_token_bytes: usize,
    pub(crate) dpop: DpopRules,
    pub(crate) status_mode: StatusMode,
    /// The policy of the issuer that publishes the lists, if it is not the tokens' issuer.
    pub(crate) list_issuer: Option<Box<Policy>>,
    pub(crate) status_uri_prefixes: Vec<String>,
    pub(crate) max_list_bytes: usize,
    pub(crate) max_response_bytes: usize,
    pub(crate) schedule: Schedule,
    pub(crate) keys: KeyRules,
    /// The longest RSA modulus that the host's crypto takes, in octets.
    pub(crate) max_rsa_octets: usize,
    /// The maximum age of a list by its `iat`, in whole seconds. `None`: only its `exp` bounds it.
    pub(crate) max_list_age: Option<u64>,
}

/// The position of an issuer among those of its verifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IssuerIndex(pub(crate) usize);

/// The rule for the header parameter `typ`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ExpectedType {
    /// This media subtype, with or without `application/`, in any case.
    Exactly(String),
    /// Any value, or no `typ` at all.
    Any,
}

/// A claim, and its expected values.
pub(crate) type ExpectedClaim = (ClaimPath, Expected);

/// The rules for DPoP proofs.
#[derive(Clone, Debug)]
pub(crate) struct DpopRules {
    pub(crate) algorithms: Vec<Algorithm>,
    /// Whole seconds.
    pub(crate) max_age: u64,
}

/// The reason why a [`PolicyConfig`] is refused.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyError {
    /// `issuer` is empty, or [`is_issuer_url`] refuses it although the JWK Set is to be found
    /// through the issuer's metadata.
    #[error(
        "issuer must be an https URL (http only on loopback), without query or fragment; another \
         form needs a JWK Set of its own"
    )]
    IssuerInvalid,
    /// `issuer` is a template of another form than one variable, in braces, that is a whole segment
    /// and names a claim.
    #[error("an issuer template has one variable: \"https://login.example/{{tid}}/v2.0\"")]
    IssuerTemplate,
    /// `issuer` is a template, but neither `tenants` nor `expected_claims` says which tenants are
    /// accepted; or `tenants` is set without a template.
    #[error(
        "tenants goes with an issuer template, and names the accepted tenants, or \"any\"; \
         expected_claims may name them instead"
    )]
    Tenants,
    /// A claim that grants scope has both a prefix and a map, or an empty or malformed one.
    #[error(
        "scope_claim: name a claim, or an object with claim and either prefix or map, which holds \
         scope tokens"
    )]
    ScopeClaim,
    /// Two policies name the same issuer.
    #[error("two policies name the same issuer")]
    IssuerTwice,
    /// There is no policy, or more than [`MAX_ISSUERS`].
    #[error("a verifier has 1 to {MAX_ISSUERS} issuers")]
    IssuerCount,
    /// `audience` is empty, or contains an empty string or one that begins or ends in white space.
    #[error(
        "audience must name at least one identifier of this resource server, without white space at its ends"
    )]
    AudienceEmpty,
    /// `typ` is no media type.
    #[error("typ must be a media type such as \"at+jwt\" or \"JWT\", or null for any")]
    Typ,
    /// `algorithms`, of tokens or of proofs, names an algorithm that this version does not know.
    #[error(
        "algorithms may hold EdDSA, Ed25519, ES256, ES384, RS256, RS384, RS512, PS256, PS384 and \
         PS512"
    )]
    AlgorithmUnknown,
    /// The policy sets a field that profile `rfc9068` fixes. Holds its name.
    #[error("{0} is fixed by profile rfc9068; for other tokens write profile = \"jwt\"")]
    FixedByProfile(&'static str),
    /// The policy lacks a field for which profile `jwt` has no default. Holds its name.
    #[error("profile jwt has no default for {0}: set it")]
    Unstated(&'static str),
    /// `expected_claims` names a claim without any accepted value.
    #[error("expected_claims: name at least one value for every claim")]
    ExpectedClaimEmpty,
    /// The path of a claim is empty, is too long, or has a quote, a backslash, or a character other
    /// than visible ASCII.
    #[error("a claim path must be visible ASCII without quotes and backslashes")]
    ClaimNameInvalid,
    /// `leeway` is above [`MAX_LEEWAY`].
    #[error("leeway is at most \"5m\"")]
    LeewayTooLong,
    /// `max_token_bytes` is above [`MAX_TOKEN_BYTES`].
    #[error("max_token_bytes is at most {MAX_TOKEN_BYTES}")]
    TokenTooLong,
    /// [`is_issuer_url`] refuses `status.issuer`.
    #[error(
        "status.issuer must be an https URL (http only on loopback), without query or fragment"
    )]
    ListIssuer,
    /// A prefix in `status.uri_prefixes` is neither an https URL nor an http URL on loopback.
    #[error("status.uri_prefixes must be https URLs (http only on loopback)")]
    PrefixInvalid,
    /// The URL of the JWK Set is neither an https URL nor an http URL on loopback.
    #[error("the JWK Set's URL must be https (http only on loopback)")]
    JwksUriInvalid,
    /// A setting has no effect: it concerns status lists, but `status.mode` is `ignore`; a deadline,
    /// but none is promised; or fetched keys, but the JWK Set is given. Holds the name of the
    /// setting.
    #[error(
        "{0} has no effect here: remove it. Without status lists (status.mode = \"ignore\"), without \
         a deadline, and with keys that are given or fresh by HTTP, only some settings are used"
    )]
    WithoutEffect(&'static str),
    /// `expected_claims` has a condition on `iss`.
    #[error("a condition on iss has no effect: iss is compared with issuer and tenants; remove it")]
    ExpectedIssuer,
    /// A limit is 0, so that no token could be accepted. Holds its name.
    #[error("{0} must not be 0: no token could be accepted")]
    Zero(&'static str),
    /// Status lists are to be looked up, but no URL of a list is allowed: the issuer is no URL, or
    /// it is a template.
    #[error(
        "issuer is no https URL (http only on loopback), so name the URLs of its status lists in \
         status.uri_prefixes, or write status.mode = \"ignore\" to look up no status"
    )]
    NoPrefix,
    /// The freshness settings contradict each other: see [`FreshnessError`].
    #[error("freshness: {0}")]
    Freshness(#[from] FreshnessError),
    /// `max_list_age` is too short: see [`ListAgeTooShort`].
    #[error("freshness: {0}")]
    ListAge(#[from] ListAgeTooShort),
}

/// The maximum number of issuers that one verifier trusts.
pub const MAX_ISSUERS: usize = 64;
/// The maximum of `max_token_bytes`: 1 MiB. A host may keep a buffer of that size.
pub const MAX_TOKEN_BYTES: u64 = 1 << 20;
/// The maximum leeway: 5 min. An Edgepass issuer serves a status list at least this long after the
/// `exp` of its last token.
pub const MAX_LEEWAY: Duration = Duration::from_secs(300);

impl TryFrom<PolicyConfig> for Policy {
    type Error = PolicyError;

    fn try_from(config: PolicyConfig) -> Result<Self, PolicyError> {
        if config.leeway.0 > MAX_LEEWAY {
            return Err(PolicyError::LeewayTooLong);
        }
        if config.max_token_bytes > MAX_TOKEN_BYTES {
            return Err(PolicyError::TokenTooLong);
        }
        let zero = [
            ("max_lifetime", config.max_lifetime.0.as_secs() == 0),
            ("max_token_bytes", config.max_token_bytes == 0),
            ("status.max_list_bytes", config.status.max_list_bytes == 0),
            ("status.max_response_bytes", config.status.max_response_bytes == 0),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(PolicyError::Zero(name));
        }
        let shape = Shape::of(&config)?;
        let list_issuer = config.list_issuer()?;
        let audience = config.audience.into_vec();
        let is_odd = |audience: &String| audience.is_empty() || audience.trim() != audience;
        if audience.is_empty() || audience.iter().any(is_odd) {
            return Err(PolicyError::AudienceEmpty);
        }
        let mut expected_claims: Vec<ExpectedClaim> = Vec::new();
        for (name, values) in config.expected_claims.0 {
            if values.is_empty() {
                return Err(PolicyError::ExpectedClaimEmpty);
            }
            if ["iss", "/iss"].contains(&&*name) {
                return Err(PolicyError::ExpectedIssuer);
            }
            expected_claims.push((path(name)?, values));
        }
        let issuer = IssuerName::parse(config.issuer, config.tenants, &expected_claims)?;
        let status_uri_prefixes = match (&config.status.uri_prefixes, &list_issuer) {
            (Some(prefixes), _) => prefixes.clone(),
            (None, Some(policy)) => policy.status_uri_prefixes.clone(),
            (None, None) if is_issuer_url(issuer.as_str()) && !issuer.is_template() => {
                vec![format!("{}/", issuer.as_str().trim_end_matches('/'))]
            }
            (None, None) => Vec::new(),
        };
        let usable = |prefix: &String| url::is_acceptable(prefix) && !prefix.contains('#');
        if !status_uri_prefixes.iter().all(usable) {
            return Err(PolicyError::PrefixInvalid);
        }
        if status_uri_prefixes.is_empty() && shape.status_mode != StatusMode::Ignore {
            return Err(PolicyError::NoPrefix);
        }
        let has_lists = shape.status_mode != StatusMode::Ignore;
        let keys = config.freshness.key_rules(match config.profile {
            // A deadline beside `status.issuer` is that issuer's promise.
            Profile::Jwt if !config.freshness.has_deadline() || list_issuer.is_some() => {
                KeyFreshness::Http
            }
            Profile::Jwt | Profile::Rfc9068 => KeyFreshness::Deadline,
        });
        let may_have_deadline = has_lists || keys.freshness == KeyFreshness::Deadline;
        let schedule = config.freshness.check(may_have_deadline)?;
        let idle = config.status.without_effect(has_lists);
        let idle =
            idle.or_else(|| config.freshness.without_effect(has_lists, Some(keys.freshness)));
        if let Some(name) = idle {
            return Err(PolicyError::WithoutEffect(name));
        }
        // An Edgepass issuer renews its lists in time. Other issuers may not.
        let is_own = config.profile == Profile::Rfc9068 && schedule.deadline().is_some();
        let default = is_own.then_some(DEFAULT_MAX_LIST_AGE);
        let max_list_age = config.freshness.list_age(&schedule, default)?;
        Ok(Self {
            max_list_age: max_list_age.map(|age| age.as_secs()),
            max_rsa_octets: usize::MAX,
            schedule,
            keys,
            issuer,
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
            list_issuer: list_issuer.map(Box::new),
            status_uri_prefixes,
            max_list_bytes: cap(config.status.max_list_bytes),
            max_response_bytes: cap(config.status.max_response_bytes),
        })
    }
}

impl PolicyConfig {
    /// The policy of the issuer in `status.issuer`. The rules for lists and their freshness are those
    /// of this configuration.
    fn list_issuer(&self) -> Result<Option<Policy>, PolicyError> {
        let Some(issuer) = self.status.issuer.clone() else { return Ok(None) };
        if !is_issuer_url(&issuer) || issuer.contains('{') {
            return Err(PolicyError::ListIssuer);
        }
        let config = Self::new(issuer, self.audience.clone());
        let status = StatusConfig { mode: None, issuer: None, ..self.status.clone() };
        let freshness = FreshnessConfig { keys: None, ..self.freshness.clone() };
        Policy::try_from(Self { status, freshness, ..config }).map(Some)
    }

    /// Checks that no setting is idle because the JWK Set is given: those for fetched keys.
    ///
    /// # Errors
    ///
    /// [`PolicyError::WithoutEffect`].
    pub(crate) fn check_with_given_keys(&self) -> Result<(), PolicyError> {
        let mode = self.status.mode;
        let has_lists = mode.unwrap_or(StatusMode::Required) != StatusMode::Ignore;
        match self.freshness.without_effect(has_lists, None) {
            Some(name) => Err(PolicyError::WithoutEffect(name)),
            None => Ok(()),
        }
    }
}

impl Policy {
    /// Returns whether a status list or an aggregation may be fetched from `uri`. It must begin
    /// with a configured prefix, have at most 2048 bytes, consist of visible ASCII without `\` and
    /// `#`, and have no spelling that a URL parser could resolve to another place.
    pub fn allows_status_uri(&self, uri: &str) -> bool {
        uri.len() <= MAX_STATUS_URI_BYTES
            && uri.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#".contains(&byte))
            && self.status_uri_prefixes.iter().any(|prefix| begins_with(uri, prefix))
            && has_one_reading(uri)
    }

    /// Believes each list as it is given, without a status head.
    pub(crate) fn ignore_heads(&mut self) {
        self.schedule.head = HeadUse::Ignore;
    }

    /// Whether a key can be used: it is sound, and the host's crypto takes it.
    pub(crate) fn takes_key(&self, key: &PublicKey) -> bool {
        let fits = match key {
            PublicKey::Rsa { n, .. } => n.len() <= self.max_rsa_octets,
            _ => true,
        };
        fits && is_sound(key)
    }

    /// Whether the policy accepts the header parameter `typ`.
    pub(crate) fn accepts_type(&self, jws: &CompactJws) -> bool {
        match &self.typ {
            ExpectedType::Exactly(subtype) => jws.header().has_type(subtype),
            ExpectedType::Any => true,
        }
    }

    /// The rules for status list tokens under this policy.
    pub(crate) fn list_rules(&self) -> ListRules<'_> {
        ListRules {
            algorithms: &self.algorithms,
            max_token_bytes: self.max_response_bytes,
            max_list_bytes: self.max_list_bytes,
            max_age: self.max_list_age,
        }
    }

    /// The algorithm that the header names, if the policy allows it.
    pub(crate) fn allowed_algorithm(&self, jws: &CompactJws) -> Option<Algorithm> {
        Algorithm::from_name(jws.header().algorithm())
            .filter(|algorithm| self.algorithms.contains(algorithm))
    }
}

/// The settings that depend on the profile.
struct Shape {
    typ: ExpectedType,
    audience_claim: ClaimPath,
    required_claims: Vec<ClaimPath>,
    scope: Vec<ScopeRule>,
    status_mode: StatusMode,
}

impl Shape {
    fn of(config: &PolicyConfig) -> Result<Self, PolicyError> {
        let exactly = |typ: Option<String>| match typ {
            None => ExpectedType::Any,
            // `application/x` means `x`, as in tokens.
            Some(typ) => ExpectedType::Exactly(match typ.split_once('/') {
                Some((kind, rest)) if kind.eq_ignore_ascii_case("application") => rest.to_owned(),
                _ => typ,
            }),
        };
        // RFC 6838 §4.2, without the `*` of a range.
        let is_odd = |typ: &String| {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"*,;\"".contains(&byte);
            !typ.bytes().all(plain) || typ.is_empty() || typ.ends_with('/')
        };
        if config.typ.iter().flatten().any(is_odd) {
            return Err(PolicyError::Typ);
        }
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
                    audience_claim: path("aud")?,
                    // RFC 9068 §2.2, besides `iss`, `exp` and `aud`.
                    required_claims: vec![
                        path("sub")?,
                        path("client_id")?,
                        path("iat")?,
                        path("jti")?,
                    ],
                    scope: vec![ScopeRule {
                        path: path("scope")?,
                        may_be_array: false,
                        splits: true,
                        grants: Grants::Itself,
                    }],
                    status_mode: config.status.mode.unwrap_or(StatusMode::Required),
                })
            }
            Profile::Jwt => {
                let mut required_claims = Vec::new();
                for name in config.required_claims.iter().flatten() {
                    required_claims.push(path(name.clone())?);
                }
                let written = config.scope_claim.clone();
                let written =
                    written.map_or_else(|| vec!["scope".to_owned().into()], |claims| claims.0);
                let mut scope = Vec::new();
                for claim in written {
                    scope.push(ScopeRule::try_from(claim)?);
                }
                if scope.is_empty() {
                    return Err(PolicyError::ScopeClaim);
                }
                Ok(Self {
                    typ: exactly(config.typ.clone().ok_or(PolicyError::Unstated("typ"))?),
                    audience_claim: match &config.audience_claim {
                        None => path("aud")?,
                        Some(name) => path(name.clone())?,
                    },
                    required_claims,
                    scope,
                    status_mode: config.status.mode.ok_or(PolicyError::Unstated("status.mode"))?,
                })
            }
        }
    }
}

/// Returns whether metadata and status lists can be found from `issuer`: it is a URL from which a
/// document may be fetched, without query and fragment.
pub fn is_issuer_url(issuer: &str) -> bool {
    url::is_acceptable(issuer) && !issuer.contains(['?', '#'])
}

/// Whether a URI has no dot segments in its path and no escaped slashes or backslashes. URL parsers
/// resolve these differently.
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

/// Whether `uri` begins with `prefix`, which ends with `/`, `?`, `=` or `&`, or where a segment or
/// query parameter of `uri` ends. As plain text, `https://host/lists` is also a prefix of
/// `https://host/lists-of-another`, and `https://host` of `https://host.evil.example/`.
fn begins_with(uri: &str, prefix: &str) -> bool {
    uri.strip_prefix(prefix).is_some_and(|rest| {
        let ends = if prefix.contains('?') { &['&'][..] } else { &['/', '?'][..] };
        rest.is_empty() || rest.starts_with(ends) || prefix.ends_with(['/', '?', '=', '&'])
    })
}

fn path(written: impl Into<ClaimName>) -> Result<ClaimPath, PolicyError> {
    ClaimPath::parse(written.into()).ok_or(PolicyError::ClaimNameInvalid)
}

/// Converts a cap in bytes. A cap above the largest `usize` becomes that.
fn cap(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Parses names of algorithms and drops duplicates: `EdDSA` and `Ed25519` name one algorithm.
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

/// The longest URI of a status list or an aggregation, in bytes.
const MAX_STATUS_URI_BYTES: usize = 2048;
