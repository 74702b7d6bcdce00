//! Incidents.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::breach::Incident;
use edgepass_issuer::storage::StoreError;
use sqlx::PgConnection;

use super::audit::append;
use super::connections::query;
use super::error::{corrupt, failed};
use crate::{incidents, rows};

/// Records a new incident.
pub(super) async fn add(
    connection: &mut PgConnection,
    incident: &Incident,
    entry: &AuditEntry,
) -> Result<(), StoreError> {
    query(incidents::ADD)
        .bind(&incident.id)
        .bind(rows::signed(incident.version))
        .bind(incidents::document(incident).map_err(corrupt)?)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    append(connection, entry).await?;
    Ok(())
}

/// Records a change. `false`: the incident has another version than `seen`.
pub(super) async fn change(
    connection: &mut PgConnection,
    seen: u64,
    incident: &Incident,
    entry: &AuditEntry,
) -> Result<bool, StoreError> {
    let changed = query(incidents::CHANGE)
        .bind(&incident.id)
        .bind(rows::signed(seen))
        .bind(rows::signed(incident.version))
        .bind(incidents::document(incident).map_err(corrupt)?)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    if changed.rows_affected() != 1 {
        return Ok(false);
    }
    append(connection, entry).await?;
    Ok(true)
}
