//! The issuer's storage on an embedded SQLite file.
//!
//! One writer connection, `synchronous=FULL`: what a method acknowledges survives a power cut.

mod rows;
pub mod sqlite;

pub use sqlite::SqliteStore;
