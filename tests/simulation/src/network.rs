//! Places, their connection to the source, and the caches between.

use std::collections::{HashMap, HashSet};

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{
    Answer, AnsweredBy, Content, DocumentKind, Failure, FetchOrder,
};
use edgepass_verify::verifier::Received;
use fastrand::Rng;

use crate::run::{Event, Fault, LENGTH, Run};
use crate::source::Edition;

/// `max-age` in the shared cache between a place and the source, in milliseconds.
pub(crate) const SHARED_MAX_AGE: u64 = 1_000;

/// A data centre: its clock, its connection to the source, and the caches that its isolates share.
pub(crate) struct Place {
    /// Milliseconds by which its clock is fast.
    pub(crate) skew: i64,
    /// Whether its connection bears requests that are held: `None` if it does, or else what becomes of
    /// them.
    pub(crate) watches: Option<BrokenWatch>,
    /// Lost requests to the source, per thousand.
    pub(crate) lost: u64,
    pub(crate) outages: Vec<(u64, u64)>,
    /// When its cache begins to lie, and how: from then on it answers with the editions of that
    /// time.
    pub(crate) lies: Option<(u64, Lie)>,
    /// URIs of JWK Sets of which a verifier accepted an older copy. The place shares the copy, and
    /// only its own dates limit its use.
    pub(crate) repeated: HashSet<String>,
    /// Whether a verifier took a head that came with an age of 0, but was signed earlier.
    pub(crate) has_repeated_head: bool,
    /// The shared cache before the source: by URL, when an edition was stored, and the edition.
    pub(crate) shared: HashMap<String, (u64, Edition)>,
    /// The cache of the place's isolates (Cache API): by URI, editions and when they were
    /// confirmed.
    pub(crate) tier: HashMap<String, (Edition, UnixMillis)>,
}

/// What becomes of a held request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BrokenWatch {
    /// It is refused at once.
    Refused,
    /// It is never answered.
    Hangs,
    /// A cache keeps the answer for 20 s.
    Kept,
}

/// The way in which a cache lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    /// It always returns the same copy, with an age of 0.
    Repeats,
    /// It returns one of the copies since then, with an age of 0.
    Rewinds,
    /// It answers every conditional request with 304.
    NothingChanged,
}

/// Who asks for a document.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Asker {
    /// A process that waits for it.
    Process(usize),
    /// A watch.
    Watch(usize),
    /// Background work after a response.
    Background,
}

/// A fetch of one document.
pub(crate) struct Request {
    pub(crate) isolate: usize,
    pub(crate) asker: Asker,
    order: FetchOrder,
    /// When it was sent, by the isolate's clock.
    sent_at: UnixMillis,
}

/// A request that travels to the source, and when its response arrives.
pub(crate) struct Asked {
    request: Request,
    /// The time for which the response travels, in milliseconds.
    returns_in: u64,
    /// When the source answers a held request, whatever there is.
    held_until: u64,
}

/// A request and its response.
pub(crate) struct Answered {
    pub(crate) request: Request,
    came: Came,
}

enum Came {
    /// No response: the request was lost or too slow, or the source was down.
    Nothing,
    /// A document, and the `Age` that goes with it, in seconds.
    Edition(Edition, u64),
    /// The edition before the one that the isolate holds.
    RolledBack(Edition),
    /// The edition from when the cache began to lie, and how it lies.
    Lied(Edition, Lie),
}

impl Run {
    /// Asks the Cache API of the place, then the source.
    pub(crate) fn ask(&mut self, isolate: usize, asker: Asker, order: FetchOrder) {
        let place = self.isolates[isolate].place;
        let held = self.places[place].tier.get(&order.uri).cloned();
        if let (true, Some((edition, confirmed_at))) = (order.may_read_cache, held) {
            let (from, confirmed_at) = match self.fault {
                Some(Fault::CacheReadConfirms) => (AnsweredBy::Source, self.clock(isolate)),
                _ => (AnsweredBy::Cache, confirmed_at),
            };
            let answer = Answer {
                from,
                content: body(&edition, order.document),
                ..Answer::failed(confirmed_at)
            };
            self.settle(isolate, order.clone(), answer);
            let now = self.clock(isolate);
            if self.isolates[isolate].verifier.release_if_fresh(&order, now) {
                self.go_on_in(2, asker);
                return;
            }
        }
        self.outcome.fetches += 1;
        let timeout = order.timeout.as_millis() as u64;
        let takes =
            if self.rng.u64(0..20) == 0 { self.rng.u64(500..4_000) } else { self.rng.u64(5..200) };
        let arrives = self.now + takes / 2;
        let is_lost = self.rng.u64(0..1000) < self.places[place].lost
            || self.is_away(self.now, place)
            || self.is_away(arrives, place);
        let sent_at = self.clock(isolate);
        let wait = order.wait.map_or(0, |wait| wait.as_millis() as u64);
        let broken = self.places[place].watches.filter(|_| wait > 0);
        let request = Request { isolate, asker, order, sent_at };
        if is_lost || takes > timeout || broken.is_some_and(|broken| broken != BrokenWatch::Kept) {
            let answered = Answered { request, came: Came::Nothing };
            let after = if broken == Some(BrokenWatch::Refused) { takes } else { timeout };
            self.schedule(self.now + after, Event::Answered(Box::new(answered)));
        } else {
            let returns_in = takes - takes / 2;
            let asked = Asked { request, returns_in, held_until: arrives + wait };
            self.schedule(arrives, Event::Asked(Box::new(asked)));
        }
    }

    /// Continues who asked, in some milliseconds.
    pub(crate) fn go_on_in(&mut self, millis: u64, asker: Asker) {
        match asker {
            Asker::Process(process) => self.schedule(self.now + millis, Event::Go(process)),
            Asker::Watch(watch) => self.schedule(self.now + millis, Event::Watch(watch)),
            Asker::Background => {}
        }
    }

    fn is_away(&self, at: u64, place: usize) -> bool {
        let outages = &self.places[place].outages;
        let outage = outages.iter().any(|(from, to)| (*from..*to).contains(&at));
        outage || self.source.back_at(at).is_some()
    }

    /// Handles a request that has reached the source or the shared cache before it.
    pub(crate) fn answer(&mut self, asked: Asked) {
        let Asked { request, returns_in, held_until } = asked;
        let after =
            request.order.url.rsplit_once("?after=").and_then(|(_, after)| after.parse().ok());
        let is_unchanged = after == Some(self.source.number(self.now));
        if is_unchanged && self.now < held_until && self.shared(&request).is_none() {
            // The source looks again.
            let asked = Asked { request, returns_in, held_until };
            self.schedule(self.now + 20, Event::Asked(Box::new(asked)));
            return;
        }
        let is_away = self.is_away(self.now, self.isolates[request.isolate].place);
        let came = match is_away {
            true => Came::Nothing,
            false => self.give(&request),
        };
        let answered = Answered { request, came };
        self.schedule(self.now + returns_in, Event::Answered(Box::new(answered)));
    }

    /// The copy that the shared cache before the source has, and its age in milliseconds.
    fn shared(&self, request: &Request) -> Option<(Edition, u64)> {
        let place = &self.places[self.isolates[request.isolate].place];
        let (stored, edition) = place.shared.get(&request.order.url)?;
        let age = self.now.saturating_sub(*stored);
        let kept = place.watches == Some(BrokenWatch::Kept) && request.order.wait.is_some();
        (age < if kept { 20_000 } else { SHARED_MAX_AGE }).then(|| (edition.clone(), age))
    }

    /// Returns the response of the shared cache or the source, with its `Age` in whole seconds.
    fn give(&mut self, request: &Request) -> Came {
        let Request { isolate, order, .. } = request;
        let (isolate, at) = (*isolate, self.now);
        // One response in 100 is the edition before the one that the isolate holds.
        let known = self.since(isolate, &order.uri);
        if self.rng.u64(0..100) == 0
            && let Some(before) = known.checked_sub(1)
            && let Some(edition) = self.source.edition(order, before)
        {
            let edition = match (self.fault, order.document) {
                (Some(Fault::OlderListTaken), DocumentKind::StatusList)
                | (Some(Fault::OlderSetTaken), DocumentKind::JwkSet) => {
                    self.source.made_new(order, &edition, at)
                }
                _ => edition,
            };
            return Came::RolledBack(edition);
        }
        if let Some(lie) = self.lies(isolate)
            && let Some((from, _)) = self.places[self.isolates[isolate].place].lies
            && let at = if lie == Lie::Rewinds { self.rng.u64(from..=at) } else { from }
            && let Some(edition) = self.source.edition(order, at)
        {
            return Came::Lied(edition, lie);
        }
        if let Some((edition, age)) = self.shared(request) {
            return Came::Edition(edition, age / 1000);
        }
        let edition = self.source.edition(order, at);
        let edition = edition.unwrap_or_else(|| Edition::new(String::new(), String::new()));
        let place = &mut self.places[self.isolates[isolate].place];
        // The cache counts age from the arrival of the response, up to 300 ms later.
        let stored = at + self.rng.u64(0..300);
        place.shared.insert(order.url.clone(), (stored, edition.clone()));
        Came::Edition(edition, 0)
    }

    /// Passes a response to the verifier and stores an accepted document in the place's Cache API.
    pub(crate) fn receive(&mut self, Answered { request, came }: Answered) {
        let Request { isolate, order, sent_at, .. } = request;
        let document = order.document;
        let came = self.broken(isolate, &order, came);
        if !matches!(came, Came::Edition(..) | Came::Lied(..)) {
            self.isolates[isolate].failed_at.insert(order.uri.clone(), self.now);
        }
        let says_unchanged =
            matches!(came, Came::Lied(_, Lie::NothingChanged)) && order.etag.is_some();
        let is_rolled_back = matches!(came, Came::RolledBack(_));
        let (edition, age) = match came {
            Came::Nothing => (None, 0),
            Came::Lied(edition, _) => (Some(edition), 0),
            Came::Edition(edition, age) => (Some(edition), age),
            Came::RolledBack(edition) => (Some(edition), 0),
        };
        let content = edition.as_ref().map_or(Content::Failed(Failure::Unknown), |edition| {
            let is_same = order.etag.as_ref() == Some(&edition.etag);
            let since = self.since(isolate, &order.uri);
            let is_list = document == DocumentKind::StatusList;
            let is_confirmed = match self.fault {
                Some(Fault::OlderAnswerConfirms) => is_list && edition.since < since,
                Some(Fault::NewerAnswerIgnored) => is_list && since > 0 && edition.since > since,
                _ => false,
            };
            if is_same || is_confirmed || says_unchanged {
                Content::NotModified
            } else {
                body(edition, document)
            }
        });
        let is_new = matches!(content, Content::Body { .. });
        let confirmed_at = UnixMillis(sent_at.0 - age * 1000);
        let answer = Answer { content, ..Answer::failed(confirmed_at) };
        if !self.settle(isolate, order.clone(), answer) {
            return;
        }
        let isolate = &mut self.isolates[isolate];
        // A renewed set keeps its `iat`, so a verifier cannot see that this older set is a
        // repetition.
        if is_rolled_back && document == DocumentKind::JwkSet {
            self.places[isolate.place].repeated.insert(order.uri.clone());
        }
        // The isolates of the place share it.
        self.places[isolate.place].has_repeated_head |=
            is_rolled_back && document == DocumentKind::StatusHead;
        let confirmed_at = isolate.verifier.held_times(&order).map(|held| held.confirmed_at);
        if let (Some(edition), Some(confirmed_at)) = (edition, confirmed_at) {
            if is_new {
                isolate.since.insert(order.uri.clone(), edition.since);
                isolate.bodies.insert(order.uri.clone(), edition.body.clone());
            }
            self.places[isolate.place].tier.insert(order.uri, (edition, confirmed_at));
        }
    }

    /// What comes instead, where a rule for heads is broken on purpose.
    fn broken(&self, isolate: usize, order: &FetchOrder, came: Came) -> Came {
        if order.document != DocumentKind::StatusHead {
            return came;
        }
        let bodies = &self.isolates[isolate].bodies;
        let held = |lists: bool| {
            let held = bodies.iter().filter(|(uri, _)| lists && uri.contains("/lists/"));
            held.map(|(uri, body)| (uri.clone(), body.clone())).collect::<Vec<_>>()
        };
        let by = |edition: &Edition, held: &[(String, String)]| {
            self.source.head_of(edition, held, self.now)
        };
        match (self.fault, came) {
            (Some(Fault::ArrivalConfirms), Came::Edition(edition, age)) => {
                Came::Edition(by(&edition, &held(false)), age)
            }
            (Some(Fault::ArrivalConfirms), Came::Lied(edition, lie)) => {
                Came::Lied(by(&edition, &held(false)), lie)
            }
            (Some(Fault::OtherDigestConfirms), Came::Edition(edition, age)) => {
                Came::Edition(by(&edition, &held(true)), age)
            }
            (Some(Fault::LostWatchConfirms), Came::Nothing) if order.wait.is_some() => {
                match bodies.get(&order.uri) {
                    Some(body) => {
                        let head = Edition::new(body.clone(), String::new());
                        Came::Edition(by(&head, &[]), 0)
                    }
                    None => Came::Nothing,
                }
            }
            (_, came) => came,
        }
    }

    /// The lie of the cache before an isolate, if it lies by now.
    pub(crate) fn lies(&self, isolate: usize) -> Option<Lie> {
        let lies = self.places[self.isolates[isolate].place].lies;
        lies.filter(|(from, _)| self.now >= *from).map(|(_, lie)| lie)
    }

    /// When the edition that an isolate holds was published; 0 if it holds none.
    fn since(&self, isolate: usize, uri: &str) -> u64 {
        self.isolates[isolate].since.get(uri).copied().unwrap_or_default()
    }

    fn settle(&mut self, isolate: usize, order: FetchOrder, answer: Answer) -> bool {
        let now = self.clock(isolate);
        match self.isolates[isolate].verifier.receive(order, answer, now) {
            Received::Settled { taken, .. } => taken,
            Received::Fetch(_) | Received::CheckSignature(..) => false,
        }
    }
}

impl Place {
    pub(crate) fn new(rng: &mut Rng, has_head: bool) -> Self {
        let outage = |rng: &mut Rng| {
            let from = rng.u64(0..LENGTH);
            (from, from + rng.u64(500..90_000))
        };
        let outages = if rng.u64(0..3) == 0 { vec![outage(rng)] } else { Vec::new() };
        let lost = *rng.choice([0, 0, 5, 50].iter()).unwrap_or(&0);
        Self {
            skew: if has_head {
                *rng.choice([-20_000, -2_000, 0, 2_000].iter()).unwrap_or(&0)
            } else {
                rng.i64(0..5_000)
            },
            watches: match rng.u64(0..6) {
                0 => Some(BrokenWatch::Refused),
                1 => Some(BrokenWatch::Hangs),
                2 => Some(BrokenWatch::Kept),
                _ => None,
            },
            lost,
            outages,
            lies: None,
            repeated: HashSet::new(),
            has_repeated_head: false,
            shared: HashMap::new(),
            tier: HashMap::new(),
        }
    }
}

fn body(edition: &Edition, document: DocumentKind) -> Content {
    Content::Body {
        bytes: edition.body.clone().into_bytes(),
        media_type: Some(document.accept().split(',').next().unwrap_or_default().to_owned()),
        etag: Some(edition.etag.clone()),
    }
}
