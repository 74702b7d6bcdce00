//! RSA moduli that a faulty library made: ROCA (CVE-2017-15361).
//!
//! The primes of such a modulus are powers of 65537 modulo a product of small primes. So is the
//! modulus, which shows without factoring it. About one in 10⁸ other moduli looks the same.
//!
//! Source: M. Nemec, M. Sys, P. Svenda, D. Klinec, V. Matyas, "The Return of Coppersmith's Attack",
//! ACM CCS 2017, §2.2.

/// Small primes modulo which 65537 generates only a part of all residues.
const PRIMES: [u8; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus has the form that ROCA leaves: anyone may be able to factor it.
pub(crate) fn has_roca_form(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let prime = u32::from(*prime);
        let residue = modulus.iter().fold(0, |sum: u32, byte| {
            (sum.wrapping_mul(256).wrapping_add((*byte).into())).checked_rem(prime).unwrap_or(0)
        });
        is_power(residue, prime)
    })
}

/// Whether `residue` is a power of 65537 modulo `prime`.
fn is_power(residue: u32, prime: u32) -> bool {
    let mut power: u32 = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power.wrapping_mul(65537).checked_rem(prime).unwrap_or(0);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigUint;

    #[test]
    fn a_modulus_of_that_form_is_known_and_others_are_not() {
        // The product of two numbers of the form k * M + 65537^a modulo M; whether they are prime
        // does not matter here.
        let product: BigUint = PRIMES.iter().map(|prime| BigUint::from(*prime)).product();
        let number = |k: u32, power: u32| {
            BigUint::from(k) * &product + BigUint::from(65537_u32).modpow(&power.into(), &product)
        };
        for (p, q) in [((7, 3), (90, 1000)), ((1, 0), (2, 5))] {
            let modulus = number(p.0, p.1) * number(q.0, q.1);
            assert!(has_roca_form(&modulus.to_bytes_be()));
            assert!(!has_roca_form(&(modulus + 2_u32).to_bytes_be()));
        }
        assert!(!has_roca_form(&[0xa5; 256]));
    }
}
