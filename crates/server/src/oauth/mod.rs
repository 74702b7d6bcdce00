//! The OAuth endpoints.

pub(crate) mod authenticate;
mod binding;
pub(crate) mod error;
mod exchange;
pub(crate) mod form;
pub(crate) mod introspect;
pub(crate) mod revoke;
pub(crate) mod token;
