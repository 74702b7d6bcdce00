//! An act on statuses as it is recorded, and what it would change.

use std::collections::BTreeMap;

use edgepass_verify::UnixMillis;
use sha2::Sha256;

use crate::audit::{Act, AuditEntry};
use crate::selection::{Selection, StatusChange};

/// An act to be recorded.
#[derive(Clone, Debug)]
pub struct NewAct {
    /// What becomes of the statuses.
    pub change: StatusChange,
    /// Of which tokens.
    pub selection: Selection,
    /// Why, in the words of who acts.
    pub reason: String,
    /// Who acts.
    pub actor: String,
    /// When, in milliseconds. Tokens that no verifier accepts any more by then are not selected.
    pub at: UnixMillis,
}

/// What an act would change, as of a moment.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How many tokens change.
    pub count: u64,
    /// Of these, by role.
    pub roles: BTreeMap<String, u64>,
    /// Of these, how many lie in lists that have no room for "suspended".
    pub without_suspension: u64,
    /// SHA-256 so far over the `jti` of each, in the order of issue, each with a line feed.
    pub digest: Sha256,
    /// Tokens up to here were looked at, in the order of issue.
    pub last_seq: u64,
    /// The last act that was recorded before.
    pub last_act: u64,
}

/// An act that is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedAct {
    /// Its number.
    pub id: u64,
    /// How many tokens it changes.
    pub count: u64,
}

impl NewAct {
    /// The audit entry, once it is known what the act changes.
    pub fn entry(&self, count: u64, digest: String) -> AuditEntry {
        let reason = self.reason.clone();
        let act = match (self.change, &self.selection) {
            (StatusChange::Revoke, Selection::JwtIds(ids)) if ids.len() == 1 => {
                Act::TokenRevoked { jwt_id: ids.concat(), reason }
            }
            (change, selection) => {
                Act::StatusesChanged { change, selection: selection.into(), reason, count, digest }
            }
        };
        AuditEntry { at_ms: self.at.0, actor: self.actor.clone(), act }
    }
}
