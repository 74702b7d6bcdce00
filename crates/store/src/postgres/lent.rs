//! Connections that a pool lends.

use edgepass_issuer::storage::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{Connection, PgConnection, Postgres, SqlStr};

use super::error::failed;

/// Lends a connection of a pool to `work`.
pub(super) async fn lend<T>(
    pool: &PgPool,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let connection = pool.acquire().await.map_err(failed)?;
    let mut lent = Lent { connection, is_done: false };
    let done = work(&mut lent.connection).await;
    lent.is_done = true;
    done
}

/// Runs `work` in a transaction that `begin` begins. It is committed if `work` returns `Ok`, and else rolled back.
pub(super) async fn in_transaction<T>(
    pool: &PgPool,
    begin: &SqlStr,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    lend(pool, async |connection| {
        let mut transaction = connection.begin_with(begin.clone()).await.map_err(failed)?;
        let done = work(&mut transaction).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(done)
    })
    .await
}

/// A lent connection. If its use does not come to an end it is closed: the pool would wait for an answer, and
/// where packets are lost none comes for a quarter of an hour.
struct Lent {
    connection: PoolConnection<Postgres>,
    is_done: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_done {
            self.connection.close_on_drop();
        }
    }
}
