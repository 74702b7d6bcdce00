//! The recorded facts of a token.

use serde::{Deserialize, Serialize};

/// The claim `cnf`: what the sender of a token must prove (RFC 7800).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Confirmation {
    /// Possession of the key with this thumbprint, by DPoP (RFC 9449 §6.1).
    #[serde(rename = "jkt")]
    Key(String),
    /// Possession of the certificate with this SHA-256 in base64url, by TLS (RFC 8705 §3.1).
    #[serde(rename = "x5t#S256")]
    Certificate(String),
}

/// The recorded claims of a token, its role, its key and the actor that requested it. All are known
/// before the token is recorded.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// The claim `jti`.
    pub jwt_id: String,
    /// The role's name.
    pub role: String,
    /// The claim `client_id`.
    pub client_id: String,
    /// The claim `sub`.
    pub subject: String,
    /// The claim `aud`.
    pub audience: String,
    /// The claim `scope`: scope tokens separated by spaces.
    pub scope: String,
    /// `kid` of the issuer's key that signs the token.
    pub key_id: String,
    /// The actor that requested the token: `client:<client_id>` or `cli:<user>`, as in
    /// [`AuditEntry::actor`](crate::audit::AuditEntry::actor).
    pub created_by: String,
    /// The number of the policy version that the token was issued under. `None`: it was issued by an
    /// older program.
    pub policy: Option<u64>,
    /// `id` of the agreement under which the token is used.
    pub agreement: Option<String>,
    /// The request for access under which the token was issued: its name.
    pub grant: Option<String>,
    /// `jti` of the token that this one was exchanged for.
    pub parent: Option<String>,
    /// The claim `cnf`.
    pub confirmation: Option<Confirmation>,
    /// The claim `iat`, in seconds.
    pub issued_at: u64,
    /// The claim `exp`, in seconds.
    pub expiration: u64,
}
