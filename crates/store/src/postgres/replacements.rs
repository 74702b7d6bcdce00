//! Tokens that were replaced and are to be revoked.

use edgepass_issuer::replacement::{Replaced, Replaces};
use edgepass_issuer::storage::StoreError;
use edgepass_verify::UnixMillis;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::connections::query;
use super::error::failed;
use crate::rows;

/// Records that the token `by` replaces another one. `false`: that one is not valid.
pub(super) async fn record(
    connection: &mut PgConnection,
    replaces: &Replaces,
    by: &str,
    actor: &str,
) -> Result<bool, StoreError> {
    // The first replacement decides when the token ends.
    let recorded = query(
        "INSERT INTO replaced_tokens (jwt_id, replaced_by, actor, due) \
         SELECT jwt_id, $2, $3, $4 FROM tokens WHERE jwt_id = $1 AND status = 0 \
         ON CONFLICT (jwt_id) DO UPDATE SET due = least(replaced_tokens.due, excluded.due)",
    )
    .bind(&replaces.jwt_id)
    .bind(by)
    .bind(actor)
    .bind(rows::signed(replaces.due))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(recorded.rows_affected() == 1)
}

/// The tokens to be revoked now, a hundred at most.
pub(super) async fn due(
    connection: &mut PgConnection,
    now: UnixMillis,
) -> Result<Vec<Replaced>, StoreError> {
    let found = query(
        "SELECT jwt_id, replaced_by, actor FROM replaced_tokens WHERE due <= $1 ORDER BY due LIMIT 100",
    )
    .bind(rows::signed(now.numeric_date().seconds()))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let read = |row: &PgRow| -> Result<Replaced, sqlx::Error> {
        Ok(Replaced {
            jwt_id: row.try_get("jwt_id")?,
            by: row.try_get("replaced_by")?,
            actor: row.try_get("actor")?,
        })
    };
    found.iter().map(read).collect::<Result<_, _>>().map_err(failed)
}

/// Forgets a token that has been revoked.
pub(super) async fn forget(connection: &mut PgConnection, jwt_id: &str) -> Result<(), StoreError> {
    query("DELETE FROM replaced_tokens WHERE jwt_id = $1")
        .bind(jwt_id)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
