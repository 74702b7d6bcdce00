//! `edgepass audit verify`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use edgepass_client::USER_AGENT;
use edgepass_issuer::log::check::{Checked, check};
use edgepass_log::cosignature::cosigned_at;
use edgepass_log::{Checkpoint, LogProof, Note, TreeHead, VerifierKey};
use edgepass_witness::Client;
use serde_json::{Value, json};

use super::{damaged, entries, witness};
use crate::commands::source::Source;
use crate::exit::Exit;
use crate::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A checkpoint that was kept elsewhere; may be repeated.
    #[arg(long = "checkpoint", value_name = "FILE|URL")]
    checkpoints: Vec<String>,
    /// The key of the log, as `edgepass audit key` printed it. Default: the one in the database.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The key of a witness that must have cosigned each of these checkpoints; may be repeated.
    #[arg(long = "witness", value_name = "KEY")]
    witnesses: Vec<String>,
    /// Verify this proof of an entry instead, without a database. Needs --key. - for stdin.
    #[arg(long, value_name = "FILE|-", requires = "key", conflicts_with = "checkpoints")]
    proof: Option<PathBuf>,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    if !args.witnesses.is_empty() && args.checkpoints.is_empty() && args.proof.is_none() {
        bail!("--witness says who must have cosigned a --checkpoint or a --proof: name one");
    }
    let witnesses = args.witnesses.iter().map(|key| parsed(key)).collect::<Result<Vec<_>, _>>()?;
    let key = args.key.as_deref().map(parsed).transpose()?;
    if let (Some(proof), Some(key)) = (&args.proof, &key) {
        return verify_proof(proof, key, &witnesses, json);
    }
    let (store, log) = super::open(source).await?;
    let key = match key {
        Some(key) => key,
        None => log.key()?,
    };
    let mut elsewhere = Vec::new();
    for checkpoint in &args.checkpoints {
        let note = text(checkpoint).await?;
        let tree = read(&note, &key, &witnesses);
        elsewhere.push(tree.with_context(|| format!("the checkpoint {checkpoint}"))?);
    }
    let own = log.key()?;
    if own != key {
        return Err(damaged("the log has another key than --key: it was made anew".to_owned()));
    }
    let checked = check(&store, &log, &elsewhere, progress).await?;
    tell(&checked, elsewhere.len(), json)?;
    Ok(if checked.damage.is_none() { Exit::Ok } else { Exit::Refused })
}

/// The text of a file, or of the document at an http or https URL.
pub(in crate::commands) async fn text(place: &str) -> anyhow::Result<String> {
    if !place.starts_with("https://") && !place.starts_with("http://") {
        return output::read_text(Path::new(place));
    }
    let client = Client::new(USER_AGENT).map_err(witness::with_code)?;
    client.text(place).await.map_err(witness::with_code)
}

fn parsed(key: &str) -> anyhow::Result<VerifierKey> {
    key.parse().map_err(|error| anyhow!("the key {key:?}: {error}"))
}

/// The tree of a checkpoint that the log signed, and each of the witnesses.
fn read(note: &str, key: &VerifierKey, witnesses: &[VerifierKey]) -> anyhow::Result<TreeHead> {
    let note = Note::parse(note.as_bytes()).map_err(|error| damaged(error.to_string()))?;
    let checkpoint = Checkpoint::of_note(&note, key, key.name());
    let checkpoint = checkpoint.map_err(|error| damaged(error.to_string()))?;
    check_cosigned(&note, witnesses)?;
    Ok(checkpoint.tree())
}

/// Refuses a checkpoint that one of the witnesses has not cosigned.
fn check_cosigned(checkpoint: &Note, witnesses: &[VerifierKey]) -> anyhow::Result<()> {
    for witness in witnesses {
        cosigned_at(checkpoint, witness)
            .map_err(|error| damaged(format!("witness {}: {error}", witness.name())))?;
    }
    Ok(())
}

fn verify_proof(
    file: &Path,
    key: &VerifierKey,
    witnesses: &[VerifierKey],
    json: bool,
) -> anyhow::Result<Exit> {
    let text = output::read_text(file)?;
    let proof = LogProof::parse(text.as_bytes()).map_err(|error| damaged(error.to_string()))?;
    let entry = proof.extra();
    if entry.is_empty() {
        bail!("the proof holds no entry as its extra data");
    }
    let checkpoint =
        proof.verify(entry, key, key.name()).map_err(|error| damaged(error.to_string()))?;
    check_cosigned(proof.checkpoint(), witnesses)?;
    let entry = String::from_utf8_lossy(entry);
    let (position, size) = (proof.index().saturating_add(1), checkpoint.tree().size);
    if json {
        let entry: Value = serde_json::from_str(&entry).unwrap_or_default();
        output::json(&json!({ "position": position, "log_size": size, "entry": entry }))?;
    } else {
        output::line(&format!("entry {position} of {size} in the log {}:", checkpoint.origin()))?;
        output::line(&entry)?;
    }
    Ok(Exit::Ok)
}

fn tell(checked: &Checked, elsewhere: usize, json: bool) -> anyhow::Result<()> {
    let Checked { entries: count, logged, erased, damage } = checked;
    if json {
        return output::json(&json!({
            "entries": count,
            "logged": logged,
            "erased": erased,
            "checkpoints_elsewhere": elsewhere,
            "damage": damage.as_ref().map(ToString::to_string),
        }));
    }
    if let Some(damage) = damage {
        return output::line(&format!("damaged: {damage}"));
    }
    let mut text = format!("{} as logged", entries(*count));
    let waiting = count.saturating_sub(*logged);
    if waiting > 0 {
        text.push_str(&format!(", of which {waiting} are not in the log yet"));
    }
    if *erased > 0 {
        text.push_str(&format!("; of {erased} the personal values were erased"));
    }
    output::line(&text)?;
    output::line(match elsewhere {
        0 => {
            "compared with no checkpoint from elsewhere: that the end was cut off, or all made anew, would not show"
        }
        1 => "continues the checkpoint from elsewhere",
        _ => "continues the checkpoints from elsewhere",
    })
}

/// Shows a person that the check goes on.
fn progress(count: u64) {
    const EVERY: u64 = 200;
    if (count / 2048).is_multiple_of(EVERY) && count > 0 && std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "\r{count} entries checked ");
    }
}
