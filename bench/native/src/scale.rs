//! Measures how lists, publication and revocation grow with the number of live tokens.
//!
//! Lists are built as the issuer builds them. Publication and revocation run on the issuer's own
//! storage, a file of a few gigabytes for ten million tokens.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::entropy::{Entropy, NoEntropy};
use edgepass_issuer::issue::Recipient;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::paths::LISTS;
use edgepass_issuer::policy::TokenRequest;
use edgepass_issuer::policy::version::PolicyUser;
use edgepass_issuer::publish::document::Document;
use edgepass_issuer::seal::MasterKey;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::signing_key::{KeyState, SealedKey, SigningAlgorithm};
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{ActStore, KeyChange, KeyStore, ListState, ListStore};
use edgepass_issuer::{Config, Issuer, Publisher};
use edgepass_jose::base64url;
use edgepass_status_list::Statuses;
use edgepass_status_list::encoder::encode;
use edgepass_status_list::list::{Bits, StatusList};
use edgepass_store::SqliteStore;
use edgepass_verify::UnixMillis;
use fastrand::Rng;
use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection};

const CAPACITY: u64 = 1 << 17;
const SHARES: [f64; 4] = [0.0001, 0.001, 0.01, 0.05];

/// Returns all measurements, one row for each number of live tokens.
pub(crate) fn measure(quick: bool) -> anyhow::Result<Value> {
    let sizes: &[u64] = if quick { &[10_000, 100_000] } else { &[10_000, 1_000_000, 10_000_000] };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rows = Vec::new();
    for tokens in sizes {
        let lists: Vec<Value> = SHARES.iter().map(|share| lists(*tokens, *share)).collect();
        let issuer = runtime.block_on(issuer(*tokens))?;
        rows.push(json!({ "tokens": tokens, "lists": lists, "issuer": issuer }));
    }
    Ok(rows.into())
}

/// Returns the sizes in bytes and the lookup time of the lists for `tokens` tokens, of which
/// `share` are revoked.
fn lists(tokens: u64, share: f64) -> Value {
    let mut noise = Rng::with_seed(tokens);
    let (mut zipped, mut wire, mut envelope, mut memory) = (0, 0, 0, 0);
    let mut held = Vec::new();
    let mut left = tokens;
    while left > 0 {
        let filled = left.min(CAPACITY);
        let mut list = StatusList::all_valid(Bits::One, CAPACITY as u32);
        for _ in 0..(filled as f64 * share).round() as u64 {
            while !newly_set(&mut list, noise.u64(..CAPACITY)) {}
        }
        let lst = encode(&list);
        zipped += base64url::decode(&lst).map_or(0, |bytes| bytes.len());
        let signature: Vec<u8> = (0..64).map(|_| noise.u8(..)).collect();
        let around = served(&signed("", &signature));
        envelope += around;
        wire += served(&signed(&lst, &signature)) - around;
        let statuses = Statuses::from(list);
        memory += statuses.bytes();
        held.push(statuses);
        left -= filled;
    }
    let start = Instant::now();
    const LOOKUPS: u64 = 2_000_000;
    for at in 0..LOOKUPS {
        let list = &held[(at % held.len() as u64) as usize];
        black_box(list.status(black_box(noise.u64(..CAPACITY))));
    }
    let lookup = start.elapsed().as_secs_f64() * 1e9 / LOOKUPS as f64;
    let bound = entropy(tokens as f64, share);
    let entries = held.len() as f64 * CAPACITY as f64;
    let covered = entropy(entries, tokens as f64 * share / entries);
    json!({
        "share": share, "lists": held.len(), "bound": bound, "lst": zipped, "wire": wire,
        "lst_over_covered": zipped as f64 / covered, "lst_over_bound": zipped as f64 / bound, "wire_over_bound": wire as f64 / bound,
        "envelope": envelope / held.len(), "memory": memory, "lookup_ns": lookup,
    })
}

/// The entropy of `count` statuses of which `share` are revoked, in bytes: `n H(p) / 8`.
fn entropy(count: f64, share: f64) -> f64 {
    -count * (share * share.log2() + (1.0 - share) * (1.0 - share).log2()) / 8.0
}

fn newly_set(list: &mut StatusList, index: u64) -> bool {
    let was = list.status(index).map_or(0, |status| status.number());
    list.set(index, 1) && was == 0
}

/// A status list token with this `lst`, as the issuer writes it.
fn signed(lst: &str, signature: &[u8]) -> String {
    let header = json!({
        "alg": "EdDSA", "typ": "statuslist+jwt",
        "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
    });
    let claims = json!({
        "sub": "https://issuer.example/status-lists/1795369200-0", "iat": 1_795_365_600,
        "exp": 1_795_369_200, "ttl": 5, "number": 1234,
        "status_list": {
            "bits": 1, "lst": lst,
            "aggregation_uri": "https://issuer.example/status-list-aggregation",
        },
    });
    let part = |value: &Value| base64url::encode(value.to_string().as_bytes());
    format!("{}.{}.{}", part(&header), part(&claims), base64url::encode(signature))
}

/// The length of a token on the wire, after gzip, in bytes.
fn served(token: &str) -> usize {
    Document::new(LISTS, "application/statuslist+jwt", token.to_owned())
        .gzipped
        .map_or(0, |gzipped| gzipped.len())
}

/// A database in a new folder, with signing keys.
pub(crate) struct Stage {
    _folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) store: Arc<SqliteStore>,
}

impl Stage {
    pub(crate) async fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = Config::parse(CONFIG, folder.path())?;
        std::fs::create_dir_all(&config.data_dir)?;
        let store = Arc::new(SqliteStore::open(&config.database(), true, now).await?);
        let (mut entropy, vault) = (Drawn(Rng::with_seed(5)), MasterKey::new([7; 32]).into());
        let now = now();
        let seconds = now.numeric_date().seconds();
        let keys = [KeyState::Signing, KeyState::Standby].map(|state| {
            SealedKey::generate(SigningAlgorithm::EdDSA, state, &vault, &mut entropy, seconds)
        });
        let keys = keys.into_iter().collect::<Result<Vec<_>, _>>()?;
        let entry = AuditEntry {
            at_ms: now.0,
            actor: "bench".into(),
            policy: None,
            act: Act::KeysCreated { key_ids: Vec::new() },
        };
        let change = KeyChange { seen: 0, now: seconds, states: Vec::new(), new: keys };
        store.change_keys(&change, &entry).await?;
        Ok(Self { _folder: folder, config, store })
    }

    pub(crate) async fn issuer(&self) -> anyhow::Result<Issuer<SqliteStore>> {
        let user = PolicyUser { actor: "bench".into(), at: now(), serves: true };
        let vault = MasterKey::new([7; 32]);
        Ok(Issuer::open(Arc::clone(&self.store), &self.config, vault, &user).await?)
    }
}

/// Times publishing one revocation, and revoking a tenth of all tokens by one act while issuing
/// goes on.
async fn issuer(tokens: u64) -> anyhow::Result<Value> {
    let stage = Stage::new().await?;
    let (store, mut entropy) = (Arc::clone(&stage.store), Drawn(Rng::with_seed(7)));
    fill(&stage.config.database(), tokens, now().numeric_date().seconds()).await?;
    let issuer = Arc::new(stage.issuer().await?);
    let publisher = Publisher::new(Arc::clone(&issuer), "{}".into(), Vec::new());
    let start = Instant::now();
    publisher.sync(&mut entropy, now).await?;
    publisher.confirm(now).await?;
    let all = start.elapsed().as_secs_f64();

    let mut times = Vec::new();
    for round in 0..21 {
        let jwt_id = format!("t{}", entropy.0.u64(..tokens));
        let before = publisher.store().lists(0).await?;
        let selection = Selection::JwtIds(vec![jwt_id]);
        let start = Instant::now();
        perform(&*store, &act(selection, now())).await?;
        publisher.sync(&mut entropy, now).await?;
        publisher.confirm(now).await?;
        let took = start.elapsed().as_secs_f64() * 1e3;
        let after = publisher.store().lists(0).await?;
        let is_touched = |after: &&ListState| {
            before.iter().any(|before| before.id == after.id && before != *after)
        };
        let changed = after.iter().filter(is_touched).count();
        ensure!(changed <= 1, "a revocation touched {changed} lists");
        ensure!(
            after.iter().all(|list| {
                list.published == list.changes
                    && publisher.document(&format!("{LISTS}{}", list.id)).is_some()
            }),
            "not everything is published"
        );
        if round > 0 {
            times.push(took);
        }
    }
    times.sort_by(f64::total_cmp);
    let bulk = bulk(&issuer, &publisher, &store).await?;
    store.close().await;
    Ok(json!({
        "publish_all_s": all, "publish_one_ms": times[times.len() / 2],
        "publish_one_max_ms": times[times.len() - 1], "bulk": bulk,
    }))
}

/// Revokes a tenth of all tokens, by role, while tokens of another role are issued.
async fn bulk(
    issuer: &Arc<Issuer<SqliteStore>>,
    publisher: &Publisher<SqliteStore>,
    store: &Arc<SqliteStore>,
) -> anyhow::Result<Value> {
    let stop = Arc::new(AtomicBool::new(false));
    let issuing = tokio::spawn({
        let (issuer, stop) = (Arc::clone(issuer), Arc::clone(&stop));
        let policy = issuer.policy();
        let grant = policy.grant(policy.role("other")?, &TokenRequest::default(), now())?;
        async move {
            let mut entropy = Drawn(Rng::with_seed(11));
            let recipient = Recipient::new("c".into(), "s".into(), "bench".into());
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (now, start) = (now(), Instant::now());
                let granted = issuer.grant(&policy, &grant, &recipient, &mut entropy, now)?;
                issuer.issue(granted, now).await?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            anyhow::Ok(times)
        }
    });
    let filter = Filter { role: Some("bulk".into()), ..Filter::default() };
    let start = Instant::now();
    let recorded = perform(&**store, &act(Selection::Fitting(filter), now())).await?;
    let recorded = recorded.context("nothing was revoked")?;
    let carried_out = start.elapsed().as_secs_f64();
    publisher.sync(&mut Drawn(Rng::with_seed(13)), now).await?;
    publisher.confirm(now).await?;
    let published = start.elapsed().as_secs_f64();
    store.end_act(recorded.id).await?;
    stop.store(true, Ordering::Relaxed);
    let mut times = issuing.await??;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    Ok(json!({
        "tokens": recorded.count, "carried_out_s": carried_out, "published_s": published,
        "issued_meanwhile": times.len(), "issue_p50_ms": at(0.5), "issue_p99_ms": at(0.99),
        "issue_max_ms": at(1.0),
    }))
}

/// Fills the database with live tokens in full lists: a hundredth revoked, a tenth of the role
/// `bulk`.
async fn fill(database: &Path, tokens: u64, now: u64) -> anyhow::Result<()> {
    let mut connection =
        sqlx::sqlite::SqliteConnectOptions::new().filename(database).connect().await?;
    sqlx::raw_sql("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")
        .execute(&mut connection)
        .await?;
    let window = now + 3000;
    let mut first = 0;
    while first < tokens {
        let filled = (tokens - first).min(CAPACITY);
        let id = format!("{window}-{}", first / CAPACITY);
        let list = "INSERT INTO status_lists (id, window_end, secret, capacity, next_counter, bits) \
                    VALUES ($1, $2, zeroblob(32), $3, $3, 1)";
        sqlx::query(list)
            .bind(&id)
            .bind(window as i64)
            .bind(CAPACITY as i64)
            .execute(&mut connection)
            .await?;
        let rows = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < $3 - 1) \
                    INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, key_id, \
                    created_by, issued_at, expiration, list_id, list_index, status) \
                    SELECT 't' || ($1 + i), CASE i % 10 WHEN 0 THEN 'bulk' ELSE 'other' END, \
                    'client-' || (i % 7), 'subject-' || (i % 1000), 'https://api.example', \
                    'invoices:read', 'k', 'client:x', $4, $5, $2, i, i % 100 = 1 FROM n";
        sqlx::query(rows)
            .bind(first as i64)
            .bind(&id)
            .bind(filled as i64)
            .bind(now as i64)
            .bind((now + 2900) as i64)
            .execute(&mut connection)
            .await?;
        first += filled;
    }
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

pub(crate) fn act(selection: Selection, at: UnixMillis) -> NewAct {
    let (reason, actor) = ("bench".into(), "bench".into());
    NewAct { change: StatusChange::Revoke, selection, reason, actor, policy: 1, report: None, at }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}

/// Seeded numbers instead of entropy; nothing drawn here is secret.
pub(crate) struct Drawn(pub(crate) Rng);

impl Entropy for Drawn {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoEntropy> {
        self.0.fill(bytes);
        Ok(())
    }
}

const CONFIG: &str = r#"
issuer = "https://issuer.example"
listen = "127.0.0.1:1"
data_dir = "data"

[[role]]
name = "bulk"
audience = "https://api.example"
scopes = ["invoices:read"]

[[role]]
name = "other"
audience = "https://api.example"
scopes = ["invoices:read"]
"#;
