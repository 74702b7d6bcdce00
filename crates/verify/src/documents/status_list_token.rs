//! The only reader of status list tokens, for verifiers, issuers and tools.

use edgepass_jose::json::parse_document;
use edgepass_jose::{ClaimsSet, JwkSet, NumericDate};
use edgepass_status_list::StatusListClaims;
use edgepass_status_list::claims::{STATUS_LIST_TYPE, StatusListError};
use edgepass_status_list::list::ListError;
use serde_json::Value;

use crate::documents::refused::Refused;
pub use crate::documents::signed::ListRules;
use crate::documents::signed::SignedDocument;
use crate::signature::SignatureRequest;

/// The lifetime of a list without `exp`, in seconds from its `iat`. The draft sets none.
const LIFETIME_WITHOUT_EXPIRATION: u64 = 24 * 60 * 60;

/// Reads the claims of a status list token whose signature is valid. Does not check whether the list
/// has expired; see [`expiration`].
///
/// # Errors
///
/// [`Refused::Malformed`]; [`Refused::TooLarge`] for an inflated list above `max_list_bytes`;
/// [`Refused::Subject`] if `sub` is not `uri`.
pub(super) fn list_claims(
    claims: &ClaimsSet,
    uri: &str,
    rules: &ListRules<'_>,
) -> Result<StatusListClaims, Refused> {
    let claims = StatusListClaims::from_claims(claims, rules.max_list_bytes);
    let claims = claims.map_err(|error| match error {
        StatusListError::List(ListError::TooLarge) => Refused::TooLarge,
        _ => Refused::Malformed,
    })?;
    if claims.subject == uri { Ok(claims) } else { Err(Refused::Subject) }
}

/// Reads the status list of `uri` and checks its signature, if need be with the host's crypto.
/// Does not check whether the list has expired; see [`expiration`].
///
/// # Errors
///
/// As [`SignedDocument::parse`]. [`Refused::Signature`]; [`Refused::TooLarge`] for an inflated list
/// above `max_list_bytes`; [`Refused::Subject`] if `sub` is not `uri`.
pub fn read(
    bytes: &[u8],
    uri: &str,
    keys: &JwkSet,
    rules: &ListRules<'_>,
    host: impl FnOnce(&SignatureRequest) -> bool,
) -> Result<StatusListClaims, Refused> {
    list_claims(&SignedDocument::read(bytes, STATUS_LIST_TYPE, keys, rules, host)?, uri, rules)
}

/// Returns the second from which on a list must not be used: `exp`, or `iat` plus the maximum age
/// if that is earlier. No leeway is added. A list without `exp` may be used for 24 hours after its
/// `iat`.
pub fn expiration(claims: &StatusListClaims, rules: &ListRules<'_>) -> NumericDate {
    let own = own_expiration(claims);
    match rules.max_age {
        Some(age) => own.min(claims.issued_at.plus(age)),
        None => own,
    }
}

/// `exp`, or 24 hours after `iat`.
pub(super) fn own_expiration(claims: &StatusListClaims) -> NumericDate {
    claims.expiration.unwrap_or_else(|| claims.issued_at.plus(LIFETIME_WITHOUT_EXPIRATION))
}

/// The URIs that an aggregation names, in its order. `None` if it is malformed.
///
/// Source: draft-ietf-oauth-status-list-20 §9.
pub(super) fn aggregation(bytes: &[u8]) -> Option<Vec<String>> {
    let mut members = parse_document(bytes).ok()?;
    let Some(Value::Array(uris)) = members.remove("status_lists") else { return None };
    let text = |uri| match uri {
        Value::String(uri) => Some(uri),
        _ => None,
    };
    uris.into_iter().map(text).collect()
}
