//! Reading the report of a table.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{
    MAX_CODES, MAX_COUNT, MAX_FOLDED, MAX_JWT_ID, MAX_NAMED, MAX_NUMBER, MAX_TEXT, MAX_TOKENS,
    MAX_USES,
};
use crate::table::{Place, Route};

/// Reads a sequence of at most so many items. A longer one is refused before it is held.
fn capped<'de, D, T, const MOST: usize>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Capped<T, const MOST: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Capped<T, MOST> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MOST} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                if all.len() >= MOST {
                    return Err(A::Error::invalid_length(MOST, &self));
                }
                all.push(item);
            }
            Ok(all)
        }
    }
    from.deserialize_seq(Capped::<T, MOST>(PhantomData))
}

/// What one isolate (or process) counted since its last report.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The isolate's random name. It gives it to itself when it starts.
    pub isolate: String,
    /// The number of the report among those of the isolate, from 1. A report that is sent again has the
    /// number that it had.
    pub number: u64,
    /// The issuer of the tokens.
    pub issuer: String,
    /// The first use that is counted, in milliseconds since the epoch.
    pub from_ms: u64,
    /// When the report was made, in milliseconds since the epoch.
    pub to_ms: u64,
    /// How many uses the isolate has counted, but never reported, since it started.
    #[serde(default)]
    pub lost: u64,
    /// The routes that [`Use::route`] means.
    #[serde(deserialize_with = "capped::<_, _, MAX_NAMED>")]
    pub routes: Vec<Route>,
    /// The places that [`Use::place`] means.
    #[serde(deserialize_with = "capped::<_, _, MAX_NAMED>")]
    pub places: Vec<Place>,
    /// The codes that rows mean: [`ACCEPTED`](crate::ACCEPTED), or that of a refusal.
    #[serde(deserialize_with = "capped::<_, _, MAX_CODES>")]
    pub codes: Vec<String>,
    /// `jti` of the tokens that [`Use::token`] means.
    #[serde(deserialize_with = "capped::<_, _, MAX_TOKENS>")]
    pub tokens: Vec<String>,
    /// The counts, in any order.
    #[serde(deserialize_with = "capped::<_, _, MAX_USES>")]
    pub uses: Vec<Use>,
    /// Counts of tokens that found no room in the table.
    #[serde(default, deserialize_with = "capped::<_, _, MAX_FOLDED>")]
    pub folded: Vec<Folded>,
}

/// How often a token was used in one way: an array, in this order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Row", into = "Row")]
pub struct Use {
    /// Position of the token in [`Report::tokens`].
    pub token: u32,
    /// Position of the route in [`Report::routes`].
    pub route: u32,
    /// Position of the code in [`Report::codes`].
    pub code: u32,
    /// Position of the place in [`Report::places`].
    pub place: u32,
    /// The number of requests, at least 1.
    pub count: u64,
    /// The first of them, in seconds after [`Report::from_ms`], rounded down.
    pub first: u32,
    /// The last of them, likewise.
    pub last: u32,
}

type Row = (u32, u32, u32, u32, u64, u32, u32);

impl From<Row> for Use {
    fn from((token, route, code, place, count, first, last): Row) -> Self {
        Self { token, route, code, place, count, first, last }
    }
}

impl From<Use> for Row {
    fn from(Use { token, route, code, place, count, first, last }: Use) -> Self {
        (token, route, code, place, count, first, last)
    }
}

/// How often tokens of one client with one scope were used that found no room of their own.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Folded {
    /// `jti` of one of them. Its record tells client and role of all. Empty: they are of several clients.
    pub example: String,
    /// Position of the code in [`Report::codes`].
    pub code: u32,
    /// The number of requests, at least 1.
    pub count: u64,
}

/// The text is no report within the limits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotAReport(&'static str);

impl std::fmt::Display for NotAReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAReport {}

impl Place {
    /// Latitude and longitude in whole degrees, if they are told.
    pub fn position(&self) -> Option<(i16, i16)> {
        let (latitude, longitude) = self.at.as_ref()?.split_once(',')?;
        let (latitude, longitude) = (latitude.parse().ok()?, longitude.parse().ok()?);
        ((-90..=90).contains(&latitude) && (-180..=180).contains(&longitude))
            .then_some((latitude, longitude))
    }
}

/// The steps in which a report tells times, in milliseconds.
pub const STEP_MS: u64 = 1000;

impl Report {
    /// Checks that every number, text and position is within its limits.
    ///
    /// # Errors
    ///
    /// [`NotAReport`], which repeats nothing of the report.
    pub fn check(&self) -> Result<(), NotAReport> {
        let refuse = |is_wrong: bool, what: &'static str| match is_wrong {
            true => Err(NotAReport(what)),
            false => Ok(()),
        };
        let is_text = |text: &str, most: usize| {
            (1..=most).contains(&text.len())
                && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        };
        refuse(!is_text(&self.isolate, MAX_TEXT), "isolate: visible ASCII, 1 to 256 bytes")?;
        refuse(!(1..=MAX_NUMBER).contains(&self.number), "number: from 1 to 2^32")?;
        refuse(self.lost > MAX_NUMBER, "lost: at most 2^32")?;
        refuse(self.to_ms < self.from_ms, "to_ms: not before from_ms")?;
        refuse(self.tokens.len() > MAX_TOKENS, "tokens: at most 2,000")?;
        refuse(self.uses.len() > MAX_USES, "uses: at most 2,400")?;
        refuse(self.routes.len() > MAX_NAMED, "routes: at most 512")?;
        refuse(self.places.len() > MAX_NAMED, "places: at most 512")?;
        refuse(self.codes.len() > MAX_CODES, "codes: at most 64")?;
        refuse(self.folded.len() > MAX_FOLDED, "folded: at most 4,096")?;
        for route in &self.routes {
            let is_good = is_text(&route.name, MAX_TEXT)
                && route.needs.len() <= MAX_CODES
                && route.needs.iter().all(|scope| is_text(scope, MAX_TEXT) && !scope.contains(' '));
            refuse(!is_good, "routes: a name, and the scope tokens that it needs")?;
        }
        for Place { country, colo, tls, at, address, asn: _ } in &self.places {
            let mut texts = [country, colo, tls, at, address].into_iter().flatten();
            refuse(!texts.all(|text| is_text(text, 64)), "places: visible ASCII, 1 to 64 bytes")?;
        }
        let is_code = |code: &String| {
            is_text(code, 64) && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        refuse(!self.codes.iter().all(is_code), "codes: lower-case letters and _")?;
        let examples = self.folded.iter().map(|row| &row.example).filter(|id| !id.is_empty());
        let mut ids = self.tokens.iter().chain(examples);
        refuse(!ids.all(|id| is_text(id, MAX_JWT_ID)), "tokens: visible ASCII, 1 to 128 bytes")?;
        let within = |at: u32, length: usize| usize::try_from(at).is_ok_and(|at| at < length);
        let span = self.to_ms.saturating_sub(self.from_ms) / 1000;
        for row in &self.uses {
            let is_good = within(row.token, self.tokens.len())
                && within(row.route, self.routes.len())
                && within(row.code, self.codes.len())
                && within(row.place, self.places.len())
                && (1..=MAX_COUNT).contains(&row.count)
                && row.first <= row.last
                && u64::from(row.last) <= span;
            refuse(!is_good, "uses: positions, a count and times within the report")?;
        }
        for row in &self.folded {
            refuse(
                !within(row.code, self.codes.len()) || !(1..=MAX_COUNT).contains(&row.count),
                "folded: a position and a count",
            )?;
        }
        Ok(())
    }

    /// The number of requests that it counts.
    pub fn total(&self) -> u64 {
        let counts = self.uses.iter().map(|row| row.count);
        counts.chain(self.folded.iter().map(|row| row.count)).fold(0, u64::saturating_add)
    }

    /// The time of a use, in milliseconds since the epoch: less than [`STEP_MS`] before it.
    pub fn at_ms(&self, seconds: u32) -> u64 {
        self.from_ms.saturating_add(u64::from(seconds).saturating_mul(STEP_MS))
    }
}
