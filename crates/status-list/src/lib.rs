//! IETF Token Status List: the status of each token, such as valid, revoked or suspended, in 1, 2,
//! 4 or 8 bits.
//!
//! Implements draft-ietf-oauth-status-list-20, which is in the RFC Editor's queue.

#![forbid(unsafe_code)]
// No input may cause a panic, which would end the process or the isolate. Only tests may panic.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod claims;
#[cfg(feature = "encoder")]
pub mod encoder;
pub mod list;
pub mod reference;
pub mod statuses;

pub use claims::StatusListClaims;
pub use list::{Bits, StatusList, StatusType};
pub use reference::StatusReference;
pub use statuses::Statuses;
