//! Reading what came for a status list: before its signature, and after.

use edgepass_jose::json::parse_object;
use edgepass_jose::jwk_set::KeyMatch;
use edgepass_jose::{CompactJws, Jwk, JwkSet, NumericDate};
use edgepass_status_list::StatusListClaims;
use edgepass_status_list::claims::{STATUS_LIST_TYPE, StatusListError};
use edgepass_status_list::list::ListError;
use serde_json::Value;

use crate::documents::fetch::Document;
use crate::documents::refused::Refused;
use crate::policy::Policy;
use crate::time::UnixMillis;

/// In seconds. Nothing in the draft bounds the age of a list without `exp`.
const LIFETIME_WITHOUT_EXPIRATION: u64 = 24 * 60 * 60;

/// Parse a list and find its key, without trusting its content.
///
/// Source: draft-ietf-oauth-status-list-20 §8.3, steps before the signature.
pub(super) fn open(
    bytes: &[u8],
    media_type: Option<&str>,
    keys: Option<&JwkSet>,
    policy: &Policy,
) -> Result<(CompactJws, Jwk), Refused> {
    if media_type != Some(Document::StatusList.accept()) {
        return Err(Refused::MediaType);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refused::Malformed)?;
    let jws = CompactJws::parse(text, policy.max_response_bytes).map_err(|_| Refused::Malformed)?;
    if !jws.header().has_type(STATUS_LIST_TYPE) {
        return Err(Refused::Type);
    }
    let algorithm = policy.allowed_algorithm(&jws).ok_or(Refused::Key)?;
    match keys.ok_or(Refused::Key)?.find(jws.header().key_id(), algorithm) {
        KeyMatch::One(key) => Ok((jws, key.clone())),
        KeyMatch::Unfit | KeyMatch::None => Err(Refused::Key),
    }
}

/// Read the claims of a list whose signature verified.
pub(super) fn read(
    jws: &CompactJws,
    uri: &str,
    policy: &Policy,
    now: UnixMillis,
) -> Result<StatusListClaims, Refused> {
    let claims = jws.claims().map_err(|_| Refused::Malformed)?;
    let claims = StatusListClaims::from_claims(&claims, policy.max_list_bytes);
    let claims = claims.map_err(|error| match error {
        StatusListError::List(ListError::TooLarge) => Refused::TooLarge,
        _ => Refused::Malformed,
    })?;
    if claims.subject != uri {
        return Err(Refused::Subject);
    }
    if now.numeric_date() >= expiration(&claims, policy) {
        return Err(Refused::Expired);
    }
    Ok(claims)
}

/// From this second on the list says nothing, without leeway: that of `exp`, or when it was signed longer
/// ago than the policy lets it be. One without `exp` is relied on for [`LIFETIME_WITHOUT_EXPIRATION`].
pub(super) fn expiration(claims: &StatusListClaims, policy: &Policy) -> NumericDate {
    let own =
        claims.expiration.unwrap_or_else(|| claims.issued_at.plus(LIFETIME_WITHOUT_EXPIRATION));
    match policy.max_list_age {
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
