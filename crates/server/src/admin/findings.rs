//! What rules about misuse have found, and undoing a suspension.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::misuse::{Finding, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::records::{PageQuery, QUERY, unreadable};
use super::{Head, OPERATE, READ, authorize, read, respond};
use crate::App;
use crate::acts::unavailable;
use crate::oauth::error::OauthError;

/// The body of a request to undo a finding.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// The finding's number.
    pub id: u64,
}

/// `GET /admin/v1/findings`: `{"records": [{"seq", "finding"}]}`.
pub(crate) async fn list<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let findings = app.issuer.store().findings(query.page()).await.map_err(unreadable)?;
        let one = |it: &Finding| json!({ "seq": it.id, "finding": finding(it) });
        Ok(json!({ "records": findings.iter().map(one).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

/// `POST /admin/v1/findings/undo`: resumes the token that a finding suspended.
pub(crate) async fn undo<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let undone = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let UndoRequest { id } = read(&head, body).await?;
        let store = app.issuer.store();
        let found = store.finding(id).await.map_err(unreadable)?;
        let found = found.ok_or(OauthError::InvalidRequest("there is no such finding"))?;
        let act = found.undoing(&actor, app.issuer.policy().number(), (app.host.now)());
        let act = act.ok_or(OauthError::InvalidRequest(NOT_SUSPENDED))?;
        let done = app.act(&act).await.map_err(|error| unavailable(&error, &actor))?;
        let count = done.recorded.map_or(0, |recorded| recorded.count);
        if count == 0 {
            return Err(OauthError::InvalidRequest(NOTHING_RESUMED));
        }
        store.set_outcome(id, (Outcome::Done, Outcome::Undone)).await.map_err(unreadable)?;
        Ok(json!({ "id": id, "count": count, "published": done.is_published }))
    };
    respond(undone.await)
}

/// Why a token is not resumed.
pub const NOTHING_RESUMED: &str =
    "no token was resumed: it is not suspended any more, or it is revoked";

/// Why a finding is not undone.
pub const NOT_SUSPENDED: &str =
    "only a suspension can be undone, and this finding has suspended no token, or it was undone";

/// A finding as JSON.
pub fn finding(finding: &Finding) -> Value {
    let found = &finding.found;
    json!({
        "id": finding.id,
        "at_ms": finding.at_ms,
        "rule": found.rule,
        "subject": found.subject,
        "role": found.role,
        "client_id": found.client_id,
        "action": found.action.name(),
        "outcome": finding.outcome.name(),
        "evidence": found.evidence,
        "policy": finding.policy,
        "attempts": finding.attempts,
        "told_ms": finding.told_ms,
    })
}
