//! Group commit: tokens that are issued while a transaction is under way share the next one, and so one
//! sync to disk. Each is recorded as if it were alone: what refuses one does not touch the others.

use std::sync::Arc;

use edgepass_issuer::storage::{Recorded, StoreError};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use super::audit;
use super::connections::Connections;
use super::error::{corrupt, failed, is_of_one};
use super::issue::{self, Blocking};
use crate::issues::{Groups, Issue, MOST, repeated};
use crate::ranges::Ranges;
use crate::rows;

/// Starts the task that records tokens. It ends when all senders are gone.
pub(super) fn start(database: Arc<Connections>) -> mpsc::Sender<Issue> {
    let (sender, receiver) = mpsc::channel(MOST);
    let mut groups = Groups::new(receiver);
    tokio::spawn(async move {
        let mut ranges = Ranges::default();
        while let Some(group) = groups.next().await {
            record(&database, group, &mut ranges).await;
        }
    });
    sender
}

/// Records those of a group whose requests still wait, and tells each its outcome.
async fn record(database: &Connections, mut group: Vec<Issue>, ranges: &mut Ranges) {
    group.retain(|issue| !issue.outcome.is_closed());
    if group.is_empty() {
        return;
    }
    let before = ranges.clone();
    match database.write(async |one| together(one, &group, ranges).await).await {
        Ok(outcomes) => {
            for (issue, outcome) in group.into_iter().zip(outcomes) {
                let _ = issue.outcome.send(outcome);
            }
        }
        Err(error) => {
            // What the transaction reserved is given back. In doubt no index is used again.
            match is_of_one(&error) {
                true => *ranges = before,
                false => ranges.forget(),
            }
            if is_of_one(&error) && group.len() > 1 {
                return record_each(database, group).await;
            }
            let again = repeated(error);
            for issue in group {
                let _ = issue.outcome.send(Err(again()));
            }
        }
    }
}

/// Records each token in a transaction of its own.
async fn record_each(database: &Connections, group: Vec<Issue>) {
    for issue in group {
        let outcome = database.write(async |one| alone(one, &issue).await).await;
        let _ = issue.outcome.send(outcome.unwrap_or_else(Err));
    }
}

/// Records a group in the transaction of `connection`.
async fn together(
    connection: &mut PgConnection,
    group: &[Issue],
    ranges: &mut Ranges,
) -> Result<Vec<Result<Recorded, StoreError>>, StoreError> {
    let earliest = group.iter().map(|issue| issue.entry.at_ms).min().unwrap_or_default();
    let blocking = Blocking::at(connection, earliest).await?;
    let is_blocked = |issue: &&Issue| blocking.includes(&issue.new.facts, issue.entry.at_ms);
    let plain: Vec<&Issue> =
        group.iter().filter(|issue| issue.is_plain() && !is_blocked(issue)).collect();
    let mut taken = Vec::with_capacity(plain.len());
    ranges.end(earliest / 1000);
    for (at, issue) in plain.iter().enumerate() {
        let left = plain.len().saturating_sub(at);
        taken.push(issue::take_reserved(connection, ranges, &issue.new.list, left).await?);
    }
    if !plain.is_empty() {
        let tokens: Vec<_> =
            plain.iter().zip(&taken).map(|(issue, taken)| (&issue.new.facts, taken)).collect();
        issue::insert(connection, &tokens).await?;
        let entries: Vec<_> = plain.iter().map(|issue| &issue.entry).collect();
        audit::append_all(connection, &entries).await?;
    }
    let mut taken = taken.into_iter();
    let mut outcomes = Vec::with_capacity(group.len());
    for issue in group {
        outcomes.push(if !issue.is_plain() {
            alone(connection, issue).await?
        } else if is_blocked(&issue) {
            Ok(Recorded::Blocked)
        } else {
            let taken = taken.next().map(|taken| Recorded::At(taken.slot));
            taken.ok_or_else(|| corrupt(rows::BadRow("status_lists")))
        });
    }
    Ok(outcomes)
}

/// Records one token of a group. Undoes what it did of one that is refused or fails. An error that is
/// not of this token alone is that of the group.
async fn alone(
    connection: &mut PgConnection,
    issue: &Issue,
) -> Result<Result<Recorded, StoreError>, StoreError> {
    let mut savepoint = connection.begin().await.map_err(failed)?;
    let outcome = issue::record(&mut savepoint, &issue.new, &issue.entry).await;
    match outcome {
        Ok(Recorded::At(_)) => savepoint.commit().await.map_err(failed)?,
        Err(error) if !is_of_one(&error) => return Err(error),
        _ => savepoint.rollback().await.map_err(failed)?,
    }
    Ok(outcome)
}
