//! The signature algorithms, with the name and the key type of each.

use crate::public_key::PublicKey;

/// A JWS signature algorithm that a policy can allow.
///
/// `none` and the symmetric algorithms are missing, so that no policy can allow them and no code
/// path leads to them.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// `Ed25519` (RFC 9864). Its older name `EdDSA` (RFC 8037 §3.1) is accepted for `crv` Ed25519
    /// only.
    Ed25519,
    /// `ES256`: ECDSA with P-256 and SHA-256 (RFC 7518 §3.4).
    Es256,
    /// `ES384`: ECDSA with P-384 and SHA-384 (RFC 7518 §3.4).
    Es384,
    /// `RS256`: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    Rs256,
    /// `RS384`: RSASSA-PKCS1-v1_5 with SHA-384 (RFC 7518 §3.3).
    Rs384,
    /// `RS512`: RSASSA-PKCS1-v1_5 with SHA-512 (RFC 7518 §3.3).
    Rs512,
    /// `PS256`: RSASSA-PSS with SHA-256 and a salt as long as the hash (RFC 7518 §3.5).
    Ps256,
    /// `PS384`: RSASSA-PSS with SHA-384 and a salt as long as the hash (RFC 7518 §3.5).
    Ps384,
    /// `PS512`: RSASSA-PSS with SHA-512 and a salt as long as the hash (RFC 7518 §3.5).
    Ps512,
}

impl Algorithm {
    /// All algorithms that this version supports.
    pub const ALL: [Self; 9] = [
        Self::Ed25519,
        Self::Es256,
        Self::Es384,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
    ];

    /// Returns the algorithm for an `alg` value, or `None` if it is unknown. The comparison is
    /// exact: `es256`, `none` and `HS256` are unknown.
    pub fn from_name(alg: &str) -> Option<Self> {
        match alg {
            "EdDSA" => Some(Self::Ed25519),
            _ => Self::ALL.into_iter().find(|algorithm| algorithm.name() == alg),
        }
    }

    /// Returns the registered name (RFC 7518 §3.1, RFC 9864 §2.2); never `EdDSA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// Whether `key` has the type and curve that this algorithm needs.
    pub fn fits(self, key: &PublicKey) -> bool {
        match key {
            PublicKey::Ed25519 { .. } => self == Self::Ed25519,
            PublicKey::P256 { .. } => self == Self::Es256,
            PublicKey::P384 { .. } => self == Self::Es384,
            PublicKey::Rsa { .. } => matches!(
                self,
                Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512
            ),
        }
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
