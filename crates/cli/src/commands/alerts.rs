//! `edgepass alerts` and `edgepass undo`, and telling findings to the webhook.

use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use edgepass_issuer::misuse::{Finding, Outcome};
use edgepass_issuer::selection::StatusChange;
use edgepass_issuer::storage::{MisuseStore, Page, TokenStore};
use edgepass_server::App;
use edgepass_server::admin::findings::{NOT_SUSPENDED, NOTHING_RESUMED, UndoRequest, finding};
use edgepass_server::admin::records::PageQuery;
use edgepass_status_list::StatusType;
use edgepass_store::AnyStore;
use edgepass_verify::UnixMillis;
use serde_json::{Value, json};

use super::listing::Window;
use super::source::Source;
use super::status_act;
use crate::exit::Exit;
use crate::webhook::{Webhook, message_id};
use crate::{host, output, remote};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Tell the webhook again of a finding that it has not taken, by its number.
    #[arg(long, value_name = "ID")]
    tell: Option<u64>,
    #[command(flatten)]
    window: Window,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass alerts
  edgepass alerts --follow --json
  edgepass undo 7

Rules in [misuse] of the configuration find misuse in what guards report: docs/misuse.md. OUTCOME says what
followed: done, dry_run, capped (the brakes allowed no more acts), never, failed, undone, unchanged (nothing was
left to do), or alert alone.";

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    if let Some(id) = args.tell {
        let store = super::open_store(&source.load()?).await?;
        if store.finding(id).await?.is_none() {
            bail!("there is no finding {id}; `edgepass alerts` lists them");
        }
        store.set_told(id, None, Some(0)).await?;
        output::line(&format!("a running `edgepass serve` tells the webhook of finding {id}"))?;
        return Ok(Exit::Ok);
    }
    let since_ms = args.window.since_ms()?;
    let keep = |it: &Value| it["at_ms"].as_u64().is_some_and(|at| at >= since_ms);
    let mut has_header = false;
    let print = |findings: Vec<Value>| {
        if json {
            return output::json_lines(&findings);
        }
        let header = !std::mem::replace(&mut has_header, true);
        output::line_if_read(&table(&findings, header))
    };
    let newest_first = !args.window.follow;
    let last = Page::first(true, 1);
    if let Some(remote) = source.remote()? {
        let read = async |page| {
            let found = remote.get("findings", &PageQuery::of(page)).await?;
            remote::records(&found, "finding")
        };
        let newest = async || {
            let found = read(last).await?;
            anyhow::Ok(found.first().map_or(0, |(seq, _)| *seq))
        };
        args.window.list(newest_first, read, newest, keep, print).await?;
    } else {
        let store = super::open_store(&source.load()?).await?;
        let read = async |page| {
            let found = store.findings(page).await?;
            Ok(found.iter().map(|one| (one.id, finding(one))).collect())
        };
        let newest = async || Ok(store.findings(last).await?.first().map_or(0, |one| one.id));
        args.window.list(newest_first, read, newest, keep, print).await?;
    }
    if !json && !has_header {
        output::line("nothing was found")?;
    }
    Ok(Exit::Ok)
}

fn table(findings: &[Value], has_header: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if has_header {
        table.set_header([
            "ID", "FOUND", "RULE", "ROLE", "TOKEN", "ACTION", "OUTCOME", "WEBHOOK", "EVIDENCE",
        ]);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for it in findings {
        let webhook = match (it["told_ms"].as_u64(), it["attempts"].as_u64()) {
            (Some(at), _) => output::date(at / 1000),
            (None, Some(attempts)) if attempts > 0 => format!("failed {attempts} times"),
            _ => "-".to_owned(),
        };
        table.add_row([
            it["id"].to_string(),
            output::date(it["at_ms"].as_u64().unwrap_or_default() / 1000),
            text(&it["rule"]),
            text(&it["role"]),
            text(&it["subject"]),
            text(&it["action"]),
            text(&it["outcome"]),
            webhook,
            text(&it["evidence"]),
        ]);
    }
    table.trim_fmt()
}

#[derive(clap::Args)]
pub(super) struct UndoArgs {
    /// The number of the finding, as `edgepass alerts` shows it.
    id: u64,
}

/// `edgepass undo`.
pub(super) async fn undo(args: UndoArgs, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let id = args.id;
    if let Some(remote) = source.remote()? {
        let done = remote.post("findings/undo", &UndoRequest { id }).await?;
        if json {
            output::json(&done)?;
        } else {
            output::line(&format!("finding {id} is undone: its token is resumed"))?;
        }
        return Ok(Exit::Ok);
    }
    let store = super::open_store(&source.load()?).await?;
    let found = store.finding(id).await?;
    let found =
        found.with_context(|| format!("there is no finding {id}; `edgepass alerts` lists them"))?;
    if found.undoing("", 0, host::now()).is_none() {
        bail!("{NOT_SUSPENDED}");
    }
    let resume = status_act::Args::of(found.found.subject.clone(), found.undone());
    let is_suspended = async || {
        let token = store.token(&found.found.subject).await?;
        anyhow::Ok(token.is_some_and(|token| token.status == StatusType::Suspended))
    };
    if !is_suspended().await? {
        bail!("{NOTHING_RESUMED}");
    }
    let done = status_act::run(StatusChange::Resume, resume, source, json).await?;
    store.set_outcome(id, (Outcome::Done, Outcome::Undone)).await?;
    Ok(done)
}

/// Time until a finding is told again after each failed attempt. After the last it is given up.
const AGAIN: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(12 * 3600),
];
/// The time until something is told again that was tried so often before. `None`: it is given up.
pub(super) fn again(attempts: u32) -> Option<Duration> {
    AGAIN.get(usize::try_from(attempts).unwrap_or(usize::MAX)).copied()
}

/// Pause between two looks for findings.
const PAUSE: Duration = Duration::from_secs(1);
/// Findings of one look.
const STEP: u32 = 50;

/// Tells findings to the webhook, if there is one, until the task is dropped. Run it once.
pub(super) async fn tell(app: &App<AnyStore>, webhook: Option<&Webhook>) {
    let Some(webhook) = webhook else { return std::future::pending().await };
    let store = app.issuer().store();
    loop {
        let now = host::now();
        match store.open_findings(Some(now.0), STEP).await {
            Ok(findings) => {
                for one in findings.iter().filter(|one| one.outcome != Outcome::Pending) {
                    tell_one(store, webhook, app.issuer().issuer(), one, now).await;
                }
            }
            Err(error) => {
                let error = edgepass_server::error_chain(&error);
                tracing::error!(error, "findings are not readable");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn tell_one(
    store: &AnyStore,
    webhook: &Webhook,
    issuer: &str,
    one: &Finding,
    now: UnixMillis,
) {
    let body = json!({
        "type": "misuse.found",
        "timestamp": output::date_ms(one.at_ms),
        "data": { "issuer": issuer, "finding": finding(one) },
    });
    // Unique over environments, and over what a restored backup numbers again.
    let id = message_id(&format!("{issuer} {} {}", one.id, one.at_ms));
    let told = webhook.send(&format!("msg_{id}"), now, &body.to_string()).await;
    let told_ms = told.is_ok().then_some(host::now().0);
    let again_ms = again(one.attempts).filter(|_| told.is_err()).map(|wait| now.plus(wait).0);
    if let Err(reason) = &told {
        let is_given_up = again_ms.is_none();
        tracing::warn!(id = one.id, reason, is_given_up, "the webhook has not taken a finding");
    }
    if let Err(error) = store.set_told(one.id, told_ms, again_ms).await {
        tracing::error!(error = %edgepass_server::error_chain(&error), "not recorded");
    }
}
