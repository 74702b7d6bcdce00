//! `edgepass.toml` as it is written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use edgepass_verify::policy::duration::DurationText;
use edgepass_verify::policy::freshness::FreshnessConfig;
use serde::Deserialize;
use toml::Spanned;

use super::TargetConfig;
use crate::selection::StatusChange;

/// `edgepass.toml` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigText {
    /// Issuer identifier: the `iss` of every token, and the base of every published URL.
    pub(super) issuer: Spanned<String>,
    /// Where `serve` listens.
    pub(super) listen: Spanned<String>,
    /// Data directory, relative to the file.
    pub(super) data_dir: Spanned<PathBuf>,
    /// File with the master key, outside the data directory; EDGEPASS_MASTER_KEY comes first.
    pub(super) master_key_file: Option<Spanned<PathBuf>>,
    /// Lifetimes when a role names none.
    #[serde(default)]
    pub(super) tokens: TokensText,
    /// The revocation deadline and its terms.
    pub(super) revocation: Option<Spanned<FreshnessConfig>>,
    /// How status lists are made.
    #[serde(default)]
    pub(super) status: StatusText,
    /// When keys change.
    pub(super) keys: Option<Spanned<KeysText>>,
    /// Where documents are published besides the issuer's own endpoint.
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
    pub(super) lifetime: DurationText,
    pub(super) max_lifetime: DurationText,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StatusText {
    /// How many tokens' statuses a list holds. Default 131072. Larger lists are fewer; each changes
    /// more often and is more to fetch. Holds for lists opened from now on.
    pub(super) list_capacity: Spanned<u32>,
    /// Whether tokens can be suspended and resumed. Default false. Lists then take two bits a token.
    /// Holds for tokens issued from now on.
    pub(super) suspension: bool,
    /// What the URIs of lists begin with, where a bucket or a directory serves them under a name of its
    /// own. Default: the issuer identifier. Verifiers must allow it (`uri_prefixes`).
    pub(super) base_uri: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct KeysText {
    /// How long a key signs. Default `"30days"`.
    pub(super) rotation: DurationText,
    /// How long a key that signs no more stays published. Default `"25h"`. At least the longest
    /// lifetime of a token and 10 minutes.
    pub(super) overlap: DurationText,
}

/// A target as written.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum TargetText {
    /// A directory that something else serves.
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
    /// What it may do over HTTP to tokens of other clients too: "revoke", "suspend", "resume".
    #[serde(default)]
    pub(super) may: Vec<StatusChange>,
    pub(super) secret_hash: String,
}

impl Default for TokensText {
    fn default() -> Self {
        Self {
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
        let hours = |hours: u64| DurationText(Duration::from_secs(hours * 60 * 60));
        Self { rotation: hours(30 * 24), overlap: hours(25) }
    }
}

impl TargetText {
    /// The target, with its path taken from `base`; or what of it says nothing.
    pub(super) fn below(self, base: &Path) -> Result<TargetConfig, &'static str> {
        match self {
            Self::Directory { path } if path.as_os_str().is_empty() => {
                Err("[[target]]: path: name a directory of its own")
            }
            Self::Directory { path } => Ok(TargetConfig::Directory { path: base.join(path) }),
            Self::S3 { bucket, endpoint, region } => {
                let is_empty = |text: &Option<String>| text.as_deref() == Some("");
                if bucket.is_empty() || is_empty(&endpoint) || is_empty(&region) {
                    return Err(
                        "[[target]]: bucket, endpoint and region say something, or are left out",
                    );
                }
                Ok(TargetConfig::S3 { bucket, endpoint, region })
            }
        }
    }
}
