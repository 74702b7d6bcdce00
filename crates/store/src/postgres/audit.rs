//! The audit trail: entries are added with the change that they record, and never changed.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::audit::leaf::{Leaf, Private};
use edgepass_issuer::storage::{Page, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::connections::query;
use super::error::{corrupt, failed};
use super::paged;
use crate::rows;

/// Adds an entry.
pub(super) async fn append(
    connection: &mut PgConnection,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    append_all(connection, &[entry]).await
}

/// Adds entries in this order. Their places follow the last one without a gap: no other transaction writes
/// meanwhile.
pub(super) async fn append_all(
    connection: &mut PgConnection,
    entries: &[&AuditEntry],
) -> Result<(), StoreError> {
    let (mut times, mut texts) = (Vec::new(), Vec::new());
    let (mut salts, mut values) = (Vec::new(), Vec::new());
    for entry in entries {
        let mut salt = [0; 16];
        let none = |_| StoreError::Unavailable("the system has no randomness".into());
        aws_lc_rs::rand::fill(&mut salt).map_err(none)?;
        let leaf = Leaf::new(entry, salt).map_err(corrupt)?;
        times.push(rows::signed(entry.at_ms));
        texts.push(leaf.text);
        salts.push(salt.to_vec());
        values.push(leaf.private.map(|private| private.values));
    }
    query(
        "INSERT INTO audit (seq, at_ms, leaf, salt, private) \
         SELECT (SELECT coalesce(max(seq), 0) FROM audit) + place, at_ms, leaf, salt, private \
         FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::text[]) WITH ORDINALITY \
         AS new (at_ms, leaf, salt, private, place)",
    )
    .bind(times)
    .bind(texts)
    .bind(salts)
    .bind(values)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// One page of the entries that were recorded at `since_ms` or later, with their places.
pub(super) async fn page(
    connection: &mut PgConnection,
    since_ms: u64,
    page: Page,
) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
    const WANTED: &str = "SELECT seq, at_ms, leaf, salt, private FROM audit WHERE seq > $1 AND seq < $2 AND at_ms >= $4";
    let rows = paged(WANTED, page)
        .bind(rows::signed(since_ms))
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let entry = |row: &PgRow| {
        let seq = rows::unsigned(row, "seq").map_err(failed)?;
        let entry = leaf(row)?.entry();
        Ok((seq, entry.map_err(|error| corrupt(rows::BadEntry(seq, error)))?))
    };
    rows.iter().map(entry).collect()
}

/// The entries at places after `after`, in order.
pub(super) async fn leaves(
    connection: &mut PgConnection,
    after: u64,
    most: u32,
) -> Result<Vec<(u64, Leaf)>, StoreError> {
    let rows = query(
        "SELECT seq, at_ms, leaf, salt, private FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
    )
    .bind(rows::signed(after))
    .bind(i64::from(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let placed = |row: &PgRow| Ok((rows::unsigned(row, "seq").map_err(failed)?, leaf(row)?));
    rows.iter().map(placed).collect()
}

/// Erases the personal values of the entries at these places, and records that. They stay readable in the files
/// of the database until `VACUUM` has overwritten them, and in its write-ahead log.
pub(super) async fn erase(
    connection: &mut PgConnection,
    places: &[u64],
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    let places: Vec<i64> = places.iter().map(|place| rows::signed(*place)).collect();
    query("UPDATE audit SET salt = NULL, private = NULL WHERE seq = ANY($1)")
        .bind(places)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    append(connection, entry).await
}

/// The columns `at_ms`, `leaf`, `salt` and `private`.
fn leaf(row: &PgRow) -> Result<Leaf, StoreError> {
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
