//! One verifier, driven by the TypeScript side.
//!
//! Most checks take one call: JavaScript writes the token into a shared buffer and gets a number
//! back. JSON carries the rest: a verdict after a fetch, a refusal, and a request in which more
//! than the `Authorization` field matters.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgepass_jose::Jwk;
use edgepass_jose::json::JsonObject;
use edgepass_verify::documents::fetch::FetchOrder;
use edgepass_verify::documents::refused::Cause;
use edgepass_verify::verdict::Challenge;
use edgepass_verify::verifier::Progress;
use edgepass_verify::{
    Check, Request, Requirements, UnixMillis, Verdict, VerifyError, known_answer,
};
use edgepass_web::crypto;
use edgepass_web::{
    Background, CacheTier, Clock, IsolateReplay, Judged, ReplayStore, RequestOptions, Source,
    WebVerifier,
};
use js_sys::{Array, Function, Promise};
use serde_json::json;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::replay::HostReplay;
use crate::{config, verdict};

/// One verifier and its shared memory. `Engine` in engine.ts is its counterpart.
#[wasm_bindgen]
pub struct Core(Rc<State>);

struct State {
    verifier: WebVerifier,
    /// The buffer into which JavaScript writes tokens.
    text: RefCell<Vec<u8>>,
    requirements: RefCell<Vec<Arc<Requirements>>>,
    /// Checks that wait for JavaScript, by slot; `None` is a free slot.
    waiting: RefCell<Vec<Option<(Check, Progress)>>>,
    /// Keys that JavaScript imports, by number.
    host_keys: RefCell<Vec<Jwk>>,
    /// The last verdict that was decided without waiting, for [`Core::verdict`] and
    /// [`Core::refresh`].
    last: RefCell<Option<Verdict>>,
    /// Refusals that JavaScript has, by number less one, so that they cross only once.
    refusals: RefCell<Vec<KnownRefusal>>,
    facts: Cell<Facts>,
}

/// What the text of a refusal depends on, where that is neither a status nor a nonce.
type KnownRefusal = (VerifyError, Challenge, Option<Cause>, bool);

/// Numbers that belong to a returned number (`answer`). `FACT` in engine.ts has their positions.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Facts {
    /// Confirmation time of the token's status list, in milliseconds since the epoch.
    confirmed_at: f64,
    /// For a signature that JavaScript checks: the number of the key, then addresses and lengths in
    /// bytes.
    key: f64,
    input: f64,
    input_length: f64,
    signature: f64,
    signature_length: f64,
}

/// Bits of a returned number: one kind (0 to 3), flags, and from `SLOT_SHIFT` on the slot of the
/// waiting check, or the number of a refusal: 0 if it has none.
mod answer {
    pub(super) const ACCEPTED: u32 = 0;
    pub(super) const REFUSED: u32 = 1;
    pub(super) const CHECK_SIGNATURE: u32 = 2;
    pub(super) const WAIT: u32 = 3;
    pub(super) const STALE: u32 = 1 << 3;
    pub(super) const HAS_STATUS: u32 = 1 << 4;
    pub(super) const REFRESH_DUE: u32 = 1 << 5;
    pub(super) const STATUS_STALE: u32 = 1 << 6;
    pub(super) const WATCH_DUE: u32 = 1 << 7;
    pub(super) const SIGNED: u32 = 1 << 8;
    pub(super) const SLOT_SHIFT: u32 = 9;
}

thread_local! {
    /// Whether the self-test has passed.
    static TESTED: Cell<bool> = const { Cell::new(false) };
}

/// The most requirements, and the most keys, that have a number at one time.
const MAX_NUMBERED: usize = 256;
/// The most refusals that have a number.
const MAX_REFUSALS: usize = 64;

#[wasm_bindgen]
impl Core {
    /// Makes a verifier from its options in JSON. Does no I/O. Throws when the options cannot be
    /// used, and when the self-test fails.
    #[wasm_bindgen(constructor)]
    pub fn new(
        trust: &str,
        cache_api: bool,
        fetch: Option<Function>,
        first_use: Option<Function>,
        user_agent: Option<String>,
        has_cache_mode: bool,
        on_event: Option<Function>,
    ) -> Result<Core, JsError> {
        if !TESTED.get() {
            if !known_answer::holds() {
                return Err(JsError::new("the self-test of the Wasm module failed"));
            }
            TESTED.set(true);
        }
        let verifier = config::read_trust(trust)?;
        // Room for the longest token and its scheme, and one octet more to notice a longer token.
        let text = vec![0; verifier.max_token_bytes().saturating_add(SCHEME_BYTES)];
        let replay: Box<dyn ReplayStore> = match first_use {
            None => Box::new(IsolateReplay::default()),
            Some(first_use) => Box::new(HostReplay::new(first_use)),
        };
        let cache = if cache_api { CacheTier::CacheApi } else { CacheTier::None };
        Ok(Self(Rc::new(State {
            verifier: WebVerifier::new(
                verifier,
                replay,
                cache,
                (
                    fetch.map_or(Source::Host, Source::Own),
                    RequestOptions { user_agent, has_cache_mode, on_event },
                ),
            ),
            text: RefCell::new(text),
            requirements: RefCell::default(),
            waiting: RefCell::default(),
            host_keys: RefCell::default(),
            last: RefCell::default(),
            refusals: RefCell::default(),
            facts: Cell::default(),
        })))
    }

    /// The address of the token buffer.
    pub fn text(&self) -> *const u8 {
        self.0.text.borrow().as_ptr()
    }

    /// The length of the token buffer, in bytes.
    pub fn text_length(&self) -> usize {
        self.0.text.borrow().len()
    }

    /// The address of the numbers that belong to an answer.
    pub fn facts(&self) -> *const f64 {
        self.0.facts.as_ptr().cast()
    }

    /// Stores requirements, in JSON, and returns their number. Undefined when `MAX_NUMBERED`
    /// are stored: then all are dropped, and the caller stores its requirements again.
    pub fn requirements(&self, text: &str) -> Result<Option<usize>, JsError> {
        let requirements = config::read_requirements(text)?;
        self.0.verifier.check_requirements(&requirements)?;
        let mut numbered = self.0.requirements.borrow_mut();
        if numbered.len() >= MAX_NUMBERED {
            numbered.clear();
            return Ok(None);
        }
        numbered.push(Arc::new(requirements));
        Ok(numbered.len().checked_sub(1))
    }

    /// Judges the text in the buffer as far as that needs nothing from the host. The text is
    /// `length` bytes long, and is an `Authorization` field if `is_field`, else a token. `now` is
    /// in milliseconds since the epoch. Returns the bits of `answer`.
    pub fn begin(
        &self,
        length: usize,
        is_field: bool,
        requirements: usize,
        now: f64,
    ) -> Result<u32, JsError> {
        let state = &self.0;
        let requirements = state.requirements(requirements)?;
        let text = state.text.borrow();
        // JavaScript writes UTF-8. Other octets are judged as an empty text, which is refused.
        let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok());
        let text = text.unwrap_or_default();
        let check = if is_field {
            let authorization = Some(text.to_owned());
            let request = Request { authorization, ..Request::default() };
            state.verifier.begin_request(request, requirements)
        } else {
            state.verifier.begin(text, requirements)
        };
        Ok(state.go_on(check, millis(now)))
    }

    /// Continues a check with the result of the signature check by JavaScript. `now` is in
    /// milliseconds since the epoch. Returns the bits of `answer`.
    pub fn signature_checked(&self, slot: usize, valid: bool, now: f64) -> Result<u32, JsError> {
        let (mut check, _) = self.0.take(slot)?;
        check.signature_checked(valid);
        Ok(self.0.go_on(check, millis(now)))
    }

    /// The key with this number as `[JWK, algorithm]`, in the form that WebCrypto takes.
    pub fn host_key(&self, number: usize) -> Result<JsValue, JsValue> {
        let keys = self.0.host_keys.borrow();
        let key = keys.get(number).ok_or(JsValue::UNDEFINED)?;
        Ok(Array::of2(&crypto::jwk(key.key())?, &crypto::algorithm(key.algorithm())?).into())
    }

    /// The last verdict of [`Core::begin`] or [`Core::signature_checked`], in JSON; undefined
    /// before the first.
    pub fn verdict(&self) -> Option<String> {
        self.0.last.borrow().as_ref().map(verdict::json)
    }

    /// Starts the refreshes that were due at the verdict of [`Core::verdict`], each once. Resolves
    /// when they are done; undefined when there are none. `replayed` as in [`Core::resume`].
    pub fn refresh(&self, replayed: Option<f64>) -> Option<Promise> {
        let due = self.0.take_due();
        promised(self.0.verifier.refresh(due, clock(replayed)))
    }

    /// Whether [`Core::ed25519_answered`] would help.
    pub fn asks_about_ed25519(&self) -> bool {
        self.0.verifier.asks_about_ed25519()
    }

    /// Says whether the host functions of JavaScript decide as this crate about `ed25519_questions`.
    pub fn ed25519_answered(&self, agrees: bool) {
        self.0.verifier.ed25519_answered(agrees);
    }

    /// Starts work that makes later checks faster: tables and prefetched lists. Resolves when it is
    /// done; undefined when none is due or it is running already.
    pub fn work(&self) -> Option<Promise> {
        promised(self.0.verifier.work(Clock::Host))
    }

    /// Waits for status heads, for at most 25 s. Resolves when that is over; undefined when no watch is
    /// due.
    pub fn watch(&self) -> Option<Promise> {
        promised(self.0.verifier.watch(WATCH_LIMIT, Clock::Host))
    }

    /// Fetches the JWK Sets that are not fresh. Resolves to whether one of every issuer is held.
    pub fn warm(&self) -> Promise {
        let verifier = self.0.verifier.clone();
        future_to_promise(async move { Ok(verifier.warm(Clock::Host).await.into()) })
    }

    /// Continues a waiting check. Resolves to `[verdict in JSON, background work]`; the work is a
    /// promise, or undefined if there is none. With `replayed`, in milliseconds since the epoch,
    /// the clock starts at that time.
    pub fn resume(&self, slot: usize, replayed: Option<f64>) -> Result<Promise, JsError> {
        let (check, progress) = self.0.take(slot)?;
        let (verifier, clock) = (self.0.verifier.clone(), clock(replayed));
        Ok(future_to_promise(async move { Ok(told(verifier.go_on(check, progress, clock).await)) }))
    }

    /// Judges a request in JSON. Resolves as [`Core::resume`] does.
    pub fn verify_request(
        &self,
        request: &str,
        requirements: usize,
        replayed: Option<f64>,
    ) -> Result<Promise, JsError> {
        let request = config::read_request(request)?;
        let requirements = self.0.requirements(requirements)?;
        let (verifier, clock) = (self.0.verifier.clone(), clock(replayed));
        Ok(future_to_promise(async move {
            let check = verifier.begin_request(request, requirements);
            Ok(told(verifier.judge(check, clock).await))
        }))
    }

    /// The counters in JSON, as `Counters` in verifier.ts.
    pub fn counters(&self) -> String {
        let counters = self.0.verifier.counters();
        let refused: JsonObject = counters
            .refused
            .iter()
            .map(|(refused, count)| (refused.name().to_owned(), count.into()))
            .collect();
        json!({
            "remembered": counters.remembered,
            "faults": counters.faults,
            "tableBytes": counters.table_bytes,
            "lists": counters.lists,
            "listBytes": counters.list_bytes,
            "stale": counters.stale,
            "aged": counters.aged,
            "clock": counters.clock,
            "watches": counters.watches,
            "refused": refused,
        })
        .to_string()
    }
}

/// The time for which one call of [`Core::watch`] waits: Workers end work 30 s after the response.
const WATCH_LIMIT: Duration = Duration::from_secs(25);

/// Room for `Bearer` and white space before a token, and one octet more, in bytes.
const SCHEME_BYTES: usize = 64;

impl State {
    /// The requirements with this number; an unknown number is an error.
    fn requirements(&self, number: usize) -> Result<Arc<Requirements>, JsError> {
        let requirements = self.requirements.borrow();
        requirements
            .get(number)
            .cloned()
            .ok_or_else(|| JsError::new("no requirements have this number"))
    }

    fn take(&self, slot: usize) -> Result<(Check, Progress), JsError> {
        let mut waiting = self.waiting.borrow_mut();
        let taken = waiting.get_mut(slot).and_then(Option::take);
        taken.ok_or_else(|| JsError::new("no check waits in this slot"))
    }

    fn go_on(&self, mut check: Check, now: UnixMillis) -> u32 {
        match self.verifier.advance(&mut check, now) {
            Progress::Decided(verdict) => self.decided(verdict, now),
            Progress::CheckSignature(request) => {
                let Some(key) = self.number_of(&request.key) else {
                    return self.wait(check, Progress::CheckSignature(request), answer::WAIT);
                };
                let (input, signature) = (request.signing_input(), request.signature());
                self.facts.set(Facts {
                    key: key as f64,
                    input: input.as_ptr() as usize as f64,
                    input_length: input.len() as f64,
                    signature: signature.as_ptr() as usize as f64,
                    signature_length: signature.len() as f64,
                    ..Facts::default()
                });
                self.wait(check, Progress::CheckSignature(request), answer::CHECK_SIGNATURE)
            }
            progress => self.wait(check, progress, answer::WAIT),
        }
    }

    fn decided(&self, verdict: Verdict, now: UnixMillis) -> u32 {
        let mut answer = if verdict.accepted() { answer::ACCEPTED } else { answer::REFUSED };
        if verdict.stale {
            answer |= answer::STALE;
        }
        if let Some(report) = verdict.status {
            answer |= answer::HAS_STATUS;
            if report.stale {
                answer |= answer::STATUS_STALE;
            }
            self.facts
                .set(Facts { confirmed_at: report.confirmed_at.0 as f64, ..Facts::default() });
        }
        if !verdict.refresh.is_empty() {
            answer |= answer::REFRESH_DUE;
        }
        if self.verifier.wants_watch(now) {
            answer |= answer::WATCH_DUE;
        }
        if verdict.signed_claims().is_some() {
            answer |= answer::SIGNED;
        }
        answer |= self.number_of_refusal(&verdict) << answer::SLOT_SHIFT;
        self.last.replace(Some(verdict));
        answer
    }

    fn wait(&self, check: Check, progress: Progress, answer: u32) -> u32 {
        let mut waiting = self.waiting.borrow_mut();
        let slot = waiting.iter().position(Option::is_none).unwrap_or_else(|| {
            waiting.push(None);
            waiting.len().saturating_sub(1)
        });
        if let Some(place) = waiting.get_mut(slot) {
            *place = Some((check, progress));
        }
        answer | (slot as u32) << answer::SLOT_SHIFT
    }

    /// The number of a key that JavaScript imports. `None` for a new key when [`MAX_NUMBERED`] have
    /// one.
    fn number_of(&self, key: &Jwk) -> Option<usize> {
        let mut keys = self.host_keys.borrow_mut();
        let held = keys.iter().position(|held| held == key);
        if held.is_none() && keys.len() < MAX_NUMBERED {
            keys.push(key.clone());
            return keys.len().checked_sub(1);
        }
        held
    }

    /// The number of a refusal. 0: it has none, or is no refusal.
    fn number_of_refusal(&self, verdict: &Verdict) -> u32 {
        let Some(error) = verdict.error() else { return 0 };
        if verdict.status.is_some() || verdict.challenge.dpop_nonce.is_some() {
            return 0;
        }
        let mut known = self.refusals.borrow_mut();
        let is_same = |(other, challenge, cause, stale): &KnownRefusal| {
            (other, challenge, *cause, *stale)
                == (error, &verdict.challenge, verdict.cause, verdict.stale)
        };
        let at = known.iter().position(is_same);
        let at = at.or_else(|| {
            (known.len() < MAX_REFUSALS).then(|| {
                let challenge = verdict.challenge.clone();
                known.push((error.clone(), challenge, verdict.cause, verdict.stale));
                known.len().saturating_sub(1)
            })
        });
        at.map_or(0, |at| at.saturating_add(1) as u32)
    }

    fn take_due(&self) -> Vec<FetchOrder> {
        let mut last = self.last.borrow_mut();
        last.as_mut().map(|verdict| std::mem::take(&mut verdict.refresh)).unwrap_or_default()
    }
}

fn told(judged: Judged) -> JsValue {
    let json = verdict::json(&judged.verdict);
    let work = promised(judged.background).map_or(JsValue::UNDEFINED, Into::into);
    Array::of2(&json.into(), &work).into()
}

fn promised(work: Option<Background>) -> Option<Promise> {
    work.map(|work| {
        future_to_promise(async move {
            work.await;
            Ok(JsValue::UNDEFINED)
        })
    })
}

fn clock(replayed: Option<f64>) -> Clock {
    replayed.map_or(Clock::Host, |now| Clock::starting_at(millis(now)))
}

/// Whole milliseconds since the epoch. The TypeScript side checks the range of the option `now`.
fn millis(now: f64) -> UnixMillis {
    UnixMillis(now as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::mem::{offset_of, size_of};

    use edgepass_verify::error::Step;

    use super::*;

    const ENGINE: &str = include_str!("../lib/engine.ts");
    const VERDICT: &str = include_str!("../lib/verdict.ts");

    /// The members of a constant in engine.ts, all of them numbers.
    fn numbers(name: &str) -> BTreeMap<&'static str, u32> {
        let written = ENGINE.split(&format!("export const {name} = {{")).nth(1).unwrap();
        let members = written.split('}').next().unwrap().split(',');
        let members = members.filter_map(|member| member.trim().split_once(": "));
        let number = |text: &str| match (text.strip_prefix("0b"), text.split_once(" << ")) {
            (Some(bits), _) => u32::from_str_radix(bits, 2).unwrap(),
            (None, Some((one, by))) => one.parse::<u32>().unwrap() << by.parse::<u32>().unwrap(),
            (None, None) => text.parse().unwrap(),
        };
        members.map(|(name, text)| (name, number(text))).collect()
    }

    /// The string literals of a union type in verdict.ts.
    fn union(name: &str) -> Vec<&'static str> {
        let written = VERDICT.split(&format!("export type {name} =")).nth(1).unwrap();
        written.split(';').next().unwrap().split('\'').skip(1).step_by(2).collect()
    }

    #[test]
    fn both_sides_mean_the_same_by_a_number() {
        let answers = BTreeMap::from([
            ("KIND", 0b111),
            ("ACCEPTED", answer::ACCEPTED),
            ("REFUSED", answer::REFUSED),
            ("CHECK_SIGNATURE", answer::CHECK_SIGNATURE),
            ("WAIT", answer::WAIT),
            ("STALE", answer::STALE),
            ("HAS_STATUS", answer::HAS_STATUS),
            ("REFRESH_DUE", answer::REFRESH_DUE),
            ("STATUS_STALE", answer::STATUS_STALE),
            ("WATCH_DUE", answer::WATCH_DUE),
            ("SIGNED", answer::SIGNED),
            ("SLOT_SHIFT", answer::SLOT_SHIFT),
        ]);
        assert_eq!(numbers("ANSWER"), answers);
        let facts = BTreeMap::from([
            ("CONFIRMED_AT", offset_of!(Facts, confirmed_at)),
            ("KEY", offset_of!(Facts, key)),
            ("INPUT", offset_of!(Facts, input)),
            ("INPUT_LENGTH", offset_of!(Facts, input_length)),
            ("SIGNATURE", offset_of!(Facts, signature)),
            ("SIGNATURE_LENGTH", offset_of!(Facts, signature_length)),
            ("COUNT", size_of::<Facts>()),
        ]);
        let of_eight = |octets: usize| u32::try_from(octets / 8).unwrap();
        let facts = facts.into_iter().map(|(name, octets)| (name, of_eight(octets))).collect();
        assert_eq!(numbers("FACT"), facts);
    }

    #[test]
    fn the_types_name_every_code_and_step_in_order() {
        let source = include_str!("../../crates/verify/src/error.rs");
        let codes = source.split("pub fn code(").nth(1).unwrap().split("pub fn ").next().unwrap();
        let codes: Vec<&str> = codes.split('"').skip(1).step_by(2).collect();
        assert!(codes.len() > 20, "{codes:?}");
        assert_eq!(union("Code"), codes);
        assert_eq!(union("Step"), Step::ALL.map(Step::name));
    }
}
