//! `edgepass audit erase`.

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::storage::{AuditStore, Page};
use edgepass_store::SqliteStore;
use serde_json::json;

use super::entries;
use crate::commands::source::Source;
use crate::commands::{actor, open_store, record_policy};
use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Erase the entries about tokens of this subject, and those of acts by it.
    #[arg(long, allow_hyphen_values = true)]
    subject: String,
    /// Only entries before this day or time (UTC), such as 2026-11-22.
    #[arg(long, value_name = "TIME", value_parser = super::time)]
    before: Option<u64>,
    /// Why, for the audit trail: a word or a number of yours, without the person's name.
    #[arg(long, allow_hyphen_values = true)]
    reason: String,
    /// Only count the entries.
    #[arg(long)]
    dry_run: bool,
}

/// Entries that are read, and erased, at once.
const PAGE: u32 = 1000;

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_server()?;
    let config = source.load()?;
    let store = open_store(&config).await?;
    let policy = record_policy(&config, &store).await?;
    let mut count: u64 = 0;
    let mut after = 0;
    loop {
        let entries = store.audit(0, Page { after, ..Page::first(false, PAGE) }).await?;
        let Some((last, _)) = entries.last() else { break };
        after = *last;
        let before = args.before.unwrap_or(u64::MAX);
        let found = entries
            .iter()
            .filter(|(_, entry)| entry.at_ms < before && is_about(entry, &args.subject));
        let positions: Vec<u64> = found.map(|(position, _)| *position).collect();
        let some = u64::try_from(positions.len())?;
        count = count.saturating_add(some);
        if !args.dry_run && some > 0 {
            erase(&store, &policy, &positions, &args.reason).await?;
        }
    }
    if json {
        output::json(&json!({ "entries": count, "erased": !args.dry_run }))?;
    } else {
        let done = if args.dry_run { "would be erased" } else { "erased" };
        output::line(&format!("personal values of {} {done}", entries(count)))?;
        if !args.dry_run && count > 0 {
            output::line(
                "copies of the database made before still hold them; so do records of tokens, until they are purged",
            )?;
        }
    }
    Ok(Exit::Ok)
}

/// Erases the personal values of the entries at these positions.
async fn erase(
    store: &SqliteStore,
    policy: &LivePolicy,
    positions: &[u64],
    reason: &str,
) -> anyhow::Result<()> {
    let count = u64::try_from(positions.len())?;
    let act = Act::PersonalErased { count, reason: reason.to_owned() };
    let (at_ms, actor) = (host::now().0, actor());
    let entry = AuditEntry { at_ms, actor, policy: Some(policy.number()), act };
    Ok(store.erase_personal(positions, &entry).await?)
}

/// Whether the entry names the subject: as the subject of tokens, or as the actor.
fn is_about(entry: &AuditEntry, subject: &str) -> bool {
    let (_, actor) = entry.actor.split_once(':').unwrap_or_default();
    entry.act.names().subject == Some(subject) || actor == subject
}
