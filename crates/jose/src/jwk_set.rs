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
    /// The text is not a JSON object with an array `keys`.
    #[error("not a JWK Set")]
    NotASet,
    /// The set has more than [`MAX_KEYS`] keys, unusable ones included.
    #[error("more than {MAX_KEYS} keys")]
    TooManyKeys,
}

/// The result of looking up the key for a token's `kid` and `alg`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyMatch<'a> {
    /// Exactly one key matches.
    One(&'a Jwk),
    /// Several keys have this `kid` and algorithm: the first two in the order of the set. Further
    /// ones are not tried.
    Two(&'a Jwk, &'a Jwk),
    /// Every key with this `kid` is bound to another algorithm, or the token has no `kid` and several
    /// keys have its algorithm, or the `kid` is longer than
    /// [`MAX_KEY_ID_CHARS`](crate::jwk::MAX_KEY_ID_CHARS).
    Unfit,
    /// No key in this set matches. A newer set may have one.
    None,
}

impl JwkSet {
    /// Parses a set. Keeps the keys that bind to an algorithm of `allowed` and that pass `is_sound`
    /// (see `edgepass_crypto::is_sound`), and leaves out the others. Keeps equal keys of one `kid`
    /// once. Members of the set that it does not know, and an `iat` or `exp` of another form, have
    /// no effect.
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
        let members = json::parse_document(text).map_err(|_| JwkSetError::NotASet)?;
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
            if key.key_id().is_none() || !keys.contains(&key) {
                keys.push(key);
            }
        }
        let date = |value: &Value| value.as_number().and_then(NumericDate::floor);
        let issued_at = members.get("iat").and_then(date);
        let expiration = members.get("exp").and_then(date);
        Ok(Self { keys, issued_at, expiration })
    }

    /// The usable keys, in the order of the set.
    pub fn keys(&self) -> &[Jwk] {
        &self.keys
    }

    /// The private member `iat`, rounded down to whole seconds: when the issuer last changed its
    /// published keys. The verifier refuses a set older than the one it holds, so that a replayed
    /// set cannot restore a withdrawn key. `None` also when it is not a [`NumericDate`].
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
    ///
    /// A `kid` may name several keys, which `kty` and `alg` tell apart (RFC 7517 §4.5). A key is
    /// never found for an algorithm that it is not bound to.
    pub fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> KeyMatch<'_> {
        // No set, this one or a newer one, can hold a key with such a long `kid`.
        if key_id.is_some_and(|key_id| !is_key_id(key_id)) {
            return KeyMatch::Unfit;
        }
        let named = |key: &&Jwk| key_id.is_none() || key.key_id() == key_id;
        let mut fitting = self.keys.iter().filter(|key| key.algorithm() == algorithm).filter(named);
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => KeyMatch::One(only),
            (Some(first), Some(second)) if key_id.is_some() => KeyMatch::Two(first, second),
            (Some(_), Some(_)) => KeyMatch::Unfit,
            (None, _) if key_id.is_some() && self.keys.iter().any(|key| named(&key)) => {
                KeyMatch::Unfit
            }
            (None, _) => KeyMatch::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwk::MAX_KEY_ID_CHARS;
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
    fn a_repeated_kid_makes_only_that_kid_ambiguous() {
        let third = crate::base64url::encode(&[9; 32]);
        let (a, b, c) = (ed25519("a", X1), ed25519("a", X2), ed25519("a", &third));
        let other = ed25519("b", X1);
        let find = |keys: Value, id| {
            let set = parse(json!({ "keys": keys })).unwrap();
            let x = |key: &Jwk| match key.key() {
                PublicKey::Ed25519 { x } => crate::base64url::encode(x),
                _ => panic!("another kind of key"),
            };
            match set.find(Some(id), Algorithm::Ed25519) {
                KeyMatch::One(key) => vec![x(key)],
                KeyMatch::Two(first, second) => vec![x(first), x(second)],
                KeyMatch::Unfit | KeyMatch::None => Vec::new(),
            }
        };
        assert_eq!(find(json!([a, a]), "a"), [X1]);
        assert_eq!(find(json!([a, b, other]), "a"), [X1, X2]);
        assert_eq!(find(json!([b, a, other]), "a"), [X2, X1]);
        assert_eq!(find(json!([b, a, c, other]), "a"), [X2, X1]);
        assert_eq!(find(json!([a, b, other]), "b"), [X1]);
    }

    #[test]
    fn one_kid_may_name_keys_of_several_algorithms() {
        let n = crate::base64url::encode(&[0x81; 256]);
        let rsa = |alg: &str| json!({"kty": "RSA", "n": n, "e": "AQAB", "kid": "a", "alg": alg});
        let set = json!({"keys": [ed25519("a", X1), rsa("RS256"), rsa("PS256"), rsa("RSA-OAEP")]});
        let set = parse(set).unwrap();
        for algorithm in [Algorithm::Ed25519, Algorithm::Rs256, Algorithm::Ps256] {
            let KeyMatch::One(key) = set.find(Some("a"), algorithm) else {
                panic!("{algorithm:?}")
            };
            assert_eq!(key.algorithm(), algorithm);
        }
        // A key is bound to its `alg`: no other algorithm finds it.
        for algorithm in [Algorithm::Rs384, Algorithm::Ps512, Algorithm::Es256] {
            assert_eq!(set.find(Some("a"), algorithm), KeyMatch::Unfit, "{algorithm:?}");
        }
    }

    #[test]
    fn one_bad_member_leaves_the_rest_of_the_set_as_it_is() {
        let good = ed25519("good", X1);
        for odd in [
            json!(null),
            json!(7),
            json!([]),
            json!({}),
            json!({"kty": 1}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "good"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X2, "kid": 7}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X2, "kid": "k".repeat(MAX_KEY_ID_CHARS + 1)}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X2, "kid": "good", "use": "enc"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X2, "kid": "good", "use": "unheard-of"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X2, "kid": "good", "alg": "ES256"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": X2, "kid": "good", "d": X1}),
        ] {
            for keys in [json!([odd, good]), json!([good, odd])] {
                let set = parse(json!({"keys": keys, "iat": "1", "exp": {}, "more": odd})).unwrap();
                let found = set.find(Some("good"), Algorithm::Ed25519);
                assert!(matches!(found, KeyMatch::One(_)), "{odd}");
                assert_eq!((set.keys().len(), set.issued_at()), (1, None), "{odd}");
            }
        }
        let twice = r#"{"keys":[{"kty":"OKP","kty":"OKP"},GOOD,{"x":{"y":1,"y":1}}]}"#;
        let twice = twice.replace("GOOD", &good.to_string());
        let set = JwkSet::parse(twice.as_bytes(), &Algorithm::ALL, |_| true).unwrap();
        assert_eq!(set.keys().len(), 1);
        let long = ed25519(&"k".repeat(MAX_KEY_ID_CHARS), X1);
        assert_eq!(parse(json!({"keys": [long]})).unwrap().keys().len(), 1);
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
        for value in [json!({}), json!({"keys": {}}), json!({"keys": null})] {
            assert_eq!(parse(value.clone()).err(), Some(JwkSetError::NotASet), "{value}");
        }
        let many = json!({"keys": vec![json!({}); MAX_KEYS + 1]});
        assert_eq!(parse(many).err(), Some(JwkSetError::TooManyKeys));
        assert!(parse(json!({"keys": vec![json!({}); MAX_KEYS]})).is_ok());
        assert!(JwkSet::parse(b"<html>", &Algorithm::ALL, |_| true).is_err());
    }
}
