//! ES256 and RS256 by the host's WebCrypto.

use std::cell::RefCell;
use std::collections::HashMap;

use edgepass_jose::PublicKey;
use edgepass_jose::base64url;
use edgepass_verify::token::SignatureRequest;
use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::fetch::object;

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

/// Imported keys, by thumbprint: importing costs more than verifying.
#[derive(Default)]
pub(crate) struct ImportedKeys(RefCell<HashMap<String, JsValue>>);

/// An issuer has a handful of keys; past this many the table starts over.
const MAX_KEYS: usize = 64;

impl ImportedKeys {
    /// Check a signature. Whatever the host cannot do is a refusal.
    pub(crate) async fn check(&self, request: &SignatureRequest) -> bool {
        self.try_check(request).await.unwrap_or(false)
    }

    async fn try_check(&self, request: &SignatureRequest) -> Result<bool, JsValue> {
        let key = self.import(request).await?;
        let signature = Uint8Array::from(request.signature.as_slice());
        let input = Uint8Array::from(request.signing_input.as_slice());
        let valid = verify(&algorithm(request.key.key())?, &key, &signature, &input)?;
        Ok(JsFuture::from(valid).await?.is_truthy())
    }

    async fn import(&self, request: &SignatureRequest) -> Result<JsValue, JsValue> {
        let thumbprint = request.key.thumbprint();
        if let Some(key) = self.0.borrow().get(&thumbprint) {
            return Ok(key.clone());
        }
        let usages = Array::of1(&"verify".into());
        let jwk = jwk(request.key.key())?;
        let algorithm = algorithm(request.key.key())?;
        let key = JsFuture::from(import_key("jwk", &jwk, &algorithm, false, &usages)?).await?;
        let mut keys = self.0.borrow_mut();
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(thumbprint, key.clone());
        Ok(key)
    }
}

/// The algorithm's name, hash and curve, as import and verification take them.
fn algorithm(key: &PublicKey) -> Result<JsValue, JsValue> {
    match key {
        PublicKey::P256 { .. } => object(&[
            ("name", "ECDSA".into()),
            ("namedCurve", "P-256".into()),
            ("hash", "SHA-256".into()),
        ]),
        PublicKey::Rsa { .. } => {
            object(&[("name", "RSASSA-PKCS1-v1_5".into()), ("hash", "SHA-256".into())])
        }
        _ => Err(JsValue::UNDEFINED),
    }
}

fn jwk(key: &PublicKey) -> Result<JsValue, JsValue> {
    let text = |bytes: &[u8]| JsValue::from(base64url::encode(bytes));
    match key {
        PublicKey::P256 { x, y } => {
            object(&[("kty", "EC".into()), ("crv", "P-256".into()), ("x", text(x)), ("y", text(y))])
        }
        PublicKey::Rsa { n, e } => object(&[("kty", "RSA".into()), ("n", text(n)), ("e", text(e))]),
        _ => Err(JsValue::UNDEFINED),
    }
}
