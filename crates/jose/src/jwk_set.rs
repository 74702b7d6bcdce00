//! The JWK Set of an issuer, with key lookup by `kid` and algorithm.

use serde_json::Value;

use crate::algorithm::Algorithm;
use crate::json;
use crate::jwk::{Jwk, is_key_id};
use crate::numeric_date::NumericDate;
use crate::public_key::PublicKey;

/// The usable keys of a JWK Set (RFC 7517 §5).
#[derive(Clone, Debug, Default)]
pub struct JwkSet {
    keys: Vec<Jwk>,
    issued_at: Option<NumericDate>,
    expiration: Option<NumericDate>,
}

/// The maximum number of keys in a set, unusable ones included. A longer set is refused as a whole.
pub const MAX_KEYS: usize = 100;

/// The reason why a JWK Set is refused as a whole.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwkSetError {
    /// The text is not a JSON object with an array `keys`, or `iat` is not a [`NumericDate`].
    #[error("not a JWK Set")]
    NotASet,
    /// The set has more than [`MAX_KEYS`] keys, unusable ones included.
    #[error("more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// Two different usable keys share a `kid`, so the signing key is ambiguous.
    #[error("two different keys share a kid")]
    DuplicateKeyId,
}

/// The result of looking up the key for a token's `kid` and `alg`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyMatch<'a> {
    /// Exactly one key matches.
    One(&'a Jwk),
    /// The key with this `kid` is bound to another algorithm, or the token has no `kid` and several
    /// keys have its algorithm, or the `kid` is longer than
    /// [`MAX_KEY_ID_CHARS`](crate::jwk::MAX_KEY_ID_CHARS).
    Unfit,
    /// No key in this set matches. A newer set may have one.
    None,
}

impl JwkSet {
    /// Parses a set. Keeps the keys that bind to an algorithm of `allowed` and that pass `is_sound`
    /// (see `edgepass_crypto::is_sound`), and leaves out the others. Keeps equal keys of one `kid`
    /// once.
    ///
    /// Source: [RFC 7517 §5](https://www.rfc-editor.org/rfc/rfc7517#section-5).
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_jose::jwk_set::KeyMatch;
    /// use edgepass_jose::{Algorithm, JwkSet};
    ///
    /// let text = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1",
    ///     "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// let set = JwkSet::parse(text, &[Algorithm::Ed25519], |_| true)?;
    /// assert!(matches!(set.find(Some("1"), Algorithm::Ed25519), KeyMatch::One(_)));
    /// assert_eq!(set.find(Some("2"), Algorithm::Ed25519), KeyMatch::None);
    /// # Ok::<(), edgepass_jose::jwk_set::JwkSetError>(())
    /// ```
    pub fn parse(
        text: &[u8],
        allowed: &[Algorithm],
        is_sound: impl Fn(&PublicKey) -> bool,
    ) -> Result<Self, JwkSetError> {
        let members = json::parse_object(text).map_err(|_| JwkSetError::NotASet)?;
        let Some(Value::Array(values)) = members.get("keys") else {
            return Err(JwkSetError::NotASet);
        };
        if values.len() > MAX_KEYS {
            return Err(JwkSetError::TooManyKeys);
        }
        let mut keys: Vec<Jwk> = Vec::new();
        for value in values {
            let key = match Jwk::from_value(value, allowed) {
                Ok(key) if is_sound(key.key()) => key,
                Ok(_) | Err(_) => continue,
            };
            match keys.iter().find(|held| held.key_id().is_some() && held.key_id() == key.key_id())
            {
                None => keys.push(key),
                Some(held) if *held == key => {}
                Some(_) => return Err(JwkSetError::DuplicateKeyId),
            }
        }
        let date = |value: &Value| value.as_number().and_then(NumericDate::floor);
        let issued_at = match members.get("iat") {
            None => None,
            Some(value) => Some(date(value).ok_or(JwkSetError::NotASet)?),
        };
        // RFC 7517 §5: unknown members are ignored. Another issuer's `exp` may have any form.
        let expiration = members.get("exp").and_then(date);
        Ok(Self { keys, issued_at, expiration })
    }

    /// The usable keys, in the order of the set.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The private member `iat`, rounded down to whole seconds: when the issuer last changed its
    /// published keys. The verifier refuses a set older than the one it holds, so that a replayed
    /// set cannot restore a withdrawn key.
    pub fn issued_at(&self) -> Option<NumericDate> {
        self.issued_at
    }

    /// The private member `exp`, rounded down: from this second on the verifier does not use the
    /// set, so a replayed set keeps a withdrawn key in use only until then. `None` also when it is
    /// not a [`NumericDate`].
    pub fn expiration(&self) -> Option<NumericDate> {
        self.expiration
    }

    /// Finds the key for the `kid` and the algorithm of a token. Without `kid`, finds the only key
    /// with that algorithm.
    pub fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> KeyMatch<'_> {
        // No set, this one or a newer one, can hold a key with such a long `kid`.
        if key_id.is_some_and(|key_id| !is_key_id(key_id)) {
            return KeyMatch::Unfit;
        }
        let fits = |key: &&Jwk| key.algorithm() == algorithm;
        match key_id {
            Some(_) => match self.keys.iter().find(|key| key.key_id() == key_id) {
                Some(key) if fits(&key) => KeyMatch::One(key),
                Some(_) => KeyMatch::Unfit,
                None => KeyMatch::None,
            },
            None => {
                let mut fitting = self.keys.iter().filter(fits);
                match (fitting.next(), fitting.next()) {
                    (Some(only), None) => KeyMatch::One(only),
                    (Some(_), Some(_)) => KeyMatch::Unfit,
                    (None, _) => KeyMatch::None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const X1: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const X2: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";

    fn ed25519(key_id: &str, x: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": key_id, "x": x})
    }

    fn parse(value: Value) -> Result<JwkSet, JwkSetError> {
        JwkSet::parse(value.to_string().as_bytes(), &Algorithm::ALL, |_| true)
    }

    #[test]
    fn a_bad_key_does_not_take_the_good_ones_down() {
        let set = parse(json!({"keys": [
            {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA", "kid": "pq"},
            {"kty": "oct", "k": "AAAA", "kid": "secret"},
            {"kty": "EC", "crv": "P-521", "x": "A".repeat(64), "y": "A".repeat(64), "kid": "521"},
            "nonsense",
            ed25519("good", X1),
        ]}))
        .unwrap();
        assert_eq!(set.keys().len(), 1);
        assert!(matches!(set.find(Some("good"), Algorithm::Ed25519), KeyMatch::One(_)));
        assert_eq!(set.find(Some("pq"), Algorithm::Ed25519), KeyMatch::None);
        assert_eq!(set.find(Some("good"), Algorithm::Es256), KeyMatch::Unfit);
    }

    #[test]
    fn one_kid_names_one_key() {
        let twice = json!({"keys": [ed25519("a", X1), ed25519("a", X1)]});
        assert_eq!(parse(twice).unwrap().keys().len(), 1);
        let clash = json!({"keys": [ed25519("a", X1), ed25519("a", X2)]});
        assert_eq!(parse(clash).err(), Some(JwkSetError::DuplicateKeyId));
    }

    #[test]
    fn without_kid_exactly_one_key_must_fit() {
        let one = parse(json!({"keys": [ed25519("a", X1)]})).unwrap();
        assert!(matches!(one.find(None, Algorithm::Ed25519), KeyMatch::One(_)));
        let two = parse(json!({"keys": [ed25519("a", X1), ed25519("b", X2)]})).unwrap();
        assert_eq!(two.find(None, Algorithm::Ed25519), KeyMatch::Unfit);
        assert_eq!(two.find(None, Algorithm::Rs256), KeyMatch::None);
    }

    #[test]
    fn refuses_what_is_not_a_set() {
        for value in [json!({}), json!({"keys": {}}), json!({"keys": [], "iat": "1"})] {
            assert_eq!(parse(value.clone()).err(), Some(JwkSetError::NotASet), "{value}");
        }
        let many = json!({"keys": vec![json!({}); MAX_KEYS + 1]});
        assert_eq!(parse(many).err(), Some(JwkSetError::TooManyKeys));
        assert!(parse(json!({"keys": vec![json!({}); MAX_KEYS]})).is_ok());
        assert!(JwkSet::parse(b"<html>", &Algorithm::ALL, |_| true).is_err());
    }
}
