//! What a verifier in the field would have said: a log, a migration, an incident or any corpus,
//! replayed line by line.
//!
//! A line says what the verifier is asked, when, under which policy and keys, and what the world
//! would have answered; see [`mod@line`] for its form. Nothing is fetched and no clock is read, so that
//! every host gives every line the same answer.

pub mod line;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::ready;
use std::time::Duration;

use edgepass_crypto::prepared::PreparedKeys;
use serde::Serialize;
use serde_json::Value;

pub use self::line::Line;
use self::line::UnusableLine;
use crate::checks::dpop::replay::{ProofUse, Replay, ReplayMemory};
use crate::documents::fetch::{self, FetchOrder};
use crate::host::{self, Host, HostCrypto, Later};
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::verifier::Verifier;

/// Judges lines, in order. Lines of one session build on each other.
#[derive(Default)]
pub struct Batch {
    sessions: HashMap<String, Session>,
    /// What the sessions hold, in bytes.
    held: usize,
    lines: u64,
    /// Tables are shared by all lines.
    prepared: PreparedKeys,
}

/// The most sessions kept; one that was not used while so many others were starts anew.
pub const MAX_SESSIONS: usize = 1024;
/// What all sessions may hold together; the ones used last are kept.
pub const MAX_BYTES: usize = 256 << 20;
/// The most issuers of one session.
const MAX_SESSION_ISSUERS: usize = 64;
/// What a remembered proof takes, roughly.
const PROOF_BYTES: usize = 64;

/// What the lines of one session share.
#[derive(Default)]
struct Session {
    /// By issuer, so that nothing held of one serves another.
    verifiers: HashMap<String, Verifier>,
    replay: ReplayMemory,
    used: u64,
    /// In bytes, when it was used last.
    held: usize,
}

/// The answer to a line.
#[derive(Clone, Debug, Serialize)]
pub struct LineVerdict {
    /// The line's `id`, as it was given.
    pub id: Value,
    /// What came of it.
    pub verdict: Outcome,
    /// Why it was rejected: the code of the first check that failed.
    pub code: Option<&'static str>,
    /// Whether a held list served beyond its freshness window.
    pub stale: bool,
    /// What was asked for, in order, background refreshes included.
    pub fetched: Vec<String>,
    /// Why the line is unusable. It holds nothing that the line says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What came of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The token is accepted.
    Accepted,
    /// The token is refused.
    #[serde(rename = "rejected")]
    Refused,
    /// The line cannot be judged.
    Error,
}

impl Batch {
    /// A batch that shares the tables of keys with whoever has the same.
    pub fn with_prepared(prepared: PreparedKeys) -> Self {
        Self { prepared, ..Self::default() }
    }

    /// Read one line and judge it.
    pub async fn judge(&mut self, text: &str, crypto: &dyn HostCrypto) -> LineVerdict {
        match read(text) {
            Ok(line) => self.judge_line(line, crypto).await,
            Err(answer) => *answer,
        }
    }

    /// Judge one line.
    pub async fn judge_line(&mut self, mut line: Line, crypto: &dyn HostCrypto) -> LineVerdict {
        self.lines = self.lines.wrapping_add(1);
        let name = line.session.take();
        let mut session = name.as_ref().and_then(|name| self.sessions.remove(name));
        self.held = self.held.saturating_sub(session.as_ref().map_or(0, |session| session.held));
        let state = session.get_or_insert_default();
        state.used = self.lines;
        let answer = state.judge(line, &self.prepared, crypto).await;
        if let (Some(name), Some(session)) = (name, session) {
            self.held = self.held.saturating_add(session.held);
            self.make_room();
            self.sessions.insert(name, session);
        }
        answer
    }

    /// The least recently used sessions go when there are too many, or they hold too much.
    fn make_room(&mut self) {
        while self.sessions.len() >= MAX_SESSIONS || self.held > MAX_BYTES {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            let held = self.sessions.remove(&oldest).map_or(0, |session| session.held);
            self.held = self.held.saturating_sub(held);
        }
    }
}

/// Read a line.
///
/// # Errors
///
/// The answer to a line that cannot be judged.
pub fn read(text: &str) -> Result<Line, Box<LineVerdict>> {
    Line::parse(text)
        .map_err(|UnusableLine { id, message }| Box::new(LineVerdict::error(id, message)))
}

/// Judge a line that no other bears on: one without a session. Such lines may be judged in any order, and
/// at once.
pub async fn judge_alone(
    line: Line,
    prepared: &PreparedKeys,
    crypto: &dyn HostCrypto,
) -> LineVerdict {
    Session::default().judge(line, prepared, crypto).await
}

impl Session {
    async fn judge(
        &mut self,
        line: Line,
        prepared: &PreparedKeys,
        crypto: &dyn HostCrypto,
    ) -> LineVerdict {
        let Line { id, issuer, asked, trust, nonces, requirements, world, .. } = line;
        let now = world.now.get();
        let held = self.verifiers.remove(&issuer);
        let verifier = match held {
            Some(held) => held.with_trust(trust),
            None => Verifier::of_issuers(vec![trust])
                .map(|verifier| verifier.with_prepared(prepared.clone())),
        };
        let mut verifier = match verifier {
            Ok(verifier) => verifier.with_nonces(nonces),
            Err(error) => return LineVerdict::error(id, error.to_string()),
        };
        let check = match asked {
            line::Presented::Token(token, sender) => verifier.begin(&token, sender, requirements),
            line::Presented::Request(request) => verifier.begin_request(request, requirements),
        };
        let verifier = RefCell::new(verifier);
        let host = LineHost {
            crypto,
            world,
            replay: RefCell::new(&mut self.replay),
            fetched: RefCell::default(),
        };
        // Refreshes run after the verdict, and count from the next line.
        let verdict = host::judge_and_refresh(&verifier, check, &host).await;
        let fetched = host.fetched.take();
        let mut verifier = verifier.into_inner();
        work(&mut verifier, now, crypto).await;
        if self.verifiers.len() >= MAX_SESSION_ISSUERS {
            self.verifiers.clear();
        }
        self.verifiers.insert(issuer, verifier);
        let lists: usize = self.verifiers.values().map(Verifier::bytes).sum();
        self.held = lists.saturating_add(self.replay.len().saturating_mul(PROOF_BYTES));
        LineVerdict {
            id,
            verdict: if verdict.accepted() { Outcome::Accepted } else { Outcome::Refused },
            code: verdict.error().map(|error| error.code()),
            stale: verdict.stale,
            fetched,
            message: None,
        }
    }
}

/// Lay out tables as soon as they are earned: nobody waits for one line alone.
async fn work(verifier: &mut Verifier, now: UnixMillis, crypto: &dyn HostCrypto) {
    while verifier.has_work(now) {
        if let Some(request) = verifier.work(now) {
            let valid = crypto.check(&request).await;
            verifier.rechecked(&request, valid);
        }
    }
}

/// The host of one line: the world that the line describes, and the crypto of the host that judges it.
struct LineHost<'s> {
    crypto: &'s dyn HostCrypto,
    world: line::LineWorld,
    replay: RefCell<&'s mut ReplayMemory>,
    fetched: RefCell<Vec<String>>,
}

impl HostCrypto for LineHost<'_> {
    fn check<'a>(&'a self, request: &'a SignatureRequest) -> Later<'a, bool> {
        self.crypto.check(request)
    }
}

impl Host for LineHost<'_> {
    fn now(&self) -> UnixMillis {
        self.world.now.get()
    }

    fn fetch<'a>(&'a self, order: &'a FetchOrder) -> Later<'a, fetch::Answer> {
        self.fetched.borrow_mut().push(order.url.clone());
        Box::pin(ready(self.world.answer(order)))
    }

    fn first_use(&self, used: ProofUse) -> Later<'_, Replay> {
        let replay = if self.world.seen_jwt_ids.contains(&used.jwt_id) {
            Replay::Seen
        } else {
            self.replay.borrow_mut().first_use(&used, self.now())
        };
        Box::pin(ready(replay))
    }

    /// Time passes in the line's world alone.
    fn sleep(&self, time: Duration) -> Later<'_, ()> {
        self.world.now.set(self.now().plus(time));
        Box::pin(ready(()))
    }
}

impl LineVerdict {
    fn error(id: Value, message: String) -> Self {
        Self {
            id,
            verdict: Outcome::Error,
            code: None,
            stale: false,
            fetched: Vec::new(),
            message: Some(message),
        }
    }
}
