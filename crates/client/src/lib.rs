//! Verifies Edgepass tokens in a Rust server.
//!
//! [`Client`] runs the verifier of `edgepass-verify` on tokio: it fetches keys and status lists with
//! reqwest, refreshes them in the background, and checks ECDSA and RSA with aws-lc-rs. With the
//! feature `tower` it makes a layer, [`RequireToken`]; with the feature `axum`, a handler takes the
//! accepted token as its argument.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # mod server {
//! use axum::{Router, routing::get};
//! use edgepass_client::{Client, Token};
//!
//! async fn invoices(token: Token) -> String {
//!     format!("invoices of {}", token.claim("client_id").unwrap_or_default())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::of_issuer("https://issuer.example", "https://api.example")?;
//!     client.warm().await;
//!     let app: Router = Router::new()
//!         .route("/invoices", get(invoices))
//!         .route_layer(client.require_scopes(["invoices:read"])?);
//!     axum::serve(tokio::net::TcpListener::bind("127.0.0.1:8080").await?, app).await?;
//!     Ok(())
//! }
//! # }
//! ```
//!
//! Without a framework:
//!
//! ```no_run
//! use edgepass_client::{Client, Requirements};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::of_issuer("https://issuer.example", "https://api.example")?;
//! let verdict = client.verify("eyJ...", Requirements::all_of(["invoices:read"])?).await;
//! match &verdict.outcome {
//!     Ok(claims) => println!("{:?}", claims.string("sub")),
//!     Err(error) => println!("{}: {error}", error.code()),
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod client;
#[cfg(feature = "axum")]
mod extract;
mod host;
mod http_fetch;
#[cfg(feature = "tower")]
mod layer;

pub use client::{Client, ClientBuilder, ClientError};
pub use edgepass_jose::{ClaimsSet, Scope};
pub use edgepass_verify::checks::RequirementsError;
pub use edgepass_verify::policy::OneOrMany;
pub use edgepass_verify::sender::CertificateThumbprint;
pub use edgepass_verify::verifier::{JwksUri, KeySource};
pub use edgepass_verify::{
    Policy, PolicyConfig, Request, Requirements, Verdict, Verifier, VerifyError,
};
#[cfg(feature = "axum")]
pub use extract::NotGuarded;
pub use host::{NativeHost, now};
pub use http_fetch::{Fetch, HttpFetch, USER_AGENT, bounded, date};
#[cfg(feature = "tower")]
pub use layer::{Guarded, RequireToken, Token};
