//! Judges third-party vectors with a host's crypto. The same code runs on every host.
//!
//! A file is read as its authors wrote it. If the verifier differs from a label on purpose, the
//! difference is counted by its reason. A difference without a reason is wrong.

mod jose;
mod sender;
mod status;
mod wycheproof;

use std::collections::BTreeMap;

use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{Algorithm, CompactJws, Jwk, JwkSet};
use edgepass_verify::host::HostCrypto;
use edgepass_verify::signature::{self, Checked, SignedBytes};
use serde::Serialize;
use serde_json::{Value, json};

/// The result of one file.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Number of vectors judged.
    pub judged: u32,
    /// Number of vectors that differ from their label on purpose, by reason.
    pub deviations: BTreeMap<&'static str, u32>,
    /// Vectors that differ from their label without a reason, each as a message.
    pub wrong: Vec<String>,
}

/// Every file, relative to `tests/third-party`.
pub const FILES: [&str; 27] = [
    "cookbook/4.2.hmac-sha2_b64_false.json",
    "cookbook/4_1.rsa_v15_signature.json",
    "cookbook/4_2.rsa-pss_signature.json",
    "cookbook/4_3.ecdsa_signature.json",
    "cookbook/4_4.hmac-sha2_integrity_protection.json",
    "cookbook/4_5.signature_with_detached_content.json",
    "cookbook/4_6.protecting_specific_header_fields.json",
    "cookbook/4_7.protecting_content_only.json",
    "cookbook/4_8.multiple_signatures.json",
    "cookbook/curve25519_jws.json",
    "dpop/rfc9449.json",
    "jose/jwk_thumbprints.json",
    "jose/rfc7515.json",
    "jose/rfc7797_b64.json",
    "jose/rfc8037_ed25519.json",
    "mtls/rfc8705.json",
    "tsl/negative_status_lists.json",
    "tsl/status_list_encoding.json",
    "tsl/status_list_token_examples.json",
    "wycheproof/ecdsa_secp256r1_sha256_p1363_test.json",
    "wycheproof/ecdsa_secp384r1_sha384_p1363_test.json",
    "wycheproof/ed25519_test.json",
    "wycheproof/json_web_crypto_test.json",
    "wycheproof/json_web_key_test.json",
    "wycheproof/json_web_signature_test.json",
    "wycheproof/rsa_pss_2048_sha256_mgf1_32_test.json",
    "wycheproof/rsa_signature_2048_sha256_test.json",
];
/// Judges the vectors of one file.
pub async fn run(name: &str, text: &str, crypto: &impl HostCrypto) -> Report {
    let mut report = Report::default();
    let file: Value = serde_json::from_str(text).unwrap_or_default();
    match name.split_once('/') {
        Some(("wycheproof", kind)) => wycheproof::run(kind, &file, crypto, &mut report).await,
        Some(("cookbook", _)) => jose::cookbook(&file, crypto, &mut report).await,
        Some(("jose", kind)) => jose::run(kind, &file, crypto, &mut report).await,
        Some(("tsl", kind)) => status::run(kind, &file, crypto, &mut report).await,
        Some(("dpop", _)) => sender::dpop(&file, crypto, &mut report).await,
        Some(("mtls", _)) => sender::mtls(&file, &mut report),
        _ => {}
    }
    if report.judged == 0 {
        report.wrong.push("the file holds no vector that is known".into());
    }
    report
}

impl Report {
    /// Compares a verdict with its label. `reason` excuses a refusal, never an acceptance.
    fn compare(&mut self, name: String, label: bool, found: bool, reason: Option<&'static str>) {
        self.judged += 1;
        match (label, found, reason) {
            (true, true, _) | (false, false, _) => {}
            (true, false, Some(reason)) => *self.deviations.entry(reason).or_default() += 1,
            _ => self.wrong.push(format!("{name}: {found} instead of {label}")),
        }
    }
}

/// Whether the verifier accepts a JWS under the given keys, with every algorithm allowed.
async fn accepts(compact: &str, keys: &Value, crypto: &impl HostCrypto) -> bool {
    let Ok(jws) = CompactJws::parse(compact, 1 << 20) else { return false };
    let keys = keys.get("keys").cloned().unwrap_or_else(|| json!([keys]));
    let keys = json!({ "keys": keys }).to_string();
    let set = JwkSet::parse(keys.as_bytes(), &Algorithm::ALL, edgepass_crypto::is_sound);
    let Some(algorithm) = Algorithm::from_name(jws.header().algorithm()) else { return false };
    let set = set.unwrap_or_default();
    match set.find(jws.header().key_id(), algorithm) {
        KeyMatch::One(key) => check(key, &jws, crypto).await,
        KeyMatch::Two(first, second) => {
            check(first, &jws, crypto).await || check(second, &jws, crypto).await
        }
        KeyMatch::Unfit | KeyMatch::None => false,
    }
}

/// Whether a signature is valid.
async fn check(key: &Jwk, signed: impl Into<SignedBytes>, crypto: &impl HostCrypto) -> bool {
    match signature::check(key, signed) {
        Checked::Here(valid) => valid,
        Checked::ByHost(request) => crypto.check(&request).await,
    }
}

/// Removes a key's private members, and sets its `alg` to `algorithm` if it has none.
fn public(key: &Value, algorithm: &str) -> Value {
    let mut key = key.clone();
    if let Some(members) = key.as_object_mut() {
        // A symmetric key has no public half and stays unchanged: the verifier must refuse it.
        if members.get("kty") != Some(&json!("oct")) {
            for name in ["d", "p", "q", "dp", "dq", "qi"] {
                members.remove(name);
            }
        }
        members.entry("alg").or_insert_with(|| algorithm.into());
    }
    key
}

/// The `alg` of a compact JWS, to choose a reason by; empty if it cannot be read.
fn algorithm_of(compact: &str) -> String {
    let header = compact.split('.').next().and_then(edgepass_jose::base64url::decode);
    let header: Value = serde_json::from_slice(&header.unwrap_or_default()).unwrap_or_default();
    header["alg"].as_str().unwrap_or_default().to_owned()
}

/// The reason to refuse a valid JWS, if its algorithm is unsupported.
fn unsupported(algorithm: &str) -> Option<&'static str> {
    match algorithm {
        "HS256" | "HS384" | "HS512" => Some("symmetric algorithms do not exist here"),
        "ES512" => Some("ES512 is not supported"),
        _ => None,
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn array<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |pair: &[u8]| {
        std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
    };
    text.as_bytes().chunks(2).filter_map(digit).collect()
}
