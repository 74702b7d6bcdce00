//! The documents that a verifier holds: how it fetches, reads and keeps them.

pub mod fetch;
pub(crate) mod head;
pub(crate) mod held;
pub(crate) mod jwk_set;
pub mod metadata;
mod prefetch;
pub mod refused;
pub mod signed;
pub mod status_head;
pub(crate) mod status_list;
pub mod status_list_token;
