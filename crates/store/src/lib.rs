//! The issuer's storage on an embedded SQLite file, and its publishing targets.
//!
//! One writer connection, `synchronous=FULL`: what a method acknowledges survives a power cut.

pub mod objects;
mod place;
mod rows;
pub mod sqlite;

pub use objects::Objects;
pub use sqlite::SqliteStore;
