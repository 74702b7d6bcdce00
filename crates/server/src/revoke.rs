//! `POST /oauth/revoke`: a client revokes a token of its own.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::new_act::NewAct;
use edgepass_issuer::selection::{Selection, StatusChange};
use edgepass_issuer::status_act::{ActError, unverified_jwt_id};
use serde::Deserialize;

use crate::App;
use crate::acts::unavailable;
use crate::client_auth::authenticate;
use crate::error::OauthError;

/// A revocation request.
///
/// Source: [RFC 7009 §2.1](https://www.rfc-editor.org/rfc/rfc7009#section-2.1).
#[derive(Deserialize)]
pub(crate) struct Body {
    token: Option<String>,
    #[serde(rename = "token_type_hint")]
    _token_type_hint: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

/// Responds 200 once the endpoint and every target serve a list that shows the revocation, or if
/// there is nothing to revoke. Responds 503 if publication takes longer than 5 s.
pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Result<Form<Body>, FormRejection>,
) -> Response {
    match revoke_own(&app, &headers, body).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn revoke_own<S: Store>(
    app: &App<S>,
    headers: &HeaderMap,
    body: Result<Form<Body>, FormRejection>,
) -> Result<(), OauthError> {
    let Form(body) =
        body.map_err(|_| OauthError::InvalidRequest("send a form with each parameter once"))?;
    let form = (body.client_id.as_deref(), body.client_secret.as_deref());
    let policy = app.issuer.policy();
    let client = authenticate(&app.config, &policy, headers, form)?;
    let token = body.token.ok_or(OauthError::InvalidRequest("token is missing"))?;
    // RFC 7009 §2.2: the response to an invalid token is 200 too.
    let Some(jwt_id) = unverified_jwt_id(&token) else { return Ok(()) };
    let failed = |error| unavailable(&error, &client.id);
    let record = app.issuer.store().token(&jwt_id).await;
    match record.map_err(|error| failed(ActError::Store(error)))? {
        None => return Ok(()),
        Some(record) if record.facts.client_id != client.id => {
            return Err(OauthError::UnauthorizedClient("the token was issued to another client"));
        }
        Some(_) => {}
    }
    let act = NewAct {
        change: StatusChange::Revoke,
        selection: Selection::JwtIds(vec![jwt_id.clone()]),
        reason: "revoked by its client".to_owned(),
        actor: format!("client:{}", client.id),
        policy: policy.number(),
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
