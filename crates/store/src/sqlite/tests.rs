use std::collections::HashSet;

use edgepass_issuer::audit::Act;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::signing_key::SigningAlgorithm;
use edgepass_issuer::status_act::perform;
use edgepass_issuer::status_index::ExpiryWindow;
use edgepass_issuer::storage::StatusSlot;
use edgepass_issuer::token_facts::TokenFacts;
use edgepass_issuer::used_id::{IdKind, UsedId};
use edgepass_status_list::{Bits, StatusType};
use edgepass_verify::UnixMillis;
use sha2::{Digest, Sha256};
use sqlx::{QueryBuilder, Sqlite};

use super::*;

pub(super) fn now() -> UnixMillis {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap())
}

pub(super) struct TestStore {
    pub(super) store: SqliteStore,
    pub(super) _folder: tempfile::TempDir,
}

pub(super) async fn test_store() -> TestStore {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("edgepass.db"), true, now).await.unwrap();
    TestStore { store, _folder: folder }
}

pub(super) fn token(jwt_id: &str) -> NewToken {
    let facts = TokenFacts {
        jwt_id: jwt_id.into(),
        role: "reader".into(),
        client_id: "c".into(),
        subject: "c".into(),
        audience: "a".into(),
        scope: "a:read".into(),
        key_id: "k".into(),
        created_by: "cli:test".into(),
        policy: None,
        agreement: None,
        parent: None,
        confirmation: None,
        issued_at: 100,
        expiration: 700,
    };
    let window = ExpiryWindow::of(700, 3600);
    NewToken {
        facts,
        list: NewList { window, capacity: 1 << 17, bits: Bits::Two, secret: [7; 32] },
        actor: None,
        once: Vec::new(),
        replaces: None,
    }
}

pub(super) fn of_role(role: &str, jwt_id: &str) -> NewToken {
    let mut token = token(jwt_id);
    token.facts.role = role.into();
    token
}

pub(super) async fn issue(store: &SqliteStore, token: &NewToken) -> StatusSlot {
    let jwt_id = &token.facts.jwt_id;
    match store.record_issue(token, &entry(jwt_id)).await.unwrap() {
        Recorded::At(slot) => slot,
        other => panic!("{jwt_id}: {other:?}"),
    }
}

pub(super) fn act(change: StatusChange, selection: Selection) -> NewAct {
    let (reason, actor) = ("why".into(), "cli:test".into());
    NewAct { change, selection, reason, actor, policy: 1, report: None, at: UnixMillis(200_000) }
}

fn named(jwt_id: &str) -> Selection {
    Selection::JwtIds(vec![jwt_id.into()])
}

pub(super) fn role(role: &str) -> Selection {
    Selection::Fitting(Filter { role: Some(role.into()), ..Filter::default() })
}

async fn status(store: &SqliteStore, jwt_id: &str) -> StatusType {
    store.token(jwt_id).await.unwrap().unwrap().status
}

pub(super) fn entry(jwt_id: &str) -> AuditEntry {
    let act = Act::TokenRevoked { jwt_id: jwt_id.into(), reason: "test".into(), report: None };
    AuditEntry { at_ms: 1, actor: "cli:test".into(), policy: None, act }
}

/// A token that is exchanged for the token `parent`.
pub(super) fn child(parent: &str, jwt_id: &str) -> NewToken {
    let mut token = of_role("exchanged", jwt_id);
    token.facts.parent = Some(parent.into());
    token
}

#[tokio::test]
async fn a_token_goes_the_way_of_those_that_it_was_exchanged_from() {
    let TestStore { store, _folder } = test_store().await;
    for token in [token("a"), child("a", "b"), child("b", "c"), token("x"), child("x", "y")] {
        issue(&store, &token).await;
    }
    let statuses = async || {
        let mut all = String::new();
        for jwt_id in ["a", "b", "c", "x", "y"] {
            all.push_str(&status(&store, jwt_id).await.number().to_string());
        }
        all
    };
    perform(&store, &act(StatusChange::Suspend, named("b"))).await.unwrap();
    assert_eq!(statuses().await, "02200");
    // The child of a suspended token stays suspended, also by a rule that it fits itself.
    perform(&store, &act(StatusChange::Resume, named("c"))).await.unwrap();
    assert_eq!(statuses().await, "02200");
    perform(&store, &act(StatusChange::Suspend, named("a"))).await.unwrap();
    assert_eq!(statuses().await, "22200");
    // What was suspended for its own reason is not resumed with its parent.
    perform(&store, &act(StatusChange::Resume, named("a"))).await.unwrap();
    assert_eq!(statuses().await, "02200");
    perform(&store, &act(StatusChange::Resume, role("exchanged"))).await.unwrap();
    assert_eq!(statuses().await, "00000");
    let revoked = perform(&store, &act(StatusChange::Revoke, named("a"))).await.unwrap().unwrap();
    assert_eq!((revoked.count, statuses().await.as_str()), (3, "11100"));
    // By a rule that the token itself does not fit.
    let plan = store.plan_act(&act(StatusChange::Revoke, role("reader"))).await.unwrap();
    assert_eq!(plan.count, 2);
    perform(&store, &act(StatusChange::Revoke, role("reader"))).await.unwrap();
    assert_eq!(statuses().await, "11111");
}

#[tokio::test]
async fn a_token_is_exchanged_only_while_it_is_valid_and_for_no_longer_time() {
    let TestStore { store, _folder } = test_store().await;
    let record = async |token: NewToken| {
        store.record_issue(&token, &entry(&token.facts.jwt_id)).await.unwrap()
    };
    assert_eq!(record(child("nobody", "a")).await, Recorded::NotChild);
    issue(&store, &token("a")).await;
    let mut longer = child("a", "b");
    longer.facts.expiration = 701;
    assert_eq!(record(longer).await, Recorded::NotChild);
    let mut parent = "a".to_owned();
    for depth in 0..8 {
        let jwt_id = format!("c{depth}");
        issue(&store, &child(&parent, &jwt_id)).await;
        parent = jwt_id;
    }
    assert_eq!(record(child(&parent, "too-deep")).await, Recorded::NotChild);
    perform(&store, &act(StatusChange::Suspend, named("c3"))).await.unwrap();
    for (parent, expected) in [("c2", true), ("c3", false), ("c7", false)] {
        let recorded = record(child(parent, &format!("of-{parent}"))).await;
        assert_eq!(matches!(recorded, Recorded::At(_)), expected, "{parent}: {recorded:?}");
    }
    // The actor's token must be valid as well, and takes what it helped to obtain with it.
    for name in ["subject", "actor"] {
        issue(&store, &token(name)).await;
    }
    let acting = |jwt_id: &str, actor: &str| NewToken {
        actor: Some(actor.into()),
        ..child("subject", jwt_id)
    };
    assert_eq!(record(acting("n", "nobody")).await, Recorded::NotChild);
    issue(&store, &acting("by-actor", "actor")).await;
    perform(&store, &act(StatusChange::Revoke, named("actor"))).await.unwrap();
    assert_eq!(status(&store, "by-actor").await, StatusType::Invalid);
    assert_eq!(status(&store, "subject").await, StatusType::Valid);
    assert_eq!(record(acting("o", "actor")).await, Recorded::NotChild);
    // While an act by a rule is under way, nothing is exchanged for what it selects.
    issue(&store, &token("z")).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    store.record_act(&revoke, plan).await.unwrap().unwrap();
    let at = AuditEntry { at_ms: now().0, ..entry("of-z") };
    let recorded = store.record_issue(&child("z", "of-z"), &at).await.unwrap();
    assert!(matches!(recorded, Recorded::NotChild | Recorded::Blocked), "{recorded:?}");
}

#[tokio::test]
async fn an_identifier_is_used_once_and_a_refused_token_uses_none() {
    let TestStore { store, _folder } = test_store().await;
    let id = |name: &str| UsedId::new(IdKind::Proof, &[name], 200);
    let with = |jwt_id: &str, ids: &[&str]| {
        let once = ids.iter().map(|name| id(name)).collect();
        NewToken { once, ..token(jwt_id) }
    };
    let record = async |token: NewToken, at: u64| {
        let entry = AuditEntry { at_ms: at * 1000, ..entry(&token.facts.jwt_id) };
        store.record_issue(&token, &entry).await.unwrap()
    };
    assert!(matches!(record(with("a", &["1", "2"]), 100).await, Recorded::At(_)));
    assert_eq!(record(with("b", &["3", "2"]), 100).await, Recorded::Used(IdKind::Proof));
    // The transaction was given up as a whole: 3 is unused.
    assert!(matches!(record(with("c", &["3"]), 100).await, Recorded::At(_)));
    assert!(!store.use_once(id("3"), 100).await.unwrap());
    assert!(store.use_once(id("4"), 199).await.unwrap());
    assert!(store.use_once(id("1"), 200).await.unwrap(), "its first use is over");
}

#[tokio::test]
async fn no_index_is_given_twice_and_every_act_has_its_entry() {
    let TestStore { store, _folder } = test_store().await;
    let mut slots = HashSet::new();
    for number in 0..50 {
        let jwt_id = format!("t{number}");
        let slot = issue(&store, &token(&jwt_id)).await;
        assert!(slots.insert((slot.list_id, slot.index)));
    }
    assert_eq!(
        store.tokens(&TokenFilter::default(), Page::first(true, 10_000)).await.unwrap().len(),
        50
    );
    assert_eq!(store.audit(0, Page::first(false, 10_000)).await.unwrap().len(), 50);
}

#[tokio::test]
async fn a_refused_record_leaves_no_trace() {
    let TestStore { store, _folder } = test_store().await;
    store.record_issue(&token("t"), &entry("t")).await.unwrap();
    assert!(store.record_issue(&token("t"), &entry("t")).await.is_err());
    assert_eq!(store.audit(0, Page::first(false, 10_000)).await.unwrap().len(), 1);
    assert_eq!(
        store.tokens(&TokenFilter::default(), Page::first(true, 10_000)).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_full_list_is_followed_by_another() {
    let TestStore { store, _folder } = test_store().await;
    let first = issue(&store, &token("t0")).await;
    sqlx::query("UPDATE status_lists SET next_counter = capacity")
        .execute(&store.writer.pool)
        .await
        .unwrap();
    let second = issue(&store, &token("t1")).await;
    assert_ne!(first.list_id, second.list_id);
    assert_eq!(store.lists(0).await.unwrap().len(), 2);
    assert_eq!(store.lists(1200).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_revocation_is_one_change_however_often_it_is_repeated() {
    let TestStore { store, _folder } = test_store().await;
    let slot = issue(&store, &token("t")).await;
    let revoke = act(StatusChange::Revoke, named("t"));
    let first = perform(&store, &revoke).await.unwrap().unwrap();
    assert_eq!((first.count, store.lists(0).await.unwrap()[0].changes), (1, 1));
    assert_eq!(perform(&store, &revoke).await.unwrap(), None);
    let other = act(StatusChange::Revoke, named("other"));
    assert_eq!(perform(&store, &other).await.unwrap(), None);
    assert_eq!(store.audit(0, Page::first(false, 10_000)).await.unwrap().len(), 2);

    let edition = store.next_edition(&slot.list_id, 500).await.unwrap();
    assert_eq!((edition.number, edition.changes, edition.issued_at), (1, 1, 500));
    assert_eq!(edition.statuses, [(slot.index as u32, StatusType::Invalid)]);
    // The clock was set back: `iat` stays.
    let next = store.next_edition(&slot.list_id, 400).await.unwrap();
    assert_eq!((next.number, next.issued_at), (2, 500));
    store.mark_published(&slot.list_id, 1).await.unwrap();
    store.mark_published(&slot.list_id, 0).await.unwrap();
    assert_eq!(store.lists(0).await.unwrap()[0].published, 1);
}

#[tokio::test]
async fn an_act_changes_the_selected_live_tokens_and_no_others() {
    let TestStore { store, _folder } = test_store().await;
    let mut expired = of_role("writer", "expired");
    // The act is at 200 s. 300 s before that, the longest leeway, is 0 for an unsigned number, so
    // `exp` 0 counts as accepted by no verifier.
    expired.facts.expiration = 0;
    let tokens = [of_role("writer", "a"), of_role("reader", "b"), of_role("writer", "c"), expired];
    for token in &tokens {
        issue(&store, token).await;
    }
    let revoke = act(StatusChange::Revoke, role("writer"));
    let plan = store.plan_act(&revoke).await.unwrap();
    assert_eq!((plan.count, plan.roles["writer"], plan.roles.len()), (2, 2, 1));
    assert_eq!(status(&store, "a").await, StatusType::Valid);
    assert_eq!(perform(&store, &revoke).await.unwrap().unwrap().count, 2);
    for (jwt_id, expected) in [
        ("a", StatusType::Invalid),
        ("b", StatusType::Valid),
        ("c", StatusType::Invalid),
        ("expired", StatusType::Valid),
    ] {
        assert_eq!(status(&store, jwt_id).await, expected, "{jwt_id}");
    }
    let digest: String =
        Sha256::digest("a\nc\n").iter().map(|byte| format!("{byte:02x}")).collect();
    let trail = store.audit(0, Page::first(false, 10_000)).await.unwrap();
    let Act::StatusesChanged { count: 2, digest: written, .. } = &trail[4].1.act else {
        panic!("{trail:?}")
    };
    assert_eq!((trail.len(), *written == digest), (5, true));
}

#[tokio::test]
async fn a_suspended_token_can_be_resumed_and_a_revoked_one_cannot() {
    let TestStore { store, _folder } = test_store().await;
    for jwt_id in ["a", "b"] {
        issue(&store, &token(jwt_id)).await;
    }
    let all = || role("reader");
    for (change, selection, a, b) in [
        (StatusChange::Suspend, all(), StatusType::Suspended, StatusType::Suspended),
        (StatusChange::Revoke, named("a"), StatusType::Invalid, StatusType::Suspended),
        (StatusChange::Resume, all(), StatusType::Invalid, StatusType::Valid),
        (StatusChange::Suspend, named("a"), StatusType::Invalid, StatusType::Valid),
        (StatusChange::Resume, all(), StatusType::Invalid, StatusType::Valid),
    ] {
        perform(&store, &act(change, selection)).await.unwrap();
        assert_eq!((status(&store, "a").await, status(&store, "b").await), (a, b), "{change:?}");
    }
    let edition = store.next_edition(&store.lists(0).await.unwrap()[0].id, 500).await.unwrap();
    assert_eq!((edition.bits, edition.resumes, edition.statuses.len()), (Bits::Two, 1, 1));
}

#[tokio::test]
async fn lists_of_one_bit_hold_no_suspension() {
    let TestStore { store, _folder } = test_store().await;
    let mut one_bit = token("a");
    one_bit.list.bits = Bits::One;
    let (first, second) = (issue(&store, &one_bit).await, issue(&store, &token("b")).await);
    assert_ne!(first.list_id, second.list_id);
    let refused = perform(&store, &act(StatusChange::Suspend, role("reader"))).await.unwrap_err();
    assert!(refused.to_string().starts_with("1 of the tokens"), "{refused}");
    assert_eq!(status(&store, "b").await, StatusType::Valid);
}

#[tokio::test]
async fn no_token_like_the_selected_is_issued_before_the_act_ends() {
    let TestStore { store, _folder } = test_store().await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let recorded = perform(&store, &revoke).await.unwrap().unwrap();
    let at = |at_ms| AuditEntry { at_ms, ..entry("t") };
    let now = || now().0;
    let reader = token("t");
    assert_eq!(store.record_issue(&reader, &at(now())).await.unwrap(), Recorded::Blocked);
    issue(&store, &of_role("writer", "other")).await;
    // The block expires by itself, since the process that acts may be killed.
    let later = store.record_issue(&reader, &at(now() + 10_001)).await.unwrap();
    assert!(matches!(later, Recorded::At(_)));
    assert!(store.end_act(recorded.id).await.unwrap());
    // The block outlasts the end of the act by one second.
    let reader = token("t2");
    assert_eq!(store.record_issue(&reader, &at(now())).await.unwrap(), Recorded::Blocked);
    let later = store.record_issue(&reader, &at(now() + 1_001)).await.unwrap();
    assert!(matches!(later, Recorded::At(_)));

    // `false` for an act that took longer than its block.
    let again = perform(&store, &revoke).await.unwrap().unwrap();
    let over = "UPDATE status_acts SET blocks_until_ms = 1 WHERE id = $1";
    sqlx::query(over).bind(again.id as i64).execute(&store.writer.pool).await.unwrap();
    assert!(!store.end_act(again.id).await.unwrap());
}

#[tokio::test]
async fn looking_for_acts_under_way_reads_no_others() {
    let TestStore { store, _folder } = test_store().await;
    let mut plan = QueryBuilder::<Sqlite>::new("EXPLAIN QUERY PLAN ");
    let plan = plan.push(issue::BLOCKING_ACTS).build().bind(1_i64);
    let plan: String = plan.fetch_one(&store.readers).await.unwrap().get("detail");
    assert!(plan.contains("USING INDEX status_acts_blocking"), "{plan}");
}

#[tokio::test]
async fn a_token_within_the_leeway_of_verifiers_can_be_revoked() {
    let TestStore { store, _folder } = test_store().await;
    for (jwt_id, expiration) in [("lately", 195), ("leeway", 500 - 300 + 1), ("over", 500 - 300)] {
        let mut token = token(jwt_id);
        token.facts.expiration = expiration;
        issue(&store, &token).await;
    }
    let revoke = NewAct { at: UnixMillis(500_000), ..act(StatusChange::Revoke, role("reader")) };
    assert_eq!(perform(&store, &revoke).await.unwrap().unwrap().count, 1);
    assert_eq!(status(&store, "leeway").await, StatusType::Invalid);
    assert_eq!(status(&store, "over").await, StatusType::Valid);
}

#[tokio::test]
async fn an_act_is_planned_again_when_another_is_not_carried_out_yet() {
    let TestStore { store, _folder } = test_store().await;
    many(&store, 25_000).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    store.record_act(&revoke, plan).await.unwrap().unwrap();
    // This plan is made after the first act was recorded, before it is carried out.
    let plan = store.plan_act(&revoke).await.unwrap();
    assert_eq!(store.record_act(&revoke, plan).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_in_a_list_of_one_bit_is_not_suspended_by_an_act_planned_before() {
    let TestStore { store, _folder } = test_store().await;
    issue(&store, &token("a")).await;
    let suspend = act(StatusChange::Suspend, role("reader"));
    let plan = store.plan_act(&suspend).await.unwrap();
    let mut one_bit = token("b");
    one_bit.list.bits = Bits::One;
    issue(&store, &one_bit).await;
    assert_eq!(store.record_act(&suspend, plan).await.unwrap(), None);
}

#[tokio::test]
async fn an_act_that_was_interrupted_is_finished_by_whoever_looks_next() {
    let TestStore { store, _folder } = test_store().await;
    many(&store, 25_000).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    assert_eq!(store.record_act(&revoke, plan).await.unwrap().unwrap().count, 25_000);
    assert!(store.continue_acts().await.unwrap());
    // Each step renews the block on issuing.
    let row = sqlx::query("SELECT blocks_until_ms > $1 AS held FROM status_acts");
    let row = row.bind(rows::signed(now().0));
    assert!(row.fetch_one(&store.readers).await.unwrap().get::<bool, _>("held"));
    // A second process takes over. A later act finishes the earlier one first.
    let other = SqliteStore::open(&_folder.path().join("edgepass.db"), false, now).await.unwrap();
    assert_eq!(invalid(&other).await, 10_000);
    perform(&other, &act(StatusChange::Resume, role("reader"))).await.unwrap();
    assert_eq!(invalid(&other).await, 25_000);
}

#[tokio::test]
async fn lists_are_due_when_an_act_is_finished() {
    let TestStore { store, _folder } = test_store().await;
    many(&store, 25_000).await;
    let due = async || store.lists(0).await.unwrap().iter().map(|list| list.changes).sum::<u64>();
    perform(&store, &act(StatusChange::Revoke, named("t1"))).await.unwrap();
    let before = due().await;
    assert!(before > 0);
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    store.record_act(&revoke, plan).await.unwrap().unwrap();
    assert!(store.continue_acts().await.unwrap(), "there is more to do");
    assert_eq!(due().await, before);
    while store.continue_acts().await.unwrap() {}
    assert!(due().await > before);
}

#[tokio::test]
async fn every_token_issued_before_the_act_returned_is_covered() {
    let TestStore { store, _folder } = test_store().await;
    many(&store, 30_000).await;
    let store = std::sync::Arc::new(store);
    let issuing = std::sync::Arc::clone(&store);
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let issuer = tokio::spawn(async move {
        let (mut issued, mut blocked) = (Vec::new(), 0);
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let jwt_id = format!("new{}", issued.len() + blocked);
            let at = AuditEntry { at_ms: 200_001, ..entry(&jwt_id) };
            match issuing.record_issue(&token(&jwt_id), &at).await.unwrap() {
                Recorded::At(_) => issued.push(jwt_id),
                Recorded::Blocked => blocked += 1,
                other => panic!("{other:?}"),
            }
        }
        (issued, blocked)
    });
    while store.token("new5").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    perform(&*store, &act(StatusChange::Revoke, role("reader"))).await.unwrap().unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let (issued, blocked) = issuer.await.unwrap();
    assert!(issued.len() > 5 && blocked > 0, "{} issued, {blocked} blocked", issued.len());
    for jwt_id in issued {
        assert_eq!(status(&store, &jwt_id).await, StatusType::Invalid, "{jwt_id}");
    }
}

#[tokio::test]
async fn another_act_in_between_makes_a_plan_worthless() {
    let TestStore { store, _folder } = test_store().await;
    issue(&store, &token("a")).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    perform(&store, &act(StatusChange::Revoke, named("a"))).await.unwrap();
    assert_eq!(store.record_act(&revoke, plan).await.unwrap(), None);
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

/// Inserts `count` live tokens of one role.
async fn many(store: &SqliteStore, count: u32) {
    issue(store, &token("first")).await;
    let insert = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1) \
                  INSERT INTO tokens (jwt_id, role, client_id, subject, audience, scope, key_id, \
                  created_by, issued_at, expiration, list_id, list_index) \
                  SELECT 't' || i, 'reader', 'c', 'c', 'a', '', 'k', 'x', 100, 700, '1200-0', i + 200000 FROM n";
    sqlx::query(insert).bind(count).execute(&store.writer.pool).await.unwrap();
}

async fn invalid(store: &SqliteStore) -> i64 {
    let count = "SELECT count(*) FROM tokens WHERE status = 1";
    sqlx::query(count).fetch_one(&store.readers).await.unwrap().get(0)
}

#[tokio::test]
async fn the_audit_trail_cannot_be_changed() {
    let TestStore { store, _folder } = test_store().await;
    store.record_issue(&token("t"), &entry("t")).await.unwrap();
    for statement in [
        "UPDATE audit SET leaf = 'x'",
        "UPDATE audit SET private = 'x'",
        "UPDATE audit SET at_ms = 1",
        "DELETE FROM audit",
    ] {
        let error = sqlx::query(statement).execute(&store.writer.pool).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn the_version_moves_with_another_process_commit() {
    let TestStore { store, _folder } = test_store().await;
    let other = SqliteStore::open(&_folder.path().join("edgepass.db"), false, now).await.unwrap();
    let before = store.version().await.unwrap();
    assert_eq!(store.version().await.unwrap(), before);
    other.record_issue(&token("t"), &entry("t")).await.unwrap();
    assert_ne!(store.version().await.unwrap(), before);
}

#[tokio::test]
async fn commits_are_synchronous() {
    let TestStore { store, _folder } = test_store().await;
    let row = sqlx::query("PRAGMA synchronous").fetch_one(&store.writer.pool).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 2); // FULL
}

#[tokio::test]
async fn after_a_full_disk_the_next_act_is_recorded() {
    let TestStore { store, _folder } = test_store().await;
    issue(&store, &token("before")).await;
    // SQLite treats its own size limit like a full disk. The limit holds for one connection.
    sqlx::query("PRAGMA max_page_count = 1").execute(&store.writer.pool).await.unwrap();
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

#[tokio::test]
async fn records_go_after_their_tokens_have_expired_and_the_audit_trail_stays() {
    let TestStore { store, _folder } = test_store().await;
    // Every third token lives longer.
    for number in 0..30 {
        let mut token = token(&format!("t{number}"));
        token.facts.expiration = if number % 3 == 0 { 900 } else { 700 };
        issue(&store, &token).await;
    }
    issue(&store, &child("t0", "child")).await;
    let left =
        async || store.tokens(&TokenFilter::default(), Page::first(false, 100)).await.unwrap();
    assert_eq!(store.forget_tokens(700, 100).await.unwrap(), 0, "one expires at 700");
    assert_eq!(store.forget_tokens(701, 10).await.unwrap(), 6, "of the ten oldest");
    assert_eq!(store.forget_tokens(701, 100).await.unwrap(), 14);
    assert_eq!((left().await.len(), store.forget_tokens(701, 100).await.unwrap()), (11, 0));
    assert_eq!(store.forget_tokens(5000, 100).await.unwrap(), 10);
    // The newest stays, so that positions go on rising.
    let last = left().await.pop().unwrap();
    assert_eq!((last.facts.jwt_id.as_str(), left().await.len()), ("child", 1));
    let slot = issue(&store, &token("t0")).await;
    assert!(left().await.last().unwrap().seq > last.seq, "{slot:?}");
    assert_eq!(store.forget_tokens(5000, 100).await.unwrap(), 1);
    let ancestors = sqlx::query("SELECT * FROM ancestors").fetch_all(&store.readers).await.unwrap();
    assert!(ancestors.is_empty());
    assert_eq!(store.audit(0, Page::first(false, 100)).await.unwrap().len(), 32);
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
    ];
    let migrator = migrations::all();
    let files =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite")).unwrap();
    assert_eq!(files.count(), migrator.iter().count(), "every file is a migration");
    let texts = migrator.iter().map(|migration| Sha256::new_with_prefix(migration.sql.as_str()));
    let texts: Vec<String> = texts.map(super::acts::hexadecimal).collect();
    assert_eq!(texts, taken);
}

#[tokio::test]
async fn the_write_ahead_log_is_cut_after_a_long_reader_and_emptied_at_the_end() {
    let TestStore { store, _folder: folder } = test_store().await;
    let log = folder.path().join("edgepass.db-wal");
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
    let file = folder.path().join("edgepass.db");
    let copy = folder.path().join("copy.db");
    std::fs::copy(file, &copy).unwrap();
    let copy = SqliteStore::open(&copy, false, now).await.unwrap();
    assert_eq!(copy.audit(0, Page::first(true, 1000)).await.unwrap().len(), 203);
}
