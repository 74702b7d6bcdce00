//! A policy as written.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::policy::duration::DurationText;
use crate::policy::freshness::FreshnessConfig;

/// A policy as written. `issuer` and `audience` are required; everything else has a default.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// What kind of token is expected. Default `"rfc9068"`.
    #[serde(default)]
    pub profile: Profile,
    /// The issuer identifier; `iss` must equal it exactly.
    pub issuer: String,
    /// This resource server's identifiers; `aud` must contain one of them.
    pub audience: OneOrMany,
    /// Profile `jwt`: the claim that names the audience. Default `"aud"`. Amazon Cognito's access
    /// tokens name it in `"client_id"`.
    #[serde(default)]
    pub audience_claim: Option<String>,
    /// Allowed `alg` values. Default: Ed25519 (and its alias `EdDSA`), ES256, RS256. An empty list
    /// allows nothing.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// The media type expected in `typ`; `null` accepts any. Default `"at+jwt"` (RFC 9068); profile
    /// `jwt` has none: name it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub typ: Option<Option<String>>,
    /// Profile `jwt`: claims that must be present, besides `iss`, `exp` and the audience. Default:
    /// none. Profile `rfc9068` requires `sub`, `client_id`, `iat` and `jti`.
    #[serde(default)]
    pub required_claims: Option<Vec<String>>,
    /// Claims that must be a string equal to one of these, such as `{"token_use": "access"}`.
    #[serde(default)]
    pub expected_claims: BTreeMap<String, OneOrMany>,
    /// Profile `jwt`: the claim that holds the scope, as one string or an array. Default `"scope"`.
    #[serde(default)]
    pub scope_claim: Option<String>,
    /// Clock skew absorbed on `exp`, `nbf` and `iat` alike. Default `"10s"`, at most `"5m"`.
    #[serde(default = "default_leeway")]
    pub leeway: DurationText,
    /// The longest `exp - iat` accepted; without `iat`, the longest `exp - now`. Default `"24h"`.
    #[serde(default = "default_max_lifetime")]
    pub max_lifetime: DurationText,
    /// The longest token read, in bytes. Default 16384.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: u64,
    /// How DPoP proofs are judged.
    #[serde(default)]
    pub dpop: DpopConfig,
    /// Where status comes from.
    #[serde(default)]
    pub status: StatusConfig,
    /// How long held copies may be used.
    #[serde(default)]
    pub freshness: FreshnessConfig,
}

/// A kind of token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// JWT access tokens of RFC 9068: its `typ`, its required claims, its `scope`.
    #[default]
    Rfc9068,
    /// Other issuers' JWTs; the policy says what they look like.
    Jwt,
}

/// One string or several.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several; must not be empty.
    Many(Vec<String>),
}

/// Judging of DPoP proofs as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DpopConfig {
    /// Algorithms allowed for proofs. Default: as for tokens.
    pub algorithms: Vec<String>,
    /// The oldest proof accepted, by its `iat`, where no nonce says how old it is. Default `"300s"`.
    /// Shorter leaves less time for replays, and less room for clients with wrong clocks.
    pub max_age: DurationText,
}

/// Status checking as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusConfig {
    /// Default `required`; profile `jwt` has none: name it.
    pub mode: Option<StatusMode>,
    /// What the URIs of status lists begin with. Default: the issuer identifier and `/`.
    pub uri_prefixes: Option<Vec<String>>,
    /// The largest list, inflated, in bytes. Default 1048576: 8 million one-bit statuses.
    pub max_list_bytes: u64,
    /// The largest response read for any document, in bytes. Default 1048576.
    pub max_response_bytes: u64,
}

/// Whether a token's status is looked up.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusMode {
    /// A token without `status` is refused.
    Required,
    /// A token without `status` has nothing to check.
    WhenPresent,
    /// Status is not checked: a revoked token passes until it expires.
    Ignore,
}

impl PolicyConfig {
    /// The defaults, for tokens of `issuer`.
    pub fn new(issuer: String, audience: OneOrMany) -> Self {
        Self {
            profile: Profile::default(),
            issuer,
            audience,
            audience_claim: None,
            algorithms: default_algorithms(),
            typ: None,
            required_claims: None,
            expected_claims: BTreeMap::new(),
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
    /// All of them.
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
            uri_prefixes: None,
            max_list_bytes: 1 << 20,
            max_response_bytes: 1 << 20,
        }
    }
}

/// Tells `null` from absence. The only member that may be `null`.
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
