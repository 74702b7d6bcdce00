//! The form of `edgepass.toml`, before its values are checked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::FreshnessConfig;
use serde::Deserialize;
use toml::Spanned;

use super::TargetConfig;
use super::error::Mistake;
use crate::selection::StatusChange;
use crate::signing_key::{SigningAlgorithm, TokenType};

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigText {
    /// Issuer identifier: the `iss` of every token. Published URLs start with it, unless `base_uri`
    /// is set.
    pub(super) issuer: Spanned<String>,
    /// The address and port that `serve` listens on.
    pub(super) listen: Spanned<String>,
    /// The data directory. A relative path starts at the folder of `edgepass.toml`.
    pub(super) data_dir: Spanned<PathBuf>,
    /// The file with the master key, outside the data directory. The variable `EDGEPASS_MASTER_KEY`
    /// takes precedence.
    pub(super) master_key_file: Option<Spanned<PathBuf>>,
    /// Lifetimes for roles that set none.
    #[serde(default)]
    pub(super) tokens: TokensText,
    /// The revocation deadline and the settings that must meet it.
    pub(super) revocation: Option<Spanned<FreshnessConfig>>,
    /// The form and the base URI of status lists.
    #[serde(default)]
    pub(super) status: StatusText,
    /// The schedule of automatic key changes.
    pub(super) keys: Option<Spanned<KeysText>>,
    /// Targets: documents are published there besides the issuer's own endpoint.
    #[serde(default, rename = "target")]
    pub(super) targets: Vec<Spanned<TargetText>>,
    #[serde(default, rename = "role")]
    pub(super) roles: Vec<Spanned<RoleText>>,
    #[serde(default, rename = "client")]
    pub(super) clients: Vec<Spanned<ClientText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TokensText {
    /// The `typ` of tokens. Default `"at+jwt"`.
    pub(super) typ: TokenType,
    pub(super) lifetime: DurationText,
    pub(super) max_lifetime: DurationText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StatusText {
    /// The number of indices of a list. Default 131072. With larger lists there are fewer of them,
    /// but each changes more often and takes longer to fetch. A change applies to lists opened
    /// afterwards.
    pub(super) list_capacity: Spanned<u32>,
    /// Whether tokens can be suspended and resumed. Default false. If true, a status takes two
    /// bits. A change applies to tokens issued afterwards.
    pub(super) suspension: bool,
    /// The base of the URIs of lists, aggregation and JWK Set, if verifiers fetch these from a
    /// target. Default: the issuer identifier. Verifiers must allow the URIs of the lists
    /// (`uri_prefixes`).
    pub(super) base_uri: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeysText {
    /// The algorithm of keys that are generated from now on: `"EdDSA"` (default), `"ES256"` or
    /// `"RS256"`.
    pub(super) algorithm: SigningAlgorithm,
    /// The time for which a key signs. Default `"30days"`. Must be longer than `overlap`.
    pub(super) rotation: DurationText,
    /// The time for which a key stays published after it has stopped signing. Default `"25h"`. At
    /// least the longest lifetime of a token plus 10 minutes.
    pub(super) overlap: DurationText,
}

/// A `[[target]]`.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TargetText {
    /// A directory. A web server of the operator makes it public.
    Directory { path: PathBuf },
    /// An S3-compatible bucket. Its credentials come from the environment.
    S3 { bucket: String, endpoint: Option<String>, region: Option<String> },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleText {
    pub(super) name: String,
    pub(super) audience: String,
    pub(super) scopes: Vec<String>,
    pub(super) lifetime: Option<DurationText>,
    pub(super) max_lifetime: Option<DurationText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientText {
    pub(super) id: String,
    pub(super) roles: Vec<String>,
    /// Changes that the client may make over HTTP to tokens of all clients: "revoke", "suspend",
    /// "resume". Default: none.
    #[serde(default)]
    pub(super) may: Vec<StatusChange>,
    pub(super) secret_hash: String,
}

impl Default for TokensText {
    fn default() -> Self {
        Self {
            typ: TokenType::default(),
            lifetime: DurationText(Duration::from_secs(10 * 60)),
            max_lifetime: DurationText(Duration::from_secs(60 * 60)),
        }
    }
}

impl Default for StatusText {
    fn default() -> Self {
        Self { list_capacity: Spanned::new(0..0, 1 << 17), suspension: false, base_uri: None }
    }
}

impl Default for KeysText {
    fn default() -> Self {
        const HOUR: u64 = 60 * 60;
        let seconds = |seconds| DurationText(Duration::from_secs(seconds));
        Self {
            algorithm: SigningAlgorithm::default(),
            rotation: seconds(30 * 24 * HOUR),
            overlap: seconds(25 * HOUR),
        }
    }
}

impl TargetText {
    /// Checks the target. A relative path starts at `base`.
    pub(super) fn below(self, base: &Path) -> Result<TargetConfig, Mistake> {
        match self {
            Self::Directory { path } if path.as_os_str().is_empty() => Err(Mistake::TargetPath),
            Self::Directory { path } => Ok(TargetConfig::Directory { path: base.join(path) }),
            Self::S3 { bucket, endpoint, region } => {
                if !is_s3_name(&bucket) || !region.as_deref().is_none_or(is_s3_name) {
                    return Err(Mistake::TargetName);
                }
                if !endpoint.as_deref().is_none_or(is_s3_endpoint) {
                    return Err(Mistake::TargetEndpoint);
                }
                Ok(TargetConfig::S3 { bucket, endpoint, region })
            }
        }
    }
}

/// Whether `name` may be a bucket or a region: 1 to 255 letters, digits, `.`, `-` and `_`. The client
/// of buckets puts both into URLs and header fields, and panics on some other characters.
pub fn is_s3_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=255).contains(&name.len()) && name.bytes().all(plain)
}

/// Whether `endpoint` is the http or https URL of a bucket's server: a host name or address, a port
/// up to 65535 if any, without user information, query and fragment. Log lines name it.
pub fn is_s3_endpoint(endpoint: &str) -> bool {
    let Some(origin) = edgepass_verify::url::origin(endpoint) else { return false };
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let port_fits = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok(),
        _ => true,
    };
    authority.bytes().all(plain) && port_fits && !endpoint.contains(['?', '#'])
}
