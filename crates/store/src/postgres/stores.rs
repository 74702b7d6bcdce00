//! The parts of the issuer's `Store`.

use std::collections::HashMap;

use edgepass_issuer::access::{AccessRequest, State};
use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::audit::leaf::Leaf;
use edgepass_issuer::breach::Incident;
use edgepass_issuer::log::stored::{LogExtension, StoredLog};
use edgepass_issuer::misuse::{self, Finding, Rules};
use edgepass_issuer::new_act::{NewAct, Plan, RecordedAct};
use edgepass_issuer::policy::version::{PolicyUser, PolicyVersion, StoredPolicy};
use edgepass_issuer::replacement::Replaced;
use edgepass_issuer::storage::{
    AccessFilter, AccessStore, ActStore, Added, AuditStore, Channel, IncidentStore, KeyChange,
    KeyStore, ListEdition, ListState, ListStore, LogStore, MisuseStore, NewList, NewNotice,
    NewToken, Notice, Page, PolicyStore, Recorded, StoreError, StoreState, StoredKeys, TokenFilter,
    TokenRecord, TokenStore, UsageStore,
};
use edgepass_issuer::usage::{
    Outcome, Reported, Reporter, TokenUse, UsageBy, UsageFilter, UsageSum,
};
use edgepass_issuer::used_id::UsedId;
use edgepass_log::{Tile, TileId};
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;
use sqlx::AssertSqlSafe;

use super::connections::query;
use super::error::{corrupt, failed};
use super::{
    PostgresStore, access, acts, audit, breach, issue, keys, lists, log, paged, policies,
    replacements, usage, used_ids,
};
use crate::uses::{self, Tables};
use crate::{incidents, issues, requests, rows};

impl KeyStore for PostgresStore {
    async fn keys(&self) -> Result<StoredKeys, StoreError> {
        self.database.read(async |one| keys::all(one).await).await
    }

    async fn change_keys(
        &self,
        change: &KeyChange,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.database
            .write_leading(async |connection| keys::change(connection, change, entry).await)
            .await
    }

    async fn mark_keys_published(&self, changed_at: u64, now: u64) -> Result<(), StoreError> {
        self.database
            .write_leading(async |connection| {
                keys::mark_published(connection, changed_at, now).await
            })
            .await
    }
}

impl PolicyStore for PostgresStore {
    async fn record_policy(
        &self,
        version: &PolicyVersion,
        user: &PolicyUser,
    ) -> Result<u64, StoreError> {
        // Usually the version is known: find that out without the write lock.
        let known = self.database.read(async |one| policies::known(one, version, user).await);
        if let Some(number) = known.await? {
            return Ok(number);
        }
        self.database
            .write(async |connection| policies::record(connection, version, user).await)
            .await
    }

    async fn policy(&self, number: Option<u64>) -> Result<Option<StoredPolicy>, StoreError> {
        self.database.read(async |one| policies::find(one, number).await).await
    }
}

impl TokenStore for PostgresStore {
    async fn record_issue(
        &self,
        new: &NewToken,
        entry: &AuditEntry,
    ) -> Result<Recorded, StoreError> {
        issues::send(&self.issues, new, entry).await
    }

    async fn use_once(&self, id: UsedId, now: u64) -> Result<bool, StoreError> {
        self.database
            .write(async |connection| Ok(used_ids::record(connection, &[id], now).await?.is_none()))
            .await
    }

    async fn forget_tokens(&self, expired_before: u64, most: u32) -> Result<u32, StoreError> {
        // Usually there is nothing to delete: find that out without the write lock.
        let old = self.database.read(async |one| issue::oldest(one, expired_before, most).await);
        let old = old.await?;
        if old.is_empty() {
            return Ok(0);
        }
        self.database
            .write_leading(async |connection| issue::forget(connection, &old).await)
            .await?;
        u32::try_from(old.len()).map_err(corrupt)
    }

    async fn erase_tokens(&self, subject: &str, expired_before: u64) -> Result<u64, StoreError> {
        self.database.write(async |one| issue::erase(one, subject, expired_before).await).await
    }

    async fn token(&self, jwt_id: &str) -> Result<Option<TokenRecord>, StoreError> {
        let wanted = query("SELECT * FROM tokens WHERE jwt_id = $1").bind(jwt_id);
        let row = self.database.read(async |one| wanted.fetch_optional(one).await.map_err(failed));
        let row = row.await?;
        row.as_ref().map(rows::token).transpose().map_err(failed)
    }

    async fn named_tokens(&self, jwt_ids: &[&str]) -> Result<Vec<TokenRecord>, StoreError> {
        let wanted = query("SELECT * FROM tokens WHERE jwt_id = ANY($1)").bind(jwt_ids.to_vec());
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(rows::token).collect::<Result<_, _>>().map_err(failed)
    }

    async fn tokens(
        &self,
        filter: &TokenFilter,
        page: Page,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        const WANTED: &str = "SELECT * FROM tokens WHERE seq > $1 AND seq < $2 \
             AND ($4 IS NULL OR role = $4) AND ($5 IS NULL OR client_id = $5) \
             AND ($6 IS NULL OR subject = $6) AND ($7 IS NULL OR jwt_id = $7) \
             AND ($8 IS NULL OR issued_at >= $8) \
             AND ($9 IS NULL OR (expiration > $9 AND status = 0)) \
             AND ($10 IS NULL OR expiration <= $10) AND ($11 IS NULL OR agreement = $11) \
             AND ($12 IS NULL OR grant_id = $12)";
        let wanted = paged(WANTED, page)
            .bind(&filter.role)
            .bind(&filter.client_id)
            .bind(&filter.subject)
            .bind(&filter.jwt_id)
            .bind(filter.issued_since.map(rows::signed))
            .bind(filter.live_at.map(rows::signed))
            .bind(filter.expires_by.map(rows::signed))
            .bind(&filter.agreement)
            .bind(&filter.grant);
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        let rows = rows.await?;
        rows.iter().map(rows::token).collect::<Result<_, _>>().map_err(failed)
    }

    async fn agreement_after(&self, after: &str) -> Result<Option<String>, StoreError> {
        // `min` looks into the index once.
        let wanted = sqlx::query_scalar("SELECT min(agreement) FROM tokens WHERE agreement > $1");
        let wanted = wanted.bind(after);
        self.database.read(async |one| wanted.fetch_one(one).await.map_err(failed)).await
    }

    async fn is_agreement_used(&self, agreement: &str, after: u64) -> Result<bool, StoreError> {
        const WANTED: &str = "SELECT EXISTS \
             (SELECT 1 FROM tokens WHERE agreement = $1 AND expiration > $2 AND status <> 1)";
        let wanted = sqlx::query_scalar(WANTED).bind(agreement).bind(rows::signed(after));
        self.database.read(async |one| wanted.fetch_one(one).await.map_err(failed)).await
    }
}

impl ListStore for PostgresStore {
    async fn open_list(&self, list: &NewList, room: u32) -> Result<(), StoreError> {
        // Usually a list has room: find that out without the write lock.
        if self.database.read(async |one| issue::has_room(one, list, room).await).await? {
            return Ok(());
        }
        self.database
            .write(async |connection| {
                if issue::has_room(connection, list, room).await? {
                    return Ok(());
                }
                issue::open_list(connection, list).await
            })
            .await
    }

    async fn lists(&self, retired_before: u64) -> Result<Vec<ListState>, StoreError> {
        let wanted = query(
            "SELECT id, window_end, due, published, number FROM status_lists \
             WHERE window_end > $1 ORDER BY window_end, id",
        )
        .bind(rows::signed(retired_before));
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        let rows = rows.await?;
        rows.iter().map(rows::list_state).collect::<Result<_, _>>().map_err(failed)
    }

    async fn next_edition(&self, list_id: &str, now: u64) -> Result<ListEdition, StoreError> {
        let list = self
            .database
            .write_leading(async |connection| {
                let list = query(
                    "UPDATE status_lists SET number = number + 1, issued_at = greatest(issued_at, $2) \
                     WHERE id = $1 RETURNING number, issued_at, capacity, bits, changes, resumes",
                )
                .bind(list_id)
                .bind(rows::signed(now))
                .fetch_one(&mut *connection)
                .await
                .map_err(failed)?;
                Ok(list)
            })
            .await?;
        // Not in that transaction, which keeps all others and the renewal of the lease waiting. What is changed
        // in between is in this edition and in the next one.
        let statuses = self.statuses(list_id).await?;
        let edition = || -> Result<ListEdition, sqlx::Error> {
            Ok(ListEdition {
                id: list_id.to_owned(),
                number: rows::unsigned(&list, "number")?,
                issued_at: rows::unsigned(&list, "issued_at")?,
                capacity: rows::unsigned(&list, "capacity")?,
                bits: rows::bits(&list)?,
                changes: rows::unsigned(&list, "changes")?,
                resumes: rows::unsigned(&list, "resumes")?,
                statuses,
            })
        };
        edition().map_err(failed)
    }

    async fn statuses(&self, list_id: &str) -> Result<Vec<(u32, StatusType)>, StoreError> {
        self.database.read(async |one| lists::statuses(one, list_id).await).await
    }

    async fn mark_published(&self, list_id: &str, changes: u64) -> Result<(), StoreError> {
        let mark = "UPDATE status_lists SET published = greatest(published, $2) WHERE id = $1";
        let mark = query(mark).bind(list_id).bind(rows::signed(changes));
        self.database
            .write_leading(async |connection| {
                mark.execute(connection).await.map_err(failed)?;
                Ok(())
            })
            .await
    }
}

impl ActStore for PostgresStore {
    async fn plan_act(&self, act: &NewAct) -> Result<Plan, StoreError> {
        self.database.read(async |one| acts::plan(one, act).await).await
    }

    async fn record_act(
        &self,
        act: &NewAct,
        plan: Plan,
    ) -> Result<Option<RecordedAct>, StoreError> {
        self.database
            .write(async |connection| acts::record(connection, act, plan, (self.clock)()).await)
            .await
    }

    async fn continue_acts(&self) -> Result<bool, StoreError> {
        if self.database.read(async |one| acts::unfinished(one).await).await?.is_none() {
            return Ok(false);
        }
        self.database
            .write(async |connection| acts::proceed(connection, Some((self.clock)())).await)
            .await
    }

    async fn due_replacements(&self, now: UnixMillis) -> Result<Vec<Replaced>, StoreError> {
        self.database.read(async |one| replacements::due(one, now).await).await
    }

    async fn forget_replacement(&self, jwt_id: &str) -> Result<(), StoreError> {
        self.database.write(async |connection| replacements::forget(connection, jwt_id).await).await
    }

    async fn end_act(&self, id: u64) -> Result<bool, StoreError> {
        self.database
            .write(async |connection| acts::end(connection, id, (self.clock)()).await)
            .await
    }
}

impl AuditStore for PostgresStore {
    async fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.database.write(async |connection| audit::append(connection, entry).await).await
    }

    async fn erase_personal(
        &self,
        positions: &[u64],
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.database
            .write(async |connection| audit::erase(connection, positions, entry).await)
            .await
    }

    async fn forget_erased(&self) -> Result<bool, StoreError> {
        self.database
            .write(async |connection| acts::forget_finished(connection, (self.clock)()).await)
            .await?;
        // A row stays while a transaction of anybody may still read it.
        self.database.vacuum().await.map(|()| false)
    }

    async fn audit(&self, since_ms: u64, page: Page) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        self.database.read(async |one| audit::page(one, since_ms, page).await).await
    }
}

impl LogStore for PostgresStore {
    async fn log(&self) -> Result<Option<StoredLog>, StoreError> {
        self.database.read(async |one| log::find(one).await).await
    }

    async fn epoch(&self) -> Result<Option<String>, StoreError> {
        self.database.read(async |one| log::epoch(one).await).await
    }

    async fn begin_log(&self, log: &StoredLog) -> Result<(), StoreError> {
        self.database.write(async |connection| log::begin(connection, log).await).await
    }

    async fn leaf_texts(&self, after: u64, most: u32) -> Result<Vec<String>, StoreError> {
        self.database.read(async |one| log::texts(one, after, most).await).await
    }

    async fn leaves(&self, after: u64, most: u32) -> Result<Vec<(u64, Leaf)>, StoreError> {
        self.database.read(async |one| audit::leaves(one, after, most).await).await
    }

    async fn log_tiles(&self, tiles: &[TileId]) -> Result<Vec<Tile>, StoreError> {
        self.database.read(async |one| log::tiles(one, tiles).await).await
    }

    async fn extend_log(&self, extension: &LogExtension) -> Result<bool, StoreError> {
        self.database
            .write_leading(async |connection| log::extend(connection, extension).await)
            .await
    }
}

impl UsageStore for PostgresStore {
    async fn add_usage(
        &self,
        reports: &[Reported],
        rules: &Rules<'_>,
    ) -> Result<(Vec<Outcome>, Vec<Finding>), StoreError> {
        self.database
            .write(async |one| uses::add_all(&mut usage::InTransaction(one), reports, rules).await)
            .await
    }

    async fn token_uses(&self, seqs: &[u64]) -> Result<HashMap<u64, TokenUse>, StoreError> {
        let seqs = serde_json::to_string(seqs).map_err(corrupt)?;
        self.database.read(async |one| usage::InTransaction(one).uses(&seqs).await).await
    }

    async fn usage_sums(
        &self,
        filter: &UsageFilter,
        by: UsageBy,
        most: u32,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let wanted = query(AssertSqlSafe(uses::sums_by(by)))
            .bind(&filter.role)
            .bind(&filter.client_id)
            .bind(rows::signed(filter.since_day))
            .bind(&filter.scope)
            .bind(i64::from(most));
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(uses::sum).collect::<Result<_, _>>().map_err(failed)
    }

    async fn reporters(&self) -> Result<Vec<Reporter>, StoreError> {
        let wanted = query("SELECT * FROM usage_reporters ORDER BY client_id");
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(uses::reporter).collect::<Result<_, _>>().map_err(failed)
    }

    async fn forget_usage(&self, day: u64, isolates_ms: u64, most: u32) -> Result<u64, StoreError> {
        // Usually there is nothing to delete: find that out without the write lock.
        let (day, isolates_ms) = (rows::signed(day), rows::signed(isolates_ms));
        let old = self.database.read(async |one| usage::has_old(one, day, isolates_ms).await);
        if !old.await? {
            return Ok(0);
        }
        self.database
            .write_leading(async |one| usage::forget(one, day, isolates_ms, most).await)
            .await
    }
}

impl MisuseStore for PostgresStore {
    async fn findings(&self, page: Page) -> Result<Vec<Finding>, StoreError> {
        const WANTED: &str = "SELECT * FROM (SELECT *, id AS seq FROM findings) AS all_findings WHERE seq > $1 AND seq < $2";
        let wanted = paged(WANTED, page);
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(uses::finding).collect::<Result<_, _>>().map_err(failed)
    }

    async fn finding(&self, id: u64) -> Result<Option<Finding>, StoreError> {
        let wanted = query("SELECT * FROM findings WHERE id = $1").bind(rows::signed(id));
        let row = self.database.read(async |one| wanted.fetch_optional(one).await.map_err(failed));
        row.await?.as_ref().map(uses::finding).transpose().map_err(failed)
    }

    async fn open_findings(
        &self,
        now_ms: Option<u64>,
        most: u32,
    ) -> Result<Vec<Finding>, StoreError> {
        let wanted = query(uses::OPEN).bind(now_ms.map(rows::signed)).bind(i64::from(most));
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(uses::finding).collect::<Result<_, _>>().map_err(failed)
    }

    async fn set_outcome(
        &self,
        id: u64,
        (from, to): (misuse::Outcome, misuse::Outcome),
    ) -> Result<bool, StoreError> {
        let set = query(uses::SET_OUTCOME).bind(rows::signed(id)).bind(to.name()).bind(from.name());
        self.database
            .write(async |one| {
                set.execute(one).await.map(|done| done.rows_affected() > 0).map_err(failed)
            })
            .await
    }

    async fn set_told(
        &self,
        id: u64,
        told_ms: Option<u64>,
        again_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        let set = query(uses::SET_TOLD)
            .bind(rows::signed(id))
            .bind(told_ms.map(rows::signed))
            .bind(again_ms.map(rows::signed));
        self.database.write(async |one| set.execute(one).await.map(|_| ()).map_err(failed)).await
    }
}

impl AccessStore for PostgresStore {
    async fn add_access(
        &self,
        request: &AccessRequest,
        entry: &AuditEntry,
        notices: &[NewNotice],
    ) -> Result<Added, StoreError> {
        self.database.write(async |one| access::add(one, request, entry, notices).await).await
    }

    async fn change_access(
        &self,
        seen: u64,
        request: &AccessRequest,
        entry: &AuditEntry,
        notices: &[NewNotice],
    ) -> Result<bool, StoreError> {
        self.database
            .write(async |one| access::change(one, seen, request, entry, notices).await)
            .await
    }

    async fn access(&self, id: &str) -> Result<Option<AccessRequest>, StoreError> {
        let wanted = query("SELECT * FROM access_requests WHERE id = $1").bind(id);
        let row = self.database.read(async |one| wanted.fetch_optional(one).await.map_err(failed));
        row.await?.as_ref().map(requests::request).transpose().map_err(failed)
    }

    async fn access_of(
        &self,
        role: &str,
        client_id: &str,
        subject: &str,
    ) -> Result<Vec<AccessRequest>, StoreError> {
        let wanted = query(requests::OF).bind(role).bind(client_id).bind(subject);
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(requests::request).collect::<Result<_, _>>().map_err(failed)
    }

    async fn accesses(
        &self,
        filter: &AccessFilter,
        page: Page,
    ) -> Result<Vec<(u64, AccessRequest)>, StoreError> {
        let wanted = paged(requests::FILTERED, page)
            .bind(&filter.asked_by)
            .bind(&filter.role)
            .bind(filter.recorded.map(State::name))
            .bind(i64::from(filter.unreviewed));
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(requests::placed).collect::<Result<_, _>>().map_err(failed)
    }

    async fn unsettled_access(&self) -> Result<Vec<AccessRequest>, StoreError> {
        let wanted = query(requests::UNSETTLED);
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(requests::request).collect::<Result<_, _>>().map_err(failed)
    }

    async fn settle_access(&self, id: &str) -> Result<(), StoreError> {
        let set = query(requests::SETTLE).bind(id);
        self.database.write(async |one| set.execute(one).await.map(|_| ()).map_err(failed)).await
    }

    async fn open_notices(&self, channel: Channel, now_ms: u64) -> Result<Vec<Notice>, StoreError> {
        let wanted = query(requests::OPEN).bind(channel.name()).bind(rows::signed(now_ms));
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(requests::notice).collect::<Result<_, _>>().map_err(failed)
    }

    async fn set_notice_told(&self, id: u64, again_ms: Option<u64>) -> Result<(), StoreError> {
        let set = match again_ms {
            Some(again) => {
                query(requests::NOT_TOLD).bind(rows::signed(id)).bind(rows::signed(again))
            }
            None => query(requests::TOLD).bind(rows::signed(id)),
        };
        self.database.write(async |one| set.execute(one).await.map(|_| ()).map_err(failed)).await
    }

    async fn erase_access(&self, subject: &str, now: UnixMillis) -> Result<u64, StoreError> {
        self.database.write(async |one| access::erase(one, subject, now).await).await
    }

    async fn forget_access(&self, before: u64, most: u32) -> Result<u64, StoreError> {
        let forget = query(requests::FORGET)
            .bind(rows::signed(before))
            .bind(rows::signed(before.saturating_mul(1000)))
            .bind(i64::from(most));
        self.database
            .write(async |one| {
                forget.execute(one).await.map(|done| done.rows_affected()).map_err(failed)
            })
            .await
    }
}

impl IncidentStore for PostgresStore {
    async fn add_incident(
        &self,
        incident: &Incident,
        entry: &AuditEntry,
    ) -> Result<(), StoreError> {
        self.database.write(async |one| breach::add(one, incident, entry).await).await
    }

    async fn change_incident(
        &self,
        seen: u64,
        incident: &Incident,
        entry: &AuditEntry,
    ) -> Result<bool, StoreError> {
        self.database.write(async |one| breach::change(one, seen, incident, entry).await).await
    }

    async fn incident(&self, id: &str) -> Result<Option<Incident>, StoreError> {
        let wanted = query(incidents::ONE).bind(id);
        let row = self.database.read(async |one| wanted.fetch_optional(one).await.map_err(failed));
        row.await?.as_ref().map(incidents::incident).transpose().map_err(failed)
    }

    async fn incidents(&self, page: Page) -> Result<Vec<(u64, Incident)>, StoreError> {
        let wanted = paged(incidents::PAGE, page);
        let rows = self.database.read(async |one| wanted.fetch_all(one).await.map_err(failed));
        rows.await?.iter().map(incidents::placed).collect::<Result<_, _>>().map_err(failed)
    }
}

impl StoreState for PostgresStore {
    async fn is_writable(&self) -> bool {
        !self.issues.is_closed()
            && (self.database.last_change_succeeded()
                || self.database.write(async |_| Ok(())).await.is_ok())
    }

    async fn changed(&self) {
        self.database.changed().await;
    }

    async fn version(&self) -> Result<i64, StoreError> {
        self.database.version().await
    }
}
