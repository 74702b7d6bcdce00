//! Connections that a pool lends.

use edgepass_issuer::storage::StoreError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Postgres};

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
