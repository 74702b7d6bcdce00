//! Any header and payload with a valid signature, and any status list.
#![no_main]

use edgepass_fuzz::{ISSUER, decide, jws, verifier};
use edgepass_verify::{Requirements, Sender};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

fuzz_target!(|input: (bool, &[u8], &[u8], &[u8])| {
    let (jwt, header, payload, list) = input;
    let mut verifier = verifier(if jwt {
        json!({"profile": "jwt", "typ": null, "scope_claim": "scp", "status": {"mode": "when_present"}})
    } else {
        json!({})
    });
    let header: &[u8] =
        if header.is_empty() { br#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"# } else { header };
    let check = verifier.begin(&jws(header, payload), Sender::default(), Requirements::default());
    let verdict = decide(&mut verifier, check, list);
    // The claims of an accepted token satisfy the policy when read as plain JSON, too.
    if let Ok(claims) = &verdict.outcome {
        let claims: Value = Value::Object(claims.members());
        assert_eq!(claims["iss"], ISSUER);
        assert!(
            claims["aud"] == "api" || claims["aud"].as_array().unwrap().contains(&"api".into())
        );
        assert!(claims["exp"].as_f64().unwrap() + 10.0 > 1_800_000_000.0);
        assert!(claims.get("cnf").is_none());
        assert!(jwt || claims["sub"].is_string() && claims["jti"].is_string());
        assert!(jwt || claims["status"]["status_list"]["idx"].is_u64());
    }
    let _ = verdict.error().map(|error| (error.code(), error.to_string(), error.step()));
});
