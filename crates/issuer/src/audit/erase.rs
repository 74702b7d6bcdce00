//! Erases who a person is from entries of the audit trail. The log still verifies.

use std::collections::HashSet;

use super::{Act, AuditEntry};
use edgepass_verify::UnixMillis;

use crate::storage::{
    AccessStore, AuditStore, LogStore, Page, StoreError, TokenFilter, TokenStore,
};

/// What to erase, and why.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// The person: entries about tokens of this subject, those of acts on such tokens, and those of acts by the
    /// subject.
    pub subject: String,
    /// Only entries before this time, in milliseconds since the epoch.
    pub before_ms: u64,
    /// Why, for the audit trail.
    pub reason: String,
    /// Whether the entries are only counted.
    pub is_dry: bool,
}

/// What was erased.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Erased {
    /// The number of entries whose personal values were erased.
    pub entries: u64,
    /// The number of entries that cannot be read and were passed over.
    pub damaged: u64,
    /// The number of deleted records of tokens.
    pub records: u64,
    /// The number of records that stay, since verifiers may still ask about their tokens.
    pub records_left: u64,
    /// The number of requests for access that were erased.
    pub requests: u64,
    /// Whether files of the database may hold the values as long as another process reads it.
    pub is_in_files: bool,
}

/// The least time for which the record of a token stays after its expiry, in seconds: a list has its status until the
/// end of its window.
const LEAST_KEPT: u64 = 24 * 60 * 60;
/// Entries that are read, and erased, at once.
const PAGE: u32 = 500;

/// Erases the personal values of a subject's entries, the records of tokens that expired a day ago with their use, and
/// who the subject is from requests for access that are closed. `by` is who does it, the number of the policy in use, and
/// the time in milliseconds.
///
/// # Errors
///
/// [`StoreError`]. Repeat the erasure then: some entries may be erased already.
pub async fn erase_subject(
    store: &(impl AuditStore + LogStore + TokenStore + AccessStore),
    erasure: &Erasure,
    by: (&str, u64, u64),
) -> Result<Erased, StoreError> {
    let subject = erasure.subject.as_str();
    // An act on a token may come long after its issue. The entry of the issue may be erased already.
    let mut tokens = recorded(store, subject).await?;
    let mut after = 0;
    while let Some((last, found, _)) = personal(store, after).await? {
        after = last;
        let named = found.iter().map(|(_, entry)| entry.act.names());
        let own = named.filter(|names| names.subject == Some(subject));
        tokens.extend(own.filter_map(|names| names.jwt_id).map(str::to_owned));
    }
    let (mut positions, mut after, mut damaged) = (Vec::new(), 0, 0_u64);
    while let Some((last, found, unreadable)) = personal(store, after).await? {
        (after, damaged) = (last, damaged.saturating_add(unreadable));
        let found = found.iter().filter(|(_, entry)| {
            let is_on_token =
                entry.act.names().jwt_id.is_some_and(|jwt_id| tokens.contains(jwt_id));
            entry.at_ms < erasure.before_ms && (is_on_token || is_about(entry, subject))
        });
        positions.extend(found.map(|(position, _)| *position));
    }
    if erasure.is_dry {
        let records_left = u64::try_from(tokens.len()).unwrap_or(u64::MAX);
        let entries = count(&positions);
        return Ok(Erased { entries, damaged, records_left, ..Erased::default() });
    }
    // The newest first: an entry that says whose token another one is about outlives that one.
    for part in positions.rchunks(PAGE as usize) {
        let act = Act::PersonalErased { positions: runs(part), reason: erasure.reason.clone() };
        let (actor, policy, at_ms) = by;
        let entry = AuditEntry { at_ms, actor: actor.to_owned(), policy: Some(policy), act };
        store.erase_personal(part, &entry).await?;
    }
    // Records and requests have no time of their own to compare with: they go once they are of no use.
    let (mut records, now) = (0_u64, UnixMillis(by.2));
    let before = now.numeric_date().seconds().saturating_sub(LEAST_KEPT);
    let before = before.min(erasure.before_ms / 1000);
    loop {
        match store.erase_tokens(subject, before).await? {
            0 => break,
            gone => records = records.saturating_add(gone),
        }
    }
    let requests = store.erase_access(subject, now).await?;
    let left = recorded(store, subject).await?.len();
    let records_left = u64::try_from(left).unwrap_or(u64::MAX);
    let is_in_files = !store.forget_erased().await?;
    let entries = count(&positions);
    Ok(Erased { entries, damaged, records, records_left, requests, is_in_files })
}

/// The tokens of a subject that have a record.
async fn recorded(store: &impl TokenStore, subject: &str) -> Result<HashSet<String>, StoreError> {
    let filter = TokenFilter { subject: Some(subject.to_owned()), ..TokenFilter::default() };
    let (mut page, mut tokens) = (Page::first(false, PAGE), HashSet::new());
    loop {
        let records = store.tokens(&filter, page).await?;
        let Some(last) = records.last() else { return Ok(tokens) };
        page.after = last.seq;
        tokens.extend(records.into_iter().map(|record| record.facts.jwt_id));
    }
}

/// The last position of a page of the trail, its entries that have personal values, and how many of those cannot
/// be read. `None` after the last page.
async fn personal(
    store: &impl LogStore,
    after: u64,
) -> Result<Option<(u64, Vec<(u64, AuditEntry)>, u64)>, StoreError> {
    let leaves = store.leaves(after, PAGE).await?;
    let Some((last, _)) = leaves.last() else { return Ok(None) };
    let (last, mut damaged, mut found) = (*last, 0_u64, Vec::with_capacity(leaves.len()));
    for (position, leaf) in leaves.into_iter().filter(|(_, leaf)| leaf.private.is_some()) {
        match leaf.entry() {
            Ok(entry) => found.push((position, entry)),
            Err(_) => damaged = damaged.saturating_add(1),
        }
    }
    Ok(Some((last, found, damaged)))
}

/// Positions that rise, as first and last of each run.
fn runs(positions: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for position in positions {
        match runs.last_mut() {
            Some((_, last)) if last.saturating_add(1) == *position => *last = *position,
            _ => runs.push((*position, *position)),
        }
    }
    runs
}

/// Whether the entry names the subject: as the subject of tokens, or as a person who acted.
fn is_about(entry: &AuditEntry, subject: &str) -> bool {
    entry.act.names().subject == Some(subject) || is_person(&entry.actor, subject)
}

/// Whether an actor of the audit trail is this person. A client, a federation or a channel of reports is nobody.
pub(crate) fn is_person(actor: &str, subject: &str) -> bool {
    matches!(actor.split_once(':'), Some(("subject" | "cli", name)) if name == subject)
}

fn count(positions: &[u64]) -> u64 {
    u64::try_from(positions.len()).unwrap_or(u64::MAX)
}
