//! What is known of an incident: what the tokens could reach, where and when they were used, and when they stopped
//! working.

use std::collections::{BTreeSet, HashMap, HashSet};

use edgepass_status_list::StatusType;
use edgepass_usage::STEP_MS;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};

use super::ends::{Ends, has_unexplained};
use super::reach::{Reach, reach};
use super::trail::{self, IssuedToken, Trail};
use super::uses::{TokenUses, Uses, after, uses};
use super::{Incident, MAX_NAMED};
use crate::audit::{Act, AuditEntry, SelectionEntry};
use crate::config::Config;
use crate::policy::IssuerPolicy;
use crate::selection::StatusChange;
use crate::signing_key::KeyState;
use crate::storage::{
    AccessStore, AuditStore, KeyStore, ListStore, LogStore, StoreError, TokenRecord, TokenStore,
    UsageStore, state,
};
use crate::token_facts::TokenFacts;
use crate::usage::TokenUse;

/// What is known.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Facts {
    /// The tokens one by one, in the order of issue, at most [`MAX_NAMED`].
    pub tokens: Vec<TokenFact>,
    /// The number of all tokens.
    pub count: u64,
    /// SHA-256, in hexadecimal, over the `jti` of each token in the order of issue, each followed by a line feed.
    pub digest: String,
    /// The number of different subjects of the tokens that were looked at.
    pub subjects: u64,
    /// Whether each token was looked at. Otherwise sums are of the first 100,000, and tokens that were exchanged for
    /// later ones are not counted.
    pub all_looked_at: bool,
    /// Whether the database was restored from a backup meanwhile, so that entries are lost.
    pub restored: bool,
    /// What the tokens could reach, by role.
    pub reach: Vec<Reach>,
    /// How they were used.
    pub uses: Uses,
    /// When they stopped working.
    pub stop: Stop,
    /// How leaks of the tokens were reported: `possession`, `github` or `gitlab`, with the time in milliseconds.
    pub reported: Vec<(String, u64)>,
    /// The acts on them and on the incident, in order, at most [`MAX_NAMED`].
    pub acts: Vec<ActFact>,
    /// Acts for which there was no room.
    pub more_acts: u64,
    /// The first and the last entry of the audit trail that were looked at.
    pub looked_at: (u64, u64),
    /// Entries that cannot be read.
    pub damaged: u64,
}

/// A token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenFact {
    /// The claim `jti`.
    pub jwt_id: String,
    /// The role's name. Empty: a token of another issuer.
    pub role: String,
    /// The claim `client_id`.
    pub client_id: String,
    /// The claim `aud`.
    pub audience: String,
    /// The claim `scope`.
    pub scope: String,
    /// When it was issued, in milliseconds.
    pub issued_ms: u64,
    /// When it expires, in milliseconds.
    pub expires_ms: u64,
    /// The agreement under which it was issued.
    pub agreement: Option<String>,
    /// The request for access under which it was issued.
    pub grant: Option<String>,
    /// `jti` of the token that it was exchanged for.
    pub parent: Option<String>,
    /// The policy version under which it was issued.
    pub policy: Option<u64>,
    /// `live`, `expired`, `revoked`, `suspended`, or another state. `not recorded`: its record is gone.
    pub state: String,
    /// When it was revoked or suspended, or its key was marked as compromised, in milliseconds. It stays so since then.
    pub revoked_ms: Option<u64>,
    /// From when no guard accepts it, in milliseconds: its expiry and the longest leeway, or the revocation and the
    /// deadline.
    pub stops_ms: u64,
    /// Its use. `None`: its record is gone, or nothing was reported.
    pub uses: Option<TokenUses>,
    /// The position of the entry about its issue.
    pub entry: u64,
}

/// When the tokens stopped working.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stop {
    /// From when no guard accepts any of them, in milliseconds: it may lie ahead. 0: no token is known.
    pub at_ms: u64,
    /// The revocation deadline of guards, in milliseconds. `None`: they have none.
    pub deadline_ms: Option<u64>,
    /// Tokens that work: they are neither expired, revoked nor suspended, and their key was not withdrawn.
    pub live: u64,
    /// Tokens that were revoked or suspended, or whose key was withdrawn.
    pub revoked: u64,
    /// Of these, tokens whose revocation is not published everywhere yet.
    pub unpublished: u64,
    /// The last acceptance that a guard reported, in milliseconds.
    pub last_accepted_ms: Option<u64>,
    /// How long after its revocation the last acceptance of a token was, in milliseconds, at most: reports tell times
    /// in steps of a second. `None`: none was accepted after it.
    pub accepted_after_ms: Option<u64>,
}

/// An act.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ActFact {
    /// The position of its entry.
    pub position: u64,
    /// When, in milliseconds.
    pub at_ms: u64,
    /// The member `act` of the entry.
    pub act: String,
    /// What it was, in words, without who did it.
    pub what: String,
    /// Whether it lets tokens work again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumes: bool,
}

/// A token with what storage has of it.
pub(super) struct Looked {
    pub(super) facts: TokenFacts,
    /// The status of the record. `None`: it is gone.
    pub(super) record: Option<StatusType>,
    /// Whether its list has changes that are not published everywhere.
    pub(super) is_unpublished: bool,
    pub(super) uses: Option<TokenUse>,
    pub(super) position: u64,
    pub(super) at_ms: u64,
}

/// Collects what is known.
///
/// # Errors
///
/// [`StoreError`].
pub async fn collect(
    store: &(impl AuditStore + LogStore + TokenStore + KeyStore + UsageStore + AccessStore + ListStore),
    incident: &Incident,
    (config, policy): (&Config, &IssuerPolicy),
    now: UnixMillis,
) -> Result<Facts, StoreError> {
    let mut trail = trail::read(store, incident).await?;
    let looked = look(store, &mut trail).await?;
    let ancestors = std::mem::take(&mut trail.ancestors);
    trail.keep_concerned(looked.iter().map(|one| &one.facts).chain(&ancestors));
    let keys = store.keys().await?.keys;
    let withdrawn: BTreeSet<&str> = keys
        .iter()
        .filter(|key| key.state == KeyState::Withdrawn)
        .map(|key| key.key_id.as_str())
        .collect();
    let deadline = config.revocation.deadline();
    let deadline_ms = deadline.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
    if !has_unexplained(&trail, &looked, &ancestors) {
        trail.drop_unnamed();
    }
    let restored =
        trail.acts.iter().any(|act| matches!(act.entry.act, Act::DatabaseRestored { .. }));
    let ends = Ends::of(&trail, &looked, &ancestors, deadline_ms);
    let leaked_ms = incident.leaked_ms;
    let mut tokens = Vec::with_capacity(looked.len().min(MAX_NAMED));
    let mut stop = Stop {
        at_ms: 0,
        deadline_ms,
        live: 0,
        revoked: 0,
        unpublished: 0,
        last_accepted_ms: None,
        accepted_after_ms: None,
    };
    for one in &looked {
        let (token, is_exact) = token_fact(one, &ends, &withdrawn, leaked_ms, now);
        stop.at_ms = stop.at_ms.max(token.stops_ms);
        let is_live = ["live", "not recorded"].contains(&token.state.as_str());
        let is_revoked = ["revoked", "suspended", "key withdrawn"].contains(&token.state.as_str());
        let is_unpublished = is_revoked && one.is_unpublished;
        stop.live = stop.live.saturating_add(is_live.into());
        stop.revoked = stop.revoked.saturating_add(is_revoked.into());
        stop.unpublished = stop.unpublished.saturating_add(is_unpublished.into());
        let last_ms = token.uses.and_then(|uses| uses.last_ms);
        stop.last_accepted_ms = stop.last_accepted_ms.max(last_ms);
        let after = last_ms.zip(token.revoked_ms.filter(|_| is_exact));
        let after = after.and_then(|(last, at)| last.saturating_add(STEP_MS).checked_sub(at));
        stop.accepted_after_ms = stop.accepted_after_ms.max(after);
        if tokens.len() < MAX_NAMED {
            tokens.push(token);
        }
    }
    let mut subjects: Vec<&str> = looked.iter().map(|one| one.facts.subject.as_str()).collect();
    subjects.sort_unstable();
    subjects.dedup();
    let subjects = u64::try_from(subjects.len()).unwrap_or(u64::MAX);
    let all_looked_at = u64::try_from(looked.len()) == Ok(trail.count);
    let is_whole = all_looked_at && trail.damaged == 0 && !restored;
    let uses = uses(store, incident, policy, (&looked, is_whole), &stop, now).await?;
    let reach = reach(policy, incident, &looked);
    let reported = trail.acts.iter().filter_map(|act| match &act.entry.act {
        Act::TokenRevoked { report: Some(report), .. } => {
            Some((report.channel.clone(), act.entry.at_ms))
        }
        _ => None,
    });
    let reported = reported.collect();
    let shown = trail.acts.iter().take(MAX_NAMED);
    let shown = shown.map(|act| act_fact(act.position, &act.public));
    let left = trail.acts.len().saturating_sub(MAX_NAMED);
    let more_acts = trail.more_acts.saturating_add(u64::try_from(left).unwrap_or(u64::MAX));
    Ok(Facts {
        acts: shown.collect(),
        tokens,
        count: trail.count,
        all_looked_at,
        restored,
        digest: trail.digest,
        subjects,
        reach,
        uses,
        stop,
        reported,
        more_acts,
        looked_at: (trail.first, trail.last),
        damaged: trail.damaged,
    })
}

/// What storage has of the tokens.
async fn look(
    store: &(impl TokenStore + UsageStore + ListStore),
    trail: &mut Trail,
) -> Result<Vec<Looked>, StoreError> {
    const AT_ONCE: usize = 500;
    let lists = store.lists(0).await?;
    let unpublished: HashSet<String> =
        lists.into_iter().filter(|one| one.published < one.changes).map(|one| one.id).collect();
    let issued = std::mem::take(&mut trail.tokens).into_iter();
    let mut looked: Vec<Looked> = issued
        .map(|IssuedToken { position, at_ms, facts }| Looked {
            facts,
            record: None,
            is_unpublished: false,
            uses: None,
            position,
            at_ms,
        })
        .collect();
    for part in looked.chunks_mut(AT_ONCE) {
        let ids: Vec<&str> = part.iter().map(|one| one.facts.jwt_id.as_str()).collect();
        let records = store.named_tokens(&ids).await?.into_iter();
        let mut records: HashMap<String, TokenRecord> =
            records.map(|record| (record.facts.jwt_id.clone(), record)).collect();
        let seqs: Vec<u64> = records.values().map(|record| record.seq).collect();
        let mut uses = store.token_uses(&seqs).await?;
        for one in part {
            let Some(record) = records.remove(&one.facts.jwt_id) else { continue };
            one.uses = uses.remove(&record.seq);
            one.record = Some(record.status);
            one.is_unpublished = unpublished.contains(&record.slot.list_id);
            one.facts = record.facts;
        }
        trail::give_way().await;
    }
    Ok(looked)
}

/// What is known of a token, and whether the act that ended it is known.
fn token_fact<'t>(
    one: &'t Looked,
    ends: &Ends<'t>,
    withdrawn: &BTreeSet<&str>,
    leaked_ms: Option<u64>,
    now: UnixMillis,
) -> (TokenFact, bool) {
    let facts = &one.facts;
    let seconds = now.numeric_date().seconds();
    let is_withdrawn = withdrawn.contains(facts.key_id.as_str());
    let is_valid = one.record.is_none_or(|status| status == StatusType::Valid);
    let expires_ms = facts.expiration.saturating_mul(1000);
    // An act after the expiry ended nothing. A token that is valid was suspended and resumed.
    let named = match one.record {
        Some(StatusType::Valid) => ends.compromised.get(facts.key_id.as_str()).copied(),
        _ => ends.named(facts),
    };
    let named = named.filter(|at| *at < expires_ms);
    let ended = named.or_else(|| ends.unnamed(facts).filter(|at| !is_valid && *at < expires_ms));
    let state = match one.record {
        Some(status) => state(status, facts, is_withdrawn, seconds),
        None if seconds >= facts.expiration => "expired",
        None if ended.is_some() => "revoked",
        None => "not recorded",
    };
    let bound = ended.zip(ends.deadline_ms).map(|(at, deadline)| at.saturating_add(deadline));
    let expired = expires_ms.saturating_add(trail::LEEWAY_MS);
    let uses = one.uses.as_ref().map(|uses| TokenUses {
        accepted: uses.accepted,
        refused: uses.refused,
        first_ms: uses.first_ms,
        last_ms: uses.last_ms,
        last_refused_ms: uses.last_refused_ms,
        after: after(uses, leaked_ms),
    });
    let fact = TokenFact {
        jwt_id: facts.jwt_id.clone(),
        role: facts.role.clone(),
        client_id: facts.client_id.clone(),
        audience: facts.audience.clone(),
        scope: facts.scope.clone(),
        issued_ms: one.at_ms,
        expires_ms,
        agreement: facts.agreement.clone(),
        grant: facts.grant.clone(),
        parent: facts.parent.clone(),
        policy: facts.policy,
        state: state.to_owned(),
        revoked_ms: ended,
        stops_ms: bound.map_or(expired, |bound| bound.min(expired)),
        uses,
        entry: one.position,
    };
    (fact, named.is_some())
}

/// An act in words, by its entry without personal values, as the log holds it.
pub(super) fn act_fact(position: u64, entry: &AuditEntry) -> ActFact {
    let what = match &entry.act {
        Act::TokenRevoked { jwt_id, .. } => format!("token {jwt_id} revoked"),
        Act::StatusesChanged { change, selection, count, .. } => {
            let what = match change {
                StatusChange::Revoke => "revoked",
                StatusChange::Suspend => "suspended",
                StatusChange::Resume => "resumed",
            };
            match selection {
                SelectionEntry::JwtId(jwt_id) => format!("token {jwt_id} {what}"),
                SelectionEntry::JwtIds(named) => {
                    format!("{count} of {named} named tokens {what}; it may be about these")
                }
                SelectionEntry::Fitting(filter) => {
                    let conditions = [
                        ("role", &filter.role),
                        ("client", &filter.client_id),
                        ("agreement", &filter.agreement),
                        ("request", &filter.grant),
                        ("key", &filter.key_id),
                    ];
                    let mut told: Vec<String> = conditions
                        .into_iter()
                        .filter_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)))
                        .collect();
                    if filter.subject.is_some() {
                        told.push("a subject".to_owned());
                    }
                    let all = if told.is_empty() { "all".to_owned() } else { told.join(", ") };
                    format!("{count} tokens {what}: {all}")
                }
                SelectionEntry::Erased => format!("{count} tokens of a subject {what}"),
            }
        }
        Act::KeyCompromised { key_id, .. } => format!("key {key_id} marked as compromised"),
        Act::KeysWithdrawn { key_ids, .. } => format!("keys withdrawn: {}", key_ids.join(", ")),
        Act::AccessChanged { request, change, state, .. } => {
            format!("request for access {request}: {}, then {}", change.name(), state.name())
        }
        Act::IncidentChanged { incident, change, .. } => {
            format!("incident {incident} {}", change.name())
        }
        other => other.name().to_owned(),
    };
    let resumes = matches!(&entry.act, Act::StatusesChanged { change: StatusChange::Resume, .. });
    ActFact { position, at_ms: entry.at_ms, act: entry.act.name().to_owned(), what, resumes }
}
