//! Counters of the guard: in Workers Analytics Engine if `METRICS` is bound, and at an endpoint if
//! the secret `METRICS_TOKEN` is set. They contain codes, and no text that a client sent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;

use edgepass_verify::{UnixMillis, Verdict};
use edgepass_web::WebVerifier;
use edgepass_web::dictionary::object;
use js_sys::Array;
use subtle::ConstantTimeEq;
use wasm_bindgen::prelude::*;

use crate::settings::Settings;

#[wasm_bindgen]
extern "C" {
    type Dataset;
    #[wasm_bindgen(method, js_name = writeDataPoint, catch)]
    fn write(this: &Dataset, point: &JsValue) -> Result<(), JsValue>;
}

/// Path of the endpoint, which returns the counters of the isolate that answers.
pub(crate) const PATH: &str = "/.edgepass/metrics";

/// The counters of this isolate, and the settings of their two outputs.
pub(crate) struct Metrics {
    /// Counts by code: verdicts, refusals while a route is selected, and failures of the origin.
    /// Other refusals of the guard are not counted.
    verdicts: RefCell<BTreeMap<&'static str, u64>>,
    /// Sockets and long responses that a recheck of the token ended, by code of the refusal.
    ended: RefCell<BTreeMap<&'static str, u64>>,
    /// The binding `METRICS`, a dataset of Workers Analytics Engine.
    dataset: Option<JsValue>,
    /// The secret `METRICS_TOKEN`. Without it the endpoint does not exist.
    token: Option<String>,
}

impl Metrics {
    pub(crate) fn new(dataset: Option<JsValue>, token: Option<String>) -> Self {
        Self { verdicts: RefCell::default(), ended: RefCell::default(), dataset, token }
    }

    /// Counts a verdict, and writes a data point if `METRICS` is bound. The doubles of the point: 1
    /// for a stale verdict, else 0; the ages of the token's list and of the oldest JWK Set in
    /// seconds, -1 if there is none; the number of documents refused so far.
    pub(crate) fn judged(&self, verdict: &Verdict, verifier: &WebVerifier, now: UnixMillis) {
        let code = verdict.error().map_or("accepted", |error| error.code());
        self.count(code);
        let Some(dataset) = &self.dataset else { return };
        let age = |at: Option<UnixMillis>| {
            at.and_then(|at| now.since(at)).map_or(-1.0, |age| age.as_secs_f64())
        };
        let list = age(verdict.status.map(|status| status.confirmed_at));
        let keys = age(verifier.confirmed(now).keys);
        let refused: u64 = verifier.counters().refused.iter().map(|(_, count)| count).sum();
        let doubles = [f64::from(u8::from(verdict.stale)), list, keys, refused as f64];
        let dataset: &Dataset = dataset.unchecked_ref();
        // A lost data point must not fail the request.
        let _ = point(code, &doubles).and_then(|point| dataset.write(&point));
    }

    /// Adds one to the counter of a code.
    pub(crate) fn count(&self, code: &'static str) {
        add_one(&self.verdicts, code);
    }

    /// Counts a socket or a long response that a recheck of its token ended.
    pub(crate) fn count_ended(&self, code: &'static str) {
        add_one(&self.ended, code);
    }

    /// Whether a request with this `Authorization` may read the counters. `None` without the
    /// secret: the endpoint does not exist then.
    pub(crate) fn may_read(&self, authorization: Option<&str>) -> Option<bool> {
        let token = self.token.as_deref()?;
        let shown = authorization.and_then(|field| field.strip_prefix("Bearer "));
        Some(shown.is_some_and(|shown| shown.as_bytes().ct_eq(token.as_bytes()).into()))
    }

    /// Returns the counters in the text format of OpenMetrics.
    pub(crate) fn text(&self, settings: &Settings, now: UnixMillis) -> String {
        let Settings { verifier, list_bytes, usage, .. } = settings;
        let (counters, confirmed) = (verifier.counters(), verifier.confirmed(now));
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, lines: &[(String, String)]| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE edgepass_guard_{name} {kind}");
            let suffix = if kind == "counter" { "_total" } else { "" };
            for (labels, value) in lines {
                let _ = writeln!(text, "edgepass_guard_{name}{suffix}{labels} {value}");
            }
        };
        let plain = |value: u64| vec![(String::new(), value.to_string())];
        let age = |at: Option<UnixMillis>| {
            let age = at.and_then(|at| now.since(at)).map(|age| age.as_millis());
            // Whole milliseconds: code that formats fractions adds many kilobytes to the module.
            age.map(|age| vec![(String::new(), age.to_string())]).unwrap_or_default()
        };
        let labelled = |label: &str, value: &str, count: u64| {
            (format!("{{{label}=\"{value}\"}}"), count.to_string())
        };
        let by_code = |counts: &RefCell<BTreeMap<&'static str, u64>>| -> Vec<_> {
            counts.borrow().iter().map(|(code, count)| labelled("code", code, *count)).collect()
        };
        let refused = counters.refused.iter();
        let refused: Vec<_> =
            refused.map(|(refused, count)| labelled("reason", refused.name(), count)).collect();
        family("verdicts", "counter", &by_code(&self.verdicts));
        family("ended", "counter", &by_code(&self.ended));
        family("refused_documents", "counter", &refused);
        family("stale_verdicts", "counter", &plain(counters.stale));
        family("aged_confirmations", "counter", &plain(counters.aged));
        family("clock_differences", "counter", &plain(counters.clock));
        family("remembered_tokens", "counter", &plain(counters.remembered));
        family("table_faults", "counter", &plain(counters.faults));
        family("table_bytes", "gauge", &plain(counters.table_bytes as u64));
        family("status_lists", "gauge", &plain(counters.lists as u64));
        family("status_list_bytes", "gauge", &plain(counters.list_bytes as u64));
        family("status_list_bytes_limit", "gauge", &plain(*list_bytes));
        family("status_list_age_milliseconds", "gauge", &age(confirmed.lists));
        family("jwk_set_age_milliseconds", "gauge", &age(confirmed.keys));
        family("status_head_age_milliseconds", "gauge", &age(confirmed.heads));
        family("status_head_watches", "gauge", &plain(counters.watches as u64));
        if let Some(usage) = usage {
            let counts = &usage.counts;
            family("usage_reports", "counter", &plain(counts.taken.get()));
            family("usage_reports_failed", "counter", &plain(counts.failed.get()));
            family("usage_lost", "counter", &plain(counts.lost.get()));
            family("usage_counted", "gauge", &plain(usage.counted()));
        }
        text.push_str("# EOF\n");
        text
    }
}

fn add_one(counts: &RefCell<BTreeMap<&'static str, u64>>, code: &'static str) {
    let mut counts = counts.borrow_mut();
    let count = counts.entry(code).or_default();
    *count = count.saturating_add(1);
}

/// Builds a data point with `doubles`. The code is its only blob, and the index by which Analytics
/// Engine samples.
fn point(code: &str, doubles: &[f64]) -> Result<JsValue, JsValue> {
    let code: JsValue = Array::of1(&code.into()).into();
    let doubles: Array = doubles.iter().map(|double| JsValue::from(*double)).collect();
    object(&[("blobs", code.clone()), ("doubles", doubles.into()), ("indexes", code)])
}
