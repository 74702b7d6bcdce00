//! Places, their way to the source, and the caches on it.

use std::collections::{HashMap, HashSet};

use edgepass_verify::UnixMillis;
use edgepass_verify::documents::fetch::{Answer, AnsweredBy, Content, DocumentKind, FetchOrder};
use edgepass_verify::verifier::Received;
use fastrand::Rng;

use crate::run::{Event, Fault, LENGTH, Run};
use crate::source::Edition;

/// `max-age` of the cache between a place and the source.
const SHARED_MAX_AGE: u64 = 1_000;

/// A data centre: its clock, its way to the source, and what its isolates share.
pub(crate) struct Place {
    /// How far its clock is ahead, in milliseconds.
    pub(crate) skew: u64,
    /// Of a thousand requests to the source, so many get lost.
    pub(crate) lost: u64,
    pub(crate) outages: Vec<(u64, u64)>,
    /// From when on, if ever, what is asked for is answered with what was true then, and how.
    pub(crate) lies: Option<(u64, Lie)>,
    /// Documents of which an old copy was believed: it is shared, and its dates are all that bounds it.
    pub(crate) repeated: HashSet<String>,
    /// The cache on the way to the source.
    pub(crate) shared: HashMap<String, (u64, Edition)>,
    /// The isolates' own (Cache API): bodies, and when they were confirmed.
    pub(crate) tier: HashMap<String, (Edition, UnixMillis)>,
}

/// What a cache does that is not honest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    /// It gives the same copy again and again, as if it were new.
    Repeats,
    /// It says that nothing has changed, to whoever holds something.
    NothingChanged,
}

/// Somebody asks for a document.
pub(crate) struct Request {
    isolate: usize,
    /// Who waits for it; nobody does for what runs behind a response.
    pub(crate) process: Option<usize>,
    order: FetchOrder,
    /// By the isolate's clock.
    sent_at: UnixMillis,
}

/// A request on its way to the source, and when its answer will be there.
pub(crate) struct Asked {
    request: Request,
    ends: u64,
}

/// What came of a request.
pub(crate) struct Answered {
    pub(crate) request: Request,
    came: Came,
}

enum Came {
    /// It was lost, late, or its source was away.
    Nothing,
    /// A document, and the `Age` that goes with it, in seconds.
    Edition(Edition, u64),
    /// What was true long ago.
    RolledBack(Edition),
    /// The same, for good; or that nothing has changed.
    Lied(Edition, Lie),
}

impl Run {
    /// Ask the place's own cache, then the source.
    pub(crate) fn ask(&mut self, isolate: usize, process: Option<usize>, order: FetchOrder) {
        let place = self.isolates[isolate].place;
        let held = self.places[place].tier.get(&order.uri).cloned();
        if let (true, Some((edition, confirmed_at))) = (order.may_read_cache, held) {
            let (from, confirmed_at) = match self.fault {
                Some(Fault::CacheReadConfirms) => (AnsweredBy::Source, self.clock(isolate)),
                _ => (AnsweredBy::Cache, confirmed_at),
            };
            let answer =
                Answer { from, confirmed_at, content: body(&edition, order.document), dated: None };
            self.settle(isolate, order.clone(), answer);
            let now = self.clock(isolate);
            if self.isolates[isolate].verifier.release_if_fresh(&order, now) {
                if let Some(process) = process {
                    self.schedule(self.now + 2, Event::Go(process));
                }
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
        let request = Request { isolate, process, order, sent_at };
        if is_lost || takes > timeout {
            let answered = Answered { request, came: Came::Nothing };
            self.schedule(self.now + timeout, Event::Answered(Box::new(answered)));
        } else {
            let asked = Asked { request, ends: self.now + takes };
            self.schedule(arrives, Event::Asked(Box::new(asked)));
        }
    }

    fn is_away(&self, at: u64, place: usize) -> bool {
        let outages = &self.places[place].outages;
        let outage = outages.iter().any(|(from, to)| (*from..*to).contains(&at));
        outage || self.source.back_at(at).is_some()
    }

    /// A request is at the source, or at the cache before it.
    pub(crate) fn answer(&mut self, Asked { request, ends }: Asked) {
        let came = self.give(request.isolate, &request.order);
        self.schedule(ends, Event::Answered(Box::new(Answered { request, came })));
    }

    /// What the cache before the source gives, and the `Age` in whole seconds that goes with it.
    fn give(&mut self, isolate: usize, order: &FetchOrder) -> Came {
        let at = self.now;
        // Now and then somebody answers with what was true long ago, to one who knows better.
        let known = self.since(isolate, &order.uri);
        if self.rng.u64(0..100) == 0
            && let Some(before) = known.checked_sub(1)
            && let Some(edition) = self.source.edition(order, before)
        {
            let edition = match (self.fault, order.document) {
                (Some(Fault::OlderListTaken), DocumentKind::StatusList)
                | (Some(Fault::OlderSetTaken), DocumentKind::JwkSet) => {
                    self.source.made_new(order, edition, at)
                }
                _ => edition.clone(),
            };
            return Came::RolledBack(edition);
        }
        if let Some(lie) = self.lies(isolate)
            && let Some((from, _)) = self.places[self.isolates[isolate].place].lies
            && let Some(edition) = self.source.edition(order, from)
        {
            return Came::Lied(edition.clone(), lie);
        }
        let place = &mut self.places[self.isolates[isolate].place];
        if let Some((stored, edition)) = place.shared.get(&order.url)
            && at.saturating_sub(*stored) < SHARED_MAX_AGE
        {
            return Came::Edition(edition.clone(), at.saturating_sub(*stored) / 1000);
        }
        let edition = self.source.edition(order, at).cloned();
        let edition =
            edition.unwrap_or(Edition { since: 0, body: String::new(), etag: String::new() });
        // It counts from when the answer was there.
        let stored = at + self.rng.u64(0..300);
        place.shared.insert(order.url.clone(), (stored, edition.clone()));
        Came::Edition(edition, 0)
    }

    /// An answer has come: take it in, and share it with the place.
    pub(crate) fn receive(&mut self, Answered { request, came }: Answered) {
        let Request { isolate, order, sent_at, .. } = request;
        let document = order.document;
        if !matches!(came, Came::Edition(..) | Came::Lied(..)) {
            self.isolates[isolate].failed_at.insert(order.uri.clone(), self.now);
        }
        let says_unchanged =
            matches!(came, Came::Lied(_, Lie::NothingChanged)) && order.etag.is_some();
        let is_older_set = matches!(came, Came::RolledBack(_)) && document == DocumentKind::JwkSet;
        let (edition, age) = match came {
            Came::Nothing => (None, 0),
            Came::Lied(edition, _) => (Some(edition), 0),
            Came::Edition(edition, age) => (Some(edition), age),
            Came::RolledBack(edition) => (Some(edition), 0),
        };
        let content = edition.as_ref().map_or(Content::Failed, |edition| {
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
        let answer = Answer { from: AnsweredBy::Source, confirmed_at, content, dated: None };
        if !self.settle(isolate, order.clone(), answer) {
            return;
        }
        let isolate = &mut self.isolates[isolate];
        // A set that was only dated anew says that it is as old: that it is repeated nobody can see.
        if is_older_set {
            self.places[isolate.place].repeated.insert(order.uri.clone());
        }
        let confirmed_at = isolate.verifier.confirmed_at(&order);
        if let (Some(edition), Some(confirmed_at)) = (edition, confirmed_at) {
            if is_new {
                isolate.since.insert(order.uri.clone(), edition.since);
            }
            self.places[isolate.place].tier.insert(order.uri, (edition, confirmed_at));
        }
    }

    /// How the cache lies that an isolate asks, if it does by now.
    pub(crate) fn lies(&self, isolate: usize) -> Option<Lie> {
        let lies = self.places[self.isolates[isolate].place].lies;
        lies.filter(|(from, _)| self.now >= *from).map(|(_, lie)| lie)
    }

    /// From when the document is that an isolate holds.
    fn since(&self, isolate: usize, uri: &str) -> u64 {
        self.isolates[isolate].since.get(uri).copied().unwrap_or_default()
    }

    fn settle(&mut self, isolate: usize, order: FetchOrder, answer: Answer) -> bool {
        let now = self.clock(isolate);
        match self.isolates[isolate].verifier.receive(order, answer, now) {
            Received::Settled { taken } => taken,
            Received::Fetch(_) | Received::CheckSignature(..) => false,
        }
    }
}

impl Place {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let outage = |rng: &mut Rng| {
            let from = rng.u64(0..LENGTH);
            (from, from + rng.u64(500..90_000))
        };
        let outages = if rng.u64(0..3) == 0 { vec![outage(rng)] } else { Vec::new() };
        let lost = *rng.choice([0, 0, 5, 50].iter()).unwrap_or(&0);
        Self {
            skew: rng.u64(0..5_000),
            lost,
            outages,
            lies: None,
            repeated: HashSet::new(),
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
