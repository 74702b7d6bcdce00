//! How tokens are used: what reports of guards add up to.
//!
//! A report is counted once, and only for tokens that are recorded and whose audience its sender may report
//! on. Of each token a row of bounded size is kept as long as its record; of each day, the sums by role,
//! client, route and outcome.

mod adding;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use edgepass_usage::Report;
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::misuse::{Before, Facts, Found, Rule, Rules, When, judge};
use crate::policy::IssuerPolicy;

pub use edgepass_usage::ACCEPTED;

pub use self::adding::{Added, Known, Sums, add};

/// Most countries, networks and so on of which a token's row keeps the counts.
pub const MAX_KINDS: usize = 16;
/// Most countries and networks from which a token is known to have been accepted.
pub const MAX_PLACES: usize = 32;
/// Most sums of one day. Beyond it the routes of that day are not told apart.
pub const MAX_DAY_SUMS: u64 = 50_000;
/// The oldest report that is taken, in milliseconds before its arrival. Isolates are forgotten later than
/// that, so that no report counts twice.
pub const OLDEST_MS: u64 = 24 * 60 * 60 * 1000;
/// How far the clock of an isolate may be ahead, in milliseconds.
pub const AHEAD_MS: u64 = 60_000;

/// A report, and who sent it.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The report, within its limits.
    pub report: Report,
    /// `client_id` of the sender.
    pub reporter: String,
    /// The audiences that the sender may report on.
    pub audiences: Vec<String>,
    /// When it arrived, in milliseconds.
    pub at_ms: u64,
}

/// The outcome of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was counted.
    Taken {
        /// Requests with tokens that are not recorded, or of another audience: left out.
        foreign: u64,
    },
    /// The isolate has reported this number, or a later one, before. Nothing was counted.
    Repeated,
}

/// Counts by name. Beyond [`MAX_KINDS`] names those that were not seen for longest share one count.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Kinds {
    /// What was seen of each name.
    #[serde(flatten)]
    pub counts: BTreeMap<String, Seen>,
    /// The count of all others.
    #[serde(rename = "", default, skip_serializing_if = "is_zero")]
    pub others: u64,
}

/// What was seen of a name. Stored as an array.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Stored", into = "(u64, u64, u64)")]
pub struct Seen {
    /// The number of requests.
    pub count: u64,
    /// The last of them, in milliseconds.
    pub last_ms: u64,
    /// The first of them, in milliseconds. `None`: an older program counted it.
    pub first_ms: Option<u64>,
}

/// As this program stores it, or one that kept no first time.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Whole(u64, u64, u64),
    WithoutFirst(u64, u64),
}

impl From<Stored> for Seen {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Whole(count, last_ms, first_ms) => {
                Self { count, last_ms, first_ms: Some(first_ms).filter(|first| *first > 0) }
            }
            Stored::WithoutFirst(count, last_ms) => Self { count, last_ms, first_ms: None },
        }
    }
}

impl From<Seen> for (u64, u64, u64) {
    fn from(seen: Seen) -> Self {
        (seen.count, seen.last_ms, seen.first_ms.unwrap_or_default())
    }
}

impl Seen {
    pub(crate) fn merge(&mut self, other: Self) {
        self.first_ms = match (self.count, self.first_ms, other.first_ms) {
            (0, _, first) => first,
            (_, Some(own), Some(first)) => Some(own.min(first)),
            _ => None,
        };
        self.count = self.count.saturating_add(other.count);
        self.last_ms = self.last_ms.max(other.last_ms);
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Kinds {
    fn merge(&mut self, other: &Self) {
        for (name, seen) in &other.counts {
            self.add(name, *seen);
        }
        self.others = self.others.saturating_add(other.others);
    }

    fn add(&mut self, name: &str, seen: Seen) {
        let is_known = self.counts.contains_key(name);
        if !is_known && self.counts.len() >= MAX_KINDS {
            // The one that was not seen for longest makes room: rules look at the last ones.
            let oldest = self.counts.iter().min_by_key(|(_, own)| own.last_ms);
            let oldest = oldest.map(|(name, own)| (name.clone(), *own));
            match oldest {
                Some((oldest, gone)) if gone.last_ms < seen.last_ms => {
                    self.counts.remove(&oldest);
                    self.others = self.others.saturating_add(gone.count);
                }
                _ => {
                    self.others = self.others.saturating_add(seen.count);
                    return;
                }
            }
        }
        self.counts.entry(name.to_owned()).or_default().merge(seen);
    }
}

/// The steps in which refusals are counted for rules, in milliseconds.
pub const RECENT_STEP_MS: u64 = 5 * 60 * 1000;
/// The number of these steps: more than an hour.
const RECENT_STEPS: usize = 13;

/// The use of one token, as far as it was reported.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TokenUse {
    /// Accepted requests.
    pub accepted: u64,
    /// Refused requests.
    pub refused: u64,
    /// The first accepted request, in milliseconds. `None`: there was none.
    pub first_ms: Option<u64>,
    /// The last accepted request, in milliseconds.
    pub last_ms: Option<u64>,
    /// The last refused request, in milliseconds.
    pub last_refused_ms: Option<u64>,
    /// Where and how.
    pub detail: UseDetail,
}

impl Sums {
    /// Adds the use of tokens to what was known of it before, and applies the rules. `known` are the tokens, by
    /// their positions in the order of issue.
    pub fn add_to(
        &self,
        uses: &mut HashMap<u64, TokenUse>,
        known: &HashMap<u64, (&str, &Known)>,
        rules: &Rules<'_>,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        for (seq, new) in &self.tokens {
            let token_use = uses.entry(*seq).or_default();
            let before = Before { first_ms: token_use.first_ms, fastest: token_use.detail.fastest };
            token_use.merge(new);
            for (first, last, at) in self.positions.get(seq).into_iter().flatten() {
                token_use.detail.moved(*at, *first, *last);
            }
            if let (Some((jwt_id, known)), false) = (known.get(seq), rules.rules.is_empty()) {
                let facts = Facts {
                    jwt_id,
                    role: &known.role,
                    client_id: &known.client_id,
                    issued_ms: known.issued_at.saturating_mul(1000),
                    expires_ms: known.expiration.saturating_mul(1000),
                };
                found.extend(judge(rules, &facts, (before, new, token_use)));
            }
        }
        // In the order of the rules, so that brakes leave what the policy names first.
        let order = |found: &Found| rules.rules.iter().position(|rule| rule.name == found.rule);
        found.sort_by_cached_key(|found| (order(found), found.subject.clone()));
        found
    }

    /// The roles that were used, with the last day of their use.
    pub fn roles(&self) -> BTreeMap<&str, u64> {
        let mut roles = BTreeMap::new();
        for key in self.days.keys() {
            let day = roles.entry(key.role.as_str()).or_insert(key.day);
            *day = key.day.max(*day);
        }
        roles
    }
}

/// Applies the rules about rates to a role, whose sums by day are given in any order.
pub fn judge_rate(rules: &Rules<'_>, role: &str, day: u64, days: &[(u64, u64)]) -> Vec<Found> {
    let today = days.iter().find(|(own, _)| *own == day).map_or(0, |(_, count)| *count);
    let mut before: Vec<u64> = days
        .iter()
        .filter(|(own, count)| *own < day && *count > 0)
        .map(|(_, count)| *count)
        .collect();
    before.sort_unstable();
    let median = before.get(before.len() / 2).copied().unwrap_or_default();
    let is_for = |rule: &&Rule| rule.roles.is_empty() || rule.roles.iter().any(|own| own == role);
    let found = rules.rules.iter().filter(is_for).filter_map(|rule| {
        let When::Rate { times, after_days } = rule.when else { return None };
        let is_warm = before.len() >= usize::try_from(after_days).unwrap_or(usize::MAX);
        let is_more = today > median.saturating_mul(times.into());
        (is_warm && is_more).then(|| Found {
            rule: rule.name.clone(),
            subject: format!("role {role} on day {day}"),
            role: role.to_owned(),
            client_id: String::new(),
            action: rule.action,
            dry_run: rule.dry_run,
            evidence: format!(
                "{today} requests on a day; the median of {} days is {median}",
                before.len()
            ),
        })
    });
    found.collect()
}

/// How many days before a role's rate is compared with.
pub const RATE_DAYS: u64 = 60;

impl TokenUse {
    /// Adds other uses of the same token.
    pub fn merge(&mut self, other: &Self) {
        let sum = u64::saturating_add;
        self.accepted = sum(self.accepted, other.accepted);
        self.refused = sum(self.refused, other.refused);
        let earlier = [self.first_ms, other.first_ms].into_iter().flatten().min();
        let later = |a: Option<u64>, b| [a, b].into_iter().flatten().max();
        self.first_ms = earlier;
        self.last_ms = later(self.last_ms, other.last_ms);
        self.last_refused_ms = later(self.last_refused_ms, other.last_refused_ms);
        let (own, more) = (&mut self.detail, &other.detail);
        for (own, more) in [
            (&mut own.codes, &more.codes),
            (&mut own.countries, &more.countries),
            (&mut own.asns, &more.asns),
            (&mut own.colos, &more.colos),
            (&mut own.tls, &more.tls),
            (&mut own.addresses, &more.addresses),
            (&mut own.routes, &more.routes),
            (&mut own.scopes, &more.scopes),
        ] {
            own.merge(more);
        }
        let (own, more) = (&mut self.detail, &other.detail);
        for (code, steps) in &more.recent {
            steps.iter().for_each(|(step, count)| {
                own.refused(code, *count, step.saturating_mul(RECENT_STEP_MS));
            });
        }
        for (own, more) in [
            (&mut own.accepted_from, &more.accepted_from),
            (&mut own.revoked_from, &more.revoked_from),
        ] {
            for place in more {
                if own.len() < MAX_PLACES {
                    own.insert(place.clone());
                }
            }
        }
    }
}

/// Where from and how a token was used: numbers of requests, accepted and refused.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct UseDetail {
    /// By the code of a refusal.
    pub codes: Kinds,
    /// By country.
    pub countries: Kinds,
    /// By the number of an autonomous system.
    pub asns: Kinds,
    /// By data centre.
    pub colos: Kinds,
    /// By fingerprint of a TLS handshake.
    pub tls: Kinds,
    /// By keyed hash of an address.
    pub addresses: Kinds,
    /// By route. Accepted requests only.
    pub routes: Kinds,
    /// By needed scope that the token grants. Accepted requests only.
    pub scopes: Kinds,
    /// Refusals by code in the last steps of [`RECENT_STEP_MS`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub recent: BTreeMap<String, Vec<(u64, u64)>>,
    /// Countries and networks from which it was accepted.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub accepted_from: BTreeSet<String>,
    /// Countries and networks from which it was used although revoked.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub revoked_from: BTreeSet<String>,
    /// The last position: degrees of latitude and longitude, and from when to when it was used there, in
    /// milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<((i16, i16), u64, u64)>,
    /// The highest speed between two positions in km/h, and how far they were apart in km.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fastest: Option<(u32, u32)>,
}

impl UseDetail {
    fn refused(&mut self, code: &str, count: u64, at_ms: u64) {
        if !self.recent.contains_key(code) && self.recent.len() >= MAX_KINDS {
            return;
        }
        let step = at_ms / RECENT_STEP_MS;
        let steps = self.recent.entry(code.to_owned()).or_default();
        match steps.iter_mut().find(|(own, _)| *own == step) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => steps.push((step, count)),
        }
        steps.sort_unstable();
        let old = steps.len().saturating_sub(RECENT_STEPS);
        steps.drain(..old);
    }

    /// Takes a position at which the token was used from one time to another, and the speed from the last one.
    fn moved(&mut self, at: (i16, i16), first_ms: u64, last_ms: u64) {
        if let Some((from, from_ms, left_ms)) = self.position {
            let way = distance(from, at);
            // Positions are whole degrees, and networks are often located some hundred kilometres off.
            if way >= FAR_KM {
                // Reports of several guards come in any order.
                let gap_ms = match from_ms <= first_ms {
                    true => first_ms.saturating_sub(left_ms),
                    false => from_ms.saturating_sub(last_ms),
                };
                let hours = gap_ms.max(1000) as f64 / 3_600_000.0;
                let speed = (f64::from(way) / hours).min(f64::from(u32::MAX)) as u32;
                self.fastest = Some(self.fastest.unwrap_or_default().max((speed, way)));
            }
            if last_ms < left_ms {
                return;
            }
        }
        self.position = Some((at, first_ms, last_ms));
    }
}

/// The least distance of two positions that counts as travel, in kilometres.
const FAR_KM: u32 = 500;

/// The distance of two positions in degrees on the globe, in kilometres.
fn distance(from: (i16, i16), to: (i16, i16)) -> u32 {
    const RADIUS_KM: f64 = 6371.0;
    let angle = |degrees: i16| f64::from(degrees).to_radians();
    let (a, b) = ((angle(from.0), angle(from.1)), (angle(to.0), angle(to.1)));
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(b.0 - a.0) + a.0.cos() * b.0.cos() * half(b.1 - a.1);
    (2.0 * RADIUS_KM * chord.sqrt().min(1.0).asin()) as u32
}

/// The use of the tokens of one role and client on one day (UTC), on one route, with one outcome.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DayKey {
    /// Days since 1970-01-01.
    pub day: u64,
    /// The role's name. Empty: not known, as the client.
    pub role: String,
    /// The claim `client_id`.
    pub client_id: String,
    /// Methods and path of the route. Empty: not known, since the token had no row of its own.
    pub route: String,
    /// The scope tokens that the route needs and the tokens grant, separated by spaces.
    pub scope: String,
    /// [`ACCEPTED`], or the code of the refusal.
    pub code: String,
}

/// Which sums are asked for. `None` sets no condition.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Only of this role.
    pub role: Option<String>,
    /// Only of this client.
    pub client_id: Option<String>,
    /// Only of routes that need this scope token.
    pub scope: Option<String>,
    /// Only from this day on, in days since 1970-01-01.
    pub since_day: u64,
}

/// What sums are made by.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// The day, in UTC.
    Day,
    /// The role.
    Role,
    /// The client.
    Client,
    /// The scope token that a route needs and the token grants.
    Scope,
    /// The route.
    Route,
    /// The outcome.
    Code,
}

/// A sum of uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageSum {
    /// What it is the sum of: a role, a client and so on. A day is a number of days since 1970-01-01; scope
    /// tokens are separated by spaces.
    pub name: String,
    /// Accepted requests.
    pub accepted: u64,
    /// Refused requests.
    pub refused: u64,
    /// The first day, in days since 1970-01-01.
    pub first_day: u64,
    /// The last day.
    pub last_day: u64,
}

/// Who reports, and how completely.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reporter {
    /// `client_id` of the sender.
    pub client_id: String,
    /// The audiences that it may report on, as of its last report.
    pub audiences: Vec<String>,
    /// The first use in its first report, in milliseconds.
    pub first_ms: u64,
    /// The end of its last report, in milliseconds.
    pub last_ms: u64,
    /// Reports that were counted.
    pub reports: u64,
    /// Reports that were made, by their numbers, but never arrived.
    pub missing: u64,
    /// Requests that it says it counted and could not report.
    pub lost: u64,
    /// Requests of tokens that had no row of their own: their number is known by role and client only.
    pub folded: u64,
    /// When something was last missing, lost or folded, in milliseconds. `None`: never.
    pub incomplete_ms: Option<u64>,
}

impl Reporter {
    /// Since when no report is known to be missing, in milliseconds. What an isolate had counted when it ended is
    /// missing without a trace.
    pub fn complete_since_ms(&self) -> u64 {
        self.first_ms.max(self.incomplete_ms.unwrap_or_default())
    }
}

/// A reporter that was silent for longer may have stopped, in milliseconds.
const SILENT_MS: u64 = 24 * 60 * 60 * 1000;

/// Since when no report about tokens of an audience is known to be missing, in milliseconds. `expected` are the
/// clients that may report on it. `None`: one of them never did, or has been silent for a day, or there is none.
pub fn complete_since_ms(
    reporters: &[Reporter],
    audience: &str,
    expected: &[&str],
    now_ms: u64,
) -> Option<u64> {
    let of = |reporter: &&Reporter| reporter.audiences.iter().any(|own| own == audience);
    let own: Vec<&Reporter> = reporters.iter().filter(of).collect();
    let is_heard = |client: &&str| {
        own.iter().any(|reporter| {
            reporter.client_id == **client && now_ms.saturating_sub(reporter.last_ms) <= SILENT_MS
        })
    };
    if !expected.iter().all(is_heard) {
        return None;
    }
    own.iter().map(|reporter| reporter.complete_since_ms()).max()
}

/// The clients of a policy that may report on an audience.
pub fn expected_reporters<'p>(policy: &'p IssuerPolicy, audience: &str) -> Vec<&'p str> {
    let may = |client: &&Client| client.reports_use_of.iter().any(|own| own == audience);
    policy.clients.iter().filter(may).map(|client| client.id.as_str()).collect()
}

/// What is known of an isolate.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Isolate {
    /// The number of its last report. 0: it has sent none.
    pub number: u64,
    /// [`Report::lost`] of that report.
    pub lost: u64,
}

impl Isolate {
    /// Takes the next report of the isolate. `None`: it is no later one. Returns how many reports are missing
    /// before it, and how many requests it says were lost since the last one.
    pub fn next(&mut self, report: &Report) -> Option<(u64, u64)> {
        let later = report.number.checked_sub(self.number).filter(|later| *later > 0)?;
        let lost = report.lost.saturating_sub(self.lost);
        *self = Self { number: report.number, lost: report.lost.max(self.lost) };
        Some((later.saturating_sub(1), lost))
    }
}

impl Reporter {
    /// A client that has reported nothing yet.
    pub fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            audiences: Vec::new(),
            first_ms: u64::MAX,
            last_ms: 0,
            reports: 0,
            missing: 0,
            lost: 0,
            folded: 0,
            incomplete_ms: None,
        }
    }

    /// Counts a report, with what was missing and lost before it.
    pub fn count(&mut self, reported: &Reported, added: &Added, missing: u64, lost: u64) {
        let Reported { report, audiences, .. } = reported;
        self.audiences.clone_from(audiences);
        self.first_ms = self.first_ms.min(report.from_ms);
        self.last_ms = self.last_ms.max(report.to_ms);
        self.reports = self.reports.saturating_add(1);
        // Databases have signed numbers.
        let sum = |a: u64, b: u64| a.saturating_add(b).min(1 << 60);
        self.missing = sum(self.missing, missing);
        self.lost = sum(self.lost, lost);
        self.folded = sum(self.folded, added.folded);
        if missing > 0 || lost > 0 || added.folded > 0 {
            self.incomplete_ms = Some(self.incomplete_ms.unwrap_or_default().max(report.to_ms));
        }
    }
}
