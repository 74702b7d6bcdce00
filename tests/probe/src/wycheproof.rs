//! Vectors of C2SP Wycheproof.

use edgepass_jose::{Algorithm, Jwk, base64url};
use edgepass_verify::host::HostCrypto;
use edgepass_verify::signature::SignedBytes;
use serde_json::{Value, json};

use crate::{Report, accepts, algorithm_of, array, check, hex, text, unsupported};

pub(crate) async fn run(kind: &str, file: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    for group in array(file, "testGroups") {
        for test in array(group, "tests") {
            if kind.starts_with("json_web_") {
                serialization(group, test, crypto, report).await;
            } else {
                raw(group, test, crypto, report).await;
            }
        }
    }
}

/// Judges a JWS or JWE with its key or keys.
async fn serialization(group: &Value, test: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    let is_jwe = !test["jwe"].is_null();
    let compact = text(test, if is_jwe { "jwe" } else { "jws" });
    // Without a public half the key is symmetric: the verifier must refuse it.
    let keys = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let found = accepts(compact, keys, crypto).await;
    let algorithm = algorithm_of(compact);
    let bound = keys["alg"].as_str().unwrap_or(&algorithm);
    let reason = if is_jwe {
        Some("JWE is refused")
    } else if unsupported(&algorithm).is_none() && bound != algorithm {
        Some("the JWK names another algorithm than the JWS")
    } else if compact.contains('?') {
        Some("the row holds a character outside base64url")
    } else {
        unsupported(&algorithm)
    };
    report.compare(name(group, test), text(test, "result") == "valid", found, reason);
}

/// Judges a signature over a message with its key.
async fn raw(group: &Value, test: &Value, crypto: &impl HostCrypto, report: &mut Report) {
    let (jwk, algorithm) = key(group);
    let key = Jwk::from_value(&jwk, &[algorithm]);
    let found = match &key {
        Ok(key) if edgepass_crypto::is_sound(key.key()) => {
            let (input, signature) = (hex(text(test, "msg")), hex(text(test, "sig")));
            check(key, SignedBytes::Bytes { input, signature }, crypto).await
        }
        Ok(_) | Err(_) => false,
    };
    // "acceptable" marks what some old libraries accept. The verifier must refuse it.
    report.compare(name(group, test), text(test, "result") == "valid", found, None);
}

/// Makes the group's key, given as numbers, into a JWK.
fn key(group: &Value) -> (Value, Algorithm) {
    let public = &group["publicKey"];
    let encode = |text: &str, length: usize| {
        let digits = hex(text);
        let digits =
            digits.iter().position(|octet| *octet != 0).map_or(&[][..], |at| &digits[at..]);
        let mut octets = vec![0; length.saturating_sub(digits.len())];
        octets.extend(digits);
        base64url::encode(&octets)
    };
    let ec = |curve: &str, length| {
        json!({"kty": "EC", "crv": curve,
            "x": encode(text(public, "wx"), length), "y": encode(text(public, "wy"), length)})
    };
    let rsa = || {
        json!({"kty": "RSA", "n": encode(text(public, "modulus"), 0),
            "e": encode(text(public, "publicExponent"), 0)})
    };
    match (text(group, "type"), text(public, "curve")) {
        ("EcdsaP1363Verify", "secp256r1") => (ec("P-256", 32), Algorithm::Es256),
        ("EcdsaP1363Verify", "secp384r1") => (ec("P-384", 48), Algorithm::Es384),
        ("EddsaVerify", _) => {
            let x = base64url::encode(&hex(text(public, "pk")));
            (json!({"kty": "OKP", "crv": "Ed25519", "x": x}), Algorithm::Ed25519)
        }
        ("RsassaPssVerify", _) => (rsa(), Algorithm::Ps256),
        _ => (rsa(), Algorithm::Rs256),
    }
}

fn name(group: &Value, test: &Value) -> String {
    format!("{} {}: {}", text(group, "comment"), test["tcId"], text(test, "comment"))
}
