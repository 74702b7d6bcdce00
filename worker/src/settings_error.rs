//! Mistakes in the Worker's settings. Their texts name the variable or binding and say what to set.

use edgepass_jose::json::NotAnObject;
use edgepass_verify::checks::RequirementsError;
use edgepass_verify::policy::json::ShapeError;
use edgepass_verify::verifier::config::ConfigError;

use crate::policy_error::PolicyError;
use crate::settings::{KNOWN, OF_ONE, SECRET_CHARACTERS};

/// A mistake in the settings. No text repeats the value of a variable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The bundled policy is not JSON. The build writes it as JSON, so this does not occur.
    #[error("the bundled policy: {0}")]
    PolicyText(NotAnObject),
    #[error("the bundled policy: {0}")]
    PolicyShape(ShapeError),
    #[error("the bundled policy: {0}")]
    Policy(PolicyError),
    #[error("the bundled policy: {0}")]
    Requirements(RequirementsError),
    #[error(
        "write compatibility_date = \"2024-11-11\" or later in wrangler.toml: before, no request \
         could bypass caches"
    )]
    CompatibilityDate,
    #[error("set the variable {0}")]
    Missing(&'static str),
    #[error("{0} must be a non-empty string")]
    NotAString(&'static str),
    #[error("{0} must be a number of bytes, as a string")]
    NotBytes(&'static str),
    #[error("{0} is not JSON")]
    NotJson(&'static str),
    #[error(
        "{name} must have at least {SECRET_CHARACTERS} characters, visible ASCII, drawn at random"
    )]
    WeakSecret { name: &'static str },
    #[error("{previous} is set without {current}")]
    PreviousSecretAlone { current: &'static str, previous: &'static str },
    #[error("the binding {name} has no method {method}()")]
    Binding { name: &'static str, method: &'static str },
    #[error("rate_limit: bind a rate limit as {name}, which a route of the policy names")]
    Limiter { name: String },
    #[error("{name} is not a setting of the guard; the settings are {}", KNOWN.join(", "))]
    Unknown { name: String },
    #[error(
        "ORIGIN_URL must be an https URL (http only on loopback) without user, query or fragment"
    )]
    OriginUrl,
    #[error("set ORIGIN_URL, or bind a service as ORIGIN")]
    NoOrigin,
    #[error("CACHE must be \"cache-api\" or \"none\"")]
    Cache,
    #[error("{0} has no effect without EXTERNAL_URL: set it")]
    NeedsExternalUrl(&'static str),
    #[error(
        "DOCUMENTS holds no document of {0}: its JWK Set must be below DOCUMENTS_URL (or ISSUER); set \
         JWKS_URI"
    )]
    NotInBucket(String),
    #[error("EXTERNAL_URL must be a scheme and an authority: \"https://api.example\"")]
    ExternalUrl,
    #[error("USER_AGENT must be visible ASCII")]
    UserAgent,
    #[error("bind either ISSUER_SERVICE or DOCUMENTS, not both")]
    TwoSources,
    #[error("DOCUMENTS_URL is set without a bucket DOCUMENTS")]
    DocumentsUrlAlone,
    #[error("set the variable DOCUMENTS_URL with the bucket DOCUMENTS")]
    NoDocumentsUrl,
    #[error("DOCUMENTS_URL must be an https URL (http only on loopback)")]
    DocumentsUrl,
    #[error("set either ISSUERS or {}, not both", OF_ONE.join(", "))]
    TwoWays,
    #[error("set USAGE_CLIENT_ID together with the secret USAGE_CLIENT_SECRET")]
    UsageClient,
    #[error("counts of use go to one place: bind USAGE, or set USAGE_CLIENT_ID, not both")]
    UsageTwice,
    #[error("{0} has no effect alone: bind USAGE, or set USAGE_CLIENT_ID and USAGE_CLIENT_SECRET")]
    UsageAlone(&'static str),
    #[error(
        "with ISSUERS, set USAGE_ISSUER to the issuer whose tokens are counted; with ISSUER leave it out"
    )]
    UsageIssuer,
    #[error("USAGE_INTERVAL must be a duration from \"1s\" to \"1h\"")]
    UsageInterval,
    #[error(
        "set the secret MASK_KEY (at least 32 characters) if and only if a route masks with = \"hash\""
    )]
    MaskKey,
    #[error("ISSUERS must be a JSON array")]
    Issuers,
    #[error("ISSUERS: {0}")]
    Issuer(ShapeError),
    /// The verifier refuses a setting. `variables` names those that may have caused the error.
    #[error("{variables}: {error}")]
    Verifier { variables: String, error: Box<ConfigError> },
}
