//! The log of the audit trail: its tiles and its newest checkpoint.

use edgepass_issuer::log::stored::{LogExtension, StoredLog};
use edgepass_issuer::storage::StoreError;
use edgepass_log::{Tile, TileId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::connections::query;
use super::error::{corrupt, failed};
use crate::rows::{self, BadRow};

pub(super) async fn find(connection: &mut PgConnection) -> Result<Option<StoredLog>, StoreError> {
    let row = query("SELECT * FROM log").fetch_optional(connection).await.map_err(failed)?;
    let log = |row: PgRow| {
        Ok(StoredLog {
            origin: row.try_get("origin")?,
            path: row.try_get("path")?,
            public_key: row.try_get("public_key")?,
            sealed: row.try_get("sealed")?,
            size: rows::unsigned(&row, "size")?,
            checkpoint: row.try_get("checkpoint")?,
        })
    };
    row.map(log).transpose().map_err(failed)
}

pub(super) async fn epoch(connection: &mut PgConnection) -> Result<Option<String>, StoreError> {
    let row = query("SELECT epoch FROM restores ORDER BY number DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    row.map(|row| row.try_get(0)).transpose().map_err(failed)
}

/// Ends the log: the restored database does not continue it. The entries stay, for a new one.
pub(super) async fn end(connection: &mut PgConnection) -> Result<(), StoreError> {
    for text in ["DELETE FROM log", "DELETE FROM log_tiles"] {
        query(text).execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Seals the private half of the log's key again. `false`: it is not sealed as `from` says.
pub(super) async fn rewrap(
    connection: &mut PgConnection,
    origin: &str,
    from: &[u8],
    to: &[u8],
) -> Result<bool, StoreError> {
    let changed = query("UPDATE log SET sealed = $3 WHERE origin = $1 AND sealed = $2")
        .bind(origin)
        .bind(from)
        .bind(to)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(changed.rows_affected() == 1)
}

pub(super) async fn begin(
    connection: &mut PgConnection,
    log: &StoredLog,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO log (id, origin, path, public_key, sealed) VALUES (1, $1, $2, $3, $4) \
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(&log.origin)
    .bind(&log.path)
    .bind(&log.public_key)
    .bind(&log.sealed)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// The texts of the entries after the first `after`: one row, however many they are.
pub(super) async fn texts(
    connection: &mut PgConnection,
    after: u64,
    most: u32,
) -> Result<Vec<String>, StoreError> {
    // The text of an entry is JSON without line breaks.
    let row = query(
        "SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq), 0), \
         string_agg(leaf, chr(10) ORDER BY seq) \
         FROM (SELECT seq, leaf FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2) AS part",
    )
    .bind(rows::signed(after))
    .bind(i64::from(most))
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    let read = || -> Result<(i64, i64, i64, Option<String>), sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    let (count, first, last, joined) = read().map_err(failed)?;
    let texts: Vec<String> =
        joined.iter().flat_map(|texts| texts.split('\n')).map(str::to_owned).collect();
    let before = rows::signed(after);
    let is_whole = count == 0
        || (first.checked_sub(1) == Some(before)
            && last.checked_sub(count) == Some(before)
            && i64::try_from(texts.len()) == Ok(count));
    if is_whole { Ok(texts) } else { Err(corrupt(BadRow("audit"))) }
}

pub(super) async fn tiles(
    connection: &mut PgConnection,
    wanted: &[TileId],
) -> Result<Vec<Tile>, StoreError> {
    let mut tiles = Vec::with_capacity(wanted.len());
    for id in wanted {
        let row = query("SELECT hashes FROM log_tiles WHERE level = $1 AND number = $2")
            .bind(i64::from(id.level()))
            .bind(rows::signed(id.number()))
            .fetch_optional(&mut *connection)
            .await
            .map_err(failed)?;
        let Some(row) = row else { continue };
        let mut hashes: Vec<u8> = row.try_get("hashes").map_err(failed)?;
        if hashes.len() >= id.octets() {
            hashes.truncate(id.octets());
            tiles.push(Tile { id: *id, hashes });
        }
    }
    Ok(tiles)
}

pub(super) async fn extend(
    connection: &mut PgConnection,
    extension: &LogExtension,
) -> Result<bool, StoreError> {
    let extended = query(
        "UPDATE log SET size = $3, checkpoint = $4 WHERE origin = $1 AND size = $2 AND $3 > $2",
    )
    .bind(&extension.origin)
    .bind(rows::signed(extension.from))
    .bind(rows::signed(extension.size))
    .bind(&extension.checkpoint)
    .execute(&mut *connection)
    .await
    .map_err(failed)?;
    if extended.rows_affected() == 0 {
        return Ok(false);
    }
    for tile in &extension.tiles {
        query(
            "INSERT INTO log_tiles (level, number, hashes) VALUES ($1, $2, $3) \
             ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes",
        )
        .bind(i64::from(tile.id.level()))
        .bind(rows::signed(tile.id.number()))
        .bind(&tile.hashes)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    Ok(true)
}
