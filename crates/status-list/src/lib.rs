//! IETF Token Status List: which tokens are valid, revoked or suspended, in one bit or two each.
//!
//! Written against draft-ietf-oauth-status-list-20; the draft is in the RFC Editor's queue.

pub mod claims;
#[cfg(feature = "encoder")]
pub mod encoder;
pub mod list;
pub mod reference;

pub use claims::StatusListClaims;
pub use list::{Bits, StatusList, StatusType};
pub use reference::StatusReference;
