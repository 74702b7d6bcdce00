//! `edgepass revoke`, `suspend` and `resume`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use chrono::DateTime;
use clap::builder::NonEmptyStringValueParser;
use edgepass_issuer::Config;
use edgepass_issuer::new_act::{NewAct, RecordedAct};
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::status_act::{
    ActError, Unselectable, perform_and_wait, refuse_unknown, unchanged, unpublished,
    unverified_jwt_id,
};
use edgepass_issuer::storage::{ActStore, ListState, TokenStore};
use edgepass_server::acts::ActRequest;
use edgepass_server::error_chain;
use edgepass_status_list::Bits;
use edgepass_store::AnyStore;
use serde_json::json;

use super::published::{self, Published};
use super::source::Source;
use crate::exit::{Exit, Failure};
use crate::remote::{Remote, not_of_an_issuer};
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Reason, for the audit trail.
    #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// Change nothing. Print how many tokens of which roles would change.
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    /// An act on one token.
    pub(super) fn of(jti: String, reason: String) -> Self {
        let which = Which { jti: Some(jti), ..Which::default() };
        Self { which, reason, dry_run: false }
    }

    /// An act on the tokens of a request for access.
    pub(super) fn of_grant(grant: String, reason: String) -> Self {
        let which = Which { grant: Some(grant), ..Which::default() };
        Self { which, reason, dry_run: false }
    }
}

/// The selected tokens: named by `jti` or token, or else those that match all the options in
/// [`FILTER`].
#[derive(Default, clap::Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// The token's `jti`, as listed by `edgepass tokens`.
    #[arg(long, allow_hyphen_values = true, conflicts_with_all = FILTER, conflicts_with = "all")]
    jti: Option<String>,
    /// File with one `jti` per line, or - for stdin.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = FILTER, conflicts_with_all = ["jti", "token_file", "all"])]
    jti_file: Option<PathBuf>,
    /// File that contains the token, or - for stdin.
    #[arg(conflicts_with_all = FILTER, conflicts_with_all = ["jti", "all"])]
    token_file: Option<PathBuf>,
    /// Tokens of this role.
    #[arg(long, allow_hyphen_values = true)]
    role: Option<String>,
    /// Tokens of this client.
    #[arg(long, allow_hyphen_values = true)]
    client: Option<String>,
    /// Tokens of this subject.
    #[arg(long, allow_hyphen_values = true)]
    subject: Option<String>,
    /// Tokens used under this agreement.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    agreement: Option<String>,
    /// Tokens issued under this request for access, as listed by `edgepass access list`.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    grant: Option<String>,
    /// Tokens signed by the key with this `kid`.
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    key: Option<String>,
    /// Tokens issued before this time, such as 2026-11-22T10:00:00Z, or now.
    #[arg(long, value_name = "TIME")]
    issued_before: Option<String>,
    /// Every token of the environment; the same as --issued-before now.
    #[arg(long, conflicts_with_all = FILTER)]
    all: bool,
}

const FILTER: [&str; 7] =
    ["role", "client", "subject", "agreement", "grant", "key", "issued_before"];

pub(super) async fn run(
    change: StatusChange,
    args: Args,
    source: &Source,
    json: bool,
) -> anyhow::Result<Exit> {
    if let Some(remote) = source.remote()? {
        return run_remote(change, args, &remote, json).await;
    }
    let config = source.load()?;
    let now = host::now();
    let store = super::open_store(&config).await?;
    let policy = super::record_policy(&config, &store).await?;
    let act = NewAct {
        change,
        selection: args.which.selection(now.numeric_date().seconds())?,
        reason: args.reason,
        actor: super::actor(),
        policy: policy.number(),
        report: None,
        at: now,
    };
    refuse_unknown(&act, &config.policy, &store).await.map_err(unselectable)?;
    if args.dry_run {
        let plan = store.plan_act(&act).await?;
        return tell_plan(change, plan.count, &plan.roles, json);
    }
    let (recorded, published) = act_and_publish(&config, &store, &act).await?;
    let count = recorded.map_or(0, |recorded| recorded.count);
    let none_fits = count == 0 && matches!(act.selection, Selection::Fitting(_));
    let single = act.selection.single_jwt_id();
    let mut what = match (single, &act.selection) {
        (Some(_), _) if recorded.is_some() => done(change).to_owned(),
        (Some(id), _) => explained(unchanged(change, store.token(id).await?.as_ref(), now))?,
        (None, Selection::JwtIds(ids)) => {
            let named = ids.len() as u64;
            format!("{count} of {named} {} {}", tokens(named), done(change))
        }
        _ if none_fits && change == StatusChange::Suspend && config.status.bits == Bits::One => {
            format!("0 tokens suspended: {NONE_CAN}")
        }
        _ if none_fits => format!("0 tokens {}: {NONE_FITS}", done(change)),
        _ => format!("{count} {} {}", tokens(count), done(change)),
    };
    if let Some(id) = single {
        what = format!("{id} {what}");
    }
    let is_published = published == Published::Everywhere;
    let (text, exit) = match (is_published, none_fits) {
        (true, true) => (what, Exit::Ok),
        (true, false) => (format!("{what}; the new status lists are published"), Exit::Ok),
        (false, _) => (format!("{what}: {}", published.says()), Exit::Unavailable),
    };
    if json {
        output::json(&json!({
            "act": change.name(),
            "count": count,
            "act_id": recorded.map(|recorded| recorded.id),
            "published": is_published,
            "message": text,
        }))?;
    } else {
        output::line(&text)?;
    }
    Ok(exit)
}

/// Lets the issuer on another machine perform the act.
async fn run_remote(
    change: StatusChange,
    args: Args,
    remote: &Remote,
    json: bool,
) -> anyhow::Result<Exit> {
    let selection = args.which.selection(host::now().numeric_date().seconds())?;
    let single = selection.single_jwt_id().map(str::to_owned);
    let (jwt_ids, fitting) = match selection {
        Selection::JwtIds(ids) => (ids, Filter::default()),
        Selection::Fitting(filter) => (Vec::new(), filter),
    };
    let (reason, dry_run) = (args.reason, args.dry_run);
    let order = ActRequest { act: change, jwt_ids, fitting, reason, dry_run };
    let done_there = &remote.post("status-acts", &order).await?;
    let count = done_there["count"].as_u64().ok_or_else(not_of_an_issuer)?;
    if !dry_run && done_there["published"] != true {
        return Err(not_of_an_issuer());
    }
    if dry_run {
        let roles = serde_json::from_value(done_there["roles"].clone()).unwrap_or_default();
        return tell_plan(change, count, &roles, json);
    }
    let text = match single {
        Some(id) if count == 1 => {
            format!("{id} {}; the new status lists are published", done(change))
        }
        Some(id) => {
            let state = done_there["unchanged"].as_str().unwrap_or("nothing changed");
            format!("{id} {state}")
        }
        None if count == 0 => format!("0 tokens {}: {NONE_FITS}", done(change)),
        None => format!(
            "{count} {} {}; the new status lists are published",
            tokens(count),
            done(change)
        ),
    };
    if json {
        output::json(&json!({
            "act": change.name(),
            "count": count,
            "act_id": done_there["act_id"],
            "published": true,
            "message": text,
        }))?;
    } else {
        output::line(&text)?;
    }
    Ok(Exit::Ok)
}

/// Says that a selection matches no live token. This is not an error, since the issuer cannot tell
/// a mistyped client or subject from one without live tokens.
const NONE_FITS: &str = "no live token fits; see `edgepass tokens` for the exact spelling of roles, clients and subjects";

const NONE_CAN: &str =
    "no live token fits; tokens issued before [status] says suspension = true cannot be suspended";

/// Performs an act and waits up to 5 s until the changed lists are published. Reports its progress
/// on stderr every 2 s.
pub(super) async fn act_and_publish(
    config: &Config,
    store: &AnyStore,
    act: &NewAct,
) -> anyhow::Result<(Option<RecordedAct>, Published)> {
    let served = |pending: Vec<ListState>| async move {
        let is_published = async || {
            let still = unpublished(store, host::now()).await?;
            Ok(pending.iter().all(|list| {
                still.iter().all(|now| now.id != list.id || now.published >= list.changes)
            }))
        };
        published::wait_until(config, store, is_published).await
    };
    let acted = perform_and_wait(store, act, served);
    output::waiting_for("changing token statuses", acted).await.map_err(failed)
}

impl Which {
    fn selection(self, now: u64) -> anyhow::Result<Selection> {
        let mut jwt_ids: Vec<String> = self.jti.into_iter().collect();
        if let Some(file) = &self.token_file {
            let token = output::read_token(file)?;
            jwt_ids.push(
                unverified_jwt_id(&token)
                    .context("the input is not a token, or the token has no jti")?,
            );
        }
        if let Some(file) = &self.jti_file {
            let text = output::read_text(file)?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            jwt_ids.extend(lines.map(str::to_owned));
        }
        let issued_before = if self.all { Some("now".to_owned()) } else { self.issued_before };
        let issued_before = issued_before.map(|time| seconds(&time, now)).transpose()?;
        let filter = Filter {
            role: self.role,
            client_id: self.client,
            subject: self.subject,
            key_id: self.key,
            agreement: self.agreement,
            grant: self.grant,
            issued_before,
        };
        Ok(Selection::new(jwt_ids, filter)?)
    }
}

/// Parses a time for `--issued-before`, in whole seconds. The text `now` means the next second, so
/// that tokens of the current one are included.
fn seconds(time: &str, now: u64) -> anyhow::Result<u64> {
    if time == "now" {
        return Ok(now.saturating_add(1));
    }
    let time = DateTime::parse_from_rfc3339(time).ok();
    let time = time.and_then(|time| u64::try_from(time.timestamp()).ok());
    // Tokens that are yet to be issued are not revoked.
    time.filter(|time| *time <= now.saturating_add(1)).ok_or_else(|| {
        anyhow!("--issued-before must be a past time such as 2026-11-22T10:00:00Z, or now")
    })
}

fn tell_plan(
    change: StatusChange,
    count: u64,
    roles: &BTreeMap<String, u64>,
    json: bool,
) -> anyhow::Result<Exit> {
    let name = change.name();
    if json {
        output::json(&json!({ "dry_run": true, "act": name, "count": count, "roles": roles }))?;
        return Ok(Exit::Ok);
    }
    let hint = if count == 0 { format!(": {NONE_FITS}") } else { String::new() };
    output::line(&format!("would {name} {count} {}{hint}", tokens(count)))?;
    for (role, count) in roles {
        output::line(&format!("  {count:>9}  {role}"))?;
    }
    Ok(Exit::Ok)
}

/// Turns an unknown role or key into a refusal. For a key, its text names the command that lists
/// keys.
fn unselectable(error: Unselectable) -> anyhow::Error {
    let says = match &error {
        Unselectable::Store(_) => return error.into(),
        Unselectable::Key => format!("{error}; list the keys with `edgepass keys list`"),
        Unselectable::Role(_) | Unselectable::Agreement | Unselectable::Grant => error.to_string(),
    };
    anyhow::Error::new(Failure::Refused).context(says)
}

/// Why an act on one token changed nothing, or that it is refused.
fn explained(outcome: Result<&'static str, &'static str>) -> anyhow::Result<String> {
    outcome.map(str::to_owned).map_err(|text| anyhow::Error::new(Failure::Refused).context(text))
}

fn failed(error: anyhow::Error) -> anyhow::Error {
    let failure = match error.downcast_ref() {
        Some(ActError::NoSuspension(_)) => Failure::Refused,
        Some(_) => Failure::Unavailable,
        None => return error,
    };
    anyhow::Error::new(failure).context(error_chain(error.as_ref()))
}

fn done(change: StatusChange) -> &'static str {
    match change {
        StatusChange::Revoke => "revoked",
        StatusChange::Suspend => "suspended",
        StatusChange::Resume => "resumed",
    }
}

fn tokens(count: u64) -> &'static str {
    if count == 1 { "token" } else { "tokens" }
}
