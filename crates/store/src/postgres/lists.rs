//! The statuses of a list.

use edgepass_issuer::storage::StoreError;
use edgepass_status_list::StatusType;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::connections::query;
use super::error::failed;
use crate::rows;

/// Index and status of each token that is not valid: of those with a record, and of those that a restored
/// backup lacks.
pub(super) async fn statuses(
    connection: &mut PgConnection,
    list_id: &str,
) -> Result<Vec<(u32, StatusType)>, StoreError> {
    let found = query(
        "SELECT list_index, status FROM tokens WHERE list_id = $1 AND status <> 0 UNION ALL \
         SELECT list_index, status FROM adopted_statuses WHERE list_id = $1",
    )
    .bind(list_id)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let read = |row: &PgRow| -> Result<(u32, StatusType), sqlx::Error> {
        Ok((rows::unsigned(row, "list_index")?, rows::status(row)?))
    };
    found.iter().map(read).collect::<Result<_, _>>().map_err(failed)
}
