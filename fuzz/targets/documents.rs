//! Any metadata and JWK Set, as fetched, and any token after them.
#![no_main]

use edgepass_fuzz::{NOW, ISSUER, jws};
use edgepass_verify::documents::fetch::{self, Answer, AnsweredBy, Content};
use edgepass_verify::policy::OneOrMany;
use edgepass_verify::verifier::{KeySource, Landed, Progress, Verifier};
use edgepass_verify::{Demand, Policy, PolicyConfig, Sender};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, Vec<(u16, &[u8], &str)>)| {
    let (age, answers) = input;
    let _ = (fetch::age(Some(age)), fetch::media_type(age));
    let config = PolicyConfig::new(ISSUER.into(), OneOrMany::One("api".into()));
    let policy = Policy::try_from(config).unwrap();
    let mut verifier = Verifier::new(policy, KeySource::Discover).unwrap();
    let claims = format!(r#"{{"iss":"{ISSUER}"}}"#);
    let token = jws(br#"{"alg":"ES256","kid":"k","typ":"at+jwt"}"#, claims.as_bytes());
    let mut check = verifier.begin(&token, Sender::default(), Demand::default());
    for (status, bytes, text) in answers {
        match verifier.advance(&mut check, NOW) {
            Progress::Decided(_) => return,
            Progress::CheckSignature(_) => check.signature_checked(true),
            Progress::CheckReplay(_) | Progress::Wait(_) => unreachable!(),
            Progress::Fetch(order) => {
                let content = match status % 4 {
                    0 => Content::NotModified,
                    1 => Content::Redirect { location: text.to_owned() },
                    2 => Content::Failed,
                    _ => Content::Body {
                        bytes: bytes.to_vec(),
                        media_type: Some(text.to_owned()),
                        etag: Some(text.to_owned()),
                    },
                };
                let answer = Answer { from: AnsweredBy::Source, confirmed_at: NOW, content, dated: None };
                if let Landed::CheckSignature(_, list) = verifier.land(order, answer, NOW) {
                    verifier.list_signature_checked(*list, true, NOW);
                }
            }
        }
    }
});
