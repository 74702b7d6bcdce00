//! Acts on statuses over HTTP: recorded, then served by every target before the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::new_act::{NewAct, RecordedAct};
use edgepass_issuer::selection::{Filter, Selection, SelectionError, StatusChange};
use edgepass_issuer::status_act::{ActError, Unselectable, perform_and_wait, refuse_unknown};
use edgepass_issuer::storage::ListState;
use edgepass_issuer::{Publisher, Store};
use edgepass_jose::json;
use edgepass_verify::policy;
use serde::Deserialize;
use serde_json::json;

use crate::client_auth::authenticate;
use crate::error::OauthError;
use crate::{App, error_chain};

/// What `POST /status-acts` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    act: StatusChange,
    #[serde(default)]
    jwt_ids: Vec<String>,
    #[serde(default)]
    fitting: Filter,
    reason: String,
    #[serde(default)]
    dry_run: bool,
}

/// What came of an act.
pub(crate) struct Done {
    /// `None` when there was nothing to change.
    pub(crate) recorded: Option<RecordedAct>,
    /// Whether every list shows it, at every target.
    pub(crate) is_published: bool,
}

pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match act(&app, &headers, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn act<S: Store>(
    app: &App<S>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, OauthError> {
    let client = authenticate(&app.config, headers, (None, None))?;
    if !is_json(headers) {
        return Err(OauthError::InvalidRequest("send Content-Type: application/json"));
    }
    // Only who has proved to be a client may send so much.
    let body = to_bytes(body, MAX_BYTES)
        .await
        .map_err(|_| OauthError::InvalidRequest("send at most 4 MiB"))?;
    let body = read(&body).ok_or(OauthError::InvalidRequest(
        "send JSON, each member once, none of them null: {\"act\", \"jwt_ids\" or \"fitting\", \"reason\"}",
    ))?;
    if !client.may.contains(&body.act) {
        return Err(OauthError::UnauthorizedClient("the client may not do that to others' tokens"));
    }
    if body.reason.len() > MAX_REASON_BYTES {
        return Err(OauthError::InvalidRequest("reason takes at most 1024 bytes"));
    }
    let selection = Selection::new(body.jwt_ids, body.fitting)
        .map_err(|error| OauthError::InvalidRequest(unselective(error)))?;
    let new = NewAct {
        change: body.act,
        selection,
        reason: body.reason,
        actor: format!("client:{}", client.id),
        at: (app.host.now)(),
    };
    let known = refuse_unknown(&new, &app.config.policy, &**app.issuer.store()).await;
    known.map_err(|error| unselectable(error, &client.id))?;
    if body.dry_run {
        let plan = app.issuer.store().plan_act(&new).await;
        let plan = plan.map_err(|error| unavailable(&ActError::Store(error), &client.id))?;
        return Ok(answer(None, plan.count, Some(&plan.roles), false));
    }
    let done = app.act(&new).await.map_err(|error| unavailable(&error, &client.id))?;
    let count = done.recorded.map_or(0, |recorded| recorded.count);
    tracing::info!(client = client.id, act = body.act.name(), count, "statuses changed");
    if !done.is_published {
        return Err(OauthError::Unavailable("recorded, not published yet; retry to wait"));
    }
    Ok(answer(done.recorded.map(|recorded| recorded.id), count, None, true))
}

/// Whether the body says that it is JSON: what forms of web pages may send never does.
fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

/// Strictly: a member that is null, or there twice, was not meant so.
fn read(body: &[u8]) -> Option<Asked> {
    policy::json::read(json::parse_object(body).ok()?.into()).ok()
}

fn unselectable(error: Unselectable, client: &str) -> OauthError {
    match error {
        Unselectable::Store(error) => unavailable(&ActError::Store(error), client),
        Unselectable::Role(_) => {
            OauthError::InvalidRequest("no token is selected: there is no such role")
        }
        Unselectable::Key => {
            OauthError::InvalidRequest("no token is selected: this issuer has no such key")
        }
    }
}

impl<S: Store> App<S> {
    /// Act, and wait until what changed is served.
    pub(crate) async fn act(&self, act: &NewAct) -> Result<Done, ActError> {
        let served = |pending: Vec<ListState>| async move {
            let covers = |publisher: &Publisher<S>| {
                pending.iter().all(|list| publisher.covers(&list.id, list.changes))
            };
            Ok::<_, ActError>(self.publication.until(covers).await)
        };
        let (recorded, is_published) =
            perform_and_wait(&**self.issuer.store(), act, served).await?;
        self.metrics.statuses_changed(recorded.map_or(0, |recorded| recorded.count));
        Ok(Done { recorded, is_published })
    }
}

fn answer(
    id: Option<u64>,
    count: u64,
    roles: Option<&BTreeMap<String, u64>>,
    published: bool,
) -> Response {
    let mut body = json!({ "count": count, "published": published });
    if let Some(id) = id {
        body["act_id"] = id.into();
    }
    if let Some(roles) = roles {
        body["roles"] = json!(roles);
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

pub(crate) fn unavailable(error: &ActError, client: &str) -> OauthError {
    if let ActError::NoSuspension(_) = error {
        return OauthError::InvalidRequest(
            "some tokens were issued while suspension was not set; revoke them instead",
        );
    }
    tracing::error!(error = %error_chain(error), client, "act failed");
    OauthError::Unavailable("the act may not be recorded; repeat it")
}

fn unselective(error: SelectionError) -> &'static str {
    match error {
        SelectionError::Empty => "nothing is selected: send jwt_ids, or fitting with a member",
        SelectionError::Nameless => "an empty name selects nothing",
        SelectionError::Both => "select by jwt_ids or by fitting, not by both",
        SelectionError::TooMany => "at most 100000 tokens can be named at once",
    }
}

/// It is kept for ever, in the audit trail.
const MAX_REASON_BYTES: usize = 1024;
/// Room for as many `jti` as one selection may name.
const MAX_BYTES: usize = 4 << 20;
