//! Finds texts that may be tokens or client secrets, in a stream of any size with flat memory.
//!
//! A [`Scanner`] is fed with parts of a stream. It gives [`Candidate`]s: texts in the form of a token or a
//! secret, whole, also where the stream has them with line breaks in between, with percent escapes, in strings of
//! JSON, with other escapes, in base64, or in UTF-16. Whether a candidate is real, only a signature or a hash says: the caller checks.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod candidate;
mod scanner;

pub use candidate::{Candidate, Kind, Written};
pub use scanner::{STARTS, Scanner};
