//! The Edgepass issuer's domain: what may be issued, what is recorded, what is published.
//!
//! Storage is a trait ([`storage::Store`]); HTTP, files, clocks and randomness are the host's.

pub mod audit;
pub mod client_secret;
pub mod config;
pub mod entropy;
pub mod issue;
pub mod key_change;
pub mod keys;
pub mod new_act;
pub mod paths;
pub mod policy;
pub mod publish;
pub mod seal;
pub mod selection;
pub mod signing_key;
pub mod status_act;
pub mod status_index;
pub mod storage;
pub mod token_facts;

pub use config::Config;
pub use issue::Issuer;
pub use policy::IssuerPolicy;
pub use publish::Publisher;
pub use storage::Store;
