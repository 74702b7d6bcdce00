//! The table that counts, in an isolate or a process.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use serde_json::Value;

use crate::ACCEPTED;
use crate::limits::{MAX_CODES, MAX_FOLDED, MAX_JWT_ID, MAX_NAMED, MAX_TOKENS, MAX_USES};

/// The part of the tokens that leave a full table.
const LEAVING: usize = 4;
/// Most rows of one token. In the second half of them rows have no place. Requests that fit into none are added
/// up by client and scope.
const MAX_OWN: usize = 64;
/// What a refused request weighs against accepted ones when rows leave: refusals are what rules look at.
const REFUSED_WEIGHT: u64 = 16;
/// Most groups of client and scope.
const MAX_GROUPS: usize = MAX_FOLDED / MAX_CODES;

/// The group of all clients for which there is no other.
const OTHERS: usize = MAX_GROUPS - 1;

/// A route of whoever checked the tokens.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(
    feature = "reading",
    derive(serde::Deserialize, serde::Serialize),
    serde(deny_unknown_fields)
)]
pub struct Route {
    /// Methods and path pattern, such as `GET /orders/*`. No text of a request.
    pub name: String,
    /// The scope tokens that it asks for: all of them, or one of several.
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub needs: Vec<String>,
}

impl Route {
    /// The name of [`others`](Self::others).
    pub const OTHERS: &str = "(others)";

    /// Stands for the routes that found no room in a report.
    pub fn others() -> Self {
        Self { name: Self::OTHERS.to_owned(), needs: Vec::new() }
    }
}

/// Where requests came from, as the platform says.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
#[cfg_attr(
    feature = "reading",
    derive(serde::Deserialize, serde::Serialize),
    serde(deny_unknown_fields)
)]
pub struct Place {
    /// The country of the client (ISO 3166-1 alpha-2).
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Option::is_none"))]
    pub country: Option<String>,
    /// The number of the client's autonomous system.
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Option::is_none"))]
    pub asn: Option<u32>,
    /// The data centre that the request reached, such as `ZRH`.
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Option::is_none"))]
    pub colo: Option<String>,
    /// A fingerprint of the client's TLS handshake.
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Option::is_none"))]
    pub tls: Option<String>,
    /// Where the client is: whole degrees of latitude and longitude, such as `47,9`.
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Option::is_none"))]
    pub at: Option<String>,
    /// The client's address under a keyed hash. The issuer does not have the key.
    #[cfg_attr(feature = "reading", serde(default, skip_serializing_if = "Option::is_none"))]
    pub address: Option<String>,
}

/// One request, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'r> {
    /// `jti` of the token. Its signature is valid.
    pub jwt_id: &'r str,
    /// `client_id` of the token.
    pub client_id: &'r str,
    /// `scope` of the token.
    pub scope: &'r str,
    /// Number of the route, by which the caller knows it.
    pub route: u32,
    /// [`ACCEPTED`], or the code of the refusal.
    pub code: &'static str,
    /// Where it came from.
    pub place: &'r Place,
}

/// Who reports.
#[derive(Clone, Copy, Debug)]
pub struct Header<'h> {
    /// The isolate's random name.
    pub isolate: &'h str,
    /// The number of the report among those of the isolate, from 1.
    pub number: u64,
    /// The issuer of the tokens.
    pub issuer: &'h str,
    /// How many uses the isolate has counted, but never reported, since it started.
    pub lost: u64,
}

/// A report, in JSON.
#[derive(Clone, Debug)]
pub struct Written {
    /// The report.
    pub text: String,
    /// The number of requests that it counts.
    pub total: u64,
}

impl Place {
    fn written(&self) -> String {
        let Self { country, asn, colo, tls, at, address } = self;
        let mut members = Vec::new();
        if let Some(asn) = asn {
            members.push(format!("\"asn\":{asn}"));
        }
        let texts =
            [("country", country), ("colo", colo), ("tls", tls), ("at", at), ("address", address)];
        for (name, text) in texts {
            if let Some(text) = text {
                members.push(format!("\"{name}\":{}", quoted(text)));
            }
        }
        format!("{{{}}}", members.join(","))
    }
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// An array of JSON.
fn list<T>(items: Vec<T>, one: impl Fn(T) -> String) -> String {
    let items: Vec<String> = items.into_iter().map(one).collect();
    format!("[{}]", items.join(","))
}

/// Counts of one report. Takes at most about 1 MiB.
///
/// Each token has rows of its own until there are [`MAX_TOKENS`] tokens or [`MAX_USES`] rows. Then the
/// quarter of the tokens that was used least is added up by client and scope. No use is left out.
#[derive(Default)]
pub struct Table {
    tokens: Vec<Token>,
    /// The positions of the tokens.
    by_jwt_id: HashMap<Box<str>, u32, FixedState>,
    /// The number of rows of all tokens.
    rows: usize,
    places: Named<Place>,
    groups: Named<(String, String)>,
    codes: Vec<&'static str>,
    folded: Vec<FoldedRow>,
    /// The number of requests.
    total: u64,
    from_ms: Option<u64>,
    /// The last use, which may be before the first one if the clock was set back.
    to_ms: u64,
}

struct Token {
    jwt_id: Box<str>,
    group: u32,
    rows: Vec<Row>,
}

impl Token {
    /// Counts a request if there is a row of its kind.
    fn counted(&mut self, kind: Kind, now_ms: u64) -> bool {
        let Some(row) = self.rows.iter_mut().find(|row| row.kind == kind) else { return false };
        row.count = row.count.saturating_add(1);
        row.last_ms = row.last_ms.max(now_ms);
        true
    }
}

/// Requests of one kind.
struct Row {
    kind: Kind,
    count: u64,
    first_ms: u64,
    last_ms: u64,
}

#[derive(Clone, Copy, Eq, PartialEq)]
struct Kind {
    route: u32,
    code: u32,
    place: u32,
}

/// The position of the place of which nothing is known.
const UNKNOWN: u32 = 0;

/// Uses of tokens of a group, with a code.
struct FoldedRow {
    group: u32,
    code: u32,
    example: Box<str>,
    count: u64,
}

/// Values, each with its position and hash. There are hundreds at most, mostly few.
struct Named<T>(Vec<(u64, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + Eq + Hash> Named<T> {
    /// The position of a value, which is added if there is room for it.
    fn position(&mut self, value: &T, most: usize) -> Option<u32> {
        let hash = FixedState::default().hash_one(value);
        let is_it = |(own, other): &(u64, T)| *own == hash && other == value;
        if let Some(at) = self.0.iter().position(is_it) {
            return Some(position(at));
        }
        (self.0.len() < most).then(|| {
            self.0.push((hash, value.clone()));
            position(self.0.len().saturating_sub(1))
        })
    }
}

impl Table {
    /// Counts a request at a time in milliseconds since the epoch. A token whose `jti` is longer than
    /// [`MAX_JWT_ID`] is not counted.
    pub fn count(&mut self, counted: &Counted<'_>, now_ms: u64) {
        if counted.jwt_id.is_empty() || counted.jwt_id.len() > MAX_JWT_ID {
            return;
        }
        if self.from_ms.is_none() {
            // The first place is unknown, and has room for whatever comes later.
            self.places.position(&Place::default(), MAX_NAMED);
        }
        let from_ms = *self.from_ms.get_or_insert(now_ms);
        // A clock that is set back makes no negative time.
        let now_ms = now_ms.max(from_ms);
        self.to_ms = self.to_ms.max(now_ms);
        let code = self.code(counted.code);
        let kind = Kind { route: counted.route, code, place: self.place(counted.place) };
        let token = match self.by_jwt_id.get(counted.jwt_id) {
            Some(token) => *token,
            None => self.add(counted),
        };
        let Some(token) = self.tokens.get_mut(index(token)) else { return };
        self.total = self.total.saturating_add(1);
        if token.counted(kind, now_ms) {
            return;
        }
        let rough = Kind { place: UNKNOWN, ..kind };
        let is_rough = token.rows.len() >= MAX_OWN / 2;
        if is_rough && token.counted(rough, now_ms) {
            return;
        }
        if token.rows.len() >= MAX_OWN {
            add_up(&mut self.folded, token, code, 1);
            return;
        }
        let kind = if is_rough { rough } else { kind };
        token.rows.push(Row { kind, count: 1, first_ms: now_ms, last_ms: now_ms });
        self.rows = self.rows.saturating_add(1);
        if self.rows > MAX_USES {
            self.fold();
        }
    }

    /// Adds a token that is not known.
    fn add(&mut self, counted: &Counted<'_>) -> u32 {
        if self.tokens.len() >= MAX_TOKENS {
            self.fold();
        }
        let group = self.group(counted.client_id, counted.scope);
        let at = position(self.tokens.len());
        self.tokens.push(Token { jwt_id: counted.jwt_id.into(), group, rows: Vec::new() });
        self.by_jwt_id.insert(counted.jwt_id.into(), at);
        at
    }

    /// The number of requests that were counted since the last report.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the first use was counted so many milliseconds ago.
    pub fn is_older_than(&self, window_ms: u64, now_ms: u64) -> bool {
        self.from_ms.is_some_and(|from| now_ms.saturating_sub(from) >= window_ms)
    }

    /// Takes what was counted, as a report: JSON, to be compressed on its way. `header` says who reports, and
    /// `routes` are the caller's, by their numbers. `None`: nothing was counted.
    pub fn take(&mut self, header: &Header<'_>, routes: impl Fn(u32) -> Route) -> Option<Written> {
        let table = std::mem::take(self);
        let from_ms = table.from_ms?;
        let (mut uses, mut named) = (String::new(), Named::default());
        let seconds = |at_ms: u64| at_ms.saturating_sub(from_ms) / 1000;
        for (token, Row { kind, count, first_ms, last_ms }) in table
            .tokens
            .iter()
            .enumerate()
            .flat_map(|(at, token)| token.rows.iter().map(move |row| (at, row)))
        {
            let Kind { route, code, place } = kind;
            // The last one has what fits into none.
            let route = named.position(route, MAX_NAMED - 1);
            let route = route.or_else(|| named.position(&u32::MAX, MAX_NAMED)).unwrap_or_default();
            let (first, last) = (seconds(*first_ms), seconds(*last_ms));
            let comma = if uses.is_empty() { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(uses, "{comma}[{token},{route},{code},{place},{count},{first},{last}]");
        }
        let Header { isolate, number, issuer, lost } = header;
        let text = format!(
            "{{\"isolate\":{},\"number\":{number},\"issuer\":{},\"from_ms\":{from_ms},\"to_ms\":{},\
             \"lost\":{lost},\"routes\":{},\"places\":{},\"codes\":{},\"tokens\":{},\"uses\":[{uses}],\
             \"folded\":{}}}",
            quoted(isolate),
            quoted(issuer),
            table.to_ms.max(from_ms),
            list(named.0, |(_, number)| {
                let Route { name, needs } = routes(number);
                let needs = list(needs, |scope| quoted(&scope));
                format!("{{\"name\":{},\"needs\":{needs}}}", quoted(&name))
            }),
            list(table.places.0, |(_, place)| place.written()),
            list(table.codes, quoted),
            list(table.tokens, |token| quoted(&token.jwt_id)),
            list(table.folded, |row| {
                let FoldedRow { example, code, count, .. } = row;
                format!("{{\"example\":{},\"code\":{code},\"count\":{count}}}", quoted(&example))
            }),
        );
        Some(Written { text, total: table.total })
    }

    fn code(&mut self, code: &'static str) -> u32 {
        let known = self.codes.iter().position(|own| *own == code);
        // There are fewer codes than that.
        let at = known.unwrap_or_else(|| {
            if self.codes.len() < MAX_CODES {
                self.codes.push(code);
            }
            self.codes.len().saturating_sub(1)
        });
        position(at)
    }

    /// The position of a place. The last ones that have room are without details, and then unknown.
    fn place(&mut self, place: &Place) -> u32 {
        let places = &mut self.places;
        if let Some(known) = places.position(place, MAX_NAMED / 2) {
            return known;
        }
        let country = Place { country: place.country.clone(), ..Place::default() };
        places.position(&country, MAX_NAMED).unwrap_or(UNKNOWN)
    }

    fn group(&mut self, client_id: &str, scope: &str) -> u32 {
        let groups = &mut self.groups;
        let own = groups.position(&(client_id.to_owned(), scope.to_owned()), MAX_GROUPS / 2);
        let of_client = (client_id.to_owned(), String::new());
        own.or_else(|| groups.position(&of_client, OTHERS)).unwrap_or_else(|| position(OTHERS))
    }

    /// Adds up the uses of the tokens that were used least, and forgets these tokens.
    fn fold(&mut self) {
        let is_accepted = |row: &Row| self.codes.get(index(row.kind.code)) == Some(&ACCEPTED);
        let weigh =
            |row: &Row| row.count.saturating_mul(if is_accepted(row) { 1 } else { REFUSED_WEIGHT });
        let weights: Vec<u64> = self
            .tokens
            .iter()
            .map(|token| token.rows.iter().map(weigh).fold(0, u64::saturating_add))
            .collect();
        let mut leaving = self.tokens.len().div_ceil(LEAVING);
        // The least weight that so many tokens do not exceed.
        let (mut least, mut most) = (0, u64::MAX);
        while least < most {
            let middle = least.midpoint(most);
            match weights.iter().filter(|weight| **weight <= middle).count() < leaving {
                true => least = middle.saturating_add(1),
                false => most = middle,
            }
        }
        let lighter = weights.iter().filter(|weight| **weight < least).count();
        // Of those of this weight, the ones that came first leave.
        leaving = leaving.saturating_sub(lighter);
        let mut kept = Vec::with_capacity(self.tokens.len());
        self.by_jwt_id.clear();
        for (token, weight) in std::mem::take(&mut self.tokens).into_iter().zip(weights) {
            let leaves = weight < least || (weight == least && leaving > 0);
            if !leaves {
                self.by_jwt_id.insert(token.jwt_id.clone(), position(kept.len()));
                kept.push(token);
                continue;
            }
            leaving = leaving.saturating_sub(usize::from(weight == least));
            self.rows = self.rows.saturating_sub(token.rows.len());
            for row in &token.rows {
                add_up(&mut self.folded, &token, row.kind.code, row.count);
            }
        }
        self.tokens = kept;
    }
}

/// Adds requests to the row of a token's group.
fn add_up(folded: &mut Vec<FoldedRow>, token: &Token, code: u32, count: u64) {
    let group = token.group;
    if let Some(row) = folded.iter_mut().find(|it| it.group == group && it.code == code) {
        row.count = row.count.saturating_add(count);
        return;
    }
    let is_of_one = index(group) != OTHERS;
    let example = if is_of_one { token.jwt_id.clone() } else { "".into() };
    folded.push(FoldedRow { group, code, example, count });
}

fn position(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn index(at: u32) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use fastrand::Rng;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::report::Report;

    fn take(table: &mut Table, number: u64) -> Report {
        let header = Header { isolate: "i", number, issuer: "https://issuer.example", lost: 0 };
        let Written { text, total } = table.take(&header, route).unwrap();
        let report: Report = serde_json::from_str(&text).unwrap();
        report.check().unwrap();
        assert_eq!(report.total(), total);
        report
    }

    fn route(number: u32) -> Route {
        Route { name: format!("GET /r{number}"), needs: vec![format!("r{number}:read")] }
    }

    fn counted<'r>(jwt_id: &'r str, code: &'static str, place: &'r Place) -> Counted<'r> {
        Counted { jwt_id, client_id: "c", scope: "a b", route: 0, code, place }
    }

    /// A random `jti` as the issuer makes them: 22 characters of base64url.
    fn jwt_id(rng: &mut Rng) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        (0..22).map(|_| char::from(ALPHABET[rng.usize(0..64)])).collect()
    }

    #[test]
    fn each_way_of_use_has_its_row() {
        let mut table = Table::default();
        let home = Place { country: Some("CH".into()), asn: Some(13030), ..Place::default() };
        table.count(&counted("a", ACCEPTED, &home), 1_000_000);
        table.count(&counted("a", ACCEPTED, &home), 1_004_999);
        table.count(&counted("a", "token_revoked", &home), 1_005_000);
        table.count(&Counted { route: 7, ..counted("b", ACCEPTED, &Place::default()) }, 1_006_000);
        let is_due = |now: u64| table.is_older_than(crate::WINDOW_MS, now);
        assert!(!is_due(1_029_999) && is_due(1_030_000));
        let report = take(&mut table, 3);
        let header = Header { isolate: "i", number: 4, issuer: "https://issuer.example", lost: 0 };
        assert!(!table.is_older_than(0, u64::MAX) && table.take(&header, route).is_none());
        assert_eq!((report.number, report.total(), report.tokens.len()), (3, 4, 2));
        let row = report.uses[0];
        assert_eq!((row.count, row.first, row.last), (2, 0, 4));
        assert_eq!(report.codes[index(report.uses[1].code)], "token_revoked");
        assert_eq!(report.routes, [route(0), route(7)]);
        assert_eq!(report.places, [Place::default(), home]);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_a_sound_report() {
        let mut table = Table::default();
        for at in [5_000, 1_000, 9_000, 0] {
            table.count(&counted("a", ACCEPTED, &Place::default()), at);
        }
        let report = take(&mut table, 1);
        assert_eq!((report.from_ms, report.to_ms, report.total()), (5_000, 9_000, 4));
    }

    /// 10,000 requests a second over 100,000 tokens, for half a minute: what the largest isolate sends.
    #[test]
    fn a_full_table_leaves_no_use_out_and_its_report_is_small() {
        let rng = &mut Rng::with_seed(7);
        let tokens: Vec<String> = (0..100_000).map(|_| jwt_id(rng)).collect();
        let places: Vec<Place> = (0..600)
            .map(|at| Place {
                country: Some(["CH", "DE", "FR", "US"][at % 4].into()),
                asn: Some(64_000 + at as u32),
                colo: Some("ZRH".into()),
                ..Place::default()
            })
            .collect();
        let mut table = Table::default();
        let hot = &tokens[0];
        for at in 0..300_000_u64 {
            let token = rng.usize(0..tokens.len());
            let is_hot = at.is_multiple_of(100);
            let jwt_id = if is_hot { hot } else { &tokens[token] };
            let code = if token.is_multiple_of(50) { "scope_missing" } else { ACCEPTED };
            let request = Counted {
                route: token as u32 % 20,
                client_id: ["a", "b", "c"][token % 3],
                ..counted(jwt_id, code, &places[token % places.len()])
            };
            table.count(&request, 1_000_000 + at / 10);
        }
        let report = take(&mut table, 1);
        assert_eq!(report.total(), 300_000);
        let at = report.tokens.iter().position(|token| token == hot).unwrap();
        let own = report.uses.iter().filter(|row| index(row.token) == at);
        assert!(own.map(|row| row.count).sum::<u64>() >= 3_000);
        let text = serde_json::to_vec(&report).unwrap();
        let mut zip = GzEncoder::new(Vec::new(), Compression::default());
        zip.write_all(&text).unwrap();
        let zipped = zip.finish().unwrap().len();
        assert!(zipped <= 60_000, "{zipped} bytes of {}", text.len());
    }

    #[test]
    fn no_sequence_of_requests_makes_a_report_beyond_its_limits() {
        for seed in 0..20 {
            let rng = &mut Rng::with_seed(seed);
            let mut table = Table::default();
            let (mut sum, wide) = (0, rng.usize(1..30_000));
            for _ in 0..rng.usize(1..60_000) {
                let jwt_id = format!("t{}", rng.usize(0..wide));
                let text = format!("x{}", rng.usize(0..wide));
                let place = Place { address: Some(text.clone()), ..Place::default() };
                let codes = [ACCEPTED, "token_expired", "token_revoked"];
                let request = Counted {
                    route: rng.u32(0..40),
                    client_id: &text,
                    ..counted(&jwt_id, codes[rng.usize(0..3)], &place)
                };
                table.count(&request, rng.u64(0..100_000));
                sum += 1;
            }
            let report = take(&mut table, 1);
            assert_eq!(report.total(), sum, "seed {seed}");
        }
    }
}
