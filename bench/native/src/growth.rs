//! Measures what issuing costs with few and with many stored tokens, and what a database takes whose old
//! records are purged.
//!
//! Tokens are issued by the issuer's own library on its own storage, a file of some gigabytes for ten
//! million tokens.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use edgepass_issuer::Issuer;
use edgepass_issuer::issue::Recipient;
use edgepass_issuer::policy::TokenRequest;
use edgepass_issuer::storage::TokenStore;
use edgepass_store::SqliteStore;
use edgepass_verify::UnixMillis;
use fastrand::Rng;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};
use tokio::task::JoinSet;

use crate::editions;
use crate::scale::{Drawn, Stage, now};

/// Tokens that are issued at the same time, as by so many connections. The purge deletes as many at once.
const TOGETHER: u64 = 200;
/// Tokens over which the cost is averaged.
const WINDOW: u64 = 20_000;
/// How long a record stays after its token has expired, in seconds: the least that the configuration allows.
const KEPT: u64 = 24 * 60 * 60;
/// Of the clock of the purge: ten tokens a second.
const MILLIS_PER_TOKEN: u64 = 100;

/// Returns `{ editions, issuing, issuing_for_users, purged }`: all but the first have rows by the number of tokens
/// issued so far.
pub(crate) fn measure(quick: bool) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let last = if quick { 1_000_000 } else { 10_000_000 };
    runtime.block_on(async {
        Ok(json!({
            "editions": editions::measure().await?,
            "issuing": issuing(last, 0).await?,
            "issuing_for_users": issuing(last / 10, 1000).await?,
            "purged": purged(last).await?,
        }))
    })
}

/// The cost of a token with 10^3 to `last` tokens stored before, if clients get tokens for themselves, or for
/// each of many users.
async fn issuing(last: u64, users: u64) -> anyhow::Result<Value> {
    let stage = Stage::new().await?;
    let issuer = Arc::new(stage.issuer().await?);
    let (mut issued, mut rows) = (0, Vec::new());
    let mut size = 1000;
    while size <= last {
        while issued < size {
            issue(&issuer, issued, users, now()).await?;
            issued += TOGETHER;
        }
        let (start, cpu) = (Instant::now(), cpu_seconds()?);
        for _ in 0..WINDOW / TOGETHER {
            issue(&issuer, issued, users, now()).await?;
            issued += TOGETHER;
        }
        let each = |seconds: f64| seconds * 1e6 / WINDOW as f64;
        rows.push(json!({
            "tokens": size, "cpu_us": each(cpu_seconds()? - cpu), "wall_us": each(start.elapsed().as_secs_f64()),
            "memory_mb": resident_mb()?,
        }));
        size *= 10;
    }
    stage.store.close().await;
    Ok(rows.into())
}

/// What the database takes in MB while tokens of ten minutes are issued and purged: `tokens` with their
/// indexes, and `file`, in which the audit trail stays.
async fn purged(last: u64) -> anyhow::Result<Value> {
    let stage = Stage::new().await?;
    let issuer = Arc::new(stage.issuer().await?);
    let (start, mut rows) = (now(), Vec::new());
    let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(stage.config.database())
        .read_only(true)
        .connect()
        .await?;
    for issued in (0..last).step_by(TOGETHER as usize) {
        let now = UnixMillis(start.0 + issued * MILLIS_PER_TOKEN);
        issue(&issuer, issued, 0, now).await?;
        let before = now.numeric_date().seconds().saturating_sub(KEPT);
        stage.store.forget_tokens(before, TOGETHER as u32 + 1).await?;
        let done = issued + TOGETHER;
        if done % (last / 10) == 0 {
            rows.push(sizes(&mut connection, done).await?);
        }
    }
    connection.close().await?;
    stage.store.close().await;
    Ok(rows.into())
}

async fn sizes(connection: &mut SqliteConnection, issued: u64) -> anyhow::Result<Value> {
    let text = "SELECT (SELECT count(*) FROM tokens), \
                (SELECT sum(pgsize) FROM dbstat WHERE name IN \
                (SELECT name FROM sqlite_master WHERE tbl_name = 'tokens')), \
                (SELECT page_count * page_size FROM pragma_page_count, pragma_page_size)";
    let row = sqlx::query(text).fetch_one(connection).await?;
    let number = |column: usize| row.try_get::<i64, _>(column);
    let mb = |bytes: i64| bytes as f64 / 1e6;
    Ok(json!({
        "issued": issued, "records": number(0)?, "tokens_mb": mb(number(1)?), "file_mb": mb(number(2)?),
    }))
}

/// Issues [`TOGETHER`] tokens to several clients: for themselves, or for `users` if there are any.
async fn issue(
    issuer: &Arc<Issuer<SqliteStore>>,
    first: u64,
    users: u64,
    now: UnixMillis,
) -> anyhow::Result<()> {
    let policy = issuer.policy();
    let grant = policy.grant(policy.role("other")?, &TokenRequest::default(), now)?;
    let mut tokens = JoinSet::new();
    for number in first..first + TOGETHER {
        let client = format!("client-{}", number % 7);
        let user = number.checked_rem(users).map(|user| format!("user-{user}"));
        let recipient = Recipient::new(client.clone(), user.unwrap_or(client.clone()), client);
        let mut entropy = Drawn(Rng::with_seed(number));
        let granted = issuer.grant(&policy, &grant, &recipient, &mut entropy, now)?;
        let issuer = Arc::clone(issuer);
        tokens.spawn(async move { issuer.issue(granted, now).await.map(drop) });
    }
    while let Some(issued) = tokens.join_next().await {
        issued??;
    }
    Ok(())
}

/// CPU time of this process so far, in seconds.
fn cpu_seconds() -> anyhow::Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(") ").context("/proc/self/stat")?;
    let ticks = |at: usize| {
        rest.split(' ').nth(at).context("/proc/self/stat")?.parse::<f64>().context("ticks")
    };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

fn resident_mb() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
