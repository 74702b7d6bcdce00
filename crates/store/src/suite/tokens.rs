//! Tokens, the identifiers that they use, and the audit trail.

use std::collections::HashSet;

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::selection::{Filter, Selection, StatusChange};
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{
    ActStore, AuditStore, ListStore, NewToken, Page, Recorded, StoreState, TokenFilter, TokenStore,
};
use edgepass_issuer::used_id::{IdKind, UsedId};
use edgepass_status_list::StatusType;

use super::{
    Database, TestStore, act, child, entry, issue, named, now, role, status, test_store, token,
};

pub(crate) async fn a_token_is_exchanged_only_while_it_is_valid_and_for_no_longer_time<
    D: Database,
>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn an_identifier_is_used_once_and_a_refused_token_uses_none<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn no_index_is_given_twice_and_every_act_has_its_entry<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
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

pub(crate) async fn a_refused_record_leaves_no_trace<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    store.record_issue(&token("t"), &entry("t")).await.unwrap();
    assert!(store.record_issue(&token("t"), &entry("t")).await.is_err());
    assert_eq!(store.audit(0, Page::first(false, 10_000)).await.unwrap().len(), 1);
    assert_eq!(
        store.tokens(&TokenFilter::default(), Page::first(true, 10_000)).await.unwrap().len(),
        1
    );
}

pub(crate) async fn a_full_list_is_followed_by_another<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    let first = issue(&store, &token("t0")).await;
    database.execute("UPDATE status_lists SET next_counter = capacity").await.unwrap();
    let second = issue(&store, &token("t1")).await;
    assert_ne!(first.list_id, second.list_id);
    assert_eq!(store.lists(0).await.unwrap().len(), 2);
    assert_eq!(store.lists(1200).await.unwrap().len(), 0);
}

pub(crate) async fn the_audit_trail_cannot_be_changed<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    store.record_issue(&token("t"), &entry("t")).await.unwrap();
    for statement in [
        "UPDATE audit SET leaf = 'x'",
        "UPDATE audit SET private = 'x'",
        "UPDATE audit SET at_ms = 1",
        "DELETE FROM audit",
    ] {
        let error = database.execute(statement).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

pub(crate) async fn the_version_moves_with_another_process_commit<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    let other = database.open().await;
    let before = store.version().await.unwrap();
    assert_eq!(store.version().await.unwrap(), before);
    other.record_issue(&token("t"), &entry("t")).await.unwrap();
    assert_ne!(store.version().await.unwrap(), before);
}

pub(crate) async fn records_go_after_their_tokens_have_expired_and_the_audit_trail_stays<
    D: Database,
>() {
    let TestStore { store, database } = test_store::<D>().await;
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
    assert_eq!(database.number("SELECT count(*) FROM ancestors").await, 0);
    assert_eq!(store.audit(0, Page::first(false, 100)).await.unwrap().len(), 32);
}

pub(crate) async fn an_agreement_is_used_until_its_tokens_are_revoked_or_expired<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    for (jwt_id, agreement) in [("1", Some("b")), ("2", Some("B")), ("3", None), ("4", Some("b"))] {
        let mut token = token(jwt_id);
        token.facts.agreement = agreement.map(str::to_owned);
        issue(&store, &token).await;
    }
    let (mut all, mut after) = (Vec::new(), String::new());
    while let Some(next) = store.agreement_after(&after).await.unwrap() {
        after.clone_from(&next);
        all.push(next);
    }
    assert_eq!(all, ["B", "b"]);
    let of = |agreement: &str| {
        Selection::Fitting(Filter { agreement: Some(agreement.into()), ..Filter::default() })
    };
    let at = token("1").facts.expiration - 1;
    let used =
        async |agreement: &str, at: u64| store.is_agreement_used(agreement, at).await.unwrap();
    assert!(used("b", at).await && !used("b", at + 1).await && !used("c", at).await);
    perform(&store, &act(StatusChange::Suspend, of("b"))).await.unwrap();
    assert!(used("b", at).await, "suspended tokens may be resumed");
    perform(&store, &act(StatusChange::Revoke, of("b"))).await.unwrap();
    assert!(!used("b", at).await && used("B", at).await);
    assert_eq!(status(&store, "3").await, StatusType::Valid);
}
