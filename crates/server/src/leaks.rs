//! Reports of leaked tokens: by whoever holds one, by GitHub, and by GitLab. Each token that is real is
//! revoked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::leak::{LeakReport, is_web, revoke};
use edgepass_issuer::status_act::ActError;
use edgepass_jose::json::parse_object;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::peer::Peer;
use crate::{App, error_chain};

/// The type of Edgepass's tokens in reports, by the rule of `edgepass leaks rule`.
const TOKEN_TYPE: &str = "edgepass_token";
/// The most tokens of a report by possession. The rest is left out.
const MAX_TOKENS: usize = 500;
/// The most reports by possession that are worked on at once.
const MAX_REPORTS: usize = 16;
/// How long to wait before each new attempt to revoke a token: other acts are being recorded, or the
/// database is away for a moment. A reporter by possession is told nothing, and sends nothing again.
const WAITS: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];

/// Limits the work on reports by possession.
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

/// `POST /leaks/revoke`. The response is 202 whatever was sent (413 if it is too long), and does not wait for
/// the work, so that it does not tell whether a token is real. Tokens after the first 500 are left out.
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
    let Ok(permit) = Arc::clone(&app.reports.0).try_acquire_owned() else {
        return busy();
    };
    let found = possessed(&headers, &body);
    tokio::spawn(async move {
        // The log has the reason of a failure. The reporter is told nothing.
        let _ = revoke_all(&app, "possession", &peer, found).await;
        drop(permit);
    });
    StatusCode::ACCEPTED.into_response()
}

fn busy() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
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
    let url = url.filter(|url| is_web(url));
    tokens.truncate(MAX_TOKENS);
    tokens.into_iter().map(|token| Found { token, url: url.clone() }).collect()
}

/// `POST /leaks/github`: the webhook of GitHub's secret scanning partner program. The body is signed.
pub(crate) async fn by_github<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Bytes,
) -> Response {
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let id = text("github-public-key-identifier").unwrap_or_default();
    let signature = text("github-public-key-signature").unwrap_or_default();
    if let Err(wait) = app.limits.may_authenticate(peer.address) {
        return wait.into_response();
    }
    let key = app.config.leaks.github_keys.iter().find(|key| key.id == id);
    if !key.is_some_and(|key| key.signed(&body, signature)) {
        // GitHub changes its keys. Without this line nobody would notice.
        tracing::warn!(
            is_known_key = key.is_some(),
            "a report of leaked tokens is not signed by GitHub"
        );
        return unauthorized(&app, &peer, "GitHub-Public-Key-Signature");
    }
    let Some(found) = listed(&body, "url") else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match revoke_all(&app, "github", &peer, found).await {
        Ok(()) => Json(json!([])).into_response(),
        Err(_) => busy(),
    }
}

/// `GET /v1/revocable_token_types` of GitLab's Token Revocation API.
pub(crate) async fn gitlab_types<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    if let Err(wait) = app.limits.may_authenticate(peer.address) {
        return wait.into_response();
    }
    if !is_gitlab(&app, &headers) {
        return unauthorized(&app, &peer, "GitLab-Token");
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
    let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
    if let Err(wait) = app.limits.may_authenticate(peer.address) {
        return wait.into_response();
    }
    if !is_gitlab(&app, &headers) {
        return unauthorized(&app, &peer, "GitLab-Token");
    }
    // 400 tells GitLab not to try again.
    let Some(found) = listed(&body, "location") else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match revoke_all(&app, "gitlab", &peer, found).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => busy(),
    }
}

/// The tokens of a JSON array of objects with `token`, and where each was found. One that has another form is
/// passed over: it must not keep the others from being revoked. `None`: the body is no array.
fn listed(body: &[u8], place: &str) -> Option<Vec<Found>> {
    let all: Vec<Value> = serde_json::from_slice(body).ok()?;
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let one = |value: &Value| Some(Found { token: text(value, "token")?, url: text(value, place) });
    Some(all.iter().filter_map(one).collect())
}

fn is_gitlab<S>(app: &App<S>, headers: &HeaderMap) -> bool {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let own = app.config.leaks.gitlab_token.as_ref();
    shown.zip(own).is_some_and(|(shown, own)| own.matches(shown))
}

fn unauthorized<S>(app: &App<S>, peer: &Peer, scheme: &'static str) -> Response {
    match app.limits.failure(peer.address) {
        Ok(()) => challenge(scheme),
        Err(wait) => wait.into_response(),
    }
}

/// 401, with the scheme that the reporter must use (RFC 9110 §11.6.1).
fn challenge(scheme: &'static str) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, scheme)]).into_response()
}

/// Revokes the tokens that are real. After an error the report must come again.
async fn revoke_all<S: Store>(
    app: &App<S>,
    channel: &'static str,
    peer: &Peer,
    found: Vec<Found>,
) -> Result<(), ActError> {
    let (mut seen, mut outcome) = (HashSet::new(), Ok(()));
    for Found { token, url } in found {
        // As it may have been copied: with the end of a line, or from a header field.
        let token = token.trim();
        let token = token.strip_prefix("Bearer ").unwrap_or(token).trim();
        if !seen.insert(token.to_owned()) {
            continue;
        }
        let report = LeakReport::new(channel, peer.address.to_string(), url.as_deref());
        let mut waits = WAITS.into_iter();
        let revoked = loop {
            let outcome = revoke(&app.issuer, token, report.clone(), (app.host.now)()).await;
            match (&outcome, waits.next()) {
                (Err(ActError::Busy | ActError::Store(_)), Some(wait)) => sleep(wait).await,
                _ => break outcome,
            }
        };
        match revoked {
            Ok(true) => {
                app.metrics.statuses_changed(1);
                tracing::warn!(channel, from = %peer.address, "leaked token revoked");
            }
            Ok(false) => {}
            Err(error) => {
                // The others are revoked all the same.
                tracing::error!(error = %error_chain(&error), channel, "leaked token not revoked");
                outcome = Err(error);
            }
        }
        // Judging a forged token waits for nothing: other requests get their turn.
        tokio::task::yield_now().await;
    }
    outcome
}
