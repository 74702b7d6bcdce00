//! `edgepass audit erase`.

use std::collections::HashSet;

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::storage::{AuditStore, LogStore, Page, TokenFilter, TokenStore};
use edgepass_store::AnyStore;
use serde_json::json;

use super::entries;
use crate::commands::source::Source;
use crate::commands::{actor, open_store, record_policy};
use crate::exit::Exit;
use crate::{host, output};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Erase the entries about tokens of this subject, those of acts on such tokens, and those of acts by
    /// the subject. Who acted on the tokens, and why, is erased with them.
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
const PAGE: u32 = 500;

pub(super) async fn run(args: Args, source: &Source, json: bool) -> anyhow::Result<Exit> {
    source.refuse_server()?;
    let config = source.load()?;
    let store = open_store(&config).await?;
    let policy = record_policy(&config, &store).await?;
    // An act on a token may come long after its issue. The entry of the issue may be erased already.
    let mut tokens = recorded(&store, &args.subject).await?;
    each(&store, async |found| {
        let named = found.iter().map(|(_, entry)| entry.act.names());
        let own = named.filter(|names| names.subject == Some(&args.subject));
        tokens.extend(own.filter_map(|names| names.jwt_id).map(str::to_owned));
        Ok(())
    })
    .await?;
    let mut positions: Vec<u64> = Vec::new();
    let damaged = each(&store, async |found| {
        let found = found.iter().filter(|(_, entry)| {
            let is_on_token =
                entry.act.names().jwt_id.is_some_and(|jwt_id| tokens.contains(jwt_id));
            entry.at_ms < args.before.unwrap_or(u64::MAX)
                && (is_on_token || is_about(entry, &args.subject))
        });
        positions.extend(found.map(|(position, _)| *position));
        Ok(())
    })
    .await?;
    let count = u64::try_from(positions.len())?;
    if !args.dry_run {
        // The newest first: an entry that says whose token another one is about outlives that one.
        for part in positions.rchunks(PAGE as usize) {
            erase(&store, &policy, part, &args.reason).await?;
        }
    }
    let is_gone = args.dry_run || store.forget_erased().await?;
    if json {
        output::json(&json!({
            "entries": count, "erased": !args.dry_run, "damaged": damaged, "is_in_files": !is_gone,
        }))?;
        return Ok(Exit::Ok);
    }
    let done = if args.dry_run { "would be erased" } else { "erased" };
    output::line(&format!("personal values of {} {done}", entries(count)))?;
    if damaged > 0 {
        output::line(&format!(
            "{} could not be read and were passed over; `edgepass audit verify` names the first",
            entries(damaged)
        ))?;
    }
    if !args.dry_run && count > 0 {
        output::line(
            "copies of the database made before still hold them; so do records of tokens, until they are purged",
        )?;
    }
    if !is_gone {
        output::line(
            "files of the database may hold them as long as another process reads it; repeat the command later",
        )?;
    }
    Ok(Exit::Ok)
}

/// The tokens of a subject that have a record.
async fn recorded(store: &AnyStore, subject: &str) -> anyhow::Result<HashSet<String>> {
    let filter = TokenFilter { subject: Some(subject.to_owned()), ..TokenFilter::default() };
    let (mut page, mut tokens) = (Page::first(false, PAGE), HashSet::new());
    loop {
        let records = store.tokens(&filter, page).await?;
        let Some(last) = records.last() else { return Ok(tokens) };
        page.after = last.seq;
        tokens.extend(records.into_iter().map(|record| record.facts.jwt_id));
    }
}

/// Calls `work` with all entries that have personal values, some at a time. Returns how many entries cannot
/// be read.
async fn each(
    store: &AnyStore,
    mut work: impl AsyncFnMut(Vec<(u64, AuditEntry)>) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let (mut after, mut damaged) = (0, 0_u64);
    loop {
        let leaves = store.leaves(after, PAGE).await?;
        let Some((last, _)) = leaves.last() else { return Ok(damaged) };
        after = *last;
        let mut found = Vec::with_capacity(leaves.len());
        for (position, leaf) in leaves.into_iter().filter(|(_, leaf)| leaf.private.is_some()) {
            match leaf.entry() {
                Ok(entry) => found.push((position, entry)),
                Err(_) => damaged = damaged.saturating_add(1),
            }
        }
        work(found).await?;
    }
}

/// Erases the personal values of the entries at these positions, which rise.
async fn erase(
    store: &AnyStore,
    policy: &LivePolicy,
    positions: &[u64],
    reason: &str,
) -> anyhow::Result<()> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for position in positions {
        match runs.last_mut() {
            Some((_, last)) if last.saturating_add(1) == *position => *last = *position,
            _ => runs.push((*position, *position)),
        }
    }
    let act = Act::PersonalErased { positions: runs, reason: reason.to_owned() };
    let (at_ms, actor) = (host::now().0, actor());
    let entry = AuditEntry { at_ms, actor, policy: Some(policy.number()), act };
    Ok(store.erase_personal(positions, &entry).await?)
}

/// Whether the entry names the subject: as the subject of tokens, or as the actor.
fn is_about(entry: &AuditEntry, subject: &str) -> bool {
    let (_, actor) = entry.actor.split_once(':').unwrap_or_default();
    entry.act.names().subject == Some(subject) || actor == subject
}
