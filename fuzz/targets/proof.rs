//! Any proof for any request, with valid signatures.
#![no_main]

use edgepass_fuzz::{decide, jws, verifier};
use edgepass_verify::Requirements;
use edgepass_verify::checks::dpop::nonce::{NonceRule, NonceSecrets};
use edgepass_verify::sender::{Endpoint, Request};
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// The thumbprint of the key in `edgepass_fuzz::public_key`.
const THUMBPRINT: &str = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s";

fuzz_target!(|input: (bool, &[u8], &[u8], &str, &str)| {
    let (nonces, header, payload, url, raw) = input;
    let mut verifier = verifier(json!({"status": {"mode": "ignore"}}));
    if nonces {
        let secrets = NonceSecrets::new(vec![7; 32], None).unwrap();
        verifier = verifier.with_nonces(NonceRule::Signed(secrets));
    }
    let claims = json!({"iss": "https://issuer.example", "sub": "s", "aud": "api", "client_id": "c",
        "jti": "j", "iat": 1_799_999_990, "exp": 1_800_000_100, "cnf": {"jkt": THUMBPRINT}});
    let token = jws(br#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, claims.to_string().as_bytes());
    let proof = if raw.is_empty() { jws(header, payload) } else { raw.to_owned() };
    let request = Request {
        authorization: Some(format!("DPoP {token}")),
        dpop: Some(proof),
        query: url.split_once('?').map(|(_, query)| query.to_owned()),
        method: "GET".into(),
        fields: Vec::new(),
        endpoint: Some(Endpoint { method: "GET".into(), url: url.to_owned() }),
        ..Request::default()
    };
    let check = verifier.begin_request(request, Requirements::default());
    let verdict = decide(&mut verifier, check, b"");
    if verdict.accepted() {
        let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
        assert_eq!(payload["htm"], "GET");
        assert_eq!(payload["ath"].as_str().map(str::len), Some(43));
    }
});
