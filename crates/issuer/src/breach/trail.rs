//! What the audit trail says of an incident: the tokens that it is about, and the acts on them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Concerns, Incident};
use crate::audit::leaf::Leaf;
use crate::audit::{Act, AuditEntry, SelectionEntry};
use crate::policy::version::hexadecimal;
use crate::selection::{Filter, Selection};
use crate::storage::{AccessStore, AuditStore, LogStore, Page, StoreError, TokenStore};
use crate::token_facts::TokenFacts;

/// The most tokens that are looked at one by one. The others are counted.
pub const MAX_TOKENS: usize = 100_000;
/// The most acts that are kept.
const MAX_ACTS: usize = 10_000;
/// The longest time for which a token is valid, in milliseconds.
const LONGEST_MS: u64 = 24 * 60 * 60 * 1000;
/// How long after its expiry a verifier may accept a token, in milliseconds: the longest leeway.
pub const LEEWAY_MS: u64 = 5 * 60 * 1000;
/// The most exchanges that are followed back.
pub const LONGEST_CHAIN: usize = 32;
/// How far the clock of an issuer may have been set back, in milliseconds.
const CLOCK_MS: u64 = 60 * 60 * 1000;
/// Entries that are read at once.
const PAGE: u32 = 2000;
/// How the text of an entry about an issued token begins: its members are in the order of their names.
const ISSUED: &str = "{\"act\":\"token_issued\"";

/// A token by the entry about its issue.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The position of the entry.
    pub position: u64,
    /// When it was issued, in milliseconds.
    pub at_ms: u64,
    /// What the entry says. `key_id` and `confirmation` are not in it.
    pub facts: TokenFacts,
}

/// An act with its position in the trail.
#[derive(Clone, Debug)]
pub struct PlacedAct {
    /// The position of the entry.
    pub position: u64,
    /// The entry.
    pub entry: AuditEntry,
    /// The entry without its personal values, as the log holds it.
    pub public: AuditEntry,
}

/// What the trail says.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// The tokens, in the order of issue, at most [`MAX_TOKENS`].
    pub tokens: Vec<IssuedToken>,
    /// The number of all tokens.
    pub count: u64,
    /// SHA-256, in hexadecimal, over the `jti` of each token in the order of issue, each followed by a line feed.
    pub digest: String,
    /// Acts that may be about the tokens, and those about the incident, in order. Acts on several named tokens are here
    /// whatever they name: the trail has their digest alone.
    pub acts: Vec<PlacedAct>,
    /// Acts for which there was no room.
    pub more_acts: u64,
    /// The first position that was looked at.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Entries that cannot be read and were passed over.
    pub damaged: u64,
    /// The tokens from which the named ones were exchanged, as far as there are records.
    pub ancestors: Vec<TokenFacts>,
}

/// The members of an entry about an issued token that are not personal.
#[derive(Deserialize)]
struct Issued<'t> {
    at_ms: u64,
    #[serde(borrow)]
    jwt_id: Cow<'t, str>,
    #[serde(borrow)]
    role: Cow<'t, str>,
    #[serde(borrow)]
    client_id: Cow<'t, str>,
    expiration: u64,
    #[serde(borrow, default)]
    parent: Option<Cow<'t, str>>,
}

/// What a scan looks for.
struct Scan<'i> {
    incident: &'i Incident,
    ids: HashSet<String>,
    /// Tokens from which they were exchanged.
    above: HashSet<String>,
    /// Requests for access under which the tokens may have been issued.
    grants: HashSet<String>,
    /// The kinds of the tokens so far, each by the first token: many differ in their names and times alone.
    kinds: HashMap<u64, TokenFacts>,
    hasher: RandomState,
    digest: Sha256,
    found: Trail,
}

/// Reads the trail from where the first of the tokens may have been issued.
///
/// # Errors
///
/// [`StoreError`].
pub async fn read(
    store: &(impl AuditStore + LogStore + TokenStore + AccessStore),
    incident: &Incident,
) -> Result<Trail, StoreError> {
    let Beginning { since, grants, ancestors } = beginning(store, incident).await?;
    let begins = store.audit(since, Page::first(false, 1)).await?;
    let first = begins.first().map_or(1, |(position, _)| *position);
    let ids = match &incident.concerns {
        Concerns::Tokens(ids) => ids.iter().cloned().collect(),
        _ => HashSet::new(),
    };
    let above = ancestors.iter().map(|one| one.jwt_id.clone()).collect();
    let last = first.saturating_sub(1);
    let found = Trail { first, last, ancestors, ..Trail::default() };
    let (kinds, hasher, digest) = (HashMap::new(), RandomState::new(), Sha256::new());
    let mut scan = Scan { incident, ids, above, grants, kinds, hasher, digest, found };
    loop {
        let leaves = store.leaves(scan.found.last, PAGE).await?;
        let Some((last, _)) = leaves.last() else { break };
        scan.found.last = *last;
        for (position, leaf) in &leaves {
            scan.take(*position, leaf);
        }
        give_way().await;
    }
    scan.found.digest = hexadecimal(&scan.digest.finalize());
    Ok(scan.found)
}

/// Lets other work of the process go on.
pub(super) async fn give_way() {
    let mut is_polled = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_polled, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// Where to begin.
struct Beginning {
    /// The time before which nothing happened to the tokens, in milliseconds.
    since: u64,
    /// The requests for access under which they were issued, as far as records say.
    grants: HashSet<String>,
    /// The tokens from which they were exchanged, as far as there are records.
    ancestors: Vec<TokenFacts>,
}

async fn beginning(
    store: &(impl TokenStore + AccessStore),
    incident: &Incident,
) -> Result<Beginning, StoreError> {
    let mut grants = HashSet::new();
    let Concerns::Tokens(ids) = &incident.concerns else {
        let leaked = incident.leaked_ms.unwrap_or_default();
        let since = leaked.saturating_sub(LONGEST_MS).saturating_sub(CLOCK_MS);
        return Ok(Beginning { since, grants, ancestors: Vec::new() });
    };
    let (mut since, mut ancestors) = (u64::MAX, Vec::new());
    for id in ids {
        // Of a token without a record nobody knows when it was issued.
        let Some(record) = store.token(id).await? else {
            since = 0;
            continue;
        };
        since = since.min(record.facts.issued_at.saturating_mul(1000));
        let mut parent = record.facts.parent;
        for _ in 0..LONGEST_CHAIN {
            let Some(id) = parent.take() else { break };
            let Some(record) = store.token(&id).await? else { break };
            parent = record.facts.parent.clone();
            ancestors.push(record.facts);
        }
        let Some(grant) = record.facts.grant else { continue };
        if let Some(request) = store.access(&grant).await? {
            since = since.min(request.asked_ms);
        }
        grants.insert(grant);
    }
    Ok(Beginning { since: since.saturating_sub(CLOCK_MS), grants, ancestors })
}

impl Scan<'_> {
    fn take(&mut self, position: u64, leaf: &Leaf) {
        if leaf.text.starts_with(ISSUED) {
            match serde_json::from_str::<Issued<'_>>(&leaf.text) {
                Ok(issued) if self.is_concerned(&issued) => {
                    self.take_token(position, leaf, &issued.jwt_id);
                }
                Ok(_) => {}
                Err(_) => self.found.damaged = self.found.damaged.saturating_add(1),
            }
            return;
        }
        let public = || Leaf { private: None, ..leaf.clone() }.entry();
        match leaf.entry().and_then(|entry| Ok((entry, public()?))) {
            Ok((entry, public)) => self.take_act(PlacedAct { position, entry, public }),
            Err(_) => self.found.damaged = self.found.damaged.saturating_add(1),
        }
    }

    fn is_concerned(&self, issued: &Issued<'_>) -> bool {
        let was_valid = self.incident.leaked_ms.is_none_or(|leaked| {
            let ends = issued.expiration.saturating_mul(1000).saturating_add(LEEWAY_MS);
            ends > leaked || issued.at_ms >= leaked
        });
        let is_exchanged = issued.parent.as_ref().is_some_and(|it| self.ids.contains(it.as_ref()));
        is_exchanged
            || match &self.incident.concerns {
                Concerns::Tokens(_) => self.ids.contains(issued.jwt_id.as_ref()),
                Concerns::Client(name) => was_valid && *name == issued.client_id,
                Concerns::Role(name) => was_valid && *name == issued.role,
            }
    }

    fn take_token(&mut self, position: u64, leaf: &Leaf, jwt_id: &str) {
        if self.found.tokens.len() >= MAX_TOKENS {
            return self.count(jwt_id);
        }
        let Ok(entry) = leaf.entry() else {
            self.found.damaged = self.found.damaged.saturating_add(1);
            return;
        };
        let at_ms = entry.at_ms;
        let Some(facts) = facts(entry) else { return };
        self.add(IssuedToken { position, at_ms, facts });
    }

    fn count(&mut self, jwt_id: &str) {
        self.digest.update(jwt_id);
        self.digest.update("\n");
        self.found.count = self.found.count.saturating_add(1);
    }

    fn add(&mut self, token: IssuedToken) {
        self.count(&token.facts.jwt_id);
        let TokenFacts { role, client_id, subject, agreement, grant, .. } = &token.facts;
        let kind = self.hasher.hash_one((role, client_id, subject, agreement, grant));
        self.kinds.entry(kind).or_insert_with(|| token.facts.clone());
        self.ids.insert(token.facts.jwt_id.clone());
        self.grants.extend(token.facts.grant.clone());
        self.found.tokens.push(token);
    }

    /// Whether a filter may select one of the tokens so far. An act selects none that is issued later. Their keys
    /// are not known here.
    fn may_select(&self, filter: &Filter) -> bool {
        let selection = Selection::Fitting(Filter { key_id: None, ..filter.clone() });
        self.kinds.values().chain(&self.found.ancestors).any(|one| selection.includes(one))
    }

    /// Whether the request is one of those, or of the client or role that the incident is about.
    fn is_granting(&self, request: &str, of_role: &str, of_client: &str) -> bool {
        self.grants.contains(request)
            || match &self.incident.concerns {
                Concerns::Tokens(_) => false,
                Concerns::Client(name) => name == of_client,
                Concerns::Role(name) => name == of_role,
            }
    }

    fn take_act(&mut self, act: PlacedAct) {
        let is_named = |jwt_id: &String| self.ids.contains(jwt_id) || self.above.contains(jwt_id);
        let is_it = match &act.entry.act {
            Act::TokenRevoked { jwt_id, .. } => is_named(jwt_id),
            Act::StatusesChanged { selection, .. } => match selection {
                SelectionEntry::JwtId(jwt_id) => is_named(jwt_id),
                SelectionEntry::JwtIds(_) | SelectionEntry::Erased => !self.ids.is_empty(),
                SelectionEntry::Fitting(filter) => self.may_select(filter),
            },
            Act::StatusAllotted { jwt_id, .. } if self.ids.contains(jwt_id) => {
                return self.take_foreign(act.position, act.entry);
            }
            Act::KeyCompromised { .. }
            | Act::KeysWithdrawn { .. }
            | Act::DatabaseRestored { .. } => true,
            Act::AccessChanged { request, role, client_id, .. } => {
                self.is_granting(request, role, client_id)
            }
            Act::IncidentChanged { incident, .. } => *incident == self.incident.id,
            _ => false,
        };
        if !is_it {
            return;
        }
        if self.found.acts.len() < MAX_ACTS {
            self.found.acts.push(act);
        } else {
            self.found.more_acts = self.found.more_acts.saturating_add(1);
        }
    }

    /// A token of another issuer that got a status entry.
    fn take_foreign(&mut self, position: u64, entry: AuditEntry) {
        let at_ms = entry.at_ms;
        if let (Some(facts), true) = (facts(entry), self.found.tokens.len() < MAX_TOKENS) {
            self.add(IssuedToken { position, at_ms, facts });
        }
    }
}

/// What the entry about the issue of a token says of it.
pub(super) fn facts(entry: AuditEntry) -> Option<TokenFacts> {
    let AuditEntry { at_ms, actor, policy, act } = entry;
    let issued_at = at_ms / 1000;
    let none = String::new;
    match act {
        Act::TokenIssued {
            jwt_id,
            role,
            client_id,
            subject,
            audience,
            scope,
            expiration,
            agreement,
            grant,
            parent,
        } => Some(TokenFacts {
            jwt_id,
            role,
            client_id,
            subject,
            audience,
            scope,
            key_id: none(),
            created_by: actor,
            policy,
            agreement,
            grant,
            parent,
            confirmation: None,
            issued_at,
            expiration,
        }),
        Act::StatusAllotted { jwt_id, client_id, issuer, subject, expiration } => {
            Some(TokenFacts {
                jwt_id,
                role: none(),
                client_id,
                subject,
                audience: issuer,
                scope: none(),
                key_id: none(),
                created_by: actor,
                policy,
                agreement: None,
                grant: None,
                parent: None,
                confirmation: None,
                issued_at,
                expiration,
            })
        }
        _ => None,
    }
}

impl Trail {
    /// Drops acts by keys that signed none of the tokens, and requests for access under which none was issued.
    /// `facts` are those of the tokens, with their keys where their records are there.
    pub(super) fn keep_concerned<'t>(
        &mut self,
        facts: impl Iterator<Item = &'t TokenFacts> + Clone,
    ) {
        let keys: HashSet<&str> = facts.clone().map(|one| one.key_id.as_str()).collect();
        let grants: HashSet<&str> = facts.filter_map(|one| one.grant.as_deref()).collect();
        let compromised: HashSet<String> = self
            .acts
            .iter()
            .filter_map(|act| match &act.entry.act {
                Act::KeyCompromised { key_id, .. } => Some(key_id.clone()),
                _ => None,
            })
            .collect();
        self.acts.retain(|act| match &act.entry.act {
            Act::StatusesChanged { selection: SelectionEntry::Fitting(filter), .. } => {
                filter.key_id.as_deref().is_none_or(|key| keys.contains(key))
            }
            Act::KeyCompromised { key_id, .. } => keys.contains(key_id.as_str()),
            // A key that retires as planned is nothing that was done about its tokens.
            Act::KeysWithdrawn { key_ids, .. } => key_ids
                .iter()
                .any(|key_id| keys.contains(key_id.as_str()) && compromised.contains(key_id)),
            Act::AccessChanged { request, .. } => grants.contains(request.as_str()),
            _ => true,
        });
    }

    /// Drops acts on several tokens by name, of which the trail has the digest alone.
    pub(super) fn drop_unnamed(&mut self) {
        self.acts.retain(|act| {
            !matches!(
                &act.entry.act,
                Act::StatusesChanged {
                    selection: SelectionEntry::JwtIds(_) | SelectionEntry::Erased,
                    ..
                }
            )
        });
    }
}
