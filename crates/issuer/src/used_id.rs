//! Identifiers that may be used once: `jti` of client assertions, of proofs and of outside tokens.

use sha2::{Digest, Sha256};

/// The use of an identifier, until the thing that it names has expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsedId {
    /// A digest of the kind and the names.
    pub digest: [u8; 32],
    /// The second from which on the use need not be remembered.
    pub until: u64,
}

impl UsedId {
    /// The use of an identifier of this kind. `names` tell it from others of its kind.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::used_id::UsedId;
    ///
    /// let (one, other) = (UsedId::new("kind", &["ab", "c"], 1), UsedId::new("kind", &["a", "bc"], 1));
    /// assert_ne!(one, other);
    /// ```
    pub fn new(kind: &str, names: &[&str], until: u64) -> Self {
        let mut digest = Sha256::new();
        for part in [kind].iter().chain(names) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self { digest: digest.finalize().into(), until }
    }
}
