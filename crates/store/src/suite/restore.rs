//! Restored backups, and a changed master key.

use std::collections::HashSet;

use edgepass_issuer::audit::Act;
use edgepass_issuer::list_id::Epoch;
use edgepass_issuer::restore::{Adopted, NUMBER_GAP, PublishedList, Restoration, RestoreStore};
use edgepass_issuer::rewrap::{RewrapStore, Rewrapped};
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::signing_key::{KeyState, SealedKey, SigningAlgorithm};
use edgepass_issuer::status_act::perform;
use edgepass_issuer::storage::{
    AuditStore, KeyChange, KeyStore, ListStore, Page, Store, StoreError, TokenStore,
};
use edgepass_status_list::{Bits, StatusType};
use edgepass_verify::UnixMillis;

use super::{Database, TestStore, act, entry, issue, test_store, token};

pub(crate) struct Fixed(pub(crate) u8);

impl edgepass_issuer::entropy::Entropy for Fixed {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), edgepass_issuer::entropy::NoEntropy> {
        bytes.fill(self.0);
        Ok(())
    }
}

fn list(id: &str, number: u64, statuses: &[(u32, StatusType)]) -> PublishedList {
    PublishedList {
        id: id.into(),
        window_end: 1200,
        capacity: 1 << 17,
        bits: Bits::Two,
        number,
        issued_at: 900,
        statuses: statuses.to_vec(),
    }
}

pub(crate) async fn restore(
    store: &(impl Store + RestoreStore),
    epoch: u8,
    lists: Vec<PublishedList>,
) -> Adopted {
    let seen = store.keys().await.unwrap().changed_at;
    let restoration = Restoration {
        epoch: Epoch::draw(&mut Fixed(epoch)).unwrap(),
        keys: KeyChange { seen, now: 5000, states: Vec::new(), new: Vec::new() },
        lists,
        unread: Vec::new(),
        actor: "cli:test".into(),
        policy: 1,
        at: UnixMillis(1),
    };
    let other = KeyChange { seen: seen + 1, ..restoration.keys.clone() };
    let other = Restoration { keys: other, ..restoration.clone() };
    assert_eq!(store.record_restoration(&other).await.unwrap(), None);
    store.record_restoration(&restoration).await.unwrap().unwrap()
}

async fn edition(store: &impl Store, id: &str) -> (u64, Vec<(u32, StatusType)>) {
    let mut edition = store.next_edition(id, 1000).await.unwrap();
    edition.statuses.sort_by_key(|(index, _)| *index);
    let mut read = store.statuses(id).await.unwrap();
    read.sort_by_key(|(index, _)| *index);
    assert_eq!(read, edition.statuses);
    (edition.number, edition.statuses)
}

pub(crate) async fn after_a_restore_no_index_of_an_old_list_is_used<D: Database>() {
    let TestStore { mut store, database } = test_store::<D>().await;
    let mut seen = HashSet::new();
    for epoch in 1..4 {
        for number in 0..30 {
            let slot = issue(&store, &token(&format!("{epoch}-{number}"))).await;
            assert_eq!(slot.list_id.ends_with("01"), epoch == 2, "{slot:?}");
            assert!(seen.insert((slot.list_id, slot.index)));
        }
        // A restoration comes before everything else that a process does.
        D::close(&store).await;
        store = database.open().await;
        restore(&store, epoch, Vec::new()).await;
    }
    let ids: Vec<_> = store.lists(0).await.unwrap().into_iter().map(|list| list.id).collect();
    assert_eq!(ids, ["1200-0", "1200-1-010101010101", "1200-2-020202020202"]);
    // One that was opened ahead counts as an old one as well.
    store.open_list(&token("x").list, 1).await.unwrap();
    assert_eq!(store.lists(0).await.unwrap().len(), 4);
    restore(&store, 9, Vec::new()).await;
    let slot = issue(&store, &token("last")).await;
    assert_eq!(slot.list_id, "1200-4-090909090909");
}

pub(crate) async fn what_was_published_since_the_backup_is_in_every_later_edition<D: Database>() {
    const REVOKED: StatusType = StatusType::Invalid;
    const SUSPENDED: StatusType = StatusType::Suspended;
    let TestStore { store, database: _database } = test_store::<D>().await;
    let mut slots = Vec::new();
    for jwt_id in ["revoked", "suspended", "both", "valid", "resumed"] {
        slots.push(issue(&store, &token(jwt_id)).await);
    }
    let at = |number: usize| u32::try_from(slots[number].index).unwrap();
    let suspend = act(StatusChange::Suspend, Selection::JwtIds(vec!["both".into()]));
    perform(&store, &suspend).await.unwrap();
    let lost = (0..).find(|index| (0..5).all(|number| at(number) != *index)).unwrap();
    let (known, opened) = ("1200-0", "1200-1");
    let published = [(at(0), REVOKED), (at(1), SUSPENDED), (at(2), REVOKED), (lost, REVOKED)];
    let lists = vec![list(known, 40, &published), list(opened, 3, &[(5, SUSPENDED)])];
    let adopted = restore(&store, 1, lists.clone()).await;
    assert_eq!(adopted, Adopted { lists: 1, statuses: 5 });
    for (jwt_id, expected) in [
        ("revoked", REVOKED),
        ("suspended", SUSPENDED),
        ("both", REVOKED),
        ("valid", StatusType::Valid),
    ] {
        assert_eq!(store.token(jwt_id).await.unwrap().unwrap().status, expected, "{jwt_id}");
    }
    let mut expected = published.to_vec();
    expected.sort_by_key(|(index, _)| *index);
    assert_eq!(edition(&store, known).await, (40 + NUMBER_GAP + 1, expected.clone()));
    assert_eq!(edition(&store, opened).await, (3 + NUMBER_GAP + 1, vec![(5, SUSPENDED)]));
    assert_eq!(store.next_edition(opened, 1).await.unwrap().issued_at, 1000, "not before the last");

    // Another backup, of the restored database: nothing is lost or counted twice. The target's edition is
    // older now, so that a suspension that it alone shows was lifted since.
    let more = [published.as_slice(), &[(at(4), SUSPENDED), (lost + 1, REVOKED)]].concat();
    let lists = vec![list(known, 40, &more), list(opened, 3, &[(5, REVOKED)])];
    assert_eq!(restore(&store, 2, lists).await, Adopted { lists: 0, statuses: 1 });
    expected.push((lost + 1, REVOKED));
    expected.sort_by_key(|(index, _)| *index);
    assert_eq!(edition(&store, known).await.1, expected);
    assert_eq!(edition(&store, opened).await.1, [(5, REVOKED)]);
    // What has a record is resumed as ever.
    let resume = act(StatusChange::Resume, Selection::JwtIds(vec!["suspended".into()]));
    assert_eq!(perform(&store, &resume).await.unwrap().unwrap().count, 1);
    let trail = store.audit(0, Page::first(true, 10)).await.unwrap();
    assert!(trail.iter().any(|(_, entry)| matches!(
        &entry.act,
        Act::DatabaseRestored { lists: 1, statuses: 5, epoch, .. } if epoch == "010101010101"
    )));
}

pub(crate) async fn a_list_with_other_bits_is_not_adopted<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    issue(&store, &token("a")).await;
    let one_bit = PublishedList { bits: Bits::One, ..list("1200-0", 1, &[]) };
    let restoration = Restoration {
        epoch: Epoch::draw(&mut Fixed(1)).unwrap(),
        keys: KeyChange { seen: 0, now: 1, states: Vec::new(), new: Vec::new() },
        lists: vec![one_bit],
        unread: Vec::new(),
        actor: "cli:test".into(),
        policy: 1,
        at: UnixMillis(1),
    };
    let refused = store.record_restoration(&restoration).await;
    assert!(matches!(refused, Err(StoreError::Corrupt(_))));
    assert_eq!(issue(&store, &token("b")).await.list_id, "1200-0", "nothing was changed");
}

pub(crate) async fn keys_are_sealed_again_all_or_none<D: Database>() {
    let TestStore { store, database: _database } = test_store::<D>().await;
    let vault = edgepass_issuer::seal::MasterKey::new([1; 32]).into();
    let key = |state, byte| {
        SealedKey::generate(SigningAlgorithm::EdDSA, state, &vault, &mut Fixed(byte), 1).unwrap()
    };
    let new = vec![key(KeyState::Signing, 1), key(KeyState::Standby, 2)];
    let change = KeyChange { seen: 0, now: 1, states: Vec::new(), new };
    assert!(store.change_keys(&change, &entry("keys")).await.unwrap());
    let stored = store.keys().await.unwrap();
    let rewrapped = |key: &SealedKey| Rewrapped {
        key_id: key.key_id.clone(),
        from: key.sealed.clone(),
        to: vec![9],
    };
    let rewrap = async |seen, keys: &[Rewrapped], what: &str| {
        store.rewrap_keys(seen, keys, None, &entry(what)).await.unwrap()
    };
    let seen = stored.changed_at;
    let mut changes: Vec<_> = stored.keys.iter().map(rewrapped).collect();
    changes[1].from.push(0);
    assert!(!rewrap(seen, &changes, "rewrap").await);
    assert_eq!(store.keys().await.unwrap(), stored);
    changes[1].from.pop();
    assert!(!rewrap(seen + 1, &changes, "rewrap").await, "another process changed the keys");
    assert!(rewrap(seen, &changes, "rewrap").await);
    let keys = store.keys().await.unwrap();
    assert!(keys.keys.iter().all(|key| key.sealed == [9]));
    assert_eq!(keys.changed_at, stored.changed_at, "the JWK Set is the same");
    let undo: Vec<_> = changes.iter().map(Rewrapped::reversed).collect();
    assert!(rewrap(seen, &undo, "undo").await);
    assert_eq!(store.keys().await.unwrap(), stored);
}
