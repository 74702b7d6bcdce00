//! JOSE objects, strictly parsed.
//!
//! Everything here reads hostile bytes and gives either a value that cannot be malformed or a typed
//! refusal. Nothing here checks a signature, reads a clock or knows a policy.

// Nothing that a caller sends may end the process or the isolate.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

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
