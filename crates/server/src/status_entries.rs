//! `POST /status-entries`: status entries for tokens of other issuers.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::sidecar::{AllotError, ForeignToken};
use edgepass_jose::json;
use edgepass_verify::policy;
use serde::Deserialize;
use serde_json::json;

use crate::oauth::authenticate::{Credentials, authenticate_now};
use crate::oauth::error::OauthError;
use crate::peer::Peer;
use crate::{App, acts, error_chain};

/// The body: the claims of the token that decide about its entry.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    jti: String,
    exp: u64,
    iss: String,
    sub: String,
}

/// Responds with the claim `status` for the token. A repeated request gets the same.
pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Bytes,
) -> Response {
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    let credentials = Credentials { headers: &headers, form: None, peer };
    let answer = allot(&app, &credentials, &body).await;
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn allot<S: Store>(
    app: &App<S>,
    credentials: &Credentials<'_>,
    body: &[u8],
) -> Result<Response, OauthError> {
    let live = app.issuer.policy();
    let client = authenticate_now(app, &live, credentials).await?;
    if !client.allots {
        return Err(OauthError::UnauthorizedClient("the client may not allot status entries"));
    }
    if !acts::is_json(credentials.headers) {
        return Err(OauthError::InvalidRequest("send Content-Type: application/json"));
    }
    let entry = json::parse_object(body).ok().and_then(|body| policy::json::read(body.into()).ok());
    let Entry { jti, exp, iss, sub } = entry.ok_or(OauthError::InvalidRequest(
        "send JSON: {\"jti\", \"exp\" in seconds, \"iss\", \"sub\"}, each once",
    ))?;
    let token = ForeignToken {
        jwt_id: jti,
        expiration: exp,
        issuer: iss,
        subject: sub,
        client_id: client.id.clone(),
        actor: format!("client:{}", client.id),
    };
    let slot = app.issuer.allot(token, &mut { app.host }, (app.host.now)()).await;
    let slot = slot.map_err(|error| match error {
        AllotError::Text(_) => OauthError::InvalidRequest(
            "jti, iss and sub must be texts of 1 to 1024 bytes without control characters",
        ),
        AllotError::Expiration => {
            OauthError::InvalidRequest("exp must be in the future, and at most 24 hours ahead")
        }
        AllotError::Taken => OauthError::InvalidRequest("another token has this jti"),
        _ => {
            tracing::error!(error = %error_chain(&error), client = client.id, "entry not allotted");
            OauthError::Unavailable("no entry can be allotted now")
        }
    })?;
    // The list may have been opened for this entry.
    app.publication.until(|publisher| publisher.covers(&slot.list_id, 0)).await;
    let list = json!({ "idx": slot.index, "uri": app.issuer.list_uri(&slot.list_id) });
    let body = Json(json!({ "status": { "status_list": list } }));
    Ok((StatusCode::OK, [(header::CACHE_CONTROL, "no-store")], body).into_response())
}
