//! The keys of a backup, compared with the JWK Sets at the targets.

use std::collections::BTreeSet;

use edgepass_jose::{Jwk, base64url};
use serde_json::Value;

use super::shown::PublishedSet;
use crate::publish::key_set::withdrawn_in;
use crate::signing_key::{KeyError, KeyState, SIGNING_ALGORITHMS, SealedKey, SigningAlgorithm};
use crate::storage::{KeyChange, StoredKeys};

/// The change that a backup's keys need. Withdraws the keys in `gone`, and those that a set no longer has, since
/// they may have been compromised. Adds the public halves of keys that only a set has, as withdrawn ones: their private halves are
/// lost, and a JWK Set at a target is not signed, so no token of theirs is accepted; but lists that they signed
/// can be read and replaced. Makes a signing and a standby key if none is left. `now` is in seconds.
pub(super) fn change<'w>(
    stored: &StoredKeys,
    mut gone: BTreeSet<String>,
    sets: impl Iterator<Item = &'w PublishedSet>,
    make: &mut impl FnMut(KeyState) -> Result<SealedKey, KeyError>,
    now: u64,
) -> Result<KeyChange, KeyError> {
    let mut new = Vec::<SealedKey>::new();
    let mut changed_at = now.max(stored.changed_at.saturating_add(1));
    for set in sets {
        changed_at = changed_at.max(set.issued_at.saturating_add(1));
        let withdrawn = withdrawn_in(stored, &set.keys, set.issued_at);
        gone.extend(withdrawn.map(|key| key.key_id.clone()));
        for key in lost(set, now) {
            let is_known = |other: &SealedKey| other.key_id == key.key_id;
            if !stored.keys.iter().any(is_known) && !new.iter().any(is_known) {
                new.push(key);
            }
        }
    }
    let left = |state| stored.in_state(state).filter(|key| !gone.contains(&key.key_id));
    let mut signs = None;
    let standby = match (left(KeyState::Signing), left(KeyState::Standby)) {
        (None, Some(next)) => {
            signs = Some((next.key_id.clone(), KeyState::Signing, None));
            None
        }
        (None, None) => {
            new.push(make(KeyState::Signing)?);
            None
        }
        (Some(_), standby) => standby,
    };
    if standby.is_none() {
        new.push(make(KeyState::Standby)?);
    }
    let withdrawn = gone.into_iter().map(|key_id| (key_id, KeyState::Withdrawn, None));
    let states = withdrawn.chain(signs).collect();
    Ok(KeyChange { seen: stored.changed_at, now: changed_at, states, new })
}

/// The keys of a set, as withdrawn ones.
fn lost(set: &PublishedSet, now: u64) -> Vec<SealedKey> {
    let set: Value = serde_json::from_slice(&set.text).unwrap_or_default();
    let keys = set.get("keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(|jwk| withdrawn(jwk, now)).collect()
}

/// The key of a JWK, without a private half. `None`: it is no key that an issuer of this program makes.
fn withdrawn(jwk: &Value, now: u64) -> Option<SealedKey> {
    let member = |name| jwk.get(name).and_then(Value::as_str);
    let bytes = |name| base64url::decode(member(name)?);
    let algorithm = SigningAlgorithm::named(member("alg")?)?;
    let public_key = match algorithm {
        SigningAlgorithm::EdDSA => bytes("x")?,
        SigningAlgorithm::ES256 => [bytes("x")?, bytes("y")?].concat(),
        SigningAlgorithm::RS256 => bytes("n")?,
    };
    let key = SealedKey {
        key_id: member("kid")?.to_owned(),
        state: KeyState::Withdrawn,
        algorithm,
        public_key,
        sealed: Vec::new(),
        created_at: now,
        published_at: None,
        signs_since: None,
        retires_at: None,
    };
    let thumbprint = Jwk::from_value(&key.jwk(), &SIGNING_ALGORITHMS).ok()?.thumbprint();
    key.key_id.ends_with(&thumbprint).then_some(key)
}
