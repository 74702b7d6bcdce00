//! When acts ended tokens.

use std::collections::{HashMap, HashSet};

use edgepass_status_list::StatusType;

use super::facts::Looked;
use super::trail::{self, PlacedAct, Trail};
use crate::audit::{Act, SelectionEntry};
use crate::selection::{Selection, StatusChange};
use crate::token_facts::TokenFacts;

/// When acts ended tokens.
pub(super) struct Ends<'t> {
    pub(super) deadline_ms: Option<u64>,
    /// Acts that name a token, in order.
    naming: HashMap<&'t str, Vec<&'t PlacedAct>>,
    /// Acts that select tokens by a filter, in order.
    selecting: Vec<(Selection, &'t PlacedAct)>,
    /// When keys were marked as compromised, in milliseconds.
    pub(super) compromised: HashMap<&'t str, u64>,
    /// Acts on several tokens by name, of which the trail has the digest alone.
    unnamed: Vec<&'t PlacedAct>,
    /// The tokens for which others were exchanged.
    parents: HashMap<&'t str, &'t TokenFacts>,
}

impl<'t> Ends<'t> {
    pub(super) fn of(
        trail: &'t Trail,
        looked: &'t [Looked],
        ancestors: &'t [TokenFacts],
        deadline_ms: Option<u64>,
    ) -> Self {
        let exchanged: HashSet<&str> =
            looked.iter().filter_map(|one| one.facts.parent.as_deref()).collect();
        let all = looked.iter().map(|one| &one.facts);
        let parents = all.filter(|one| exchanged.contains(one.jwt_id.as_str())).chain(ancestors);
        let parents = parents.map(|one| (one.jwt_id.as_str(), one)).collect();
        let (naming, selecting) = (HashMap::new(), Vec::new());
        let (compromised, unnamed) = (HashMap::new(), Vec::new());
        let mut ends = Self { deadline_ms, naming, selecting, compromised, unnamed, parents };
        for act in &trail.acts {
            match &act.entry.act {
                Act::TokenRevoked { jwt_id, .. }
                | Act::StatusesChanged { selection: SelectionEntry::JwtId(jwt_id), .. } => {
                    ends.naming.entry(jwt_id).or_default().push(act);
                }
                Act::StatusesChanged { selection: SelectionEntry::Fitting(filter), .. } => {
                    ends.selecting.push((Selection::Fitting(filter.clone()), act));
                }
                Act::StatusesChanged { change, .. } if *change != StatusChange::Resume => {
                    ends.unnamed.push(act);
                }
                Act::KeyCompromised { key_id, .. } => {
                    ends.compromised.entry(key_id).or_insert(act.entry.at_ms);
                }
                _ => {}
            }
        }
        ends
    }

    /// When an act ended the token for good, in milliseconds: one on it, one on a token that it was exchanged from,
    /// or one on its key.
    pub(super) fn named(&self, facts: &'t TokenFacts) -> Option<u64> {
        let parent = |own: &&'t TokenFacts| {
            own.parent.as_deref().and_then(|id| self.parents.get(id).copied())
        };
        let chain = std::iter::successors(Some(facts), parent).take(trail::LONGEST_CHAIN);
        // An act before the token's issue was none on it.
        let acts = chain.filter_map(|one| self.ended(one, facts.issued_at)).min();
        let key = self.compromised.get(facts.key_id.as_str()).copied();
        [acts, key].into_iter().flatten().min()
    }

    /// When acts on a token ended it, of those at this time, in seconds, or later.
    fn ended(&self, facts: &TokenFacts, since: u64) -> Option<u64> {
        let naming = self.naming.get(facts.jwt_id.as_str()).into_iter().flatten().copied();
        let selecting = self.selecting.iter().filter(|(selection, act)| {
            act.entry.at_ms / 1000 >= facts.issued_at && selection.includes(facts)
        });
        let mut acts: Vec<&PlacedAct> = naming.chain(selecting.map(|(_, act)| *act)).collect();
        acts.sort_by_key(|act| act.position);
        let mut suspended = None;
        for act in acts.into_iter().filter(|act| act.entry.at_ms / 1000 >= since) {
            let at_ms = act.entry.at_ms;
            match &act.entry.act {
                Act::StatusesChanged { change: StatusChange::Suspend, .. } => {
                    suspended = suspended.or(Some(at_ms));
                }
                Act::StatusesChanged { change: StatusChange::Resume, .. } => suspended = None,
                // A token that was suspended when it was revoked has not worked since the former.
                _ => return suspended.or(Some(at_ms)),
            }
        }
        suspended
    }

    /// The last act on several named tokens after the token was issued: the latest at which it may have ended.
    pub(super) fn unnamed(&self, facts: &TokenFacts) -> Option<u64> {
        let acts = self.unnamed.iter().map(|act| act.entry.at_ms);
        acts.filter(|at_ms| at_ms / 1000 >= facts.issued_at).max()
    }
}

/// Whether a token is not valid although no act names or selects it: one of the acts on several named tokens was
/// about it.
pub(super) fn has_unexplained(trail: &Trail, looked: &[Looked], ancestors: &[TokenFacts]) -> bool {
    let ends = Ends::of(trail, looked, ancestors, None);
    looked.iter().any(|one| {
        let is_valid = one.record.is_none_or(|status| status == StatusType::Valid);
        !is_valid && ends.named(&one.facts).is_none()
    })
}
