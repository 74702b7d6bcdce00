//! Connections to the database, and the transactions on them.
//!
//! Nothing lives longer than a transaction: a pooler such as PgBouncer may serve each by another connection.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edgepass_issuer::storage::StoreError;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgArguments, PgListener, PgPool, PgPoolOptions};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Postgres, Row, SqlSafeStr, SqlStr,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::error::failed;
use super::lease;
use super::lent::{in_transaction, lend};
use super::url::PostgresUrl;
use crate::durability::Durability;

pub(super) struct Connections {
    writers: PgPool,
    readers: PgPool,
    /// One connection that hears of commits, and the task that waits for them.
    listener: Option<(PgPool, JoinHandle<()>)>,
    /// One connection that no other work keeps busy.
    lease: PgPool,
    durability: Durability,
    begin_write: SqlStr,
    begin_read: SqlStr,
    /// Waits until no other transaction writes. The order of commits is that in which transactions get the
    /// lock, so that each sees what all before it have written.
    lock: SqlStr,
    version: SqlStr,
    /// Removes what was changed or deleted from the table of the audit trail.
    vacuum: SqlStr,
    /// Counts the transaction if it has written anything, and tells it to who listens.
    count: SqlStr,
    /// Notified when a transaction of any process was told.
    changed: Arc<Notify>,
    /// The number of this process's lease. 0: it never had one.
    fence: AtomicI64,
    /// The name of this process in the lease.
    holder: Mutex<String>,
}

/// A statement without a name: it ends with its transaction.
pub(super) fn query<'q>(text: impl SqlSafeStr) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(text).persistent(false)
}

/// The database could lose what it has confirmed.
#[derive(Debug, thiserror::Error)]
#[error("the database runs with {0}: a power cut can undo what it has confirmed; set {0} to on")]
struct NotDurable(&'static str);

/// The database did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the database did not answer within {} s", .0.as_secs())]
struct NoAnswer(Duration);

impl Connections {
    /// Connects to the tables of a schema.
    pub(super) async fn open(url: &PostgresUrl, schema: &str) -> Result<Self, StoreError> {
        // A pool tries again until its time is over, and then does not say what is wrong.
        let first = async {
            let mut first = url.options().connect().await?;
            refuse_undurable(&mut first).await?;
            first.close().await
        };
        let first = async { first.await.map_err(failed) };
        in_time(first).await?;
        let lock = format!("SELECT pg_advisory_xact_lock({})", lock_of(schema));
        let channel = format!("edgepass_{:x}", lock_of(schema));
        let schema = quoted(schema);
        let pool = |connections| {
            let pool = PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_connect(|connection, _| Box::pin(refuse_undurable(connection)));
            pool.connect_with(url.options())
        };
        let changed = Arc::new(Notify::new());
        let mut listener = None;
        if url.listens() {
            let pool = pool(1).await.map_err(failed)?;
            let listening = listen(pool.clone(), channel.clone(), Arc::clone(&changed));
            listener = Some((pool, tokio::spawn(listening)));
        }
        Ok(Self {
            listener,
            writers: pool(WRITERS).await.map_err(failed)?,
            readers: pool(READERS).await.map_err(failed)?,
            lease: pool(1).await.map_err(failed)?,
            durability: Durability::default(),
            begin_write: AssertSqlSafe(format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path TO {schema}; \
                 {LIMITS}; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '10s'; \
                 {DURABLE}"
            ))
            .into_sql_str(),
            begin_read: AssertSqlSafe(format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO {schema}; \
                 {LIMITS}; SET LOCAL statement_timeout = '60s'"
            ))
            .into_sql_str(),
            lock: AssertSqlSafe(lock).into_sql_str(),
            count: AssertSqlSafe(format!(
                "UPDATE writer SET version = version + 1 WHERE pg_current_xact_id_if_assigned() IS NOT NULL; \
                 SELECT pg_notify('{channel}', '') WHERE pg_current_xact_id_if_assigned() IS NOT NULL"
            ))
            .into_sql_str(),
            changed,
            fence: AtomicI64::new(0),
            holder: Mutex::default(),
            vacuum: AssertSqlSafe(format!(
                "VACUUM {schema}.audit, {schema}.status_acts, {schema}.access_requests, {schema}.notices"
            )).into_sql_str(),
            version: AssertSqlSafe(format!("SELECT version FROM {schema}.writer")).into_sql_str(),
        })
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
        self.lease.close().await;
        if let Some((listener, _)) = &self.listener {
            listener.close().await;
        }
    }

    /// Runs `work` in a transaction that is committed if `work` returns `Ok`, and else rolled back. No other
    /// transaction of any process writes meanwhile.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_within(ANSWER_TIMEOUT, work).await
    }

    /// As [`Connections::write`], for at most `time`.
    async fn write_within<T>(
        &self,
        time: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let change = in_transaction(&self.writers, &self.begin_write, async |connection| {
            let lock = sqlx::raw_sql(self.lock.clone()).execute(&mut *connection);
            lock.await.map_err(failed)?;
            let done = work(connection).await?;
            sqlx::raw_sql(self.count.clone()).execute(connection).await.map_err(failed)?;
            Ok(done)
        });
        self.durability.change(within(time, change)).await
    }

    /// As [`Connections::write`], of a process that leads. Refused if it has had a lease and another process
    /// has it now, or it has expired: what was decided then may be outdated.
    pub(super) async fn write_leading<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_leading_within(ANSWER_TIMEOUT, work).await
    }

    /// As [`Connections::write_leading`], for a change that takes long, while no `serve` runs.
    pub(super) async fn write_alone<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.write_leading_within(LONG_CHANGE, work).await
    }

    async fn write_leading_within<T>(
        &self,
        time: Duration,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (holder, fence) = (self.holder(), self.fence.load(Relaxed));
        self.write_within(time, async |connection| {
            if fence != 0 {
                lease::check(connection, &holder, fence).await?;
            }
            work(connection).await
        })
        .await
    }

    /// Sets the holder and the number of this process's lease.
    pub(super) fn set_fence(&self, holder: &str, fence: i64) {
        let mut own = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if *own != holder {
            holder.clone_into(&mut own);
        }
        self.fence.store(fence, Relaxed);
    }

    /// The holder that this process's lease names. Empty: it never had one.
    pub(super) fn holder(&self) -> String {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of this process's lease. 0: it never had one.
    pub(super) fn fence(&self) -> i64 {
        self.fence.load(Relaxed)
    }

    /// As [`Connections::write`], without the lock: what it changes is not of the issuer, or does not exist yet.
    pub(super) async fn aside<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        in_time(in_transaction(&self.lease, &self.begin_write, work)).await
    }

    /// Runs `work` on one state of the database.
    pub(super) async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        in_time(in_transaction(&self.readers, &self.begin_read, work)).await
    }

    /// Removes what was changed or deleted from the table of the audit trail. Its server may keep it in its
    /// log and in backups.
    pub(super) async fn vacuum(&self) -> Result<(), StoreError> {
        sqlx::raw_sql(self.vacuum.clone()).execute(&self.lease).await.map_err(failed)?;
        Ok(())
    }

    /// The number of transactions that have written.
    pub(super) async fn version(&self) -> Result<i64, StoreError> {
        let read = lend(&self.readers, async |connection| {
            let row = sqlx::raw_sql(self.version.clone()).fetch_one(connection).await;
            row.and_then(|row| row.try_get(0)).map_err(failed)
        });
        // Asked many times a second: a connection that hangs must be noticed soon.
        within(VERSION_TIMEOUT, read).await
    }

    /// Ends when a transaction of any process was told since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether the last change succeeded.
    pub(super) fn last_change_succeeded(&self) -> bool {
        self.durability.last_change_succeeded()
    }
}

/// Hears of commits, until the task is dropped. It may miss some, so the version is looked at as well.
async fn listen(pool: PgPool, channel: String, changed: Arc<Notify>) {
    while !pool.is_closed() {
        let heard = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(&channel).await?;
            loop {
                listener.recv().await?;
                changed.notify_one();
            }
        };
        let _: Result<(), sqlx::Error> = heard.await;
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some((_, listening)) = &self.listener {
            listening.abort();
        }
    }
}

async fn refuse_undurable(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    const SETTINGS: [&str; 2] = ["fsync", "synchronous_commit"];
    let text = "SELECT current_setting('fsync'), current_setting('synchronous_commit')";
    let row = sqlx::raw_sql(text).fetch_one(connection).await?;
    for (column, name) in SETTINGS.into_iter().enumerate() {
        let value: String = row.try_get(column)?;
        if value == "off" {
            return Err(sqlx::Error::Configuration(Box::new(NotDurable(name))));
        }
    }
    Ok(())
}

/// Gives up waiting for the database after [`ANSWER_TIMEOUT`].
pub(super) async fn in_time<T>(
    change: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    within(ANSWER_TIMEOUT, change).await
}

async fn within<T>(
    time: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::Unavailable(Box::new(NoAnswer(time))));
    tokio::time::timeout(time, work).await.unwrap_or_else(late)
}

/// The number of the lock that the writers of a schema share.
fn lock_of(schema: &str) -> i64 {
    let digest = Sha256::digest(format!("edgepass writer {schema}"));
    digest.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

/// A name as it stands in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A process that hangs in a transaction must not stop the others.
const LIMITS: &str = "SET LOCAL idle_in_transaction_session_timeout = '3s'";
/// Also where a pooler gives a connection with another setting. With a synchronous standby it waits for that one.
const DURABLE: &str = "SET LOCAL synchronous_commit = on";
/// Connections that write. A process that hangs keeps the others waiting once for each: until [`LIMITS`] ends
/// its transaction.
const WRITERS: u32 = 1;
const READERS: u32 = 6;
/// Time after which a connection that failed is followed by another.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The longest wait for the number of transactions.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time for a change of a command that has the database for itself.
const LONG_CHANGE: Duration = Duration::from_secs(600);
/// The longest time for a change, with the wait for other processes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
