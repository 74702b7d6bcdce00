//! An edition of a status list: written, and read back as a verifier would before it is published.

use edgepass_jose::json::JsonObject;
use edgepass_jose::jwk_set::JwkSet;
use edgepass_jose::{Algorithm, CompactJws};
use edgepass_status_list::{StatusList, StatusType, encoder};
use edgepass_verify::documents::refused::Refused;
use edgepass_verify::documents::status_list_token::{self, ListRules};
use serde_json::{Value, json};

use crate::storage::ListEdition;

/// `exp - iat` of a list, in seconds; a new edition is signed at half of it, or earlier
/// ([`ListSchedule`](crate::config::ListSchedule)).
pub const LIST_LIFETIME: u64 = 60 * 60;
/// `ttl` of a list, in seconds.
pub const LIST_TTL: u64 = 5;

/// What an edition that was published says.
#[derive(Clone, Debug)]
pub struct EditionClaims {
    /// `number`.
    pub number: u64,
    /// `iat`, in seconds.
    pub issued_at: u64,
    /// `exp`, in seconds.
    pub expiration: u64,
    pub(super) list: StatusList,
    /// How often tokens of the list had been resumed; `None` when that is not known.
    pub(super) resumes: Option<u64>,
}

/// Why a document must not be published.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadEdition {
    /// Verifiers would refuse it.
    #[error("verifiers would refuse it: {}", .0.name())]
    Refused(Refused),
    /// It lacks a claim that lists of this issuer have.
    #[error("it has no {0}")]
    ClaimMissing(&'static str),
    /// `number` or `iat` is another than the database's.
    #[error("number or iat differs from the database")]
    OtherEdition,
    /// A status is another than the database's.
    #[error("a status differs from the database")]
    OtherStatus,
    /// A status that was published would be taken back.
    #[error("a status that was published is taken back")]
    TakenBack,
    /// The list that is live is as new, or newer.
    #[error("what is live is not older; was the database replaced by an old copy?")]
    LiveNotOlder,
    /// The list that is live was signed by somebody else.
    #[error("what is live is not signed by a key of ours; was the database replaced?")]
    LiveNotOurs,
    /// The JWK Set that is live is newer.
    #[error("the JWK Set that is live is newer; was the database replaced by an old copy?")]
    LiveKeysNewer,
    /// The JWK Set that is live lacks a key that was in it.
    #[error(
        "the JWK Set that is live lacks a key that was in it; was the database replaced by an old copy?"
    )]
    LiveKeysLack,
    /// What lies at a target was not made from this database.
    #[error(
        "what lies at a target was not made from this database; was it replaced by an old copy?"
    )]
    OtherDatabase,
}

/// The claims of a status list token, with the private claim `number`.
///
/// Source: draft-ietf-oauth-status-list-20 §5.1.
pub(super) fn payload(uri: &str, aggregation_uri: &str, edition: &ListEdition) -> JsonObject {
    let mut list = StatusList::all_valid(edition.bits, edition.capacity);
    for (index, status) in &edition.statuses {
        list.set(u64::from(*index), status.number());
    }
    let claims = json!({
        "sub": uri,
        "iat": edition.issued_at,
        "exp": edition.issued_at + LIST_LIFETIME,
        "ttl": LIST_TTL,
        "number": edition.number,
        "status_list": {
            "bits": list.bits().number(),
            "lst": encoder::encode(&list),
            "aggregation_uri": aggregation_uri,
        },
    });
    match claims {
        Value::Object(claims) => claims,
        _ => JsonObject::new(),
    }
}

/// Read an edition as a verifier would, and hold every index against the database.
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
    let mut statuses = edition.statuses.clone();
    statuses.sort_unstable_by_key(|(index, _)| *index);
    let mut others = statuses.iter().peekable();
    let equal = (0..edition.capacity).all(|index| {
        let other = others.next_if(|(other, _)| *other == index);
        let expected = other.map_or(StatusType::Valid, |(_, status)| *status);
        claims.list.status(u64::from(index)) == Some(expected)
    });
    if !equal || others.next().is_some() {
        return Err(BadEdition::OtherStatus);
    }
    Ok(EditionClaims { resumes: Some(edition.resumes), ..claims })
}

/// Read a list as verifiers do, and what lists of this issuer say besides. It may have expired.
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
    let rules = ListRules {
        algorithms: &[Algorithm::Ed25519],
        max_token_bytes: usize::MAX,
        max_list_bytes: max_bytes,
        max_age: None,
    };
    let claims = status_list_token::read(body.as_bytes(), uri, keys, &rules);
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

impl EditionClaims {
    /// Whether this may replace what `live` said: it is newer, and takes nothing back. Revoked stays
    /// revoked; suspended becomes valid only where somebody resumed a token.
    pub(super) fn may_replace(&self, live: &Self) -> Result<(), BadEdition> {
        if live.number >= self.number || live.issued_at > self.issued_at {
            return Err(BadEdition::LiveNotOlder);
        }
        let may_resume = live.resumes.is_none_or(|resumes| self.resumes > Some(resumes));
        let keeps = (0..live.list.entries()).all(|index| {
            match (live.list.status(index), self.list.status(index)) {
                (Some(StatusType::Invalid), new) => new == Some(StatusType::Invalid),
                (Some(StatusType::Suspended), Some(StatusType::Valid)) => may_resume,
                (_, new) => new.is_some(),
            }
        });
        if keeps { Ok(()) } else { Err(BadEdition::TakenBack) }
    }

    /// Whether this may take the place of `live`, which somebody put where it is to lie. What is no
    /// list of this name has nothing to be kept, such as the rest of an upload.
    pub(super) fn may_overwrite(
        &self,
        live: &str,
        uri: &str,
        keys: &JwkSet,
    ) -> Result<(), BadEdition> {
        match read(live, uri, keys, self.list.bytes().len()) {
            Ok(live) => self.may_replace(&live),
            Err(_) if names(live, uri) => Err(BadEdition::LiveNotOurs),
            Err(_) => Ok(()),
        }
    }
}

/// Whether a text is a list of this name, whoever signed it.
fn names(text: &str, uri: &str) -> bool {
    let claims = CompactJws::parse(text, usize::MAX).ok().and_then(|jws| jws.claims().ok());
    claims.is_some_and(|claims| claims.required_string("sub").is_ok_and(|subject| subject == uri))
}

/// What an edition inflates to.
fn size(edition: &ListEdition) -> usize {
    (edition.capacity as usize).saturating_mul(edition.bits.number().into()).div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_status_list::Bits;

    fn claims(number: u64, resumes: u64, statuses: &[(u64, u8)]) -> EditionClaims {
        let mut list = StatusList::all_valid(Bits::Two, 16);
        for (index, value) in statuses {
            list.set(*index, *value);
        }
        EditionClaims { number, issued_at: 100, expiration: 3700, list, resumes: Some(resumes) }
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
