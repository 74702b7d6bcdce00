//! Recording tokens, and the lists that their statuses lie in.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::selection::Selection;
use edgepass_issuer::status_index::permute;
use edgepass_issuer::storage::{NewList, NewToken, Recorded, StatusSlot, StoreError};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{append, unavailable};
use crate::rows;

/// Record a token with its audit entry.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    new: &NewToken,
    entry: &AuditEntry,
) -> Result<Recorded, StoreError> {
    if is_being_revoked(connection, new, entry.at_ms).await? {
        return Ok(Recorded::BeingRevoked);
    }
    let slot = take_slot(connection, &new.list).await?;
    let token = &new.facts;
    sqlx::query(
        "INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, key_id, created_by, \
         issued_at, expiration, list_id, list_index) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(&token.jwt_id)
    .bind(&token.role)
    .bind(&token.client_id)
    .bind(&token.subject)
    .bind(&token.audience)
    .bind(&token.scope)
    .bind(&token.key_id)
    .bind(&token.created_by)
    .bind(rows::signed(token.issued_at))
    .bind(rows::signed(token.expiration))
    .bind(&slot.list_id)
    .bind(rows::signed(slot.index))
    .execute(&mut *connection)
    .await
    .map_err(unavailable)?;
    append(connection, entry).await?;
    Ok(Recorded::At(slot))
}

/// Whether the list's window has a list of its kind with room for `room` more tokens.
pub(super) async fn has_room(
    connection: &mut SqliteConnection,
    list: &NewList,
    room: u32,
) -> Result<bool, StoreError> {
    let found = sqlx::query(
        "SELECT 1 FROM status_lists WHERE window_end = $1 AND bits = $2 \
         AND next_counter + $3 <= capacity",
    )
    .bind(rows::signed(list.window.end))
    .bind(list.bits.number())
    .bind(room)
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    Ok(found.is_some())
}

/// Open a list; the first free number of its window names it.
pub(super) async fn open_list(
    connection: &mut SqliteConnection,
    list: &NewList,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO status_lists (id, window_end, secret, capacity, bits, after_seq) \
         SELECT $1 || '-' || count(*), $1, $2, $3, $4, \
         (SELECT coalesce(max(seq), 0) FROM tokens) FROM status_lists WHERE window_end = $1",
    )
    .bind(rows::signed(list.window.end))
    .bind(list.secret.as_slice())
    .bind(list.capacity)
    .bind(list.bits.number())
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

/// Take the next counter of a list of the token's window that is not full, opening one if needed.
async fn take_slot(
    connection: &mut SqliteConnection,
    list: &NewList,
) -> Result<StatusSlot, StoreError> {
    let row = match take_counter(connection, list).await? {
        Some(row) => row,
        None => {
            open_list(connection, list).await?;
            let opened = take_counter(connection, list).await?;
            opened.ok_or_else(|| unavailable(rows::BadRow("status_lists")))?
        }
    };
    let slot = || -> Result<StatusSlot, sqlx::Error> {
        let secret: Vec<u8> = row.try_get("secret")?;
        let secret: [u8; 32] = secret
            .try_into()
            .map_err(|_| sqlx::Error::Decode(Box::new(rows::BadRow("status_lists"))))?;
        let (counter, capacity) =
            (rows::unsigned(&row, "counter")?, rows::unsigned(&row, "capacity")?);
        let index = u64::from(permute(&secret, counter, capacity));
        Ok(StatusSlot { list_id: row.try_get("id")?, index })
    };
    slot().map_err(unavailable)
}

async fn take_counter(
    connection: &mut SqliteConnection,
    list: &NewList,
) -> Result<Option<SqliteRow>, StoreError> {
    sqlx::query(
        "UPDATE status_lists SET next_counter = next_counter + 1 WHERE id = (SELECT id FROM \
         status_lists WHERE window_end = $1 AND bits = $2 AND next_counter < capacity \
         ORDER BY after_seq, id LIMIT 1) RETURNING id, secret, capacity, next_counter - 1 AS counter",
    )
    .bind(rows::signed(list.window.end))
    .bind(list.bits.number())
    .fetch_optional(connection)
    .await
    .map_err(unavailable)
}

/// Written so that the partial index serves it: acts are never deleted.
pub(super) const UNDER_WAY: &str = "SELECT selection FROM status_acts \
                                    WHERE blocks_until_ms > 0 AND blocks_until_ms > $1";

async fn is_being_revoked(
    connection: &mut SqliteConnection,
    new: &NewToken,
    now_ms: u64,
) -> Result<bool, StoreError> {
    let under_way = sqlx::query(UNDER_WAY)
        .bind(rows::signed(now_ms))
        .fetch_all(connection)
        .await
        .map_err(unavailable)?;
    for row in under_way {
        let text: String = row.try_get("selection").map_err(unavailable)?;
        let selection: Selection = serde_json::from_str(&text).map_err(unavailable)?;
        if selection.includes(&new.facts) {
            return Ok(true);
        }
    }
    Ok(false)
}
