//! How tokens were used, as guards reported it, and what follows for the confidentiality of the data.

use std::collections::{BTreeMap, BTreeSet};

use edgepass_usage::STEP_MS;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};

use super::Incident;
use super::facts::{Looked, Stop};
use crate::policy::IssuerPolicy;
use crate::storage::{StoreError, UsageStore};
use crate::usage::{
    self, AHEAD_MS, Kinds, Reporter, TokenUse, complete_since_ms, expected_reporters,
};

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

/// Accepted requests after a time: at least and at most so many. Of a token first, last and number are known, and the
/// times in steps.
pub(super) fn after(uses: &TokenUse, leaked_ms: Option<u64>) -> (u64, u64) {
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

/// The use of all tokens, and what follows from it. `is_whole`: every token and entry was looked at.
pub(super) async fn uses(
    store: &impl UsageStore,
    incident: &Incident,
    policy: &IssuerPolicy,
    (looked, is_whole): (&[Looked], bool),
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
        let is_new = |(name, own): &(&String, &usage::Seen)| {
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
        (0, true, _) if unrecorded == 0 && !is_whole => (
            Confidentiality::NotAssessable,
            "no accepted use after the leak is known, but not every token or entry could be looked at".to_owned(),
        ),
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
    counts: BTreeMap<String, usage::Seen>,
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
fn when(own: &usage::Seen, leaked_ms: Option<u64>) -> When {
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
    counts: impl Iterator<Item = (&'k String, &'k usage::Seen)> + Clone,
    others: u64,
    leaked_ms: Option<u64>,
) -> Vec<Seen> {
    let left = counts.clone().skip(MAX_PLACES).map(|(_, own)| own.count);
    let others = left.fold(others, u64::saturating_add);
    let one = |(name, own): (&String, &usage::Seen)| Seen {
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
