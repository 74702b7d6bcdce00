//! Reports of use.

use std::collections::HashMap;

use edgepass_issuer::misuse::{Found, Outcome};
use edgepass_issuer::storage::StoreError;
use edgepass_issuer::usage::{Isolate, Known, Reporter, TokenUse};
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connections::query;
use super::error::failed;
use crate::rows;
use crate::uses::{self, Table, Tables};

/// The tables, in the transaction of a connection.
pub(super) struct InTransaction<'c>(pub(super) &'c mut PgConnection);

pub(super) const USES_OF: &str = "SELECT * FROM token_uses WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text($1::jsonb))";

impl Tables for InTransaction<'_> {
    async fn known(&mut self, jwt_ids: &str) -> Result<HashMap<String, Known>, StoreError> {
        let rows = query(
            "SELECT jwt_id, seq, issued_at, expiration, role, client_id, audience, scope FROM tokens \
             WHERE jwt_id IN (SELECT value FROM jsonb_array_elements_text($1::jsonb))",
        );
        let rows = rows.bind(jwt_ids).fetch_all(&mut *self.0).await.map_err(failed)?;
        rows.iter().map(uses::known).collect::<Result<_, _>>().map_err(failed)
    }

    async fn isolate(
        &mut self,
        reporter: &str,
        isolate: &str,
    ) -> Result<Option<Isolate>, StoreError> {
        let row =
            query("SELECT number, lost FROM usage_isolates WHERE reporter = $1 AND isolate = $2")
                .bind(reporter)
                .bind(isolate);
        let row = row.fetch_optional(&mut *self.0).await.map_err(failed)?;
        row.as_ref().map(uses::isolate).transpose().map_err(failed)
    }

    async fn reporter(&mut self, client_id: &str) -> Result<Option<Reporter>, StoreError> {
        let row = query("SELECT * FROM usage_reporters WHERE client_id = $1").bind(client_id);
        let row = row.fetch_optional(&mut *self.0).await.map_err(failed)?;
        row.as_ref().map(uses::reporter).transpose().map_err(failed)
    }

    async fn uses(&mut self, seqs: &str) -> Result<HashMap<u64, TokenUse>, StoreError> {
        let rows = query(USES_OF).bind(seqs).fetch_all(&mut *self.0).await.map_err(failed)?;
        rows.iter().map(uses::token_use).collect::<Result<_, _>>().map_err(failed)
    }

    async fn sums_of(&mut self, day: i64) -> Result<u64, StoreError> {
        let row = query("SELECT count(*) AS number FROM usage_days WHERE day = $1").bind(day);
        let row = row.fetch_one(&mut *self.0).await.map_err(failed)?;
        rows::unsigned(&row, "number").map_err(failed)
    }

    async fn role_days(
        &mut self,
        role: &str,
        since_day: i64,
    ) -> Result<Vec<(u64, u64)>, StoreError> {
        let rows = query(uses::ROLE_DAYS).bind(role).bind(since_day);
        let rows = rows.fetch_all(&mut *self.0).await.map_err(failed)?;
        let pair = |row| Ok((rows::unsigned(row, "day")?, rows::unsigned(row, "count")?));
        rows.iter().map(pair).collect::<Result<_, _>>().map_err(failed)
    }

    async fn acts(&mut self, since_ms: i64, role: &str) -> Result<[u64; 3], StoreError> {
        let row = query(uses::ACTS).bind(since_ms).bind(role);
        let row = row.fetch_one(&mut *self.0).await.map_err(failed)?;
        let number = |column| rows::unsigned(&row, column).map_err(failed);
        Ok([number("acts")?, number("of_role")?, number("findings")?])
    }

    async fn settled(
        &mut self,
        subjects: &str,
    ) -> Result<HashMap<(String, String), String>, StoreError> {
        let text =
            format!("{}(SELECT value FROM jsonb_array_elements_text($1::jsonb))", uses::SETTLED);
        let rows = query(AssertSqlSafe(text)).bind(subjects);
        let rows = rows.fetch_all(&mut *self.0).await.map_err(failed)?;
        rows.iter().map(uses::settled).collect::<Result<_, _>>().map_err(failed)
    }

    async fn record(
        &mut self,
        found: &Found,
        outcome: Outcome,
        at_ms: i64,
        policy: i64,
    ) -> Result<Option<u64>, StoreError> {
        let row = query(uses::RECORD)
            .bind(at_ms)
            .bind(&found.rule)
            .bind(&found.subject)
            .bind(&found.role)
            .bind(&found.client_id)
            .bind(found.action.name())
            .bind(i64::from(found.dry_run))
            .bind(&found.evidence)
            .bind(outcome.name())
            .bind(policy)
            .fetch_optional(&mut *self.0)
            .await
            .map_err(failed)?;
        row.as_ref().map(|row| rows::unsigned(row, "id")).transpose().map_err(failed)
    }

    async fn write(&mut self, table: Table, rows: &str) -> Result<(), StoreError> {
        let text = match table {
            Table::Uses => {
                "INSERT INTO token_uses (seq, accepted, refused, first_ms, last_ms, last_refused_ms, detail) \
                 SELECT (value ->> 0)::bigint, (value ->> 1)::bigint, (value ->> 2)::bigint, \
                 (value ->> 3)::bigint, (value ->> 4)::bigint, (value ->> 5)::bigint, value ->> 6 \
                 FROM jsonb_array_elements($1::jsonb) \
                 WHERE EXISTS (SELECT 1 FROM tokens WHERE tokens.seq = (value ->> 0)::bigint) \
                 ON CONFLICT (seq) DO UPDATE SET accepted = excluded.accepted, refused = excluded.refused, \
                 first_ms = excluded.first_ms, last_ms = excluded.last_ms, \
                 last_refused_ms = excluded.last_refused_ms, detail = excluded.detail"
            }
            Table::Days => {
                "INSERT INTO usage_days (day, role, client_id, route, scope, code, count) \
                 SELECT (value ->> 0)::bigint, value ->> 1, value ->> 2, value ->> 3, value ->> 4, \
                 value ->> 5, (value ->> 6)::bigint FROM jsonb_array_elements($1::jsonb) \
                 ON CONFLICT (day, role, client_id, route, scope, code) \
                 DO UPDATE SET count = least(usage_days.count + excluded.count, 1152921504606846976)"
            }
            Table::Isolates => {
                "INSERT INTO usage_isolates (reporter, isolate, number, lost, last_ms) \
                 SELECT value ->> 0, value ->> 1, (value ->> 2)::bigint, (value ->> 3)::bigint, \
                 (value ->> 4)::bigint FROM jsonb_array_elements($1::jsonb) \
                 ON CONFLICT (reporter, isolate) DO UPDATE SET number = excluded.number, \
                 lost = excluded.lost, last_ms = excluded.last_ms"
            }
            Table::Reporters => {
                "INSERT INTO usage_reporters (client_id, audiences, first_ms, last_ms, reports, missing, lost, \
                 folded, incomplete_ms) SELECT value ->> 0, value ->> 1, (value ->> 2)::bigint, \
                 (value ->> 3)::bigint, (value ->> 4)::bigint, (value ->> 5)::bigint, (value ->> 6)::bigint, \
                 (value ->> 7)::bigint, (value ->> 8)::bigint FROM jsonb_array_elements($1::jsonb) \
                 ON CONFLICT (client_id) DO UPDATE SET audiences = excluded.audiences, \
                 first_ms = excluded.first_ms, last_ms = excluded.last_ms, reports = excluded.reports, \
                 missing = excluded.missing, lost = excluded.lost, folded = excluded.folded, \
                 incomplete_ms = excluded.incomplete_ms"
            }
        };
        query(text).bind(rows).execute(&mut *self.0).await.map_err(failed)?;
        Ok(())
    }
}

/// Deletes some old rows. Returns how many.
pub(super) async fn forget(
    connection: &mut PgConnection,
    day: i64,
    isolates_ms: i64,
    most: u32,
) -> Result<u64, StoreError> {
    let mut gone = 0_u64;
    for (text, before) in uses::forgotten(day, isolates_ms) {
        let done = query(text).bind(before).bind(i64::from(most)).execute(&mut *connection).await;
        gone = gone.saturating_add(done.map_err(failed)?.rows_affected());
    }
    Ok(gone)
}

/// Whether there are such rows.
pub(super) async fn has_old(
    connection: &mut PgConnection,
    day: i64,
    isolates_ms: i64,
) -> Result<bool, StoreError> {
    let row = query(uses::HAS_OLD)
        .bind(day)
        .bind(isolates_ms)
        .bind(uses::first_ms(day))
        .fetch_one(connection)
        .await
        .map_err(failed)?;
    row.try_get(0).map_err(failed)
}
