//! Copies of a database file.

use edgepass_issuer::signing_key::{KeyState, SealedKey, SigningAlgorithm};

use super::backup::BadCopy;
use super::tests::test_store;
use super::*;
use crate::suite::restore::{Fixed, restore};
use crate::suite::{TestStore, entry, issue, now, token};

#[tokio::test]
async fn a_backup_is_whole_while_tokens_are_issued() {
    let TestStore { store, database } = test_store().await;
    let (file, copy) = (database.path(), database.0.path().join("copy.db"));
    std::fs::write(&copy, "").unwrap();
    let vault = edgepass_issuer::seal::MasterKey::new([1; 32]).into();
    let key = |state, byte| {
        SealedKey::generate(SigningAlgorithm::EdDSA, state, &vault, &mut Fixed(byte), 1).unwrap()
    };
    let in_device = SealedKey { sealed: b"pkcs11:id=%01".to_vec(), ..key(KeyState::Signing, 1) };
    let new = vec![in_device, key(KeyState::Standby, 2)];
    let change = KeyChange { seen: 0, now: 1, states: Vec::new(), new };
    assert!(store.change_keys(&change, &entry("keys")).await.unwrap());
    let issuing = async {
        for number in 0..300 {
            issue(&store, &token(&format!("t{number}"))).await;
        }
    };
    let copying = async {
        while store.tokens(&TokenFilter::default(), Page::first(true, 50)).await.unwrap().len() < 50
        {
            tokio::task::yield_now().await;
        }
        backup::copy(&file, &copy).await.unwrap();
    };
    tokio::join!(issuing, copying);
    let contents = backup::examine(&copy).await.unwrap();
    assert!(contents.tokens >= 50 && contents.tokens + 1 == contents.entries, "{contents:?}");
    assert_eq!(contents.device_keys, 1);
    assert!(backup::copy(&file, &copy).await.is_err(), "a file with content is not overwritten");
    // Indices that the process has reserved count as taken in the backup.
    let restored = SqliteStore::open(&copy, false, now).await.unwrap();
    restore(&restored, 7, Vec::new()).await;
    assert_eq!(issue(&restored, &token("new")).await.list_id, "1200-1-070707070707");
    restored.close().await;

    for text in ["", "nonsense"] {
        std::fs::write(&copy, text).unwrap();
        let bad = backup::examine(&copy).await;
        assert!(matches!(bad, Err(BadCopy::Unreadable(_))), "{text}");
    }
}

#[tokio::test]
async fn a_damaged_backup_is_noticed() {
    let TestStore { store, database } = test_store().await;
    for number in 0..500 {
        issue(&store, &token(&format!("t{number}"))).await;
    }
    let copy = database.0.path().join("copy.db");
    backup::copy(&database.path(), &copy).await.unwrap();
    let whole = std::fs::read(&copy).unwrap();
    let mut damaged = whole.clone();
    let middle = whole.len() / 2 / 4096 * 4096;
    damaged[middle..middle + 4096].fill(0);
    for text in [&damaged, &whole[..whole.len() / 2].to_vec()] {
        std::fs::write(&copy, text).unwrap();
        assert!(backup::examine(&copy).await.is_err());
    }
}
