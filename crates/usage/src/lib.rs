//! Counts of how tokens are used.
//!
//! Whoever checks tokens keeps a [`Table`] and sends it to the issuer as a report every half minute. No request
//! causes a write of its own. The issuer reads reports with the feature `reading`. Pure: the caller has clock, randomness and network.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod limits;
#[cfg(feature = "reading")]
pub mod report;
pub mod table;

#[cfg(feature = "reading")]
pub use report::{Folded, NotAReport, Report, STEP_MS, Use};
pub use table::{Counted, Header, Place, Route, Table, Written};

/// The code of an accepted request. Other codes are those of refusals.
pub const ACCEPTED: &str = "accepted";
/// How long uses are counted before they are reported, in milliseconds, unless the caller says otherwise.
pub const WINDOW_MS: u64 = 30_000;
