//! The issuer over HTTP. The only crate that knows its status codes.

mod acts;
mod client_auth;
mod documents;
mod error;
mod health;
mod listen;
mod metrics;
pub mod publication;
mod revoke;
mod router;
mod token;

use std::sync::Arc;

use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_issuer::publish::target::Target;
use edgepass_issuer::{Config, Issuer, Publisher, Store};
use edgepass_verify::UnixMillis;

pub use listen::serve;
pub use publication::Publication;
pub use router::router;

/// What the host lends the server: its clock and its randomness.
#[derive(Clone, Copy)]
pub struct Host {
    /// The time now.
    pub now: fn() -> UnixMillis,
    /// Fill with random bytes.
    pub fill: fn(&mut [u8]) -> Result<(), NoEntropy>,
}

impl Entropy for Host {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        (self.fill)(bytes)
    }
}

/// Everything a request handler may use.
pub struct App<S> {
    pub(crate) config: Config,
    pub(crate) issuer: Arc<Issuer<S>>,
    pub(crate) publication: Publication<S>,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) host: Host,
}

impl<S: Store> App<S> {
    /// Put the parts together. Nothing is published before [`Publication::run`] is.
    pub fn new(
        config: Config,
        issuer: Arc<Issuer<S>>,
        targets: Vec<Box<dyn Target>>,
        host: Host,
    ) -> Arc<Self> {
        let metadata = documents::metadata_of(&config);
        let publisher = Publisher::new(Arc::clone(&issuer), metadata, targets);
        Arc::new(Self {
            publication: Publication::new(publisher, host),
            metrics: metrics::Metrics::default(),
            config,
            issuer,
            host,
        })
    }

    /// Fetch back by its public URI whatever is published, until the task is dropped, and tell where
    /// the public sees something else. `get` gives a body, if there is an answer.
    pub async fn fetch_back<F: Future<Output = Option<Vec<u8>>> + Send>(
        &self,
        get: impl Fn(String) -> F + Send,
    ) {
        self.publication.fetch_back(get, &self.metrics).await;
    }

    /// The publication task's handle.
    pub fn publication(&self) -> &Publication<S> {
        &self.publication
    }
}

/// An error and its causes in one line, for logs; nothing is said twice.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_says = cause.to_string();
        if !text.ends_with(&cause_says) {
            text = format!("{text}: {cause_says}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Because(&'static str, Option<Box<Because>>);

    impl fmt::Display for Because {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Because {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn causes_are_said_once() {
        let full = Because("disk full", None);
        let database = Because("database: disk full", Some(Box::new(full)));
        let error = Because("not recorded", Some(Box::new(database)));
        assert_eq!(error_chain(&error), "not recorded: database: disk full");
    }
}
