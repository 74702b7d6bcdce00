//! Tokens that are recorded together.

use std::collections::HashSet;

use edgepass_issuer::audit::AuditEntry;
use edgepass_issuer::selection::StatusChange;
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{
    NewToken, Page, Recorded, Store, StoreError, TokenFilter, TokenStore,
};
use futures_util::future::join_all;

use super::{Database, TestStore, act, child, entry, issue, now, of_role, role, test_store, token};

/// Records tokens at the same time.
pub(crate) async fn at_once(
    store: &impl Store,
    tokens: &[NewToken],
    at_ms: u64,
) -> Vec<Result<Recorded, StoreError>> {
    let record = async |token: &NewToken| {
        let at = AuditEntry { at_ms, ..entry(&token.facts.jwt_id) };
        store.record_issue(token, &at).await
    };
    join_all(tokens.iter().map(record)).await
}

/// The tokens and the audit entries of tokens, by their `jti`.
pub(crate) async fn recorded(store: &impl Store) -> (HashSet<String>, Vec<String>) {
    let tokens = store.tokens(&TokenFilter::default(), Page::first(false, 10_000)).await.unwrap();
    let entries = store.audit(0, Page::first(false, 10_000)).await.unwrap();
    let named = |(_, entry): &(u64, AuditEntry)| {
        let entry = serde_json::to_value(entry).unwrap();
        entry["jwt_id"].as_str().map(str::to_owned)
    };
    let tokens = tokens.into_iter().map(|token| token.facts.jwt_id).collect();
    (tokens, entries.iter().filter_map(named).collect())
}

pub(crate) fn numbered(count: usize) -> Vec<NewToken> {
    (0..count).map(|number| token(&format!("t{number}"))).collect()
}

pub(crate) async fn tokens_recorded_together_have_indices_of_their_own<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    // Lists that are smaller than a group.
    let mut tokens = numbered(300);
    for (number, token) in tokens.iter_mut().enumerate() {
        token.list.capacity = 70;
        token.list.window.end += u64::from(number % 3 == 0) * 600;
    }
    let outcomes = at_once(&store, &tokens, 1).await;
    let mut slots = HashSet::new();
    for outcome in outcomes {
        let Ok(Recorded::At(slot)) = outcome else { panic!("{outcome:?}") };
        assert!(slot.index < 70, "{slot:?}");
        assert!(slots.insert((slot.list_id, slot.index)), "an index twice");
    }
    let (tokens, entries) = recorded(&store).await;
    assert_eq!((tokens.len(), entries.len()), (300, 300));
    for (list_id, index) in &slots {
        let end = if list_id.starts_with("1200") { 1200 } else { 1800 };
        assert!(list_id.starts_with(&end.to_string()), "{list_id} {index}");
    }
}

pub(crate) async fn what_refuses_one_token_does_not_touch_the_others<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("t3")).await;
    perform(&store, &act(StatusChange::Revoke, role("revoked"))).await.unwrap();
    let mut tokens = numbered(40);
    // In one group: a jti that exists, a token that an act blocks, a child without a parent, and a
    // policy that no version has.
    tokens[10] = of_role("revoked", "t10");
    tokens[20] = child("nobody", "t20");
    tokens[30].facts.policy = Some(99);
    let outcomes = at_once(&store, &tokens, now().0).await;
    let (recorded, entries) = recorded(&store).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        let name = format!("t{number}");
        let is_recorded = match number {
            3 => {
                assert!(matches!(outcome, Err(StoreError::Duplicate(_))), "{outcome:?}");
                true
            }
            10 => {
                assert!(matches!(outcome, Ok(Recorded::Blocked)), "{outcome:?}");
                false
            }
            20 => {
                assert!(matches!(outcome, Ok(Recorded::NotChild)), "{outcome:?}");
                false
            }
            30 => {
                assert!(outcome.is_err(), "{outcome:?}");
                false
            }
            _ => {
                assert!(matches!(outcome, Ok(Recorded::At(_))), "{name}: {outcome:?}");
                true
            }
        };
        assert_eq!(recorded.contains(&name), is_recorded, "{name}");
        let told = entries.iter().filter(|entry| **entry == name).count();
        assert_eq!(told, usize::from(is_recorded), "{name}");
    }
}

pub(crate) async fn a_restart_and_another_process_take_no_index_twice<D: Database>() {
    let TestStore { store, database } = test_store::<D>().await;
    let other = database.open().await;
    let mut slots = HashSet::new();
    for round in 0..6 {
        let reopened = database.open().await;
        let of = |name: &str| -> Vec<NewToken> {
            (0..50).map(|number| token(&format!("{name}{round}-{number}"))).collect()
        };
        let (a, b, c) = (of("a"), of("b"), of("c"));
        let (a, b, c) =
            tokio::join!(at_once(&store, &a, 1), at_once(&other, &b, 1), at_once(&reopened, &c, 1));
        for outcome in [a, b, c].into_iter().flatten() {
            let Ok(Recorded::At(slot)) = outcome else { panic!("{outcome:?}") };
            assert!(slots.insert((slot.list_id, slot.index)), "an index twice");
        }
    }
    assert_eq!(slots.len(), 900);
}

pub(crate) async fn a_value_that_the_database_refuses_is_refused_alone<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    at_once(&store, &numbered(20), 1).await;
    let mut tokens: Vec<NewToken> = (20..40).map(|number| token(&format!("t{number}"))).collect();
    // No version of the policy has this number.
    tokens[7].facts.policy = Some(99);
    for (number, outcome) in at_once(&store, &tokens, 1).await.iter().enumerate() {
        assert_eq!(outcome.is_ok(), number != 7, "{number}: {outcome:?}");
    }
    let (tokens, entries) = recorded(&store).await;
    assert_eq!((tokens.len(), entries.len()), (39, 39));
}

pub(crate) async fn a_token_is_not_recorded_once_its_request_has_gone<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    let (left, stays) = (token("left"), token("stays"));
    let (left_entry, stays_entry) = (entry("left"), entry("stays"));
    {
        let gone = store.record_issue(&left, &left_entry);
        tokio::pin!(gone);
        let first = std::future::poll_fn(|context| {
            std::task::Poll::Ready(gone.as_mut().poll(context).is_pending())
        });
        assert!(first.await);
    }
    let waiting = store.record_issue(&stays, &stays_entry);
    assert!(matches!(waiting.await, Ok(Recorded::At(_))));
    let (tokens, entries) = recorded(&store).await;
    assert_eq!((tokens.len(), entries), (1, vec!["stays".to_owned()]));
}
