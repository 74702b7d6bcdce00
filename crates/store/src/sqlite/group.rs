//! Group commit: tokens that are issued while a transaction is under way share the next one, and so one
//! sync to disk. Each is recorded as if it were alone: what refuses one does not touch the others.

use std::sync::{Arc, LazyLock};

use edgepass_issuer::storage::{Recorded, StoreError};
use sqlx::error::ErrorKind;
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::mpsc;

use super::issue::{self, Blocking};
use super::writer::{COMMITTED, Writer};
use super::{audit, corrupt, failed};
use crate::issues::{Groups, Issue, MOST, repeated};
use crate::ranges::{Ranges, Taken};
use crate::rows;

/// Rows of one statement, at most.
const ROWS: usize = 64;
/// What a text of [`WHOLE`] selects if an act blocks issuing.
const BLOCKED: i64 = 0;

/// Starts the task that records tokens. It ends when all senders are gone.
pub(super) fn start(writer: Arc<Writer>) -> mpsc::Sender<Issue> {
    let (sender, receiver) = mpsc::channel(MOST);
    let mut groups = Groups::new(receiver);
    tokio::spawn(async move {
        let mut ranges = Ranges::default();
        while let Some(group) = groups.next().await {
            record(&writer, group, &mut ranges).await;
        }
    });
    sender
}

/// Records those of a group whose requests still wait, and tells each its outcome.
async fn record(writer: &Writer, mut group: Vec<Issue>, ranges: &mut Ranges) {
    group.retain(|issue| !issue.outcome.is_closed());
    if group.is_empty() {
        return;
    }
    let before = ranges.clone();
    let outcomes = match at_once(writer, &group, ranges).await {
        Ok(None) => writer.write(async |one| together(one, &group, ranges).await).await,
        Ok(Some(taken)) => {
            Ok(taken.into_iter().map(|taken| Ok(Recorded::At(taken.slot))).collect())
        }
        Err(error) => Err(error),
    };
    match outcomes {
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
                return record_each(writer, group).await;
            }
            let again = repeated(error);
            for issue in group {
                let _ = issue.outcome.send(Err(again()));
            }
        }
    }
}

/// Whether one token may be the cause of an error: SQLite refuses what it is to store.
pub(super) fn is_of_one(error: &StoreError) -> bool {
    /// Result code `SQLITE_TOOBIG`.
    const TOO_BIG: &str = "18";
    match error {
        StoreError::Duplicate(_) | StoreError::Corrupt(_) => true,
        StoreError::Unavailable(cause) => {
            let error = cause.downcast_ref::<sqlx::Error>();
            error.and_then(sqlx::Error::as_database_error).is_some_and(|error| {
                error.kind() != ErrorKind::Other || error.code().as_deref() == Some(TOO_BIG)
            })
        }
        _ => false,
    }
}

/// Records each token in a transaction of its own.
async fn record_each(writer: &Writer, group: Vec<Issue>) {
    for issue in group {
        let outcome = writer.write(async |one| alone(one, &issue).await).await;
        let _ = issue.outcome.send(outcome.unwrap_or_else(Err));
    }
}

/// Records a group of plain tokens by one text, which is a whole transaction: the thread of the
/// connection is woken once. `None`: the group needs more than that, and nothing was recorded.
async fn at_once(
    writer: &Writer,
    group: &[Issue],
    ranges: &mut Ranges,
) -> Result<Option<Vec<Taken>>, StoreError> {
    let text = group.len().checked_sub(1).and_then(|at| WHOLE.get(at));
    let (Some(text), true) = (text, group.iter().all(Issue::is_plain)) else { return Ok(None) };
    // Nothing is taken unless all get an index and are recorded.
    let mut left = ranges.clone();
    let taken: Option<Vec<Taken>> = group.iter().map(|issue| left.next(&issue.new.list)).collect();
    let Some(taken) = taken else { return Ok(None) };
    let earliest = group.iter().map(|issue| issue.entry.at_ms).min().unwrap_or_default();
    let now = rows::signed(earliest);
    let mut query = sqlx::query(AssertSqlSafe(text.as_str())).bind(now);
    for (issue, taken) in group.iter().zip(&taken) {
        query = issue::bound(query, &issue.new.facts, taken)?;
    }
    query = query.bind(now);
    for issue in group {
        query = audit::bound(query, &issue.entry)?;
    }
    match writer.transaction(query.bind(now)).await?.as_slice() {
        [] => {
            *ranges = left;
            Ok(Some(taken))
        }
        _ => Ok(None),
    }
}

/// Records a group in the transaction of `connection`.
async fn together(
    connection: &mut SqliteConnection,
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
    insert(connection, &plain, &taken).await?;
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
/// not of this token alone is that of the group: SQLite may have rolled all of it back.
async fn alone(
    connection: &mut SqliteConnection,
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

/// Texts that insert 1 to [`ROWS`] tokens and their audit entries. Each is prepared once.
static INSERTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let both = |count| {
        let (tokens, entries) = (
            issue::placeholders(issue::COLUMNS, count),
            issue::placeholders(audit::COLUMNS, count),
        );
        format!("{} VALUES {tokens}; {} VALUES {entries}", issue::INSERT, audit::INSERT)
    };
    (1..=ROWS).map(both).collect()
});

/// As [`INSERTS`], as whole transactions. They insert nothing while an act blocks the issuing of any
/// tokens, and select [`BLOCKED`] then. Each selects [`COMMITTED`] at its end.
static WHOLE: LazyLock<Vec<String>> = LazyLock::new(|| {
    let whole = |count| {
        let (tokens, entries) = (
            issue::placeholders(issue::COLUMNS, count),
            issue::placeholders(audit::COLUMNS, count),
        );
        let acts = issue::BLOCKING_ACTS.replace("$1", "?");
        format!(
            "BEGIN IMMEDIATE; SELECT {BLOCKED} WHERE EXISTS ({acts}); \
             {} SELECT * FROM (VALUES {tokens}) WHERE NOT EXISTS ({acts}); \
             {} SELECT * FROM (VALUES {entries}) WHERE NOT EXISTS ({acts}); \
             COMMIT; SELECT {COMMITTED}",
            issue::INSERT,
            audit::INSERT,
        )
    };
    (1..=ROWS).map(whole).collect()
});

async fn insert(
    connection: &mut SqliteConnection,
    plain: &[&Issue],
    taken: &[Taken],
) -> Result<(), StoreError> {
    for (plain, taken) in plain.chunks(ROWS).zip(taken.chunks(ROWS)) {
        let text = plain.len().checked_sub(1).and_then(|at| INSERTS.get(at));
        let Some(text) = text else { continue };
        let mut query = sqlx::query(AssertSqlSafe(text.as_str()));
        for (issue, taken) in plain.iter().zip(taken) {
            query = issue::bound(query, &issue.new.facts, taken)?;
        }
        for issue in plain {
            query = audit::bound(query, &issue.entry)?;
        }
        query.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}
