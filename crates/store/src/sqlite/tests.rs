use std::collections::HashSet;

use edgepass_issuer::audit::Act;
use edgepass_issuer::status_index::ExpiryWindow;
use edgepass_issuer::storage::TokenFacts;

use super::*;

struct Fresh {
    store: SqliteStore,
    _folder: tempfile::TempDir,
}

async fn fresh() -> Fresh {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("edgepass.db"), true).await.unwrap();
    Fresh { store, _folder: folder }
}

fn token(jwt_id: &str) -> NewToken {
    let facts = TokenFacts {
        jwt_id: jwt_id.into(),
        role: "reader".into(),
        client_id: "c".into(),
        subject: "c".into(),
        audience: "a".into(),
        scope: "a:read".into(),
        created_by: "cli:test".into(),
        issued_at: 100,
        expiration: 700,
    };
    NewToken { facts, window: ExpiryWindow::of(700, 3600), list_secret: [7; 32] }
}

fn entry(jwt_id: &str) -> AuditEntry {
    let act = Act::TokenRevoked { jwt_id: jwt_id.into(), reason: "test".into() };
    AuditEntry { at_ms: 1, actor: "cli:test".into(), act }
}

#[tokio::test]
async fn no_index_is_given_twice_and_every_act_has_its_entry() {
    let Fresh { store, _folder } = fresh().await;
    let mut slots = HashSet::new();
    for number in 0..50 {
        let jwt_id = format!("t{number}");
        let slot = store.record_issue(&token(&jwt_id), &entry(&jwt_id)).await.unwrap();
        assert!(slots.insert((slot.list_id, slot.index)));
    }
    assert_eq!(store.tokens(&TokenFilter::default()).await.unwrap().len(), 50);
    assert_eq!(store.audit().await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_refused_record_leaves_no_trace() {
    let Fresh { store, _folder } = fresh().await;
    store.record_issue(&token("t"), &entry("t")).await.unwrap();
    assert!(store.record_issue(&token("t"), &entry("t")).await.is_err());
    assert_eq!(store.audit().await.unwrap().len(), 1);
    assert_eq!(store.tokens(&TokenFilter::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_list_is_followed_by_another() {
    let Fresh { store, _folder } = fresh().await;
    let first = store.record_issue(&token("t0"), &entry("t0")).await.unwrap();
    sqlx::query("UPDATE status_lists SET next_counter = capacity")
        .execute(&store.writer)
        .await
        .unwrap();
    let second = store.record_issue(&token("t1"), &entry("t1")).await.unwrap();
    assert_ne!(first.list_id, second.list_id);
    assert_eq!(store.lists(0).await.unwrap().len(), 2);
    assert_eq!(store.lists(1200).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_revocation_is_one_change_however_often_it_is_repeated() {
    let Fresh { store, _folder } = fresh().await;
    let slot = store.record_issue(&token("t"), &entry("t")).await.unwrap();
    let first = store.record_revocation("t", "why", &entry("t")).await.unwrap().unwrap();
    assert_eq!((first.change, first.already), (1, false));
    let again = store.record_revocation("t", "why", &entry("t")).await.unwrap().unwrap();
    assert_eq!((again.change, again.already), (1, true));
    assert_eq!(store.record_revocation("other", "why", &entry("other")).await.unwrap(), None);
    assert_eq!(store.audit().await.unwrap().len(), 2);

    let edition = store.next_edition(&slot.list_id, 500).await.unwrap();
    assert_eq!((edition.number, edition.changes, edition.issued_at), (1, 1, 500));
    assert_eq!(edition.revoked.iter().map(|i| u64::from(*i)).collect::<Vec<_>>(), [slot.index]);
    // The clock ran backwards: `iat` does not.
    let next = store.next_edition(&slot.list_id, 400).await.unwrap();
    assert_eq!((next.number, next.issued_at), (2, 500));
    store.mark_published(&slot.list_id, 1).await.unwrap();
    store.mark_published(&slot.list_id, 0).await.unwrap();
    assert_eq!(store.lists(0).await.unwrap()[0].published, 1);
}

#[tokio::test]
async fn the_audit_trail_cannot_be_changed() {
    let Fresh { store, _folder } = fresh().await;
    store.record_issue(&token("t"), &entry("t")).await.unwrap();
    for statement in ["UPDATE audit SET actor = 'x'", "DELETE FROM audit"] {
        let error = sqlx::query(statement).execute(&store.writer).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn the_version_moves_with_another_process_commit() {
    let Fresh { store, _folder } = fresh().await;
    let other = SqliteStore::open(&_folder.path().join("edgepass.db"), false).await.unwrap();
    let before = store.version().await.unwrap();
    assert_eq!(store.version().await.unwrap(), before);
    other.record_issue(&token("t"), &entry("t")).await.unwrap();
    assert_ne!(store.version().await.unwrap(), before);
}

#[tokio::test]
async fn commits_are_synchronous() {
    let Fresh { store, _folder } = fresh().await;
    let row = sqlx::query("PRAGMA synchronous").fetch_one(&store.writer).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 2); // FULL
}
