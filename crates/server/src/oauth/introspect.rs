//! `POST /oauth/introspect`: the state of a token, for resource servers that do not verify tokens
//! themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::client::Client;
use edgepass_issuer::introspect::active;
use serde_json::{Value, json};

use super::authenticate::{Credentials, authenticate_now};
use super::error::OauthError;
use super::form::Parameters;
use crate::peer::Peer;
use crate::{App, error_chain};

/// Responds with the claims of an active token of an audience that the client may introspect, and for
/// every other text only with `{"active": false}`.
///
/// Source: [RFC 7662 §2.2](https://www.rfc-editor.org/rfc/rfc7662#section-2.2).
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
        introspect(&app, client, token).await
    };
    answer.await.unwrap_or_else(IntoResponse::into_response)
}

async fn introspect<S: Store>(
    app: &App<S>,
    client: &Client,
    token: &str,
) -> Result<Response, OauthError> {
    if client.introspects.is_empty() {
        return Err(OauthError::UnauthorizedClient("the client may not introspect tokens"));
    }
    let found = active(&app.issuer, token.trim(), &client.introspects, (app.host.now)()).await;
    let claims = found.map_err(|error| {
        tracing::error!(error = %error_chain(&error), client = client.id, "token not looked up");
        OauthError::Unavailable("no token can be looked up now")
    })?;
    let body = match claims {
        None => json!({ "active": false }),
        Some(mut claims) => {
            claims.remove("status");
            claims.insert("active".to_owned(), true.into());
            let is_dpop = claims.get("cnf").is_some_and(|cnf| cnf.get("jkt").is_some());
            let token_type = if is_dpop { "DPoP" } else { "Bearer" };
            claims.insert("token_type".to_owned(), token_type.into());
            Value::Object(claims)
        }
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
