//! What only a database in a file has, and the suite of all storages on it.

use std::path::PathBuf;

use edgepass_issuer::audit::Act;
use edgepass_issuer::policy::version::hexadecimal;
use edgepass_issuer::signing_key::SigningAlgorithm;
use edgepass_status_list::StatusType;
use sha2::{Digest, Sha256};
use sqlx::QueryBuilder;
use sqlx::pool::PoolConnection;

use super::*;
use crate::suite::{self, Database, TestStore, entry, issue, now, status, token};

/// A database file in a folder of its own.
pub(super) struct InFile(pub(super) tempfile::TempDir);

impl InFile {
    pub(super) fn path(&self) -> PathBuf {
        self.0.path().join("edgepass.db")
    }

    async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        SqliteConnection::connect_with(&options.busy_timeout(BUSY_TIMEOUT)).await.unwrap()
    }
}

impl Database for InFile {
    type Store = SqliteStore;

    async fn make() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), true, now).await.unwrap()
    }

    async fn close(store: &SqliteStore) {
        store.close().await;
    }

    async fn execute(&self, text: &str) -> Result<(), sqlx::Error> {
        let text = AssertSqlSafe(text.to_owned());
        sqlx::raw_sql(text).execute(&mut self.connection().await).await.map(|_| ())
    }

    async fn number(&self, text: &str) -> i64 {
        let text = sqlx::query(AssertSqlSafe(text.to_owned()));
        text.fetch_one(&mut self.connection().await).await.unwrap().get(0)
    }
}

pub(super) async fn test_store() -> TestStore<InFile> {
    suite::test_store().await
}

suite::on!(InFile);

#[tokio::test]
async fn looking_for_acts_under_way_reads_no_others() {
    let TestStore { store, database: _folder } = test_store().await;
    let mut plan = QueryBuilder::<Sqlite>::new("EXPLAIN QUERY PLAN ");
    let plan = plan.push(issue::BLOCKING_ACTS).build().bind(1_i64);
    let plan: String = plan.fetch_one(&store.readers).await.unwrap().get("detail");
    assert!(plan.contains("USING INDEX status_acts_blocking"), "{plan}");
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edgepass.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let old = SqlitePool::connect_with(options).await.unwrap();
    migrations::first(1).run(&old).await.unwrap();
    let rows = "INSERT INTO status_lists (id, window_end, secret, capacity, next_counter, changes) \
                VALUES ('1200-0', 1200, x'00', 131072, 2, 1); \
                INSERT INTO tokens VALUES ('b', 'r', 'c', 's', 'a', '', 'x', 101, 700, '1200-0', 5, 9, 'why'); \
                INSERT INTO tokens VALUES ('a', 'r', 'c', 's', 'a', '', 'x', 100, 700, '1200-0', 6, NULL, NULL); \
                INSERT INTO signing_keys VALUES ('k', 'signing', x'07', x'00', 5, 5); \
                INSERT INTO audit VALUES (5, 9, 'cli:ada', 'keys_created', \
                json_object('at_ms', 9, 'actor', 'cli:ada', 'act', 'keys_created', 'key_ids', json_array('k')))";
    sqlx::raw_sql(rows).execute(&old).await.unwrap();
    old.close().await;
    for _ in 0..2 {
        let store = SqliteStore::open(&file, false, now).await.unwrap();
        assert_eq!(status(&store, "a").await, StatusType::Valid);
        assert_eq!(status(&store, "b").await, StatusType::Invalid);
        let key = &store.keys().await.unwrap().keys[0];
        assert_eq!((key.algorithm, key.public_key.as_slice()), (SigningAlgorithm::EdDSA, &[7][..]));
        let newest =
            store.tokens(&TokenFilter::default(), Page::first(true, 10_000)).await.unwrap();
        assert_eq!(newest[0].facts.jwt_id, "b");
        let (at_ms, actor) = (9, "cli:ada".to_owned());
        let act = Act::KeysCreated { key_ids: vec!["k".to_owned()] };
        let entry = AuditEntry { at_ms, actor, policy: None, act };
        assert_eq!(store.audit(0, Page::first(false, 9)).await.unwrap(), [(1, entry)]);
        assert_eq!(store.next_edition("1200-0", 1).await.unwrap().statuses.len(), 1);
        store.close().await;
    }
}

/// Has the connection that writes fail as on a full disk: SQLite treats its own size limit like one. The
/// limit holds for one connection.
pub(super) async fn fill_disk(store: &SqliteStore) {
    let limit = async |connection: &mut PoolConnection<Sqlite>| {
        sqlx::query("PRAGMA max_page_count = 1").execute(&mut **connection).await.map_err(failed)
    };
    store.writer.lend(limit).await.unwrap();
}

#[tokio::test]
async fn commits_are_synchronous() {
    let TestStore { store, database: _folder } = test_store().await;
    let ask = async |connection: &mut PoolConnection<Sqlite>| {
        sqlx::query("PRAGMA synchronous").fetch_one(&mut **connection).await.map_err(failed)
    };
    let row = store.writer.lend(ask).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 2); // FULL
}

#[tokio::test]
async fn after_a_full_disk_the_next_act_is_recorded() {
    let TestStore { store, database: _folder } = test_store().await;
    issue(&store, &token("before")).await;
    fill_disk(&store).await;
    let mut long = token("long");
    long.facts.subject = "s".repeat(100_000);
    let refused = store.record_issue(&long, &entry("long")).await.unwrap_err();
    let StoreError::Unavailable(refused) = refused else { panic!("{refused:?}") };
    assert!(refused.to_string().contains("disk is full"), "{refused:?}");
    assert!(!store.writer.durability.last_change_succeeded());
    // The connection is replaced by one without a limit.
    assert!(store.is_writable().await && store.writer.durability.last_change_succeeded());
    issue(&store, &token("after")).await;
    assert_eq!(store.audit(0, Page::first(false, 10_000)).await.unwrap().len(), 2);
}

/// A database opens only if the migrations that it has run are unchanged: add one, edit none.
#[test]
fn migrations_that_databases_have_taken_never_change() {
    let taken = [
        "db4abdf2c212630c17253b938e4af603215d65af6985635b89a5adbf7453a9d1",
        "0484e99b760f59900546810e785ca2ebf17a22e108fb715e27195c6911eeb5d7",
        "614ca9076de5e1fda31761a309908f66da4e8669d68f67f74a6da1d5254eedc8",
        "f9f26c815fc8556265b2329357c14a9f8f49c71c1af0fe3fd23add4dc5bbd6ac",
        "e6027ad9248fb3626e5c2f7a8c36016b796aff621f21f9a6310239f04e52477e",
        "53ca07c28759f2d080a9333bf9e5eec386a26dac597049a2fe2f081d176caab1",
        "288a0e6862da276d408456e4f4879ea15a589733c9f4570bae58be582f4eca36",
        "00a48cfb289c83d840dccfe7583fac56e1cb7dc385da0439fd2e5bdccb9028d2",
        "57ed452d8b214db021dbe78cd82e6f13dad4b1102535e5e5eef57d015c5724fa",
        "a372714a4a11d1526ef88b2eb5aed24622b83dbba6ba6c43e14a0e0289f08c71",
        "5ac9108669f7432f7658fac6a1d8fae51d394b9cc7ad1dfb3dd05810d1e78342",
        "0e2b91dd6f35ee3fdc3562e2d07342e4c2dcd9b892942a2d85506a6515801aa1",
        "b61bcd2172f5972c70cfee0278743e563f21cc90a9db40c2595b07726f5ca0c5",
        "64c3fc046300b0361143ffe10e7245c6c2871be1a0b0524e0439a6995bb23eda",
        "aca8bbcdca184b1b7438d38871f87bf6ba03152b66ded769e171b37b84724e99",
        "7edecade007f66d3449da2a1416d88ffa705d56fcdb4ed0bfffea39ebb40cf56",
        "4435fe3d78e68f7a1d5a50a0176cded78de0f64c3295b4880a4a26a46fae15a5",
    ];
    let migrator = migrations::all();
    let files =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    assert_eq!(files.count(), migrator.iter().count(), "every file is a migration");
    let texts = migrator.iter().map(|migration| Sha256::new_with_prefix(migration.sql.as_str()));
    let texts: Vec<String> = texts.map(|hash| hexadecimal(&hash.finalize())).collect();
    assert_eq!(texts, taken);
}

#[tokio::test]
async fn the_write_ahead_log_is_cut_after_a_long_reader_and_emptied_at_the_end() {
    let TestStore { store, database } = test_store().await;
    let log = database.0.path().join("edgepass.db-wal");
    let size = || std::fs::metadata(&log).map_or(0, |log| log.len());
    let entry = |number: u64| AuditEntry {
        at_ms: number,
        actor: "cli:test".into(),
        policy: None,
        act: Act::TokenRevoked { jwt_id: "a".into(), reason: "x".repeat(60_000), report: None },
    };
    let write = async |number| {
        store
            .writer
            .write(async |connection| audit::append(connection, &entry(number)).await)
            .await
            .unwrap();
    };
    let mut reader = store.readers.begin().await.unwrap();
    sqlx::query("SELECT * FROM audit").fetch_all(&mut *reader).await.unwrap();
    for number in 0..200 {
        write(number).await;
    }
    assert!(size() > 12_000_000, "the reader keeps the log: {}", size());
    reader.rollback().await.unwrap();
    for number in 0..3 {
        write(number).await;
    }
    assert!(size() <= 8_388_608 + 200_000, "{}", size());
    store.close().await;
    assert_eq!(size(), 0);
    let file = database.path();
    let copy = database.0.path().join("copy.db");
    std::fs::copy(file, &copy).unwrap();
    let copy = SqliteStore::open(&copy, false, now).await.unwrap();
    assert_eq!(copy.audit(0, Page::first(true, 1000)).await.unwrap().len(), 203);
}
