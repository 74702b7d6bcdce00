//! The issuer's storage in an SQLite file or a PostgreSQL database, and its targets.
//!
//! Once a method of a store has returned `Ok`, its change survives a power cut: SQLite writes with
//! `synchronous=FULL`, and a PostgreSQL server that is set to less is refused.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod any;
mod directory;
mod durability;
mod incidents;
mod issues;
pub mod objects;
pub mod postgres;
mod ranges;
mod requests;
mod rows;
pub mod sqlite;
#[cfg(test)]
mod suite;
mod uses;

pub use any::AnyStore;
pub use objects::Objects;
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;
