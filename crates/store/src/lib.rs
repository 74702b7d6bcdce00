//! The issuer's storage in an SQLite file, and its targets.
//!
//! A process writes over one connection, with `synchronous=FULL`: once a method has returned `Ok`,
//! its change survives a power cut.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod directory;
pub mod objects;
mod rows;
pub mod sqlite;

pub use objects::Objects;
pub use sqlite::SqliteStore;
