//! Conversion of database rows to the issuer's types.

use edgepass_issuer::policy::version::{PolicyVersion, StoredPolicy};
use edgepass_issuer::signing_key::{KeyState, SealedKey, SigningAlgorithm};
use edgepass_issuer::storage::{ListState, StatusSlot, TokenRecord};
use edgepass_issuer::token_facts::{Confirmation, TokenFacts};
use edgepass_status_list::{Bits, StatusType};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// The named table or column holds a value that this program does not write.
#[derive(Debug, thiserror::Error)]
#[error("{0} holds a value that this program did not write")]
pub(crate) struct BadRow(pub(crate) &'static str);

pub(crate) fn key(row: &SqliteRow) -> Result<SealedKey, sqlx::Error> {
    let bad = || sqlx::Error::Decode(Box::new(BadRow("signing_keys")));
    Ok(SealedKey {
        key_id: row.try_get("key_id")?,
        state: KeyState::named(row.try_get("use")?).ok_or_else(bad)?,
        algorithm: SigningAlgorithm::named(row.try_get("algorithm")?).ok_or_else(bad)?,
        public_key: row.try_get("public_key")?,
        sealed: row.try_get("sealed")?,
        created_at: unsigned(row, "created_at")?,
        published_at: optional(row, "published_at")?,
        signs_since: optional(row, "signs_since")?,
        retires_at: optional(row, "retires_at")?,
    })
}

pub(crate) fn token(row: &SqliteRow) -> Result<TokenRecord, sqlx::Error> {
    let facts = TokenFacts {
        jwt_id: row.try_get("jwt_id")?,
        role: row.try_get("role")?,
        client_id: row.try_get("client_id")?,
        subject: row.try_get("subject")?,
        audience: row.try_get("audience")?,
        scope: row.try_get("scope")?,
        key_id: row.try_get("key_id")?,
        created_by: row.try_get("created_by")?,
        policy: optional(row, "policy")?,
        agreement: row.try_get("agreement")?,
        parent: row.try_get("parent")?,
        confirmation: confirmation(row)?,
        issued_at: unsigned(row, "issued_at")?,
        expiration: unsigned(row, "expiration")?,
    };
    let slot = StatusSlot { list_id: row.try_get("list_id")?, index: unsigned(row, "list_index")? };
    Ok(TokenRecord { facts, status: status(row)?, slot, seq: unsigned(row, "seq")? })
}

fn confirmation(row: &SqliteRow) -> Result<Option<Confirmation>, sqlx::Error> {
    let text: Option<String> = row.try_get("confirmation")?;
    let read = |text: String| serde_json::from_str(&text);
    text.map(read).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub(crate) fn policy(row: &SqliteRow) -> Result<StoredPolicy, sqlx::Error> {
    Ok(StoredPolicy {
        number: unsigned(row, "number")?,
        version: PolicyVersion { text: row.try_get("text")?, digest: row.try_get("digest")? },
        served_since_ms: unsigned(row, "served_since_ms")?,
    })
}

pub(crate) fn status(row: &SqliteRow) -> Result<StatusType, sqlx::Error> {
    unsigned::<u8>(row, "status").map(StatusType::from)
}

pub(crate) fn bits(row: &SqliteRow) -> Result<Bits, sqlx::Error> {
    Bits::from_number(unsigned(row, "bits")?)
        .ok_or_else(|| sqlx::Error::Decode(Box::new(BadRow("status_lists"))))
}

pub(crate) fn list_state(row: &SqliteRow) -> Result<ListState, sqlx::Error> {
    Ok(ListState {
        id: row.try_get("id")?,
        window_end: unsigned(row, "window_end")?,
        changes: unsigned(row, "due")?,
        published: unsigned(row, "published")?,
        number: unsigned(row, "number")?,
    })
}

/// Reads a number that is never negative. A negative value, or one too large for `T`, gives
/// [`BadRow`].
pub(crate) fn unsigned<T: TryFrom<i64>>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, sqlx::Error> {
    let value: i64 = row.try_get(column)?;
    value.try_into().map_err(|_| sqlx::Error::Decode(Box::new(BadRow(column))))
}

/// Like [`unsigned`]; `None` for NULL.
fn optional(row: &SqliteRow, column: &'static str) -> Result<Option<u64>, sqlx::Error> {
    let value: Option<i64> = row.try_get(column)?;
    value.map(|_| unsigned(row, column)).transpose()
}

/// Converts to SQLite's signed integer. A value from 2^63 becomes the largest one; stored numbers
/// are far below.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
