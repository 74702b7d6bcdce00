//! Adds reports to what is known.

use std::collections::{BTreeMap, HashMap};

use edgepass_usage::{ACCEPTED, Report, Route};

use super::{DayKey, Kinds, Reported, Seen, TokenUse};

/// What is recorded about a token, for the counts of its use.
#[derive(Clone, Debug)]
pub struct Known {
    /// The position in the order of issue.
    pub seq: u64,
    /// The claim `iat`, in seconds.
    pub issued_at: u64,
    /// The claim `exp`, in seconds.
    pub expiration: u64,
    /// The role's name.
    pub role: String,
    /// The claim `client_id`.
    pub client_id: String,
    /// The claim `aud`.
    pub audience: String,
    /// The claim `scope`.
    pub scope: String,
}

/// First and last time at a position in milliseconds, and its degrees of latitude and longitude.
type Stay = (u64, u64, (i16, i16));

/// The sums to be stored.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// The use of tokens, by their positions. Given with what was known before.
    pub tokens: HashMap<u64, TokenUse>,
    /// What the sums of days grow by.
    pub days: BTreeMap<DayKey, u64>,
    /// Where tokens were used, by their positions in the order of issue.
    pub positions: BTreeMap<u64, Vec<Stay>>,
}

/// What one report added.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Added {
    /// Requests with tokens that are not recorded, or of another audience: left out.
    pub foreign: u64,
    /// Requests of tokens without a row of their own.
    pub folded: u64,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Adds a report, which is within its limits, to `sums`. `known` are the tokens that are recorded, by their
/// `jti`.
pub fn add(reported: &Reported, known: &HashMap<String, Known>, sums: &mut Sums) -> Added {
    let Reported { report, audiences, .. } = reported;
    let mut added = Added::default();
    let own =
        |jwt_id: &String| known.get(jwt_id).filter(|known| audiences.contains(&known.audience));
    let at = |position: u32| usize::try_from(position).unwrap_or(usize::MAX);
    let code = |position: u32| report.codes.get(at(position)).map_or("", String::as_str);
    let mut positions: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for row in &report.uses {
        let token = report.tokens.get(at(row.token)).and_then(own);
        let (Some(token), Some(route), Some(place)) =
            (token, report.routes.get(at(row.route)), report.places.get(at(row.place)))
        else {
            added.foreign = added.foreign.saturating_add(row.count);
            continue;
        };
        let code = code(row.code);
        let granted = |scope: &&String| token.scope.split(' ').any(|own| own == scope.as_str());
        let scopes: Vec<&str> = route.needs.iter().filter(granted).map(String::as_str).collect();
        let (first, last) = (report.at_ms(row.first), report.at_ms(row.last));
        let requests = Seen { count: row.count, last_ms: last, first_ms: Some(first) };
        let token_use = sums.tokens.entry(token.seq).or_default();
        let detail = &mut token_use.detail;
        if code == ACCEPTED {
            token_use.accepted = token_use.accepted.saturating_add(row.count);
            token_use.first_ms = Some(token_use.first_ms.unwrap_or(first).min(first));
            token_use.last_ms = Some(token_use.last_ms.unwrap_or(last).max(last));
            detail.routes.add(&route.name, requests);
            scopes.iter().for_each(|scope| detail.scopes.add(scope, requests));
        } else {
            token_use.refused = token_use.refused.saturating_add(row.count);
            token_use.last_refused_ms = Some(token_use.last_refused_ms.unwrap_or(last).max(last));
            detail.codes.add(code, requests);
            detail.refused(code, row.count, last);
        }
        let network = place.asn.map(|asn| format!("AS{asn}"));
        for name in place.country.iter().chain(&network) {
            match code {
                ACCEPTED => drop(detail.accepted_from.insert(name.clone())),
                "token_revoked" => drop(detail.revoked_from.insert(name.clone())),
                _ => {}
            }
        }
        if let Some(position) = place.position() {
            positions.entry(token.seq).or_default().push((first, last, position));
        }
        let mut seen = |kinds: fn(&mut super::UseDetail) -> &mut Kinds, name: Option<&str>| {
            if let Some(name) = name {
                kinds(detail).add(name, requests);
            }
        };
        seen(|it| &mut it.countries, place.country.as_deref());
        seen(|it| &mut it.asns, place.asn.map(|asn| asn.to_string()).as_deref());
        seen(|it| &mut it.colos, place.colo.as_deref());
        seen(|it| &mut it.tls, place.tls.as_deref());
        seen(|it| &mut it.addresses, place.address.as_deref());
        let key = DayKey {
            // A report is shorter than a minute unless it had to wait: its last use names the day.
            day: last.checked_div(DAY_MS).unwrap_or_default(),
            route: match route.name.as_str() {
                // As of uses without a row of their own.
                Route::OTHERS => String::new(),
                name => name.to_owned(),
            },
            scope: scopes.join(" "),
            ..of(token, code)
        };
        grow(sums, key, row.count);
    }
    for (seq, mut own) in positions {
        own.sort_unstable();
        sums.positions.entry(seq).or_default().extend(own);
    }
    for row in &report.folded {
        let key = match own(&row.example) {
            Some(token) => of(token, code(row.code)),
            None if row.example.is_empty() => {
                DayKey { code: code(row.code).to_owned(), ..DayKey::default() }
            }
            None => {
                added.foreign = added.foreign.saturating_add(row.count);
                continue;
            }
        };
        added.folded = added.folded.saturating_add(row.count);
        grow(sums, DayKey { day: day_of(report), ..key }, row.count);
    }
    added
}

fn day_of(report: &Report) -> u64 {
    report.to_ms.checked_div(DAY_MS).unwrap_or_default()
}

/// The key of a token's uses, without day and route.
fn of(token: &Known, code: &str) -> DayKey {
    DayKey {
        day: 0,
        role: token.role.clone(),
        client_id: token.client_id.clone(),
        route: String::new(),
        scope: String::new(),
        code: code.to_owned(),
    }
}

fn grow(sums: &mut Sums, key: DayKey, count: u64) {
    let sum = sums.days.entry(key).or_default();
    *sum = sum.saturating_add(count);
}
