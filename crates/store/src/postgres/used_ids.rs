//! Identifiers that may be used once.

use edgepass_issuer::storage::StoreError;
use edgepass_issuer::used_id::{IdKind, UsedId};
use sqlx::PgConnection;

use super::connections::query;
use super::error::failed;
use crate::rows;

/// Records the uses of identifiers, and forgets some that ended before `now`, in seconds. Returns the
/// kind of one that was used before; no use is recorded then.
pub(super) async fn record(
    connection: &mut PgConnection,
    ids: &[UsedId],
    now: u64,
) -> Result<Option<IdKind>, StoreError> {
    for id in ids {
        // More rows go than come, so that the table stays small.
        query(
            "DELETE FROM used_ids WHERE digest IN \
             (SELECT digest FROM used_ids WHERE until <= $1 LIMIT 4)",
        )
        .bind(rows::signed(now))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
        let known = query("SELECT 1 FROM used_ids WHERE digest = $1 AND until > $2")
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
        query(
            "INSERT INTO used_ids (digest, until) VALUES ($1, $2) \
             ON CONFLICT (digest) DO UPDATE SET until = excluded.until",
        )
        .bind(id.digest.as_slice())
        .bind(rows::signed(id.until))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok(None)
}
