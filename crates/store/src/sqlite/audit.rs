//! The audit trail: entries are added with the change that they record, and never changed.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::audit::leaf::{Leaf, LeafError, Private};
use edgepass_issuer::storage::{Page, StoreError};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite, SqliteConnection};

use super::writer::Writer;
use super::{corrupt, failed, paged};
use crate::rows;

/// The start of a statement that inserts entries.
pub(super) const INSERT: &str = "INSERT INTO audit (at_ms, leaf, salt, private)";
/// Its number of columns.
pub(super) const COLUMNS: usize = 4;

/// Adds an entry.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    const ONE: &str = "INSERT INTO audit (at_ms, leaf, salt, private) VALUES (?, ?, ?, ?)";
    bound(sqlx::query(ONE), entry)?.execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Binds a row of such a statement.
pub(super) fn bound<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    entry: &AuditEntry,
) -> Result<Query<'q, Sqlite, SqliteArguments>, StoreError> {
    let mut salt = [0; 16];
    let none = |_| StoreError::Unavailable("the system has no randomness".into());
    aws_lc_rs::rand::fill(&mut salt).map_err(none)?;
    let leaf = Leaf::new(entry, salt).map_err(corrupt)?;
    let values = leaf.private.map(|private| private.values);
    Ok(query.bind(rows::signed(entry.at_ms)).bind(leaf.text).bind(salt.to_vec()).bind(values))
}

/// One page of the entries that were recorded at `since_ms` or later, with their places.
pub(super) async fn page(
    connection: &mut SqliteConnection,
    since_ms: u64,
    page: Page,
) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
    const WANTED: &str = "SELECT seq, at_ms, leaf, salt, private FROM audit WHERE seq > $1 AND seq < $2 AND at_ms >= $4";
    let rows = paged(WANTED, page)
        .bind(rows::signed(since_ms))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let entry = |row: &SqliteRow| {
        let seq = rows::unsigned(row, "seq").map_err(failed)?;
        let entry = leaf(row)?.entry();
        Ok((seq, entry.map_err(|error| corrupt(rows::BadEntry(seq, error)))?))
    };
    rows.iter().map(entry).collect()
}

/// The entries at places after `after`, in order.
pub(super) async fn leaves(
    connection: &mut SqliteConnection,
    after: u64,
    most: u32,
) -> Result<Vec<(u64, Leaf)>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq, at_ms, leaf, salt, private FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(rows::signed(after))
    .bind(most)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let placed = |row: &SqliteRow| Ok((rows::unsigned(row, "seq").map_err(failed)?, leaf(row)?));
    rows.iter().map(placed).collect()
}

/// Erases the personal values of the entries at these places, and records that.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    places: &[u64],
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    secure_delete(connection, true).await?;
    let places = serde_json::to_string(places).map_err(corrupt)?;
    sqlx::query(
        "UPDATE audit SET salt = NULL, private = NULL \
         WHERE seq IN (SELECT value FROM json_each($1))",
    )
    .bind(places)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    secure_delete(connection, false).await?;
    append(connection, entry).await
}

/// Whether what is deleted is written over, so that it does not stay readable in free parts of the file.
pub(super) async fn secure_delete(
    connection: &mut SqliteConnection,
    is_on: bool,
) -> Result<(), StoreError> {
    let text = if is_on { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = FAST" };
    sqlx::query(text).execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Empties the write-ahead log, which may hold what was erased. `false`: other readers keep it.
pub(super) async fn empty_log(writer: &Writer) -> Result<bool, StoreError> {
    const EMPTY: &str = "PRAGMA wal_checkpoint(TRUNCATE)";
    writer
        .lend(async |connection| {
            let row = sqlx::query(EMPTY).fetch_one(&mut **connection).await;
            let busy: i64 = row.and_then(|row| row.try_get(0)).map_err(failed)?;
            Ok(busy == 0)
        })
        .await
}

/// The columns `at_ms`, `leaf`, `salt` and `private`.
fn leaf(row: &SqliteRow) -> Result<Leaf, StoreError> {
    let read = || -> Result<_, sqlx::Error> {
        let (salt, values): (Option<Vec<u8>>, Option<String>) =
            (row.try_get("salt")?, row.try_get("private")?);
        Ok((row.try_get("leaf")?, salt.zip(values)))
    };
    let (text, private) = read().map_err(failed)?;
    let private = private.map(|(salt, values)| {
        let salt = salt.try_into().map_err(|_| corrupt(rows::BadRow("audit")))?;
        Ok(Private { salt, values })
    });
    let at_ms = rows::unsigned(row, "at_ms").map_err(failed)?;
    Ok(Leaf { at_ms, text, private: private.transpose()? })
}

/// Entries that are moved at once.
const MOVED: i64 = 10_000;

/// Moves the entries of a database that an older program made into the form of the log. All or none.
pub(super) async fn move_old(writer: &Writer) -> Result<(), StoreError> {
    const OLD: &str = "SELECT 1 FROM sqlite_master WHERE name = 'old_audit'";
    let found = writer
        .lend(async |connection| {
            sqlx::query(OLD).fetch_optional(&mut **connection).await.map_err(failed)
        })
        .await?;
    if found.is_none() {
        return Ok(());
    }
    writer
        .write(async |connection| {
            // Another process may have been first.
            if sqlx::query(OLD).fetch_optional(&mut *connection).await.map_err(failed)?.is_none() {
                return Ok(());
            }
            let mut after = 0;
            while let Some(last) = move_some(connection, after).await? {
                after = last;
            }
            // The old entries hold personal values, which may be erased later.
            secure_delete(connection, true).await?;
            let dropped = sqlx::query("DROP TABLE old_audit").execute(&mut *connection).await;
            dropped.map_err(failed)?;
            secure_delete(connection, false).await
        })
        .await
}

/// Moves the next entries. Returns the place of the last one. `None`: there are no more.
async fn move_some(
    connection: &mut SqliteConnection,
    after: i64,
) -> Result<Option<i64>, StoreError> {
    let rows = sqlx::query("SELECT seq, entry FROM old_audit WHERE seq > $1 ORDER BY seq LIMIT $2")
        .bind(after)
        .bind(MOVED)
        .fetch_all(&mut *connection)
        .await
        .map_err(failed)?;
    let mut last = None;
    for row in &rows {
        last = Some(row.try_get("seq").map_err(failed)?);
        let text: String = row.try_get("entry").map_err(failed)?;
        let entry = serde_json::from_str(&text).map_err(LeafError::from).map_err(corrupt)?;
        append(connection, &entry).await?;
    }
    Ok(last)
}
