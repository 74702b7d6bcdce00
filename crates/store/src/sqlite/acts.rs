//! Acts on statuses: planned by reading, recorded in one transaction, carried out in steps.

use std::fmt::Write;

use edgepass_issuer::new_act::{NewAct, Plan, RecordedAct};
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::status_index::RETIRE_AFTER;
use edgepass_issuer::storage::StoreError;
use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::{append, unavailable};
use crate::rows;

/// How many statuses one transaction changes: it holds up issuing for that long.
const STEP: u32 = 10_000;
/// For how long tokens like the selected are blocked after the last step of an act that nobody ends.
const BLOCK_MS: u64 = 10_000;

/// For how long they are blocked after the act has ended: whoever acts is told by then, and no token is
/// issued between that the act would have selected.
const TELLING_MS: u64 = 1_000;

/// Tokens in the order of issue: after the first, up to the last.
type Range = (u64, u64);

/// An act that is not finished.
pub(super) struct Unfinished {
    id: u64,
    change: StatusChange,
    selection: Selection,
    at_ms: u64,
    range: Range,
}

/// Look what an act would change.
pub(super) async fn plan(
    connection: &mut SqliteConnection,
    act: &NewAct,
) -> Result<Plan, StoreError> {
    let mut plan = Plan { last_act: last_act(connection).await?, ..Plan::default() };
    let last = last_token(connection).await?;
    plan.last_seq = first_live(connection, act.at.0).await?;
    let range = (plan.last_seq, last);
    let mut roles = QueryBuilder::new(
        "SELECT role, count(*) AS tokens, \
         sum((SELECT bits FROM status_lists WHERE id = list_id) = 1) AS one_bit FROM tokens WHERE ",
    );
    condition(&mut roles, act.change, &act.selection, act.at.0, range);
    roles.push(" GROUP BY role");
    for row in roles.build().fetch_all(&mut *connection).await.map_err(unavailable)? {
        let role: String = row.try_get("role").map_err(unavailable)?;
        plan.roles.insert(role, rows::unsigned(&row, "tokens").map_err(unavailable)?);
        let one_bit: u64 = rows::unsigned(&row, "one_bit").map_err(unavailable)?;
        plan.without_suspension += one_bit;
    }
    plan_rest(connection, act, &mut plan, last).await?;
    Ok(plan)
}

/// Record an act; a small one is carried out at once.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    act: &NewAct,
    mut plan: Plan,
) -> Result<Option<RecordedAct>, StoreError> {
    // Whatever was recorded since, or is not carried out yet, changes what this act would.
    if last_act(connection).await? != plan.last_act || unfinished(connection).await?.is_some() {
        return Ok(None);
    }
    let last = last_token(connection).await?;
    if act.change == StatusChange::Suspend && has_one_bit(connection, act, plan.last_seq).await? {
        return Ok(None);
    }
    plan_rest(connection, act, &mut plan, last).await?;
    let blocks =
        matches!(act.selection, Selection::Fitting(_)) && act.change != StatusChange::Resume;
    let selection = serde_json::to_string(&act.selection).map_err(unavailable)?;
    let row = sqlx::query(
        "INSERT INTO status_acts (at_ms, actor, act, selection, reason, done_seq, last_seq, \
         blocks_until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, \
         CASE WHEN $8 THEN CAST(unixepoch('subsec') * 1000 AS INTEGER) + $9 ELSE 0 END) \
         RETURNING id",
    )
    .bind(rows::signed(act.at.0))
    .bind(&act.actor)
    .bind(act.change.name())
    .bind(selection)
    .bind(&act.reason)
    .bind(rows::signed(first_live(connection, act.at.0).await?))
    .bind(rows::signed(last))
    .bind(blocks)
    .bind(rows::signed(BLOCK_MS))
    .fetch_one(&mut *connection)
    .await
    .map_err(unavailable)?;
    let id = rows::unsigned(&row, "id").map_err(unavailable)?;
    append(connection, &act.entry(plan.count, hexadecimal(plan.digest))).await?;
    if plan.count <= u64::from(STEP) {
        proceed(connection, Hold::AsItIs).await?;
    }
    Ok(Some(RecordedAct { id, count: plan.count }))
}

/// What becomes of the block on tokens like the selected.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Hold {
    /// It ends when it was to end.
    AsItIs,
    /// It is renewed: who acts has this step behind it, and is at work.
    Renewed,
}

/// Change some statuses of the oldest unfinished act. False when there is none left.
pub(super) async fn proceed(
    connection: &mut SqliteConnection,
    hold: Hold,
) -> Result<bool, StoreError> {
    let Some(act) = unfinished(connection).await? else { return Ok(false) };
    let mut select = QueryBuilder::new(
        "SELECT list_id, max(seq) AS seq, count(*) AS tokens FROM (SELECT seq, list_id FROM tokens \
         WHERE ",
    );
    condition(&mut select, act.change, &act.selection, act.at_ms, act.range);
    select.push(" ORDER BY seq LIMIT ").push_bind(STEP);
    select.push(") GROUP BY list_id");
    let lists = select.build().fetch_all(&mut *connection).await.map_err(unavailable)?;
    let (mut last, mut tokens) = (act.range.0, 0);
    for list in &lists {
        last = last.max(rows::unsigned(list, "seq").map_err(unavailable)?);
        tokens += rows::unsigned::<u64>(list, "tokens").map_err(unavailable)?;
    }
    let mut update = QueryBuilder::new("UPDATE tokens SET status = ");
    update.push_bind(target(act.change)).push(", status_act = ").push_bind(rows::signed(act.id));
    update.push(" WHERE ");
    condition(&mut update, act.change, &act.selection, act.at_ms, (act.range.0, last));
    update.build().execute(&mut *connection).await.map_err(unavailable)?;
    for list in &lists {
        sqlx::query(
            "UPDATE status_lists SET changes = changes + 1, resumes = resumes + $2 WHERE id = $1",
        )
        .bind(list.try_get::<String, _>("list_id").map_err(unavailable)?)
        .bind(act.change == StatusChange::Resume)
        .execute(&mut *connection)
        .await
        .map_err(unavailable)?;
    }
    let finished = tokens < u64::from(STEP);
    let done = if finished { act.range.1 } else { last };
    record_progress(connection, act.id, done, finished, hold).await?;
    Ok(!finished || unfinished(connection).await?.is_some())
}

/// Note how far an act is. Lists are due when it is finished.
async fn record_progress(
    connection: &mut SqliteConnection,
    id: u64,
    done: u64,
    finished: bool,
    hold: Hold,
) -> Result<(), StoreError> {
    if finished {
        sqlx::query("UPDATE status_lists SET due = changes WHERE due < changes")
            .execute(&mut *connection)
            .await
            .map_err(unavailable)?;
    }
    sqlx::query(
        "UPDATE status_acts SET done_seq = $2, finished = $3, blocks_until_ms = CASE \
         WHEN $4 AND blocks_until_ms > 0 THEN CAST(unixepoch('subsec') * 1000 AS INTEGER) + $5 \
         ELSE blocks_until_ms END WHERE id = $1",
    )
    .bind(rows::signed(id))
    .bind(rows::signed(done))
    .bind(finished)
    .bind(hold == Hold::Renewed)
    .bind(rows::signed(BLOCK_MS))
    .execute(connection)
    .await
    .map_err(unavailable)?;
    Ok(())
}

/// End the block of an act in a moment; true when it was in force until now, or there was none to be.
pub(super) async fn end(connection: &mut SqliteConnection, id: u64) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT blocks_until_ms = 0 OR blocks_until_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER) \
         AS held FROM status_acts WHERE id = $1",
    )
    .bind(rows::signed(id))
    .fetch_one(&mut *connection)
    .await
    .map_err(unavailable)?;
    let ends = "UPDATE status_acts SET blocks_until_ms = min(blocks_until_ms, \
                CAST(unixepoch('subsec') * 1000 AS INTEGER) + $2) WHERE id = $1";
    sqlx::query(ends)
        .bind(rows::signed(id))
        .bind(rows::signed(TELLING_MS))
        .execute(connection)
        .await
        .map_err(unavailable)?;
    row.try_get("held").map_err(unavailable)
}

/// Whether tokens after `last_seq` would be suspended in lists that have no room for that.
async fn has_one_bit(
    connection: &mut SqliteConnection,
    act: &NewAct,
    last_seq: u64,
) -> Result<bool, StoreError> {
    let mut query = QueryBuilder::new("SELECT 1 FROM tokens WHERE ");
    condition(&mut query, act.change, &act.selection, act.at.0, (last_seq, i64::MAX as u64));
    query.push(" AND (SELECT bits FROM status_lists WHERE id = list_id) = 1 LIMIT 1");
    let found = query.build().fetch_optional(connection).await.map_err(unavailable)?;
    Ok(found.is_some())
}

/// The oldest act that is not finished.
pub(super) async fn unfinished(
    connection: &mut SqliteConnection,
) -> Result<Option<Unfinished>, StoreError> {
    let row = sqlx::query(
        "SELECT id, act, selection, at_ms, done_seq, last_seq FROM status_acts \
         WHERE finished = 0 ORDER BY id LIMIT 1",
    )
    .fetch_optional(connection)
    .await
    .map_err(unavailable)?;
    let Some(row) = row else { return Ok(None) };
    let change: String = row.try_get("act").map_err(unavailable)?;
    let selection: String = row.try_get("selection").map_err(unavailable)?;
    let number = |column| rows::unsigned(&row, column).map_err(unavailable);
    Ok(Some(Unfinished {
        id: number("id")?,
        change: StatusChange::named(&change)
            .ok_or_else(|| unavailable(rows::BadRow("status_acts")))?,
        selection: serde_json::from_str(&selection).map_err(unavailable)?,
        at_ms: number("at_ms")?,
        range: (number("done_seq")?, number("last_seq")?),
    }))
}

/// Add what an act would change up to `last` to its plan.
async fn plan_rest(
    connection: &mut SqliteConnection,
    act: &NewAct,
    plan: &mut Plan,
    last: u64,
) -> Result<(), StoreError> {
    loop {
        // One row a page: the names of many tokens are one text.
        let mut page = QueryBuilder::new(
            "SELECT count(*) AS tokens, coalesce(max(seq), 0) AS seq, \
             coalesce(group_concat(jwt_id || char(10), '' ORDER BY seq), '') AS names \
             FROM (SELECT seq, jwt_id FROM tokens WHERE ",
        );
        condition(&mut page, act.change, &act.selection, act.at.0, (plan.last_seq, last));
        page.push(" ORDER BY seq LIMIT ").push_bind(STEP).push(")");
        let row = page.build().fetch_one(&mut *connection).await.map_err(unavailable)?;
        let tokens: u64 = rows::unsigned(&row, "tokens").map_err(unavailable)?;
        plan.count += tokens;
        plan.digest.update(row.try_get::<&str, _>("names").map_err(unavailable)?);
        if tokens < u64::from(STEP) {
            plan.last_seq = last;
            return Ok(());
        }
        plan.last_seq = rows::unsigned(&row, "seq").map_err(unavailable)?;
    }
}

/// Which tokens of a range an act changes.
fn condition(
    query: &mut QueryBuilder<Sqlite>,
    change: StatusChange,
    selection: &Selection,
    at_ms: u64,
    (after, last): Range,
) {
    // Tokens that are named are found by their names: `+` keeps the range from leading.
    let seq = if matches!(selection, Selection::JwtIds(_)) { "+seq" } else { "seq" };
    query.push(seq).push(" > ").push_bind(rows::signed(after));
    query.push(" AND ").push(seq).push(" <= ").push_bind(rows::signed(last));
    query.push(" AND expiration > ").push_bind(rows::signed(no_longer_accepted(at_ms)));
    query.push(match change {
        StatusChange::Revoke => " AND status <> 1",
        StatusChange::Suspend => " AND status = 0",
        StatusChange::Resume => " AND status = 2",
    });
    let filter = match selection {
        Selection::JwtIds(jwt_ids) => {
            // A JSON array of strings cannot fail to be written.
            let names = serde_json::to_string(jwt_ids).unwrap_or_default();
            query.push(" AND jwt_id IN (SELECT value FROM json_each(").push_bind(names).push("))");
            return;
        }
        Selection::Fitting(filter) => filter,
    };
    for (column, wanted) in [
        ("role", &filter.role),
        ("client_id", &filter.client_id),
        ("subject", &filter.subject),
        ("key_id", &filter.key_id),
    ] {
        if let Some(wanted) = wanted {
            query.push(" AND ").push(column).push(" = ").push_bind(wanted.clone());
        }
    }
    if let Some(before) = filter.issued_before {
        query.push(" AND issued_at < ").push_bind(rows::signed(before));
    }
}

/// As the list writes it.
fn target(change: StatusChange) -> u8 {
    match change {
        StatusChange::Resume => 0,
        StatusChange::Revoke => 1,
        StatusChange::Suspend => 2,
    }
}

/// Every token up to here has expired: its list's window has ended.
async fn first_live(connection: &mut SqliteConnection, now_ms: u64) -> Result<u64, StoreError> {
    let query = "SELECT coalesce((SELECT min(after_seq) FROM status_lists WHERE window_end > $1), \
                 (SELECT coalesce(max(seq), 0) FROM tokens)) AS seq";
    let ended = rows::signed(no_longer_accepted(now_ms));
    let row = sqlx::query(query).bind(ended).fetch_one(connection).await;
    row.and_then(|row| rows::unsigned(&row, "seq")).map_err(unavailable)
}

/// What expired at this second or before is accepted by nobody: verifiers' leeway is over.
fn no_longer_accepted(now_ms: u64) -> u64 {
    (now_ms / 1000).saturating_sub(RETIRE_AFTER)
}

async fn last_token(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(seq), 0) AS seq FROM tokens";
    let row = sqlx::query(query).fetch_one(connection).await;
    row.and_then(|row| rows::unsigned(&row, "seq")).map_err(unavailable)
}

async fn last_act(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(id), 0) AS id FROM status_acts";
    let row = sqlx::query(query).fetch_one(connection).await;
    row.and_then(|row| rows::unsigned(&row, "id")).map_err(unavailable)
}

pub(super) fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
