//! The issuer's `Store` on PostgreSQL, which several processes may use at once.

mod access;
mod acts;
mod audit;
mod breach;
mod connections;
mod documents;
mod error;
mod group;
mod issue;
mod keys;
mod lease;
mod lent;
mod lists;
mod log;
mod migrations;
mod policies;
mod replacements;
mod restore;
mod stores;
#[cfg(test)]
mod test_server;
#[cfg(test)]
mod tests;
mod url;
mod usage;
mod used_ids;

use std::sync::Arc;

use edgepass_issuer::storage::{Page, StoreError};
use edgepass_verify::UnixMillis;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};
use tokio::sync::mpsc;

use self::connections::{Connections, in_time, query};
pub use self::documents::{SharedDocuments, Written};
pub use self::lease::LEASE;
pub use self::url::{PostgresUrl, UrlError};
use crate::issues::Issue;
use crate::rows;

/// The issuer's tables in one schema of a PostgreSQL database.
pub struct PostgresStore {
    database: Arc<Connections>,
    /// Tokens to be recorded, several in one transaction.
    issues: mpsc::Sender<Issue>,
    /// The host's clock. It is read inside a transaction of an act, since a transaction may wait
    /// for seconds before it begins.
    clock: fn() -> UnixMillis,
}

impl PostgresStore {
    /// Opens the tables in a schema, and brings them up to date. `create`: makes them if there are none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`]: the database does not answer or is not durable, or there is no such schema.
    pub async fn open(
        url: &PostgresUrl,
        schema: &str,
        create: bool,
        clock: fn() -> UnixMillis,
    ) -> Result<Self, StoreError> {
        let database = Arc::new(Connections::open(url, schema).await?);
        migrations::run(&database, schema, create).await?;
        Ok(Self { issues: group::start(Arc::clone(&database)), database, clock })
    }

    /// Whether a schema has the keys of an issuer.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn exists(url: &PostgresUrl, schema: &str) -> Result<bool, StoreError> {
        in_time(migrations::has_keys(url, schema)).await
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.database.close().await;
    }
}

/// The query `wanted`, whose first parameters are the bounds of the page and its length.
fn paged(wanted: &str, page: Page) -> Query<'_, Postgres, PgArguments> {
    let order = if page.newest_first { "DESC" } else { "ASC" };
    query(AssertSqlSafe(format!("{wanted} ORDER BY seq {order} LIMIT $3")))
        .bind(rows::signed(page.after))
        .bind(rows::signed(page.before))
        .bind(i64::from(page.most))
}
