//! `edgepass breach verify`: what a reader does who has an export and a checkpoint, and nothing else.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use edgepass_issuer::breach::export::{Export, Refused, Verified, held};
use edgepass_log::{Note, TreeHead, VerifierKey};
use edgepass_witness::Client;
use serde_json::json;

use crate::commands::audit;
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) const EXAMPLES: &str = "\
Examples:
  edgepass breach verify in_M1QVJhyV5mC0kQ1sJ9y5Xg-12.json --checkpoint witness.checkpoint
  edgepass breach verify report.json --key auth.example/audit-log+1a2b3c4d+AT...
  edgepass breach verify report.json --checkpoint https://witness.example/invoices.checkpoint --log https://auth.example/audit-log

Checks that the report is the one whose digest the audit log holds, that each entry it names is in that log and says what
the report says, and that the log is the one of the checkpoint. A checkpoint from elsewhere shows that the trail was not made
anew for the report. --log fetches what proves a checkpoint that is newer than the report.

Exit codes: 0 proven, 1 not proven, 2 wrong usage, 3 not available now.";

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("trust").required(true).multiple(true)))]
pub(in crate::commands) struct Args {
    /// The exported report, in JSON. - for stdin.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// A checkpoint of the log that was kept elsewhere; may be repeated.
    #[arg(long = "checkpoint", value_name = "FILE|URL", group = "trust")]
    checkpoints: Vec<String>,
    /// The key of the log, as `edgepass audit key` printed it.
    #[arg(long, value_name = "KEY", group = "trust")]
    key: Option<String>,
    /// Where the log is published, for a checkpoint that is newer than the report.
    #[arg(long, value_name = "URL")]
    log: Option<String>,
}

pub(super) async fn run(args: Args, json: bool) -> anyhow::Result<Exit> {
    let text = output::read_text(&args.file)?;
    let export = Export::parse(&text).map_err(refused)?;
    let key: VerifierKey = match &args.key {
        Some(key) => key.parse().map_err(|error| anyhow!("the key {key:?}: {error}"))?,
        None => export.key().map_err(refused)?,
    };
    let verified = export.verify(&key).map_err(refused)?;
    for place in &args.checkpoints {
        let text = audit::checkpoint_text(place).await?;
        let note = Note::parse(text.as_bytes());
        let note = note.with_context(|| format!("{place} is no signed checkpoint"))?;
        let tree = held(&note, &key).map_err(|_| {
            not_proven(format!("the checkpoint {place} is not one of the log of this report"))
        })?;
        compare(&export, &verified, tree, place, args.log.as_deref()).await?;
    }
    let Verified { incident, exported_ms, binding, entries, open, tree } = &verified;
    if json {
        output::json(&json!({
            "incident": incident,
            "exported_ms": exported_ms,
            "digest": export.digest,
            "entry": binding,
            "entries": entries,
            "log": key.name(),
            "log_size": tree.size,
            "checkpoints": args.checkpoints.len(),
            "open": open,
        }))?;
        return Ok(Exit::Ok);
    }
    output::line(&format!(
        "the report of {incident} is the one that was exported at {} (entry {binding} of {} in the log {})",
        output::date_ms(*exported_ms),
        tree.size,
        key.name()
    ))?;
    output::line(&format!(
        "{entries} entries of the audit trail that it names are in that log, and say what it says"
    ))?;
    output::line(match args.checkpoints.len() {
        0 => {
            "compared with no checkpoint from elsewhere: that the log was made anew would not show"
        }
        1 => "the log is the one of the checkpoint",
        _ => "the log is the one of the checkpoints",
    })?;
    if *open > 0 {
        output::line(&format!("{open} of its fields were open: the report is incomplete"))?;
    }
    Ok(Exit::Ok)
}

/// Refuses a log that is not the one of a checkpoint.
async fn compare(
    export: &Export,
    verified: &Verified,
    tree: TreeHead,
    place: &str,
    log: Option<&str>,
) -> anyhow::Result<()> {
    let own = verified.tree;
    if export.continues(own, tree) {
        return Ok(());
    }
    if tree.size == own.size {
        return Err(not_proven(format!(
            "the checkpoint {place} is of another log with the same key"
        )));
    }
    let is_newer = tree.size > own.size;
    let Some(log) = log else {
        // It is not proven.
        let is_url = export.url.starts_with("http")
            && export.url.bytes().all(|byte| byte.is_ascii_graphic());
        let url = if is_url { export.url.as_str() } else { "URL" };
        let (which, how) = match is_newer {
            true => ("newer", format!("add --log {url}")),
            false => ("older", format!("add --log {url}, or export with --checkpoint")),
        };
        bail!(
            "the checkpoint {place} is {which} than the report, and the file does not prove it: {how}"
        );
    };
    let client = Client::new(edgepass_client::USER_AGENT).map_err(audit::with_code)?;
    let (old, new) = if is_newer { (own, tree) } else { (tree, own) };
    client.check_continues(log.trim_end_matches('/'), old, new).await.map_err(audit::with_code)
}

fn refused(error: Refused) -> anyhow::Error {
    match error {
        Refused::Form => not_proven(format!(
            "{error}, or it is damaged: name the .json that `edgepass breach export` wrote"
        )),
        error => not_proven(error.to_string()),
    }
}

fn not_proven(text: String) -> anyhow::Error {
    anyhow::Error::new(Failure::Refused).context(text)
}
