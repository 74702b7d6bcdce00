//! The issuer's `Store` on SQLite.

mod access;
mod acts;
mod audit;
pub mod backup;
mod breach;
mod group;
#[cfg(test)]
mod group_tests;
mod issue;
mod keys;
mod lists;
mod log;
mod migrations;
mod policies;
mod replacements;
mod restore;
#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;
mod usage;
mod used_ids;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edgepass_issuer::access::{AccessRequest, State};
use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::audit::leaf::Leaf;
use edgepass_issuer::breach::Incident;
use edgepass_issuer::log::stored::{LogExtension, StoredLog};
use edgepass_issuer::misuse::{self, Finding, Rules};
use edgepass_issuer::new_act::{NewAct, Plan, RecordedAct};
use edgepass_issuer::policy::version::{PolicyUser, PolicyVersion, StoredPolicy};
use edgepass_issuer::replacement::Replaced;
use edgepass_issuer::storage::{
    AccessFilter, AccessStore, ActStore, Added, AuditStore, Channel, IncidentStore, KeyChange,
    KeyStore, ListEdition, ListState, ListStore, LogStore, MisuseStore, NewList, NewNotice,
    NewToken, Notice, Page, PolicyStore, Recorded, StoreError, StoreState, StoredKeys, TokenFilter,
    TokenRecord, TokenStore, UsageStore,
};
use edgepass_issuer::usage::{
    Outcome, Reported, Reporter, TokenUse, UsageBy, UsageFilter, UsageSum,
};
use edgepass_issuer::used_id::UsedId;
use edgepass_log::{Tile, TileId};
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;
use sqlx::error::DatabaseError;
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, Connection, Row, Sqlite, SqliteConnection};
use tokio::sync::mpsc;

use self::writer::Writer;
use crate::incidents;
use crate::issues::{self, Issue};
use crate::requests;
use crate::rows;
use crate::uses::{self, Tables};

/// The issuer's tables in one SQLite file.
pub struct SqliteStore {
    writer: Arc<Writer>,
    /// Tokens to be recorded, several in one transaction.
    issues: mpsc::Sender<Issue>,
    readers: SqlitePool,
    /// Only reads `data_version`, whose value changes when any other connection commits.
    watcher: SqlitePool,
    /// The host's clock. It is read inside a transaction of an act, since a transaction may wait
    /// for seconds before it begins.
    clock: fn() -> UnixMillis,
}

impl SqliteStore {
    /// Opens the file, creates it if `create` is set, and migrates its tables.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the file cannot be opened, written or migrated.
    pub async fn open(
        file: &Path,
        create: bool,
        clock: fn() -> UnixMillis,
    ) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            // Measured: with NORMAL a power cut loses acknowledged commits.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // Those that record several tokens at once have a form for each number.
            .statement_cache_capacity(300)
            // A long reader makes the write-ahead log grow. Once it has ended, the log is cut.
            .pragma("journal_size_limit", WAL_LIMIT)
            // What moves to another page must not stay readable in the first one: it may be erased later.
            .pragma("secure_delete", "FAST")
            .busy_timeout(BUSY_TIMEOUT);
        let pool = |connections| {
            // Connections never expire: `data_version` is comparable within one connection only.
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(BUSY_TIMEOUT)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        // When the disk is full, SQLite ends a transaction by itself. sqlx still counts the
        // transaction as open and begins no other on that connection: replace the connection.
        let writer = pool(1)
            .before_acquire(|writer, _| Box::pin(async { Ok(!writer.is_in_transaction()) }))
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        let migrated = migrations::all().run(&writer).await;
        migrated.map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        let reading = options.create_if_missing(false).read_only(true);
        let writer = Arc::new(Writer::new(writer));
        audit::move_old(&writer).await?;
        Ok(Self {
            issues: group::start(Arc::clone(&writer)),
            writer,
            readers: pool(4).connect_with(reading.clone()).await.map_err(failed)?,
            watcher: pool(1).connect_with(reading).await.map_err(failed)?,
            clock,
        })
    }

    /// Reads the whole file, and returns what SQLite finds wrong with it: at most a few lines. Pages have no
    /// checksums, so damage may go unseen. Takes seconds for each gigabyte; other reads and writes go on.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    pub async fn damage(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("PRAGMA integrity_check(5)")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        let lines = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>();
        let lines = lines.map_err(failed)?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Closes every connection. The file then holds everything, so that a copy of it is whole:
    /// the write-ahead log is emptied, unless another process reads the file.
    pub async fn close(&self) {
        self.watcher.close().await;
        self.readers.close().await;
        // The commits are durable in the log as well.
        drop(audit::empty_log(&self.writer).await);
        self.writer.close().await;
    }
}

impl KeyStore for SqliteStore {
    async fn keys(&self) -> Result<StoredKeys, StoreError> {
        keys::all(&mut *self.readers.acquire().await.map_err(failed)?).await
    }

    async fn change_keys(
        &self,
        change: &KeyChange,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.writer.write(async |connection| keys::change(connection, change, entry).await).await
    }

    async fn mark_keys_published(&self, changed_at: u64, now: u64) -> Result<(), StoreError> {
        self.writer
            .write(async |connection| keys::mark_published(connection, changed_at, now).await)
            .await
    }
}

impl PolicyStore for SqliteStore {
    async fn record_policy(
        &self,
        version: &PolicyVersion,
        user: &PolicyUser,
    ) -> Result<u64, StoreError> {
        // Usually the version is known: find that out without the write lock.
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        if let Some(number) = policies::known(&mut reader, version, user).await? {
            return Ok(number);
        }
        drop(reader);
        self.writer
            .write(async |connection| policies::record(connection, version, user).await)
            .await
    }

    async fn policy(&self, number: Option<u64>) -> Result<Option<StoredPolicy>, StoreError> {
        policies::find(&mut *self.readers.acquire().await.map_err(failed)?, number).await
    }
}

impl TokenStore for SqliteStore {
    async fn record_issue(
        &self,
        new: &NewToken,
        entry: &AuditEntry,
    ) -> Result<Recorded, StoreError> {
        issues::send(&self.issues, new, entry).await
    }

    async fn use_once(&self, id: UsedId, now: u64) -> Result<bool, StoreError> {
        self.writer
            .write(async |connection| Ok(used_ids::record(connection, &[id], now).await?.is_none()))
            .await
    }

    async fn forget_tokens(&self, expired_before: u64, most: u32) -> Result<u32, StoreError> {
        // Usually there is nothing to delete: find that out without the write lock.
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        let old = issue::oldest(&mut reader, expired_before, most).await?;
        drop(reader);
        if old.is_empty() {
            return Ok(0);
        }
        self.writer.write(async |connection| issue::forget(connection, &old).await).await?;
        u32::try_from(old.len()).map_err(corrupt)
    }

    async fn erase_tokens(&self, subject: &str, expired_before: u64) -> Result<u64, StoreError> {
        self.writer.write(async |one| issue::erase(one, subject, expired_before).await).await
    }

    async fn token(&self, jwt_id: &str) -> Result<Option<TokenRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE jwt_id = $1")
            .bind(jwt_id)
            .fetch_optional(&self.readers)
            .await
            .map_err(failed)?;
        row.as_ref().map(rows::token).transpose().map_err(failed)
    }

    async fn named_tokens(&self, jwt_ids: &[&str]) -> Result<Vec<TokenRecord>, StoreError> {
        const WANTED: &str =
            "SELECT * FROM tokens WHERE jwt_id IN (SELECT value FROM json_each($1))";
        let jwt_ids = serde_json::to_string(jwt_ids).map_err(corrupt)?;
        let rows = sqlx::query(WANTED).bind(jwt_ids).fetch_all(&self.readers).await;
        rows.map_err(failed)?.iter().map(rows::token).collect::<Result<_, _>>().map_err(failed)
    }

    async fn tokens(
        &self,
        filter: &TokenFilter,
        page: Page,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        const WANTED: &str = "SELECT * FROM tokens WHERE seq > $1 AND seq < $2 \
             AND ($4 IS NULL OR role = $4) AND ($5 IS NULL OR client_id = $5) \
             AND ($6 IS NULL OR subject = $6) AND ($7 IS NULL OR jwt_id = $7) \
             AND ($8 IS NULL OR issued_at >= $8) \
             AND ($9 IS NULL OR (expiration > $9 AND status = 0)) \
             AND ($10 IS NULL OR expiration <= $10) AND ($11 IS NULL OR agreement = $11) \
             AND ($12 IS NULL OR grant_id = $12)";
        let rows = paged(WANTED, page)
            .bind(&filter.role)
            .bind(&filter.client_id)
            .bind(&filter.subject)
            .bind(&filter.jwt_id)
            .bind(filter.issued_since.map(rows::signed))
            .bind(filter.live_at.map(rows::signed))
            .bind(filter.expires_by.map(rows::signed))
            .bind(&filter.agreement)
            .bind(&filter.grant)
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter().map(rows::token).collect::<Result<_, _>>().map_err(failed)
    }

    async fn agreement_after(&self, after: &str) -> Result<Option<String>, StoreError> {
        // `min` looks into the index once.
        sqlx::query_scalar("SELECT min(agreement) FROM tokens WHERE agreement > $1")
            .bind(after)
            .fetch_one(&self.readers)
            .await
            .map_err(failed)
    }

    async fn is_agreement_used(&self, agreement: &str, after: u64) -> Result<bool, StoreError> {
        const WANTED: &str = "SELECT EXISTS \
             (SELECT 1 FROM tokens WHERE agreement = $1 AND expiration > $2 AND status <> 1)";
        let wanted = sqlx::query_scalar(WANTED).bind(agreement).bind(rows::signed(after));
        wanted.fetch_one(&self.readers).await.map_err(failed)
    }
}

/// The query `wanted`, whose first parameters are the bounds of the page and its length.
fn paged(wanted: &str, page: Page) -> Query<'_, Sqlite, SqliteArguments> {
    let order = if page.newest_first { "DESC" } else { "ASC" };
    sqlx::query(AssertSqlSafe(format!("{wanted} ORDER BY seq {order} LIMIT $3")))
        .bind(rows::signed(page.after))
        .bind(rows::signed(page.before))
        .bind(page.most)
}

impl ListStore for SqliteStore {
    async fn open_list(&self, list: &NewList, room: u32) -> Result<(), StoreError> {
        // Usually a list has room: find that out without the write lock.
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        if issue::has_room(&mut reader, list, room).await? {
            return Ok(());
        }
        drop(reader);
        self.writer
            .write(async |connection| {
                if issue::has_room(connection, list, room).await? {
                    return Ok(());
                }
                issue::open_list(connection, list).await
            })
            .await
    }

    async fn lists(&self, retired_before: u64) -> Result<Vec<ListState>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, window_end, due, published, number FROM status_lists \
             WHERE window_end > $1 ORDER BY window_end, id",
        )
        .bind(rows::signed(retired_before))
        .fetch_all(&self.readers)
        .await
        .map_err(failed)?;
        rows.iter().map(rows::list_state).collect::<Result<_, _>>().map_err(failed)
    }

    async fn next_edition(&self, list_id: &str, now: u64) -> Result<ListEdition, StoreError> {
        let (list, statuses) = self
            .writer
            .write(async |connection| {
                let list = sqlx::query(
                    "UPDATE status_lists SET number = number + 1, issued_at = max(issued_at, $2) \
                     WHERE id = $1 RETURNING number, issued_at, capacity, bits, changes, resumes",
                )
                .bind(list_id)
                .bind(rows::signed(now))
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
                Ok((list, lists::statuses(connection, list_id).await?))
            })
            .await?;
        let edition = || -> Result<ListEdition, sqlx::Error> {
            Ok(ListEdition {
                id: list_id.to_owned(),
                number: rows::unsigned(&list, "number")?,
                issued_at: rows::unsigned(&list, "issued_at")?,
                capacity: rows::unsigned(&list, "capacity")?,
                bits: rows::bits(&list)?,
                changes: rows::unsigned(&list, "changes")?,
                resumes: rows::unsigned(&list, "resumes")?,
                statuses,
            })
        };
        edition().map_err(failed)
    }

    async fn statuses(&self, list_id: &str) -> Result<Vec<(u32, StatusType)>, StoreError> {
        lists::statuses(&mut *self.readers.acquire().await.map_err(failed)?, list_id).await
    }

    async fn mark_published(&self, list_id: &str, changes: u64) -> Result<(), StoreError> {
        let mark = "UPDATE status_lists SET published = max(published, $2) WHERE id = $1";
        let mark = sqlx::query(mark).bind(list_id).bind(rows::signed(changes));
        self.writer
            .write(async |connection| {
                mark.execute(connection).await.map_err(failed)?;
                Ok(())
            })
            .await
    }
}

impl ActStore for SqliteStore {
    async fn plan_act(&self, act: &NewAct) -> Result<Plan, StoreError> {
        acts::plan(&mut *self.readers.acquire().await.map_err(failed)?, act).await
    }

    async fn record_act(
        &self,
        act: &NewAct,
        plan: Plan,
    ) -> Result<Option<RecordedAct>, StoreError> {
        self.writer
            .write(async |connection| acts::record(connection, act, plan, (self.clock)()).await)
            .await
    }

    async fn continue_acts(&self) -> Result<bool, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        if acts::unfinished(&mut reader).await?.is_none() {
            return Ok(false);
        }
        drop(reader);
        self.writer
            .write(async |connection| acts::proceed(connection, Some((self.clock)())).await)
            .await
    }

    async fn due_replacements(&self, now: UnixMillis) -> Result<Vec<Replaced>, StoreError> {
        replacements::due(&mut *self.readers.acquire().await.map_err(failed)?, now).await
    }

    async fn forget_replacement(&self, jwt_id: &str) -> Result<(), StoreError> {
        self.writer.write(async |connection| replacements::forget(connection, jwt_id).await).await
    }

    async fn end_act(&self, id: u64) -> Result<bool, StoreError> {
        self.writer.write(async |connection| acts::end(connection, id, (self.clock)()).await).await
    }
}

impl AuditStore for SqliteStore {
    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.writer.write(async |connection| audit::append(connection, entry).await).await
    }

    async fn erase_personal(
        &self,
        positions: &[u64],
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.writer.write(async |connection| audit::erase(connection, positions, entry).await).await
    }

    async fn forget_erased(&self) -> Result<bool, StoreError> {
        self.writer
            .write(async |connection| {
                audit::secure_delete(connection, true).await?;
                acts::forget_finished(connection, (self.clock)()).await?;
                audit::secure_delete(connection, false).await
            })
            .await?;
        audit::empty_log(&self.writer).await
    }

    async fn audit(&self, since_ms: u64, page: Page) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        audit::page(&mut *self.readers.acquire().await.map_err(failed)?, since_ms, page).await
    }
}

impl LogStore for SqliteStore {
    async fn log(&self) -> Result<Option<StoredLog>, StoreError> {
        log::find(&mut *self.readers.acquire().await.map_err(failed)?).await
    }

    async fn epoch(&self) -> Result<Option<String>, StoreError> {
        log::epoch(&mut *self.readers.acquire().await.map_err(failed)?).await
    }

    async fn begin_log(&self, log: &StoredLog) -> Result<(), StoreError> {
        self.writer.write(async |connection| log::begin(connection, log).await).await
    }

    async fn leaf_texts(&self, after: u64, most: u32) -> Result<Vec<String>, StoreError> {
        log::texts(&mut *self.readers.acquire().await.map_err(failed)?, after, most).await
    }

    async fn leaves(&self, after: u64, most: u32) -> Result<Vec<(u64, Leaf)>, StoreError> {
        audit::leaves(&mut *self.readers.acquire().await.map_err(failed)?, after, most).await
    }

    async fn log_tiles(&self, tiles: &[TileId]) -> Result<Vec<Tile>, StoreError> {
        log::tiles(&mut *self.readers.acquire().await.map_err(failed)?, tiles).await
    }

    async fn extend_log(&self, extension: &LogExtension) -> Result<bool, StoreError> {
        self.writer.write(async |connection| log::extend(connection, extension).await).await
    }
}

impl UsageStore for SqliteStore {
    async fn add_usage(
        &self,
        reports: &[Reported],
        rules: &Rules<'_>,
    ) -> Result<(Vec<Outcome>, Vec<Finding>), StoreError> {
        self.writer
            .write(async |one| uses::add_all(&mut usage::InTransaction(one), reports, rules).await)
            .await
    }

    async fn token_uses(&self, seqs: &[u64]) -> Result<HashMap<u64, TokenUse>, StoreError> {
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        let seqs = serde_json::to_string(seqs).map_err(corrupt)?;
        usage::InTransaction(&mut reader).uses(&seqs).await
    }

    async fn usage_sums(
        &self,
        filter: &UsageFilter,
        by: UsageBy,
        most: u32,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(uses::sums_by(by)))
            .bind(&filter.role)
            .bind(&filter.client_id)
            .bind(rows::signed(filter.since_day))
            .bind(&filter.scope)
            .bind(most)
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter().map(uses::sum).collect::<Result<_, _>>().map_err(failed)
    }

    async fn reporters(&self) -> Result<Vec<Reporter>, StoreError> {
        let rows = sqlx::query("SELECT * FROM usage_reporters ORDER BY client_id")
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter().map(uses::reporter).collect::<Result<_, _>>().map_err(failed)
    }

    async fn forget_usage(&self, day: u64, isolates_ms: u64, most: u32) -> Result<u64, StoreError> {
        // Usually there is nothing to delete: find that out without the write lock.
        let (day, isolates_ms) = (rows::signed(day), rows::signed(isolates_ms));
        let mut reader = self.readers.acquire().await.map_err(failed)?;
        if !usage::has_old(&mut reader, day, isolates_ms).await? {
            return Ok(0);
        }
        drop(reader);
        self.writer.write(async |one| usage::forget(one, day, isolates_ms, most).await).await
    }
}

impl MisuseStore for SqliteStore {
    async fn findings(&self, page: Page) -> Result<Vec<Finding>, StoreError> {
        const WANTED: &str =
            "SELECT * FROM (SELECT *, id AS seq FROM findings) WHERE seq > $1 AND seq < $2";
        let rows = paged(WANTED, page).fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(uses::finding).collect::<Result<_, _>>().map_err(failed)
    }

    async fn finding(&self, id: u64) -> Result<Option<Finding>, StoreError> {
        let row = sqlx::query("SELECT * FROM findings WHERE id = $1").bind(rows::signed(id));
        let row = row.fetch_optional(&self.readers).await.map_err(failed)?;
        row.as_ref().map(uses::finding).transpose().map_err(failed)
    }

    async fn open_findings(
        &self,
        now_ms: Option<u64>,
        most: u32,
    ) -> Result<Vec<Finding>, StoreError> {
        let rows = sqlx::query(uses::OPEN).bind(now_ms.map(rows::signed)).bind(most);
        let rows = rows.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(uses::finding).collect::<Result<_, _>>().map_err(failed)
    }

    async fn set_outcome(
        &self,
        id: u64,
        (from, to): (misuse::Outcome, misuse::Outcome),
    ) -> Result<bool, StoreError> {
        let set =
            sqlx::query(uses::SET_OUTCOME).bind(rows::signed(id)).bind(to.name()).bind(from.name());
        self.writer
            .write(async |one| {
                set.execute(one).await.map(|done| done.rows_affected() > 0).map_err(failed)
            })
            .await
    }

    async fn set_told(
        &self,
        id: u64,
        told_ms: Option<u64>,
        again_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let set = sqlx::query(uses::SET_TOLD)
            .bind(rows::signed(id))
            .bind(told_ms.map(rows::signed))
            .bind(again_ms.map(rows::signed));
        self.writer.write(async |one| set.execute(one).await.map(|_| ()).map_err(failed)).await
    }
}

impl AccessStore for SqliteStore {
    async fn add_access(
        &self,
        request: &AccessRequest,
        entry: &AuditEntry,
        notices: &[NewNotice],
    ) -> Result<Added, StoreError> {
        self.writer.write(async |one| access::add(one, request, entry, notices).await).await
    }

    async fn change_access(
        &self,
        seen: u64,
        request: &AccessRequest,
        entry: &AuditEntry,
        notices: &[NewNotice],
    ) -> Result<bool, StoreError> {
        self.writer
            .write(async |one| access::change(one, seen, request, entry, notices).await)
            .await
    }

    async fn access(&self, id: &str) -> Result<Option<AccessRequest>, StoreError> {
        let row = sqlx::query("SELECT * FROM access_requests WHERE id = $1").bind(id);
        let row = row.fetch_optional(&self.readers).await.map_err(failed)?;
        row.as_ref().map(requests::request).transpose().map_err(failed)
    }

    async fn access_of(
        &self,
        role: &str,
        client_id: &str,
        subject: &str,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let rows = sqlx::query(requests::OF).bind(role).bind(client_id).bind(subject);
        let rows = rows.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(requests::request).collect::<Result<_, _>>().map_err(failed)
    }

    async fn accesses(
        &self,
        filter: &AccessFilter,
        page: Page,
    ) -> Result<Vec<(u64, AccessRequest)>, StoreError> {
        let rows = paged(requests::FILTERED, page)
            .bind(&filter.asked_by)
            .bind(&filter.role)
            .bind(filter.recorded.map(State::name))
            .bind(i64::from(filter.unreviewed))
            .fetch_all(&self.readers)
            .await
            .map_err(failed)?;
        rows.iter().map(requests::placed).collect::<Result<_, _>>().map_err(failed)
    }

    async fn unsettled_access(&self) -> Result<Vec<AccessRequest>, StoreError> {
        let rows = sqlx::query(requests::UNSETTLED).fetch_all(&self.readers).await;
        let rows = rows.map_err(failed)?;
        rows.iter().map(requests::request).collect::<Result<_, _>>().map_err(failed)
    }

    async fn settle_access(&self, id: &str) -> Result<(), StoreError> {
        let set = sqlx::query(requests::SETTLE).bind(id);
        self.writer.write(async |one| set.execute(one).await.map(|_| ()).map_err(failed)).await
    }

    async fn open_notices(&self, channel: Channel, now_ms: u64) -> Result<Vec<Notice>, StoreError> {
        let rows = sqlx::query(requests::OPEN).bind(channel.name()).bind(rows::signed(now_ms));
        let rows = rows.fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(requests::notice).collect::<Result<_, _>>().map_err(failed)
    }

    async fn set_notice_told(&self, id: u64, again_ms: Option<u64>) -> Result<(), StoreError> {
        let set = match again_ms {
            Some(again) => {
                sqlx::query(requests::NOT_TOLD).bind(rows::signed(id)).bind(rows::signed(again))
            }
            None => sqlx::query(requests::TOLD).bind(rows::signed(id)),
        };
        self.writer.write(async |one| set.execute(one).await.map(|_| ()).map_err(failed)).await
    }

    async fn erase_access(&self, subject: &str, now: UnixMillis) -> Result<u64, StoreError> {
        self.writer.write(async |one| access::erase(one, subject, now).await).await
    }

    async fn forget_access(&self, before: u64, most: u32) -> Result<u64, StoreError> {
        let forget = sqlx::query(requests::FORGET)
            .bind(rows::signed(before))
            .bind(rows::signed(before.saturating_mul(1000)))
            .bind(i64::from(most));
        self.writer
            .write(async |one| {
                forget.execute(one).await.map(|done| done.rows_affected()).map_err(failed)
            })
            .await
    }
}

impl IncidentStore for SqliteStore {
    async fn add_incident(
        &self,
        incident: &Incident,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.writer.write(async |one| breach::add(one, incident, entry).await).await
    }

    async fn change_incident(
        &self,
        seen: u64,
        incident: &Incident,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.writer.write(async |one| breach::change(one, seen, incident, entry).await).await
    }

    async fn incident(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        let row = sqlx::query(incidents::ONE).bind(id);
        let row = row.fetch_optional(&self.readers).await.map_err(failed)?;
        row.as_ref().map(incidents::incident).transpose().map_err(failed)
    }

    async fn incidents(&self, page: Page) -> Result<Vec<(u64, Incident)>, StoreError> {
        let rows = paged(incidents::PAGE, page).fetch_all(&self.readers).await.map_err(failed)?;
        rows.iter().map(incidents::placed).collect::<Result<_, _>>().map_err(failed)
    }
}

impl StoreState for SqliteStore {
    async fn is_writable(&self) -> bool {
        // SQLite writes the value even if it is unchanged.
        let no_change = sqlx::query("PRAGMA user_version = 1");
        let write = async |connection: &mut SqliteConnection| {
            no_change.execute(connection).await.map_err(failed)
        };
        let is_recording = !self.issues.is_closed();
        is_recording
            && (self.writer.durability.last_change_succeeded()
                || self.writer.write(write).await.is_ok())
    }

    async fn changed(&self) {
        std::future::pending().await
    }

    async fn version(&self) -> Result<i64, StoreError> {
        let row =
            sqlx::query("PRAGMA data_version").fetch_one(&self.watcher).await.map_err(failed)?;
        row.try_get(0).map_err(failed)
    }
}

pub(crate) fn failed(error: sqlx::Error) -> StoreError {
    /// Result codes `SQLITE_IOERR_FSYNC` and `SQLITE_IOERR_DIR_FSYNC`.
    const NOT_SYNCED: [&str; 2] = ["1034", "1290"];
    let database = error.as_database_error();
    let code = database.and_then(DatabaseError::code);
    if code.is_some_and(|code| NOT_SYNCED.contains(&&*code)) {
        StoreError::NotSynced
    } else if database.is_some_and(|error| error.is_unique_violation()) {
        StoreError::Duplicate(Box::new(error))
    } else if matches!(error, sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) {
        StoreError::Corrupt(Box::new(error))
    } else {
        StoreError::Unavailable(Box::new(error))
    }
}

fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Corrupt(Box::new(error))
}

/// The size in bytes to which the write-ahead log is cut: twice what it usually has.
const WAL_LIMIT: &str = "8388608";
/// The longest wait for a pooled connection, and again for a lock that another connection holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
