//! Editions of status lists: their claims, and the checks that a signed edition passes before it is
//! published.

use edgepass_jose::CompactJws;
use edgepass_jose::json::JsonObject;
use edgepass_jose::jwk_set::JwkSet;
use edgepass_status_list::encoder::{self, Strategy};
use edgepass_status_list::{StatusList, StatusType};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::documents::status_head::StatusHead;
use edgepass_verify::documents::status_list_token::{self, ListRules};
use edgepass_verify::native::check_signature;
use serde_json::{Value, json};

use crate::signing_key::SIGNING_ALGORITHMS;
use crate::storage::ListEdition;

/// `exp - iat` of a list, in seconds. A new edition is signed after half of this time at the latest
/// ([`ListSchedule`](crate::config::ListSchedule)).
pub const LIST_LIFETIME: u64 = 60 * 60;
/// `ttl` of a list, in seconds: the default refresh interval of verifiers.
pub const LIST_TTL: u64 = 5;

/// The claims of an edition.
#[derive(Clone, Debug)]
pub struct EditionClaims {
    /// The claim `number`.
    pub number: u64,
    /// The claim `iat`, in seconds.
    pub issued_at: u64,
    /// The claim `exp`, in seconds.
    pub expiration: u64,
    pub(crate) list: StatusList,
    /// Number of changes that resumed tokens of the list. `None`: unknown, since no token states
    /// it.
    pub(super) resumes: Option<u64>,
}

/// The reason why a document must not be published.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadEdition {
    /// Verifiers would refuse the document.
    #[error("verifiers would refuse it: {}", .0.name())]
    Refused(Refused),
    /// The list lacks `exp` or `number`, which all lists of this issuer have. Holds the claim's
    /// name.
    #[error("the list has no claim {0}")]
    ClaimMissing(&'static str),
    /// `number` or `iat` differs from the database.
    #[error("number or iat differs from the database")]
    OtherEdition,
    /// A status differs from the database.
    #[error("a status differs from the database")]
    OtherStatus,
    /// The new edition would make a revoked token valid or suspended, make a suspended token valid
    /// without a resumption in this list, or lack an index.
    #[error("the new edition takes back a published status")]
    TakenBack,
    /// The published list has the same or a greater `number`, or a later `iat`.
    #[error("the published list is not older than the new edition; was an old copy put back?")]
    NotNewer,
    /// The list at the target has this list's URI, but this issuer cannot read it, usually because
    /// none of its keys signed it.
    #[error(
        "the list at the target is not signed by a key of this issuer; was the database replaced?"
    )]
    ForeignSignature,
    /// The JWK Set at the target has a later `iat` than the database's.
    #[error("the target's JWK Set is newer than the database's; was an old copy put back?")]
    KeysNotNewer,
    /// The JWK Set at the target lacks a key that the database records as published in it.
    #[error("the target's JWK Set lacks a key that was published in it; was an old copy put back?")]
    KeysLack,
    /// A target holds documents that were not made from this database. Nothing is served or
    /// published until a restart.
    #[error(
        "a target holds documents that were not made from this database; was an old copy put back?"
    )]
    OtherDatabase,
    /// A target holds an audit log that this database's log does not continue. Nothing is served or
    /// published until a restart.
    #[error(
        "a target holds an audit log that the one of this database does not continue; was an old \
         backup restored, or the trail changed? `edgepass audit verify` says more"
    )]
    OtherLog,
}

/// The strategy of a list's compression, and the number of statuses that it was chosen for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    strategy: Strategy,
    statuses: usize,
}

impl Chosen {
    /// Whether the strategy is still good for so many statuses: an eighth more or less.
    fn fits(&self, statuses: usize) -> bool {
        statuses.abs_diff(self.statuses) <= self.statuses / 8
    }
}

/// Encodes a list, if possible with the strategy of the edition before.
fn encode(list: &StatusList, statuses: usize, before: Option<Chosen>) -> (String, Chosen) {
    if let Some(chosen) = before.filter(|chosen| chosen.fits(statuses)) {
        return (encoder::encode_with(list, chosen.strategy), chosen);
    }
    let (encoded, strategy) = encoder::encode_best(list);
    (encoded, Chosen { strategy, statuses })
}

/// The claims of a status list token, with the private claims `number` and `head_uri`. `before` is the choice for the
/// edition before.
///
/// Source: draft-ietf-oauth-status-list-20 §5.1.
pub(super) fn payload(
    uri: &str,
    aggregation_uri: &str,
    head_uri: Option<&str>,
    edition: &ListEdition,
    before: Option<Chosen>,
) -> (JsonObject, Chosen) {
    let mut list = StatusList::all_valid(edition.bits, edition.capacity);
    for (index, status) in &edition.statuses {
        list.set(u64::from(*index), status.number());
    }
    let (encoded, chosen) = encode(&list, edition.statuses.len(), before);
    let claims = json!({
        "sub": uri,
        "iat": edition.issued_at,
        "exp": edition.issued_at.saturating_add(LIST_LIFETIME),
        "ttl": LIST_TTL,
        "number": edition.number,
        "status_list": {
            "bits": list.bits().number(),
            "lst": encoded,
            "aggregation_uri": aggregation_uri,
        },
    });
    match claims {
        Value::Object(mut claims) => {
            claims.extend(head_uri.map(|uri| ("head_uri".to_owned(), uri.into())));
            (claims, chosen)
        }
        _ => (JsonObject::new(), chosen),
    }
}

/// Reads a signed edition as a verifier would. Its `number`, its `iat` and every status must equal
/// those of the database.
pub(super) fn check(
    body: &str,
    uri: &str,
    keys: &JwkSet,
    edition: &ListEdition,
) -> Result<EditionClaims, BadEdition> {
    let claims = read(body, uri, keys, size(edition))?;
    if (claims.number, claims.issued_at) != (edition.number, edition.issued_at) {
        return Err(BadEdition::OtherEdition);
    }
    // Those of the database read back, and there are no others.
    let mut read_back = edition
        .statuses
        .iter()
        .map(|(index, status)| (claims.list.status((*index).into()), status));
    let equal = read_back.all(|(read, status)| read == Some(*status));
    let count = claims.list.count_not_valid() == edition.statuses.len() as u64;
    if !equal || !count || claims.list.entries() < edition.capacity.into() {
        return Err(BadEdition::OtherStatus);
    }
    Ok(EditionClaims { resumes: Some(edition.resumes), ..claims })
}

/// Reads a list of this issuer as a verifier would. The list must have `exp` and `number`. It may
/// have expired. `max_bytes` limits its inflated size.
///
/// # Errors
///
/// [`BadEdition::Refused`], [`BadEdition::ClaimMissing`].
pub fn read(
    body: &str,
    uri: &str,
    keys: &JwkSet,
    max_bytes: usize,
) -> Result<EditionClaims, BadEdition> {
    let rules = rules(max_bytes);
    let claims = status_list_token::read(body.as_bytes(), uri, keys, &rules, check_signature);
    let claims = claims.map_err(BadEdition::Refused)?;
    let expiration = claims.expiration.ok_or(BadEdition::ClaimMissing("exp"))?;
    Ok(EditionClaims {
        number: claims.number.ok_or(BadEdition::ClaimMissing("number"))?,
        issued_at: claims.issued_at.seconds(),
        expiration: expiration.seconds(),
        list: claims.list,
        resumes: None,
    })
}

/// Reads the status head of this issuer as a verifier would, of any age.
///
/// # Errors
///
/// [`BadEdition::Refused`].
pub fn read_head(body: &[u8], uri: &str, keys: &JwkSet) -> Result<StatusHead, BadEdition> {
    StatusHead::read(body, uri, keys, &rules(0), check_signature).map_err(BadEdition::Refused)
}

/// The rules for documents of this issuer: lists of any age.
fn rules(max_list_bytes: usize) -> ListRules<'static> {
    ListRules {
        algorithms: &SIGNING_ALGORITHMS,
        max_token_bytes: usize::MAX,
        max_list_bytes,
        max_age: None,
    }
}

impl EditionClaims {
    /// Checks that this edition may replace `live`: it is newer and takes nothing back. A revoked
    /// status stays revoked. A suspended status becomes valid only if tokens of the list were
    /// resumed since `live`, or if that is unknown.
    pub(super) fn may_replace(&self, live: &Self) -> Result<(), BadEdition> {
        if live.number >= self.number || live.issued_at > self.issued_at {
            return Err(BadEdition::NotNewer);
        }
        let may_resume = live.resumes.is_none_or(|resumes| self.resumes > Some(resumes));
        let keeps = live.list.may_differ(&self.list).all(|index| {
            match (live.list.status(index), self.list.status(index)) {
                (Some(StatusType::Invalid), new) => new == Some(StatusType::Invalid),
                (Some(StatusType::Suspended), Some(StatusType::Valid)) => may_resume,
                (_, new) => new.is_some(),
            }
        });
        if keeps { Ok(()) } else { Err(BadEdition::TakenBack) }
    }

    /// Checks that this edition may replace the text `live` at a target. A text that is no list
    /// with this URI, such as an incomplete upload, may always be replaced.
    pub(super) fn may_overwrite(
        &self,
        live: &str,
        uri: &str,
        keys: &JwkSet,
    ) -> Result<(), BadEdition> {
        match read(live, uri, keys, self.list.bytes().len()) {
            Ok(live) => self.may_replace(&live),
            Err(_) if names(live, uri) => Err(BadEdition::ForeignSignature),
            Err(_) => Ok(()),
        }
    }
}

/// Whether the text is a compact JWS with this URI as `sub`. Does not check its signature.
fn names(text: &str, uri: &str) -> bool {
    let claims = CompactJws::parse(text, usize::MAX).ok().and_then(|jws| jws.claims().ok());
    claims.is_some_and(|claims| claims.required_string("sub").is_ok_and(|subject| subject == uri))
}

/// Inflated size of an edition, in bytes.
fn size(edition: &ListEdition) -> usize {
    (edition.capacity as usize).saturating_mul(edition.bits.number().into()).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use edgepass_status_list::Bits;

    use super::*;
    use crate::entropy::Counting;
    use crate::keys::Keys;
    use crate::seal::MasterKey;
    use crate::signing_key::{KeyState, SealedKey, SigningAlgorithm, TokenType};
    use crate::storage::StoredKeys;

    fn claims(number: u64, resumes: u64, statuses: &[(u64, u8)]) -> EditionClaims {
        let mut list = StatusList::all_valid(Bits::Two, 16);
        for (index, value) in statuses {
            list.set(*index, *value);
        }
        EditionClaims { number, issued_at: 100, expiration: 3700, list, resumes: Some(resumes) }
    }

    #[test]
    fn an_edition_has_the_statuses_of_the_database_and_no_others() {
        let (vault, entropy) = (MasterKey::new([1; 32]).into(), &mut Counting(0));
        let (algorithm, state) = (SigningAlgorithm::EdDSA, KeyState::Signing);
        let key = SealedKey::generate(algorithm, state, &vault, entropy, 1).unwrap();
        let stored = StoredKeys { keys: vec![key], changed_at: 1 };
        let keys = Keys::open(stored, &vault, TokenType::Jwt).unwrap();
        let of = |statuses: &[(u32, StatusType)]| ListEdition {
            id: "1200-0".to_owned(),
            number: 3,
            issued_at: 1000,
            capacity: 1000,
            bits: Bits::Two,
            changes: 1,
            resumes: 0,
            statuses: statuses.to_vec(),
        };
        let (revoked, suspended) = (StatusType::Invalid, StatusType::Suspended);
        let own = of(&[(999, suspended), (3, revoked), (4, revoked)]);
        let uri = "https://issuer.example/lists/1200-0";
        let mut before = None;
        for _ in 0..2 {
            let (payload, chosen) = payload(uri, uri, Some(uri), &own, before);
            before = Some(chosen);
            let body = keys.sign_list(&payload).unwrap();
            let read = check(&body, uri, keys.own(), &own).unwrap();
            assert_eq!(read.list.count_not_valid(), 3);
            for other in [
                vec![(999, suspended), (3, revoked)],
                vec![(999, suspended), (3, revoked), (4, revoked), (5, revoked)],
                vec![(999, suspended), (3, revoked), (5, revoked)],
                vec![(999, revoked), (3, revoked), (4, revoked)],
                vec![(999, suspended), (3, revoked), (4, suspended)],
                vec![],
            ] {
                let found = check(&body, uri, keys.own(), &of(&other)).err();
                assert_eq!(found, Some(BadEdition::OtherStatus), "{other:?}");
            }
        }
    }

    #[test]
    fn nothing_that_was_published_is_taken_back() {
        let live = claims(2, 0, &[(3, 1), (4, 2)]);
        for (new, expected) in [
            (claims(3, 0, &[(3, 1), (4, 2), (5, 1)]), true),
            (claims(3, 0, &[(3, 1), (4, 1)]), true),
            (claims(2, 0, &[(3, 1), (4, 2)]), false),
            (claims(3, 0, &[(4, 2)]), false),
            (claims(3, 1, &[(3, 2), (4, 2)]), false),
            (claims(3, 0, &[(3, 1)]), false),
            (claims(3, 1, &[(3, 1)]), true),
            (EditionClaims { issued_at: 99, ..claims(3, 0, &[(3, 1), (4, 2)]) }, false),
        ] {
            assert_eq!(new.may_replace(&live).is_ok(), expected, "{new:?}");
        }
    }
}
