//! Measures how many editions of large status lists an issuer makes each second.

use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use edgepass_issuer::Publisher;
use edgepass_issuer::paths::LISTS;
use edgepass_issuer::selection::Selection;
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::ListStore;
use fastrand::Rng;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

use crate::scale::{Drawn, Stage, act, now};

const LISTS_AT_ONCE: u64 = 8;
const CAPACITY: u64 = 1 << 20;
const ROUNDS: u64 = 6;

/// Returns `{ revoked, editions_per_second }` for each share of revoked entries. In each round one more token
/// of each list is revoked.
pub(crate) async fn measure() -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    for per_thousand in [1, 10, 50] {
        rows.push(json!({
            "revoked": per_thousand as f64 / 1000.0, "editions_per_second": rate(per_thousand).await?,
        }));
    }
    Ok(rows.into())
}

async fn rate(per_thousand: u64) -> anyhow::Result<f64> {
    let stage = Stage::new().await?;
    fill(&stage, per_thousand).await?;
    let issuer = Arc::new(stage.issuer().await?);
    let publisher = Publisher::new(issuer, "{}".into(), Vec::new());
    let mut entropy = Drawn(Rng::with_seed(3));
    publisher.sync(&mut entropy, now).await?;
    let mut seconds = 0.0;
    for round in 0..ROUNDS {
        let names = (0..LISTS_AT_ONCE).map(|list| format!("v{list}-{round}")).collect();
        perform(&*stage.store, &act(Selection::JwtIds(names), now())).await?;
        let start = Instant::now();
        publisher.sync(&mut entropy, now).await?;
        seconds += start.elapsed().as_secs_f64();
        publisher.confirm(now).await?;
        let lists = stage.store.lists(0).await?;
        let of_size = lists.iter().filter(|list| list.changes > 0);
        ensure!(
            of_size.clone().count() as u64 == LISTS_AT_ONCE
                && of_size.clone().all(|list| {
                    list.published == list.changes
                        && publisher.document(&format!("{LISTS}{}", list.id)).is_some()
                }),
            "not everything is published"
        );
    }
    stage.store.close().await;
    Ok((LISTS_AT_ONCE * ROUNDS) as f64 / seconds)
}

/// Fills the database with full lists: records of the revoked tokens, and of a few valid ones.
async fn fill(stage: &Stage, per_thousand: u64) -> anyhow::Result<()> {
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(stage.config.database())
        .connect()
        .await?;
    let now = now().numeric_date().seconds() as i64;
    for list in 0..LISTS_AT_ONCE as i64 {
        let id = format!("{}-{list}", now + 3000);
        let opened = "INSERT INTO status_lists (id, window_end, secret, capacity, next_counter, bits) \
                      VALUES ($1, $2, zeroblob(32), $3, $3, 1)";
        sqlx::query(opened)
            .bind(&id)
            .bind(now + 3000)
            .bind(CAPACITY as i64)
            .execute(&mut connection)
            .await?;
        let mut noise = Rng::with_seed(list as u64);
        let mut indices: Vec<u64> = (0..CAPACITY).collect();
        noise.shuffle(&mut indices);
        let revoked = CAPACITY * per_thousand / 1000;
        indices.truncate((revoked + ROUNDS) as usize);
        let rows = "INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, key_id, \
                    created_by, issued_at, expiration, list_id, list_index, status) \
                    SELECT CASE WHEN key < $5 THEN 'v' || $1 || '-' || key ELSE 'r' || $1 || '-' || key END, \
                    'other', 'c', 's', 'https://api.example', 'invoices:read', 'k', 'client:x', $2, $3, $4, \
                    value, key >= $5 FROM json_each($6)";
        sqlx::query(rows)
            .bind(list)
            .bind(now)
            .bind(now + 2900)
            .bind(&id)
            .bind(ROUNDS as i64)
            .bind(serde_json::to_string(&indices)?)
            .execute(&mut connection)
            .await?;
    }
    connection.close().await?;
    Ok(())
}
