//! `edgepass erase`: removes who a person is.

use clap::builder::NonEmptyStringValueParser;
use edgepass_issuer::audit::erase::{Erasure, erase_subject};
use edgepass_server::admin::trail::{EraseAnswer, EraseRequest};

use super::audit::entries;
use super::source::Source;
use super::{actor, open_store, record_policy};
use crate::exit::Exit;
use crate::remote::not_of_an_issuer;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The person: `sub` of tokens, or who acted. From the audit trail go the entries about tokens of this subject,
    /// those of acts on such tokens, and those of acts by the subject, with who acted on the tokens and why.
    #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    subject: String,
    /// Only entries before this day or time (UTC), such as 2026-11-22.
    #[arg(long, value_name = "TIME", value_parser = super::audit::time)]
    before: Option<u64>,
    /// Why, for the audit trail: a word or a number of yours, without the person's name.
    #[arg(long, allow_hyphen_values = true, value_parser = NonEmptyStringValueParser::new())]
    reason: String,
    /// Only count the entries.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    let before_ms = args.before.unwrap_or(u64::MAX);
    let (subject, reason, is_dry) = (args.subject, args.reason, args.dry_run);
    let done = match source.remote()? {
        Some(remote) => {
            let request = EraseRequest { subject, before_ms, reason, dry_run: is_dry };
            serde_json::from_value(remote.post("erase", &request).await?)
                .map_err(|_| not_of_an_issuer())?
        }
        None => {
            let config = source.load()?;
            let store = open_store(&config).await?;
            let policy = record_policy(&config, &store).await?;
            let by = (&*actor(), policy.number(), host::now().0);
            let erasure = Erasure { subject, before_ms, reason, is_dry };
            EraseAnswer::of(&erase_subject(&store, &erasure, by).await?, is_dry)
        }
    };
    let EraseAnswer {
        entries: count, damaged, records, records_left, requests, is_in_files, ..
    } = done;
    if json {
        output::json(&serde_json::to_value(done)?)?;
        return Ok(Exit::Ok);
    }
    let done = if is_dry { "would be erased" } else { "erased" };
    output::line(&format!("personal values of {} {done}", entries(count)))?;
    if count == 0 && records == 0 && records_left == 0 && requests == 0 {
        output::line("nothing names this subject: is it written as in the tokens?")?;
    }
    if damaged > 0 {
        output::line(&format!(
            "{} could not be read and were passed over; `edgepass audit verify` names the first",
            entries(damaged)
        ))?;
    }
    if !is_dry {
        output::line(&format!(
            "records of tokens deleted, with their use: {records}; requests for access erased: {requests}"
        ))?;
    }
    if records_left > 0 {
        output::line(&format!(
            "records of tokens that stay until a day after their expiry: {records_left}; repeat the command then"
        ))?;
    }
    if !is_dry && count > 0 {
        output::line("copies of the database made before still hold what was erased")?;
    }
    if is_in_files {
        output::line(
            "files of the database may hold them as long as another process reads it; repeat the command later",
        )?;
    }
    Ok(Exit::Ok)
}
