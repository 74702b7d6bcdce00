//! Identifiers that may be used once.

use edgepass_issuer::storage::StoreError;
use edgepass_issuer::used_id::{IdKind, UsedId};
use sqlx::SqliteConnection;

use super::failed;
use crate::rows;

/// Records the uses of identifiers, and forgets some that ended before `now`, in seconds. Returns the
/// kind of one that was used before; no use is recorded then.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    ids: &[UsedId],
    now: u64,
) -> Result<Option<IdKind>, StoreError> {
    for id in ids {
        // More rows go than come, so that the table stays small.
        sqlx::query(
            "DELETE FROM used_ids WHERE digest IN \
             (SELECT digest FROM used_ids WHERE until <= $1 LIMIT 4)",
        )
        .bind(rows::signed(now))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        let known = sqlx::query("SELECT 1 FROM used_ids WHERE digest = $1 AND until > $2")
            .bind(id.digest.as_slice())
            .bind(rows::signed(now))
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
        if known.is_some() {
            return Ok(Some(id.kind));
        }
    }
    for id in ids {
        sqlx::query("INSERT OR REPLACE INTO used_ids (digest, until) VALUES ($1, $2)")
            .bind(id.digest.as_slice())
            .bind(rows::signed(id.until))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(None)
}
