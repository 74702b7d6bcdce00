//! Adding up reports of use, on either database.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;

use edgepass_issuer::misuse::{
    self, Action, Finding, Found, HOUR_MS, MAX_FINDINGS, Rules, When, first_outcome,
};
use edgepass_issuer::storage::StoreError;
use edgepass_issuer::usage::{
    ACCEPTED, Isolate, Known, MAX_DAY_SUMS, Outcome, RATE_DAYS, Reported, Reporter, Sums, TokenUse,
    UsageBy, UsageSum, add, judge_rate,
};
use serde_json::{Value, json};

use crate::rows::{self, BadRow, Columns};

/// The tables, within a transaction.
pub(crate) trait Tables {
    /// The records of tokens, by `jti`. `jwt_ids` is a JSON array.
    fn known(
        &mut self,
        jwt_ids: &str,
    ) -> impl Future<Output = Result<HashMap<String, Known>, StoreError>> + Send;

    /// What is known of an isolate.
    fn isolate(
        &mut self,
        reporter: &str,
        isolate: &str,
    ) -> impl Future<Output = Result<Option<Isolate>, StoreError>> + Send;

    /// What is known of a reporter.
    fn reporter(
        &mut self,
        client_id: &str,
    ) -> impl Future<Output = Result<Option<Reporter>, StoreError>> + Send;

    /// The use of tokens, by position. `seqs` is a JSON array.
    fn uses(
        &mut self,
        seqs: &str,
    ) -> impl Future<Output = Result<HashMap<u64, TokenUse>, StoreError>> + Send;

    /// The number of sums of a day.
    fn sums_of(&mut self, day: i64) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// The sums of a role by day, from a day on.
    fn role_days(
        &mut self,
        role: &str,
        since_day: i64,
    ) -> impl Future<Output = Result<Vec<(u64, u64)>, StoreError>> + Send;

    /// The number of acts by rules since a time, of those on tokens of a role, and of findings.
    fn acts(
        &mut self,
        since_ms: i64,
        role: &str,
    ) -> impl Future<Output = Result<[u64; 3], StoreError>> + Send;

    /// What became of the findings about subjects, by rule and subject. `subjects` is a JSON array.
    fn settled(
        &mut self,
        subjects: &str,
    ) -> impl Future<Output = Result<HashMap<(String, String), String>, StoreError>> + Send;

    /// Records a finding, unless the rule has found its subject before. Returns its number.
    fn record(
        &mut self,
        found: &Found,
        outcome: misuse::Outcome,
        at_ms: i64,
        policy: i64,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// Writes rows into a table, each a JSON array of its columns.
    fn write(
        &mut self,
        table: Table,
        rows: &str,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A table that reports change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Table {
    Uses,
    Days,
    Isolates,
    Reporters,
}

/// Adds up reports.
pub(crate) async fn add_all(
    tables: &mut impl Tables,
    reports: &[Reported],
    rules: &Rules<'_>,
) -> Result<(Vec<Outcome>, Vec<Finding>), StoreError> {
    let mut jwt_ids: Vec<&str> = Vec::new();
    for Reported { report, .. } in reports {
        jwt_ids.extend(report.tokens.iter().map(String::as_str));
        jwt_ids.extend(report.folded.iter().map(|row| row.example.as_str()));
    }
    jwt_ids.sort_unstable();
    jwt_ids.dedup();
    let known = tables.known(&json!(jwt_ids).to_string()).await?;
    let (mut sums, mut outcomes) = (Sums::default(), Vec::with_capacity(reports.len()));
    let mut isolates: BTreeMap<(&str, &str), (Isolate, u64)> = BTreeMap::new();
    let mut reporters: BTreeMap<&str, Reporter> = BTreeMap::new();
    for reported in reports {
        let Reported { report, reporter, .. } = reported;
        let id = (reporter.as_str(), report.isolate.as_str());
        let (isolate, last_ms) = match isolates.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert((tables.isolate(id.0, id.1).await?.unwrap_or_default(), 0))
            }
        };
        let reporter = match reporters.entry(id.0) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let found = tables.reporter(id.0).await?;
                new.insert(found.unwrap_or_else(|| Reporter::new(id.0)))
            }
        };
        outcomes.push(match isolate.next(report) {
            None => Outcome::Repeated,
            Some((missing, lost)) => {
                let added = add(reported, &known, &mut sums);
                *last_ms = report.to_ms.max(*last_ms);
                reporter.count(reported, &added, missing, lost);
                Outcome::Taken { foreign: added.foreign }
            }
        });
    }
    let found = write(tables, sums, &known, rules).await?;
    let findings = record(tables, found, rules).await?;
    let isolates = isolates.into_iter().filter(|(_, (_, last_ms))| *last_ms > 0);
    let isolates: Vec<Value> = isolates
        .map(|((reporter, id), (isolate, last_ms))| {
            json!([reporter, id, isolate.number, isolate.lost, last_ms])
        })
        .collect();
    tables.write(Table::Isolates, &Value::from(isolates).to_string()).await?;
    let reporters: Vec<Value> = reporters
        .into_values()
        .filter(|reporter| reporter.reports > 0)
        .map(|it| {
            let audiences = json!(it.audiences).to_string();
            json!([
                it.client_id,
                audiences,
                it.first_ms,
                it.last_ms,
                it.reports,
                it.missing,
                it.lost,
                it.folded,
                it.incomplete_ms,
            ])
        })
        .collect();
    tables.write(Table::Reporters, &Value::from(reporters).to_string()).await?;
    Ok((outcomes, findings))
}

/// Records what rules have found, with the outcome that the brakes allow.
async fn record(
    tables: &mut impl Tables,
    found: Vec<Found>,
    rules: &Rules<'_>,
) -> Result<Vec<Finding>, StoreError> {
    let now_ms = rules.now_ms;
    let since = rows::signed(now_ms.saturating_sub(HOUR_MS));
    let policy = rules.policy;
    let mut findings = Vec::new();
    if found.is_empty() {
        return Ok(findings);
    }
    let subjects: Vec<&str> = found.iter().map(|found| found.subject.as_str()).collect();
    let known = tables.settled(&json!(subjects).to_string()).await?;
    let is_open = |outcome: &String| ["alert", "dry_run", "capped"].contains(&outcome.as_str());
    // The counts of the last hour by role, and the acts since the first of them were read.
    let (mut acts, mut more) = (BTreeMap::new(), 0_u64);
    for found in found {
        let is_known = known.get(&(found.rule.clone(), found.subject.clone()));
        if is_known.is_some_and(|outcome| !is_open(outcome)) {
            continue;
        }
        let [all_acts, of_role, all] = match acts.entry(found.role.clone()) {
            Entry::Occupied(counts) => counts.into_mut(),
            Entry::Vacant(new) => {
                let [all_acts, of_role, all] = tables.acts(since, &found.role).await?;
                // Those of now are among them, and are added below.
                new.insert([all_acts.saturating_sub(more), of_role, all])
            }
        };
        let outcome = first_outcome(&found, rules.brakes, all_acts.saturating_add(more), *of_role);
        // Acts are few, by the brakes. Of the rest so many are kept.
        let is_act = outcome == misuse::Outcome::Pending;
        if !is_act && (is_known.is_some() || *all >= MAX_FINDINGS) {
            continue;
        }
        let (at, number) = (rows::signed(now_ms), rows::signed(policy));
        if let Some(id) = tables.record(&found, outcome, at, number).await? {
            *all = all.saturating_add(1);
            if is_act {
                // Of other roles, the counts may have been read before.
                *of_role = of_role.saturating_add(1);
                more = more.saturating_add(1);
            }
            let (attempts, told_ms) = (0, None);
            let at_ms = now_ms;
            findings.push(Finding { id, at_ms, found, outcome, policy, attempts, told_ms });
        }
    }
    Ok(findings)
}

/// Writes what reports add up to. Returns what the rules find in it.
async fn write(
    tables: &mut impl Tables,
    sums: Sums,
    known: &HashMap<String, Known>,
    rules: &Rules<'_>,
) -> Result<Vec<Found>, StoreError> {
    let seqs: Vec<u64> = sums.tokens.keys().copied().collect();
    let mut uses = tables.uses(&json!(seqs).to_string()).await?;
    let by_seq = known.iter().map(|(jwt_id, known)| (known.seq, (jwt_id.as_str(), known)));
    let mut found = sums.add_to(&mut uses, &by_seq.collect(), rules);
    let mut rows = Vec::with_capacity(seqs.len());
    for seq in &seqs {
        let Some(sum) = uses.get(seq) else { continue };
        let detail = serde_json::to_string(&sum.detail).map_err(corrupt)?;
        let TokenUse { accepted, refused, first_ms, last_ms, last_refused_ms, .. } = sum;
        rows.push(json!([seq, accepted, refused, first_ms, last_ms, last_refused_ms, detail]));
    }
    tables.write(Table::Uses, &Value::from(rows).to_string()).await?;
    // A guard that makes routes up fills no more than a day's share of the database.
    let mut days: Vec<u64> = sums.days.keys().map(|key| key.day).collect();
    days.dedup();
    let mut full = Vec::new();
    for day in days {
        if tables.sums_of(rows::signed(day)).await? >= MAX_DAY_SUMS {
            full.push(day);
        }
    }
    let has_rate = rules.rules.iter().any(|rule| matches!(rule.when, When::Rate { .. }));
    let roles: Vec<(String, u64)> = match has_rate {
        true => sums.roles().into_iter().map(|(role, day)| (role.to_owned(), day)).collect(),
        false => Vec::new(),
    };
    let mut sorted: BTreeMap<_, u64> = BTreeMap::new();
    for (mut key, count) in sums.days {
        if full.contains(&key.day) {
            key.route.clear();
            key.scope.clear();
            if key.code != ACCEPTED {
                "other".clone_into(&mut key.code);
            }
        }
        let sum = sorted.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }
    let rows: Vec<Value> = sorted
        .into_iter()
        .map(|(key, count)| {
            json!([key.day, key.role, key.client_id, key.route, key.scope, key.code, count])
        })
        .collect();
    tables.write(Table::Days, &Value::from(rows).to_string()).await?;
    for (role, day) in roles {
        let since = rows::signed(day.saturating_sub(RATE_DAYS));
        found.extend(judge_rate(rules, &role, day, &tables.role_days(&role, since).await?));
    }
    Ok(found)
}

fn corrupt(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Corrupt(error.into())
}

/// The column that sums are made by.
pub(crate) fn column(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Day => "day",
        UsageBy::Role => "role",
        UsageBy::Client => "client_id",
        UsageBy::Scope => "scope",
        UsageBy::Route => "route",
        UsageBy::Code => "code",
    }
}

/// Selects the sums by a column. Parameters: role, client, first day, scope token, number of rows.
pub(crate) fn sums_by(by: UsageBy) -> String {
    let column = column(by);
    format!(
        "SELECT CAST({column} AS TEXT) AS name, \
         CAST(sum(CASE WHEN code = 'accepted' THEN count ELSE 0 END) AS BIGINT) AS accepted, \
         CAST(sum(CASE WHEN code = 'accepted' THEN 0 ELSE count END) AS BIGINT) AS refused, \
         min(day) AS first_day, max(day) AS last_day FROM usage_days \
         WHERE ($1 IS NULL OR role = $1) AND ($2 IS NULL OR client_id = $2) AND day >= $3 \
         AND ($4 IS NULL OR replace(' ' || scope || ' ', ' ' || $4 || ' ', '') <> ' ' || scope || ' ') \
         GROUP BY {column} ORDER BY {column} LIMIT $5"
    )
}

fn bad(table: &'static str) -> impl Fn() -> sqlx::Error {
    move || sqlx::Error::Decode(Box::new(BadRow(table)))
}

fn optional(row: &impl Columns, column: &'static str) -> Result<Option<u64>, sqlx::Error> {
    let number = row.number(column)?.map(u64::try_from).transpose();
    number.map_err(|_| bad("usage")())
}

pub(crate) fn sum(row: &impl Columns) -> Result<UsageSum, sqlx::Error> {
    Ok(UsageSum {
        name: row.text("name")?.unwrap_or_default(),
        accepted: rows::unsigned(row, "accepted")?,
        refused: rows::unsigned(row, "refused")?,
        first_day: rows::unsigned(row, "first_day")?,
        last_day: rows::unsigned(row, "last_day")?,
    })
}

pub(crate) fn known(row: &impl Columns) -> Result<(String, Known), sqlx::Error> {
    let text = |column| row.text(column)?.ok_or_else(bad("tokens"));
    let known = Known {
        seq: rows::unsigned(row, "seq")?,
        issued_at: rows::unsigned(row, "issued_at")?,
        expiration: rows::unsigned(row, "expiration")?,
        role: text("role")?,
        client_id: text("client_id")?,
        audience: text("audience")?,
        scope: text("scope")?,
    };
    Ok((text("jwt_id")?, known))
}

pub(crate) fn isolate(row: &impl Columns) -> Result<Isolate, sqlx::Error> {
    Ok(Isolate { number: rows::unsigned(row, "number")?, lost: rows::unsigned(row, "lost")? })
}

pub(crate) fn reporter(row: &impl Columns) -> Result<Reporter, sqlx::Error> {
    let text = |column| row.text(column)?.ok_or_else(bad("usage_reporters"));
    let audiences = serde_json::from_str(&text("audiences")?);
    Ok(Reporter {
        client_id: text("client_id")?,
        audiences: audiences.map_err(|_| bad("usage_reporters")())?,
        first_ms: rows::unsigned(row, "first_ms")?,
        last_ms: rows::unsigned(row, "last_ms")?,
        reports: rows::unsigned(row, "reports")?,
        missing: rows::unsigned(row, "missing")?,
        lost: rows::unsigned(row, "lost")?,
        folded: rows::unsigned(row, "folded")?,
        incomplete_ms: optional(row, "incomplete_ms")?,
    })
}

pub(crate) fn token_use(row: &impl Columns) -> Result<(u64, TokenUse), sqlx::Error> {
    let detail = row.text("detail")?.ok_or_else(bad("token_uses"))?;
    let token_use = TokenUse {
        accepted: rows::unsigned(row, "accepted")?,
        refused: rows::unsigned(row, "refused")?,
        first_ms: optional(row, "first_ms")?,
        last_ms: optional(row, "last_ms")?,
        last_refused_ms: optional(row, "last_refused_ms")?,
        detail: serde_json::from_str(&detail).map_err(|_| bad("token_uses")())?,
    };
    Ok((rows::unsigned(row, "seq")?, token_use))
}

/// Rule and subject of a finding, and what became of it.
pub(crate) fn settled(row: &impl Columns) -> Result<((String, String), String), sqlx::Error> {
    let text = |column| row.text(column)?.ok_or_else(bad("findings"));
    Ok(((text("rule")?, text("subject")?), text("outcome")?))
}

/// A finding.
pub(crate) fn finding(row: &impl Columns) -> Result<Finding, sqlx::Error> {
    let text = |column| row.text(column)?.ok_or_else(bad("findings"));
    let found = Found {
        rule: text("rule")?,
        subject: text("subject")?,
        role: text("role")?,
        client_id: text("client_id")?,
        action: Action::named(&text("action")?).ok_or_else(bad("findings"))?,
        dry_run: rows::unsigned::<u64>(row, "dry_run")? != 0,
        evidence: text("evidence")?,
    };
    Ok(Finding {
        id: rows::unsigned(row, "id")?,
        at_ms: rows::unsigned(row, "at_ms")?,
        found,
        outcome: misuse::Outcome::named(&text("outcome")?).ok_or_else(bad("findings"))?,
        policy: rows::unsigned(row, "policy")?,
        attempts: rows::unsigned(row, "attempts")?,
        told_ms: optional(row, "told_ms")?,
    })
}

/// Selects acts by rules: since a time, of those on tokens of a role, and all findings.
pub(crate) const ACTS: &str = "SELECT count(CASE WHEN outcome IN ('pending', 'done', 'failed', 'undone', 'unchanged') THEN 1 END) AS acts, \
     count(CASE WHEN outcome IN ('pending', 'done', 'failed', 'undone', 'unchanged') AND role = $2 THEN 1 END) AS of_role, \
     count(*) AS findings FROM findings WHERE at_ms > $1";

/// Inserts a finding.
pub(crate) const RECORD: &str = "INSERT INTO findings (id, at_ms, rule, subject, role, client_id, action, dry_run, evidence, outcome, \
     policy) SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM findings \
     WHERE true ON CONFLICT (rule, subject) DO UPDATE SET at_ms = excluded.at_ms, action = excluded.action, \
     dry_run = excluded.dry_run, evidence = excluded.evidence, outcome = excluded.outcome, \
     policy = excluded.policy, attempts = 0, told_ms = NULL, again_ms = 0 \
     WHERE excluded.outcome = 'pending' AND findings.outcome IN ('alert', 'dry_run', 'capped') RETURNING id";

/// What deletes rows from before a day (UTC), and isolates from before a time, each at most so many: a text, and what
/// it is bound to first.
pub(crate) fn forgotten(day: i64, isolates_ms: i64) -> [(&'static str, i64); 3] {
    [
        (
            "DELETE FROM usage_days WHERE (day, role, client_id, route, scope, code) IN (SELECT day, role, \
             client_id, route, scope, code FROM usage_days WHERE day < $1 LIMIT $2)",
            day,
        ),
        (
            "DELETE FROM usage_isolates WHERE (reporter, isolate) IN (SELECT reporter, isolate \
             FROM usage_isolates WHERE last_ms < $1 LIMIT $2)",
            isolates_ms,
        ),
        (
            "DELETE FROM findings WHERE id IN (SELECT id FROM findings WHERE at_ms < $1 LIMIT $2)",
            first_ms(day),
        ),
    ]
}

/// Whether there are such rows: bound to the day, the time of isolates, and the day's first millisecond.
pub(crate) const HAS_OLD: &str = "SELECT EXISTS (SELECT 1 FROM usage_days WHERE day < $1) \
     OR EXISTS (SELECT 1 FROM usage_isolates WHERE last_ms < $2) \
     OR EXISTS (SELECT 1 FROM findings WHERE at_ms < $3)";

/// The first millisecond of a day.
pub(crate) fn first_ms(day: i64) -> i64 {
    const DAY_MS: i64 = 24 * 60 * 60 * 1000;
    day.saturating_mul(DAY_MS)
}

/// Selects what became of the findings about subjects, which follow.
pub(crate) const SETTLED: &str = "SELECT rule, subject, outcome FROM findings WHERE subject IN ";

/// Selects the sums of a role by day.
pub(crate) const ROLE_DAYS: &str = "SELECT day, CAST(sum(count) AS BIGINT) AS count FROM usage_days WHERE role = $1 AND day >= $2 GROUP BY day";

/// Selects findings that somebody must act on or tell.
pub(crate) const OPEN: &str = "SELECT * FROM findings WHERE outcome = 'pending' \
     OR (again_ms IS NOT NULL AND again_ms <= $1) ORDER BY id LIMIT $2";

/// Sets what became of a finding, if it is still what it is changed from.
pub(crate) const SET_OUTCOME: &str =
    "UPDATE findings SET outcome = $2 WHERE id = $1 AND outcome = $3";

pub(crate) const SET_TOLD: &str = "UPDATE findings SET attempts = CASE WHEN $3 = 0 THEN 0 ELSE attempts + 1 END, told_ms = $2, again_ms = $3 \
     WHERE id = $1";
