//! The acts that follow from findings, and those that undo them.

use edgepass_verify::UnixMillis;

use super::{Action, Finding, Outcome};
use crate::new_act::NewAct;
use crate::selection::{Filter, Selection, StatusChange};

impl Finding {
    /// The act that follows from the finding. `None`: it only alerts.
    pub fn act(&self, now: UnixMillis) -> Option<NewAct> {
        let found = &self.found;
        let token = || Selection::JwtIds(vec![found.subject.clone()]);
        let (change, selection) = match found.action {
            Action::Alert => return None,
            Action::Suspend => (StatusChange::Suspend, token()),
            Action::Revoke => (StatusChange::Revoke, token()),
            Action::RevokeClient => {
                let client_id = Some(found.client_id.clone());
                let filter = Filter { client_id, ..Filter::default() };
                (StatusChange::Revoke, Selection::Fitting(filter))
            }
        };
        Some(NewAct {
            change,
            selection,
            reason: format!("finding {} of rule {}: {}", self.id, found.rule, found.evidence),
            actor: format!("rule:{}", found.rule),
            policy: self.policy,
            report: None,
            at: now,
        })
    }

    /// The act that resumes the token that the finding suspended. `None`: it suspended none, or it was undone.
    pub fn undoing(&self, actor: &str, policy: u64, now: UnixMillis) -> Option<NewAct> {
        let is_suspension = self.found.action == Action::Suspend && self.outcome == Outcome::Done;
        is_suspension.then(|| NewAct {
            change: StatusChange::Resume,
            selection: Selection::JwtIds(vec![self.found.subject.clone()]),
            reason: self.undone(),
            actor: actor.to_owned(),
            policy,
            report: None,
            at: now,
        })
    }

    /// The reason of the act that undoes the finding.
    pub fn undone(&self) -> String {
        format!("finding {} of rule {} is undone", self.id, self.found.rule)
    }
}
