//! The signing keys in the database.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::signing_key::{KeyState, SealedKey};
use edgepass_issuer::storage::{KeyChange, StoreError, StoredKeys};
use sqlx::PgConnection;

use super::audit::append;
use super::connections::query;
use super::error::failed;
use crate::rows;

pub(super) async fn all(connection: &mut PgConnection) -> Result<StoredKeys, StoreError> {
    let rows = query("SELECT * FROM signing_keys ORDER BY created_at, key_id")
        .fetch_all(connection)
        .await
        .map_err(failed)?;
    let keys = rows.iter().map(rows::key).collect::<Result<_, _>>().map_err(failed)?;
    let changed_at = rows.iter().map(|row| rows::unsigned::<u64>(row, "changed_at"));
    let changed_at = changed_at.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    Ok(StoredKeys { keys, changed_at: changed_at.into_iter().max().unwrap_or_default() })
}

/// Changes the keys and appends `entry`. `false`: nothing was changed, since the keys are no longer
/// those of `change.seen`.
pub(super) async fn change(
    connection: &mut PgConnection,
    change: &KeyChange,
    entry: &AuditEntry,
) -> Result<bool, StoreError> {
    let stored = all(connection).await?;
    if stored.changed_at != change.seen {
        return Ok(false);
    }
    apply(connection, change).await?;
    append(connection, entry).await?;
    Ok(true)
}

/// Changes the keys.
pub(super) async fn apply(
    connection: &mut PgConnection,
    change: &KeyChange,
) -> Result<(), StoreError> {
    // Increases even if the clock was set back: this is the set's `iat`, and verifiers refuse a set
    // with an older one.
    let changed_at = change.now.max(change.seen.saturating_add(1));
    // The table allows one signing key: update the previous one before the new one.
    let mut states = change.states.clone();
    states.sort_by_key(|(_, state, _)| *state == KeyState::Signing);
    for (key_id, state, retires_at) in states {
        query(
            "UPDATE signing_keys SET use = $2, retires_at = $3, changed_at = $4, \
             signs_since = CASE $2::text WHEN 'signing' THEN $5 ELSE signs_since END, \
             sealed = CASE $2::text WHEN 'withdrawn' THEN ''::bytea ELSE sealed END WHERE key_id = $1",
        )
        .bind(key_id)
        .bind(state.name())
        .bind(retires_at.map(rows::signed))
        .bind(rows::signed(changed_at))
        .bind(rows::signed(change.now))
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    for key in &change.new {
        add(connection, key, changed_at).await?;
    }
    Ok(())
}

pub(super) async fn mark_published(
    connection: &mut PgConnection,
    changed_at: u64,
    now: u64,
) -> Result<(), StoreError> {
    query(
        "UPDATE signing_keys SET published_at = $2 WHERE published_at IS NULL \
         AND use <> 'withdrawn' AND (SELECT max(changed_at) FROM signing_keys) = $1",
    )
    .bind(rows::signed(changed_at))
    .bind(rows::signed(now))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

async fn add(
    connection: &mut PgConnection,
    key: &SealedKey,
    changed_at: u64,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO signing_keys \
         (key_id, use, algorithm, public_key, sealed, created_at, changed_at, signs_since) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&key.key_id)
    .bind(key.state.name())
    .bind(key.algorithm.name())
    .bind(&key.public_key)
    .bind(&key.sealed)
    .bind(rows::signed(key.created_at))
    .bind(rows::signed(changed_at))
    .bind(key.signs_since.map(rows::signed))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
