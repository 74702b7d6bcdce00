//! `POST /usage-reports`: guards report how tokens are used. Reports that arrive together share a
//! transaction, and each is answered once it is durable.

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::config::OWN_CLIENTS;
use edgepass_issuer::misuse::Rules;
use edgepass_issuer::usage::{AHEAD_MS, OLDEST_MS, Outcome, Reported};
use edgepass_usage::Report;
use edgepass_usage::limits::MAX_BYTES;
use flate2::read::GzDecoder;
use serde_json::json;
use tokio::sync::oneshot;

use crate::admin::{Head, USAGE, answer, authorize_client};
use crate::oauth::error::OauthError;
use crate::{App, error_chain, misuse};

/// The largest body as it is sent, in bytes.
const MAX_SENT: usize = 256 << 10;
/// Reports that may wait, with the one that is being written.
const MAX_WAITING: usize = 512;
/// Rows of one transaction, unless a single report has more. While it is written no token is recorded.
const MAX_ROWS: usize = 3_000;
/// How long the first report waits for others.
const GATHER: Duration = Duration::from_millis(50);

/// The reports that wait to be written.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    reports: Vec<(Reported, oneshot::Sender<Option<Outcome>>)>,
    /// Whether a task writes them.
    is_written: bool,
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reports of the next transaction. None left: whoever adds the next one starts another task.
    fn next(&self) -> Vec<(Reported, oneshot::Sender<Option<Outcome>>)> {
        let mut queue = self.lock();
        let mut rows = 0_usize;
        let within = queue.reports.iter().take_while(|(reported, _)| {
            let is_first = rows == 0;
            rows = rows.saturating_add(rows_of(&reported.report));
            is_first || rows <= MAX_ROWS
        });
        let count = within.count();
        let next: Vec<_> = queue.reports.drain(..count).collect();
        queue.is_written = !next.is_empty();
        next
    }
}

fn rows_of(report: &Report) -> usize {
    report.uses.len().saturating_add(report.folded.len()).saturating_add(1)
}

/// `POST /usage-reports`. 202 with `{"repeated", "foreign"}` once the report is durable.
pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let taken = async {
        let client_id = authorize_client(&app, &head, USAGE).await?;
        let policy = app.issuer.policy();
        let audiences = policy.client(&client_id).map(|client| client.reports_use_of.clone());
        let audiences = audiences.filter(|audiences| !audiences.is_empty()).ok_or(
            OauthError::UnauthorizedClient(
                "the client may not report: reports_use_of names no audience",
            ),
        )?;
        let report = read(head.headers(), body).await?;
        let at_ms = (app.host.now)().0;
        check(&report, app.issuer.issuer(), at_ms)?;
        let uses = report.total();
        let outcome = add(&app, Reported { report, reporter: client_id, audiences, at_ms }).await?;
        app.metrics.usage_reported(outcome, uses);
        Ok(match outcome {
            Outcome::Taken { foreign } => json!({ "repeated": false, "foreign": foreign }),
            Outcome::Repeated => json!({ "repeated": true, "foreign": 0 }),
        })
    };
    match taken.await {
        Ok(body) => (StatusCode::ACCEPTED, answer(body)).into_response(),
        Err(error) => OauthError::into_response(error),
    }
}

/// Reads a report, compressed or not.
async fn read(headers: &HeaderMap, body: Body) -> Result<Report, OauthError> {
    const TOO_LARGE: OauthError = OauthError::InvalidRequest(
        "send a report of at most 256 KiB, and of at most 2 MiB when it is not compressed",
    );
    let sent = to_bytes(body, MAX_SENT).await.map_err(|_| TOO_LARGE)?;
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    let text = match encoding {
        None => sent.into(),
        Some(b"gzip") => {
            let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
            let mut text = Vec::new();
            let mut read = GzDecoder::new(sent.as_ref()).take(most.saturating_add(1));
            read.read_to_end(&mut text)
                .map_err(|_| OauthError::InvalidRequest("the body is not compressed by gzip"))?;
            text
        }
        Some(_) => {
            return Err(OauthError::InvalidRequest("send Content-Encoding: gzip, or none"));
        }
    };
    if text.len() > MAX_BYTES {
        return Err(TOO_LARGE);
    }
    serde_json::from_slice(&text).map_err(|_| {
        OauthError::InvalidRequest("send a report of use in the form that docs/usage.md describes")
    })
}

fn check(report: &Report, issuer: &str, now_ms: u64) -> Result<(), OauthError> {
    const LIMITS: OauthError =
        OauthError::InvalidRequest("the report is outside its limits: docs/usage.md has them");
    report.check().map_err(|_| LIMITS)?;
    if report.issuer != issuer {
        return Err(OauthError::InvalidRequest("the report is about another issuer"));
    }
    if report.to_ms > now_ms.saturating_add(AHEAD_MS) {
        return Err(OauthError::InvalidRequest(
            "the report is from the future: the clock of its sender or of this issuer is wrong",
        ));
    }
    let is_old = |ms: u64| ms < now_ms.saturating_sub(OLDEST_MS);
    if is_old(report.to_ms) || is_old(report.from_ms) {
        return Err(OauthError::InvalidRequest("the report is more than a day old"));
    }
    Ok(())
}

/// Has a report written, and waits until it is durable.
async fn add<S: Store>(app: &Arc<App<S>>, reported: Reported) -> Result<Outcome, OauthError> {
    const UNAVAILABLE: OauthError = OauthError::Unavailable("no report can be recorded now");
    let (sender, told) = oneshot::channel();
    let is_written = {
        let mut queue = app.usage.lock();
        if queue.reports.len() >= MAX_WAITING {
            return Err(UNAVAILABLE);
        }
        queue.reports.push((reported, sender));
        std::mem::replace(&mut queue.is_written, true)
    };
    if !is_written {
        let app = Arc::clone(app);
        tokio::spawn(async move {
            tokio::time::sleep(GATHER).await;
            loop {
                let next = app.usage.next();
                if next.is_empty() {
                    return;
                }
                write(&app, next).await;
            }
        });
    }
    told.await.ok().flatten().ok_or(UNAVAILABLE)
}

/// Writes reports in one transaction, and tells each request the outcome.
async fn write<S: Store>(
    app: &Arc<App<S>>,
    reports: Vec<(Reported, oneshot::Sender<Option<Outcome>>)>,
) {
    let (reports, senders): (Vec<_>, Vec<_>) = reports.into_iter().unzip();
    let policy = app.issuer.policy();
    let clients = policy.clients.iter().map(|client| client.id.as_str());
    let federations = policy.federations.iter().map(|federation| federation.name.as_str());
    let clients: Vec<&str> = clients.chain(federations).chain(OWN_CLIENTS).collect();
    let now_ms = (app.host.now)().0;
    let rules = Rules {
        rules: &policy.misuse,
        brakes: &policy.brakes,
        clients: &clients,
        policy: policy.number(),
        now_ms,
    };
    let (outcomes, findings) = match app.issuer.store().add_usage(&reports, &rules).await {
        Ok((outcomes, findings)) => (outcomes.into_iter().map(Some).collect(), findings),
        Err(error) => {
            tracing::error!(error = %error_chain(&error), "reports of use not recorded");
            (vec![None; senders.len()], Vec::new())
        }
    };
    for (sender, outcome) in senders.into_iter().zip(outcomes) {
        let _ = sender.send(outcome);
    }
    if !findings.is_empty() {
        // Publication may take seconds; reports do not wait for it.
        let app = Arc::clone(app);
        tokio::spawn(async move {
            for finding in findings {
                misuse::carry_out(&app, finding.id).await;
            }
        });
    }
}
