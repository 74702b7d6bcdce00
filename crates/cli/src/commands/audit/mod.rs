//! `edgepass audit`: reads the audit trail, checks it against its log, and proves what is in it.

mod export;
mod list;
mod prove;
mod verify;
mod witness;

pub(super) use self::verify::text as checkpoint_text;
pub(super) use self::witness::with_code;
use anyhow::{Context, bail};
use clap::Subcommand;
use edgepass_issuer::Config;
use edgepass_issuer::log::prove::continues;
use edgepass_issuer::log::stored::StoredLog;
use edgepass_issuer::log::{LogError, origin};
use edgepass_issuer::storage::LogStore;
use edgepass_log::note::NoteError;
use edgepass_log::{Checkpoint, Note};
use edgepass_server::admin::trail::key_of;
use edgepass_store::AnyStore;
use serde_json::{Value, json};

use super::source::Source;
use crate::commands::examples;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::remote::not_of_an_issuer;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[group(skip)]
pub(super) struct Args {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    list: list::Args,
}

/// What is done with the trail. Without a command: list.
#[derive(Subcommand)]
enum Act {
    /// Print the entries: time, actor and act of each.
    #[command(after_help = examples::AUDIT)]
    List(list::Args),
    /// Print entries with their positions, as JSON lines or comma-separated values.
    #[command(after_help = examples::AUDIT_EXPORT)]
    Export(export::Args),
    /// Check every entry against the log, and the log against checkpoints that are kept elsewhere.
    #[command(after_help = VERIFYING)]
    Verify(verify::Args),
    /// Prove that an entry is in the log, to somebody who has the key of the log.
    #[command(after_help = PROVING)]
    Prove(prove::Args),
    /// Print the key that verifies checkpoints and proofs, and where the log is published.
    #[command(after_help = examples::AUDIT_KEY)]
    Key,
    /// Watch the log of an issuer from elsewhere, and cosign each checkpoint that continues it.
    #[command(after_help = edgepass_witness::EXAMPLES)]
    Witness(edgepass_witness::Args),
}

const VERIFYING: &str = "\
A checkpoint is one that `edgepass audit witness` keeps, or a copy of audit-log/checkpoint from a target.
Only a checkpoint from elsewhere shows that the end of the trail was cut off, or all of it made anew.

Examples:
  edgepass audit verify
  edgepass audit verify --checkpoint https://witness.example/invoices.checkpoint
  edgepass audit verify --proof entry.tlog-proof --key auth.example/audit-log+1a2b3c4d+AT...

Exit codes: 0 whole, 1 damaged or not proven, 2 wrong usage, 3 not available now.";

const PROVING: &str = "\
Prints a proof in the form of C2SP tlog-proof. Its extra data is the entry, which names no person:
--private prints the personal values and their salt, whose hash the entry holds.

Examples:
  edgepass audit prove 17 > entry.tlog-proof
  edgepass audit prove --jti ID --json";

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    match args.act.unwrap_or(Act::List(args.list)) {
        Act::List(args) => list::run(args, source, json).await,
        Act::Export(args) => export::run(args, source).await,
        Act::Verify(args) => verify::run(args, source, json).await,
        Act::Prove(args) => prove::run(args, source, json).await,
        Act::Key => key(source, json).await,
        Act::Witness(args) => witness::run(args, source, json).await,
    }
}

/// Compares the log with the checkpoints of `[audit] checkpoints`, before anything is served.
pub(super) async fn compare(store: &AnyStore, config: &Config) -> anyhow::Result<()> {
    let log = store.log().await?;
    // All logs of this issuer, also those before a restored backup, begin so.
    let own = origin(&config.issuer, "");
    for file in &config.audit_checkpoints {
        let shown = file.display();
        if !file.exists() {
            tracing::warn!(file = %shown, "the audit log was not compared with a checkpoint that is not there");
            continue;
        }
        let text = output::read_text(file)?;
        let note = Note::parse(text.as_bytes());
        let checkpoint = note.and_then(|note| {
            Checkpoint::parse(note.text())
                .map(|checkpoint| (note, checkpoint))
                .map_err(|_| NoteError::Malformed)
        });
        let (note, checkpoint) = checkpoint
            .with_context(|| format!("[audit] checkpoints: {shown} is not a checkpoint"))?;
        if config.environment.is_some() && !checkpoint.origin().starts_with(&own) {
            // It is that of another environment.
            continue;
        }
        let signed = log.as_ref().map(|log| {
            let key = log.key().map_err(LogError::from)?;
            let checkpoint = Checkpoint::of_note(&note, &key, &log.origin)?;
            Ok::<_, LogError>((log, checkpoint.tree()))
        });
        let continued = match signed {
            Some(Ok((log, tree))) => continues(store, log, tree).await?,
            Some(Err(_)) | None => false,
        };
        if !continued {
            bail!(
                "the audit log does not continue the checkpoint {shown}: was an old copy of the database put back, or the trail changed? `edgepass audit verify --checkpoint {shown}` says more; `edgepass restore` takes an old copy, and after it witnesses begin anew"
            );
        }
    }
    Ok(())
}

/// Opens the database of this machine, which has the log.
async fn open(source: &Source) -> anyhow::Result<(AnyStore, StoredLog)> {
    source.refuse_server()?;
    let store = super::open_store(&source.load()?).await?;
    let log = store.log().await?;
    let none = || {
        let error = anyhow::Error::new(Failure::Unavailable);
        error.context("there is no log yet; `edgepass serve` begins it")
    };
    Ok((store, log.ok_or_else(none)?))
}

async fn key(source: &Source, json: bool) -> anyhow::Result<Exit> {
    let shown = match source.remote()? {
        Some(remote) => remote.get("audit/key", &json!({})).await?,
        None => {
            let (_, log) = open(source).await?;
            let base_uri = source.load()?.status.base_uri;
            key_of(&log, &base_uri).map_err(|error| damaged(error.to_string()))?
        }
    };
    if json {
        output::json(&shown)?;
    } else {
        let text =
            |name: &str| shown.get(name).and_then(Value::as_str).ok_or_else(not_of_an_issuer);
        output::line(text("key")?)?;
        output::line(&format!("published at {}", text("url")?))?;
    }
    Ok(Exit::Ok)
}

/// An error with exit code 1.
fn damaged(text: String) -> anyhow::Error {
    anyhow::Error::new(Failure::Refused).context(text)
}

/// A time such as 2026-11-22T10:00:00Z or 2026-11-22, in milliseconds since the epoch.
pub(super) fn time(text: &str) -> Result<u64, String> {
    let day = || {
        let day = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_millis())
    };
    let time = chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    let millis = time.or_else(day).and_then(|millis| u64::try_from(millis).ok());
    millis.ok_or_else(|| {
        "write a day such as 2026-11-22, or a time such as 2026-11-22T10:00:00Z".to_owned()
    })
}

/// A whole number of entries, with the right form of the noun.
pub(super) fn entries(count: u64) -> String {
    match count {
        1 => "1 entry".to_owned(),
        _ => format!("{count} entries"),
    }
}
