//! Records issued tokens, and opens the status lists that provide their indices.

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::selection::Selection;
use edgepass_issuer::storage::{NewList, NewToken, Recorded, StoreError};
use edgepass_issuer::token_facts::TokenFacts;
use edgepass_status_list::StatusType;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::audit::append;
use super::connections::query;
use super::error::{corrupt, failed};
use super::{access, replacements, used_ids};
use crate::ranges::{Range, Ranges, Taken};
use crate::rows;

/// Records a token with its audit entry. Records nothing if an act blocks issuing such tokens, if an
/// identifier was used before, if access does not stand, or if the token's parent is not valid.
pub(super) async fn record(
    connection: &mut PgConnection,
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
    let seq = insert(connection, &[(token, &taken)]).await?;
    for ancestor in &ancestors {
        query("INSERT INTO ancestors (ancestor, seq) VALUES ($1, $2)")
            .bind(&ancestor.jwt_id)
            .bind(seq)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    append(connection, entry).await?;
    Ok(Recorded::At(taken.slot))
}

/// Adds tokens in this order, after all others. Returns the position of the last one.
pub(super) async fn insert(
    connection: &mut PgConnection,
    tokens: &[(&TokenFacts, &Taken)],
) -> Result<i64, StoreError> {
    let texts = |of: fn(&TokenFacts) -> &String| -> Vec<&str> {
        tokens.iter().map(|(facts, _)| of(facts).as_str()).collect()
    };
    let optional = |of: fn(&TokenFacts) -> Option<&String>| -> Vec<Option<&str>> {
        tokens.iter().map(|(facts, _)| of(facts).map(String::as_str)).collect()
    };
    let numbers = |of: fn(&TokenFacts) -> u64| -> Vec<i64> {
        tokens.iter().map(|(facts, _)| rows::signed(of(facts))).collect()
    };
    let confirmation = |(facts, _): &(&TokenFacts, &Taken)| {
        facts.confirmation.as_ref().map(serde_json::to_string).transpose()
    };
    let confirmations =
        tokens.iter().map(confirmation).collect::<Result<Vec<_>, _>>().map_err(corrupt)?;
    let lists: Vec<&str> = tokens.iter().map(|(_, taken)| taken.slot.list_id.as_str()).collect();
    let indices: Vec<i64> =
        tokens.iter().map(|(_, taken)| rows::signed(taken.slot.index)).collect();
    let counters: Vec<i64> = tokens.iter().map(|(_, taken)| i64::from(taken.counter)).collect();
    let policies: Vec<Option<i64>> =
        tokens.iter().map(|(facts, _)| facts.policy.map(rows::signed)).collect();
    let row = query(
        "WITH added AS (INSERT INTO tokens (seq, jwt_id, role, client_id, subject, audience, scope, \
         key_id, created_by, issued_at, expiration, list_id, list_index, list_counter, policy, \
         agreement, grant_id, parent, confirmation) \
         SELECT (SELECT coalesce(max(seq), 0) FROM tokens) + place, jwt_id, role, client_id, subject, \
         audience, scope, key_id, created_by, issued_at, expiration, list_id, list_index, list_counter, \
         policy, agreement, grant_id, parent, confirmation \
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
         $8::text[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[], \
         $14::bigint[], $15::text[], $16::text[], $17::text[], $18::text[]) WITH ORDINALITY \
         AS new (jwt_id, role, client_id, subject, audience, scope, key_id, created_by, issued_at, \
         expiration, list_id, list_index, list_counter, policy, agreement, grant_id, parent, confirmation, \
         place) \
         RETURNING seq) SELECT max(seq) FROM added",
    )
    .bind(texts(|facts| &facts.jwt_id))
    .bind(texts(|facts| &facts.role))
    .bind(texts(|facts| &facts.client_id))
    .bind(texts(|facts| &facts.subject))
    .bind(texts(|facts| &facts.audience))
    .bind(texts(|facts| &facts.scope))
    .bind(texts(|facts| &facts.key_id))
    .bind(texts(|facts| &facts.created_by))
    .bind(numbers(|facts| facts.issued_at))
    .bind(numbers(|facts| facts.expiration))
    .bind(lists)
    .bind(indices)
    .bind(counters)
    .bind(policies)
    .bind(optional(|facts| facts.agreement.as_ref()))
    .bind(optional(|facts| facts.grant.as_ref()))
    .bind(optional(|facts| facts.parent.as_ref()))
    .bind(confirmations)
    .fetch_one(connection)
    .await
    .map_err(failed)?;
    row.try_get(0).map_err(failed)
}

/// Positions of the records among the `most` oldest whose tokens expired before a time. Never that of the
/// newest record.
pub(super) async fn oldest(
    connection: &mut PgConnection,
    expired_before: u64,
    most: u32,
) -> Result<Vec<i64>, StoreError> {
    let rows = query(
        "SELECT seq FROM (SELECT seq, expiration FROM tokens WHERE seq < (SELECT max(seq) FROM tokens) \
         ORDER BY seq LIMIT $2) AS part WHERE expiration < $1",
    )
    .bind(rows::signed(expired_before))
    .bind(i64::from(most))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed)
}

/// Deletes the records at these positions.
pub(super) async fn forget(connection: &mut PgConnection, old: &[i64]) -> Result<(), StoreError> {
    for table in ["ancestors", "token_uses", "tokens"] {
        let delete = format!("DELETE FROM {table} WHERE seq = ANY($1)");
        let delete = query(AssertSqlSafe(delete)).bind(old);
        delete.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// Records that are erased at once.
const ERASED: u32 = 500;

/// Deletes records of a subject that expired before a time. Returns how many went.
pub(super) async fn erase(
    connection: &mut PgConnection,
    subject: &str,
    expired_before: u64,
) -> Result<u64, StoreError> {
    let rows = query(
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
    forget(connection, &old).await?;
    u64::try_from(old.len()).map_err(corrupt)
}

/// The most tokens that a token is exchanged from, directly or not. An act visits each.
const MAX_ANCESTORS: usize = 8;

/// The tokens from which a token is exchanged, directly or not, and that of the party that acts: none
/// without a parent. `None`: the parent or the actor's token is unknown or not valid, or ends before
/// the token.
async fn ancestors(
    connection: &mut PgConnection,
    new: &NewToken,
) -> Result<Option<Vec<TokenFacts>>, StoreError> {
    let Some(parent) = &new.facts.parent else { return Ok(Some(Vec::new())) };
    let rows = query(
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
    connection: &mut PgConnection,
    list: &NewList,
    room: u32,
) -> Result<bool, StoreError> {
    let found = query(
        "SELECT 1 FROM status_lists WHERE window_end = $1 AND bits = $2 \
         AND next_counter + $3 <= capacity",
    )
    .bind(rows::signed(list.window.end))
    .bind(i64::from(list.bits.number()))
    .bind(i64::from(room))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    Ok(found.is_some())
}

/// Opens a list. Its name is the end of its window, a hyphen, and the number of lists that the
/// window had before; and after a restored backup a hyphen and the epoch.
pub(super) async fn open_list(
    connection: &mut PgConnection,
    list: &NewList,
) -> Result<(), StoreError> {
    query(
        "INSERT INTO status_lists (id, window_end, secret, capacity, bits, after_seq) \
         SELECT $1::text || '-' || count(*) || \
         coalesce((SELECT '-' || epoch FROM restores ORDER BY number DESC LIMIT 1), ''), $1, $2, $3, $4, \
         (SELECT coalesce(max(seq), 0) FROM tokens) FROM status_lists WHERE window_end = $1",
    )
    .bind(rows::signed(list.window.end))
    .bind(list.secret.as_slice())
    .bind(i64::from(list.capacity))
    .bind(i64::from(list.bits.number()))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Takes `count` unused indices in the oldest list of the window that has so many, or else one. Opens a
/// list if none has one.
async fn take(
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
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
    connection: &mut PgConnection,
    list: &NewList,
    count: usize,
) -> Result<Option<Range>, StoreError> {
    let count = u32::try_from(count).map_err(corrupt)?;
    let row = query(
        "UPDATE status_lists SET next_counter = next_counter + $3 WHERE id = (SELECT id FROM \
         status_lists WHERE window_end = $1 AND bits = $2 AND next_counter + $3 <= capacity \
         ORDER BY after_seq, id LIMIT 1) RETURNING id, secret, capacity, next_counter",
    )
    .bind(rows::signed(list.window.end))
    .bind(i64::from(list.bits.number()))
    .bind(i64::from(count))
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    row.map(|row| Range::last(&row, count)).transpose().map_err(failed)
}

/// The acts that block issuing at `$1`, in milliseconds. `blocks_until_ms > 0` lets
/// the planner use the partial index instead of reading every act, since acts are never deleted.
pub(super) const BLOCKING_ACTS: &str = "SELECT selection, blocks_until_ms FROM status_acts \
                                        WHERE blocks_until_ms > 0 AND blocks_until_ms > $1";

/// The acts that block the issuing of tokens.
pub(super) struct Blocking(Vec<(u64, Selection)>);

impl Blocking {
    /// Those that block at `now_ms` or, of these, until later.
    pub(super) async fn at(connection: &mut PgConnection, now_ms: u64) -> Result<Self, StoreError> {
        let acts = query(BLOCKING_ACTS)
            .bind(rows::signed(now_ms))
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        let read = |row: &PgRow| -> Result<(u64, Selection), StoreError> {
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

fn selection(row: &PgRow) -> Result<Selection, StoreError> {
    let text: String = row.try_get("selection").map_err(failed)?;
    serde_json::from_str(&text).map_err(corrupt)
}

/// Whether an act under way selects the token or one that it is exchanged from.
async fn is_being_revoked(
    connection: &mut PgConnection,
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
    let unfinished = query("SELECT selection FROM status_acts WHERE NOT finished");
    for row in unfinished.fetch_all(connection).await.map_err(failed)? {
        let selection = selection(&row)?;
        if tokens().any(|token| selection.includes(token)) {
            return Ok(true);
        }
    }
    Ok(false)
}
