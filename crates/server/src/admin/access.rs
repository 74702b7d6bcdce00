//! `/admin/v1/access-requests`: asking for access, and deciding about it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::access::{self, AccessRequest, Ask, Party};
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::storage::{AccessFilter, Page};
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::records::{QUERY, page, unreadable};
use super::{APPROVE, Head, READ, REQUEST, authorize_party, read, respond};
use crate::App;
use crate::access::{Changed, DecisionRequest, Failed, ReviewRequest};
use crate::oauth::error::OauthError;

/// Which requests are asked for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessQuery {
    /// Only requests for this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Only requests by this party, as the audit trail has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// Only requests that were recorded in this state. Time changes the state of what is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<access::State>,
    /// Only requests that broke the glass and were not reviewed.
    pub unreviewed: bool,
    /// Only requests after this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only requests before this position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Whether the first positions come first. Default: the last ones do.
    pub oldest_first: bool,
    /// The largest number of requests, at most 1,000. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl AccessQuery {
    /// The conditions and the page.
    pub fn into_parts(self) -> (AccessFilter, Page) {
        let page = page(self.after, self.before, self.oldest_first, self.limit);
        let Self { asked_by, role, recorded, unreviewed, .. } = self;
        (AccessFilter { asked_by, role, recorded, unreviewed }, page)
    }
}

/// `GET /admin/v1/access-requests`: `{"records": [{"seq", "access_request"}]}`. Whoever may only ask sees their own.
pub(crate) async fn list<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<AccessQuery>, QueryRejection>,
) -> Response {
    let found = async {
        let (party, scope) = authorize_party(&app, &head, &[READ, APPROVE, REQUEST]).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let (mut filter, page) = query.into_parts();
        if scope == REQUEST {
            filter.asked_by = Some(party.name);
        }
        let found = app.issuer.store().accesses(&filter, page).await.map_err(unreadable)?;
        let (policy, now) = (app.issuer.policy(), (app.host.now)());
        let one = |(seq, it): &(u64, AccessRequest)| json!({ "seq": seq, "access_request": view(it, &policy, now) });
        Ok(json!({ "records": found.iter().map(one).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

/// `GET /admin/v1/access-requests/{id}`.
pub(crate) async fn show<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
) -> Response {
    let found = async {
        let (party, scope) = authorize_party(&app, &head, &[READ, APPROVE, REQUEST]).await?;
        let found = app.issuer.store().access(&id).await.map_err(unreadable)?;
        let found = found.filter(|one| scope != REQUEST || one.is_by(&party));
        let found = found.ok_or(NONE)?;
        Ok(view(&found, &app.issuer.policy(), (app.host.now)()))
    };
    respond(found.await)
}

/// `POST /admin/v1/access-requests`.
pub(crate) async fn ask<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let asked = async {
        let (party, _) = authorize_party(&app, &head, &[REQUEST]).await?;
        let ask: Ask = read(&head, body).await?;
        Ok(crate::access::ask(&app.issuer, ask, &party, &mut { app.host }, (app.host.now)()).await)
    };
    answer(&app, asked.await).await
}

/// `POST /admin/v1/access-requests/{id}/decision`.
pub(crate) async fn decide<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
    body: Body,
) -> Response {
    let decided = async {
        let (party, _) = authorize_party(&app, &head, &[APPROVE]).await?;
        let decision: DecisionRequest = read(&head, body).await?;
        Ok(crate::access::decide(&app.issuer, &id, decision, &party, (app.host.now)()).await)
    };
    answer(&app, decided.await).await
}

/// `POST /admin/v1/access-requests/{id}/end`: takes a request back, or ends access.
pub(crate) async fn end<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
) -> Response {
    let ended = async {
        let (party, _) = authorize_party(&app, &head, &[APPROVE, REQUEST]).await?;
        Ok(crate::access::end(&app.issuer, &id, &party, (app.host.now)()).await)
    };
    answer_end(&app, ended.await).await
}

/// `POST /admin/v1/access-requests/{id}/review`: records that somebody has looked at what was done.
pub(crate) async fn review<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
    body: Body,
) -> Response {
    let reviewed = async {
        let (party, _) = authorize_party(&app, &head, &[APPROVE]).await?;
        let review: ReviewRequest = read(&head, body).await?;
        Ok(crate::access::review(&app.issuer, &id, review, &party, (app.host.now)()).await)
    };
    answer(&app, reviewed.await).await
}

async fn answer<S: Store>(
    app: &App<S>,
    outcome: Result<Result<Changed, Failed>, OauthError>,
) -> Response {
    let answered = async {
        let changed = outcome?.map_err(failed)?;
        Ok(view(&changed.request, &changed.policy, (app.host.now)()))
    };
    respond(answered.await)
}

/// The answer to what ends access: its tokens are revoked first.
async fn answer_end<S: Store>(
    app: &App<S>,
    outcome: Result<Result<Changed, Failed>, OauthError>,
) -> Response {
    let answered = async {
        let changed = outcome?.map_err(failed)?;
        let mut body = view(&changed.request, &changed.policy, (app.host.now)());
        if changed.request.recorded == access::State::Ended
            && let Some(members) = body.as_object_mut()
        {
            let is_done = crate::access::end_tokens(app, &changed.request).await;
            members.insert("tokens_revoked".to_owned(), is_done.into());
        }
        Ok(body)
    };
    respond(answered.await)
}

/// A request as JSON: as recorded, with its state and its digest at this time.
pub fn view(request: &AccessRequest, policy: &LivePolicy, now: UnixMillis) -> Value {
    // A structure of texts and numbers can be written.
    let mut body = serde_json::to_value(request).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        members.remove("recorded");
        members.remove("version");
        members.remove("terms");
        members.insert("policy".to_owned(), policy.number().into());
        members.insert("state".to_owned(), request.state(now).name().into());
        members.insert("digest".to_owned(), request.digest(policy).into());
        members.insert("expires_ms".to_owned(), request.expires_ms().into());
        members.insert("unreviewed".to_owned(), request.is_unreviewed().into());
    }
    body
}

const NONE: OauthError = OauthError::InvalidRequest("there is no such request for access");

pub(crate) fn failed(error: Failed) -> OauthError {
    match error {
        Failed::None => NONE,
        Failed::Refused(error) => OauthError::AccessRefused(error.to_string()),
        Failed::Busy => OauthError::Unavailable("the request is being changed; try again"),
        Failed::Entropy => OauthError::Unavailable("no request can be made now"),
        Failed::Store(error) => unreadable(error),
    }
}

/// Who may do what: a party without a token is on the machine of the issuer.
pub fn local(actor: String) -> Party {
    Party { name: actor, role: None }
}
