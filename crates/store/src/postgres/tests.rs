//! The suite of all storages, and what only a server has.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use edgepass_issuer::publish::document::Document;
use edgepass_issuer::publish::target::{Target, TargetError};
use edgepass_issuer::storage::{ListStore, LogStore, Recorded, StoreError, StoreState, TokenStore};
use edgepass_issuer::used_id::{IdKind, UsedId};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqlSafeStr, SqlStr};

use super::test_server;
use super::*;
use crate::suite::{self, Database, TestStore, entry, issue, now, token};

/// The number of the next schema.
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

fn url() -> PostgresUrl {
    PostgresUrl::parse(test_server::url()).expect("EDGEPASS_TEST_POSTGRES")
}

/// A schema of its own in the database of the test server.
pub(super) struct InSchema(String);

impl InSchema {
    async fn connection() -> PgConnection {
        PgConnection::connect_with(&url().options()).await.unwrap()
    }

    /// A whole transaction: a pooler may serve two statements by two connections.
    fn whole(&self, text: &str) -> SqlStr {
        let text = format!("BEGIN; SET LOCAL search_path TO {}; {text}; COMMIT", self.0);
        AssertSqlSafe(text).into_sql_str()
    }
}

impl Database for InSchema {
    type Store = PostgresStore;

    async fn make() -> Self {
        let number = SCHEMAS.fetch_add(1, Relaxed);
        Self(format!("test_{}_{number}", std::process::id()))
    }

    async fn open(&self) -> PostgresStore {
        PostgresStore::open(&url(), &self.0, true, now).await.unwrap()
    }

    async fn close(store: &PostgresStore) {
        store.close().await;
    }

    async fn execute(&self, text: &str) -> Result<(), sqlx::Error> {
        let text = sqlx::raw_sql(self.whole(text));
        text.execute(&mut Self::connection().await).await.map(|_| ())
    }

    async fn number(&self, text: &str) -> i64 {
        let text = sqlx::raw_sql(self.whole(text));
        text.fetch_one(&mut Self::connection().await).await.unwrap().get(0)
    }
}

suite::on!(InSchema);

#[tokio::test]
async fn a_change_that_writes_nothing_leaves_the_version_as_it_is() {
    let TestStore { store, database: _database } = suite::test_store::<InSchema>().await;
    let before = store.version().await.unwrap();
    assert!(store.is_writable().await);
    store.database.write(async |_| Ok(())).await.unwrap();
    store.mark_published("no list", 1).await.unwrap();
    assert_eq!(store.version().await.unwrap(), before);
    issue(&store, &token("t")).await;
    assert_eq!(store.version().await.unwrap(), before + 1);
}

#[tokio::test]
async fn one_process_leads_and_the_next_one_only_after_it() {
    let TestStore { store, database } = suite::test_store::<InSchema>().await;
    let other = database.open().await;
    assert!(store.lead("a").await.unwrap());
    assert!(store.lead("a").await.unwrap(), "renewed");
    assert!(!other.lead("b").await.unwrap());
    let list_id = issue(&store, &token("t")).await.list_id;
    assert_eq!(store.next_edition(&list_id, 1).await.unwrap().number, 1);
    // The lease ends without a word, as when the process hangs.
    database.execute("UPDATE lease SET expires_at_ms = 1").await.unwrap();
    assert!(store.next_edition(&list_id, 1).await.is_err(), "nothing is published without a lease");
    assert!(other.lead("b").await.unwrap());
    assert_eq!(other.next_edition(&list_id, 1).await.unwrap().number, 2);
    for late in
        [store.next_edition(&list_id, 1).await.map(|_| ()), store.mark_published(&list_id, 1).await]
    {
        assert!(matches!(late, Err(StoreError::Unavailable(_))), "{late:?}");
    }
    assert!(!store.lead("a").await.unwrap());
    // Issuing needs no lease.
    issue(&store, &token("u")).await;
    other.stop_leading().await.unwrap();
    assert!(store.lead("a").await.unwrap());
    assert_eq!(store.next_edition(&list_id, 1).await.unwrap().number, 3);
}

#[tokio::test]
async fn a_process_that_hangs_in_a_transaction_stops_the_others_for_seconds_only() {
    let TestStore { store, database } = suite::test_store::<InSchema>().await;
    let other = database.open().await;
    let hanging = store.database.write(async |_| {
        std::future::pending::<()>().await;
        Ok(())
    });
    let issued = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        other.record_issue(&token("t"), &entry("t")).await
    };
    tokio::select! {
        _ = hanging => panic!("it hangs"),
        recorded = issued => assert!(matches!(recorded, Ok(Recorded::At(_))), "{recorded:?}"),
    }
}

#[tokio::test]
async fn a_server_that_may_lose_commits_is_refused() {
    let TestStore { store: _store, database } = suite::test_store::<InSchema>().await;
    let url = url().with_options("synchronous_commit", "off");
    let refused = PostgresStore::open(&url, &database.0, false, now).await.err().unwrap();
    let StoreError::Unavailable(refused) = refused else { panic!("{refused:?}") };
    assert!(format!("{refused:?}").contains("NotDurable"), "{refused:?}");
}

#[tokio::test]
async fn a_schema_is_made_by_init_alone() {
    let refused = PostgresStore::open(&url(), "test_missing", false, now).await.err().unwrap();
    let StoreError::Unavailable(refused) = refused else { panic!("{refused:?}") };
    assert!(refused.to_string().contains("edgepass init --config"), "{refused}");
}

#[tokio::test]
async fn others_see_what_the_leader_publishes_and_nothing_that_comes_late() {
    let TestStore { store, database } = suite::test_store::<InSchema>().await;
    let other = database.open().await;
    assert!(store.lead("a").await.unwrap());
    let target = store.shared_documents();
    let document = |body: &str| Document::new("status/lists/1", "text/plain", body.to_owned());
    let first = target.write(&document("1"), None).await.unwrap();
    let conflict = target.write(&document("2"), None).await;
    assert!(matches!(conflict, Err(TargetError::Conflict)), "{conflict:?}");
    let second = target.write(&document("2"), Some(&first)).await.unwrap();
    // Whoever leads has to compare them with what was published before.
    assert!(other.documents(0).await.is_err());
    store.set_served(true).await.unwrap();
    assert!(store.lead("a").await.unwrap(), "renewed");
    let seen = other.documents(0).await.unwrap();
    assert_eq!(seen.documents, [("status/lists/1".to_owned(), "2".to_owned())]);
    assert_eq!(seen.serial, store.version().await.unwrap());
    assert!(other.documents(seen.serial).await.unwrap().documents.is_empty());
    database.execute("UPDATE lease SET expires_at_ms = 1").await.unwrap();
    assert!(other.lead("b").await.unwrap());
    let late = target.write(&document("late"), Some(&second)).await;
    assert!(matches!(late, Err(TargetError::Unavailable(_))), "{late:?}");
    let held = other.shared_documents().read("status/lists/1").await.unwrap().unwrap();
    assert_eq!((held.body.as_ref(), &held.version), (b"2".as_slice(), &second));
    // One that goes and comes again is seen again.
    other.shared_documents().remove("status/lists/1").await.unwrap();
    other.shared_documents().write(&document("3"), None).await.unwrap();
    assert!(store.documents(0).await.is_err() && store.set_served(true).await.is_err());
    other.set_served(true).await.unwrap();
    assert_eq!(store.documents(seen.serial).await.unwrap().documents.len(), 1);
    // The next leader continues what the one before served.
    other.stop_leading().await.unwrap();
    assert!(store.lead("a").await.unwrap());
    assert_eq!(other.documents(0).await.unwrap().documents.len(), 1);
    store.set_served(false).await.unwrap();
    assert!(other.documents(0).await.is_err());
}

#[tokio::test]
async fn places_have_no_gaps_and_rise_with_the_commits_of_all_processes() {
    let TestStore { store, database } = suite::test_store::<InSchema>().await;
    let stores = [store, database.open().await, database.open().await];
    let issuing = stores.iter().enumerate().map(async |(process, store)| {
        for number in 0..60 {
            issue(store, &token(&format!("{process}-{number}"))).await;
            // One that is refused gives its place back.
            let again = token(&format!("{process}-{number}"));
            assert!(store.record_issue(&again, &entry("again")).await.is_err());
        }
    });
    let watch = async {
        let (mut after, mut read) = (0, 0);
        while read < 180 {
            // Fails if a place is missing, also one that another process has not committed yet.
            let texts = stores[0].leaf_texts(after, 1000).await.unwrap();
            read += texts.len();
            after = u64::try_from(read).unwrap();
        }
    };
    tokio::join!(futures_util::future::join_all(issuing), watch);
    assert_eq!(database.number("SELECT max(seq) FROM audit").await, 180);
    assert_eq!(database.number("SELECT max(seq) FROM tokens").await, 180);
}

#[tokio::test]
async fn commits_of_other_processes_are_told_at_once() {
    let TestStore { store: other, database } = suite::test_store::<InSchema>().await;
    let url = format!("{}?listen=true", test_server::url());
    let url = PostgresUrl::parse(&url).unwrap();
    let store = PostgresStore::open(&url, &database.0, false, now).await.unwrap();
    let is_told = async || {
        tokio::time::timeout(std::time::Duration::from_secs(5), store.changed()).await.is_ok()
    };
    // Once the connection listens.
    while tokio::time::timeout(std::time::Duration::from_millis(50), store.changed()).await.is_err()
    {
        let name = format!("{:?}", std::time::SystemTime::UNIX_EPOCH.elapsed());
        other.use_once(UsedId::new(IdKind::Proof, &[&name], 200), 100).await.unwrap();
    }
    issue(&other, &token("t")).await;
    assert!(is_told().await);
}
