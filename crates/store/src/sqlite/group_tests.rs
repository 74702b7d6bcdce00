//! Tokens that are recorded together, in a file.

use super::tests::{fill_disk, test_store};
use super::*;
use crate::suite::group::{at_once, numbered, recorded};
use crate::suite::{TestStore, token};

#[tokio::test]
async fn after_a_full_disk_a_group_is_refused_and_the_next_is_recorded() {
    let TestStore { store, database: _folder } = test_store().await;
    at_once(&store, &numbered(20), 1).await;
    fill_disk(&store).await;
    let mut long: Vec<NewToken> = (0..20).map(|number| token(&format!("long{number}"))).collect();
    for token in &mut long {
        token.facts.subject = "s".repeat(100_000);
    }
    for outcome in at_once(&store, &long, 1).await {
        let Err(StoreError::Unavailable(error)) = outcome else { panic!("{outcome:?}") };
        assert!(error.to_string().contains("disk is full"), "{error:?}");
    }
    assert!(!store.writer.durability.last_change_succeeded());
    assert!(store.is_writable().await);
    let later: Vec<NewToken> = (0..20).map(|number| token(&format!("later{number}"))).collect();
    let outcomes = at_once(&store, &later, 1).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Recorded::At(_)))), "{outcomes:?}");
    let (tokens, entries) = recorded(&store).await;
    assert_eq!((tokens.len(), entries.len()), (40, 40));
    assert!(tokens.iter().all(|jwt_id| !jwt_id.starts_with("long")));
}
