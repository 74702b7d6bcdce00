//! `POST /admin/v1/tokens`: issues a token.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use edgepass_issuer::access::GrantError;
use edgepass_issuer::entropy::Entropy;
use edgepass_issuer::issue::{IssueError, IssuedToken};
use edgepass_issuer::order::{GrantedOrder, OrderError, TokenOrder};
use edgepass_issuer::storage::{AccessStore, TokenStore};
use edgepass_issuer::{Issuer, Store};
use edgepass_verify::UnixMillis;
use serde_json::{Value, json};

use super::{Head, OPERATE, REQUEST, authorize_party, read, respond};
use crate::oauth::error::OauthError;
use crate::{App, error_chain};

/// Longest wait while an act blocks issuing.
const RETRY_FOR: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let issued = async {
        let (party, scope) = authorize_party(&app, &head, &[OPERATE, REQUEST]).await?;
        let actor = party.name;
        let order: TokenOrder = read(&head, body).await?;
        if scope == REQUEST && order.grant.is_none() {
            return Err(OauthError::InsufficientScope(OPERATE));
        }
        let order = app.issuer.grant_order(order, &actor, (app.host.now)()).await;
        let order = order.map_err(refused)?;
        // A token for this API would let its holder go on for ever.
        if order.grant.audience == app.issuer.issuer() {
            return Err(OauthError::InvalidRequest(
                "a token for this API comes from a client, a federation or the issuer's machine",
            ));
        }
        let issued = issue(&app.issuer, &order, &mut { app.host }, app.host.now).await;
        let issued = issued.map_err(|error| not_issued(&error))?;
        if !app.publication.serves_list(&issued.list_id).await {
            tracing::error!(
                jti = issued.jwt_id,
                "the status list of an issued token is not served"
            );
            return Err(OauthError::Unavailable("no token can be issued now"));
        }
        tracing::info!(jti = issued.jwt_id, actor, "token issued");
        Ok(view(&issued, &order))
    };
    respond(issued.await)
}

/// Issues the token of an order. While an act blocks such tokens, tries again for two seconds.
///
/// # Errors
///
/// [`IssueError`].
pub async fn issue<S: TokenStore + AccessStore>(
    issuer: &Issuer<S>,
    order: &GrantedOrder,
    entropy: &mut (impl Entropy + Send),
    now: fn() -> UnixMillis,
) -> Result<IssuedToken, IssueError> {
    let mut waited = Duration::ZERO;
    loop {
        match issuer.issue_order(order, entropy, now()).await {
            Err(IssueError::Blocked) if waited < RETRY_FOR => {
                tokio::time::sleep(PAUSE).await;
                waited = waited.saturating_add(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// An issued token as JSON.
pub fn view(token: &IssuedToken, order: &GrantedOrder) -> Value {
    json!({
        "access_token": token.token,
        "token_type": if order.is_bound_to_key() { "DPoP" } else { "Bearer" },
        "expires_in": token.lifetime,
        "scope": token.scope,
        "jti": token.jwt_id,
    })
}

fn not_issued(error: &IssueError) -> OauthError {
    match error {
        IssueError::NotAcceptable(_) => {
            OauthError::InvalidRequest("client_id or sub is not acceptable")
        }
        IssueError::NoAccess => OauthError::AccessRefused(error.to_string()),
        IssueError::NotReplaced => {
            OauthError::InvalidRequest("the token to be replaced is not valid any more")
        }
        error => {
            tracing::error!(error = %error_chain(error), "token not issued");
            OauthError::Unavailable("no token can be issued now")
        }
    }
}

fn refused(error: OrderError) -> OauthError {
    match error {
        OrderError::Malformed(text) | OrderError::Unbound(text) => OauthError::InvalidRequest(text),
        OrderError::Unknown => OauthError::InvalidRequest("there is no token with that jti"),
        OrderError::Policy(error) => crate::oauth::token::refused(error),
        OrderError::Replace(error) => OauthError::InvalidScope(error.to_string()),
        OrderError::NoGrant => OauthError::AccessRefused(OrderError::NoGrant.to_string()),
        OrderError::Access(GrantError::Policy(error)) => crate::oauth::token::refused(error),
        OrderError::Access(GrantError::Store(error)) => super::records::unreadable(error),
        OrderError::Access(error) => OauthError::AccessRefused(error.to_string()),
        error => {
            tracing::error!(error = %error_chain(&error), "token not issued");
            OauthError::Unavailable("no token can be issued now")
        }
    }
}
