//! Introspection: the state of a token, for a resource server that asks.

use edgepass_jose::json::JsonObject;
use edgepass_verify::UnixMillis;

use crate::issue::Issuer;
use crate::storage::{StoreError, TokenStore};

/// The claims of an active token for one of these audiences. `None`: the text is none, or the token
/// is not valid any more.
///
/// # Errors
///
/// [`StoreError`].
pub async fn active<S: TokenStore>(
    issuer: &Issuer<S>,
    token: &str,
    audiences: &[String],
    now: UnixMillis,
) -> Result<Option<JsonObject>, StoreError> {
    let found = issuer.valid_token(token, now).await?;
    let of_audience = found.filter(|(_, record)| audiences.contains(&record.facts.audience));
    Ok(of_audience.map(|(claims, _)| claims.members()))
}
