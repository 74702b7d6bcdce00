//! The issuer's storage on an embedded SQLite file, and its publishing targets.
//!
//! The database has one writer connection, with `synchronous=FULL`: a change that a method has
//! acknowledged survives a power cut.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod directory;
pub mod objects;
mod rows;
pub mod sqlite;

pub use objects::Objects;
pub use sqlite::SqliteStore;
