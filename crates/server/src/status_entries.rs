//! `POST /status-entries`: status entries for tokens of other issuers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap};
use axum::response::Response;
use edgepass_issuer::entropy::Entropy;
use edgepass_issuer::sidecar::{AllotError, ForeignToken};
use edgepass_issuer::storage::{StatusSlot, TokenStore};
use edgepass_issuer::{Issuer, Store};
use edgepass_jose::json;
use edgepass_verify::{UnixMillis, policy};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::admin::respond;
use crate::oauth::authenticate::{Credentials, authenticate_now};
use crate::oauth::error::OauthError;
use crate::peer::Peer;
use crate::{App, acts, error_chain};

/// The body: the claims of the token that decide about its entry.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The claim `jti`.
    pub jti: String,
    /// The claim `exp`, in seconds.
    pub exp: u64,
    /// The claim `iss`.
    pub iss: String,
    /// The claim `sub`.
    pub sub: String,
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
    respond(by_client(&app, &credentials, &body).await)
}

async fn by_client<S: Store>(
    app: &App<S>,
    credentials: &Credentials<'_>,
    body: &[u8],
) -> Result<Value, OauthError> {
    let live = app.issuer.policy();
    let client = authenticate_now(app, &live, credentials).await?;
    if !client.allots {
        return Err(OauthError::UnauthorizedClient("the client may not allot status entries"));
    }
    if !acts::is_json(credentials.headers) {
        return Err(OauthError::InvalidRequest("send Content-Type: application/json"));
    }
    let entry = json::parse_object(body).ok().and_then(|body| policy::json::read(body.into()).ok());
    let entry = entry.ok_or(OauthError::InvalidRequest(
        "send JSON: {\"jti\", \"exp\" in seconds, \"iss\", \"sub\"}, each once",
    ))?;
    allot(app, entry, client.id.clone(), format!("client:{}", client.id)).await
}

/// Allots the entry, and waits until its list is published.
pub(crate) async fn allot<S: Store>(
    app: &App<S>,
    Entry { jti, exp, iss, sub }: Entry,
    client_id: String,
    actor: String,
) -> Result<Value, OauthError> {
    let token =
        ForeignToken { jwt_id: jti, expiration: exp, issuer: iss, subject: sub, client_id, actor };
    let slot = allot_soon(&app.issuer, &token, &mut { app.host }, app.host.now).await;
    let slot = slot.map_err(|error| match error {
        AllotError::Text(_) => OauthError::InvalidRequest(
            "jti, iss and sub must be texts of 1 to 1024 bytes, without control characters and white space at their ends",
        ),
        AllotError::Expiration => {
            OauthError::InvalidRequest("exp must be in the future, and at most 24 hours ahead")
        }
        AllotError::Taken => OauthError::InvalidRequest("another token has this jti"),
        _ => {
            tracing::error!(error = %error_chain(&error), "entry not allotted");
            OauthError::Unavailable("no entry can be allotted now")
        }
    })?;
    // The list may have been opened for this entry.
    if !app.publication.serves_list(&slot.list_id).await {
        tracing::error!("the status list of an allotted entry is not served");
        return Err(OauthError::Unavailable("no entry can be allotted now"));
    }
    let list = json!({ "idx": slot.index, "uri": app.issuer.list_uri(&slot.list_id) });
    Ok(json!({ "status": { "status_list": list } }))
}

/// Longest wait while an act blocks such entries, and the time between two attempts.
const RETRY_FOR: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Allots the entry. While an act blocks it, tries again for two seconds.
///
/// # Errors
///
/// [`AllotError`].
pub async fn allot_soon<S: TokenStore>(
    issuer: &Issuer<S>,
    token: &ForeignToken,
    entropy: &mut (impl Entropy + Send),
    now: fn() -> UnixMillis,
) -> Result<StatusSlot, AllotError> {
    let mut waited = Duration::ZERO;
    loop {
        match issuer.allot(token.clone(), entropy, now()).await {
            Err(AllotError::Blocked) if waited < RETRY_FOR => {
                tokio::time::sleep(PAUSE).await;
                waited = waited.saturating_add(PAUSE);
            }
            outcome => return outcome,
        }
    }
}
