//! Identifiers that may be used once: `jti` of client assertions, of proofs and of outside tokens.

use sha2::{Digest, Sha256};

/// The use of an identifier, until the thing that it names has expired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsedId {
    /// What the identifier belongs to. It is not stored.
    pub kind: IdKind,
    /// A digest of the kind and the names.
    pub digest: [u8; 32],
    /// The second from which on the use need not be remembered.
    pub until: u64,
}

/// What an identifier that may be used once belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IdKind {
    /// A client's assertion.
    ClientAssertion,
    /// A DPoP proof.
    Proof,
    /// The token of an outside issuer.
    OutsideToken,
}

impl IdKind {
    fn name(self) -> &'static str {
        match self {
            Self::ClientAssertion => "client_assertion",
            Self::Proof => "proof",
            Self::OutsideToken => "outside_token",
        }
    }
}

impl UsedId {
    /// The use of an identifier of this kind. `names` tell it from others of its kind.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::used_id::{IdKind, UsedId};
    ///
    /// let id = |names: &[&str]| UsedId::new(IdKind::OutsideToken, names, 1);
    /// assert_ne!(id(&["ab", "c"]), id(&["a", "bc"]));
    /// ```
    pub fn new(kind: IdKind, names: &[&str], until: u64) -> Self {
        let mut digest = Sha256::new();
        for part in [kind.name()].iter().chain(names) {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self { kind, digest: digest.finalize().into(), until }
    }
}
