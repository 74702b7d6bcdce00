//! Revoking: durable first, then served.

use edgepass_jose::CompactJws;
use edgepass_verify::UnixMillis;

use crate::audit::{Act, AuditEntry};
use crate::status_index::RETIRE_AFTER;
use crate::storage::{RecordedRevocation, Store, StoreError};

/// What a revocation came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Revocation {
    /// It is durable; it takes effect when an edition that covers it is served.
    Recorded(RecordedRevocation),
    /// The token expired so long ago that no verifier accepts it and no list names it.
    LongExpired,
    /// There is no such token.
    UnknownToken,
}

/// Record a revocation with its audit entry.
///
/// # Errors
///
/// [`StoreError`]: nothing was recorded.
pub async fn revoke<S: Store>(
    store: &S,
    jwt_id: &str,
    reason: &str,
    actor: &str,
    now: UnixMillis,
) -> Result<Revocation, StoreError> {
    let Some(token) = store.token(jwt_id).await? else {
        return Ok(Revocation::UnknownToken);
    };
    if now.numeric_date().seconds() >= token.facts.expiration.saturating_add(RETIRE_AFTER) {
        return Ok(Revocation::LongExpired);
    }
    let entry = AuditEntry {
        at_ms: now.0,
        actor: actor.to_owned(),
        act: Act::TokenRevoked { jwt_id: jwt_id.to_owned(), reason: reason.to_owned() },
    };
    Ok(match store.record_revocation(jwt_id, reason, &entry).await? {
        Some(recorded) => Revocation::Recorded(recorded),
        None => Revocation::UnknownToken,
    })
}

/// `jti` of a token, unverified. It may only be used to select one of our own records.
pub fn unverified_jwt_id(token: &str) -> Option<String> {
    const MAX_TOKEN_BYTES: usize = 1 << 20;
    let jws = CompactJws::parse(token, MAX_TOKEN_BYTES).ok()?;
    let claims = jws.claims().ok()?;
    claims.required_string("jti").ok().map(str::to_owned)
}
