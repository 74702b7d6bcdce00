//! Reports of leaked tokens: by whoever holds one, by GitHub, and by GitLab. Each token that is real is
//! revoked.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::leak::{LeakReport, revoke};
use edgepass_jose::json::parse_object;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::peer::Peer;
use crate::{App, error_chain};

/// The type of Edgepass's tokens in reports, by the rule of `edgepass leaks rule`.
const TOKEN_TYPE: &str = "edgepass_token";
/// The most tokens of one report.
const MAX_TOKENS: usize = 500;
/// The most reports that are worked on at once.
const MAX_REPORTS: usize = 16;

/// Limits the work on reports.
pub(crate) struct Reports(Arc<Semaphore>);

impl Default for Reports {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_REPORTS)))
    }
}

/// A found token, and where.
struct Found {
    token: String,
    url: Option<String>,
}

/// `POST /leaks/revoke`. The response is 202 whatever was sent, and does not wait for the work, so that
/// it does not tell whether a token is real.
pub(crate) async fn by_possession<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Bytes,
) -> Response {
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    if let Err(wait) = app.limits.report(peer.address) {
        return wait.into_response();
    }
    match take(&app, "possession", &peer, possessed(&headers, &body)) {
        Ok(()) => accepted(),
        Err(busy) => busy.into_response(),
    }
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, [(header::CACHE_CONTROL, "no-store")]).into_response()
}

/// The tokens of a body: `{"token"}` or `{"tokens"}` with a `url`, or a form of these. Nothing of
/// another body.
fn possessed(headers: &HeaderMap, body: &[u8]) -> Vec<Found> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_form = media_type.is_some_and(|text| text.contains("x-www-form-urlencoded"));
    let (mut tokens, mut url) = (Vec::new(), None);
    if is_form {
        for (name, value) in form_urlencoded::parse(body) {
            match name.as_ref() {
                "token" => tokens.push(value.into_owned()),
                "url" => url = Some(value.into_owned()),
                _ => {}
            }
        }
    } else if let Ok(members) = parse_object(body) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        tokens.extend(members.get("token").and_then(text));
        let listed = members.get("tokens").and_then(Value::as_array);
        tokens.extend(listed.into_iter().flatten().filter_map(text));
        url = members.get("url").and_then(text);
    }
    tokens.into_iter().map(|token| Found { token, url: url.clone() }).collect()
}

/// `POST /leaks/github`: the webhook of GitHub's secret scanning partner program. The body is signed.
pub(crate) async fn by_github<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    struct Alert {
        token: String,
        #[serde(default)]
        url: String,
    }
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = text("github-public-key-identifier").unwrap_or_default();
    let signature = text("github-public-key-signature").unwrap_or_default();
    let key = app.config.leaks.github_keys.iter().find(|key| key.id == id);
    if !key.is_some_and(|key| key.signed(&body, signature)) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(alerts) = serde_json::from_slice::<Vec<Alert>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let found = alerts.into_iter().map(|Alert { token, url }| Found { token, url: Some(url) });
    match take(&app, "github", &peer, found.collect()) {
        Ok(()) => Json(json!([])).into_response(),
        Err(busy) => busy.into_response(),
    }
}

/// `GET /v1/revocable_token_types` of GitLab's Token Revocation API.
pub(crate) async fn gitlab_types<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    if !is_gitlab(&app, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(json!({ "types": [format!("gitleaks_rule_id_{TOKEN_TYPE}")] })).into_response()
}

/// `POST /v1/revoke_tokens` of GitLab's Token Revocation API.
pub(crate) async fn by_gitlab<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Bytes,
) -> Response {
    #[derive(Deserialize)]
    struct Leaked {
        token: String,
        #[serde(default)]
        location: String,
    }
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    if !is_gitlab(&app, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    // 400 tells GitLab not to try again.
    let Ok(leaked) = serde_json::from_slice::<Vec<Leaked>>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let found = leaked.into_iter().map(|one| Found { token: one.token, url: Some(one.location) });
    match take(&app, "gitlab", &peer, found.collect()) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(busy) => busy.into_response(),
    }
}

fn is_gitlab<S>(app: &App<S>, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let own = app.config.leaks.gitlab_token.as_ref();
    shown.zip(own).is_some_and(|(shown, own)| own.matches(shown))
}

/// Too many reports are being worked on.
struct Busy;

impl IntoResponse for Busy {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
    }
}

/// Begins to revoke the tokens that are real, behind the response.
fn take<S: Store>(
    app: &Arc<App<S>>,
    channel: &'static str,
    peer: &Peer,
    found: Vec<Found>,
) -> Result<(), Busy> {
    let Ok(permit) = Arc::clone(&app.reports.0).try_acquire_owned() else {
        return Err(Busy);
    };
    let (app, address) = (Arc::clone(app), peer.address.to_string());
    tokio::spawn(async move {
        for Found { token, url } in found.into_iter().take(MAX_TOKENS) {
            let report = LeakReport::new(channel, address.clone(), url.as_deref());
            match revoke(&app.issuer, &token, report, (app.host.now)()).await {
                Ok(true) => {
                    app.metrics.statuses_changed(1);
                    tracing::warn!(channel, from = address, "leaked token revoked");
                }
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(error = %error_chain(&error), channel, "leaked token not revoked");
                }
            }
        }
        drop(permit);
    });
    Ok(())
}
