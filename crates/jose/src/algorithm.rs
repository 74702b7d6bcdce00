//! The signature algorithms, in one table: what each is called and which key it needs.

use crate::public_key::PublicKey;

/// A JWS signature algorithm that can be allowed by a policy.
///
/// There is no `none` and no symmetric algorithm, so neither can be named, allowed or reached.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// Ed25519: `alg` `Ed25519` (RFC 9864), and its older alias `EdDSA` bound to crv Ed25519.
    Ed25519,
    /// `ES256`: ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
    /// `RS256`: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    Rs256,
}

impl Algorithm {
    /// Every algorithm this version knows.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::Es256, Self::Rs256];

    /// The algorithm that `alg` names, compared exactly: `none`, `HS256` and `es256` are unknown.
    pub fn from_name(alg: &str) -> Option<Self> {
        match alg {
            "Ed25519" | "EdDSA" => Some(Self::Ed25519),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }

    /// The registered name (RFC 7518 §3.1, RFC 9864 §2.2).
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    /// Whether `key` is of the type and curve this algorithm signs with.
    pub fn fits(self, key: &PublicKey) -> bool {
        matches!(
            (self, key),
            (Self::Ed25519, PublicKey::Ed25519 { .. })
                | (Self::Es256, PublicKey::P256 { .. })
                | (Self::Rs256, PublicKey::Rsa { .. })
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_nothing_symmetric_exists() {
        for name in ["none", "None", "", "HS256", "es256", "ES256 ", "ESP256", "EDDSA"] {
            assert_eq!(Algorithm::from_name(name), None, "{name:?}");
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("EdDSA"), Some(Algorithm::Ed25519));
    }
}
