//! The configuration of a policy.

use std::fmt;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::policy::duration::DurationText;
use crate::policy::freshness::FreshnessConfig;
use crate::policy::{ExpectedClaims, ScopeClaims};

/// The configuration of a [`Policy`](crate::Policy). `issuer` and `audience` are required; the
/// other fields have a default, except `typ` and `status.mode` of profile `jwt`.
///
/// # Example
///
/// ```
/// use edgepass_verify::policy::{OneOrMany, PolicyError};
/// use edgepass_verify::{Policy, PolicyConfig};
///
/// let text = r#"{
///     "issuer": "https://login.example/",
///     "audience": "https://api.example",
///     "profile": "jwt",
///     "typ": "JWT",
///     "algorithms": ["RS256"],
///     "expected_claims": {"token_use": "access"},
///     "status": {"mode": "ignore"}
/// }"#;
/// let config: PolicyConfig = serde_json::from_str(text)?;
/// Policy::try_from(config)?;
///
/// let audience = OneOrMany::One("https://api.example".into());
/// let mut config = PolicyConfig::new("https://issuer.example".into(), audience);
/// config.max_token_bytes = 2 << 20;
/// assert_eq!(Policy::try_from(config).err(), Some(PolicyError::TokenTooLong));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// The form of the issuer's tokens. Default `"rfc9068"`.
    #[serde(default)]
    pub profile: Profile,
    /// The issuer identifier; `iss` must equal it exactly. It may be a template with one variable,
    /// which names a claim: `https://login.example/{tid}/v2.0`. Then `iss` must equal it with the
    /// token's own value of that claim, which has 1 to 256 letters, digits or `-._~`. `{tenantid}`,
    /// as Microsoft Entra writes it, stands for the claim `tid`.
    pub issuer: String,
    /// For an issuer template: the accepted values of its claim, or `"any"`. Default: those in
    /// `expected_claims`.
    #[serde(default)]
    pub tenants: Option<OneOrMany>,
    /// The identifiers of this resource server; the audience claim must contain one of them.
    pub audience: OneOrMany,
    /// Profile `jwt`: the claim that names the audience. Default `"aud"`. Access tokens of Amazon
    /// Cognito use `"client_id"`.
    ///
    /// This and every other claim of a policy is a name, or a path: `realm_access.roles` for a
    /// member inside another, or a JSON Pointer (RFC 6901) through objects,
    /// `/kubernetes.io/namespace`. A name with dots is also found where no dot is meant to separate
    /// names, such as `https://app.example/roles`. A token that has several such readings is refused
    /// with `claim_invalid`.
    #[serde(default)]
    pub audience_claim: Option<String>,
    /// The allowed values of `alg`, in tokens and in status lists. Default: Ed25519 (and its alias
    /// `EdDSA`), ES256, RS256. An empty list allows no token.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// The media type expected in `typ`; `null` accepts any or none. Default `"at+jwt"` (RFC 9068);
    /// profile `jwt` has no default.
    #[serde(default, deserialize_with = "present")]
    pub typ: Option<Option<String>>,
    /// Profile `jwt`: claims that must be present and neither `null` nor empty, besides `iss`,
    /// `exp` and the audience. Default: none. Profile `rfc9068` requires `sub`, `client_id`, `iat`
    /// and `jti`.
    #[serde(default)]
    pub required_claims: Option<Vec<String>>,
    /// Claims that must have one of the given values, such as `{"token_use": "access"}`. Default:
    /// none. [`Expected`](crate::policy::Expected) lists the forms.
    #[serde(default)]
    pub expected_claims: ExpectedClaims,
    /// Profile `jwt`: the claim that holds the scope, as one string or an array, or several such
    /// claims. Default `"scope"`. [`ScopeClaims`] lists the forms.
    #[serde(default)]
    pub scope_claim: Option<ScopeClaims>,
    /// The clock skew tolerated for `exp`, `nbf` and `iat`, and for the `iat` of proofs. Default
    /// `"10s"`, at most `"5m"`. A fraction of a second is cut off.
    #[serde(default = "default_leeway")]
    pub leeway: DurationText,
    /// The longest accepted `exp - iat`; without `iat`, the longest `exp - now`. Default `"24h"`. A
    /// fraction of a second is cut off.
    #[serde(default = "default_max_lifetime")]
    pub max_lifetime: DurationText,
    /// The longest accepted token, in bytes. Default 16384, at most 1048576.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: u64,
    /// The rules for DPoP proofs.
    #[serde(default)]
    pub dpop: DpopConfig,
    /// The rules for status lists: whether they are used, their URIs and their sizes.
    #[serde(default)]
    pub status: StatusConfig,
    /// The time for which held copies may be used.
    #[serde(default)]
    pub freshness: FreshnessConfig,
}

/// The form of an issuer's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// JWT access tokens of RFC 9068, with its `typ`, required claims and `scope`.
    #[default]
    Rfc9068,
    /// JWTs of other issuers. The policy describes their form.
    Jwt,
}

/// One string or several strings.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A single string.
    One(String),
    /// Several strings. A policy refuses an empty array.
    Many(Vec<String>),
}

/// The configuration of the rules for DPoP proofs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpopConfig {
    /// The algorithms allowed for proofs. Default as for tokens. An empty list allows no proof.
    pub algorithms: Vec<String>,
    /// The maximum age of a proof by its `iat`. Not used where nonces are required. Default
    /// `"300s"`. A shorter time leaves less time for replays and tolerates less error in the clocks
    /// of clients. A fraction of a second is cut off.
    pub max_age: DurationText,
}

/// The configuration of the rules for status lists.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// Whether a token's status is looked up. Default `required`; profile `jwt` has no default.
    pub mode: Option<StatusMode>,
    /// The issuer that publishes the lists and signs them with its own keys, if it is not the tokens'
    /// issuer. Its JWK Set is found through its metadata. Default: the tokens' issuer.
    pub issuer: Option<String>,
    /// The prefixes of URIs from which lists and aggregations may be fetched. Default: the
    /// identifier of the issuer that publishes them followed by `/`, or none if it is no URL.
    pub uri_prefixes: Option<Vec<String>>,
    /// The largest accepted list after inflation, in bytes. Default 1048576: 8 million statuses of
    /// one bit.
    pub max_list_bytes: u64,
    /// The largest accepted response with a document of any kind, in bytes. Default 1048576.
    pub max_response_bytes: u64,
}

/// Whether a token's status is looked up.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum StatusMode {
    /// A status is looked up. A token without `status` is refused.
    Required,
    /// A status is looked up if the token has the claim `status`.
    WhenPresent,
    /// No status is looked up: a revoked token is accepted until it expires.
    Ignore,
}

impl StatusConfig {
    /// The name of a setting of lists, if they are not looked up.
    pub(super) fn without_effect(&self, has_lists: bool) -> Option<&'static str> {
        let settings = [
            ("status.issuer", self.issuer.is_some()),
            ("status.uri_prefixes", self.uri_prefixes.is_some()),
            ("status.max_list_bytes", self.max_list_bytes != Self::default().max_list_bytes),
        ];
        let idle = settings.into_iter().find(|(_, is_written)| *is_written && !has_lists);
        idle.map(|(name, _)| name)
    }
}

impl PolicyConfig {
    /// Creates the default configuration for tokens of `issuer`.
    pub fn new(issuer: String, audience: OneOrMany) -> Self {
        Self {
            profile: Profile::default(),
            issuer,
            tenants: None,
            audience,
            audience_claim: None,
            algorithms: default_algorithms(),
            typ: None,
            required_claims: None,
            expected_claims: ExpectedClaims::default(),
            scope_claim: None,
            leeway: default_leeway(),
            max_lifetime: default_max_lifetime(),
            max_token_bytes: default_max_token_bytes(),
            dpop: DpopConfig::default(),
            status: StatusConfig::default(),
            freshness: FreshnessConfig::default(),
        }
    }
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, input: A) -> Result<OneOrMany, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(input)).map(OneOrMany::Many)
            }
        }

        input.deserialize_any(Texts)
    }
}

impl Default for DpopConfig {
    fn default() -> Self {
        Self { algorithms: default_algorithms(), max_age: DurationText(Duration::from_secs(300)) }
    }
}

impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            mode: None,
            issuer: None,
            uri_prefixes: None,
            max_list_bytes: 1 << 20,
            max_response_bytes: 1 << 20,
        }
    }
}

/// Distinguishes `null`, which accepts any `typ`, from an absent member.
fn present<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Option<String>>, D::Error> {
    struct TextOrNull;

    impl Visitor<'_> for TextOrNull {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or null")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Option<String>, E> {
            Ok(Some(text.to_owned()))
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Option<String>, E> {
            Ok(None)
        }
    }

    input.deserialize_any(TextOrNull).map(Some)
}

fn default_algorithms() -> Vec<String> {
    ["EdDSA", "ES256", "RS256"].map(str::to_owned).to_vec()
}

fn default_leeway() -> DurationText {
    DurationText(Duration::from_secs(10))
}

fn default_max_lifetime() -> DurationText {
    DurationText(Duration::from_secs(24 * 60 * 60))
}

fn default_max_token_bytes() -> u64 {
    16 * 1024
}
