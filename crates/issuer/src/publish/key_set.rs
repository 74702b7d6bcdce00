//! The check of a JWK Set before it replaces the one at a target.

use edgepass_jose::{Algorithm, JwkSet};

use super::edition::BadEdition;
use crate::keys::Keys;
use crate::signing_key::SealedKey;
use crate::storage::StoredKeys;

/// Checks that the set of `keys` may replace the set at a target: it must not be older. A set at
/// the target that cannot be read or has no `iat` may be replaced.
///
/// # Errors
///
/// [`BadEdition::KeysNotNewer`] if the target's set has a later `iat`. [`BadEdition::KeysLack`] if
/// it lacks a key of the published set that is recorded as published and was created no later than
/// that `iat`.
pub(super) fn may_replace(keys: &Keys, live: &[u8]) -> Result<(), BadEdition> {
    let live = JwkSet::parse(live, &Algorithm::ALL, edgepass_crypto::is_sound);
    let Ok(Some((live, at))) = live.map(|set| set.issued_at().map(|at| (set, at.seconds()))) else {
        return Ok(());
    };
    if at > keys.stored().changed_at {
        return Err(BadEdition::KeysNotNewer);
    }
    match withdrawn_in(keys.stored(), &live, at).next() {
        Some(_) => Err(BadEdition::KeysLack),
        None => Ok(()),
    }
}

/// The keys that a set lacks although the database records them as published in it: the issuer has
/// withdrawn them since. `issued_at` is the set's `iat`, in seconds.
pub(crate) fn withdrawn_in<'k>(
    stored: &'k StoredKeys,
    live: &'k JwkSet,
    issued_at: u64,
) -> impl Iterator<Item = &'k SealedKey> {
    let lacks = |key: &SealedKey| live.keys().iter().all(|k| k.key_id() != Some(&*key.key_id));
    let was_there =
        move |key: &SealedKey| key.published_at.is_some() && key.created_at <= issued_at;
    stored.published().filter(move |key| was_there(key) && lacks(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Counting;
    use crate::seal::MasterKey;
    use crate::signing_key::{KeyState, SigningAlgorithm, TokenType};
    use crate::storage::StoredKeys;

    #[test]
    fn a_set_that_brings_a_withdrawn_key_back_replaces_none() {
        let (master, entropy) = (MasterKey::new([1; 32]).into(), &mut Counting(0));
        let mut key = |state, at, published_at| {
            let key =
                SealedKey::generate(SigningAlgorithm::EdDSA, state, &master, entropy, at).unwrap();
            SealedKey { published_at, ..key }
        };
        let old = key(KeyState::Retired, 100, Some(101));
        let signing = key(KeyState::Signing, 100, Some(101));
        let standby = key(KeyState::Standby, 300, None);
        let open = |keys: &[&SealedKey], changed_at| {
            let keys = keys.iter().map(|key| (*key).clone()).collect();
            Keys::open(StoredKeys { keys, changed_at }, &master, TokenType::Jwt).unwrap()
        };
        // `old` was withdrawn at 200. An issuer with a database backup from before that creates a
        // new standby key at 300.
        let live = open(&[&signing], 200);
        let rolled_back = open(&[&old, &signing, &standby], 300);
        assert!(may_replace(&rolled_back, live.jwk_set(None).as_bytes()).is_err());
        let honest = open(&[&signing, &standby], 300);
        assert!(may_replace(&honest, live.jwk_set(Some(900)).as_bytes()).is_ok());
        assert!(may_replace(&live, honest.jwk_set(None).as_bytes()).is_err(), "it is older");
    }
}
