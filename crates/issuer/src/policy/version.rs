//! Versions of a policy: what was in force when a token was issued or something was changed.

use std::ops::Deref;
use std::sync::Arc;

use edgepass_verify::UnixMillis;
use sha2::{Digest, Sha256};

use super::{IssuerPolicy, RefusedByPolicy};
use crate::storage::{PolicyStore, StoreError};

/// A policy as it is stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PolicyVersion {
    /// The policy in JSON. Every program of the same version writes equal policies the same way.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
}

/// A stored version with its number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredPolicy {
    /// The number of the version, from 1, in the order of their first use.
    pub number: u64,
    /// The version.
    pub version: PolicyVersion,
    /// Time of the last change to this version by `serve`, in milliseconds. 0: `serve` has not used
    /// it.
    pub served_since_ms: u64,
}

/// A process that begins to use a policy.
#[derive(Clone, Debug)]
pub struct PolicyUser {
    /// The actor, as in [`AuditEntry::actor`](crate::audit::AuditEntry::actor).
    pub actor: String,
    /// The time.
    pub at: UnixMillis,
    /// Whether the policy becomes the one of `serve`.
    pub serves: bool,
}

/// A policy in use, with the number of its version.
#[derive(Clone)]
pub struct LivePolicy {
    policy: Arc<IssuerPolicy>,
    number: u64,
    digest: Arc<str>,
}

impl IssuerPolicy {
    /// The policy as it is stored.
    pub fn version(&self) -> PolicyVersion {
        // A policy has no map with other keys than texts, so writing it cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        let digest = sha256(&text);
        PolicyVersion { text, digest }
    }
}

/// SHA-256 of a text, in hexadecimal.
pub(crate) fn sha256(text: &str) -> String {
    hexadecimal(&Sha256::digest(text))
}

/// Octets in hexadecimal.
pub fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl LivePolicy {
    /// Records the policy's version, unless it is recorded.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn record<S: PolicyStore>(
        policy: Arc<IssuerPolicy>,
        store: &S,
        user: &PolicyUser,
    ) -> Result<Self, StoreError> {
        let version = policy.version();
        let number = store.record_policy(&version, user).await?;
        Ok(Self { policy, number, digest: version.digest.into() })
    }

    /// The number of the version.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The person behind a party of the audit trail. Federations of one issuer give a person several names, and so do
    /// the command line and a token.
    pub fn person(&self, party: &str) -> String {
        let (kind, name) = party.split_once(':').unwrap_or_default();
        match (kind, name.split_once(':')) {
            ("subject", Some((federation, outside))) => {
                let rule = self.federations.iter().find(|rule| rule.name == federation);
                rule.map_or_else(|| name.to_owned(), |rule| format!("{} {outside}", rule.issuer))
            }
            ("client", _) => party.to_owned(),
            _ => name.to_owned(),
        }
    }

    /// SHA-256 of a role, its agreement and the rule about it, in hexadecimal. `None`: it needs no approval.
    pub fn terms(&self, role: &str) -> Option<String> {
        let rule = self.approval(role)?;
        let role = self.role(role).ok()?;
        let agreement = role.agreement.as_deref().and_then(|id| self.agreement(id));
        // Structures of texts and numbers can be written.
        let text = serde_json::to_string(&(role, rule, agreement)).unwrap_or_default();
        Some(sha256(&text))
    }

    /// Refuses a client that the policy does not let use a role.
    ///
    /// # Errors
    ///
    /// [`RefusedByPolicy::Role`].
    pub fn may_use(&self, party: &str, role: &str) -> Result<(), RefusedByPolicy> {
        let client = party.strip_prefix("client:").and_then(|id| self.client(id));
        client.map_or(Ok(()), |client| self.role_of(client, Some(role), None).map(|_| ()))
    }

    /// The digest of the version: [`PolicyVersion::digest`].
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

impl Deref for LivePolicy {
    type Target = IssuerPolicy;

    fn deref(&self) -> &IssuerPolicy {
        &self.policy
    }
}
