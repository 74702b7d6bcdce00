//! Requests for access.

use edgepass_issuer::access::AccessRequest;
use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::storage::{Added, MOST_ASKED, NewNotice, StoreError};
use edgepass_issuer::token_facts::TokenFacts;
use edgepass_verify::UnixMillis;
use sqlx::{Row, SqliteConnection};

use super::audit::{append, secure_delete};
use super::{corrupt, failed};
use crate::requests::{self, Changing};
use crate::rows;

/// Whether access stands for a token. `true` for a token that needs none.
pub(super) async fn stands(
    connection: &mut SqliteConnection,
    token: &TokenFacts,
) -> Result<bool, StoreError> {
    let Some(grant) = &token.grant else { return Ok(true) };
    let found = sqlx::query(requests::STANDS)
        .bind(grant)
        .bind(rows::signed(token.issued_at))
        .bind(rows::signed(token.expiration))
        .bind(&token.role)
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    Ok(found.is_some())
}

/// Records a request, unless another one is in its way, or there are too many.
pub(super) async fn add(
    connection: &mut SqliteConnection,
    request: &AccessRequest,
    entry: &AuditEntry,
    notices: &[NewNotice],
) -> Result<Added, StoreError> {
    let asked = sqlx::query(requests::ASKED)
        .bind(&request.asked_by)
        .bind(rows::signed(request.asked_ms))
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if rows::unsigned::<u64>(&asked, "number").map_err(failed)? >= MOST_ASKED {
        return Ok(Added::TooMany);
    }
    let other = match request.break_glass {
        true => sqlx::query(requests::UNREVIEWED).bind(&request.role),
        false => sqlx::query(requests::PENDING)
            .bind(&request.role)
            .bind(&request.asked_by)
            .bind(rows::signed(request.asked_ms)),
    };
    if let Some(row) = other.fetch_optional(&mut *connection).await.map_err(failed)? {
        return row.try_get("id").map(Added::InTheWay).map_err(failed);
    }
    let columns = Changing::of(request).map_err(corrupt)?;
    sqlx::query(requests::ADD)
        .bind(&request.id)
        .bind(&request.role)
        .bind(&request.client_id)
        .bind(&request.subject)
        .bind(&request.asked_by)
        .bind(columns.recorded)
        .bind(columns.begins)
        .bind(columns.ends)
        .bind(rows::signed(request.expires_ms()))
        .bind(columns.unreviewed)
        .bind(columns.version)
        .bind(columns.document)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    append(connection, entry).await?;
    notify(connection, notices).await?;
    Ok(Added::Recorded)
}

/// Records a change. `false`: the request has another version than `seen`.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    seen: u64,
    request: &AccessRequest,
    entry: &AuditEntry,
    notices: &[NewNotice],
) -> Result<bool, StoreError> {
    if !write(connection, seen, request).await? {
        return Ok(false);
    }
    append(connection, entry).await?;
    notify(connection, notices).await?;
    Ok(true)
}

async fn write(
    connection: &mut SqliteConnection,
    seen: u64,
    request: &AccessRequest,
) -> Result<bool, StoreError> {
    let columns = Changing::of(request).map_err(corrupt)?;
    let changed = sqlx::query(requests::CHANGE)
        .bind(&request.id)
        .bind(rows::signed(seen))
        .bind(columns.recorded)
        .bind(columns.begins)
        .bind(columns.ends)
        .bind(columns.unreviewed)
        .bind(columns.version)
        .bind(columns.document)
        .bind(columns.settled)
        .execute(&mut *connection)
        .await
        .map_err(failed)?;
    Ok(changed.rows_affected() == 1)
}

/// Ends every open request after a backup was restored: those that ended since the backup are open in it.
pub(super) async fn end_all(
    connection: &mut SqliteConnection,
    policy: u64,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let rows =
        sqlx::query(requests::OPEN_REQUESTS).fetch_all(&mut *connection).await.map_err(failed)?;
    for row in &rows {
        let mut request = requests::request(row).map_err(failed)?;
        let seen = request.version;
        if let Some(entry) = request.end_after_restore(policy, now) {
            write(connection, seen, &request).await?;
            append(connection, &entry).await?;
        }
    }
    Ok(())
}

async fn notify(
    connection: &mut SqliteConnection,
    notices: &[NewNotice],
) -> Result<(), StoreError> {
    for notice in notices {
        sqlx::query(requests::NOTICE)
            .bind(notice.channel.name())
            .bind(rows::signed(notice.at_ms))
            .bind(&notice.document)
            .bind(i64::from(notice.is_urgent))
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// Removes who a person is from requests that are closed. Returns from how many.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    subject: &str,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let [by_token, by_user] = requests::parties(subject);
    let rows = sqlx::query(
        "SELECT * FROM access_requests WHERE subject = $1 OR instr(document, $2) > 0 \
         OR instr(document, $3) > 0",
    )
    .bind(subject)
    .bind(by_token)
    .bind(by_user)
    .fetch_all(&mut *connection)
    .await
    .map_err(failed)?;
    secure_delete(connection, true).await?;
    let mut erased = 0_u64;
    for row in &rows {
        let mut request = requests::request(row).map_err(failed)?;
        let seen = request.version;
        if !request.erase(subject, now) {
            continue;
        }
        sqlx::query("UPDATE access_requests SET subject = $2, asked_by = $3 WHERE id = $1")
            .bind(&request.id)
            .bind(&request.subject)
            .bind(&request.asked_by)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
        write(connection, seen, &request).await?;
        erased = erased.saturating_add(1);
    }
    // What is still to be told of them.
    for party in requests::parties(subject) {
        sqlx::query("DELETE FROM notices WHERE instr(document, $1) > 0")
            .bind(party)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    }
    secure_delete(connection, false).await?;
    Ok(erased)
}
