//! Public key material, by key type.

/// Public key material with a well-formed encoding. `edgepass-crypto` checks whether a point is on
/// its curve.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicKey {
    /// `kty` OKP, `crv` Ed25519 (RFC 8037 §2).
    Ed25519 {
        /// The encoded point (RFC 8032 §5.1.2).
        x: [u8; 32],
    },
    /// `kty` EC, `crv` P-256 (RFC 7518 §6.2.1).
    P256 {
        /// The x coordinate, big-endian, full length.
        x: [u8; 32],
        /// The y coordinate, big-endian, full length.
        y: [u8; 32],
    },
    /// `kty` EC, `crv` P-384 (RFC 7518 §6.2.1).
    P384 {
        /// The x coordinate, big-endian, full length.
        x: [u8; 48],
        /// The y coordinate, big-endian, full length.
        y: [u8; 48],
    },
    /// `kty` RSA (RFC 7518 §6.3.1).
    Rsa {
        /// The modulus, big-endian, without a leading zero octet. Its length is within
        /// [`RSA_BITS`](crate::jwk::RSA_BITS).
        n: Vec<u8>,
        /// The exponent, big-endian, without a leading zero octet. One of
        /// [`RSA_EXPONENTS`](crate::jwk::RSA_EXPONENTS).
        e: Vec<u8>,
    },
}
