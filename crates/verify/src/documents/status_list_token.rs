//! Status list tokens: the one reader of them, for verifiers, issuers and tools.

use edgepass_jose::json::parse_object;
use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{Algorithm, CompactJws, Jwk, JwkSet, NumericDate};
use edgepass_status_list::StatusListClaims;
use edgepass_status_list::claims::{STATUS_LIST_TYPE, StatusListError};
use edgepass_status_list::list::ListError;
use serde_json::Value;

use crate::documents::refused::Refused;
use crate::signature::{self, Checked};

/// In seconds. Nothing in the draft bounds the age of a list without `exp`.
const LIFETIME_WITHOUT_EXPIRATION: u64 = 24 * 60 * 60;

/// What is accepted of a status list token.
#[derive(Clone, Copy, Debug)]
pub struct ListRules<'a> {
    /// The algorithms that it may be signed by.
    pub algorithms: &'a [Algorithm],
    /// The longest token, in bytes.
    pub max_token_bytes: usize,
    /// The largest list, inflated, in bytes.
    pub max_list_bytes: usize,
    /// How old its `iat` may be, in seconds; `None`: as old as its `exp` says.
    pub max_age: Option<u64>,
}

/// A status list token whose key is known. Nothing that it says is to be trusted before its signature is.
pub struct StatusListToken {
    jws: CompactJws,
    key: Jwk,
}

impl StatusListToken {
    /// Parse a token, and find its key.
    ///
    /// Source: draft-ietf-oauth-status-list-20 §8.3, steps before the signature.
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`], [`Refused::Type`], [`Refused::Key`].
    pub fn parse(bytes: &[u8], keys: &JwkSet, rules: &ListRules<'_>) -> Result<Self, Refused> {
        let text = std::str::from_utf8(bytes).map_err(|_| Refused::Malformed)?;
        let jws = CompactJws::parse(text, rules.max_token_bytes);
        let jws = jws.map_err(|_| Refused::Malformed)?;
        if !jws.header().has_type(STATUS_LIST_TYPE) {
            return Err(Refused::Type);
        }
        let algorithm = Algorithm::from_name(jws.header().algorithm());
        let algorithm = algorithm.filter(|own| rules.algorithms.contains(own));
        match keys.find(jws.header().key_id(), algorithm.ok_or(Refused::Key)?) {
            KeyMatch::One(key) => Ok(Self { key: key.clone(), jws }),
            KeyMatch::Unfit | KeyMatch::None => Err(Refused::Key),
        }
    }

    /// The key that it names.
    pub fn key(&self) -> &Jwk {
        &self.key
    }

    /// Check its signature.
    pub fn check_signature(&self) -> Checked {
        signature::check(&self.key, &self.jws)
    }

    /// What it says, once its signature is known to be valid. Whether its time is up is for
    /// [`expiration`] to say.
    ///
    /// # Errors
    ///
    /// [`Refused::Malformed`], [`Refused::TooLarge`]; [`Refused::Subject`] for a list of another URI.
    pub fn claims(&self, uri: &str, rules: &ListRules<'_>) -> Result<StatusListClaims, Refused> {
        let claims = self.jws.claims().map_err(|_| Refused::Malformed)?;
        let claims = StatusListClaims::from_claims(&claims, rules.max_list_bytes);
        let claims = claims.map_err(|error| match error {
            StatusListError::List(ListError::TooLarge) => Refused::TooLarge,
            _ => Refused::Malformed,
        })?;
        if claims.subject == uri { Ok(claims) } else { Err(Refused::Subject) }
    }
}

/// Read the status list of `uri`, where this crate checks the signature itself: one by Ed25519.
///
/// # Errors
///
/// As [`StatusListToken::parse`] and [`StatusListToken::claims`]; [`Refused::Signature`].
pub fn read(
    bytes: &[u8],
    uri: &str,
    keys: &JwkSet,
    rules: &ListRules<'_>,
) -> Result<StatusListClaims, Refused> {
    let token = StatusListToken::parse(bytes, keys, rules)?;
    match token.check_signature() {
        Checked::Here(true) => token.claims(uri, rules),
        Checked::Here(false) | Checked::ByHost(_) => Err(Refused::Signature),
    }
}

/// From this second on the list says nothing, without leeway: that of `exp`, or when it was signed longer
/// ago than it may have been. One without `exp` is relied on for 24 hours.
pub fn expiration(claims: &StatusListClaims, rules: &ListRules<'_>) -> NumericDate {
    let own =
        claims.expiration.unwrap_or_else(|| claims.issued_at.plus(LIFETIME_WITHOUT_EXPIRATION));
    match rules.max_age {
        Some(age) => own.min(claims.issued_at.plus(age)),
        None => own,
    }
}

/// The URIs that an issuer names, in its order.
///
/// Source: draft-ietf-oauth-status-list-20 §9.
pub(super) fn aggregation(bytes: &[u8]) -> Option<Vec<String>> {
    let mut members = parse_object(bytes).ok()?;
    let Some(Value::Array(uris)) = members.remove("status_lists") else { return None };
    let text = |uri| match uri {
        Value::String(uri) => Some(uri),
        _ => None,
    };
    uris.into_iter().map(text).collect()
}
