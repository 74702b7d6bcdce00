//! Conversion of database rows to the issuer's types.

use edgepass_issuer::audit::leaf::LeafError;
use edgepass_issuer::policy::version::{PolicyVersion, StoredPolicy};
use edgepass_issuer::signing_key::{KeyState, SealedKey, SigningAlgorithm};
use edgepass_issuer::storage::{ListState, StatusSlot, TokenRecord};
use edgepass_issuer::token_facts::{Confirmation, TokenFacts};
use edgepass_status_list::{Bits, StatusType};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// A row of either database: its columns hold texts, bytes and signed integers.
pub(crate) trait Columns {
    /// The text in a column. `None`: NULL.
    fn text(&self, column: &'static str) -> Result<Option<String>, sqlx::Error>;
    /// The bytes in a column, which is not NULL.
    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, sqlx::Error>;
    /// The number in a column. `None`: NULL.
    fn number(&self, column: &'static str) -> Result<Option<i64>, sqlx::Error>;
}

impl Columns for SqliteRow {
    fn text(&self, column: &'static str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, sqlx::Error> {
        self.try_get(column)
    }

    fn number(&self, column: &'static str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }
}

impl Columns for PgRow {
    fn text(&self, column: &'static str) -> Result<Option<String>, sqlx::Error> {
        self.try_get(column)
    }

    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, sqlx::Error> {
        self.try_get(column)
    }

    fn number(&self, column: &'static str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }
}

/// The named table or column holds a value that this program does not write.
#[derive(Debug, thiserror::Error)]
#[error("{0} holds a value that this program did not write")]
pub(crate) struct BadRow(pub(crate) &'static str);

/// An entry that was changed. Holds its place.
#[derive(Debug, thiserror::Error)]
#[error("entry {0} of the audit trail is damaged; `edgepass audit verify` says more")]
pub(crate) struct BadEntry(pub(crate) u64, #[source] pub(crate) LeafError);

pub(crate) fn key(row: &impl Columns) -> Result<SealedKey, sqlx::Error> {
    let bad = || sqlx::Error::Decode(Box::new(BadRow("signing_keys")));
    Ok(SealedKey {
        key_id: text(row, "key_id")?,
        state: KeyState::named(&text(row, "use")?).ok_or_else(bad)?,
        algorithm: SigningAlgorithm::named(&text(row, "algorithm")?).ok_or_else(bad)?,
        public_key: row.bytes("public_key")?,
        sealed: row.bytes("sealed")?,
        created_at: unsigned(row, "created_at")?,
        published_at: optional(row, "published_at")?,
        signs_since: optional(row, "signs_since")?,
        retires_at: optional(row, "retires_at")?,
    })
}

pub(crate) fn token(row: &impl Columns) -> Result<TokenRecord, sqlx::Error> {
    let facts = TokenFacts {
        jwt_id: text(row, "jwt_id")?,
        role: text(row, "role")?,
        client_id: text(row, "client_id")?,
        subject: text(row, "subject")?,
        audience: text(row, "audience")?,
        scope: text(row, "scope")?,
        key_id: text(row, "key_id")?,
        created_by: text(row, "created_by")?,
        policy: optional(row, "policy")?,
        agreement: row.text("agreement")?,
        grant: row.text("grant_id")?,
        parent: row.text("parent")?,
        confirmation: confirmation(row)?,
        issued_at: unsigned(row, "issued_at")?,
        expiration: unsigned(row, "expiration")?,
    };
    let slot = StatusSlot { list_id: text(row, "list_id")?, index: unsigned(row, "list_index")? };
    Ok(TokenRecord { facts, status: status(row)?, slot, seq: unsigned(row, "seq")? })
}

fn confirmation(row: &impl Columns) -> Result<Option<Confirmation>, sqlx::Error> {
    let text = row.text("confirmation")?;
    let read = |text: String| serde_json::from_str(&text);
    text.map(read).transpose().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

pub(crate) fn policy(row: &impl Columns) -> Result<StoredPolicy, sqlx::Error> {
    Ok(StoredPolicy {
        number: unsigned(row, "number")?,
        version: PolicyVersion { text: text(row, "text")?, digest: text(row, "digest")? },
        served_since_ms: unsigned(row, "served_since_ms")?,
    })
}

pub(crate) fn status(row: &impl Columns) -> Result<StatusType, sqlx::Error> {
    unsigned::<u8>(row, "status").map(StatusType::from)
}

pub(crate) fn bits(row: &impl Columns) -> Result<Bits, sqlx::Error> {
    Bits::from_number(unsigned(row, "bits")?)
        .ok_or_else(|| sqlx::Error::Decode(Box::new(BadRow("status_lists"))))
}

pub(crate) fn list_state(row: &impl Columns) -> Result<ListState, sqlx::Error> {
    Ok(ListState {
        id: text(row, "id")?,
        window_end: unsigned(row, "window_end")?,
        changes: unsigned(row, "due")?,
        published: unsigned(row, "published")?,
        number: unsigned(row, "number")?,
    })
}

/// Reads a text that is never NULL.
pub(crate) fn text(row: &impl Columns, column: &'static str) -> Result<String, sqlx::Error> {
    row.text(column)?.ok_or_else(|| sqlx::Error::Decode(Box::new(BadRow(column))))
}

/// Reads a number that is never negative. A negative value, or one too large for `T`, gives
/// [`BadRow`].
pub(crate) fn unsigned<T: TryFrom<i64>>(
    row: &impl Columns,
    column: &'static str,
) -> Result<T, sqlx::Error> {
    let bad = || sqlx::Error::Decode(Box::new(BadRow(column)));
    row.number(column)?.and_then(|value| value.try_into().ok()).ok_or_else(bad)
}

/// Like [`unsigned`]; `None` for NULL.
fn optional(row: &impl Columns, column: &'static str) -> Result<Option<u64>, sqlx::Error> {
    row.number(column)?.map(|_| unsigned(row, column)).transpose()
}

/// Converts to a signed integer, which is what both databases store. A value from 2^63 becomes the largest one; stored numbers
/// are far below.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
