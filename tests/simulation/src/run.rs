//! One run: its events, and the checks of every verdict.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use edgepass_verify::verifier::{JwksUri, KeySource, Progress, Verifier, Watch, Watching};
use edgepass_verify::{Check, Policy, PolicyConfig, Requirements, Sender, UnixMillis, Verdict};
use fastrand::Rng;
use serde_json::json;

use crate::network::{Answered, Asked, Asker, BrokenWatch, Lie, Place, SHARED_MAX_AGE};
use crate::source::{HEAD, ISSUER, JWKS, MAX_AGE, START, Source, TOKENS, list_uri};

/// Length of a run, in virtual milliseconds.
pub(crate) const LENGTH: u64 = 180_000;
/// The default deadline, in milliseconds.
const DEADLINE: u64 = 10_000;
const OUTAGE_BOUND: u64 = 70_000;
const FETCH_TIMEOUT: u64 = 2_500;
/// Interval at which lists are signed and the set is dated again, in milliseconds: well below a
/// third of [`MAX_AGE`].
const RENEWAL: u64 = 20_000;

/// A rule that is broken on purpose, to show that the simulation detects it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The age of a copy counts from when it was read from a cache.
    CacheReadConfirms,
    /// The freshness lifetime is not reduced by the time for publishing and shared caches.
    WindowNotReduced,
    /// An answer older than the held copy confirms it.
    OlderAnswerConfirms,
    /// An answer newer than the held copy is not stored, but confirms that copy.
    NewerAnswerIgnored,
    /// An older list is accepted as if it were new.
    OlderListTaken,
    /// An older JWK Set is accepted as if it were new.
    OlderSetTaken,
    /// A confirmed copy is used however long ago it was signed.
    SignedAgeIgnored,
    /// A key leaves the set while caches still hold lists that it signed.
    KeyWithdrawnTooSoon,
    /// A head confirms what it names at the time at which it arrives.
    ArrivalConfirms,
    /// A head confirms lists of which it names another digest.
    OtherDigestConfirms,
    /// A watch without an answer confirms what the last head named.
    LostWatchConfirms,
}

impl Fault {
    /// Whether the broken rule concerns heads.
    fn is_of_heads(self) -> bool {
        matches!(self, Self::ArrivalConfirms | Self::OtherDigestConfirms | Self::LostWatchConfirms)
    }
}

/// Counts and latest acceptances of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Number of verdicts.
    pub verdicts: u64,
    /// Verdicts that accepted a token.
    pub accepted: u64,
    /// Verdicts on a stale copy.
    pub stale: u64,
    /// Requests that were sent to the source or the shared cache before it.
    pub fetches: u64,
    /// The latest acceptance after a revocation or withdrawal, in milliseconds, by isolates whose
    /// network had not failed just before.
    pub latest: u64,
    /// The same by isolates whose network had failed just before.
    pub latest_outage: u64,
    /// The same by isolates that a cache lied to.
    pub latest_lied: u64,
    /// The same by isolates that a cache lied to, where the issuer signs heads.
    pub latest_lied_headed: u64,
    /// Confirmations of documents that an honest source would have signed again.
    pub aged: u64,
    /// The first violation of a rule, as a message.
    pub violation: Option<String>,
}

pub(crate) struct Isolate {
    pub(crate) verifier: Verifier,
    pub(crate) place: usize,
    /// When the editions that it holds were published, by URI.
    pub(crate) since: HashMap<String, u64>,
    /// The documents that it last took, by URI, for broken rules.
    pub(crate) bodies: HashMap<String, String>,
    /// The longest time for which its platform lets it watch, in milliseconds. `None`: not at all.
    watches_for: Option<u64>,
    /// Indices of tokens that it refused as revoked.
    refused: HashSet<u64>,
    /// When a fetch last failed, by the document's URI.
    pub(crate) failed_at: HashMap<String, u64>,
    /// Average pause between its requests, in milliseconds.
    pause: u64,
    /// Clients that hang up while they wait for a fetch, out of fifty.
    hang_up: u64,
}

impl Isolate {
    /// Whether a fetch failed just now, so that a stale copy or an unavailable document is allowed.
    /// The verifier fetches again 1 s after a failure, and a verdict follows at most two fetches
    /// later; after a failure of the head, those of list and set as well.
    fn failed_lately(&self, document: &str, now: u64) -> bool {
        let fetches = if document == HEAD { 4 } else { 2 };
        self.failed_at.get(document).is_some_and(|at| now - at <= 1_000 + fetches * FETCH_TIMEOUT)
    }
}

/// A client's request before its verdict.
struct Process {
    isolate: usize,
    token: usize,
    check: Check,
}

pub(crate) enum Event {
    Request(usize),
    Go(usize),
    /// A watch takes its next step.
    Watch(usize),
    /// A request reaches the source.
    Asked(Box<Asked>),
    Answered(Box<Answered>),
    Revoke(u64),
    WithdrawKey(usize),
    Renew,
    /// The issuer is up again and signs its lists.
    Restarted,
}

struct Token {
    text: String,
    index: u64,
    key: usize,
}

pub(crate) struct Run {
    pub(crate) rng: Rng,
    pub(crate) fault: Option<Fault>,
    pub(crate) now: u64,
    order: u64,
    events: BinaryHeap<(Reverse<u64>, Reverse<u64>, usize)>,
    pending: Vec<Option<Event>>,
    pub(crate) source: Source,
    pub(crate) places: Vec<Place>,
    pub(crate) isolates: Vec<Isolate>,
    processes: Vec<Option<Process>>,
    watches: Vec<Option<(usize, Watch)>>,
    tokens: Vec<Token>,
    revoked_at: HashMap<u64, u64>,
    /// The withdrawn key, and when it was withdrawn.
    withdrawn: Option<(usize, u64)>,
    requirements: Arc<Requirements>,
    pub(crate) outcome: Outcome,
}

/// Runs the simulation once.
///
/// # Errors
///
/// If the policy is invalid, which is a mistake in the simulation.
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
    run.count_aged();
    Ok(run.outcome)
}

impl Run {
    fn new(seed: u64, fault: Option<Fault>) -> anyhow::Result<Self> {
        let mut rng = Rng::with_seed(seed);
        // Without heads where a broken rule concerns what HTTP confirms.
        let has_head = match fault {
            Some(fault) => fault.is_of_heads(),
            None => rng.bool(),
        };
        let mut config = json!({"issuer": ISSUER, "audience": "api"});
        config["freshness"] = match fault {
            Some(Fault::WindowNotReduced) => json!({"publish_delay": "0s", "shared_max_age": "0s"}),
            Some(Fault::SignedAgeIgnored) => json!({"max_list_age": "1h"}),
            _ => json!({"max_list_age": format!("{MAX_AGE}ms")}),
        };
        let config: PolicyConfig = serde_json::from_value(config)?;
        let policy = Policy::try_from(config)?;
        let jwks = JwksUri::parse(JWKS)?;
        let mut places: Vec<Place> =
            (0..rng.usize(6..30)).map(|_| Place::new(&mut rng, has_head)).collect();
        let must_lie = fault == Some(Fault::SignedAgeIgnored);
        if rng.u64(0..3) == 0 || must_lie {
            let lie = match rng.u64(0..if has_head { 3 } else { 2 }) {
                0 if !must_lie => Lie::Repeats,
                2 => Lie::Rewinds,
                _ => Lie::NothingChanged,
            };
            places[0].lies = Some((rng.u64(10_000..60_000), lie));
        }
        let isolates = (0..rng.usize(30..240))
            .map(|_| {
                Ok(Isolate {
                    verifier: Verifier::new(policy.clone(), KeySource::Url(jwks.clone()))?,
                    place: rng.usize(0..places.len()),
                    since: HashMap::new(),
                    bodies: HashMap::new(),
                    watches_for: *rng
                        .choice([None, Some(25_000), Some(LENGTH)].iter())
                        .unwrap_or(&None),
                    refused: HashSet::new(),
                    failed_at: HashMap::new(),
                    pause: *rng.choice([300, 2_000, 8_000, 40_000].iter()).unwrap_or(&2_000),
                    hang_up: if rng.u64(0..20) == 0 { 45 } else { 1 },
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut source = Source::new(has_head);
        // The issuer is killed and restarted up to three times. It publishes nothing meanwhile.
        for _ in 0..rng.usize(0..4) {
            let from = rng.u64(10_000..LENGTH - 30_000);
            source.down.push((from, from + rng.u64(100..4_000)));
        }
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
            watches: Vec::new(),
            tokens,
            revoked_at: HashMap::new(),
            withdrawn: None,
            requirements: Arc::default(),
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
            let key = run.rng.usize(0..2);
            run.schedule(at, Event::WithdrawKey(key));
        }
        for (_, back) in run.source.down.clone() {
            run.schedule(back, Event::Restarted);
        }
        run.schedule(RENEWAL, Event::Renew);
        Ok(run)
    }

    pub(crate) fn schedule(&mut self, at: u64, event: Event) {
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
                let check =
                    verifier.begin(&text, Sender::default(), Arc::clone(&self.requirements));
                self.processes.push(Some(Process { isolate, token, check }));
                self.go(self.processes.len() - 1);
            }
            Event::Go(process) => self.go(process),
            Event::Asked(asked) => self.answer(*asked),
            Event::Answered(answered) => {
                let asker = answered.request.asker;
                self.receive(*answered);
                match asker {
                    Asker::Process(process) => self.go(process),
                    Asker::Watch(watch) => self.watch(watch),
                    Asker::Background => {}
                }
            }
            Event::Watch(watch) => self.watch(watch),
            // An event while the issuer is down takes effect when the issuer is up again.
            Event::Revoke(_) | Event::WithdrawKey(_) | Event::Renew
                if self.source.back_at(self.now).is_some() =>
            {
                let back = self.source.back_at(self.now).unwrap_or(self.now);
                self.schedule(back, event);
            }
            Event::Revoke(index) => {
                // `revoke` returns once the list is served.
                self.source.revoke(index, self.now);
                self.revoked_at.insert(index, self.now);
            }
            Event::WithdrawKey(key) => {
                let too_soon = self.fault == Some(Fault::KeyWithdrawnTooSoon);
                let at = self.source.withdraw_key(key, self.now, too_soon);
                self.withdrawn = Some((key, at));
            }
            Event::Renew => {
                self.source.renew(self.now);
                self.schedule(self.now + RENEWAL, Event::Renew);
            }
            Event::Restarted => self.source.renew(self.now),
        }
    }

    /// Takes the next step of a watch. In one case of two hundred the platform drops it instead.
    fn watch(&mut self, id: usize) {
        let Some((isolate, watch)) = self.watches[id].take() else { return };
        if self.rng.u64(0..200) == 0 {
            return;
        }
        let now = self.clock(isolate);
        let step = self.isolates[isolate].verifier.watch_step(&watch, now);
        match step {
            Watching::Fetch(order) => self.ask(isolate, Asker::Watch(id), order),
            Watching::Pause(time) => self.go_on_in(time.as_millis() as u64, Asker::Watch(id)),
            Watching::Ended => return,
        }
        self.watches[id] = Some((isolate, watch));
    }

    /// Advances a process to its verdict or its next wait.
    fn go(&mut self, id: usize) {
        let Some(mut process) = self.processes[id].take() else { return };
        let now = self.clock(process.isolate);
        let isolate = &mut self.isolates[process.isolate];
        match isolate.verifier.advance(&mut process.check, now) {
            Progress::Decided(verdict) => self.decided(&process, verdict),
            Progress::Fetch(order) => {
                let isolate = process.isolate;
                // Clients hang up, at some isolates nine of ten, which cancels their fetch.
                if self.rng.u64(0..50) < self.isolates[isolate].hang_up {
                    return;
                }
                self.processes[id] = Some(process);
                self.ask(isolate, Asker::Process(id), order);
            }
            Progress::Wait(time) => {
                self.processes[id] = Some(process);
                self.schedule(self.now + time.as_millis() as u64, Event::Go(id));
            }
            Progress::CheckSignature(_) | Progress::CheckReplay(_) => {
                self.outcome.violation = Some(
                    "the verifier asks for a signature or replay check, which it must not do here"
                        .into(),
                );
            }
        }
    }

    fn decided(&mut self, process: &Process, mut verdict: Verdict) {
        for order in std::mem::take(&mut verdict.refresh) {
            // In one case of fifty the platform cancels background work after a response.
            if self.rng.u64(0..50) > 0 {
                self.ask(process.isolate, Asker::Background, order);
            }
        }
        let now = self.clock(process.isolate);
        while let Some(order) = self.isolates[process.isolate].verifier.prefetch(now) {
            self.ask(process.isolate, Asker::Background, order);
        }
        if let Some(most) = self.isolates[process.isolate].watches_for {
            let limit = Duration::from_millis(most);
            if let Some(watch) = self.isolates[process.isolate].verifier.watch(limit, now) {
                self.watches.push(Some((process.isolate, watch)));
                self.watch(self.watches.len() - 1);
            }
        }
        self.outcome.verdicts += 1;
        self.outcome.stale += u64::from(verdict.stale);
        let violation = match verdict.error() {
            None => self.accepted(process, verdict.stale),
            Some(error) => self.refused(process, error.code()),
        };
        if let Some(what) = violation {
            let (at, isolate) = (self.now as f64 / 1000.0, process.isolate);
            let text = || format!("at {at} s isolate {isolate} {what}");
            self.outcome.violation.get_or_insert_with(text);
        }
    }

    /// Returns the reason why the acceptance is a violation, if it is one.
    fn accepted(&mut self, process: &Process, stale: bool) -> Option<String> {
        let Token { index, key, .. } = self.tokens[process.token];
        let (isolate, list) = (&self.isolates[process.isolate], list_uri(index));
        let has_head = self.source.has_head;
        let failed = |document: &str| {
            isolate.failed_lately(document, self.now)
                || (has_head && isolate.failed_lately(HEAD, self.now))
        };
        let repeated = &self.places[isolate.place].repeated;
        let is_lied_to = self.lies(process.isolate).is_some();
        self.outcome.accepted += 1;
        if isolate.refused.contains(&index) {
            return Some("accepted a token that it had refused as revoked".into());
        }
        if stale && !is_lied_to && !failed(&list) && !failed(JWKS) {
            return Some("accepted on a stale copy, and nothing had failed".into());
        }
        let revoked = self.revoked_at.get(&index).map(|at| (*at, list.as_str()));
        let withdrawn = self.withdrawn.filter(|(gone, _)| key == *gone).map(|(_, at)| (at, JWKS));
        // A clock that is behind makes a head look newer that a cache repeats.
        let place = &self.places[isolate.place];
        let repeats =
            is_lied_to || place.watches == Some(BrokenWatch::Kept) || place.has_repeated_head;
        let behind = place.skew.saturating_neg().saturating_sub(2_000).max(0) as u64;
        let behind = if has_head && repeats { behind } else { 0 };
        for (at, document) in [revoked, withdrawn].into_iter().flatten() {
            let late = self.now.saturating_sub(at);
            let (bound, latest) = if is_lied_to && has_head && !failed(document) {
                // Only a signed head confirms anything.
                (DEADLINE + behind, &mut self.outcome.latest_lied_headed)
            } else if (is_lied_to || repeated.contains(document)) && !has_head {
                (MAX_AGE, &mut self.outcome.latest_lied)
            } else if failed(document) {
                (OUTAGE_BOUND + behind, &mut self.outcome.latest_outage)
            } else {
                (DEADLINE + behind, &mut self.outcome.latest)
            };
            if behind == 0 {
                *latest = late.max(*latest);
            }
            if late > bound {
                return Some(format!(
                    "accepted a token or key {late} ms after its revocation (bound {bound} ms)"
                ));
            }
        }
        None
    }

    /// Returns the reason why the refusal is a violation, if it is one.
    fn refused(&mut self, process: &Process, code: &str) -> Option<String> {
        let Token { index, key, .. } = self.tokens[process.token];
        let is_lied_to = self.lies(process.isolate).is_some();
        let has_head = self.source.has_head;
        let is_withdrawn_lately = self.was_withdrawn_lately();
        let (isolate, list) = (&mut self.isolates[process.isolate], list_uri(index));
        let is_withdrawn = self.withdrawn.is_some_and(|(gone, _)| key == gone);
        let has_cause = match code {
            "token_revoked" => {
                isolate.refused.insert(index);
                self.revoked_at.contains_key(&index)
            }
            // The verifier fetches for an unknown key once per cool-down. In between it cannot
            // know.
            "key_not_found" => is_withdrawn,
            "keys_unavailable" | "status_unavailable" if is_lied_to => true,
            "keys_unavailable" if has_head && isolate.failed_lately(HEAD, self.now) => true,
            "status_unavailable" if has_head && isolate.failed_lately(HEAD, self.now) => true,
            // A new isolate may get the set without a key from another one, and from a shared cache the head of
            // before. It believes neither, and asks for another head with the next request.
            "keys_unavailable" if has_head && is_withdrawn_lately => true,
            "keys_unavailable" => is_withdrawn || isolate.failed_lately(JWKS, self.now),
            "status_unavailable" => isolate.failed_lately(&list, self.now),
            _ => false,
        };
        (!has_cause).then(|| format!("refused a live token: {code}"))
    }

    /// Whether a key was withdrawn so lately that shared caches may have the head of before.
    fn was_withdrawn_lately(&self) -> bool {
        let since = |(_, at): (usize, u64)| self.now.saturating_sub(at);
        self.withdrawn.map(since).is_some_and(|passed| passed <= SHARED_MAX_AGE + 500)
    }

    /// Checks that only isolates that a cache lies to confirm documents that are too old.
    fn count_aged(&mut self) {
        for isolate in 0..self.isolates.len() {
            let aged = self.isolates[isolate].verifier.counters().aged;
            self.outcome.aged += aged;
            let is_honest = self.lies(isolate).is_none()
                && self.places[self.isolates[isolate].place].repeated.is_empty();
            if aged > 0 && is_honest && self.outcome.violation.is_none() {
                self.outcome.violation =
                    Some(format!("isolate {isolate} counts {aged} old confirmations"));
            }
        }
    }

    /// The current time by the clock of an isolate's place.
    pub(crate) fn clock(&self, isolate: usize) -> UnixMillis {
        let skew = self.places[self.isolates[isolate].place].skew;
        UnixMillis((START * 1000 + self.now).saturating_add_signed(skew))
    }
}
