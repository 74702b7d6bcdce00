//! Restored backups, and a changed master key.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::restore::{Adopted, NUMBER_GAP, PublishedList, Restoration, RestoreStore};
use edgepass_issuer::rewrap::{RewrapStore, Rewrapped};
use edgepass_issuer::storage::StoreError;
use edgepass_status_list::StatusType;
use sqlx::PgConnection;

use super::audit::append;
use super::connections::query;
use super::error::{corrupt, failed};
use super::{PostgresStore, access, keys, log};
use crate::rows;
use crate::sqlite::backup::Contents;

impl PostgresStore {
    /// What the database holds.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn contents(&self) -> Result<Contents, StoreError> {
        let counts = query(
            // To count them takes too long. Records of tokens are deleted from the oldest on.
            "SELECT (SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM tokens) AS tokens, \
             (SELECT coalesce(max(seq), 0) FROM audit) AS entries, \
             coalesce((SELECT at_ms FROM audit ORDER BY seq DESC LIMIT 1), 0) AS last_entry_ms, \
             (SELECT count(*) FROM signing_keys WHERE position('pkcs11:'::bytea IN sealed) = 1) \
             AS device_keys",
        );
        let row = self.database.read(async |one| counts.fetch_one(one).await.map_err(failed));
        let row = row.await?;
        let number = |column| rows::unsigned(&row, column).map_err(failed);
        Ok(Contents {
            tokens: number("tokens")?,
            entries: number("entries")?,
            last_entry_ms: number("last_entry_ms")?,
            device_keys: number("device_keys")?,
        })
    }
}

impl RestoreStore for PostgresStore {
    async fn record_restoration(
        &self,
        restoration: &Restoration,
    ) -> Result<Option<Adopted>, StoreError> {
        let record = async |connection: &mut PgConnection| record(connection, restoration).await;
        self.database.write_alone(record).await
    }
}

impl RewrapStore for PostgresStore {
    async fn rewrap_keys(
        &self,
        seen: u64,
        keys: &[Rewrapped],
        log: Option<&Rewrapped>,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.database
            .write(async |connection| rewrap(connection, seen, keys, log, entry).await)
            .await
    }
}

async fn record(
    connection: &mut PgConnection,
    restoration: &Restoration,
) -> Result<Option<Adopted>, StoreError> {
    if keys::all(connection).await?.changed_at != restoration.keys.seen {
        return Ok(None);
    }
    keys::apply(connection, &restoration.keys).await?;
    // Also without a change of keys: verifiers may hold a set from after the backup.
    query("UPDATE signing_keys SET changed_at = $1")
        .bind(rows::signed(restoration.keys.now))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    query("INSERT INTO restores (number, epoch, at_ms) SELECT coalesce(max(number), 0) + 1, $1, $2 FROM restores")
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
    query("UPDATE status_lists SET next_counter = capacity, number = greatest(number + $1, $2)")
        .bind(rows::signed(NUMBER_GAP))
        .bind(rows::signed(restoration.at.0))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    log::end(connection).await?;
    // They are of before the restoration: nobody may serve them.
    query("DELETE FROM documents").execute(&mut *connection).await.map_err(failed)?;
    append(connection, &restoration.entry(adopted)).await?;
    Ok(Some(adopted))
}

/// Adopts a list that a target shows. Returns whether the database lacked it, and the number of statuses that
/// the database lacked.
async fn adopt(
    connection: &mut PgConnection,
    list: &PublishedList,
) -> Result<(bool, u64), StoreError> {
    let known = query("SELECT number, bits, capacity FROM status_lists WHERE id = $1")
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
    query(
        "INSERT INTO status_lists (id, window_end, secret, capacity, next_counter, number, issued_at, \
         bits, after_seq) VALUES ($1, $2, decode(repeat('00', 32), 'hex'), $3, $3, $4, $5, $6, \
         (SELECT coalesce(max(seq), 0) FROM tokens)) ON CONFLICT (id) DO UPDATE SET \
         number = greatest(status_lists.number, excluded.number), \
         issued_at = greatest(status_lists.issued_at, excluded.issued_at)",
    )
    .bind(&list.id)
    .bind(rows::signed(list.window_end))
    .bind(i64::from(list.capacity))
    .bind(rows::signed(list.number))
    .bind(rows::signed(list.issued_at))
    .bind(i64::from(list.bits.number()))
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    // A suspension that the target shows in an older edition than the database's was lifted since.
    let counts = |status| status == StatusType::Invalid || list.number > number;
    let statuses: Vec<(i64, i64)> = list
        .statuses
        .iter()
        .filter(|(index, status)| *index < capacity && counts(*status))
        .map(|(index, status)| (i64::from(*index), i64::from(status.number())))
        .collect();
    let lacked = adopt_statuses(connection, &list.id, &statuses).await?;
    if lacked > 0 {
        query("UPDATE status_lists SET changes = changes + 1, due = changes + 1 WHERE id = $1")
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
    connection: &mut PgConnection,
    list_id: &str,
    statuses: &[(i64, i64)],
) -> Result<u64, StoreError> {
    let count = "SELECT count(*) AS statuses FROM adopted_statuses WHERE list_id = $1";
    let count = async |connection: &mut PgConnection| {
        let row = query(count).bind(list_id).fetch_one(connection).await;
        row.and_then(|row| rows::unsigned::<u64>(&row, "statuses")).map_err(failed)
    };
    let before = count(connection).await?;
    let (indices, values): (Vec<i64>, Vec<i64>) = statuses.iter().copied().unzip();
    query(
        "INSERT INTO adopted_statuses (list_id, list_index, status) \
         SELECT $1, * FROM unnest($2::bigint[], $3::bigint[]) ON CONFLICT (list_id, list_index) \
         DO UPDATE SET status = least(adopted_statuses.status, excluded.status)",
    )
    .bind(list_id)
    .bind(indices)
    .bind(values)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    let changed = query(
        "UPDATE tokens SET status_act = NULL, status = (SELECT a.status FROM adopted_statuses a \
         WHERE a.list_id = $1 AND a.list_index = tokens.list_index) \
         WHERE list_id = $1 AND status <> 1 AND EXISTS (SELECT 1 FROM adopted_statuses a \
         WHERE a.list_id = $1 AND a.list_index = tokens.list_index AND a.status <> tokens.status)",
    )
    .bind(list_id)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    query(
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
    connection: &mut PgConnection,
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
        query("UPDATE signing_keys SET sealed = $2 WHERE key_id = $1")
            .bind(&key.key_id)
            .bind(&key.to)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    append(connection, entry).await?;
    Ok(true)
}
