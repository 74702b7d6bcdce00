//! The lease of the process that publishes, changes keys and extends the log.

use std::time::Duration;

use edgepass_issuer::storage::StoreError;
use sqlx::{PgConnection, Row};

use super::PostgresStore;
use super::connections::query;
use super::error::failed;

/// Time for which a process leads after each renewal.
pub const LEASE: Duration = Duration::from_secs(3);
/// [`LEASE`] in milliseconds, by the clock of the database.
const LEASE_MS: i64 = 3_000;

/// Time in milliseconds after the end of a lease in which the next one continues it. After that the database may be
/// an old copy.
const LONG_AGO_MS: i64 = 10_000;

/// Another process leads.
#[derive(Debug, thiserror::Error)]
#[error("another process leads now, or this one has not renewed its lease in time")]
struct NotLeading;

/// The process that leads has stopped publication, or has not begun it yet.
#[derive(Debug, thiserror::Error)]
#[error(
    "the process that publishes has not compared the targets with the database, or they do not fit"
)]
pub(super) struct NotServed;

impl PostgresStore {
    /// Takes or renews the lease, and says whether this process has it for [`LEASE`] from the beginning of the
    /// call. `holder` names the process, and no other. From then on, changes that only the leader makes are
    /// refused while it has no lease.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn lead(&self, holder: &str) -> Result<bool, StoreError> {
        let fence = self.database.fence();
        // Asking for the lease is a write, also in vain.
        if fence == 0 && self.is_led().await? {
            return Ok(false);
        }
        let taken = self.database.aside(async |one| take(one, holder, fence).await).await?;
        if let Some(fence) = taken {
            self.database.set_fence(holder, fence);
        }
        Ok(taken.is_some())
    }

    /// Whether a process leads.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn is_led(&self) -> Result<bool, StoreError> {
        let held = "SELECT 1 FROM lease WHERE \
                    expires_at_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let held = query(held);
        let held = self.database.read(async |one| held.fetch_optional(one).await.map_err(failed));
        Ok(held.await?.is_some())
    }

    /// Says whether the documents may be served, once this process has compared them with what was published
    /// before. If nobody has led for ten seconds, [`PostgresStore::documents`] is an error for every process
    /// until then.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. Also if this process does not lead.
    pub async fn set_served(&self, are_served: bool) -> Result<(), StoreError> {
        let set = query("UPDATE lease SET stopped = $3 WHERE fence = $1 AND holder = $2");
        let set = set.bind(self.database.fence()).bind(self.database.holder()).bind(!are_served);
        let set = self.database.aside(async |one| set.execute(one).await.map_err(failed));
        match set.await?.rows_affected() {
            0 => Err(StoreError::Unavailable(Box::new(NotLeading))),
            _ => Ok(()),
        }
    }

    /// Gives the lease up, if this process has it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn stop_leading(&self) -> Result<(), StoreError> {
        let end = query(
            "UPDATE lease SET expires_at_ms = (extract(epoch FROM clock_timestamp()) * 1000)::bigint \
             WHERE fence = $1 AND holder = $2",
        );
        let end = end.bind(self.database.fence()).bind(self.database.holder());
        self.database
            .aside(async |one| {
                end.execute(one).await.map_err(failed)?;
                Ok(())
            })
            .await
    }
}

/// The fence of the lease if `holder` has it now.
async fn take(
    connection: &mut PgConnection,
    holder: &str,
    fence: i64,
) -> Result<Option<i64>, StoreError> {
    let row = query(
        "INSERT INTO lease AS own (id, holder, fence, expires_at_ms, stopped) VALUES (1, $1, 1, \
         (extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3, true) \
         ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, \
         fence = own.fence + CASE WHEN own.fence = $2 AND own.holder = $1 THEN 0 ELSE 1 END, \
         stopped = own.stopped OR own.expires_at_ms + $4 <= \
         (extract(epoch FROM clock_timestamp()) * 1000)::bigint, \
         expires_at_ms = excluded.expires_at_ms WHERE (own.fence = $2 AND own.holder = $1) \
         OR own.expires_at_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint RETURNING fence",
    )
    .bind(holder)
    .bind(fence)
    .bind(LEASE_MS)
    .bind(LONG_AGO_MS)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| row.try_get(0)).transpose().map_err(failed)
}

/// Refuses a change by a process whose lease is not `fence`, or has expired. No other process takes the lease
/// before the change is committed or undone.
pub(super) async fn check(
    connection: &mut PgConnection,
    holder: &str,
    fence: i64,
) -> Result<(), StoreError> {
    let held = query(
        "SELECT 1 FROM lease WHERE fence = $1 AND holder = $2 \
         AND expires_at_ms > (extract(epoch FROM clock_timestamp()) * 1000)::bigint FOR SHARE",
    );
    let held = held.bind(fence).bind(holder).fetch_optional(connection).await.map_err(failed)?;
    held.map(|_| ()).ok_or_else(|| StoreError::Unavailable(Box::new(NotLeading)))
}
