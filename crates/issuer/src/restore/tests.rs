use std::collections::HashMap;

use edgepass_status_list::{StatusList, encoder};
use futures_util::FutureExt;
use serde_json::json;

use super::shown::{Backup, NotShown};
use super::*;
use crate::entropy::Counting;
use crate::keys::Keys;
use crate::paths::{AGGREGATION, JWK_SET, LISTS};
use crate::publish::document::Document;
use crate::publish::target::{StoredDocument, Target, TargetError, TargetFuture, Version};
use crate::seal::MasterKey;
use crate::signing_key::{SigningFailed, TokenType};
use crate::storage::ListState;
use crate::vault::{KeyDevice, Signer};

const BASE: &str = "https://issuer.example";
const NOW: u64 = 1_000_000;
const ID: &str = "1000600-0";

fn master() -> MasterKey {
    MasterKey::new([1; 32])
}

/// Keys in these states, each published and created at a time.
fn stored(states: &[(KeyState, u64)]) -> StoredKeys {
    let (vault, entropy) = (master().into(), &mut Counting(0));
    let mut key = |(state, at): &(KeyState, u64)| {
        let algorithm = SigningAlgorithm::EdDSA;
        let key = SealedKey::generate(algorithm, *state, &vault, entropy, *at).unwrap();
        SealedKey { published_at: Some(*at), ..key }
    };
    let keys: Vec<_> = states.iter().map(&mut key).collect();
    let changed_at = states.iter().map(|(_, at)| *at).max().unwrap_or_default();
    StoredKeys { keys, changed_at }
}

/// The keys at these positions, in other states, as of a later change.
fn later(keys: &StoredKeys, states: &[(usize, KeyState)], changed_at: u64) -> StoredKeys {
    let key =
        |(at, state): &(usize, KeyState)| SealedKey { state: *state, ..keys.keys[*at].clone() };
    StoredKeys { keys: states.iter().map(key).collect(), changed_at }
}

/// A target that holds documents.
#[derive(Clone, Default)]
struct Shelf(HashMap<String, String>);

impl Target for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn read<'a>(&'a self, path: &'a str) -> TargetFuture<'a, Option<StoredDocument>> {
        let found = self
            .0
            .get(path)
            .cloned()
            .map(|text| StoredDocument { body: text.into(), version: Version(String::new()) });
        Box::pin(std::future::ready(Ok(found)))
    }

    fn write<'a>(&'a self, _: &'a Document, _: Option<&'a Version>) -> TargetFuture<'a, Version> {
        Box::pin(std::future::ready(Err(TargetError::Conflict)))
    }

    fn remove<'a>(&'a self, _: &'a str) -> TargetFuture<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Name and number of a list, and indices with their statuses.
type Listed<'l> = (&'l str, u64, &'l [(u64, u8)]);

/// A target as an issuer with these keys has left it, with lists of 16 indices.
fn shelf(keys: &StoredKeys, lists: &[Listed<'_>]) -> Shelf {
    let keys = Keys::open(keys.clone(), &master().into(), TokenType::Jwt).unwrap();
    let mut shelf = Shelf::default();
    let uri = |id: &str| format!("{BASE}/{LISTS}{id}");
    let uris: Vec<_> = lists.iter().map(|(id, ..)| uri(id)).collect();
    shelf.0.insert(JWK_SET.into(), keys.jwk_set(None));
    shelf.0.insert(AGGREGATION.into(), json!({ "status_lists": uris }).to_string());
    for (id, number, statuses) in lists {
        let mut list = StatusList::all_valid(Bits::Two, 16);
        for (index, status) in *statuses {
            list.set(*index, *status);
        }
        let claims = json!({
            "sub": uri(id), "iat": NOW - 5, "exp": NOW + 3600, "ttl": 5, "number": number,
            "status_list": { "bits": 2, "lst": encoder::encode(&list) },
        });
        let text = keys.sign_list(claims.as_object().unwrap()).unwrap();
        shelf.0.insert(format!("{LISTS}{id}"), text);
    }
    shelf
}

fn target(shelf: &Shelf, keys: &StoredKeys, lists: &[ListState]) -> Shown {
    let backup = Backup::new(BASE, lists, keys).unwrap();
    Shown::read(shelf, &backup, NOW).now_or_never().unwrap()
}

fn plan(keys: &StoredKeys, shown: &[Shown]) -> Restoration {
    planned(keys, shown, &master().into()).unwrap()
}

fn planned(keys: &StoredKeys, shown: &[Shown], vault: &Vault) -> Result<Restoration, RestoreError> {
    let by = Restorer {
        vault,
        algorithm: SigningAlgorithm::EdDSA,
        actor: "cli:test".into(),
        policy: 1,
        at: UnixMillis(NOW * 1000),
    };
    Restoration::plan(keys, shown, by, &mut Counting(100))
}

/// A device that is empty, or away.
struct Device(DeviceError);

impl KeyDevice for Device {
    fn generate(&self, _: SigningAlgorithm) -> Result<(String, Box<dyn Signer>), DeviceError> {
        struct New;
        impl Signer for New {
            fn public_key(&self) -> &[u8] {
                &[7; 32]
            }

            fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SigningFailed> {
                Err(SigningFailed)
            }
        }
        Ok(("pkcs11:id=%02".into(), Box::new(New)))
    }

    fn open(&self, _: SigningAlgorithm, _: &str) -> Result<Box<dyn Signer>, DeviceError> {
        Err(self.0.clone())
    }

    fn destroy(&self, _: &str) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[test]
fn a_key_that_its_device_has_destroyed_was_withdrawn() {
    let mut keys = stored(&[(KeyState::Signing, 10), (KeyState::Standby, 10)]);
    keys.keys[0].sealed = b"pkcs11:id=%01".to_vec();
    let vault = |error| Vault::new(master(), Some(std::sync::Arc::new(Device(error))));
    let restoration = planned(&keys, &[], &vault(DeviceError::NoKey)).unwrap();
    assert_eq!(restoration.withdrawn().collect::<Vec<_>>(), [keys.keys[0].key_id.as_str()]);
    assert_eq!(restoration.keys.new[0].device_uri(), Some("pkcs11:id=%02"), "a new standby key");
    let away = planned(&keys, &[], &vault(DeviceError::Away("gone".into())));
    assert!(matches!(away.err(), Some(RestoreError::Key(KeyError::Device(_)))));
}

#[test]
fn lists_of_several_targets_are_one_and_a_revocation_at_any_counts() {
    let keys = stored(&[(KeyState::Signing, 10), (KeyState::Standby, 10)]);
    let newer = shelf(&keys, &[(ID, 7, &[(1, 1), (2, 2)]), ("1000600-1-0a1b", 2, &[])]);
    let older = shelf(&keys, &[(ID, 6, &[(3, 1), (4, 2), (2, 1)]), ("10-0", 9, &[(1, 1)])]);
    let shown = [target(&older, &keys, &[]), target(&newer, &keys, &[])];
    assert!(shown.iter().all(|target| target.problem.is_none()));
    assert!(shown[1].shows("1000600-1-0a1b") && !shown[0].shows("10-0"), "it has retired");
    let lists = plan(&keys, &shown).lists;
    let (revoked, suspended) = (StatusType::Invalid, StatusType::Suspended);
    assert!(!lists[0].statuses.contains(&(2, suspended)));
    let expected = PublishedList {
        id: ID.into(),
        window_end: 1_000_600,
        capacity: 16,
        bits: Bits::Two,
        number: 7,
        issued_at: NOW - 5,
        statuses: vec![(1, revoked), (2, revoked), (3, revoked)],
    };
    assert_eq!((lists.len(), &lists[0]), (2, &expected));
}

#[test]
fn what_cannot_be_read_is_a_problem_and_the_rest_is_read() {
    let keys = stored(&[(KeyState::Signing, 10), (KeyState::Standby, 10)]);
    let whole = shelf(&keys, &[(ID, 7, &[(1, 1)]), ("1000600-1", 2, &[])]);
    let problem = |shelf: &Shelf| target(shelf, &keys, &[]).problem;
    assert!(problem(&whole).is_none());
    assert!(matches!(problem(&Shelf::default()), Some(NotShown::Nothing)));
    for path in [JWK_SET, AGGREGATION] {
        let mut without = whole.clone();
        without.0.remove(path);
        assert!(matches!(problem(&without), Some(NotShown::Nothing)), "{path}");
    }
    let mut foreign = whole.clone();
    let other = json!({ "status_lists": [format!("https://other.example/{LISTS}{ID}")] });
    foreign.0.insert(AGGREGATION.into(), other.to_string());
    assert!(matches!(problem(&foreign), Some(NotShown::Nothing)));
    let mut undated = whole.clone();
    undated.0.insert(JWK_SET.into(), "{\"keys\":[]}".into());
    assert!(matches!(problem(&undated), Some(NotShown::KeySet)));
    undated.0.insert(JWK_SET.into(), json!({ "keys": [], "iat": NOW + 301 }).to_string());
    assert!(matches!(problem(&undated), Some(NotShown::Future)));

    let mut broken = whole;
    broken.0.insert(format!("{LISTS}{ID}"), "eyJ".into());
    let seen = target(&broken, &keys, &[]);
    assert!(matches!(&seen.problem, Some(NotShown::List(id)) if id == ID));
    assert!(seen.shows("1000600-1"));
    assert_eq!(plan(&keys, &[seen]).unread, ["shelf"]);
    // Also one that only the backup names.
    let state = ListState { id: ID.into(), window_end: 0, changes: 0, published: 0, number: 1 };
    broken.0.insert(AGGREGATION.into(), {
        json!({ "status_lists": [format!("{BASE}/{LISTS}1000600-1")] }).to_string()
    });
    assert!(target(&broken, &keys, &[]).problem.is_none());
    assert!(target(&broken, &keys, &[state]).problem.is_some());
}

#[test]
fn a_key_that_was_withdrawn_after_the_backup_stays_so_and_another_signs() {
    let all = stored(&[(KeyState::Signing, 10), (KeyState::Standby, 10), (KeyState::Standby, 50)]);
    let backup = StoredKeys { keys: all.keys[..2].to_vec(), changed_at: 10 };
    let now = later(&all, &[(1, KeyState::Signing), (2, KeyState::Standby)], NOW + 9);
    let seen = target(&shelf(&now, &[(ID, 7, &[(1, 1)])]), &backup, &[]);
    assert!(seen.problem.is_none(), "a list that a lost key signed would be read as well");
    let plan = plan(&backup, &[seen]);
    let ids: Vec<_> = all.keys.iter().map(|key| key.key_id.clone()).collect();
    let expected =
        [(ids[0].clone(), KeyState::Withdrawn, None), (ids[1].clone(), KeyState::Signing, None)];
    assert_eq!(plan.keys.states, expected);
    assert_eq!(plan.withdrawn().collect::<Vec<_>>(), [&*ids[0], &*ids[2]]);
    let states: Vec<_> = plan.keys.new.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Withdrawn, KeyState::Standby]);
    let lost = &plan.keys.new[0];
    assert_eq!((&lost.public_key, lost.sealed.is_empty()), (&all.keys[2].public_key, true));
    assert_eq!((plan.keys.seen, plan.keys.now), (10, NOW + 10), "later than the published set");
    let Act::DatabaseRestored { key_ids, .. } = plan.entry(Adopted::default()).act else {
        panic!("another act")
    };
    assert_eq!(key_ids.len(), 2);
}

#[test]
fn keys_are_made_if_none_is_left() {
    let all = stored(&[(KeyState::Signing, 10), (KeyState::Standby, 10), (KeyState::Signing, 50)]);
    let backup = StoredKeys { keys: all.keys[..2].to_vec(), changed_at: 10 };
    let now = later(&all, &[(2, KeyState::Signing)], 60);
    // Signed by the lost key.
    let seen = target(&shelf(&now, &[(ID, 7, &[(1, 1)])]), &backup, &[]);
    assert!(seen.problem.is_none() && seen.shows(ID));
    let change = plan(&backup, &[seen]).keys;
    assert_eq!(change.states.len(), 2);
    let states: Vec<_> = change.new.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Withdrawn, KeyState::Signing, KeyState::Standby]);

    // Without a target nothing is known, but the set is newer than every one before.
    let change = plan(&backup, &[]).keys;
    assert_eq!((change.states.len(), change.new.len(), change.now), (0, 0, NOW));
}

#[test]
fn the_master_key_must_open_every_key() {
    let keys = stored(&[(KeyState::Signing, 10), (KeyState::Retired, 10)]);
    let refused = planned(&keys, &[], &MasterKey::new([9; 32]).into());
    assert!(
        matches!(refused.err(), Some(RestoreError::Sealed(id, _)) if id == keys.keys[0].key_id)
    );
}

#[test]
fn epochs_are_twelve_digits_and_fit_a_list_name() {
    let (one, other) =
        (Epoch::draw(&mut Counting(0)).unwrap(), Epoch::draw(&mut Counting(1)).unwrap());
    assert_eq!((one.as_str(), other.as_str()), ("010101010101", "020202020202"));
    assert!(crate::list_id::is_list_id(&format!("9999999999-9999999-{one}")));
}
