//! `POST /status-acts`: acts on statuses. The response follows once the endpoint and every target
//! serve the changes. If that takes longer than 5 s, it is a 503. A dry run changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::new_act::{NewAct, RecordedAct};
use edgepass_issuer::selection::{Filter, Selection, SelectionError, StatusChange};
use edgepass_issuer::status_act::{ActError, Unselectable, perform_and_wait, refuse_unknown};
use edgepass_issuer::storage::ListState;
use edgepass_issuer::{Publisher, Store};
use edgepass_jose::json;
use edgepass_verify::policy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::admin::answer;
use crate::oauth::authenticate::{Credentials, authenticate_now};
use crate::oauth::error::OauthError;
use crate::peer::Peer;
use crate::{App, error_chain};

/// The body of `POST /status-acts`, and of `POST /admin/v1/status-acts`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ActRequest {
    /// What happens to the tokens.
    pub act: StatusChange,
    /// The tokens with these `jti`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jwt_ids: Vec<String>,
    /// Or all tokens that fit.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub fitting: Filter,
    /// The reason, for the audit trail: 1 to 1,024 bytes.
    pub reason: String,
    /// Whether to tell only what would change.
    #[serde(default)]
    pub dry_run: bool,
}

fn is_unset(filter: &Filter) -> bool {
    *filter == Filter::default()
}

/// The outcome of an act.
pub(crate) struct ActOutcome {
    /// `None`: the tokens were selected by `jti`, and none of them had to change.
    pub(crate) recorded: Option<RecordedAct>,
    /// Whether the endpoint and every target served lists that show the act within 5 s.
    pub(crate) is_published: bool,
}

pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    body: Body,
) -> Response {
    match act(&app, &headers, &extensions, body).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn act<S: Store>(
    app: &App<S>,
    headers: &HeaderMap,
    extensions: &Extensions,
    body: Body,
) -> Result<Response, OauthError> {
    let policy = app.issuer.policy();
    let peer = Peer::of(extensions, headers, app.config.proxy.as_ref());
    let credentials = Credentials { headers, form: None, peer };
    let client = authenticate_now(app, &policy, &credentials).await?;
    if !is_json(headers) {
        return Err(OauthError::InvalidRequest("send Content-Type: application/json"));
    }
    // Authentication comes first: only a client may send a large body.
    let body = to_bytes(body, MAX_BYTES)
        .await
        .map_err(|_| OauthError::InvalidRequest("send at most 4 MiB"))?;
    let body = parse(&body).ok_or(OauthError::InvalidRequest(
        "send JSON, each member once, none of them null: {\"act\", \"jwt_ids\" or \"fitting\", \"reason\"}",
    ))?;
    if !client.may.contains(&body.act) {
        return Err(OauthError::UnauthorizedClient(
            "the client is not allowed to perform this act on other clients' tokens",
        ));
    }
    carry_out(app, body, &format!("client:{}", client.id)).await.map(answer)
}

/// Performs an act, or tells what it would change.
pub(crate) async fn carry_out<S: Store>(
    app: &App<S>,
    body: ActRequest,
    actor: &str,
) -> Result<Value, OauthError> {
    if body.reason.trim().is_empty() || body.reason.len() > MAX_REASON_BYTES {
        return Err(OauthError::InvalidRequest("reason must be a text of 1 to 1024 bytes"));
    }
    let selection = Selection::new(body.jwt_ids, body.fitting)
        .map_err(|error| OauthError::InvalidRequest(selection_error(error)))?;
    let policy = app.issuer.policy();
    let new = NewAct {
        change: body.act,
        selection,
        reason: body.reason,
        actor: actor.to_owned(),
        policy: policy.number(),
        report: None,
        at: (app.host.now)(),
    };
    let known = refuse_unknown(&new, &policy, &**app.issuer.store()).await;
    known.map_err(|error| unselectable(error, actor))?;
    if body.dry_run {
        let plan = app.issuer.store().plan_act(&new).await;
        let plan = plan.map_err(|error| unavailable(&ActError::Store(error), actor))?;
        return Ok(outcome(None, plan.count, Some(&plan.roles), false));
    }
    let done = app.act(&new).await.map_err(|error| unavailable(&error, actor))?;
    let count = done.recorded.map_or(0, |recorded| recorded.count);
    tracing::info!(actor, act = body.act.name(), count, "statuses changed");
    if !done.is_published {
        return Err(OauthError::Unavailable("recorded, not published yet; retry to wait for it"));
    }
    Ok(outcome(done.recorded.map(|recorded| recorded.id), count, None, true))
}

/// Whether `Content-Type` is `application/json`. The forms of web pages cannot send that type.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

/// Parses the body. `None` for a null, repeated or unknown member too, which is probably a mistake.
fn parse(body: &[u8]) -> Option<ActRequest> {
    policy::json::read(json::parse_object(body).ok()?.into()).ok()
}

fn unselectable(error: Unselectable, actor: &str) -> OauthError {
    match error {
        Unselectable::Store(error) => unavailable(&ActError::Store(error), actor),
        Unselectable::Role(_) => {
            OauthError::InvalidRequest("no token is selected: there is no such role")
        }
        Unselectable::Agreement => {
            OauthError::InvalidRequest("no token is selected: there is no such agreement")
        }
        Unselectable::Grant => {
            OauthError::InvalidRequest("no token is selected: there is no such request for access")
        }
        Unselectable::Key => {
            OauthError::InvalidRequest("no token is selected: this issuer has no such key")
        }
    }
}

impl<S: Store> App<S> {
    /// Performs an act, waits up to 5 s until the endpoint and every target serve the changes, and
    /// counts the changed tokens.
    pub(crate) async fn act(&self, act: &NewAct) -> Result<ActOutcome, ActError> {
        let wait_until_served = |pending: Vec<ListState>| async move {
            let covers = |publisher: &Publisher<S>| {
                pending.iter().all(|list| publisher.covers(&list.id, list.changes))
            };
            Ok::<_, ActError>(self.publication.until(covers).await)
        };
        let (recorded, is_published) =
            perform_and_wait(&**self.issuer.store(), act, wait_until_served).await?;
        self.metrics.statuses_changed(recorded.map_or(0, |recorded| recorded.count));
        Ok(ActOutcome { recorded, is_published })
    }
}

fn outcome(
    id: Option<u64>,
    count: u64,
    roles: Option<&BTreeMap<String, u64>>,
    published: bool,
) -> Value {
    let mut body = Map::from_iter([
        ("count".to_owned(), count.into()),
        ("published".to_owned(), published.into()),
    ]);
    body.extend(id.map(|id| ("act_id".to_owned(), id.into())));
    body.extend(roles.map(|roles| ("roles".to_owned(), json!(roles))));
    Value::Object(body)
}

pub(crate) fn unavailable(error: &ActError, actor: &str) -> OauthError {
    if let ActError::NoSuspension(_) = error {
        return OauthError::InvalidRequest(
            "some tokens were issued while `suspension` was not set; revoke them instead",
        );
    }
    tracing::error!(error = %error_chain(error), actor, "act failed");
    OauthError::Unavailable("the act may not have been recorded; repeat it")
}

fn selection_error(error: SelectionError) -> &'static str {
    match error {
        SelectionError::Empty => "nothing is selected: send jwt_ids, or fitting with a member",
        SelectionError::Nameless => "an empty name selects nothing",
        SelectionError::Both => "select by jwt_ids or by fitting, not by both",
        SelectionError::TooLong => "a name has at most 1024 bytes",
        SelectionError::TooMany => "at most 100000 tokens can be named at once",
    }
}

/// Limit of `reason` in bytes, since the audit trail keeps it forever.
pub(crate) const MAX_REASON_BYTES: usize = 1024;
/// Limit of the body in bytes, with room for as many `jti` as one selection may name.
const MAX_BYTES: usize = 4 << 20;
