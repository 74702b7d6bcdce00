//! Strict parsers for JOSE objects.
//!
//! Each parser takes untrusted bytes and returns a well-formed value or a typed error. This crate
//! checks no signature, reads no clock and knows no policy.

// A panic would end the process or the isolate, so no input may cause one.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod algorithm;
pub mod base64url;
pub mod claims;
pub mod compact;
pub mod flat;
pub mod header;
pub mod json;
pub mod jwk;
pub mod jwk_set;
pub mod numeric_date;
pub mod public_key;
pub mod scope;
pub mod thumbprint;

pub use algorithm::Algorithm;
pub use claims::ClaimsSet;
pub use compact::CompactJws;
pub use header::JoseHeader;
pub use jwk::Jwk;
pub use jwk_set::JwkSet;
pub use numeric_date::NumericDate;
pub use public_key::PublicKey;
pub use scope::Scope;
