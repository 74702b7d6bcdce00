//! An act on statuses, and its plan: the tokens that it would change.

use std::collections::BTreeMap;

use edgepass_verify::UnixMillis;
use sha2::Sha256;

use crate::audit::{Act, AuditEntry};
use crate::leak::LeakReport;
use crate::selection::{Selection, StatusChange};

/// An act to be recorded.
#[derive(Clone, Debug)]
pub struct NewAct {
    /// The change of the statuses.
    pub change: StatusChange,
    /// The tokens that the act applies to.
    pub selection: Selection,
    /// The reason that the actor gives.
    pub reason: String,
    /// The actor, as in [`AuditEntry::actor`].
    pub actor: String,
    /// The number of the policy version in use.
    pub policy: u64,
    /// The report of a leaked token that the act answers. Only for one token.
    pub report: Option<LeakReport>,
    /// Time of the act, in milliseconds. Tokens that no verifier accepts any more at that time are
    /// left out.
    pub at: UnixMillis,
}

/// The tokens that an act would change, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Number of tokens that would change.
    pub count: u64,
    /// The same number for each role, by the role's name.
    pub roles: BTreeMap<String, u64>,
    /// Number of these tokens in lists with one bit for each status, which cannot show a
    /// suspension.
    pub without_suspension: u64,
    /// SHA-256 state over the `jti` of each of these tokens, in order of issue, each followed by a
    /// line feed.
    pub digest: Sha256,
    /// Position in the order of issue of the last token that the plan covers.
    pub last_seq: u64,
    /// Number of the last act that was recorded before the plan. 0: there was none.
    pub last_act: u64,
}

/// An act that is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedAct {
    /// Number of the act.
    pub id: u64,
    /// Number of tokens that the act changes.
    pub count: u64,
}

impl NewAct {
    /// The audit entry. That of the revocation of one token by its `jti` has no `count` and
    /// `digest`.
    pub fn entry(&self, count: u64, digest: String) -> AuditEntry {
        let reason = self.reason.clone();
        let act = match (self.change, self.selection.single_jwt_id()) {
            (StatusChange::Revoke, Some(jwt_id)) => {
                let (jwt_id, report) = (jwt_id.to_owned(), self.report.clone());
                Act::TokenRevoked { jwt_id, reason, report }
            }
            (change, _) => {
                let selection = (&self.selection).into();
                Act::StatusesChanged { change, selection, reason, count, digest }
            }
        };
        let policy = Some(self.policy);
        AuditEntry { at_ms: self.at.0, actor: self.actor.clone(), policy, act }
    }
}
