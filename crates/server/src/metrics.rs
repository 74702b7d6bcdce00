//! Metrics. Labels come from the issuer's policy and its own codes, never from a request's text.

use edgepass_issuer::misuse;
use edgepass_issuer::usage::Outcome;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub(crate) struct Metrics {
    registry: Registry,
    issued: Family<[(&'static str, String); 1], Counter>,
    refused: Family<[(&'static str, String); 1], Counter>,
    changed: Counter,
    lists: Gauge,
    audit_log: Gauge,
    fetched_back: Family<[(&'static str, String); 1], Counter>,
    watches: Gauge,
    clock_differences: Counter,
    usage_reports: Family<[(&'static str, String); 1], Counter>,
    usage: Counter,
    findings: Family<[(&'static str, String); 2], Counter>,
}

/// A request that waits for the status head.
pub(crate) struct Held(Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The outcome of fetching a published document by its public URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FetchedBack {
    Same,
    Different,
    Unreachable,
    /// Not compared: the issuer has replaced or withdrawn the document since.
    Replaced,
}

impl FetchedBack {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Unreachable => "unreachable",
            Self::Replaced => "replaced",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("edgepass");
        let issued = Family::default();
        let refused = Family::default();
        let changed = Counter::default();
        let lists = Gauge::default();
        registry.register("tokens_issued", "Tokens issued over HTTP, by role", issued.clone());
        registry.register(
            "token_requests_refused",
            "Token requests refused, by OAuth error code",
            refused.clone(),
        );
        registry.register(
            "statuses_changed",
            "Tokens revoked, suspended or resumed over HTTP",
            changed.clone(),
        );
        registry.register("status_lists", "Status lists being served", lists.clone());
        let audit_log = Gauge::default();
        registry.register(
            "audit_log_size",
            "Entries of the audit trail that the newest checkpoint of its log covers",
            audit_log.clone(),
        );
        let fetched_back = Family::default();
        registry.register(
            "fetched_back",
            "Published documents fetched back by their public URI, by outcome",
            fetched_back.clone(),
        );
        let watches = Gauge::default();
        registry.register(
            "status_head_watches",
            "Requests that wait for the next status head",
            watches.clone(),
        );
        let clock_differences = Counter::default();
        registry.register(
            "clock_differences",
            "Documents fetched back whose Date shows that this machine's clock is wrong by some seconds",
            clock_differences.clone(),
        );
        let usage_reports = Family::default();
        registry.register(
            "usage_reports",
            "Reports of use that guards sent, by outcome",
            usage_reports.clone(),
        );
        let usage = Counter::default();
        registry.register("uses", "Requests with tokens that reports counted", usage.clone());
        let findings = Family::default();
        registry.register(
            "findings",
            "What rules about misuse found, by rule and outcome",
            findings.clone(),
        );
        Self {
            findings,
            usage_reports,
            usage,
            registry,
            issued,
            refused,
            changed,
            lists,
            audit_log,
            fetched_back,
            watches,
            clock_differences,
        }
    }
}

impl Metrics {
    pub(crate) fn token_issued(&self, role: &str) {
        self.issued.get_or_create(&[("role", role.to_owned())]).inc();
    }

    pub(crate) fn token_refused(&self, code: &str) {
        self.refused.get_or_create(&[("error", code.to_owned())]).inc();
    }

    pub(crate) fn statuses_changed(&self, count: u64) {
        self.changed.inc_by(count);
    }

    pub(crate) fn fetched_back(&self, outcome: FetchedBack) {
        self.fetched_back.get_or_create(&[("outcome", outcome.name().to_owned())]).inc();
    }

    pub(crate) fn usage_reported(&self, outcome: Outcome, uses: u64) {
        let name = match outcome {
            Outcome::Taken { foreign } => {
                self.usage.inc_by(uses.saturating_sub(foreign));
                "taken"
            }
            Outcome::Repeated => "repeated",
        };
        self.usage_reports.get_or_create(&[("outcome", name.to_owned())]).inc();
    }

    pub(crate) fn found(&self, rule: &str, outcome: misuse::Outcome) {
        let labels = [("rule", rule.to_owned()), ("outcome", outcome.name().to_owned())];
        self.findings.get_or_create(&labels).inc();
    }

    pub(crate) fn clock_differs(&self) {
        self.clock_differences.inc();
    }

    /// Counts a request that waits for the status head, until the returned value is dropped.
    pub(crate) fn watch(&self) -> Held {
        self.watches.inc();
        Held(self.watches.clone())
    }

    pub(crate) fn set_lists(&self, count: usize) {
        self.lists.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_audit_log(&self, size: u64) {
        self.audit_log.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
