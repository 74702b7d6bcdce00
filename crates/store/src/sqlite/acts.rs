//! Acts on statuses. An act is planned by reads, recorded in one transaction, and carried out in
//! steps.

use edgepass_issuer::new_act::{NewAct, Plan, RecordedAct};
use edgepass_issuer::policy::version::hexadecimal;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::status_index::RETIRE_AFTER;
use edgepass_issuer::storage::StoreError;
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;
use sha2::Digest;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::audit::append;
use super::{corrupt, failed};
use crate::rows;

/// Largest number of statuses that one transaction changes. Issuing waits for that transaction.
const STEP: u32 = 10_000;
/// Time for which an act blocks issuing matching tokens, from its record and again from each step,
/// in milliseconds. The block expires by itself, since the process may die before [`end`].
const BLOCK_MS: u64 = 10_000;

/// Time for which the block goes on after [`end`], in milliseconds. It lets the response reach the
/// caller before the next matching token is issued.
const BLOCK_AFTER_END_MS: u64 = 1_000;

/// Tokens by `seq`, which is the order of issue: after the first number, up to and including the
/// second.
type Range = (u64, u64);

/// A recorded act that has not changed all its statuses yet. Tokens of `range` remain.
pub(super) struct Unfinished {
    id: u64,
    change: StatusChange,
    selection: Selection,
    at_ms: u64,
    range: Range,
}

/// Counts the tokens that an act would change. Writes nothing.
pub(super) async fn plan(
    connection: &mut SqliteConnection,
    act: &NewAct,
) -> Result<Plan, StoreError> {
    let exchanged = has_exchanged(&mut *connection).await?;
    let mut plan = Plan { last_act: last_act(connection).await?, ..Plan::default() };
    let last = last_token(connection).await?;
    plan.last_seq = last_expired(connection, act.at.0).await?;
    let range = (plan.last_seq, last);
    let mut roles = QueryBuilder::new(
        "SELECT role, count(*) AS tokens, \
         sum((SELECT bits FROM status_lists WHERE id = list_id) = 1) AS one_bit FROM tokens WHERE ",
    );
    condition(&mut roles, act.change, &act.selection, act.at.0, range, exchanged);
    roles.push(" GROUP BY role");
    for row in roles.build().fetch_all(&mut *connection).await.map_err(failed)? {
        let role: String = row.try_get("role").map_err(failed)?;
        plan.roles.insert(role, rows::unsigned(&row, "tokens").map_err(failed)?);
        let one_bit: u64 = rows::unsigned(&row, "one_bit").map_err(failed)?;
        plan.without_suspension = plan.without_suspension.saturating_add(one_bit);
    }
    plan_rest(connection, act, &mut plan, last).await?;
    Ok(plan)
}

/// Records an act, and changes the statuses in the same transaction if one step is enough. `None`:
/// nothing was recorded, since another act was recorded after the plan or is unfinished, or since a
/// token that cannot be suspended was issued after the plan. Plan again.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    act: &NewAct,
    mut plan: Plan,
    now: UnixMillis,
) -> Result<Option<RecordedAct>, StoreError> {
    // An act that was recorded since the plan, or is unfinished, may change the same tokens.
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
    let selection = serde_json::to_string(&act.selection).map_err(corrupt)?;
    let row = sqlx::query(
        "INSERT INTO status_acts (at_ms, actor, act, selection, reason, done_seq, last_seq, \
         blocks_until_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id",
    )
    .bind(rows::signed(act.at.0))
    .bind(&act.actor)
    .bind(act.change.name())
    .bind(selection)
    .bind(&act.reason)
    .bind(rows::signed(last_expired(connection, act.at.0).await?))
    .bind(rows::signed(last))
    .bind(if blocks { rows::signed(now.0.saturating_add(BLOCK_MS)) } else { 0 })
    .fetch_one(&mut *connection)
    .await
    .map_err(failed)?;
    let id = rows::unsigned(&row, "id").map_err(failed)?;
    append(connection, &act.entry(plan.count, hexadecimal(&plan.digest.finalize()))).await?;
    if plan.count <= u64::from(STEP) {
        proceed(connection, None).await?;
    }
    Ok(Some(RecordedAct { id, count: plan.count }))
}

/// Changes at most [`STEP`] statuses of the oldest unfinished act. `false`: every act is finished.
/// `now`, if given, extends the act's block on issuing, if it has one, to [`BLOCK_MS`] from then.
pub(super) async fn proceed(
    connection: &mut SqliteConnection,
    now: Option<UnixMillis>,
) -> Result<bool, StoreError> {
    let exchanged = has_exchanged(&mut *connection).await?;
    let Some(act) = unfinished(connection).await? else { return Ok(false) };
    let mut select = QueryBuilder::new(
        "SELECT list_id, max(seq) AS seq, count(*) AS tokens FROM (SELECT seq, list_id FROM tokens \
         WHERE ",
    );
    condition(&mut select, act.change, &act.selection, act.at_ms, act.range, exchanged);
    select.push(" ORDER BY seq LIMIT ").push_bind(STEP);
    select.push(") GROUP BY list_id");
    let lists = select.build().fetch_all(&mut *connection).await.map_err(failed)?;
    let (mut last, mut tokens) = (act.range.0, 0_u64);
    for list in &lists {
        last = last.max(rows::unsigned(list, "seq").map_err(failed)?);
        let count: u64 = rows::unsigned(list, "tokens").map_err(failed)?;
        tokens = count.saturating_add(tokens);
    }
    let mut update = QueryBuilder::new("UPDATE tokens SET status = ");
    update
        .push_bind(act.change.status().number())
        .push(", status_act = ")
        .push_bind(rows::signed(act.id));
    update.push(" WHERE ");
    condition(&mut update, act.change, &act.selection, act.at_ms, (act.range.0, last), exchanged);
    update.build().execute(&mut *connection).await.map_err(failed)?;
    for list in &lists {
        sqlx::query(
            "UPDATE status_lists SET changes = changes + 1, resumes = resumes + $2 WHERE id = $1",
        )
        .bind(list.try_get::<String, _>("list_id").map_err(failed)?)
        .bind(act.change == StatusChange::Resume)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    }
    let finished = tokens < u64::from(STEP);
    let done = if finished { act.range.1 } else { last };
    record_progress(connection, act.id, done, finished, now).await?;
    Ok(!finished || unfinished(connection).await?.is_some())
}

/// Records the last `seq` that an act has reached. Once the act is finished, editions must cover
/// its changes: they become `due`.
async fn record_progress(
    connection: &mut SqliteConnection,
    id: u64,
    done: u64,
    finished: bool,
    now: Option<UnixMillis>,
) -> Result<(), StoreError> {
    if finished {
        sqlx::query("UPDATE status_lists SET due = changes WHERE due < changes")
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    sqlx::query(
        "UPDATE status_acts SET done_seq = $2, finished = $3, blocks_until_ms = CASE \
         WHEN blocks_until_ms > 0 THEN coalesce($4, blocks_until_ms) ELSE 0 END WHERE id = $1",
    )
    .bind(rows::signed(id))
    .bind(rows::signed(done))
    .bind(finished)
    .bind(now.map(|now| rows::signed(now.0.saturating_add(BLOCK_MS))))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}

/// Ends the block of an act on issuing at most [`BLOCK_AFTER_END_MS`] from now. `false`: the block
/// had already expired. An act without a block gives `true`.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    id: u64,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let held = "SELECT blocks_until_ms = 0 OR blocks_until_ms > $2 AS held FROM status_acts \
                WHERE id = $1";
    let row = sqlx::query(held)
        .bind(rows::signed(id))
        .bind(rows::signed(now.0))
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    let ends = "UPDATE status_acts SET blocks_until_ms = min(blocks_until_ms, $2) WHERE id = $1";
    sqlx::query(ends)
        .bind(rows::signed(id))
        .bind(rows::signed(now.0.saturating_add(BLOCK_AFTER_END_MS)))
        .execute(connection)
        .await
        .map_err(failed)?;
    row.try_get("held").map_err(failed)
}

/// Erases who did an act, why, and on what, once nothing needs it: the audit trail has it.
pub(super) async fn forget_finished(
    connection: &mut SqliteConnection,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let text = "UPDATE status_acts SET actor = '', reason = '', selection = '' \
                WHERE finished = 1 AND blocks_until_ms < $1 AND actor <> ''";
    sqlx::query(text).bind(rows::signed(now.0)).execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Whether the act selects tokens after `last_seq` in lists with one bit per status, which cannot
/// show "suspended".
async fn has_one_bit(
    connection: &mut SqliteConnection,
    act: &NewAct,
    last_seq: u64,
) -> Result<bool, StoreError> {
    let exchanged = has_exchanged(&mut *connection).await?;
    let mut query = QueryBuilder::new("SELECT 1 FROM tokens WHERE ");
    condition(
        &mut query,
        act.change,
        &act.selection,
        act.at.0,
        (last_seq, i64::MAX as u64),
        exchanged,
    );
    query.push(" AND (SELECT bits FROM status_lists WHERE id = list_id) = 1 LIMIT 1");
    let found = query.build().fetch_optional(connection).await.map_err(failed)?;
    Ok(found.is_some())
}

/// The oldest unfinished act. `None`: every act is finished.
pub(super) async fn unfinished(
    connection: &mut SqliteConnection,
) -> Result<Option<Unfinished>, StoreError> {
    let row = sqlx::query(
        "SELECT id, act, selection, at_ms, done_seq, last_seq FROM status_acts \
         WHERE finished = 0 ORDER BY id LIMIT 1",
    )
    .fetch_optional(connection)
    .await
    .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    let change: String = row.try_get("act").map_err(failed)?;
    let selection: String = row.try_get("selection").map_err(failed)?;
    let number = |column| rows::unsigned(&row, column).map_err(failed);
    Ok(Some(Unfinished {
        id: number("id")?,
        change: StatusChange::named(&change).ok_or_else(|| corrupt(rows::BadRow("status_acts")))?,
        selection: serde_json::from_str(&selection).map_err(corrupt)?,
        at_ms: number("at_ms")?,
        range: (number("done_seq")?, number("last_seq")?),
    }))
}

/// Adds to the plan's count and digest the tokens after `plan.last_seq`, up to `last`, that the act
/// would change.
async fn plan_rest(
    connection: &mut SqliteConnection,
    act: &NewAct,
    plan: &mut Plan,
    last: u64,
) -> Result<(), StoreError> {
    let exchanged = has_exchanged(&mut *connection).await?;
    loop {
        // Each page is one row, with the `jti` of all its tokens in one text.
        let mut page = QueryBuilder::new(
            "SELECT count(*) AS tokens, coalesce(max(seq), 0) AS seq, \
             coalesce(group_concat(jwt_id || char(10), '' ORDER BY seq), '') AS names \
             FROM (SELECT seq, jwt_id FROM tokens WHERE ",
        );
        condition(
            &mut page,
            act.change,
            &act.selection,
            act.at.0,
            (plan.last_seq, last),
            exchanged,
        );
        page.push(" ORDER BY seq LIMIT ").push_bind(STEP).push(")");
        let row = page.build().fetch_one(&mut *connection).await.map_err(failed)?;
        let tokens: u64 = rows::unsigned(&row, "tokens").map_err(failed)?;
        plan.count = plan.count.saturating_add(tokens);
        plan.digest.update(row.try_get::<&str, _>("names").map_err(failed)?);
        if tokens < u64::from(STEP) {
            plan.last_seq = last;
            return Ok(());
        }
        plan.last_seq = rows::unsigned(&row, "seq").map_err(failed)?;
    }
}

/// Whether any token was exchanged for another. Without one, selecting needs no look at ancestors,
/// which makes it twice as fast.
async fn has_exchanged(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT 1 FROM ancestors LIMIT 1").fetch_optional(connection).await;
    Ok(found.map_err(failed)?.is_some())
}

/// Appends to a query the condition for the tokens of a range that an act changes. `exchanged`:
/// [`has_exchanged`].
fn condition(
    query: &mut QueryBuilder<Sqlite>,
    change: StatusChange,
    selection: &Selection,
    at_ms: u64,
    (after, last): Range,
    exchanged: bool,
) {
    // Named tokens are found by `jwt_id`: `+` keeps SQLite from searching by `seq` instead.
    let seq = if matches!(selection, Selection::JwtIds(_)) { "+seq" } else { "seq" };
    query.push(seq).push(" > ").push_bind(rows::signed(after));
    query.push(" AND ").push(seq).push(" <= ").push_bind(rows::signed(last));
    query.push(" AND expiration > ").push_bind(rows::signed(no_longer_accepted(at_ms)));
    let (comparison, status) = match change {
        StatusChange::Revoke => (" AND status <> ", StatusType::Invalid),
        StatusChange::Suspend => (" AND status = ", StatusType::Valid),
        StatusChange::Resume => (" AND status = ", StatusType::Suspended),
    };
    query.push(comparison).push_bind(status.number());
    query.push(" AND (");
    selects(query, "tokens.", selection);
    if exchanged {
        descendants(query, change, selection, (after, last));
    }
    query.push(")");
    if exchanged && change == StatusChange::Resume {
        // A token stays suspended while one that it was exchanged from is, unless that one is resumed
        // by the same act.
        query.push(" AND NOT EXISTS (SELECT 1 FROM ancestors a ");
        query.push("JOIN tokens p ON p.jwt_id = a.ancestor ");
        query.push("WHERE a.seq = tokens.seq AND p.status <> 0 AND NOT ");
        selects(query, "p.", selection);
        query.push(")");
    }
}

/// Appends an alternative: tokens that were exchanged from a selected one. Of those, an act resumes
/// only what was suspended together with the selected token.
fn descendants(
    query: &mut QueryBuilder<Sqlite>,
    change: StatusChange,
    selection: &Selection,
    (after, last): Range,
) {
    query.push(" OR seq IN (SELECT a.seq FROM ancestors a ");
    // CROSS: SQLite looks up the ancestors of tokens in the range, which are few, instead of the
    // descendants of every token that fits. Named ones are few themselves.
    let cross = if matches!(selection, Selection::Fitting(_)) { "CROSS JOIN" } else { "JOIN" };
    query.push(cross).push(" tokens p ON p.jwt_id = a.ancestor WHERE a.seq > ");
    query.push_bind(rows::signed(after)).push(" AND a.seq <= ").push_bind(rows::signed(last));
    query.push(" AND ");
    selects(query, "p.", selection);
    query.push(")");
    if change == StatusChange::Resume {
        query
            .push(" AND EXISTS (SELECT 1 FROM ancestors a JOIN tokens p ON p.jwt_id = a.ancestor ");
        query.push("WHERE a.seq = tokens.seq AND p.status_act = tokens.status_act AND ");
        selects(query, "p.", selection);
        query.push(")");
    }
}

/// Appends the condition for the tokens that a selection itself selects, on columns after `prefix`.
fn selects(query: &mut QueryBuilder<Sqlite>, prefix: &str, selection: &Selection) {
    match selection {
        Selection::JwtIds(jwt_ids) => {
            // A JSON array of strings cannot fail to be written.
            let names = serde_json::to_string(jwt_ids).unwrap_or_default();
            query.push(prefix).push("jwt_id IN (SELECT value FROM json_each(");
            query.push_bind(names).push("))");
        }
        Selection::Fitting(filter) => fits(query, prefix, filter),
    }
}

/// Appends the conditions of a filter on the columns of a table, each after `prefix`.
fn fits(query: &mut QueryBuilder<Sqlite>, prefix: &str, filter: &Filter) {
    query.push("(1");
    for (column, wanted) in [
        ("role", &filter.role),
        ("client_id", &filter.client_id),
        ("subject", &filter.subject),
        ("key_id", &filter.key_id),
        ("agreement", &filter.agreement),
        ("grant_id", &filter.grant),
    ] {
        if let Some(wanted) = wanted {
            query.push(" AND ").push(prefix).push(column).push(" = ").push_bind(wanted.clone());
        }
    }
    if let Some(before) = filter.issued_before {
        query.push(" AND ").push(prefix).push("issued_at < ").push_bind(rows::signed(before));
    }
    query.push(")");
}

/// A `seq` up to which verifiers accept no token, since the windows of the lists ended longer ago
/// than a verifier's leeway. Later tokens may have expired as well.
async fn last_expired(connection: &mut SqliteConnection, now_ms: u64) -> Result<u64, StoreError> {
    let query = "SELECT coalesce((SELECT min(after_seq) FROM status_lists WHERE window_end > $1), \
                 (SELECT coalesce(max(seq), 0) FROM tokens)) AS seq";
    let ended = rows::signed(no_longer_accepted(now_ms));
    let row = sqlx::query(query).bind(ended).fetch_one(connection).await;
    row.and_then(|row| rows::unsigned(&row, "seq")).map_err(failed)
}

/// Latest `exp` that no verifier accepts any more, in seconds: the present less the longest leeway.
fn no_longer_accepted(now_ms: u64) -> u64 {
    (now_ms / 1000).saturating_sub(RETIRE_AFTER)
}

async fn last_token(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(seq), 0) AS seq FROM tokens";
    let row = sqlx::query(query).fetch_one(connection).await;
    row.and_then(|row| rows::unsigned(&row, "seq")).map_err(failed)
}

async fn last_act(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let query = "SELECT coalesce(max(id), 0) AS id FROM status_acts";
    let row = sqlx::query(query).fetch_one(connection).await;
    row.and_then(|row| rows::unsigned(&row, "id")).map_err(failed)
}
