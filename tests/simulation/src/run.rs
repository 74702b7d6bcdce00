//! One run: what happens, and what must not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use edgepass_verify::fetch::{Answer, AnsweredBy, Content, Document, FetchOrder};
use edgepass_verify::verifier::{JwksUri, KeySource, Landed, Progress, Verifier};
use edgepass_verify::{Check, Demand, Policy, PolicyConfig, Sender, UnixMillis, Verdict};
use fastrand::Rng;
use serde_json::json;

use crate::source::{Edition, ISSUER, JWKS, START, Source, TOKENS};

/// How long a run lasts, in virtual milliseconds.
const LENGTH: u64 = 180_000;
/// The default promise, in milliseconds.
const DEADLINE: u64 = 10_000;
const OUTAGE_BOUND: u64 = 70_000;
/// `max-age` of the cache between a place and the source.
const SHARED_MAX_AGE: u64 = 1_000;

/// A rule broken on purpose, to show that the simulation sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The age of a copy counts from when it was read from a cache.
    CacheReadConfirms,
    /// What publishing and shared caches take is not taken off the freshness window.
    WindowNotReduced,
    /// An answer older than the held copy confirms it.
    OlderAnswerConfirms,
}

/// What a run saw.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Verdicts that were given.
    pub verdicts: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// Given on a stale copy.
    pub stale: u64,
    /// Requests that reached the source or a cache before it.
    pub fetches: u64,
    /// The latest acceptance after a revocation or withdrawal, in milliseconds, by whoever could reach
    /// the source since.
    pub latest: u64,
    /// The same for everybody else.
    pub latest_outage: u64,
    /// What must not happen, and did.
    pub violation: Option<String>,
}

struct Isolate {
    verifier: Verifier,
    place: usize,
    /// From when the list is that it holds.
    list_since: u64,
    /// When it last could not get what it asked for.
    failed_at: Option<u64>,
    /// How long its clients pause, on average, in milliseconds.
    pause: u64,
}

/// A data centre: its clock, its way to the source, and what its isolates share.
struct Place {
    /// How far its clock is ahead, in milliseconds.
    skew: u64,
    /// Of a thousand requests to the source, so many get lost.
    lost: u64,
    outages: Vec<(u64, u64)>,
    /// The cache on the way to the source.
    shared: HashMap<String, (u64, Edition)>,
    /// The isolates' own (Cache API): bodies, and when they were confirmed.
    tier: HashMap<String, (Edition, UnixMillis)>,
}

/// Somebody's request on its way to a verdict.
struct Process {
    isolate: usize,
    token: usize,
    check: Check,
}

/// What came of an order.
struct Answered {
    isolate: usize,
    /// Who waits for it; nobody does for what runs behind a response.
    process: Option<usize>,
    order: FetchOrder,
    answer: Answer,
    edition: Option<Edition>,
}

enum Event {
    Request(usize),
    Go(usize),
    Answered(Box<Answered>),
    Revoke(u64),
    WithdrawKey,
    Renew,
}

struct Token {
    text: String,
    index: u64,
    key: usize,
}

struct Run {
    rng: Rng,
    fault: Option<Fault>,
    now: u64,
    order: u64,
    events: BinaryHeap<(Reverse<u64>, Reverse<u64>, usize)>,
    pending: Vec<Option<Event>>,
    source: Source,
    places: Vec<Place>,
    isolates: Vec<Isolate>,
    processes: Vec<Option<Process>>,
    tokens: Vec<Token>,
    revoked_at: HashMap<u64, u64>,
    withdrawn_at: Option<u64>,
    demand: Arc<Demand>,
    outcome: Outcome,
}

/// Run once.
///
/// # Errors
///
/// A policy that is none: a mistake of the simulation's.
pub fn run(seed: u64, fault: Option<Fault>) -> anyhow::Result<Outcome> {
    let mut run = Run::new(seed, fault)?;
    while let Some((Reverse(at), _, event)) = run.events.pop() {
        if at > LENGTH || run.outcome.violation.is_some() {
            break;
        }
        run.now = at;
        if let Some(event) = run.pending[event].take() {
            run.happen(event);
        }
    }
    Ok(run.outcome)
}

impl Run {
    fn new(seed: u64, fault: Option<Fault>) -> anyhow::Result<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut config = json!({"issuer": ISSUER, "audience": "api"});
        if fault == Some(Fault::WindowNotReduced) {
            config["freshness"] = json!({"publish_delay": "0s", "shared_max_age": "0s"});
        }
        let config: PolicyConfig = serde_json::from_value(config)?;
        let policy = Policy::try_from(config)?;
        let jwks = JwksUri::parse(JWKS)?;
        let places: Vec<Place> = (0..rng.usize(3..24)).map(|_| Place::new(&mut rng)).collect();
        let isolates = (0..rng.usize(20..160))
            .map(|_| {
                Ok(Isolate {
                    verifier: Verifier::new(policy.clone(), KeySource::Url(jwks.clone()))?,
                    place: rng.usize(0..places.len()),
                    list_since: 0,
                    failed_at: None,
                    pause: *rng.choice([300, 2_000, 8_000, 40_000].iter()).unwrap_or(&2_000),
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let source = Source::new();
        let token = |index: u64| {
            let key = usize::from(index % 4 == 3);
            Token { text: source.token(index, key), index, key }
        };
        let tokens = (0..TOKENS).map(token).collect();
        let mut run = Self {
            rng,
            fault,
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            pending: Vec::new(),
            source,
            places,
            isolates,
            processes: Vec::new(),
            tokens,
            revoked_at: HashMap::new(),
            withdrawn_at: None,
            demand: Arc::default(),
            outcome: Outcome::default(),
        };
        for isolate in 0..run.isolates.len() {
            let at = run.rng.u64(0..LENGTH / 2);
            run.schedule(at, Event::Request(isolate));
        }
        for index in 0..TOKENS / 2 {
            let at = run.rng.u64(5_000..LENGTH - 20_000);
            run.schedule(at, Event::Revoke(index * 2));
        }
        if run.rng.bool() {
            let at = run.rng.u64(30_000..LENGTH - 20_000);
            run.schedule(at, Event::WithdrawKey);
        }
        run.schedule(60_000, Event::Renew);
        Ok(run)
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.pending.push(Some(event));
        self.events.push((Reverse(at), Reverse(self.order), self.pending.len() - 1));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request(isolate) => {
                let pause = self.isolates[isolate].pause;
                let at = self.now + self.rng.u64(1..pause * 2);
                self.schedule(at, Event::Request(isolate));
                let token = self.rng.usize(0..self.tokens.len());
                let text = self.tokens[token].text.clone();
                let verifier = &mut self.isolates[isolate].verifier;
                let check = verifier.begin(&text, Sender::default(), Arc::clone(&self.demand));
                self.processes.push(Some(Process { isolate, token, check }));
                self.go(self.processes.len() - 1);
            }
            Event::Go(process) => self.go(process),
            Event::Answered(answered) => {
                let process = answered.process;
                self.land(*answered);
                if let Some(process) = process {
                    self.go(process);
                }
            }
            Event::Revoke(index) => {
                // `revoke` returns once the list is served.
                self.source.revoke(index, self.now);
                self.revoked_at.insert(index, self.now);
            }
            Event::WithdrawKey => {
                self.source.withdraw_key(self.now);
                self.withdrawn_at = Some(self.now);
            }
            Event::Renew => {
                self.source.publish_list(self.now);
                self.schedule(self.now + 60_000, Event::Renew);
            }
        }
    }

    /// Take a process as far as it goes.
    fn go(&mut self, id: usize) {
        let Some(mut process) = self.processes[id].take() else { return };
        let now = self.clock(process.isolate);
        let isolate = &mut self.isolates[process.isolate];
        match isolate.verifier.advance(&mut process.check, now) {
            Progress::Decided(verdict) => self.decided(&process, verdict),
            Progress::Fetch(order) => {
                let isolate = process.isolate;
                // Now and then a client hangs up, and its fetch goes with it.
                if self.rng.u64(0..50) == 0 {
                    return;
                }
                self.processes[id] = Some(process);
                self.ask(isolate, Some(id), order);
            }
            Progress::Wait(time) => {
                self.processes[id] = Some(process);
                self.schedule(self.now + time.as_millis() as u64, Event::Go(id));
            }
            Progress::CheckSignature(_) | Progress::CheckReplay(_) => {
                self.outcome.violation = Some("the host is asked for what it need not do".into());
            }
        }
    }

    /// Ask the place's own cache, then the source.
    fn ask(&mut self, isolate: usize, process: Option<usize>, order: FetchOrder) {
        let place = self.isolates[isolate].place;
        let held = self.places[place].tier.get(&order.uri).cloned();
        if let (true, Some((edition, confirmed_at))) = (order.may_read_cache, held) {
            let (from, confirmed_at) = match self.fault {
                Some(Fault::CacheReadConfirms) => (AnsweredBy::Source, self.clock(isolate)),
                _ => (AnsweredBy::Cache, confirmed_at),
            };
            let answer = Answer { from, confirmed_at, content: body(&edition, order.document) };
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
        let is_away = |at: u64, place: &Place| {
            place.outages.iter().any(|(from, to)| (*from..*to).contains(&at))
        };
        let place = &self.places[place];
        let is_lost = self.rng.u64(0..1000) < place.lost
            || is_away(self.now, place)
            || is_away(arrives, place);
        let confirmed_at = self.clock(isolate);
        if is_lost || takes > timeout {
            let answer =
                Answer { from: AnsweredBy::Source, confirmed_at, content: Content::Failed };
            let answered = Answered { isolate, process, order, answer, edition: None };
            self.schedule(self.now + timeout, Event::Answered(Box::new(answered)));
            return;
        }
        let (edition, age) = self.give(isolate, &order, arrives);
        let is_same = order.etag.as_ref() == Some(&edition.etag);
        let is_older = edition.since < self.isolates[isolate].list_since
            && order.document == Document::StatusList;
        let is_confirmed = is_older && self.fault == Some(Fault::OlderAnswerConfirms);
        let content = if is_same || is_confirmed {
            Content::NotModified
        } else {
            body(&edition, order.document)
        };
        let confirmed_at = UnixMillis(confirmed_at.0 - age * 1000);
        let answer = Answer { from: AnsweredBy::Source, confirmed_at, content };
        let answered = Answered { isolate, process, order, answer, edition: Some(edition) };
        self.schedule(self.now + takes, Event::Answered(Box::new(answered)));
    }

    /// What the cache before the source gives, and the `Age` in whole seconds that goes with it.
    fn give(&mut self, isolate: usize, order: &FetchOrder, at: u64) -> (Edition, u64) {
        // Now and then somebody answers with what was true long ago, to one who knows better.
        let known = self.isolates[isolate].list_since;
        if order.document == Document::StatusList
            && self.rng.u64(0..100) == 0
            && let Some(before) = known.checked_sub(1)
            && let Some(edition) = self.source.edition(order.document, before)
        {
            return (edition.clone(), 0);
        }
        let place = &mut self.places[self.isolates[isolate].place];
        if let Some((stored, edition)) = place.shared.get(&order.url)
            && at.saturating_sub(*stored) < SHARED_MAX_AGE
        {
            return (edition.clone(), at.saturating_sub(*stored) / 1000);
        }
        let edition = self.source.edition(order.document, at).cloned();
        let edition =
            edition.unwrap_or(Edition { since: 0, body: String::new(), etag: String::new() });
        place.shared.insert(order.url.clone(), (at, edition.clone()));
        (edition, 0)
    }

    /// An answer has come: take it in, and share it with the place.
    fn land(&mut self, answered: Answered) {
        let Answered { isolate, order, answer, edition, .. } = answered;
        let is_new = matches!(answer.content, Content::Body { .. });
        if !self.settle(isolate, order.clone(), answer) {
            self.isolates[isolate].failed_at = Some(self.now);
            return;
        }
        let isolate = &mut self.isolates[isolate];
        let confirmed_at = isolate.verifier.confirmed_at(&order);
        if let (Some(edition), Some(confirmed_at)) = (edition, confirmed_at) {
            if is_new && order.document == Document::StatusList {
                isolate.list_since = edition.since;
            }
            self.places[isolate.place].tier.insert(order.uri, (edition, confirmed_at));
        }
    }

    fn settle(&mut self, isolate: usize, order: FetchOrder, answer: Answer) -> bool {
        let now = self.clock(isolate);
        match self.isolates[isolate].verifier.land(order, answer, now) {
            Landed::Settled { taken } => taken,
            Landed::Fetch(_) | Landed::CheckSignature(..) => false,
        }
    }

    fn decided(&mut self, process: &Process, mut verdict: Verdict) {
        for order in std::mem::take(&mut verdict.refresh) {
            // Now and then the platform ends what runs behind a response.
            if self.rng.u64(0..50) > 0 {
                self.ask(process.isolate, None, order);
            }
        }
        self.outcome.verdicts += 1;
        self.outcome.stale += u64::from(verdict.stale);
        let Token { index, key, .. } = self.tokens[process.token];
        let ended = self.revoked_at.get(&index).copied();
        let withdrawn = self.withdrawn_at.filter(|_| key == 1);
        let failed_at = self.isolates[process.isolate].failed_at;
        let seconds = |millis: u64| millis as f64 / 1000.0;
        let Some(error) = verdict.error() else {
            self.outcome.accepted += 1;
            for at in [ended, withdrawn].into_iter().flatten() {
                let late = self.now - at;
                // Whoever failed since, or just before, may not have been able to ask.
                let reachable = failed_at.is_none_or(|failed| failed + 5_000 < at);
                let (bound, latest) = if reachable {
                    (DEADLINE, &mut self.outcome.latest)
                } else {
                    (OUTAGE_BOUND, &mut self.outcome.latest_outage)
                };
                *latest = late.max(*latest);
                if late > bound {
                    let what = format!(
                        "at {} s isolate {} accepted what ended {} s before (bound {} s)",
                        seconds(self.now),
                        process.isolate,
                        seconds(late),
                        seconds(bound),
                    );
                    self.outcome.violation.get_or_insert(what);
                }
            }
            return;
        };
        let has_cause = match error.code() {
            "token_revoked" => ended.is_some(),
            "key_not_found" => withdrawn.is_some(),
            // An unknown key is looked for once per cool-down; between, nobody can know.
            "keys_unavailable" if withdrawn.is_some() => true,
            // Whoever could not ask for long enough refuses.
            "status_unavailable" | "keys_unavailable" => {
                failed_at.is_some_and(|failed| failed + OUTAGE_BOUND > self.now)
            }
            _ => false,
        };
        if !has_cause {
            let what = format!(
                "at {} s isolate {} refused a live token: {}",
                seconds(self.now),
                process.isolate,
                error.code(),
            );
            self.outcome.violation.get_or_insert(what);
        }
    }

    /// What time it is there.
    fn clock(&self, isolate: usize) -> UnixMillis {
        UnixMillis(START * 1000 + self.now + self.places[self.isolates[isolate].place].skew)
    }
}

impl Place {
    fn new(rng: &mut Rng) -> Self {
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
            shared: HashMap::new(),
            tier: HashMap::new(),
        }
    }
}

fn body(edition: &Edition, document: Document) -> Content {
    Content::Body {
        bytes: edition.body.clone().into_bytes(),
        media_type: Some(document.accept().split(',').next().unwrap_or_default().to_owned()),
        etag: Some(edition.etag.clone()),
    }
}
