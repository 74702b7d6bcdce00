//! The `edgepass` program's parts: its commands, and the native host of the verifier.

pub mod commands;
pub mod exit;
pub mod host;
pub mod line_judges;
mod master_key;
pub mod native;
mod output;
pub mod private;
