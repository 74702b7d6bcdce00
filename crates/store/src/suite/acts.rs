//! Acts on statuses.

use edgepass_issuer::audit::{Act, AuditEntry};
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::selection::StatusChange;
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{ActStore, AuditStore, ListStore, Page, Recorded, TokenStore};
use edgepass_status_list::{Bits, StatusType};
use edgepass_verify::UnixMillis;
use sha2::{Digest, Sha256};

use super::{
    Database, TestStore, act, child, entry, issue, named, now, of_role, role, status, test_store,
    token,
};
use crate::rows;

pub(crate) async fn a_token_goes_the_way_of_those_that_it_was_exchanged_from<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn who_did_what_to_whom_is_erased_once_the_act_is_finished<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    issue(&store, &token("t")).await;
    let mut by_role = act(StatusChange::Revoke, role("reader"));
    by_role.actor = "cli:ada".into();
    let named = async || {
        let text = "SELECT count(*) FROM status_acts WHERE actor = 'cli:ada' AND reason <> '' \
                    AND selection LIKE '%reader%'";
        database.number(text).await
    };
    perform(&store, &by_role).await.unwrap();
    store.forget_erased().await.unwrap();
    assert_eq!(named().await, 1, "it still blocks the issuing of such tokens");
    database.execute("UPDATE status_acts SET blocks_until_ms = 1").await.unwrap();
    store.forget_erased().await.unwrap();
    assert_eq!(named().await, 0);
    issue(&store, &token("later")).await;
    perform(&store, &by_role).await.unwrap();
    assert_eq!(status(&store, "later").await, StatusType::Invalid);
}

pub(crate) async fn a_revocation_is_one_change_however_often_it_is_repeated<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn an_act_changes_the_selected_live_tokens_and_no_others<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn a_suspended_token_can_be_resumed_and_a_revoked_one_cannot<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn lists_of_one_bit_hold_no_suspension<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    let mut one_bit = token("a");
    one_bit.list.bits = Bits::One;
    let (first, second) = (issue(&store, &one_bit).await, issue(&store, &token("b")).await);
    assert_ne!(first.list_id, second.list_id);
    let refused = perform(&store, &act(StatusChange::Suspend, role("reader"))).await.unwrap_err();
    assert!(refused.to_string().starts_with("1 of the tokens"), "{refused}");
    assert_eq!(status(&store, "b").await, StatusType::Valid);
}

pub(crate) async fn no_token_like_the_selected_is_issued_before_the_act_ends<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
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
    let over = format!("UPDATE status_acts SET blocks_until_ms = 1 WHERE id = {}", again.id);
    database.execute(&over).await.unwrap();
    assert!(!store.end_act(again.id).await.unwrap());
}

pub(crate) async fn a_token_within_the_leeway_of_verifiers_can_be_revoked<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn an_act_is_planned_again_when_another_is_not_carried_out_yet<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    many(&database, &store, 25_000).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    store.record_act(&revoke, plan).await.unwrap().unwrap();
    // This plan is made after the first act was recorded, before it is carried out.
    let plan = store.plan_act(&revoke).await.unwrap();
    assert_eq!(store.record_act(&revoke, plan).await.unwrap(), None);
}

pub(crate) async fn a_token_in_a_list_of_one_bit_is_not_suspended_by_an_act_planned_before<
    D: Database,
>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("a")).await;
    let suspend = act(StatusChange::Suspend, role("reader"));
    let plan = store.plan_act(&suspend).await.unwrap();
    let mut one_bit = token("b");
    one_bit.list.bits = Bits::One;
    issue(&store, &one_bit).await;
    assert_eq!(store.record_act(&suspend, plan).await.unwrap(), None);
}

pub(crate) async fn an_act_that_was_interrupted_is_finished_by_whoever_looks_next<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    many(&database, &store, 25_000).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    assert_eq!(store.record_act(&revoke, plan).await.unwrap().unwrap().count, 25_000);
    assert!(store.continue_acts().await.unwrap());
    // Each step renews the block on issuing.
    let until = database.number("SELECT blocks_until_ms FROM status_acts").await;
    assert!(until > rows::signed(now().0));
    // A second process takes over. A later act finishes the earlier one first.
    let other = database.open().await;
    assert_eq!(invalid(&database).await, 10_000);
    perform(&other, &act(StatusChange::Resume, role("reader"))).await.unwrap();
    assert_eq!(invalid(&database).await, 25_000);
}

pub(crate) async fn lists_are_due_when_an_act_is_finished<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    many(&database, &store, 25_000).await;
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

pub(crate) async fn every_token_issued_before_the_act_returned_is_covered<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    many(&database, &store, 30_000).await;
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
        assert_eq!(status(&*store, &jwt_id).await, StatusType::Invalid, "{jwt_id}");
    }
}

pub(crate) async fn another_act_in_between_makes_a_plan_worthless<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("a")).await;
    let revoke = act(StatusChange::Revoke, role("reader"));
    let plan = store.plan_act(&revoke).await.unwrap();
    perform(&store, &act(StatusChange::Revoke, named("a"))).await.unwrap();
    assert_eq!(store.record_act(&revoke, plan).await.unwrap(), None);
}

/// Inserts `count` live tokens of one role.
async fn many<D: Database>(database: &D, store: &D::Store, count: u32) {
    issue(store, &token("first")).await;
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1) \
         INSERT INTO tokens (seq, jwt_id, role, client_id, subject, audience, scope, key_id, \
         created_by, issued_at, expiration, list_id, list_index) SELECT i + 1, 't' || i, 'reader', 'c', \
         'c', 'a', '', 'k', 'x', 100, 700, '1200-0', i + 200000 FROM n"
    );
    database.execute(&insert).await.unwrap();
}

async fn invalid(database: &impl Database) -> i64 {
    database.number("SELECT count(*) FROM tokens WHERE status = 1").await
}
