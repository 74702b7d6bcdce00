//! The issuer's HTTP server. No other crate chooses its status codes.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod access;
pub mod acts;
pub mod admin;
mod agreements;
mod audit_log;
pub mod breach;
mod connections;
mod documents;
mod federations;
mod fetch_back;
mod head_number;
mod health;
mod held;
mod leaks;
mod limits;
mod listen;
mod metrics;
mod misuse;
mod oauth;
mod peer;
pub mod publication;
pub mod reload;
mod retention;
mod router;
pub mod status_entries;
mod status_head;
mod tls;
mod usage;

use std::sync::Arc;

use crate::federations::Federations;
use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_issuer::policy::version::PolicyUser;
use edgepass_issuer::publish::target::Target;
use edgepass_issuer::storage::StoreError;
use edgepass_issuer::{Config, Issuer, IssuerPolicy, Publisher, Store};
use edgepass_verify::UnixMillis;

pub use connections::Limits as ConnectionLimits;
pub use federations::FederationsError;
pub use fetch_back::Fetched;
pub use held::{Holds, Wait};
pub use listen::serve;
pub use publication::Publication;
pub use router::router;
pub use status_head::holds;
pub use tls::{Tls, TlsError};

/// The host's clock and randomness.
#[derive(Clone, Copy)]
pub struct Host {
    /// Returns the current time.
    pub now: fn() -> UnixMillis,
    /// Fills a slice with random bytes that are fit for keys.
    pub fill: fn(&mut [u8]) -> Result<(), NoEntropy>,
}

impl Entropy for Host {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        (self.fill)(bytes)
    }
}

/// The state that all request handlers share.
pub struct App<S> {
    pub(crate) config: Config,
    pub(crate) issuer: Arc<Issuer<S>>,
    pub(crate) publication: Publication<S>,
    pub(crate) metrics: metrics::Metrics,
    pub(crate) federations: Federations,
    pub(crate) limits: limits::Limits,
    pub(crate) reports: leaks::Reports,
    pub(crate) reloads: reload::Reloads,
    pub(crate) usage: usage::Waiting,
    /// Held while the act of a finding is carried out.
    pub(crate) acting: tokio::sync::Mutex<()>,
    pub(crate) host: Host,
}

impl<S: Store> App<S> {
    /// Builds the state. Nothing is published until [`Publication::run`] runs.
    ///
    /// # Errors
    ///
    /// [`FederationsError`].
    pub fn new(
        config: Config,
        issuer: Arc<Issuer<S>>,
        targets: Vec<Box<dyn Target>>,
        host: Host,
    ) -> Result<Arc<Self>, FederationsError> {
        let federations = Federations::default();
        federations.replace(federations.of(&issuer.policy(), issuer.issuer())?);
        let metadata = documents::metadata_of(&config, &issuer.policy());
        let publisher = Publisher::new(Arc::clone(&issuer), metadata, targets);
        Ok(Arc::new(Self {
            publication: Publication::new(publisher, host, config.freshness.publish_delay()),
            metrics: metrics::Metrics::default(),
            federations,
            limits: limits::Limits::new(&config.limits),
            reports: leaks::Reports::default(),
            reloads: reload::Reloads::default(),
            usage: usage::Waiting::default(),
            acting: tokio::sync::Mutex::default(),
            config,
            issuer,
            host,
        }))
    }

    /// Whether another policy could be used.
    ///
    /// # Errors
    ///
    /// [`PolicyNotUsed::Federations`].
    pub fn check_policy(&self, policy: &IssuerPolicy) -> Result<(), PolicyNotUsed> {
        self.federations.of(policy, self.issuer.issuer())?;
        Ok(())
    }

    /// Uses another policy from now on, and publishes the scopes that it has. The old one stays in
    /// use if it cannot be recorded.
    ///
    /// # Errors
    ///
    /// [`PolicyNotUsed`].
    pub async fn use_policy(
        &self,
        policy: Arc<IssuerPolicy>,
        user: &PolicyUser,
    ) -> Result<(), PolicyNotUsed> {
        let federations = self.federations.of(&policy, self.issuer.issuer())?;
        self.issuer.use_policy(policy, user).await?;
        self.federations.replace(federations);
        let metadata = documents::metadata_of(&self.config, &self.issuer.policy());
        self.publication.publisher().set_metadata(metadata);
        self.publication.round().await;
        Ok(())
    }

    /// The configuration at the start. Its policy may have been replaced since:
    /// [`Issuer::policy`].
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Requests of operators to read the configuration again.
    pub fn reloads(&self) -> &reload::Reloads {
        &self.reloads
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer<S> {
        &self.issuer
    }

    /// Fetches each newly served document by its public URI and compares the body, until the task
    /// is dropped. Tries a second time after 1.5 s. Logs a warning if this fails too, or returns
    /// another document, and if the `Date` shows that a clock is wrong. `get` returns `None` on failure. Run it
    /// once.
    pub async fn fetch_back<F: Future<Output = Option<Fetched>> + Send>(
        &self,
        get: impl Fn(String) -> F + Send,
    ) {
        self.publication.fetch_back(get, &self.metrics).await;
    }

    /// Deletes the records of tokens that expired long ago, until the task is dropped. Run it once.
    pub async fn forget_tokens(&self) {
        retention::run(self).await;
    }

    /// Revokes the tokens of agreements that a new policy does not have in force any more, until the future is
    /// dropped. One process of those that share a database does.
    pub async fn end_agreements(&self) {
        agreements::run(self).await;
    }

    /// Revokes the tokens of access that was ended, until the future is dropped. One process of those that share a
    /// database does.
    pub async fn end_access(&self) {
        access::run(self).await;
    }

    /// Carries out the acts of findings that were interrupted, until the task is dropped. Run it once.
    pub async fn act_on_misuse(&self) {
        misuse::run(self).await;
    }

    /// Appends the entries of the audit trail to its log, and writes the log to the targets, until the
    /// task is dropped. Run it once.
    pub async fn log_audit(&self) {
        audit_log::run(self).await;
    }

    /// The publication. The host runs [`Publication::run`] as a task.
    pub fn publication(&self) -> &Publication<S> {
        &self.publication
    }
}

/// The reason why a policy is not used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyNotUsed {
    /// A federation has no verifier.
    #[error("a [[federation]] cannot be used")]
    Federations(#[from] FederationsError),
    /// The policy cannot be recorded.
    #[error("the policy cannot be recorded")]
    Store(#[from] StoreError),
}

/// Joins the texts of an error and its causes with `: `, for logs and messages to the operator.
/// Leaves out a cause if the text so far ends with it.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
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
    struct TestError(&'static str, Option<Box<TestError>>);

    impl fmt::Display for TestError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for TestError {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    #[test]
    fn causes_are_said_once() {
        let full = TestError("disk full", None);
        let database = TestError("database: disk full", Some(Box::new(full)));
        let error = TestError("not recorded", Some(Box::new(database)));
        assert_eq!(error_chain(&error), "not recorded: database: disk full");
    }
}
