//! Strict parsers for JOSE objects.
//!
//! Each parser takes untrusted bytes and returns a well-formed value or a typed error. This crate
//! checks no signature, reads no clock and knows no policy.

#![forbid(unsafe_code)]
// No input may cause a panic, which would end the process or the isolate. Only tests may panic.
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
