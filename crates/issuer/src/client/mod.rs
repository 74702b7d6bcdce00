//! OAuth clients, and how they authenticate.

pub mod assertion;
pub mod keys;
pub mod secret;

use edgepass_verify::UnixMillis;
use serde::Serialize;

use self::keys::ClientKeys;
use self::secret::DatedSecret;
use crate::selection::StatusChange;

/// An OAuth client (RFC 6749 §2).
#[derive(Clone, Serialize)]
pub struct Client {
    /// `client_id`, unique in the policy.
    pub id: String,
    /// Names of the roles that the client may use. The first is the default. Empty for a resource
    /// server that only introspects.
    pub roles: Vec<String>,
    /// Changes that the client may make over HTTP to tokens of all clients.
    pub may: Vec<StatusChange>,
    /// The audiences whose tokens the client may introspect (RFC 7662).
    pub introspects: Vec<String>,
    /// The audiences whose tokens the client may exchange, besides its own tokens (RFC 8693).
    pub exchanges: Vec<String>,
    /// Whether the client may allot status entries for tokens of other issuers.
    pub allots: bool,
    /// The audiences of the tokens whose use the client may report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reports_use_of: Vec<String>,
    /// How the client authenticates.
    pub authentication: Authentication,
}

/// How a client authenticates. Each client has one way.
#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// By a secret: `client_secret_basic` or `client_secret_post`. There are two while one is
    /// exchanged for the other.
    Secrets(Vec<DatedSecret>),
    /// By a JWT that it signs: `private_key_jwt`.
    Keys(ClientKeys),
    /// By its TLS certificate: `self_signed_tls_client_auth`. The SHA-256 of each certificate, in
    /// base64url.
    Certificates(Vec<String>),
}

impl Authentication {
    /// `secret`, `key` or `certificate`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Secrets(_) => "secret",
            Self::Keys(_) => "key",
            Self::Certificates(_) => "certificate",
        }
    }

    /// Whether the issuer stores something that the client must keep secret, if only a hash of it.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Secrets(_))
    }

    /// Whether the client can never authenticate again: all its secrets have ended.
    pub fn has_ended(&self, now: UnixMillis) -> bool {
        let now = now.numeric_date().seconds();
        let ended = |secret: &DatedSecret| secret.until.is_some_and(|until| now >= until);
        matches!(self, Self::Secrets(secrets) if secrets.iter().all(ended))
    }
}
