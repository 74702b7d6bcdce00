//! The JSON Web Key: one public key, bound to one algorithm when it is parsed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::base64url;
use crate::json::JsonObject;
use crate::public_key::PublicKey;
use crate::thumbprint::thumbprint;

/// Accepted RSA modulus lengths, in bits.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// The maximum length of a `kid`, in characters. A JWK with a longer `kid` is refused.
pub const MAX_KEY_ID_CHARS: usize = 1024;
/// Accepted RSA public exponents. Every host can import them.
pub const RSA_EXPONENTS: [u32; 4] = [3, 17, 37, 65537];

/// A public key for verifying signatures, bound to exactly one algorithm. Cheap to clone.
#[derive(Clone, Debug, Eq)]
pub struct Jwk(Arc<Parts>);

#[derive(Debug, Eq, PartialEq)]
struct Parts {
    key_id: Option<String>,
    issuer: Option<String>,
    algorithm: Algorithm,
    key: PublicKey,
}

impl PartialEq for Jwk {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// The reason why a JWK is refused as a verification key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwkError {
    /// The JWK is not a JSON object, a required member is absent, a member that is read is not a
    /// string, `key_ops` is not an array of distinct strings, or `kid` is longer than
    /// [`MAX_KEY_ID_CHARS`].
    #[error("a member of the JWK is absent or has the wrong type")]
    MemberInvalid,
    /// `kty`, `crv` or `alg` is unknown to this version. RFC 7517 §5 says to ignore such keys.
    #[error("the key type is not known")]
    Unknown,
    /// The JWK carries private or symmetric key material.
    #[error("the JWK holds private or symmetric key material")]
    NotPublic,
    /// `use` is present and not `sig`, or `key_ops` is present and lacks `verify`.
    #[error("the JWK is not for verifying signatures")]
    NotForVerifying,
    /// `alg` is not allowed, or it is absent and not exactly one allowed algorithm fits the key.
    #[error("no single allowed algorithm fits the key")]
    AlgorithmNotAllowed,
    /// A coordinate has the wrong length, the modulus or the exponent is not accepted, a member is
    /// not base64url, or `alg` does not fit the key.
    #[error("the key material is malformed or too weak")]
    KeyInvalid,
}

impl Jwk {
    /// Parses one JWK and binds it to an algorithm of `allowed`: to its own `alg` or, without
    /// `alg`, to the only allowed algorithm that fits the key.
    ///
    /// Source: [RFC 7517 §4](https://www.rfc-editor.org/rfc/rfc7517#section-4),
    /// [RFC 7518 §6](https://www.rfc-editor.org/rfc/rfc7518#section-6), RFC 8725 §3.1.
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::{Algorithm, Jwk};
    ///
    /// let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"; // RFC 8037 Appendix A.2
    /// let jwk = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x});
    /// let key = Jwk::from_value(&jwk, &Algorithm::ALL)?;
    /// assert_eq!((key.key_id(), key.algorithm()), (Some("1"), Algorithm::Ed25519));
    /// assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    /// # Ok::<(), edgepass_jose::jwk::JwkError>(())
    /// ```
    pub fn from_value(value: &Value, allowed: &[Algorithm]) -> Result<Self, JwkError> {
        let members = value.as_object().ok_or(JwkError::MemberInvalid)?;
        let kty = required(members, "kty")?;
        if PRIVATE_MEMBERS.iter().any(|name| members.contains_key(*name)) {
            return Err(JwkError::NotPublic);
        }
        check_purpose(members)?;
        let key = match kty {
            "OKP" if required(members, "crv")? == "Ed25519" => {
                PublicKey::Ed25519 { x: octets(members, "x")? }
            }
            "EC" if required(members, "crv")? == "P-256" => {
                PublicKey::P256 { x: octets(members, "x")?, y: octets(members, "y")? }
            }
            "EC" if required(members, "crv")? == "P-384" => {
                PublicKey::P384 { x: octets(members, "x")?, y: octets(members, "y")? }
            }
            "RSA" => rsa(members)?,
            _ => return Err(JwkError::Unknown),
        };
        let key_id = optional(members, "kid")?;
        if key_id.is_some_and(|key_id| !is_key_id(key_id)) {
            return Err(JwkError::MemberInvalid);
        }
        let key_id = key_id.map(str::to_owned);
        let algorithm = bind(&key, optional(members, "alg")?, allowed)?;
        // No member of a standard, so anything else than a string says nothing.
        let issuer = members.get("issuer").and_then(Value::as_str).map(str::to_owned);
        Ok(Self(Arc::new(Parts { key_id, issuer, algorithm, key })))
    }

    /// Returns `kid`, an opaque string, or `None` when it is absent.
    pub fn key_id(&self) -> Option<&str> {
        self.0.key_id.as_deref()
    }

    /// The member `issuer`, by which Microsoft Entra says which tenant a key belongs to.
    pub fn issuer(&self) -> Option<&str> {
        self.0.issuer.as_deref()
    }

    /// The only algorithm that this key verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// The key material.
    pub fn key(&self) -> &PublicKey {
        &self.0.key
    }

    /// Returns the JWK Thumbprint with SHA-256, in base64url.
    ///
    /// Source: [RFC 7638 §3](https://www.rfc-editor.org/rfc/rfc7638#section-3).
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.0.key)
    }
}

/// Whether a `kid` has at most [`MAX_KEY_ID_CHARS`].
pub(crate) fn is_key_id(key_id: &str) -> bool {
    key_id.chars().count() <= MAX_KEY_ID_CHARS
}

fn check_purpose(members: &JsonObject) -> Result<(), JwkError> {
    if optional(members, "use")?.is_some_and(|purpose| purpose != "sig") {
        return Err(JwkError::NotForVerifying);
    }
    match members.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(ops)) => {
            // RFC 7517 §4.3: an array of strings without duplicates.
            let mut names = BTreeSet::new();
            for name in ops {
                if !names.insert(name.as_str().ok_or(JwkError::MemberInvalid)?) {
                    return Err(JwkError::MemberInvalid);
                }
            }
            if names.contains("verify") { Ok(()) } else { Err(JwkError::NotForVerifying) }
        }
        Some(_) => Err(JwkError::MemberInvalid),
    }
}

fn bind(
    key: &PublicKey,
    named: Option<&str>,
    allowed: &[Algorithm],
) -> Result<Algorithm, JwkError> {
    if let Some(name) = named {
        let algorithm = Algorithm::from_name(name).ok_or(JwkError::Unknown)?;
        if !algorithm.fits(key) {
            return Err(JwkError::KeyInvalid);
        }
        return if allowed.contains(&algorithm) {
            Ok(algorithm)
        } else {
            Err(JwkError::AlgorithmNotAllowed)
        };
    }
    let mut fitting = allowed.iter().filter(|algorithm| algorithm.fits(key));
    match fitting.next() {
        // `allowed` may hold an algorithm twice: by its name and by its alias.
        Some(only) if fitting.all(|other| other == only) => Ok(*only),
        _ => Err(JwkError::AlgorithmNotAllowed),
    }
}

fn rsa(members: &JsonObject) -> Result<PublicKey, JwkError> {
    // Without the leading zero octets that some issuers write, although RFC 7518 §6.3.1.1 has none.
    let integer = |name| {
        let bytes = base64url::decode(required(members, name)?).ok_or(JwkError::KeyInvalid)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Ok::<Vec<u8>, JwkError>(bytes.into_iter().skip(zeros).collect())
    };
    let (n, e) = (integer("n")?, integer("e")?);
    let (Some(first), Some(last)) = (n.first(), n.last()) else { return Err(JwkError::KeyInvalid) };
    let bits = n.len().saturating_mul(8).saturating_sub(first.leading_zeros() as usize);
    let exponent =
        e.iter().try_fold(0_u32, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()));
    let accepted = exponent.is_some_and(|exponent| RSA_EXPONENTS.contains(&exponent));
    let is_odd = last & 1 == 1;
    if RSA_BITS.contains(&bits) && is_odd && accepted {
        Ok(PublicKey::Rsa { n, e })
    } else {
        Err(JwkError::KeyInvalid)
    }
}

fn octets<const N: usize>(members: &JsonObject, name: &str) -> Result<[u8; N], JwkError> {
    base64url::decode_array(required(members, name)?).ok_or(JwkError::KeyInvalid)
}

fn required<'a>(members: &'a JsonObject, name: &str) -> Result<&'a str, JwkError> {
    optional(members, name)?.ok_or(JwkError::MemberInvalid)
}

fn optional<'a>(members: &'a JsonObject, name: &str) -> Result<Option<&'a str>, JwkError> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(JwkError::MemberInvalid),
    }
}

/// Private members of OKP, EC, RSA and AKP keys, and the symmetric `k`.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> Result<Jwk, JwkError> {
        Jwk::from_value(&value, &Algorithm::ALL)
    }

    #[test]
    fn thumbprint_is_that_of_rfc_8037_appendix_a3() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = read(json!({"kty": "OKP", "crv": "Ed25519", "x": x})).unwrap();
        assert_eq!(key.thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(key.algorithm(), Algorithm::Ed25519);
    }

    #[test]
    fn a_key_is_bound_to_one_algorithm_and_one_purpose() {
        use JwkError::*;
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for (extra, expected) in [
            (json!({"alg": "EdDSA"}), None),
            (json!({"alg": "Ed25519", "use": "sig", "key_ops": ["verify"]}), None),
            (json!({"alg": "ES256"}), Some(KeyInvalid)),
            (json!({"alg": "HS256"}), Some(Unknown)),
            (json!({"alg": 1}), Some(MemberInvalid)),
            (json!({"use": "enc"}), Some(NotForVerifying)),
            (json!({"key_ops": ["sign"]}), Some(NotForVerifying)),
            (json!({"key_ops": []}), Some(NotForVerifying)),
            (json!({"key_ops": ["verify", "verify"]}), Some(MemberInvalid)),
            (json!({"key_ops": ["verify", 1]}), Some(MemberInvalid)),
            (json!({"key_ops": "verify"}), Some(MemberInvalid)),
            (json!({"d": x}), Some(NotPublic)),
            (json!({"kty": "oct", "k": "AAAA"}), Some(NotPublic)),
            (json!({"kty": "AKP"}), Some(Unknown)),
            (json!({"crv": "X25519"}), Some(Unknown)),
            (json!({"x": "AAAA"}), Some(KeyInvalid)),
            (json!({"x": format!("{x}=")}), Some(KeyInvalid)),
            (json!({"kid": 7}), Some(MemberInvalid)),
        ] {
            let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
            for (name, value) in extra.as_object().unwrap() {
                jwk[name] = value.clone();
            }
            assert_eq!(read(jwk).err(), expected, "{extra}");
        }
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        assert_eq!(Jwk::from_value(&jwk, &[]).err(), Some(AlgorithmNotAllowed));
        assert_eq!(Jwk::from_value(&jwk, &[Algorithm::Es256]).err(), Some(AlgorithmNotAllowed));
    }

    #[test]
    fn a_key_without_alg_is_bound_only_where_one_choice_is_left() {
        let n = base64url::encode(&[0x81; 256]);
        let bound = |alg: Option<&str>, allowed: &[Algorithm]| {
            let mut jwk = json!({"kty": "RSA", "n": n, "e": "AQAB"});
            if let Some(alg) = alg {
                jwk["alg"] = json!(alg);
            }
            Jwk::from_value(&jwk, allowed).map(|key| key.algorithm())
        };
        let (rs, ps, es) = (Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256);
        assert_eq!(bound(None, &[es, ps]), Ok(ps));
        assert_eq!(bound(None, &[ps, ps]), Ok(ps));
        assert_eq!(bound(None, &[rs, ps]), Err(JwkError::AlgorithmNotAllowed));
        assert_eq!(bound(Some("RS256"), &[rs, ps]), Ok(rs));
        assert_eq!(bound(Some("RS512"), &[rs, ps]), Err(JwkError::AlgorithmNotAllowed));
        assert_eq!(bound(Some("ES256"), &[rs, es]), Err(JwkError::KeyInvalid));
    }

    #[test]
    fn rsa_keys_are_of_a_length_and_exponent_every_host_takes() {
        let modulus = |octets: usize, first: u8, last: u8| {
            let mut n = vec![0xa5; octets];
            n[0] = first;
            n[octets - 1] = last;
            base64url::encode(&n)
        };
        for (n, e, accepted) in [
            (modulus(256, 0x80, 1), "AQAB", true),
            (modulus(256, 0x80, 1), "Aw", true),
            (modulus(257, 0x01, 1), "AQAB", true), // 2049 bits
            (modulus(257, 0x04, 1), "AQAB", true), // 2051 bits
            (modulus(257, 0x40, 1), "AQAB", true), // 2055 bits
            (modulus(1024, 0xff, 1), "AQAB", true),
            (modulus(257, 0x00, 1), "AQAB", true), // 2048 bits after a leading zero
            (modulus(256, 0x80, 1), "AAEAAQ", true), // leading zero
            (modulus(256, 0x80, 1), "AAAAAQAB", true),
            (modulus(256, 0x7f, 1), "AQAB", false), // 2047 bits
            (modulus(128, 0x80, 1), "AQAB", false),
            (modulus(1025, 0x01, 1), "AQAB", false), // 8193 bits
            (modulus(256, 0x00, 1), "AQAB", false),  // 2040 bits after a leading zero
            (modulus(256, 0x80, 2), "AQAB", false),  // even
            (modulus(256, 0x80, 1), "AQ", false),    // e = 1
            (modulus(256, 0x80, 1), "AQAAAAAB", false),
            (modulus(256, 0x80, 1), "", false),
            ("AAAA".into(), "AQAB", false),
            (String::new(), "AQAB", false),
        ] {
            let jwk = json!({"kty": "RSA", "n": n, "e": e, "alg": "PS384"});
            assert_eq!(read(jwk).is_ok(), accepted, "{} {e}", n.len());
        }
    }
}
