//! A self-test with a token whose verdict is known.
//!
//! A host runs the test before it serves requests, to detect a build that does not work. In a
//! runtime that compiles code on first use, the test also compiles most of the code that the first
//! request needs.

use std::time::Duration;

use crate::policy::duration::DurationText;
use crate::policy::{OneOrMany, StatusMode};
use crate::verifier::{KeySource, Progress};
use crate::{Policy, PolicyConfig, Requirements, Sender, UnixMillis, Verifier};

/// The public key of RFC 8037 appendix A.2. The RFC also publishes its private key.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A token signed with that key. Its `iat` is 1800000000 and its `exp` 1800000600.
const TOKEN: &str = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.\
    eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoic2VsZi10ZXN0IiwiYXVkIjoiaHR0cHM6Ly9hcGkuZXh\
    hbXBsZSIsImNsaWVudF9pZCI6InNlbGYtdGVzdCIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjoxODAwMDAwNjAwLCJqdGkiOiI\
    xIiwic2NvcGUiOiJhOnJlYWQifQ.\
    OzReqFP9CveddplUFRcuWkd295LGPIZxvOKXNHJrAeMaT3LRzN-8GBa9hC8VXjEBkcSvZoZiTJnvebyHM-Y9AQ";

/// The middle of the token's lifetime, in seconds since the epoch.
const NOW: u64 = 1_800_000_300;

/// Returns whether the verifier accepts the token, and refuses it after its `exp` and with a
/// changed signature.
pub fn holds() -> bool {
    let forged = TOKEN.replace(".OzReqFP9", ".OzReqFP8");
    let expired = NOW.saturating_add(3600);
    let verdicts = [(TOKEN, NOW), (TOKEN, expired), (forged.as_str(), NOW)].map(verdict);
    verdicts == [Some(None), Some(Some("token_expired")), Some(Some("signature_invalid"))]
}

/// The code of the verdict: `Some(None)` for an accepted token, `None` if there is no verdict.
fn verdict((token, now): (&str, u64)) -> Option<Option<&'static str>> {
    let audience = OneOrMany::One("https://api.example".into());
    let mut config = PolicyConfig::new("https://issuer.example".into(), audience);
    config.status.mode = Some(StatusMode::Ignore);
    config.leeway = DurationText(Duration::ZERO);
    let policy = Policy::try_from(config).ok()?;
    let keys = KeySource::given(KEYS.as_bytes(), &policy).ok()?;
    let mut verifier = Verifier::new(policy, keys).ok()?;
    let mut check = verifier.begin(token, Sender::default(), Requirements::default());
    match verifier.advance(&mut check, UnixMillis(now.saturating_mul(1000))) {
        Progress::Decided(verdict) => Some(verdict.error().map(|error| error.code())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_known_answer_holds() {
        assert!(super::holds());
    }
}
