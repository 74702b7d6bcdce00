//! What is known of an incident: what the tokens could reach, where and when they were used, and when they stopped
//! working.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use edgepass_status_list::StatusType;
use edgepass_usage::STEP_MS;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};

use super::trail::{self, IssuedToken, PlacedAct, Trail};
use super::{Concerns, GuardedRoute, Incident, MAX_NAMED};
use crate::audit::{Act, AuditEntry, SelectionEntry};
use crate::config::Config;
use crate::policy::IssuerPolicy;
use crate::policy::agreement::Agreement;
use crate::selection::{Selection, StatusChange};
use crate::signing_key::KeyState;
use crate::storage::{
    AccessStore, AuditStore, KeyStore, ListStore, LogStore, StoreError, TokenRecord, TokenStore,
    UsageStore, state,
};
use crate::token_facts::TokenFacts;
use crate::usage::{AHEAD_MS, Kinds, Reporter, TokenUse, complete_since_ms, expected_reporters};

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

/// The use of a token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenUses {
    /// Accepted requests.
    pub accepted: u64,
    /// Refused requests.
    pub refused: u64,
    /// The first accepted request, in milliseconds.
    pub first_ms: Option<u64>,
    /// The last accepted request, in milliseconds.
    pub last_ms: Option<u64>,
    /// The last refused request, in milliseconds.
    pub last_refused_ms: Option<u64>,
    /// Accepted requests after the leak: at least and at most so many.
    pub after: (u64, u64),
}

/// What tokens of a role could reach.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reach {
    /// The role.
    pub role: String,
    /// The number of tokens.
    pub tokens: u64,
    /// Audiences of the tokens.
    pub audiences: Vec<String>,
    /// Scope tokens of the tokens.
    pub scopes: Vec<ScopeReach>,
    /// The agreement, with what it says.
    pub agreement: Option<AgreementReach>,
    /// Routes that take the tokens. `None`: no policy of a guard was named.
    pub routes: Option<Vec<RouteReach>>,
}

/// What a scope token gives access to, by the catalogue of the policy in use.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ScopeReach {
    /// The scope token.
    pub name: String,
    /// What it allows. `None`: the catalogue does not have it.
    pub description: Option<String>,
    /// Categories of data.
    pub data: Vec<String>,
    /// Categories of data subjects.
    pub subjects: Vec<String>,
    /// Whether these are personal data.
    pub personal: Option<bool>,
}

/// What an agreement says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AgreementReach {
    /// Its `id`.
    pub id: String,
    /// Its parties. Empty: the policy does not have the agreement any more.
    pub parties: Vec<String>,
    /// Its purposes.
    pub purposes: Vec<String>,
    /// Its regions.
    pub regions: Vec<String>,
}

/// A route that takes the tokens.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RouteReach {
    /// Methods and path.
    pub name: String,
    /// What it masks, in words.
    pub masks: Vec<String>,
}

/// How the tokens were used, as guards reported it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Uses {
    /// Accepted requests.
    pub accepted: u64,
    /// Refused requests.
    pub refused: u64,
    /// The first accepted request, in milliseconds.
    pub first_ms: Option<u64>,
    /// The last accepted request, in milliseconds.
    pub last_ms: Option<u64>,
    /// The last refused request, in milliseconds.
    pub last_refused_ms: Option<u64>,
    /// Accepted requests after the leak: at least and at most so many.
    pub after: (u64, u64),
    /// Countries, and networks as `AS` and their number, from which tokens were accepted, as far as there was room.
    pub accepted_from: Vec<String>,
    /// Countries from which tokens were used.
    pub countries: Vec<Seen>,
    /// Networks (AS numbers) from which tokens were used.
    pub networks: Vec<Seen>,
    /// Routes on which tokens were accepted.
    pub routes: Vec<Seen>,
    /// The codes of refusals.
    pub refusals: Vec<Seen>,
    /// Since when no report is known to be missing, in milliseconds. `None`: not known.
    pub complete_since_ms: Option<u64>,
    /// Tokens of which no record is left, so that their use is not known.
    pub unrecorded: u64,
    /// What follows for the confidentiality of the data.
    pub confidentiality: Confidentiality,
    /// Why.
    pub why: String,
}

/// What use says about disclosure.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidentiality {
    /// There is a use that nobody else explains.
    Likely,
    /// No use, and every report has come.
    NotExfiltrated,
    /// It cannot be told.
    NotAssessable,
}

impl Confidentiality {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Likely => "likely",
            Self::NotExfiltrated => "not_exfiltrated",
            Self::NotAssessable => "not_assessable",
        }
    }
}

/// Requests from a place, or of a kind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// Its name. Empty: all for which there was no room.
    pub name: String,
    /// The number of requests.
    pub count: u64,
    /// The first of them, in milliseconds, where it is known.
    pub first_ms: Option<u64>,
    /// The last of them, in milliseconds, where it is known.
    pub last_ms: Option<u64>,
    /// When that was.
    pub when: When,
}

/// When something was seen, compared with the leak.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only before it.
    Before,
    /// Only after it.
    After,
    /// Before and after it.
    Both,
    /// That is not known.
    Unknown,
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
struct Looked {
    facts: TokenFacts,
    /// The status of the record. `None`: it is gone.
    record: Option<StatusType>,
    /// Whether its list has changes that are not published everywhere.
    is_unpublished: bool,
    uses: Option<TokenUse>,
    position: u64,
    at_ms: u64,
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
    let mut uses = uses(store, incident, policy, &looked, &stop, now).await?;
    let is_whole = all_looked_at && trail.damaged == 0 && !restored;
    if uses.confidentiality == Confidentiality::NotExfiltrated && !is_whole {
        uses.confidentiality = Confidentiality::NotAssessable;
        "no accepted use after the leak is known, but not every token or entry could be looked at"
            .clone_into(&mut uses.why);
    }
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

/// Whether a token is not valid although no act names or selects it: one of the acts on several named tokens was
/// about it.
fn has_unexplained(trail: &Trail, looked: &[Looked], ancestors: &[TokenFacts]) -> bool {
    let ends = Ends::of(trail, looked, ancestors, None);
    looked.iter().any(|one| {
        let is_valid = one.record.is_none_or(|status| status == StatusType::Valid);
        !is_valid && ends.named(&one.facts).is_none()
    })
}

/// When acts ended tokens.
struct Ends<'t> {
    deadline_ms: Option<u64>,
    /// Acts that name a token, in order.
    naming: HashMap<&'t str, Vec<&'t PlacedAct>>,
    /// Acts that select tokens by a filter, in order.
    selecting: Vec<(Selection, &'t PlacedAct)>,
    /// When keys were marked as compromised, in milliseconds.
    compromised: HashMap<&'t str, u64>,
    /// Acts on several tokens by name, of which the trail has the digest alone.
    unnamed: Vec<&'t PlacedAct>,
    /// The tokens for which others were exchanged.
    parents: HashMap<&'t str, &'t TokenFacts>,
}

impl<'t> Ends<'t> {
    fn of(
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
    fn named(&self, facts: &'t TokenFacts) -> Option<u64> {
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
    fn unnamed(&self, facts: &TokenFacts) -> Option<u64> {
        let acts = self.unnamed.iter().map(|act| act.entry.at_ms);
        acts.filter(|at_ms| at_ms / 1000 >= facts.issued_at).max()
    }
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

/// Accepted requests after a time: at least and at most so many. Of a token first, last and number are known, and the
/// times in steps.
fn after(uses: &TokenUse, leaked_ms: Option<u64>) -> (u64, u64) {
    let Some(leaked) = leaked_ms else { return (0, uses.accepted) };
    let (Some(first), Some(last)) = (uses.first_ms, uses.last_ms) else { return (0, 0) };
    // The first one was before, so not all were after.
    let is_before = |at: u64| at.saturating_add(STEP_MS) <= leaked;
    let most = uses.accepted.saturating_sub(is_before(first).into());
    match (first >= leaked, last >= leaked) {
        (true, _) => (uses.accepted, uses.accepted),
        (false, true) => (1, most.max(1)),
        (false, false) if is_before(last) => (0, 0),
        (false, false) => (0, most),
    }
}

async fn uses(
    store: &impl UsageStore,
    incident: &Incident,
    policy: &IssuerPolicy,
    looked: &[Looked],
    stop: &Stop,
    now: UnixMillis,
) -> Result<Uses, StoreError> {
    let mut all = TokenUse::default();
    let mut accepted_from: BTreeSet<String> = BTreeSet::new();
    let (mut countries, mut networks) = (Places::default(), Places::default());
    let (mut range, mut possible) = ((0_u64, 0_u64), 0_u64);
    // The clock of a guard may be behind.
    let tolerant = incident.leaked_ms.map(|leaked| leaked.saturating_sub(AHEAD_MS));
    for own in looked.iter().filter_map(|one| one.uses.as_ref()) {
        let (least, most) = after(own, incident.leaked_ms);
        range = (range.0.saturating_add(least), range.1.saturating_add(most));
        possible = possible.saturating_add(after(own, tolerant).1);
        accepted_from.extend(own.detail.accepted_from.iter().cloned());
        countries.add(&own.detail.countries);
        networks.add(&own.detail.asns);
        all.merge(own);
    }
    let reporters = store.reporters().await?;
    let audiences: BTreeSet<&str> = looked.iter().map(|one| one.facts.audience.as_str()).collect();
    let (mut complete, mut heard) = (Some(0), true);
    for audience in audiences {
        let expected = expected_reporters(policy, audience);
        let since = complete_since_ms(&reporters, audience, &expected, now.0);
        complete = complete.zip(since).map(|(all, own)| u64::max(all, own));
        // Who has not reported since the tokens stopped may have seen a use.
        let of = |one: &&Reporter| one.audiences.iter().any(|own| own == audience);
        heard &= reporters.iter().filter(of).all(|one| one.last_ms >= stop.at_ms);
    }
    let complete = complete.filter(|_| !looked.is_empty());
    let leaked = incident.leaked_ms;
    let kinds = |kinds: &Kinds| seen(kinds.counts.iter(), kinds.others, leaked);
    let places = |places: &Places| seen(places.counts.iter(), places.others, leaked);
    let first_issued = looked.iter().map(|one| one.at_ms).min().unwrap_or(u64::MAX);
    let since = leaked.unwrap_or_default().max(first_issued);
    let has_ended = stop.live == 0 && stop.unpublished == 0 && stop.at_ms <= now.0;
    let is_complete = has_ended && heard && complete.is_some_and(|complete| complete <= since);
    let unrecorded = looked.iter().filter(|one| one.record.is_none()).count();
    let new = |places: &Places, prefix: &str| -> Option<String> {
        // Of a place that had no room it is not known when it was seen first.
        let is_known = places.others == 0;
        let is_new = |(name, own): &(&String, &crate::usage::Seen)| {
            let name = format!("{prefix}{name}");
            when(own, leaked) == When::After && accepted_from.contains(&name)
        };
        let found = places.counts.iter().filter(|_| is_known).find(is_new);
        found.map(|(name, _)| format!("{prefix}{name}"))
    };
    let had_use_before = all.first_ms.zip(leaked).is_some_and(|(first, leaked)| first < leaked);
    let new_place = new(&countries, "").or_else(|| new(&networks, "AS"));
    let new_place = new_place.filter(|_| had_use_before);
    let (confidentiality, why) = match (possible, is_complete, new_place) {
        (0, true, _) if unrecorded == 0 => (
            Confidentiality::NotExfiltrated,
            "no guard reported that it accepted the credential after the leak, and no report is known to be missing from then until it stopped working".to_owned(),
        ),
        (0, ..) => (
            Confidentiality::NotAssessable,
            "no accepted use is known, but reports of use are not complete, or may still come".to_owned(),
        ),
        (_, _, Some(place)) => (
            Confidentiality::Likely,
            format!("the credential was accepted after the leak from {place}, from where it was not used before"),
        ),
        _ if leaked.is_none() => (
            Confidentiality::NotAssessable,
            "the credential was accepted, and nobody knows since when others had it".to_owned(),
        ),
        _ => (
            Confidentiality::NotAssessable,
            "the credential was accepted after the leak, or may have been; whether by its holder or by somebody else cannot be told".to_owned(),
        ),
    };
    Ok(Uses {
        accepted: all.accepted,
        refused: all.refused,
        first_ms: all.first_ms,
        last_ms: all.last_ms,
        last_refused_ms: all.last_refused_ms,
        after: range,
        accepted_from: accepted_from.into_iter().collect(),
        countries: places(&countries),
        networks: places(&networks),
        routes: kinds(&all.detail.routes),
        refusals: kinds(&all.detail.codes),
        complete_since_ms: complete,
        unrecorded: u64::try_from(unrecorded).unwrap_or(u64::MAX),
        confidentiality,
        why,
    })
}

/// Places of all tokens. Those of one token are limited, these are not.
#[derive(Default)]
struct Places {
    counts: BTreeMap<String, crate::usage::Seen>,
    others: u64,
}

impl Places {
    fn add(&mut self, kinds: &Kinds) {
        for (name, seen) in &kinds.counts {
            self.counts.entry(name.clone()).or_default().merge(*seen);
        }
        self.others = self.others.saturating_add(kinds.others);
    }
}

/// When a place was seen, compared with the leak.
fn when(own: &crate::usage::Seen, leaked_ms: Option<u64>) -> When {
    let is_before = |at: u64, leaked: u64| at.saturating_add(STEP_MS) <= leaked;
    match (leaked_ms, own.first_ms) {
        (None, _) => When::Unknown,
        (Some(leaked), _) if is_before(own.last_ms, leaked) => When::Before,
        (Some(leaked), Some(first)) if first >= leaked => When::After,
        (Some(leaked), Some(first)) if is_before(first, leaked) && own.last_ms >= leaked => {
            When::Both
        }
        (Some(_), _) => When::Unknown,
    }
}

/// The most places that a report names.
const MAX_PLACES: usize = 1000;

fn seen<'k>(
    counts: impl Iterator<Item = (&'k String, &'k crate::usage::Seen)> + Clone,
    others: u64,
    leaked_ms: Option<u64>,
) -> Vec<Seen> {
    let left = counts.clone().skip(MAX_PLACES).map(|(_, own)| own.count);
    let others = left.fold(others, u64::saturating_add);
    let one = |(name, own): (&String, &crate::usage::Seen)| Seen {
        name: name.clone(),
        count: own.count,
        first_ms: own.first_ms,
        last_ms: Some(own.last_ms),
        when: when(own, leaked_ms),
    };
    let others = (others > 0).then(|| Seen {
        name: String::new(),
        count: others,
        first_ms: None,
        last_ms: None,
        when: When::Unknown,
    });
    counts.take(MAX_PLACES).map(one).chain(others).collect()
}

fn reach(policy: &IssuerPolicy, incident: &Incident, looked: &[Looked]) -> Vec<Reach> {
    let mut roles: BTreeMap<&str, Vec<&TokenFacts>> = BTreeMap::new();
    for one in looked {
        roles.entry(one.facts.role.as_str()).or_default().push(&one.facts);
    }
    // A role that was named and has no token is told as well.
    if let Concerns::Role(name) = &incident.concerns {
        roles.entry(name).or_default();
    }
    let one = |(role, tokens): (&str, Vec<&TokenFacts>)| {
        let set = |of: &dyn Fn(&TokenFacts) -> Vec<String>| -> Vec<String> {
            let all: BTreeSet<String> = tokens.iter().flat_map(|one| of(one)).collect();
            all.into_iter().collect()
        };
        let audiences = set(&|one| vec![one.audience.clone()]);
        let scopes = set(&|one| one.scope.split_whitespace().map(str::to_owned).collect());
        let agreement = tokens.iter().rev().find_map(|one| one.agreement.as_deref());
        let found = agreement.and_then(|id| policy.agreement(id));
        let takes = |route: &&GuardedRoute| is_taken(route, &scopes, &audiences, found);
        let routes = incident.routes.as_ref().map(|routes| {
            let taken = routes.iter().filter(takes);
            let one = |route: &GuardedRoute| RouteReach {
                name: route.name.clone(),
                masks: route.masks.clone(),
            };
            taken.map(one).collect()
        });
        Reach {
            role: role.to_owned(),
            tokens: u64::try_from(tokens.len()).unwrap_or(u64::MAX),
            scopes: scopes.iter().map(|name| scope_reach(policy, name)).collect(),
            audiences,
            agreement: agreement.map(|id| AgreementReach {
                id: id.to_owned(),
                parties: found.map(|one| one.parties.clone()).unwrap_or_default(),
                purposes: found.map(|one| one.purposes.clone()).unwrap_or_default(),
                regions: found.map(|one| one.regions.clone()).unwrap_or_default(),
            }),
            routes,
        }
    };
    roles.into_iter().map(one).collect()
}

fn scope_reach(policy: &IssuerPolicy, name: &str) -> ScopeReach {
    let found = policy.catalogue.iter().find(|one| one.name == name);
    ScopeReach {
        name: name.to_owned(),
        description: found.map(|one| one.description.clone()),
        data: found.map(|one| one.data.clone()).unwrap_or_default(),
        subjects: found.map(|one| one.subjects.clone()).unwrap_or_default(),
        personal: found.map(|one| one.personal),
    }
}

/// Whether a route takes tokens with these scope tokens, audiences and agreement.
fn is_taken(
    route: &GuardedRoute,
    scopes: &[String],
    audiences: &[String],
    agreement: Option<&Agreement>,
) -> bool {
    let any = |wanted: &[String], own: &[String]| {
        wanted.is_empty() || wanted.iter().any(|one| own.contains(one))
    };
    let purposes = agreement.map(|one| one.purposes.as_slice()).unwrap_or_default();
    let data = agreement.map(|one| one.data.as_slice()).unwrap_or_default();
    !route.public
        && any(&route.audiences, audiences)
        && route.all_of.iter().all(|one| scopes.contains(one))
        && any(&route.any_of, scopes)
        && any(&route.purposes, purposes)
        && route.data.iter().all(|one| data.contains(one))
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
