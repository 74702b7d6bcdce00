//! `POST /oauth/revoke`: a client revokes a token of its own.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::client::Client;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::status_act::ActError;

use super::authenticate::{Credentials, authenticate_now};
use super::error::OauthError;
use super::form::Parameters;
use crate::App;
use crate::acts::unavailable;
use crate::peer::Peer;

/// Responds 200 once the endpoint and every target serve a list that shows the revocation, or if
/// there is nothing to revoke. Responds 503 if publication takes longer than 5 s.
pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Result<Parameters, OauthError>,
) -> Response {
    let answer = async {
        let form = form?;
        let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
        let credentials = Credentials { headers: &headers, form: Some(&form), peer };
        let policy = app.issuer.policy();
        let client = authenticate_now(&app, &policy, &credentials).await?;
        let token = form.get("token").ok_or(OauthError::InvalidRequest("token is missing"))?;
        revoke_own(&app, &policy, client, token).await
    };
    match answer.await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(),
    }
}

/// Revokes a token of the client. A token that was exchanged for it is revoked with it.
async fn revoke_own<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    client: &Client,
    token: &str,
) -> Result<(), OauthError> {
    // RFC 7009 §2.2: the response to an invalid token is 200 too.
    // The signature comes first, so that nobody learns which tokens there are.
    let failed = |error| unavailable(&error, &client.id);
    let found = app.issuer.signed_token(token.trim(), (app.host.now)()).await;
    let jwt_id = match found.map_err(|error| failed(ActError::Store(error)))? {
        None => return Ok(()),
        Some((_, record)) if record.facts.client_id != client.id => {
            return Err(OauthError::UnauthorizedClient("the token was issued to another client"));
        }
        Some((_, record)) => record.facts.jwt_id,
    };
    let act = NewAct {
        change: StatusChange::Revoke,
        selection: Selection::JwtIds(vec![jwt_id.clone()]),
        reason: "revoked by its client".to_owned(),
        actor: format!("client:{}", client.id),
        policy: policy.number(),
        report: None,
        at: (app.host.now)(),
    };
    let outcome = app.act(&act).await.map_err(failed)?;
    if outcome.recorded.is_some() {
        tracing::info!(jti = jwt_id, client = client.id, "token revoked");
    }
    if !outcome.is_published {
        return Err(OauthError::Unavailable("recorded, not published yet; retry to wait for it"));
    }
    Ok(())
}
