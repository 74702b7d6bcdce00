//! A token, before it is one.

/// What is known of a token from the start.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// `jti`.
    pub jwt_id: String,
    /// The role's name.
    pub role: String,
    /// `client_id`.
    pub client_id: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audience: String,
    /// `scope`.
    pub scope: String,
    /// `kid` of the key that signs it.
    pub key_id: String,
    /// Who asked for it.
    pub created_by: String,
    /// `iat`, in seconds.
    pub issued_at: u64,
    /// `exp`, in seconds.
    pub expiration: u64,
}
