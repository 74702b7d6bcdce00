//! Replays checks line by line, for example those of a log, a migration or an incident.
//!
//! A line holds a token or a request, the time, the policy, the keys and the responses that the
//! verifier would have received; see [`mod@line`] for its form. Nothing is fetched and no clock is
//! read, so every host gives every line the same verdict.

pub mod line;

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use edgepass_crypto::prepared::PreparedKeys;
use serde::Serialize;
use serde_json::Value;

pub use self::line::Line;
use self::line::UnusableLine;
use crate::checks::dpop::replay::{ProofUse, Replay, ReplayMemory};
use crate::documents::fetch::{self, FetchOrder};
use crate::host::{self, Host, HostCrypto, NoCache};
use crate::signature::SignatureRequest;
use crate::time::UnixMillis;
use crate::verifier::Verifier;

/// Judges lines in order. The lines of one session share held documents and used proofs.
///
/// # Example
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// use edgepass_verify::batch::{Batch, Outcome};
/// use edgepass_verify::host::HostCrypto;
/// use edgepass_verify::signature::SignatureRequest;
///
/// /// A host without ECDSA and RSA.
/// struct Ed25519Only;
///
/// impl HostCrypto for Ed25519Only {
///     async fn check(&self, _: &SignatureRequest) -> bool {
///         false
///     }
/// }
///
/// let line = r#"{
///     "id": 1, "token": "no token", "jwks": {"keys": []}, "now": 1800000000,
///     "policy": {"issuer": "https://issuer.example", "audience": "https://api.example"}
/// }"#;
/// let mut batch = Batch::default();
/// // No future here ever waits: the responses are part of the line.
/// let judged = pin!(batch.judge(line, &Ed25519Only));
/// let Poll::Ready(result) = judged.poll(&mut Context::from_waker(Waker::noop())) else {
///     panic!("a batch does not wait");
/// };
/// assert_eq!(result.id, 1);
/// assert_eq!(result.verdict, Outcome::Refused);
/// assert_eq!(result.code, Some("token_malformed"));
/// ```
#[derive(Default)]
pub struct Batch {
    sessions: HashMap<String, Session>,
    /// The approximate memory that the sessions take, in bytes.
    held: usize,
    /// The number of judged lines.
    lines: u64,
    /// The tables of keys, shared by all lines.
    prepared: PreparedKeys,
}

/// The maximum number of sessions. Beyond it the least recently used session is forgotten.
pub const MAX_SESSIONS: usize = 1024;
/// The memory limit of all sessions, in bytes: 256 MiB. Beyond it the least recently used sessions
/// are forgotten.
pub const MAX_BYTES: usize = 256 << 20;
/// The maximum number of issuers in one session. Beyond it the session forgets the verifiers of all
/// its issuers.
const MAX_SESSION_ISSUERS: usize = 64;
/// The approximate size of a remembered proof, in bytes.
const PROOF_BYTES: usize = 64;

/// The state that the lines of one session share.
#[derive(Default)]
struct Session {
    /// A verifier for each issuer, so that no document of one issuer is used for another.
    verifiers: HashMap<String, Verifier>,
    replay: ReplayMemory,
    /// The value of [`Batch::lines`] at the last use.
    used: u64,
    /// The approximate size of the session in bytes, after its last use.
    held: usize,
}

/// The result of a line.
#[derive(Clone, Debug, Serialize)]
pub struct LineVerdict {
    /// The line's `id`, unchanged. Null if the line has none or is no JSON object.
    pub id: Value,
    /// The outcome of the check.
    pub verdict: Outcome,
    /// The code of the refusal, if the token is refused.
    pub code: Option<&'static str>,
    /// Whether the check used a stale list.
    pub stale: bool,
    /// The URLs that the check requested, in order, and then those of refreshes.
    pub fetched: Vec<String>,
    /// The reason why the line cannot be judged. It repeats nothing of the line, except durations
    /// of its policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The outcome of a line.
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
    /// Creates a batch that shares the tables in `prepared` with other users of its clones.
    pub fn with_prepared(prepared: PreparedKeys) -> Self {
        Self { prepared, ..Self::default() }
    }

    /// Reads one line and judges it.
    pub async fn judge(&mut self, text: &str, crypto: &impl HostCrypto) -> LineVerdict {
        match read(text) {
            Ok(line) => self.judge_line(line, crypto).await,
            Err(answer) => *answer,
        }
    }

    /// Judges one line.
    pub async fn judge_line(&mut self, mut line: Line, crypto: &impl HostCrypto) -> LineVerdict {
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

    /// Drops the least recently used sessions until there is room for one more and the memory limit
    /// holds.
    fn make_room(&mut self) {
        while self.sessions.len() >= MAX_SESSIONS || self.held > MAX_BYTES {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
            let Some(oldest) = oldest.map(|(name, _)| name.clone()) else { return };
            let held = self.sessions.remove(&oldest).map_or(0, |session| session.held);
            self.held = self.held.saturating_sub(held);
        }
    }
}

/// Reads a line without judging it.
///
/// # Errors
///
/// The [`LineVerdict`] of a line that cannot be judged.
pub fn read(text: &str) -> Result<Line, Box<LineVerdict>> {
    Line::parse(text)
        .map_err(|UnusableLine { id, error }| Box::new(LineVerdict::error(id, error.to_string())))
}

/// Judges a line without a session; the member `session` is ignored. The verdict does not depend on
/// other lines, so such lines may be judged in any order and in parallel.
pub async fn judge_alone(
    line: Line,
    prepared: &PreparedKeys,
    crypto: &impl HostCrypto,
) -> LineVerdict {
    Session::default().judge(line, prepared, crypto).await
}

impl Session {
    async fn judge(
        &mut self,
        line: Line,
        prepared: &PreparedKeys,
        crypto: &impl HostCrypto,
    ) -> LineVerdict {
        let Line { id, issuer, presented, mut trust, nonces, requirements, environment, .. } = line;
        // The line states the lists and when they were confirmed.
        trust.0.ignore_heads();
        let now = environment.now.get();
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
        let check = match presented {
            line::Presented::Token(token, sender) => verifier.begin(&token, sender, requirements),
            line::Presented::Request(request) => verifier.begin_request(request, requirements),
        };
        let verifier = RefCell::new(verifier);
        let host = LineHost {
            crypto,
            environment,
            replay: RefCell::new(&mut self.replay),
            fetched: RefCell::default(),
        };
        // Refreshes run after the verdict, and take effect from the session's next line on.
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

/// Does all background work after each line, at once: in a batch no response is delayed.
async fn work(verifier: &mut Verifier, now: UnixMillis, crypto: &impl HostCrypto) {
    while verifier.has_work(now) {
        if let Some(request) = verifier.work(now) {
            let valid = crypto.check(&request).await;
            verifier.rechecked(&request, valid);
        }
    }
}

/// The host of one line: clock and responses come from the line, crypto from the batch's host.
struct LineHost<'s, C> {
    crypto: &'s C,
    environment: line::LineEnvironment,
    replay: RefCell<&'s mut ReplayMemory>,
    fetched: RefCell<Vec<String>>,
}

impl<C: HostCrypto> HostCrypto for LineHost<'_, C> {
    async fn check(&self, request: &SignatureRequest) -> bool {
        self.crypto.check(request).await
    }
}

impl<C: HostCrypto> Host for LineHost<'_, C> {
    type Cache = NoCache;

    fn now(&self) -> UnixMillis {
        self.environment.now.get()
    }

    async fn fetch(&self, order: &FetchOrder) -> fetch::Answer {
        self.fetched.borrow_mut().push(order.url.clone());
        self.environment.answer(order)
    }

    async fn first_use(&self, used: ProofUse) -> Replay {
        if self.environment.seen_jwt_ids.contains(&used.jwt_id) {
            Replay::Seen
        } else {
            self.replay.borrow_mut().first_use(&used, self.now())
        }
    }

    /// Advances the line's own clock instead of waiting.
    async fn sleep(&self, time: Duration) {
        self.environment.now.set(self.now().plus(time));
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
