//! The verifiers of outside issuers whose tokens are exchanged.

use std::sync::{Arc, PoisonError, RwLock};

use edgepass_client::{Client, ClientError};
use edgepass_issuer::IssuerPolicy;
use edgepass_issuer::policy::federation::{Federation, FederationError};

/// A verifier for each federation of the policy in use.
#[derive(Default)]
pub(crate) struct Federations(RwLock<Arc<Vec<Trusted>>>);

/// A federation with its verifier, which holds the outside issuer's keys.
#[derive(Clone)]
pub(crate) struct Trusted {
    pub(crate) rule: Federation,
    pub(crate) client: Client,
}

/// The reason why a federation has no verifier.
#[derive(Debug, thiserror::Error)]
pub enum FederationsError {
    /// The rule is not acceptable.
    #[error(transparent)]
    Rule(#[from] FederationError),
    /// The verifier cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Federations {
    /// Makes the verifiers of a policy. Those of unchanged rules stay, with the keys that they hold.
    pub(crate) fn of(
        &self,
        policy: &IssuerPolicy,
        audience: &str,
    ) -> Result<Vec<Trusted>, FederationsError> {
        let before = self.all();
        let trusted = |rule: &Federation| -> Result<Trusted, FederationsError> {
            if let Some(same) = before.iter().find(|known| known.rule == *rule) {
                return Ok(same.clone());
            }
            let client = Client::builder(rule.verifier(audience)?).build()?;
            Ok(Trusted { rule: rule.clone(), client })
        };
        policy.federations.iter().map(trusted).collect()
    }

    pub(crate) fn replace(&self, all: Vec<Trusted>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(all);
    }

    pub(crate) fn all(&self) -> Arc<Vec<Trusted>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}
