//! Any text as a compact JWS.
#![no_main]

use edgepass_jose::{CompactJws, claims::Audience};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(jws) = CompactJws::parse(text, 4096) else { return };
    assert!(text.len() <= 4096 && text.split('.').count() == 3);
    assert_eq!(jws.text(), text);
    // The encoding is canonical: encoding the decoded parts gives the same text.
    let (input, signature) = text.rsplit_once('.').unwrap();
    assert_eq!(jws.signing_input(), input.as_bytes());
    assert_eq!(edgepass_jose::base64url::encode(jws.signature()), signature);
    let _ = (jws.header().has_type("at+jwt"), jws.header().key_id(), jws.header().algorithm());
    if let Ok(claims) = jws.claims() {
        let _ = (claims.expiration(), claims.not_before(), claims.issued_at());
        let _ = (claims.get("aud").map(Audience::of), claims.required_string("iss"));
    }
});
