//! The Edgepass verifier: decides whether an access token is accepted.
//!
//! This crate does no I/O, reads no clock and draws no randomness. A host begins a [`Check`] and
//! calls the [`Verifier`] to advance it. Each [`Progress`] is either the verdict or the one thing
//! that the host must do first: fetch a document, check a signature with its own crypto, record
//! that a DPoP proof is used, or wait for a fetch that another request started. The module [`host`]
//! contains the traits of a host and the loop that drives a check to its verdict.
//!
//! The steps of a check run in a fixed order ([`error::Step`]). A refusal carries the code of the
//! first failure. The status comes last: no status list is fetched for a token that has failed.
//!
//! # Example
//!
//! A host without network and crypto verifies one token with a given JWK Set. The token is signed
//! with Ed25519, which this crate checks itself.
//!
//! ```
//! use edgepass_verify::checks::dpop::replay::ReplayMemory;
//! use edgepass_verify::documents::fetch::Answer;
//! use edgepass_verify::policy::{OneOrMany, StatusMode};
//! use edgepass_verify::verifier::KeySource;
//! use edgepass_verify::{
//!     Policy, PolicyConfig, Progress, Requirements, Sender, UnixMillis, Verifier,
//! };
//!
//! let audience = OneOrMany::One("https://api.example".into());
//! let mut config = PolicyConfig::new("https://issuer.example".into(), audience);
//! config.status.mode = Some(StatusMode::Ignore); // the token has no claim `status`
//! let policy = Policy::try_from(config)?;
//!
//! // The key of RFC 8037 appendix A.2.
//! let jwk_set = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "1",
//!     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
//! let keys = KeySource::given(jwk_set, &policy)?;
//! let mut verifier = Verifier::new(policy, keys)?;
//!
//! let token = "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.\
//!     eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwic3ViIjoic2VsZi10ZXN0IiwiYXVkIjoiaHR0cHM6\
//!     Ly9hcGkuZXhhbXBsZSIsImNsaWVudF9pZCI6InNlbGYtdGVzdCIsImlhdCI6MTgwMDAwMDAwMCwiZXhwIjox\
//!     ODAwMDAwNjAwLCJqdGkiOiIxIiwic2NvcGUiOiJhOnJlYWQifQ.\
//!     OzReqFP9CveddplUFRcuWkd295LGPIZxvOKXNHJrAeMaT3LRzN-8GBa9hC8VXjEBkcSvZoZiTJnvebyHM-Y9AQ";
//! let now = UnixMillis::from_seconds(1_800_000_300);
//! let mut used_proofs = ReplayMemory::default();
//! let mut check = verifier.begin(token, Sender::default(), Requirements::default());
//! let verdict = loop {
//!     match verifier.advance(&mut check, now) {
//!         Progress::Decided(verdict) => break verdict,
//!         Progress::Fetch(order) => {
//!             verifier.receive(order, Answer::failed(now), now);
//!         }
//!         Progress::CheckSignature(_) => check.signature_checked(false),
//!         Progress::CheckReplay(used) => check.replay_checked(used_proofs.first_use(&used, now)),
//!         Progress::Wait(time) => std::thread::sleep(time),
//!     }
//! };
//! assert!(verdict.accepted());
//! assert!(verdict.granted.contains("a:read"));
//!
//! // The same token 10 s after `exp`, when the default leeway is over.
//! let late = UnixMillis::from_seconds(1_800_000_610);
//! let mut check = verifier.begin(token, Sender::default(), Requirements::default());
//! let Progress::Decided(verdict) = verifier.advance(&mut check, late) else {
//!     panic!("this check needs nothing from the host");
//! };
//! assert_eq!(verdict.error().map(|error| error.code()), Some("token_expired"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod batch;
pub mod checks;
pub mod documents;
pub mod error;
pub mod host;
pub mod host_ed25519;
pub mod known_answer;
#[cfg(feature = "native")]
pub mod native;
pub mod policy;
pub mod refusal;
pub mod sender;
pub mod signature;
pub mod time;
pub mod token_place;
pub mod url;
pub mod verdict;
pub mod verifier;

pub use checks::{Check, Requirements};
pub use error::VerifyError;
pub use policy::{Policy, PolicyConfig};
pub use sender::{Request, Sender};
pub use time::UnixMillis;
pub use verdict::Verdict;
pub use verifier::{Progress, Verifier};
