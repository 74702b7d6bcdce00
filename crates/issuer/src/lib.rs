//! The Edgepass issuer's domain rules: granting, recording and revoking tokens, and publishing
//! their statuses.
//!
//! Storage and targets are traits ([`storage::Store`], [`publish::target::Target`]). The host
//! provides HTTP, files, clock and randomness.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod access;
pub mod audit;
pub mod breach;
pub mod client;
pub mod config;
pub mod entropy;
pub mod exchange;
pub mod introspect;
pub mod issue;
pub mod key_change;
pub mod keys;
pub mod leak;
pub mod leak_keys;
pub mod list_id;
pub mod log;
pub mod misuse;
pub mod new_act;
pub mod order;
mod own_token;
pub mod paths;
pub mod policy;
pub mod proof;
pub mod publish;
pub mod records;
pub mod replacement;
pub mod restore;
pub mod rewrap;
pub mod seal;
pub mod selection;
pub mod sidecar;
pub mod signing_key;
pub mod status_act;
pub mod status_index;
pub mod storage;
pub mod token_facts;
pub mod usage;
pub mod used_id;
pub mod vault;

pub use config::{Config, Installation};
pub use issue::Issuer;
pub use policy::IssuerPolicy;
pub use publish::Publisher;
pub use storage::Store;
