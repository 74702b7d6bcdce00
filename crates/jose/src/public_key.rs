//! Public key material, by key type.

/// Public key material whose encoding is well formed. That a point lies on its curve is for
/// `edgepass-crypto` to say.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicKey {
    /// `kty` OKP, `crv` Ed25519 (RFC 8037 §2).
    Ed25519 {
        /// The encoded point.
        x: [u8; 32],
    },
    /// `kty` EC, `crv` P-256 (RFC 7518 §6.2.1).
    P256 {
        /// Big-endian, full length.
        x: [u8; 32],
        /// Big-endian, full length.
        y: [u8; 32],
    },
    /// `kty` EC, `crv` P-384 (RFC 7518 §6.2.1).
    P384 {
        /// Big-endian, full length.
        x: [u8; 48],
        /// Big-endian, full length.
        y: [u8; 48],
    },
    /// `kty` RSA (RFC 7518 §6.3.1).
    Rsa {
        /// Modulus, big-endian, no leading zero octet, of a length in [`RSA_BITS`](crate::jwk::RSA_BITS).
        n: Vec<u8>,
        /// Exponent, big-endian, no leading zero octet, one of [`RSA_EXPONENTS`](crate::jwk::RSA_EXPONENTS).
        e: Vec<u8>,
    },
}
