//! The `edgepass` program: its commands.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod commands;
pub mod exit;
pub mod host;
pub mod line_judges;
mod mail;
mod master_key;
pub mod output;
pub mod private;
mod remote;
mod vault;
mod webhook;
