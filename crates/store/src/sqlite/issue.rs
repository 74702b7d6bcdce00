//! Records issued tokens, and opens the status lists that provide their indices.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::selection::Selection;
use edgepass_issuer::storage::{NewList, NewToken, Recorded, StoreError};
use edgepass_issuer::token_facts::TokenFacts;
use edgepass_status_list::StatusType;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};

use super::audit::{append, secure_delete};
use super::{access, corrupt, failed, replacements, used_ids};
use crate::ranges::{Range, Ranges, Taken};
use crate::rows;

/// Records a token with its audit entry. Records nothing if an act blocks issuing such tokens, if an
/// identifier was used before, if access does not stand, or if the token's parent is not valid.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    new: &NewToken,
    entry: &AuditEntry,
) -> Result<Recorded, StoreError> {
    let Some(ancestors) = ancestors(connection, new).await? else {
        return Ok(Recorded::NotChild);
    };
    if is_being_revoked(connection, new, &ancestors, entry.at_ms).await? {
        return Ok(Recorded::Blocked);
    }
    if !access::stands(connection, &new.facts).await? {
        return Ok(Recorded::NoAccess);
    }
    if let Some(kind) = used_ids::record(connection, &new.once, entry.at_ms / 1000).await? {
        return Ok(Recorded::Used(kind));
    }
    let token = &new.facts;
    if let Some(replaces) = &new.replaces
        && !replacements::record(connection, replaces, &token.jwt_id, &token.created_by).await?
    {
        return Ok(Recorded::NotReplaced);
    }
    let taken = take(connection, &new.list, 1).await?.next();
    let taken = taken.ok_or_else(|| corrupt(rows::BadRow("status_lists")))?;
    let insert = format!("{INSERT} VALUES {}", placeholders(COLUMNS, 1));
    let insert = bound(sqlx::query(AssertSqlSafe(insert)), token, &taken)?;
    let inserted = insert.execute(&mut *connection).await.map_err(failed)?;
    for ancestor in &ancestors {
        sqlx::query("INSERT INTO ancestors (ancestor, seq) VALUES ($1, $2)")
            .bind(&ancestor.jwt_id)
            .bind(inserted.last_insert_rowid())
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    append(connection, entry).await?;
    Ok(Recorded::At(taken.slot))
}

/// The start of a statement that inserts tokens.
pub(super) const INSERT: &str = "INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, key_id, created_by, \
     issued_at, expiration, list_id, list_index, list_counter, policy, agreement, grant_id, parent, confirmation)";
/// Its number of columns.
pub(super) const COLUMNS: usize = 18;

/// A row of placeholders, for each of `count` rows.
pub(super) fn placeholders(columns: usize, count: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; count].join(", ")
}

/// Binds a row of such a statement.
pub(super) fn bound<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    token: &'q TokenFacts,
    taken: &'q Taken,
) -> Result<Query<'q, Sqlite, SqliteArguments>, StoreError> {
    let confirmation = token.confirmation.as_ref().map(serde_json::to_string);
    Ok(query
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
        .bind(&taken.slot.list_id)
        .bind(rows::signed(taken.slot.index))
        .bind(taken.counter)
        .bind(token.policy.map(rows::signed))
        .bind(&token.agreement)
        .bind(&token.grant)
        .bind(&token.parent)
        .bind(confirmation.transpose().map_err(corrupt)?))
}

/// Positions of the records among the `most` oldest whose tokens expired before a time. Never that of the
/// newest record.
pub(super) async fn oldest(
    connection: &mut SqliteConnection,
    expired_before: u64,
    most: u32,
) -> Result<Vec<i64>, StoreError> {
    let rows = sqlx::query(
        "SELECT seq FROM (SELECT seq, expiration FROM tokens WHERE seq < (SELECT max(seq) FROM tokens) \
         ORDER BY seq LIMIT $2) WHERE expiration < $1",
    )
    .bind(rows::signed(expired_before))
    .bind(most)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)
}

/// Deletes the records at these positions.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    old: &[i64],
) -> Result<(), StoreError> {
    let old = serde_json::to_string(old).map_err(corrupt)?;
    for table in ["ancestors", "token_uses", "tokens"] {
        let delete = format!("DELETE FROM {table} WHERE seq IN (SELECT value FROM json_each($1))");
        let delete = sqlx::query(AssertSqlSafe(delete)).bind(&old);
        delete.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Records that are erased at once.
const ERASED: u32 = 500;

/// Deletes records of a subject that expired before a time. Returns how many went.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    subject: &str,
    expired_before: u64,
) -> Result<u64, StoreError> {
    let rows = sqlx::query(
        "SELECT seq FROM tokens WHERE subject = $1 AND expiration < $2 \
         AND seq < (SELECT max(seq) FROM tokens) LIMIT $3",
    )
    .bind(subject)
    .bind(rows::signed(expired_before))
    .bind(i64::from(ERASED))
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    let old: Vec<i64> =
        rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)?;
    secure_delete(connection, true).await?;
    forget(connection, &old).await?;
    secure_delete(connection, false).await?;
    u64::try_from(old.len()).map_err(corrupt)
}

/// The most tokens that a token is exchanged from, directly or not. An act visits each.
const MAX_ANCESTORS: usize = 8;

/// The tokens from which a token is exchanged, directly or not, and that of the party that acts: none
/// without a parent. `None`: the parent or the actor's token is unknown or not valid, or ends before
/// the token.
async fn ancestors(
    connection: &mut SqliteConnection,
    new: &NewToken,
) -> Result<Option<Vec<TokenFacts>>, StoreError> {
    let Some(parent) = &new.facts.parent else { return Ok(Some(Vec::new())) };
    let rows = sqlx::query(
        "SELECT * FROM tokens WHERE jwt_id IN ($1, $2) OR jwt_id IN (SELECT ancestor FROM ancestors \
         WHERE seq = (SELECT seq FROM tokens WHERE jwt_id = $1))",
    )
    .bind(parent)
    .bind(&new.actor)
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let records = rows.iter().map(rows::token).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let is_valid = |jwt_id: &String| {
        records.iter().any(|record| {
            record.facts.jwt_id == *jwt_id
                && record.status == StatusType::Valid
                && record.facts.expiration >= new.facts.expiration
        })
    };
    if !is_valid(parent) || !new.actor.as_ref().is_none_or(is_valid) {
        return Ok(None);
    }
    if records.len() > MAX_ANCESTORS {
        return Ok(None);
    }
    Ok(Some(records.into_iter().map(|record| record.facts).collect()))
}

/// Whether the window has a list with `list.bits` bits per status and at least `room` unused
/// indices.
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
    .map_err(failed)?;
    Ok(found.is_some())
}

/// Opens a list. Its name is the end of its window, a hyphen, and the number of lists that the
/// window had before; and after a restored backup a hyphen and the epoch.
pub(super) async fn open_list(
    connection: &mut SqliteConnection,
    list: &NewList,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO status_lists (id, window_end, secret, capacity, bits, after_seq) \
         SELECT $1 || '-' || count(*) || \
         coalesce((SELECT '-' || epoch FROM restores ORDER BY number DESC LIMIT 1), ''), $1, $2, $3, $4, \
         (SELECT coalesce(max(seq), 0) FROM tokens) FROM status_lists WHERE window_end = $1",
    )
    .bind(rows::signed(list.window.end))
    .bind(list.secret.as_slice())
    .bind(list.capacity)
    .bind(list.bits.number())
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes `count` unused indices in the oldest list of the window that has so many, or else one. Opens a
/// list if none has one.
async fn take(
    connection: &mut SqliteConnection,
    list: &NewList,
    count: usize,
) -> Result<Range, StoreError> {
    for count in [count, 1] {
        if let Some(range) = take_range(connection, list, count).await? {
            return Ok(range);
        }
    }
    open_list(connection, list).await?;
    let range = take_range(connection, list, 1).await?;
    range.ok_or_else(|| corrupt(rows::BadRow("status_lists")))
}

/// Takes an index for a token. If none is reserved, reserves at least `wanted`, as far as a list has so many.
pub(super) async fn take_reserved(
    connection: &mut SqliteConnection,
    ranges: &mut Ranges,
    list: &NewList,
    wanted: usize,
) -> Result<Taken, StoreError> {
    if let Some(taken) = ranges.next(list) {
        return Ok(taken);
    }
    let size = ranges.size(list, wanted);
    let mut range = take(connection, list, size).await?;
    let taken = range.next();
    ranges.keep(list, range, size);
    taken.ok_or_else(|| corrupt(rows::BadRow("status_lists")))
}

/// Takes `count` unused indices in the oldest list of the window that has so many. `None`: none has.
async fn take_range(
    connection: &mut SqliteConnection,
    list: &NewList,
    count: usize,
) -> Result<Option<Range>, StoreError> {
    let count = u32::try_from(count).map_err(corrupt)?;
    let row = sqlx::query(
        "UPDATE status_lists SET next_counter = next_counter + $3 WHERE id = (SELECT id FROM \
         status_lists WHERE window_end = $1 AND bits = $2 AND next_counter + $3 <= capacity \
         ORDER BY after_seq, id LIMIT 1) RETURNING id, secret, capacity, next_counter",
    )
    .bind(rows::signed(list.window.end))
    .bind(list.bits.number())
    .bind(count)
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| Range::last(&row, count)).transpose().map_err(failed)
}

/// The acts that block issuing at `$1`, in milliseconds. `blocks_until_ms > 0` lets
/// SQLite use the partial index instead of reading every act, since acts are never deleted.
pub(super) const BLOCKING_ACTS: &str = "SELECT selection, blocks_until_ms FROM status_acts \
                                        WHERE blocks_until_ms > 0 AND blocks_until_ms > $1";

/// The acts that block the issuing of tokens.
pub(super) struct Blocking(Vec<(u64, Selection)>);

impl Blocking {
    /// Those that block at `now_ms` or, of these, until later.
    pub(super) async fn at(
        connection: &mut SqliteConnection,
        now_ms: u64,
    ) -> Result<Self, StoreError> {
        let acts = sqlx::query(BLOCKING_ACTS)
            .bind(rows::signed(now_ms))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        let read = |row: &SqliteRow| -> Result<(u64, Selection), StoreError> {
            let until = rows::unsigned(row, "blocks_until_ms").map_err(failed)?;
            Ok((until, selection(row)?))
        };
        acts.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether one of them blocks the token at `now_ms`.
    pub(super) fn includes(&self, token: &TokenFacts, now_ms: u64) -> bool {
        self.0.iter().any(|(until, selection)| *until > now_ms && selection.includes(token))
    }
}

fn selection(row: &SqliteRow) -> Result<Selection, StoreError> {
    let text: String = row.try_get("selection").map_err(failed)?;
    serde_json::from_str(&text).map_err(corrupt)
}

/// Whether an act under way selects the token or one that it is exchanged from.
async fn is_being_revoked(
    connection: &mut SqliteConnection,
    new: &NewToken,
    ancestors: &[TokenFacts],
    now_ms: u64,
) -> Result<bool, StoreError> {
    let tokens = || std::iter::once(&new.facts).chain(ancestors);
    let blocking = Blocking::at(connection, now_ms).await?;
    if tokens().any(|token| blocking.includes(token, now_ms)) {
        return Ok(true);
    }
    if ancestors.is_empty() {
        return Ok(false);
    }
    // An act that names tokens blocks nothing, but it may not have reached an ancestor yet.
    let unfinished = sqlx::query("SELECT selection FROM status_acts WHERE finished = 0");
    for row in unfinished.fetch_all(connection).await.map_err(failed)? {
        let selection = selection(&row)?;
        if tokens().any(|token| selection.includes(token)) {
            return Ok(true);
        }
    }
    Ok(false)
}
