//! Restored backups, and a changed master key.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::restore::{Adopted, NUMBER_GAP, PublishedList, Restoration, RestoreStore};
use edgepass_issuer::rewrap::{RewrapStore, Rewrapped};
use edgepass_issuer::storage::StoreError;
use edgepass_status_list::StatusType;
use sqlx::SqliteConnection;

use super::audit::append;
use super::{SqliteStore, access, corrupt, failed, keys, log};
use crate::rows;

impl RestoreStore for SqliteStore {
    async fn record_restoration(
        &self,
        restoration: &Restoration,
    ) -> Result<Option<Adopted>, StoreError> {
        self.writer.write(async |connection| record(connection, restoration).await).await
    }
}

impl RewrapStore for SqliteStore {
    async fn rewrap_keys(
        &self,
        seen: u64,
        keys: &[Rewrapped],
        log: Option<&Rewrapped>,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.writer.write(async |connection| rewrap(connection, seen, keys, log, entry).await).await
    }
}

async fn record(
    connection: &mut SqliteConnection,
    restoration: &Restoration,
) -> Result<Option<Adopted>, StoreError> {
    if keys::all(connection).await?.changed_at != restoration.keys.seen {
        return Ok(None);
    }
    keys::apply(connection, &restoration.keys).await?;
    // Also without a change of keys: verifiers may hold a set from after the backup.
    sqlx::query("UPDATE signing_keys SET changed_at = $1")
        .bind(rows::signed(restoration.keys.now))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    sqlx::query("INSERT INTO restores (epoch, at_ms) VALUES ($1, $2)")
        .bind(restoration.epoch.as_str())
        .bind(rows::signed(restoration.at.0))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    access::end_all(connection, restoration.policy, restoration.at).await?;
    let mut adopted = Adopted::default();
    for list in &restoration.lists {
        let (is_new, statuses) = adopt(connection, list).await?;
        adopted.lists = adopted.lists.saturating_add(is_new.into());
        adopted.statuses = adopted.statuses.saturating_add(statuses);
    }
    // Every index counts as taken: it may belong to a token from after the backup.
    sqlx::query("UPDATE status_lists SET next_counter = capacity, number = max(number + $1, $2)")
        .bind(rows::signed(NUMBER_GAP))
        .bind(rows::signed(restoration.at.0))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    log::end(connection).await?;
    append(connection, &restoration.entry(adopted)).await?;
    Ok(Some(adopted))
}

/// Adopts a list that a target shows. Returns whether the database lacked it, and the number of statuses that
/// the database lacked.
async fn adopt(
    connection: &mut SqliteConnection,
    list: &PublishedList,
) -> Result<(bool, u64), StoreError> {
    let known = sqlx::query("SELECT number, bits, capacity FROM status_lists WHERE id = $1")
        .bind(&list.id)
        .fetch_optional(&mut *connection)
        .await
        .map_err(failed)?;
    let (mut number, mut capacity) = (0, list.capacity);
    if let Some(row) = &known {
        number = rows::unsigned(row, "number").map_err(failed)?;
        capacity = rows::unsigned(row, "capacity").map_err(failed)?;
        if rows::bits(row).map_err(failed)? != list.bits {
            return Err(corrupt(rows::BadRow("status_lists")));
        }
    }
    // No index of it is ever given, so its secret is of no use.
    sqlx::query(
        "INSERT INTO status_lists (id, window_end, secret, capacity, next_counter, number, issued_at, \
         bits, after_seq) VALUES ($1, $2, zeroblob(32), $3, $3, $4, $5, $6, \
         (SELECT coalesce(max(seq), 0) FROM tokens)) ON CONFLICT (id) DO UPDATE SET \
         number = max(number, excluded.number), issued_at = max(issued_at, excluded.issued_at)",
    )
    .bind(&list.id)
    .bind(rows::signed(list.window_end))
    .bind(list.capacity)
    .bind(rows::signed(list.number))
    .bind(rows::signed(list.issued_at))
    .bind(list.bits.number())
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    // A suspension that the target shows in an older edition than the database's was lifted since.
    let counts = |status| status == StatusType::Invalid || list.number > number;
    let statuses: Vec<(u32, u8)> = list
        .statuses
        .iter()
        .filter(|(index, status)| *index < capacity && counts(*status))
        .map(|(index, status)| (*index, status.number()))
        .collect();
    let lacked = adopt_statuses(connection, &list.id, &statuses).await?;
    if lacked > 0 {
        sqlx::query(
            "UPDATE status_lists SET changes = changes + 1, due = changes + 1 WHERE id = $1",
        )
        .bind(&list.id)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok((known.is_none(), lacked))
}

/// Adds statuses to those of a list: to the records of the tokens, or to `adopted_statuses` for a token
/// without a record. Returns how many were added.
async fn adopt_statuses(
    connection: &mut SqliteConnection,
    list_id: &str,
    statuses: &[(u32, u8)],
) -> Result<u64, StoreError> {
    let count = "SELECT count(*) AS statuses FROM adopted_statuses WHERE list_id = $1";
    let count = async |connection: &mut SqliteConnection| {
        let row = sqlx::query(count).bind(list_id).fetch_one(connection).await;
        row.and_then(|row| rows::unsigned::<u64>(&row, "statuses")).map_err(failed)
    };
    let before = count(connection).await?;
    // `WHERE true`: else SQLite reads `ON` as that of a join.
    sqlx::query(
        "INSERT INTO adopted_statuses SELECT $1, value ->> 0, value ->> 1 FROM json_each($2) WHERE true \
         ON CONFLICT DO UPDATE SET status = min(status, excluded.status)",
    )
    .bind(list_id)
    .bind(serde_json::to_string(statuses).map_err(corrupt)?)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let changed = sqlx::query(
        "UPDATE tokens SET status_act = NULL, status = (SELECT a.status FROM adopted_statuses a \
         WHERE a.list_id = $1 AND a.list_index = tokens.list_index) \
         WHERE list_id = $1 AND status <> 1 AND EXISTS (SELECT 1 FROM adopted_statuses a \
         WHERE a.list_id = $1 AND a.list_index = tokens.list_index AND a.status <> tokens.status)",
    )
    .bind(list_id)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    sqlx::query(
        "DELETE FROM adopted_statuses WHERE list_id = $1 AND EXISTS (SELECT 1 FROM tokens t \
         WHERE t.list_id = $1 AND t.list_index = adopted_statuses.list_index AND t.status <> 0)",
    )
    .bind(list_id)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let without_record = count(connection).await?.saturating_sub(before);
    Ok(changed.rows_affected().saturating_add(without_record))
}

async fn rewrap(
    connection: &mut SqliteConnection,
    seen: u64,
    keys: &[Rewrapped],
    log: Option<&Rewrapped>,
    entry: &AuditEntry,
) -> Result<bool, StoreError> {
    let stored = keys::all(connection).await?;
    let is_as_seen = |key: &Rewrapped| {
        stored.keys.iter().any(|other| other.key_id == key.key_id && other.sealed == key.from)
    };
    if stored.changed_at != seen || !keys.iter().all(is_as_seen) {
        return Ok(false);
    }
    if let Some(log) = log
        && !log::rewrap(connection, &log.key_id, &log.from, &log.to).await?
    {
        return Ok(false);
    }
    for key in keys {
        sqlx::query("UPDATE signing_keys SET sealed = $2 WHERE key_id = $1")
            .bind(&key.key_id)
            .bind(&key.to)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    append(connection, entry).await?;
    Ok(true)
}
