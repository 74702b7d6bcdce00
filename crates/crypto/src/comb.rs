//! Combs: a scalar in 32 signed digits, each of which picks a multiple from a table.
//!
//! A verifier sees few keys and many signatures. With all multiples d·2⁸ⁱ·P (d from 1 to 128, i from 0
//! to 31) of a point P laid out, k·P is a sum of at most 32 of them, without a doubling.

/// Digits of a scalar.
pub(crate) const POSITIONS: usize = 32;

/// Multiples at each position: digits are at most this in magnitude, and the sign is applied to the
/// point.
pub(crate) const MULTIPLES: usize = 128;

/// The digits dᵢ in [−128, 128] with Σ dᵢ·2⁸ⁱ = `scalar`, which has its least significant octet first
/// and must be below 2²⁵⁵.
pub(crate) fn digits(scalar: &[u8; 32]) -> [i16; POSITIONS] {
    let mut carry = 0;
    scalar.map(|octet| {
        // At most 256; the last octet is at most 127, so nothing is carried out of it but into 128.
        let digit = i16::from(octet).saturating_add(carry);
        carry = i16::from(digit > 128);
        digit.saturating_sub(carry << 8)
    })
}
