//! The public keys of a client that signs its own assertions.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use edgepass_jose::{Algorithm, Jwk, JwkSet, base64url, json as strict};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::entropy::{Entropy, NoEntropy};

/// The JWK Set of a client.
#[derive(Clone)]
pub struct ClientKeys {
    set: JwkSet,
}

/// The reason why a text is not the JWK Set of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotClientKeys {
    /// The text is no JWK Set.
    #[error("write a JWK Set as JSON: '{{\"keys\": [...]}}'")]
    NotASet,
    /// A key has private members, which only the client may have.
    #[error("a key is private: write only its public members")]
    Private,
    /// A key is malformed, of an algorithm that is not supported, or too weak. Holds its position,
    /// from 1.
    #[error(
        "key {0} is not usable: write kty, alg and the public members of an EdDSA, ES256, ES384, RS256 or PS256 key"
    )]
    Unusable(usize),
    /// The set is empty.
    #[error("the set has no key")]
    Empty,
}

impl ClientKeys {
    /// Parses a JWK Set. Every key must be public and usable.
    ///
    /// # Errors
    ///
    /// [`NotClientKeys`].
    ///
    /// # Example
    ///
    /// ```
    /// use edgepass_issuer::client::keys::{ClientKeys, NotClientKeys};
    ///
    /// let set = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1",
    ///     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    /// assert!(ClientKeys::parse(set).is_ok());
    /// assert_eq!(ClientKeys::parse(r#"{"keys": []}"#).err(), Some(NotClientKeys::Empty));
    /// ```
    pub fn parse(text: &str) -> Result<Self, NotClientKeys> {
        let members = strict::parse_object(text.as_bytes()).map_err(|_| NotClientKeys::NotASet)?;
        let Some(Value::Array(keys)) = members.get("keys") else {
            return Err(NotClientKeys::NotASet);
        };
        if keys.is_empty() {
            return Err(NotClientKeys::Empty);
        }
        for (position, key) in (1..).zip(keys) {
            // RFC 7518 §6.3.2 and §6.4.1, RFC 8037 §2
            if ["d", "k", "p", "q", "oth"].iter().any(|name| key.get(name).is_some()) {
                return Err(NotClientKeys::Private);
            }
            let read = Jwk::from_value(key, &Algorithm::ALL);
            if !read.is_ok_and(|key| edgepass_crypto::is_sound(key.key())) {
                return Err(NotClientKeys::Unusable(position));
            }
        }
        let set = JwkSet::parse(text.as_bytes(), &Algorithm::ALL, edgepass_crypto::is_sound);
        Ok(Self { set: set.map_err(|_| NotClientKeys::NotASet)? })
    }

    pub(crate) fn set(&self) -> &JwkSet {
        &self.set
    }
}

/// A new Ed25519 key of a client. The issuer keeps only its public half.
pub struct NewKey {
    seed: Zeroizing<[u8; 32]>,
    public: Vec<u8>,
}

impl NewKey {
    /// Generates a key.
    ///
    /// # Errors
    ///
    /// [`NoEntropy`].
    pub fn generate(entropy: &mut impl Entropy) -> Result<Self, NoEntropy> {
        let seed = Zeroizing::new(entropy.bytes::<32>()?);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| NoEntropy)?;
        Ok(Self { public: pair.public_key().as_ref().to_vec(), seed })
    }

    /// The JWK Set with the public key, for the configuration. Its `kid` is the key's thumbprint.
    pub fn public_set(&self) -> String {
        json!({ "keys": [self.members()] }).to_string()
    }

    /// The private key as a JWK, for the client.
    pub fn private_jwk(&self) -> Zeroizing<String> {
        let mut members = self.members();
        if let Some(members) = members.as_object_mut() {
            members.insert("d".to_owned(), base64url::encode(self.seed.as_slice()).into());
        }
        Zeroizing::new(members.to_string())
    }

    fn members(&self) -> Value {
        let mut jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": base64url::encode(&self.public),
        });
        let kid = Jwk::from_value(&jwk, &Algorithm::ALL).map(|key| key.thumbprint());
        if let (Ok(kid), Some(members)) = (kid, jwk.as_object_mut()) {
            members.insert("kid".to_owned(), kid.into());
        }
        jwk
    }
}

/// The thumbprints of the keys (RFC 7638), which name them in the stored policy.
impl Serialize for ClientKeys {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.set.keys().iter().map(Jwk::thumbprint))
    }
}
