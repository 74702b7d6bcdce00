//! The issuer's own keys: Ed25519, generated once, sealed at rest, published as JWKs.

use edgepass_jose::PublicKey;
use edgepass_jose::json::JsonObject;
use edgepass_jose::thumbprint::thumbprint;
use edgepass_jose::{base64url, compact};
use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::entropy::{Entropy, NoEntropy};
use crate::seal::{MasterKey, SealError};

/// A key that can sign. It has no `Debug`.
pub struct SigningKey {
    key_id: String,
    key: EncodingKey,
}

/// A stored key, whose private half is sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedKey {
    /// `kid`: the JWK Thumbprint of the public key (RFC 7638).
    pub key_id: String,
    /// State of the key.
    pub state: KeyState,
    /// The Ed25519 public key.
    pub x: [u8; 32],
    /// The PKCS #8 document, sealed under the master key with the `kid` as its name. Empty for a
    /// withdrawn key.
    pub sealed: Vec<u8>,
    /// Time of creation, in seconds.
    pub created_at: u64,
    /// Time at which the key was first known to be published everywhere, in seconds.
    pub published_at: Option<u64>,
    /// Time at which the key started to sign, in seconds.
    pub signs_since: Option<u64>,
    /// Time at which the key leaves the set, in seconds, once that is decided.
    pub retires_at: Option<u64>,
}

/// The state of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyState {
    /// The key signs.
    Signing,
    /// The key is published but does not sign yet, so that every verifier knows it before it signs.
    Standby,
    /// The key no longer signs. It stays published until its last token has expired.
    Retired,
    /// The key no longer signs. It leaves the set as soon as no list needs it.
    Compromised,
    /// The key is no longer published. Its private half is deleted.
    Withdrawn,
}

impl KeyState {
    /// Name of the state, as stored and as shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Standby => "standby",
            Self::Retired => "retired",
            Self::Compromised => "compromised",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Finds a state by its name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Signing, Self::Standby, Self::Retired, Self::Compromised, Self::Withdrawn]
            .into_iter()
            .find(|state| state.name() == name)
    }

    /// Whether keys in this state are in the published set.
    pub fn is_published(self) -> bool {
        self != Self::Withdrawn
    }
}

/// The signature could not be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("signing failed")]
pub struct SigningFailed;

impl SealedKey {
    /// Generates a key in the given state. `now` is in seconds.
    ///
    /// # Errors
    ///
    /// [`KeyError::Entropy`], [`KeyError::Seal`] or [`KeyError::Key`].
    pub fn generate(
        state: KeyState,
        master: &MasterKey,
        entropy: &mut impl Entropy,
        now: u64,
    ) -> Result<Self, KeyError> {
        let seed = Zeroizing::new(entropy.bytes::<32>()?);
        let document = pkcs8(&seed);
        let x = public_key(&document)?;
        let key_id = thumbprint(&PublicKey::Ed25519 { x });
        Ok(Self {
            sealed: master.seal(&key_id, &document)?,
            key_id,
            state,
            x,
            created_at: now,
            published_at: None,
            signs_since: (state == KeyState::Signing).then_some(now),
            retires_at: None,
        })
    }

    /// Opens the key for signing.
    ///
    /// # Errors
    ///
    /// [`KeyError::Seal`] with [`SealError::WrongMasterKey`]; [`KeyError::Key`] if the private half
    /// does not belong to the public key.
    pub fn open(&self, master: &MasterKey) -> Result<SigningKey, KeyError> {
        let document = master.open(&self.key_id, &self.sealed)?;
        if public_key(&document)? != self.x {
            return Err(KeyError::Key);
        }
        Ok(SigningKey { key_id: self.key_id.clone(), key: EncodingKey::from_ed_der(&document) })
    }

    /// The public JWK. Its `alg` is `EdDSA`, the name that today's verifiers know (RFC 8037 §3.1).
    pub fn jwk(&self) -> Value {
        json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": base64url::encode(&self.x),
            "kid": self.key_id,
            "alg": "EdDSA",
            "use": "sig",
        })
    }
}

/// The reason why a key could not be generated or opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// The host provides no randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// Sealing or opening failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The stored document is no Ed25519 key pair, or not the pair of the public key.
    #[error("the stored signing key is not a valid Ed25519 key pair")]
    Key,
}

impl SigningKey {
    /// `kid` of the key.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Signs `payload` as a compact JWS of type `typ`.
    ///
    /// # Errors
    ///
    /// [`SigningFailed`].
    pub fn sign(&self, typ: &str, payload: &JsonObject) -> Result<String, SigningFailed> {
        let mut header = JsonObject::new();
        header.insert("alg".into(), "EdDSA".into());
        header.insert("kid".into(), self.key_id.as_str().into());
        header.insert("typ".into(), typ.into());
        // Names the provider, so that no process-wide default is read or set.
        let signer = (aws_lc::DEFAULT_PROVIDER.signer_factory)(&Algorithm::EdDSA, &self.key)
            .map_err(|_| SigningFailed)?;
        compact::assemble(&header, payload, |input| {
            signer.try_sign(input).map_err(|_| SigningFailed)
        })
    }
}

/// The JWK Set to publish: the public keys and the time of the set's last change, in seconds.
///
/// The private member `iat` lets a verifier refuse a set that is older than one it has seen. The
/// private member `exp` limits how long a recorded set can be replayed.
pub fn jwk_set<'k>(
    keys: impl Iterator<Item = &'k SealedKey>,
    issued_at: u64,
    expiration: Option<u64>,
) -> Value {
    let keys: Vec<_> = keys.map(SealedKey::jwk).collect();
    match expiration {
        Some(expiration) => json!({ "keys": keys, "iat": issued_at, "exp": expiration }),
        None => json!({ "keys": keys, "iat": issued_at }),
    }
}

/// The public half of a PKCS #8 document.
fn public_key(document: &[u8]) -> Result<[u8; 32], KeyError> {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).map_err(|_| KeyError::Key)?;
    pair.public_key().as_ref().try_into().map_err(|_| KeyError::Key)
}

/// The PKCS #8 document of an Ed25519 seed: the fixed DER prefix of RFC 8410 §7, then the seed.
fn pkcs8(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    const PREFIX: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    Zeroizing::new([PREFIX.as_slice(), seed].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_jose::{Algorithm, Jwk};

    struct Fixed(u8);

    impl Entropy for Fixed {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    #[test]
    fn a_sealed_key_opens_signs_and_is_its_own_jwk() {
        let master = MasterKey::new([1; 32]);
        let sealed = SealedKey::generate(KeyState::Signing, &master, &mut Fixed(3), 9).unwrap();
        let jwk = Jwk::from_value(&sealed.jwk(), &[Algorithm::Ed25519]).unwrap();
        assert_eq!(jwk.thumbprint(), sealed.key_id);
        let key = sealed.open(&master).unwrap();
        let text = key.sign("at+jwt", &JsonObject::new()).unwrap();
        let jws = edgepass_jose::CompactJws::parse(&text, 1000).unwrap();
        assert_eq!(jws.header().key_id(), Some(sealed.key_id.as_str()));
        assert_eq!(jws.signature().len(), 64);
        let wrong = sealed.open(&MasterKey::new([2; 32])).err();
        assert_eq!(wrong, Some(KeyError::Seal(SealError::WrongMasterKey)));
    }

    #[test]
    fn a_seed_gives_the_public_key_of_rfc_8032_test_1() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec,
            0x2c, 0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03,
            0x1c, 0xae, 0x7f, 0x60,
        ];
        let x = public_key(&pkcs8(&seed)).unwrap();
        assert_eq!(base64url::encode(&x), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    }
}
