//! Policy versions.

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::policy::version::{PolicyUser, PolicyVersion, StoredPolicy};
use edgepass_issuer::storage::StoreError;
use sqlx::{Row, SqliteConnection};

use super::audit::append;
use super::failed;
use crate::rows;

/// The number of a version that `user` may use without recording anything.
pub(super) async fn known(
    connection: &mut SqliteConnection,
    version: &PolicyVersion,
    user: &PolicyUser,
) -> Result<Option<u64>, StoreError> {
    let known = sqlx::query(
        "SELECT number, served_since_ms > 0 AND served_since_ms = (SELECT max(served_since_ms) FROM policies) \
         AS served FROM policies WHERE digest = $1",
    )
    .bind(&version.digest)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = known else { return Ok(None) };
    let is_served: bool = row.try_get("served").map_err(failed)?;
    let number = rows::unsigned(&row, "number").map_err(failed)?;
    Ok((is_served || !user.serves).then_some(number))
}

/// Records that `user` begins to use a version.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    version: &PolicyVersion,
    user: &PolicyUser,
) -> Result<u64, StoreError> {
    if let Some(number) = known(connection, version, user).await? {
        return Ok(number);
    }
    // Later than every other, also if the clock was set back.
    let row = sqlx::query(
        "INSERT INTO policies (number, digest, text, recorded_at_ms, served_since_ms) \
         SELECT coalesce(max(number), 0) + 1, $1, $2, $3, \
         CASE WHEN $4 THEN max($3, coalesce(max(served_since_ms), 0) + 1) ELSE 0 END \
         FROM policies WHERE true \
         ON CONFLICT (digest) DO UPDATE SET served_since_ms = excluded.served_since_ms RETURNING number",
    )
    .bind(&version.digest)
    .bind(&version.text)
    .bind(rows::signed(user.at.0))
    .bind(user.serves)
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let number = rows::unsigned(&row, "number").map_err(failed)?;
    let entry = AuditEntry {
        at_ms: user.at.0,
        actor: user.actor.clone(),
        policy: Some(number),
        act: Act::PolicyApplied { digest: version.digest.clone() },
    };
    append(connection, &entry).await?;
    Ok(number)
}

/// The version with this number, or the one that `serve` changed to last.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    number: Option<u64>,
) -> Result<Option<StoredPolicy>, StoreError> {
    let row = sqlx::query(
        "SELECT number, digest, text, served_since_ms FROM policies \
         WHERE ($1 IS NULL AND served_since_ms > 0) OR number = $1 ORDER BY served_since_ms DESC LIMIT 1",
    )
    .bind(number.map(rows::signed))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.as_ref().map(rows::policy).transpose().map_err(failed)
}
