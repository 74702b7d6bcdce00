//! Masks values in JSON as it streams.
//!
//! A [`Masker`] takes octets in pieces of any size and gives back the same octets, except the values at the
//! paths of its [`Plan`]. It holds a name, a separator or a value that is being masked, and nothing else, so
//! its memory does not depend on the size of the document. What is no JSON (RFC 8259) is an error. Pure: no
//! I/O.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use edgepass_mask::{Format, Masker, Plan, Rule, With};
//!
//! let rules = [
//!     Rule { path: "$..email".parse()?, with: With::Email },
//!     Rule { path: "$.customers[*].iban".parse()?, with: With::Last4 },
//! ];
//! let plan = Arc::new(Plan::new(&rules)?);
//! let mut masker = Masker::new(plan, u32::MAX, Format::Json, None);
//! let mut out = Vec::new();
//! masker.feed(br#"{"customers": [{"email": "ada@example.com", "iban": "DE02120300000000202051"}]}"#, &mut out)?;
//! masker.finish(&mut out)?;
//! assert_eq!(out, br#"{"customers": [{"email": "a***@example.com", "iban": "****2051"}]}"#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod events;
mod masker;
pub mod path;
pub mod plan;
mod text;
mod whole;
mod with;

pub use masker::{Format, MaskError, Masker};
pub use path::{NotAPath, Path};
pub use plan::{Plan, Rule, TooManyRules};
pub use with::{HashKey, With};
