//! The recorded facts of a token.

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
    /// The claim `iat`, in seconds.
    pub issued_at: u64,
    /// The claim `exp`, in seconds.
    pub expiration: u64,
}
