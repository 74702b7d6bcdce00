use super::*;
use crate::policy::PolicyConfig;
use crate::sender::{Endpoint, Presentation};
use edgepass_jose::base64url;
use serde_json::{Value, json};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn issuer(name: &str, dpop: &str) -> (Policy, KeySource) {
    let config = json!({"issuer": name, "audience": "api", "dpop": {"algorithms": [dpop]}});
    let config: PolicyConfig = serde_json::from_value(config).unwrap();
    let policy = Policy::try_from(config).unwrap();
    let keys = KeySource::given(br#"{"keys":[]}"#, &policy).unwrap();
    (policy, keys)
}

fn verifier() -> Verifier {
    let issuers = vec![issuer("https://a.example", "ES256"), issuer("https://b.example", "RS256")];
    Verifier::of_issuers(issuers).unwrap()
}

fn token(issuer: &str) -> String {
    let encode = |value: Value| base64url::encode(value.to_string().as_bytes());
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "k"});
    format!("{}.{}.AAAA", encode(header), encode(json!({"iss": issuer})))
}

fn request(authorization: Option<String>) -> Request {
    let endpoint = Endpoint { method: "GET".into(), url: "https://api.example/a".into() };
    Request { authorization, endpoint: Some(endpoint), ..Request::default() }
}

fn refused(verifier: &mut Verifier, request: Request) -> Verdict {
    let mut check = verifier.begin_request(request, Requirements::default());
    match verifier.advance(&mut check, NOW) {
        Progress::Decided(verdict) => verdict,
        _ => panic!("nothing is asked of the host"),
    }
}

#[test]
fn a_refusal_says_what_the_tokens_own_issuer_asks_of_proofs() {
    let mut verifier = verifier();
    for (own, algorithms) in [("https://a.example", "ES256"), ("https://b.example", "RS256")] {
        let verdict = refused(&mut verifier, request(Some(format!("DPoP {}", token(own)))));
        assert_eq!(verdict.error(), Some(&VerifyError::KeyNotFound));
        assert_eq!(verdict.challenge.presented_as, Presentation::Dpop);
        assert_eq!(verdict.challenge.dpop_algorithms.as_deref(), Some(algorithms));
        assert_eq!(verdict.challenge.dpop_nonce, None);
    }
    // Without a token, the algorithms of the first issuer.
    let verdict = refused(&mut verifier, request(None));
    assert_eq!(verdict.error(), Some(&VerifyError::TokenMissing));
    assert_eq!(verdict.challenge.dpop_algorithms.as_deref(), Some("ES256"));
    // Without method and URL no proof can be checked, so none is requested.
    let verdict = refused(&mut verifier, Request::default());
    assert_eq!(verdict.challenge.dpop_algorithms, None);
}

#[test]
fn a_refusal_carries_a_nonce_where_nonces_are_signed() {
    let secrets = || crate::checks::dpop::nonce::NonceSecrets::new(vec![7; 32], None).unwrap();
    let mut verifier = verifier().with_nonces(NonceRule::Signed(secrets()));
    let verdict = refused(&mut verifier, request(None));
    assert_eq!(verdict.challenge.dpop_nonce, Some(secrets().issue("https://api.example", NOW)));
}

#[test]
fn requirements_may_name_issuers() {
    let mut verifier = verifier();
    for (asked, expected) in [
        (None, VerifyError::KeyNotFound),
        (Some(vec!["https://a.example".into()]), VerifyError::KeyNotFound),
        (Some(vec!["https://b.example".into()]), VerifyError::IssuerMismatch),
        (Some(vec![]), VerifyError::IssuerMismatch),
    ] {
        let requirements = Requirements { issuers: asked.clone(), ..Requirements::default() };
        let mut check =
            verifier.begin(&token("https://a.example"), Sender::default(), requirements);
        let Progress::Decided(verdict) = verifier.advance(&mut check, NOW) else { panic!() };
        assert_eq!(verdict.error(), Some(&expected), "{asked:?}");
    }
}

#[test]
fn a_check_ends_with_its_verdict() {
    let mut verifier = verifier();
    let mut check =
        verifier.begin(&token("https://a.example"), Sender::default(), Requirements::default());
    let decided = |verifier: &mut Verifier, check: &mut Check| match verifier.advance(check, NOW) {
        Progress::Decided(verdict) => verdict.error().cloned(),
        _ => panic!("nothing is asked of the host"),
    };
    assert_eq!(decided(&mut verifier, &mut check), Some(VerifyError::KeyNotFound));
    assert_eq!(decided(&mut verifier, &mut check), Some(VerifyError::SignatureInvalid));
    // Answers without a request change nothing.
    check.signature_checked(true);
    check.replay_checked(crate::checks::dpop::replay::Replay::First);
    assert_eq!(decided(&mut verifier, &mut check), Some(VerifyError::SignatureInvalid));
}
