//! Any metadata and JWK Set, as fetched, and any token after them.
#![no_main]

use edgepass_fuzz::{ISSUER, NOW, jws};
use edgepass_verify::documents::fetch::{Body, ResponseHead};
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::verifier::{KeySource, Received, Progress, Verifier};
use edgepass_verify::{Requirements, Policy, PolicyConfig, Sender};
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
                    // Mostly those that mean something.
                    status: if status % 4 == 0 {
                        status / 4
                    } else {
                        [200, 301, 304][status as usize % 3]
                    },
                    age: status.is_power_of_two().then(|| age.to_owned()),
                    date: None,
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
                    verifier.list_signature_checked(*list, true, NOW);
                }
            }
        }
    }
});
