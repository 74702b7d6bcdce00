//! The connection that writes.

use std::error::Error;

use edgepass_issuer::storage::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqlitePool};
use sqlx::{Connection, Row, Sqlite, SqliteConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::{BUSY_TIMEOUT, failed, group};
use crate::durability::Durability;

/// The process's only connection that writes, since SQLite has one writer at a time.
pub(super) struct Writer {
    /// Of one connection. It replaces one that failed.
    pool: SqlitePool,
    /// The connection while nobody uses it. `None`: the pool has it, or opens it. The pool asks the thread of
    /// the connection twice whether it works, each time that it is lent.
    held: Mutex<Option<PoolConnection<Sqlite>>>,
    pub(super) durability: Durability,
}

impl Writer {
    pub(super) fn new(pool: SqlitePool) -> Self {
        Self { pool, held: Mutex::default(), durability: Durability::default() }
    }

    /// Runs a text that begins and commits a transaction, and selects [`COMMITTED`] at its end. Returns the
    /// numbers that it selects before. Undoes what it did if it fails; if that is in doubt, by closing the
    /// connection.
    pub(super) async fn transaction(
        &self,
        text: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Vec<i64>, StoreError> {
        let change = self.lend(async |connection| {
            let rows = text.fetch_all(&mut **connection).await;
            let numbers = rows
                .and_then(|rows| {
                    rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()
                })
                .map_err(failed);
            let numbers = numbers.and_then(|mut numbers| match numbers.pop() {
                Some(COMMITTED) => Ok(numbers),
                // The thread of the connection has ended in the middle.
                _ => Err(StoreError::Unavailable("the database did not answer".into())),
            });
            if let Err(error) = &numbers {
                let undone = group::is_of_one(error)
                    && sqlx::query("ROLLBACK").execute(&mut **connection).await.is_ok();
                if !undone {
                    connection.close_on_drop();
                }
            }
            numbers
        });
        self.durability.change(change).await
    }

    /// Runs `work` in a transaction, which is committed if `work` returns `Ok`, and else rolled
    /// back. The transaction takes the write lock first, so that no later statement fails for lack
    /// of the lock.
    pub(super) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let change = self.lend(async |connection| {
            let begin = connection.begin_with("BEGIN IMMEDIATE");
            let mut transaction = begin.await.map_err(failed)?;
            let done = work(&mut transaction).await?;
            transaction.commit().await.map_err(failed)?;
            Ok(done)
        });
        self.durability.change(change).await
    }

    /// Lends the connection to `work`. If `work` fails or is dropped, the pool gets the connection, which
    /// ends its transaction or replaces it.
    pub(super) async fn lend<T>(
        &self,
        work: impl AsyncFnOnce(&mut PoolConnection<Sqlite>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let busy = |_| StoreError::Unavailable(Box::<dyn Error + Send + Sync>::from(BUSY));
        let mut held = timeout(BUSY_TIMEOUT, self.held.lock()).await.map_err(busy)?;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await.map_err(failed)?,
        };
        let done = work(&mut connection).await?;
        *held = Some(connection);
        Ok(done)
    }

    /// Closes the connection.
    pub(super) async fn close(&self) {
        let mut held = self.held.lock().await;
        drop(held.take());
        self.pool.close().await;
    }
}

/// What the text of a whole transaction selects at its end.
pub(super) const COMMITTED: i64 = 1;
/// The reason why the connection is not lent.
const BUSY: &str = "other changes take too long";
