//! What a verifier trusts, as it is written: in JSON, in TOML, in the options of the npm package.

use edgepass_jose::jwk_set::JwkSetError;
use serde::Deserialize;

use super::{JwksUri, KeySource, Verifier};
use crate::checks::dpop::nonce::{NonceRule, NonceSecrets, SecretTooShort};
use crate::policy::{Policy, PolicyConfig, PolicyError};

/// What a verifier trusts, and how much it may hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierConfig {
    /// The issuers whose tokens are accepted.
    pub issuers: Vec<IssuerConfig>,
    /// Ask for nonces in DPoP proofs: the secret that signs them, and one that is still accepted.
    pub nonce_secrets: Option<Vec<String>>,
    /// What verified tokens may take, in bytes.
    pub verified_bytes: Option<u64>,
    /// What the status lists of one issuer may take, in bytes.
    pub list_bytes: Option<u64>,
}

/// An issuer whose tokens are accepted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What is expected of its tokens.
    pub policy: PolicyConfig,
    /// A URL, a JWK Set in JSON, or nothing, to find the keys through the issuer's metadata.
    pub jwks: Option<String>,
}

/// Why a verifier cannot be made of what is written.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A policy, or the choice of issuers.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The URL of a JWK Set.
    #[error("jwks_uri: {0}")]
    JwksUri(PolicyError),
    /// A JWK Set that is written out.
    #[error(transparent)]
    Jwks(#[from] JwkSetError),
    /// A secret of nonces.
    #[error(transparent)]
    NonceSecret(#[from] SecretTooShort),
    /// There is no secret of nonces, or there are more than two.
    #[error("there are one or two nonce secrets")]
    NonceSecrets,
}

impl TryFrom<IssuerConfig> for (Policy, KeySource) {
    type Error = ConfigError;

    fn try_from(issuer: IssuerConfig) -> Result<Self, ConfigError> {
        let policy = Policy::try_from(issuer.policy)?;
        let keys = match issuer.jwks {
            None => KeySource::Discover,
            Some(text) if text.trim_start().starts_with('{') => {
                KeySource::given(text.as_bytes(), &policy)?
            }
            Some(url) => KeySource::Url(JwksUri::parse(&url).map_err(ConfigError::JwksUri)?),
        };
        Ok((policy, keys))
    }
}

impl TryFrom<VerifierConfig> for Verifier {
    type Error = ConfigError;

    fn try_from(config: VerifierConfig) -> Result<Self, ConfigError> {
        let issuers = config.issuers.into_iter().map(IssuerConfig::try_into);
        let mut verifier = Self::of_issuers(issuers.collect::<Result<_, _>>()?)?;
        if let Some(secrets) = config.nonce_secrets {
            verifier = verifier.with_nonces(NonceRule::Signed(nonce_secrets(secrets)?));
        }
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Some(most) = config.verified_bytes {
            verifier = verifier.with_verified_bytes(bytes(most));
        }
        if let Some(most) = config.list_bytes {
            verifier = verifier.with_list_bytes(bytes(most));
        }
        Ok(verifier)
    }
}

fn nonce_secrets(secrets: Vec<String>) -> Result<NonceSecrets, ConfigError> {
    let mut secrets = secrets.into_iter().map(String::into_bytes);
    match (secrets.next(), secrets.next(), secrets.next()) {
        (Some(current), previous, None) => Ok(NonceSecrets::new(current, previous)?),
        _ => Err(ConfigError::NonceSecrets),
    }
}
