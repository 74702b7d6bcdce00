//! The number of memory allocations for one token. It is exact, so that a new allocation is
//! noticed.

use std::sync::Arc;

use allocation_counter::measure;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use edgepass_jose::base64url;
use edgepass_verify::native::check_signature;
use edgepass_verify::verifier::{KeySource, Progress, Verifier};
use edgepass_verify::{Policy, PolicyConfig, Requirements, Sender, UnixMillis};
use serde_json::json;

const NOW: u64 = 1_800_000_000;

struct Issuer(EcdsaKeyPair);

impl Issuer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwks(&self) -> String {
        let point = self.0.public_key().as_ref();
        let (x, y) = (base64url::encode(&point[1..33]), base64url::encode(&point[33..]));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k", "x": x, "y": y}]})
            .to_string()
    }

    fn token(&self, number: u64) -> String {
        let header = json!({"alg": "ES256", "kid": "k", "typ": "at+jwt"});
        let claims = json!({
            "iss": "https://issuer.example", "sub": "service-1", "aud": "https://api.example",
            "client_id": "billing", "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 600,
            "jti": number.to_string(), "scope": "invoices:read invoices:write orders:read",
            "tenant": "tenant-4711", "agreement": "DPA-2026-0117", "region": "eu-central",
            "status": {"status_list": {"idx": number, "uri": "https://issuer.example/lists/1"}},
        });
        let part = |value: &serde_json::Value| base64url::encode(value.to_string().as_bytes());
        let input = format!("{}.{}", part(&header), part(&claims));
        let signature = self.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", base64url::encode(signature.as_ref()))
    }
}

/// Counts the allocations of one verdict, from the token's text to the claims, without those of the
/// host's crypto.
fn allocations(
    verifier: &mut Verifier,
    token: &str,
    requirements: &Arc<Requirements>,
    accepted: bool,
) -> u64 {
    let now = UnixMillis(NOW * 1000);
    let mut verdict = None;
    let counted = measure(|| {
        let mut check = verifier.begin(token, Sender::default(), Arc::clone(requirements));
        verdict = Some(loop {
            match verifier.advance(&mut check, now) {
                Progress::Decided(verdict) => break verdict,
                Progress::CheckSignature(request) => {
                    let mut valid = false;
                    allocation_counter::opt_out(|| valid = check_signature(&request));
                    check.signature_checked(valid);
                }
                _ => panic!("nothing is to be fetched"),
            }
        });
    });
    assert_eq!(verdict.unwrap().accepted(), accepted);
    counted.count_total
}

#[test]
fn a_token_allocates_so_often_and_no_more() {
    let issuer = Issuer::new();
    let config = json!({
        "issuer": "https://issuer.example", "audience": "https://api.example",
        "algorithms": ["ES256"], "status": {"mode": "ignore"},
    });
    let config: PolicyConfig = serde_json::from_value(config).unwrap();
    let policy = Policy::try_from(config).unwrap();
    let keys = KeySource::given(issuer.jwks().as_bytes(), &policy).unwrap();
    let mut verifier = Verifier::new(policy, keys).unwrap();
    let requirements = Arc::new(Requirements::default());
    let count = |verifier: &mut Verifier, number| {
        allocations(verifier, &issuer.token(number), &requirements, true)
    };
    // At first the table of remembered tokens grows.
    for number in 0..50 {
        count(&mut verifier, number);
    }
    let host = count(&mut verifier, 50);
    for number in 51..100 {
        count(&mut verifier, number);
    }
    while verifier.has_work(UnixMillis(NOW * 1000)) {
        verifier.work(UnixMillis(NOW * 1000));
    }
    let tables = count(&mut verifier, 100);
    let token = issuer.token(101);
    assert_eq!(allocations(&mut verifier, &token, &requirements, true), tables);
    let again = allocations(&mut verifier, &token, &requirements, true);
    let garbage = allocations(&mut verifier, &"A".repeat(700), &requirements, false);
    let forged = token.replace("eyJ", "eyI");
    let forged = allocations(&mut verifier, &forged, &requirements, false);
    println!(
        "allocations: by the host {host}, by tables {tables}, again {again}, garbage {garbage}, no JSON {forged}"
    );
    assert_eq!([host, tables, again, garbage, forged], [11, 11, 1, 0, 5]);
}
