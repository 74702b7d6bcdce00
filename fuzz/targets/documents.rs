//! Any responses to the fetches of metadata, JWK Set and status list for one token.
#![no_main]

use edgepass_fuzz::{ISSUER, NOW, jws};
use edgepass_verify::documents::fetch::{Body, ResponseHead};
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::verifier::{KeySource, Progress, Received, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Vec<(u16, &[u8], &str)>)| {
    let (age, answers) = input;
    let config = PolicyConfig::new(ISSUER.into(), OneOrMany::One("api".into()));
    let policy = Policy::try_from(config).unwrap();
    let mut verifier = Verifier::new(policy, KeySource::Discover).unwrap();
    let claims = format!(r#"{{"iss":"{ISSUER}"}}"#);
    let token = jws(br#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, claims.as_bytes());
    let mut check = verifier.begin(&token, Sender::default(), Requirements::default());
    for (status, bytes, text) in answers {
        match verifier.advance(&mut check, NOW) {
            Progress::Decided(_) => return,
            Progress::CheckSignature(_) => check.signature_checked(true),
            Progress::CheckReplay(_) | Progress::Wait(_) => unreachable!(),
            Progress::Fetch(order) => {
                let head = ResponseHead {
                    // Three of four inputs become 200, 301 or 304; one of four can be any status.
                    status: if status % 4 == 0 {
                        status / 4
                    } else {
                        [200, 301, 304][status as usize % 3]
                    },
                    age: status.is_power_of_two().then(|| age.to_owned()),
                    date: None,
                    cache_control: Some(age.to_owned()),
                    expires: None,
                    location: Some(text.to_owned()),
                    content_type: Some(text.to_owned()),
                    etag: Some(text.to_owned()),
                };
                let body = if bytes.len() <= order.max_bytes {
                    Body::Whole(bytes.to_vec())
                } else {
                    Body::TooLarge
                };
                let answer = head.answer(body, NOW);
                if let Received::CheckSignature(_, list) = verifier.receive(order, answer, NOW) {
                    verifier.document_signature_checked(list, true, NOW);
                }
            }
        }
    }
});
