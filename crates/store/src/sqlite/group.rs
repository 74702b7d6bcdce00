//! Group commit: tokens that are issued while a transaction is under way share the next one, and so one
//! sync to disk. Each is recorded as if it were alone: what refuses one does not touch the others.

use std::error::Error;
use std::sync::{Arc, LazyLock};

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::storage::{NewToken, Recorded, StoreError};
use sqlx::{AssertSqlSafe, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::issue::{self, Blocking, Taken};
use super::{Writer, corrupt, failed};
use crate::rows;

/// Tokens in one transaction, at most.
const MOST: usize = 256;
/// Rows of one statement, at most.
const ROWS: usize = 32;

/// A token to be recorded, and whom to tell.
pub(super) struct Issue {
    pub(super) new: NewToken,
    pub(super) entry: AuditEntry,
    pub(super) outcome: oneshot::Sender<Result<Recorded, StoreError>>,
}

/// Starts the task that records tokens. It ends when all senders are gone.
pub(super) fn start(writer: Arc<Writer>) -> mpsc::Sender<Issue> {
    let (sender, mut receiver) = mpsc::channel(MOST);
    tokio::spawn(async move {
        loop {
            let mut group = Vec::new();
            if receiver.recv_many(&mut group, MOST).await == 0 {
                break;
            }
            record(&writer, group).await;
        }
    });
    sender
}

/// Records a group, and tells each outcome. Whoever asked may have gone.
async fn record(writer: &Writer, group: Vec<Issue>) {
    let outcomes = writer.write(async |connection| together(connection, &group).await).await;
    match outcomes {
        Ok(outcomes) => {
            for (issue, outcome) in group.into_iter().zip(outcomes) {
                let _ = issue.outcome.send(outcome);
            }
        }
        // One of them may be the cause.
        Err(StoreError::Duplicate(_) | StoreError::Corrupt(_)) if group.len() > 1 => {
            for Issue { new, entry, outcome } in group {
                let alone = writer.write(async |one| issue::record(one, &new, &entry).await).await;
                let _ = outcome.send(alone);
            }
        }
        Err(error) => {
            let again = repeated(error);
            for issue in group {
                let _ = issue.outcome.send(Err(again()));
            }
        }
    }
}

/// The error of a group, as each of its tokens gets it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Shared(Arc<dyn Error + Send + Sync>);

/// Gives an error as often as asked.
fn repeated(error: StoreError) -> impl Fn() -> StoreError {
    type Cause = Box<dyn Error + Send + Sync>;
    let (kind, cause): (fn(Cause) -> StoreError, Cause) = match error {
        StoreError::Duplicate(cause) => (StoreError::Duplicate, cause),
        StoreError::Corrupt(cause) => (StoreError::Corrupt, cause),
        StoreError::NotSynced => (|_| StoreError::NotSynced, "not synced".into()),
        StoreError::Unavailable(cause) => (StoreError::Unavailable, cause),
        other => (StoreError::Unavailable, other.into()),
    };
    let cause: Arc<dyn Error + Send + Sync> = cause.into();
    move || kind(Box::new(Shared(Arc::clone(&cause))))
}

/// Records a group in the transaction of `connection`.
async fn together(
    connection: &mut SqliteConnection,
    group: &[Issue],
) -> Result<Vec<Result<Recorded, StoreError>>, StoreError> {
    let earliest = group.iter().map(|issue| issue.entry.at_ms).min().unwrap_or_default();
    let blocking = Blocking::at(connection, earliest).await?;
    // A token that depends on nothing else in the database is recorded with others of its kind.
    let is_plain = |issue: &&Issue| {
        let Issue { new, .. } = issue;
        new.facts.parent.is_none() && new.once.is_empty() && new.replaces.is_none()
    };
    let is_blocked = |issue: &&Issue| blocking.includes(&issue.new.facts, issue.entry.at_ms);
    let plain: Vec<&Issue> =
        group.iter().filter(is_plain).filter(|issue| !is_blocked(issue)).collect();
    let slots = slots(connection, &plain).await?;
    insert_tokens(connection, &plain, &slots).await?;
    insert_entries(connection, &plain).await?;
    let mut slots = slots.into_iter();
    let mut outcomes = Vec::with_capacity(group.len());
    for issue in group {
        outcomes.push(if !is_plain(&issue) {
            alone(connection, issue).await
        } else if is_blocked(&issue) {
            Ok(Recorded::Blocked)
        } else {
            slots
                .next()
                .map(|taken| Recorded::At(taken.slot))
                .ok_or_else(|| corrupt(rows::BadRow("status_lists")))
        });
    }
    Ok(outcomes)
}

/// Records one token of a group. Undoes what it did of one that is refused or fails.
async fn alone(connection: &mut SqliteConnection, issue: &Issue) -> Result<Recorded, StoreError> {
    let mut savepoint = connection.begin().await.map_err(failed)?;
    let outcome = issue::record(&mut savepoint, &issue.new, &issue.entry).await;
    match outcome {
        Ok(Recorded::At(_)) => savepoint.commit().await.map_err(failed)?,
        _ => savepoint.rollback().await.map_err(failed)?,
    }
    outcome
}

/// An unused index for each token.
async fn slots(
    connection: &mut SqliteConnection,
    plain: &[&Issue],
) -> Result<Vec<Taken>, StoreError> {
    let mut slots = Vec::with_capacity(plain.len());
    // Tokens of one window are usually next to each other, and take their indices at once.
    for run in plain.chunk_by(|a, b| {
        let (a, b) = (&a.new.list, &b.new.list);
        (a.window, a.bits) == (b.window, b.bits)
    }) {
        let Some(first) = run.first() else { continue };
        match issue::take_slots(connection, &first.new.list, run.len()).await? {
            Some(taken) => slots.extend(taken),
            None => {
                for issue in run {
                    slots.push(issue::take_slot(connection, &issue.new.list).await?);
                }
            }
        }
    }
    Ok(slots)
}

/// Statements that insert 1 to [`ROWS`] rows. Each is prepared once.
struct Inserts(Vec<String>);

impl Inserts {
    fn new(head: &str, columns: usize) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        Self((1..=ROWS).map(|n| format!("{head} VALUES {}", vec![&*row; n].join(", "))).collect())
    }

    /// The statement for the largest number of rows up to `most`, and this number.
    fn up_to(&self, most: usize) -> Option<(&str, usize)> {
        let size = most.min(ROWS);
        Some((self.0.get(size.checked_sub(1)?)?, size))
    }
}

static TOKENS: LazyLock<Inserts> = LazyLock::new(|| Inserts::new(issue::INSERT, issue::COLUMNS));
static ENTRIES: LazyLock<Inserts> =
    LazyLock::new(|| Inserts::new("INSERT INTO audit (at_ms, actor, act, entry)", 4));

async fn insert_tokens(
    connection: &mut SqliteConnection,
    mut plain: &[&Issue],
    mut slots: &[Taken],
) -> Result<(), StoreError> {
    while let Some((statement, size)) = TOKENS.up_to(plain.len()) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for (issue, slot) in plain.iter().zip(slots).take(size) {
            query = issue::bound(query, &issue.new.facts, slot)?;
        }
        query.execute(&mut *connection).await.map_err(failed)?;
        plain = plain.get(size..).unwrap_or_default();
        slots = slots.get(size..).unwrap_or_default();
    }
    Ok(())
}

async fn insert_entries(
    connection: &mut SqliteConnection,
    mut plain: &[&Issue],
) -> Result<(), StoreError> {
    while let Some((statement, size)) = ENTRIES.up_to(plain.len()) {
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for Issue { entry, .. } in plain.iter().take(size) {
            let text = serde_json::to_string(entry).map_err(corrupt)?;
            query = query.bind(rows::signed(entry.at_ms)).bind(&entry.actor);
            query = query.bind(entry.act.name()).bind(text);
        }
        query.execute(&mut *connection).await.map_err(failed)?;
        plain = plain.get(size..).unwrap_or_default();
    }
    Ok(())
}
