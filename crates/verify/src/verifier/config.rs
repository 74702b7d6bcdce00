//! The configuration of a verifier: the options of the npm package, or the guard's settings.

use edgepass_jose::jwk_set::JwkSetError;
use serde::Deserialize;

use super::{JwksUri, KeySource, Verifier};
use crate::checks::dpop::nonce::{NonceRule, NonceSecrets, SecretTooShort};
use crate::policy::{Policy, PolicyConfig, PolicyError};

/// The configuration of a [`Verifier`]: its issuers, nonce secrets and memory limits.
///
/// # Example
///
/// ```
/// use edgepass_verify::Verifier;
/// use edgepass_verify::verifier::config::VerifierConfig;
///
/// let text = r#"{
///     "issuers": [
///         {"policy": {"issuer": "https://a.example", "audience": "https://api.example"}},
///         {
///             "policy": {"issuer": "https://b.example", "audience": "https://api.example"},
///             "jwks": "https://b.example/jwks"
///         }
///     ],
///     "list_bytes": 8388608
/// }"#;
/// let config: VerifierConfig = serde_json::from_str(text)?;
/// let verifier = Verifier::try_from(config)?;
/// assert_eq!(verifier.max_token_bytes(), 16_384);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifierConfig {
    /// The issuers whose tokens are accepted: 1 to 64.
    pub issuers: Vec<IssuerConfig>,
    /// The secret that signs the nonces of DPoP proofs and, optionally, a second one whose nonces
    /// are accepted too. Each has at least 32 bytes. Default: no nonces are required.
    pub nonce_secrets: Option<Vec<String>>,
    /// The memory limit for verified tokens, in bytes. Default 4194304; 0 remembers none.
    pub verified_bytes: Option<u64>,
    /// The memory limit for the status lists of each issuer, in bytes. Default 16777216.
    pub list_bytes: Option<u64>,
    /// The longest RSA modulus that the host's crypto takes, in bits. Longer keys are left out of
    /// JWK Sets. Default: 8192, the longest that any host takes.
    pub max_rsa_bits: Option<u32>,
}

/// An issuer whose tokens are accepted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The policy for the issuer's tokens.
    pub policy: PolicyConfig,
    /// The URL of the JWK Set, or the set itself in JSON, which begins with `{`. Default: the URL
    /// in the issuer's metadata.
    pub jwks: Option<String>,
}

/// The reason why a [`VerifierConfig`] is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A policy or the list of issuers is not acceptable.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// One of several issuers is not acceptable.
    #[error("issuers[{index}]: {error}")]
    Of {
        /// The position of the issuer.
        index: usize,
        /// What is wrong with it.
        error: Box<ConfigError>,
    },
    /// The URL of a JWK Set is not acceptable.
    #[error("jwks_uri: {0}")]
    JwksUri(PolicyError),
    /// A JWK Set in the configuration is refused as a whole.
    #[error(transparent)]
    Jwks(#[from] JwkSetError),
    /// A nonce secret has fewer than 32 bytes.
    #[error("nonce_secrets: {0}")]
    NonceSecret(#[from] SecretTooShort),
    /// `nonce_secrets` is empty or holds more than two.
    #[error("nonce_secrets: expected one or two")]
    NonceSecrets,
}

impl IssuerConfig {
    fn check(self, max_rsa_bits: Option<u32>) -> Result<(Policy, KeySource), ConfigError> {
        let issuer = self;
        let config = issuer.policy;
        let is_given = issuer.jwks.as_ref().is_some_and(|text| text.trim_start().starts_with('{'));
        if is_given {
            config.check_with_given_keys()?;
        }
        let mut policy = Policy::try_from(config)?;
        if let Some(bits) = max_rsa_bits {
            let octets = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX);
            policy.max_rsa_octets = octets;
            if let Some(policy) = &mut policy.list_issuer {
                policy.max_rsa_octets = octets;
            }
        }
        let keys = match issuer.jwks {
            None => KeySource::Discover,
            Some(text) if is_given => KeySource::given(text.as_bytes(), &policy)?,
            Some(url) => KeySource::Url(JwksUri::parse(&url).map_err(ConfigError::JwksUri)?),
        };
        Ok((policy, keys))
    }
}

impl TryFrom<VerifierConfig> for Verifier {
    type Error = ConfigError;

    fn try_from(config: VerifierConfig) -> Result<Self, ConfigError> {
        let (several, max_rsa_bits) = (config.issuers.len() > 1, config.max_rsa_bits);
        let read = |(index, issuer): (usize, IssuerConfig)| {
            issuer.check(max_rsa_bits).map_err(|error| match several {
                true => ConfigError::Of { index, error: Box::new(error) },
                false => error,
            })
        };
        let issuers = config.issuers.into_iter().enumerate().map(read);
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
