//! IETF Token Status List: which tokens are valid, revoked or suspended, in one bit or two each.
//!
//! Written against draft-ietf-oauth-status-list-20; the draft is in the RFC Editor's queue.

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
