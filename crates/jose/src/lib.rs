//! JOSE objects, strictly parsed.
//!
//! Everything here reads hostile bytes and gives either a value that cannot be malformed or a typed
//! refusal. Nothing here checks a signature, reads a clock or knows a policy.

pub mod algorithm;
pub mod base64url;
pub mod claims;
pub mod compact;
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
