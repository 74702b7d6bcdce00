//! Counts how tokens are used, and reports it to the issuer behind responses. Nothing here delays or refuses
//! a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use edgepass_jose::base64url;
use edgepass_usage::limits::{MAX_CODES, MAX_TEXT};
use edgepass_usage::{ACCEPTED, Counted, Header, Place, Route as UsedRoute, Table, Written};
use edgepass_verify::{UnixMillis, Verdict};
use edgepass_web::clock::sleep;
use edgepass_web::{Background, Clock};
use hmac::{Hmac, KeyInit, Mac};
use js_sys::{Function, Promise};
use sha2::Sha256;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::incoming::Incoming;
use crate::policy::{Access, GuardPolicy, Route};
use crate::settings::Settings;

#[wasm_bindgen(module = "/src/usage.js")]
extern "C" {
    fn sender(
        taker: &JsValue,
        is_queue: bool,
        dataset: &JsValue,
        issuer: &str,
        id: &str,
        secret: &str,
        agent: &str,
    ) -> Function;

    fn random() -> String;
}

/// The settings of the reports.
pub(crate) struct UsageSettings {
    /// The issuer whose tokens are counted.
    pub(crate) issuer: String,
    /// The binding `USAGE`, or with a client the service that leads to the issuer, if there is one.
    pub(crate) taker: Option<JsValue>,
    /// Whether that is a Queue.
    pub(crate) is_queue: bool,
    /// `client_id` and secret of the guard, if it reports to the issuer itself.
    pub(crate) client: Option<(String, String)>,
    /// A dataset of Analytics Engine that gets the counts as well: the binding `USAGE_DATASET`.
    pub(crate) dataset: Option<JsValue>,
    /// The key under which addresses are hashed. Without one, reports have no addresses.
    pub(crate) address_key: Option<String>,
    /// How long uses are counted before they are reported.
    pub(crate) interval: Duration,
    /// The `User-Agent` of requests to the issuer.
    pub(crate) user_agent: String,
}

/// The counts of this isolate, and the report that is under way.
pub(crate) struct Usage {
    issuer: String,
    address_key: Option<String>,
    interval_ms: u64,
    send: Function,
    table: RefCell<Table>,
    /// The name that the isolate gave itself. Empty before its first report.
    isolate: RefCell<String>,
    /// The number of the last report.
    number: Cell<u64>,
    /// A report that nobody has taken yet, and how often it was sent.
    report: RefCell<Option<(Written, u32)>>,
    /// When a report was last sent. `None`: never.
    sent_at: Cell<Option<UnixMillis>>,
    /// Whether it is under way. The request that sends it may have been cancelled.
    is_sending: Cell<bool>,
    pub(crate) counts: ReportCounts,
}

/// Reports so far.
#[derive(Default)]
pub(crate) struct ReportCounts {
    /// Reports that were taken.
    pub(crate) taken: Cell<u64>,
    /// Attempts that failed.
    pub(crate) failed: Cell<u64>,
    /// Uses in reports that were given up.
    pub(crate) lost: Cell<u64>,
}

/// How often a report is sent before it is given up.
const ATTEMPTS: u32 = 10;
/// Time after which another request may send, in milliseconds: all timeouts are over by then.
const TAKEN_OVER_AFTER_MS: u64 = 25_000;

impl Usage {
    pub(crate) fn new(settings: UsageSettings) -> Self {
        let UsageSettings {
            issuer,
            taker,
            is_queue,
            client,
            dataset,
            address_key,
            interval,
            user_agent,
        } = settings;
        let (id, secret) = client.unwrap_or_default();
        let send = sender(
            &taker.unwrap_or_default(),
            is_queue,
            &dataset.unwrap_or_default(),
            &issuer,
            &id,
            &secret,
            &user_agent,
        );
        Self {
            issuer,
            address_key,
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            send,
            table: RefCell::default(),
            isolate: RefCell::default(),
            number: Cell::new(0),
            report: RefCell::default(),
            sent_at: Cell::new(None),
            is_sending: Cell::new(false),
            counts: ReportCounts::default(),
        }
    }

    /// The issuer whose tokens are counted.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Counts a request with a token that the issuer signed. `code` replaces that of the verdict.
    pub(crate) fn count(
        &self,
        verdict: &Verdict,
        code: Option<&'static str>,
        route: usize,
        request: &Incoming<'_>,
        now: UnixMillis,
    ) {
        let Some(token) = verdict.token_name() else { return };
        if token.issuer != self.issuer {
            return;
        }
        let code = code.or_else(|| verdict.error().map(|error| error.code()));
        let counted = Counted {
            jwt_id: token.jwt_id,
            client_id: token.client_id,
            scope: token.scope,
            route: u32::try_from(route).unwrap_or(u32::MAX),
            code: code.unwrap_or(ACCEPTED),
            place: &self.place(request),
        };
        self.table.borrow_mut().count(&counted, now.0);
    }

    /// The number of requests that are counted, but not reported yet.
    pub(crate) fn counted(&self) -> u64 {
        let waiting = self.report.borrow().as_ref().map_or(0, |(report, _)| report.total);
        waiting.saturating_add(self.table.borrow().total())
    }

    fn place(&self, request: &Incoming<'_>) -> Place {
        let country = request.network.country;
        let country = country.and_then(|country| String::from_utf8(country.to_vec()).ok());
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let address = self.address_key.as_ref().zip(request.network.address);
        let address = address.and_then(|(key, address)| {
            let mut hash = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
            hash.update(address.to_string().as_bytes());
            let hash = hash.finalize().into_bytes();
            hash.get(..ADDRESS_BYTES).map(base64url::encode)
        });
        Place {
            country,
            asn: request.network.asn,
            colo: text(request.colo),
            tls: text(request.tls),
            at: text(request.position),
            address,
        }
    }

    /// Work that sends a report, to run after the response. `None`: none is due, or another request sends it.
    pub(crate) fn due(self: &Rc<Self>, clock: Clock) -> Option<Background> {
        let now = clock.now();
        let passed = self.sent_at.get().map(|at| now.0.saturating_sub(at.0));
        let has_time = |least: u64| passed.is_none_or(|passed| passed >= least);
        if self.is_sending.get() && !has_time(TAKEN_OVER_AFTER_MS) {
            return None;
        }
        let waits = self.report.borrow().is_some();
        let is_due = waits || self.table.borrow().is_older_than(self.interval_ms, now.0);
        if !has_time(self.interval_ms) || !is_due {
            return None;
        }
        let (usage, settings) = (Rc::clone(self), Settings::held()?);
        self.sent_at.set(Some(now));
        self.is_sending.set(true);
        Some(Box::pin(async move {
            // The response goes first.
            sleep(Duration::ZERO).await;
            if !waits {
                let report = usage.take(&settings.policy);
                usage.report.replace(report.map(|report| (report, 0)));
            }
            usage.send().await;
            // Another request may have taken over meanwhile.
            if usage.sent_at.get() == Some(now) {
                usage.is_sending.set(false);
            }
        }))
    }

    fn take(&self, policy: &GuardPolicy) -> Option<Written> {
        let number = self.number.get().saturating_add(1);
        let mut isolate = self.isolate.borrow_mut();
        if isolate.is_empty() {
            *isolate = random();
        }
        let lost = self.counts.lost.get();
        let header = Header { isolate: &isolate, number, issuer: &self.issuer, lost };
        let route = |number: u32| {
            let number = usize::try_from(number).ok();
            number.and_then(|number| policy.routes.get(number)).map_or_else(UsedRoute::others, used)
        };
        let report = self.table.borrow_mut().take(&header, route)?;
        self.number.set(number);
        Some(report)
    }

    /// Sends the report that waits, and gives it up if it is refused or has been sent often enough.
    async fn send(&self) {
        let number = self.number.get();
        let sent = {
            let mut waiting = self.report.borrow_mut();
            let Some((report, attempts)) = waiting.as_mut() else { return };
            *attempts = attempts.saturating_add(1);
            let is_first = (*attempts == 1).into();
            self.send.call2(&JsValue::UNDEFINED, &report.text.as_str().into(), &is_first)
        };
        let sent = sent.map(Promise::from);
        let outcome = match sent {
            Ok(sent) => JsFuture::from(sent).await.ok().and_then(|outcome| outcome.as_string()),
            Err(_) => None,
        };
        let mut waiting = self.report.borrow_mut();
        // Sent by another request meanwhile, and another one waits.
        if self.number.get() != number {
            return;
        }
        let Some((report, attempts)) = waiting.as_ref() else { return };
        let add = |count: &Cell<u64>, more: u64| count.set(count.get().saturating_add(more));
        match outcome.as_deref() {
            Some("taken") => {
                add(&self.counts.taken, 1);
                *waiting = None;
            }
            outcome => {
                add(&self.counts.failed, 1);
                if outcome == Some("refused") || *attempts >= ATTEMPTS {
                    add(&self.counts.lost, report.total);
                    *waiting = None;
                }
            }
        }
    }
}

/// Octets of the hash of an address: enough that two addresses in one report hardly have the same.
const ADDRESS_BYTES: usize = 9;

/// A route as the report names it.
fn used(route: &Route) -> UsedRoute {
    let is_scope =
        |scope: &&str| scope.len() <= MAX_TEXT && scope.bytes().all(|it| it.is_ascii_graphic());
    let needs = match &route.access {
        Access::Public => Vec::new(),
        Access::Token(requirements) => {
            let needs = requirements.all_of.iter().chain(requirements.any_of.iter());
            needs.filter(is_scope).take(MAX_CODES).map(str::to_owned).collect()
        }
    };
    let mut name = format!("{} {}", route.methods.join(","), route.path);
    name.retain(|sign| sign.is_ascii_graphic() || sign == ' ');
    name.truncate(MAX_TEXT);
    UsedRoute { name, needs }
}
