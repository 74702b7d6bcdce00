//! `Store` on SQLite.

use std::path::Path;
use std::time::Duration;

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::signing_key::SealedKey;
use edgepass_issuer::status_index::permute;
use edgepass_issuer::storage::{
    ListEdition, ListState, NewToken, RecordedRevocation, StatusSlot, Store, StoreError,
    StoredKeys, TokenFilter, TokenRecord,
};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Row, Sqlite, SqliteConnection, Transaction};

use crate::rows;

/// Indices per status list.
pub const LIST_CAPACITY: u32 = 1 << 17;

/// The issuer's tables in one SQLite file.
pub struct SqliteStore {
    /// The only connection that writes: SQLite has one writer at a time anyway.
    writer: SqlitePool,
    readers: SqlitePool,
    /// A connection of its own, so that `data_version` sees every other connection's commits.
    watcher: SqlitePool,
}

impl SqliteStore {
    /// Open the file, creating it when `create` is set, and bring its tables up to date.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the file cannot be opened, written or migrated.
    pub async fn open(file: &Path, create: bool) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            // Measured: with NORMAL a power cut loses acknowledged commits.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            // Connections live as long as the store: `data_version` compares within one connection.
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).connect_with(options.clone()).await.map_err(unavailable)?;
        sqlx::migrate!("migrations/sqlite").run(&writer).await.map_err(unavailable)?;
        let reading = options.create_if_missing(false).read_only(true);
        Ok(Self {
            writer,
            readers: pool(4).connect_with(reading.clone()).await.map_err(unavailable)?,
            watcher: pool(1).connect_with(reading).await.map_err(unavailable)?,
        })
    }

    /// Close every connection.
    pub async fn close(&self) {
        self.watcher.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A transaction that takes the write lock at once, so that it never fails half-way on it.
    async fn write(&self) -> Result<Transaction<'_, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)
    }
}

impl Store for SqliteStore {
    async fn keys(&self) -> Result<StoredKeys, StoreError> {
        let rows = sqlx::query("SELECT * FROM signing_keys ORDER BY created_at, key_id")
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        let keys = rows.iter().map(rows::key).collect::<Result<_, _>>().map_err(unavailable)?;
        let changed_at = rows.iter().map(|row| rows::unsigned::<u64>(row, "changed_at"));
        let changed_at = changed_at.collect::<Result<Vec<_>, _>>().map_err(unavailable)?;
        Ok(StoredKeys { keys, changed_at: changed_at.into_iter().max().unwrap_or_default() })
    }

    async fn add_keys(&self, keys: &[SealedKey], entry: &AuditEntry) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        for key in keys {
            sqlx::query(
                "INSERT INTO signing_keys (key_id, use, x, sealed, created_at, changed_at) \
                 VALUES ($1, $2, $3, $4, $5, $5)",
            )
            .bind(&key.key_id)
            .bind(rows::use_name(key.use_))
            .bind(key.x.as_slice())
            .bind(&key.sealed)
            .bind(rows::signed(key.created_at))
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        }
        append(&mut transaction, entry).await?;
        transaction.commit().await.map_err(unavailable)
    }

    async fn record_issue(
        &self,
        new: &NewToken,
        entry: &AuditEntry,
    ) -> Result<StatusSlot, StoreError> {
        let mut transaction = self.write().await?;
        let slot = take_slot(&mut transaction, new).await?;
        let token = &new.facts;
        sqlx::query(
            "INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, created_by, \
             issued_at, expiration, list_id, list_index) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&token.jwt_id)
        .bind(&token.role)
        .bind(&token.client_id)
        .bind(&token.subject)
        .bind(&token.audience)
        .bind(&token.scope)
        .bind(&token.created_by)
        .bind(rows::signed(token.issued_at))
        .bind(rows::signed(token.expiration))
        .bind(&slot.list_id)
        .bind(rows::signed(slot.index))
        .execute(&mut *transaction)
        .await
        .map_err(unavailable)?;
        append(&mut transaction, entry).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(slot)
    }

    async fn record_revocation(
        &self,
        jwt_id: &str,
        reason: &str,
        entry: &AuditEntry,
    ) -> Result<Option<RecordedRevocation>, StoreError> {
        let mut transaction = self.write().await?;
        let found = sqlx::query(
            "SELECT t.list_id, t.revoked_at_ms, l.changes FROM tokens t \
             JOIN status_lists l ON l.id = t.list_id WHERE t.jwt_id = $1",
        )
        .bind(jwt_id)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let Some(found) = found else { return Ok(None) };
        let list_id: String = found.try_get("list_id").map_err(unavailable)?;
        let revoked: Option<i64> = found.try_get("revoked_at_ms").map_err(unavailable)?;
        let change: u64 = rows::unsigned(&found, "changes").map_err(unavailable)?;
        if revoked.is_some() {
            return Ok(Some(RecordedRevocation { list_id, change, already: true }));
        }
        sqlx::query("UPDATE tokens SET revoked_at_ms = $1, revoked_for = $2 WHERE jwt_id = $3")
            .bind(rows::signed(entry.at_ms))
            .bind(reason)
            .bind(jwt_id)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        sqlx::query("UPDATE status_lists SET changes = changes + 1 WHERE id = $1")
            .bind(&list_id)
            .execute(&mut *transaction)
            .await
            .map_err(unavailable)?;
        append(&mut transaction, entry).await?;
        transaction.commit().await.map_err(unavailable)?;
        Ok(Some(RecordedRevocation { list_id, change: change + 1, already: false }))
    }

    async fn token(&self, jwt_id: &str) -> Result<Option<TokenRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE jwt_id = $1")
            .bind(jwt_id)
            .fetch_optional(&self.readers)
            .await
            .map_err(unavailable)?;
        row.as_ref().map(rows::token).transpose().map_err(unavailable)
    }

    async fn tokens(&self, filter: &TokenFilter) -> Result<Vec<TokenRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM tokens WHERE ($1 IS NULL OR role = $1) \
             AND ($2 IS NULL OR (expiration > $2 AND revoked_at_ms IS NULL)) \
             ORDER BY issued_at DESC, jwt_id",
        )
        .bind(&filter.role)
        .bind(filter.live_at.map(rows::signed))
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
        rows.iter().map(rows::token).collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn lists(&self, retired_before: u64) -> Result<Vec<ListState>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, changes, published FROM status_lists WHERE window_end > $1 ORDER BY id",
        )
        .bind(rows::signed(retired_before))
        .fetch_all(&self.readers)
        .await
        .map_err(unavailable)?;
        rows.iter().map(rows::list_state).collect::<Result<_, _>>().map_err(unavailable)
    }

    async fn next_edition(&self, list_id: &str, now: u64) -> Result<ListEdition, StoreError> {
        let mut transaction = self.write().await?;
        let list = sqlx::query(
            "UPDATE status_lists SET number = number + 1, issued_at = max(issued_at, $2) \
             WHERE id = $1 RETURNING number, issued_at, capacity, changes",
        )
        .bind(list_id)
        .bind(rows::signed(now))
        .fetch_one(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let revoked = sqlx::query(
            "SELECT list_index FROM tokens WHERE list_id = $1 AND revoked_at_ms IS NOT NULL",
        )
        .bind(list_id)
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
        let edition = || -> Result<ListEdition, sqlx::Error> {
            Ok(ListEdition {
                id: list_id.to_owned(),
                number: rows::unsigned(&list, "number")?,
                issued_at: rows::unsigned(&list, "issued_at")?,
                capacity: rows::unsigned(&list, "capacity")?,
                changes: rows::unsigned(&list, "changes")?,
                revoked: revoked
                    .iter()
                    .map(|row| rows::unsigned(row, "list_index"))
                    .collect::<Result<_, _>>()?,
            })
        };
        edition().map_err(unavailable)
    }

    async fn mark_published(&self, list_id: &str, changes: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE status_lists SET published = max(published, $2) WHERE id = $1")
            .bind(list_id)
            .bind(rows::signed(changes))
            .execute(&self.writer)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn version(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("PRAGMA data_version")
            .fetch_one(&self.watcher)
            .await
            .map_err(unavailable)?;
        row.try_get(0).map_err(unavailable)
    }

    async fn audit(&self) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = sqlx::query("SELECT entry FROM audit ORDER BY seq")
            .fetch_all(&self.readers)
            .await
            .map_err(unavailable)?;
        rows.iter().map(rows::audit_entry).collect::<Result<_, _>>().map_err(unavailable)
    }
}

/// Take the next counter of a list of the token's window that is not full, opening one if needed.
async fn take_slot(
    connection: &mut SqliteConnection,
    token: &NewToken,
) -> Result<StatusSlot, StoreError> {
    let window = rows::signed(token.window.end);
    let open = sqlx::query(
        "UPDATE status_lists SET next_counter = next_counter + 1 WHERE id = (SELECT id FROM \
         status_lists WHERE window_end = $1 AND next_counter < capacity ORDER BY id LIMIT 1) \
         RETURNING id, secret, capacity, next_counter - 1 AS counter",
    )
    .bind(window)
    .fetch_optional(&mut *connection)
    .await
    .map_err(unavailable)?;
    let row = match open {
        Some(row) => row,
        None => sqlx::query(
            "INSERT INTO status_lists (id, window_end, secret, capacity, next_counter) \
             SELECT $1 || '-' || count(*), $1, $2, $3, 1 FROM status_lists WHERE window_end = $1 \
             RETURNING id, secret, capacity, 0 AS counter",
        )
        .bind(window)
        .bind(token.list_secret.as_slice())
        .bind(i64::from(LIST_CAPACITY))
        .fetch_one(&mut *connection)
        .await
        .map_err(unavailable)?,
    };
    let slot = || -> Result<StatusSlot, sqlx::Error> {
        let secret: Vec<u8> = row.try_get("secret")?;
        let secret: [u8; 32] = secret
            .try_into()
            .map_err(|_| sqlx::Error::Decode(Box::new(rows::BadRow("status_lists"))))?;
        let (counter, capacity) =
            (rows::unsigned(&row, "counter")?, rows::unsigned(&row, "capacity")?);
        let index = u64::from(permute(&secret, counter, capacity));
        Ok(StatusSlot { list_id: row.try_get("id")?, index })
    };
    slot().map_err(unavailable)
}

async fn append(connection: &mut SqliteConnection, entry: &AuditEntry) -> Result<(), StoreError> {
    let text = serde_json::to_string(entry).map_err(unavailable)?;
    sqlx::query("INSERT INTO audit (at_ms, actor, act, entry) VALUES ($1, $2, $3, $4)")
        .bind(rows::signed(entry.at_ms))
        .bind(&entry.actor)
        .bind(entry.act.name())
        .bind(text)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError(Box::new(error))
}

/// How long a call waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
