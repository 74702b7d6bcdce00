//! Signatures by the host's WebCrypto: ECDSA and RSA, and Ed25519 where it decides as this verifier.

use std::cell::{Cell, RefCell};

use edgepass_jose::{Algorithm, Jwk, PublicKey, base64url};
use edgepass_verify::host::HostCrypto;
use edgepass_verify::host_ed25519::questions;
use edgepass_verify::signature::SignatureRequest;
use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::dictionary::object;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = importKey, catch)]
    fn import_key(
        format: &str,
        key: &JsValue,
        algorithm: &JsValue,
        extractable: bool,
        usages: &Array,
    ) -> Result<Promise, JsValue>;

    #[wasm_bindgen(js_namespace = ["crypto", "subtle"], js_name = verify, catch)]
    fn verify(
        algorithm: &JsValue,
        key: &JsValue,
        signature: &Uint8Array,
        data: &Uint8Array,
    ) -> Result<Promise, JsValue>;
}

/// The host's WebCrypto. Imported keys are kept, since importing costs more than verifying.
#[derive(Default)]
pub struct WebCrypto {
    keys: RefCell<Vec<(Jwk, JsValue)>>,
    /// Whether the host's Ed25519 is known to decide as this verifier's. Until then it is not used.
    agrees_about_ed25519: Cell<bool>,
}

/// The maximum number of kept keys. When it is reached, all are dropped: an issuer has only a few
/// keys.
const MAX_KEYS: usize = 64;

impl HostCrypto for WebCrypto {
    /// Returns `false` also when the host cannot check the signature.
    async fn check(&self, request: &SignatureRequest) -> bool {
        self.try_check(request).await.unwrap_or(false)
    }
}

impl WebCrypto {
    pub(crate) async fn try_check(&self, request: &SignatureRequest) -> Result<bool, JsValue> {
        let is_ed25519 = request.key.algorithm() == Algorithm::Ed25519;
        if is_ed25519 && !self.agrees_about_ed25519.get() {
            return request.check_here().ok_or(JsValue::UNDEFINED);
        }
        self.ask(request).await
    }

    async fn ask(&self, request: &SignatureRequest) -> Result<bool, JsValue> {
        let key = self.import(&request.key).await?;
        let signature = Uint8Array::from(request.signature());
        let input = Uint8Array::from(request.signing_input());
        let valid = verify(&algorithm(request.key.algorithm())?, &key, &signature, &input)?;
        Ok(JsFuture::from(valid).await?.is_truthy())
    }

    /// Asks whether the host's Ed25519 decides as this verifier's.
    pub(crate) async fn ask_about_ed25519(&self) -> bool {
        let Some(questions) = questions() else { return false };
        for (request, expected) in questions {
            if !matches!(self.ask(&request).await, Ok(valid) if valid == expected) {
                return false;
            }
        }
        self.agrees_about_ed25519.set(true);
        true
    }

    async fn import(&self, key: &Jwk) -> Result<JsValue, JsValue> {
        if let Some((_, imported)) = self.keys.borrow().iter().find(|(held, _)| held == key) {
            return Ok(imported.clone());
        }
        let usages = Array::of1(&"verify".into());
        let (jwk, algorithm) = (jwk(key.key())?, algorithm(key.algorithm())?);
        let imported = JsFuture::from(import_key("jwk", &jwk, &algorithm, false, &usages)?).await?;
        let mut keys = self.keys.borrow_mut();
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.push((key.clone(), imported.clone()));
        Ok(imported)
    }
}

/// Returns name, hash, curve and salt length of an algorithm, as parameters of `importKey` and
/// `verify`.
///
/// # Errors
///
/// `undefined` for an algorithm of another kind.
pub fn algorithm(algorithm: Algorithm) -> Result<JsValue, JsValue> {
    let ecdsa = |curve: &str, hash: &str| {
        object(&[("name", "ECDSA".into()), ("namedCurve", curve.into()), ("hash", hash.into())])
    };
    let pkcs1 = |hash: &str| object(&[("name", "RSASSA-PKCS1-v1_5".into()), ("hash", hash.into())]);
    // RFC 7518 §3.5: the salt is as long as the hash.
    let pss = |hash: &str, salt: u32| {
        object(&[("name", "RSA-PSS".into()), ("hash", hash.into()), ("saltLength", salt.into())])
    };
    match algorithm {
        Algorithm::Es256 => ecdsa("P-256", "SHA-256"),
        Algorithm::Es384 => ecdsa("P-384", "SHA-384"),
        Algorithm::Rs256 => pkcs1("SHA-256"),
        Algorithm::Rs384 => pkcs1("SHA-384"),
        Algorithm::Rs512 => pkcs1("SHA-512"),
        Algorithm::Ps256 => pss("SHA-256", 32),
        Algorithm::Ps384 => pss("SHA-384", 48),
        Algorithm::Ps512 => pss("SHA-512", 64),
        Algorithm::Ed25519 => object(&[("name", "Ed25519".into())]),
        _ => Err(JsValue::UNDEFINED),
    }
}

/// Converts a key to a JWK object.
///
/// # Errors
///
/// `undefined` for a key of another kind.
pub fn jwk(key: &PublicKey) -> Result<JsValue, JsValue> {
    let text = |bytes: &[u8]| JsValue::from(base64url::encode(bytes));
    let ec = |curve: &str, x: &[u8], y: &[u8]| {
        object(&[("kty", "EC".into()), ("crv", curve.into()), ("x", text(x)), ("y", text(y))])
    };
    match key {
        PublicKey::P256 { x, y } => ec("P-256", x, y),
        PublicKey::P384 { x, y } => ec("P-384", x, y),
        PublicKey::Ed25519 { x } => {
            object(&[("kty", "OKP".into()), ("crv", "Ed25519".into()), ("x", text(x))])
        }
        PublicKey::Rsa { n, e } => object(&[("kty", "RSA".into()), ("n", text(n)), ("e", text(e))]),
        _ => Err(JsValue::UNDEFINED),
    }
}
