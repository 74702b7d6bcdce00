//! Copies of the database, made while other processes use it.

use std::path::Path;
use std::time::Duration;

use edgepass_issuer::storage::StoreError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::failed;
use crate::rows;

/// What a copy holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Contents {
    /// Number of records of tokens.
    pub tokens: u64,
    /// Number of entries of the audit trail.
    pub entries: u64,
    /// Time of the last entry, in milliseconds. 0: there is none.
    pub last_entry_ms: u64,
    /// Number of keys whose private half is in a device, and so not in the copy.
    pub device_keys: u64,
}

/// The reason why a file is not a whole database of an issuer.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BadCopy {
    /// The file cannot be read, or has not the tables of an issuer.
    #[error("the file is not a database of an issuer")]
    Unreadable(#[from] StoreError),
    /// SQLite finds that the file is damaged. Holds the first of its findings.
    #[error("the file is damaged: {0}")]
    Damaged(String),
}

/// Writes a copy of the database, as of one moment, to a file that is empty or does not exist. Issuing and all
/// other work go on meanwhile. Changes nothing in the database, and does not migrate it.
///
/// # Errors
///
/// [`StoreError`]: the database cannot be read, or the file not be written. The file may hold a part then.
pub async fn copy(database: &Path, to: &Path) -> Result<(), StoreError> {
    let mut connection = read_only(database).await?;
    // One whole file. What was deleted, such as the private halves of withdrawn keys, is not in it.
    sqlx::query("VACUUM INTO $1")
        .bind(to.to_string_lossy())
        .execute(&mut connection)
        .await
        .map_err(failed)?;
    connection.close().await.map_err(failed)
}

/// Checks that a file is a whole database of an issuer, of this program or an older one.
///
/// # Errors
///
/// [`BadCopy`].
pub async fn examine(file: &Path) -> Result<Contents, BadCopy> {
    let mut connection = read_only(file).await?;
    let found = sqlx::query("PRAGMA integrity_check(1)").fetch_one(&mut connection).await;
    let found: String = found.and_then(|row| row.try_get(0)).map_err(failed)?;
    if found != "ok" {
        return Err(BadCopy::Damaged(found));
    }
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM tokens) AS tokens, (SELECT count(*) FROM audit) AS entries, \
         (SELECT coalesce(max(at_ms), 0) FROM audit) AS last_entry_ms, \
         (SELECT count(*) FROM signing_keys WHERE sealed >= CAST('pkcs11:' AS BLOB) \
         AND sealed < CAST('pkcs11;' AS BLOB)) AS device_keys",
    );
    let row = row.fetch_one(&mut connection).await.map_err(failed)?;
    let number = |column| rows::unsigned(&row, column).map_err(failed);
    let contents = Contents {
        tokens: number("tokens")?,
        entries: number("entries")?,
        last_entry_ms: number("last_entry_ms")?,
        device_keys: number("device_keys")?,
    };
    connection.close().await.map_err(failed)?;
    Ok(contents)
}

async fn read_only(file: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    options.busy_timeout(BUSY_TIMEOUT).connect().await.map_err(failed)
}

/// The longest wait for a lock that another connection holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
