//! `/admin/v1/incidents`: reports about what was leaked or misused.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::audit::Act;
use edgepass_issuer::breach::report::Report;
use edgepass_issuer::breach::{Incident, Noting, Opening};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::records::{PageQuery, QUERY, record, unreadable};
use super::{AUDIT, Head, OPERATE, authorize, read, respond};
use crate::breach::{Desk, ExportRequest, Failed};
use crate::oauth::error::OauthError;
use crate::{App, error_chain};

/// The body of a request that closes an incident.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CloseRequest {
    /// Why.
    pub reason: String,
}

/// `GET /admin/v1/incidents`: `{"records": [{"seq", "incident"}]}`.
pub(crate) async fn list<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    let found = async {
        authorize(&app, &head, AUDIT).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let found = app.issuer.store().incidents(query.page()).await.map_err(unreadable)?;
        let one = |(seq, it): &(u64, Incident)| json!({ "seq": seq, "incident": summary(it) });
        Ok(json!({ "records": found.iter().map(one).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

/// `POST /admin/v1/incidents`: opens one. The response is the draft of its report.
pub(crate) async fn open<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let opened = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let opening: Opening = read(&head, body).await?;
        let report = desk(&app, &actor).open(opening, &mut { app.host }).await.map_err(failed)?;
        told(&app, actor, &report).await
    };
    respond(opened.await)
}

/// `GET /admin/v1/incidents/{id}`: the report as it is now.
pub(crate) async fn show<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
) -> Response {
    let found = async {
        let actor = authorize(&app, &head, AUDIT).await?;
        let report = desk(&app, &actor).report(&id).await.map_err(failed)?;
        told(&app, actor, &report).await
    };
    respond(found.await)
}

/// `POST /admin/v1/incidents/{id}/notes`.
pub(crate) async fn note<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
    body: Body,
) -> Response {
    let noted = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let noting: Noting = read(&head, body).await?;
        Ok(view(&desk(&app, &actor).note(&id, noting).await.map_err(failed)?))
    };
    respond(noted.await)
}

/// `POST /admin/v1/incidents/{id}/close`.
pub(crate) async fn close<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
    body: Body,
) -> Response {
    let closed = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let CloseRequest { reason } = read(&head, body).await?;
        Ok(view(&desk(&app, &actor).close(&id, &reason).await.map_err(failed)?))
    };
    respond(closed.await)
}

/// `POST /admin/v1/incidents/{id}/export`.
pub(crate) async fn export<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(id): Path<String>,
    head: Head,
    body: Body,
) -> Response {
    let exported = async {
        // It changes the incident: the report is one of its phases.
        let actor = authorize(&app, &head, OPERATE).await?;
        let request: ExportRequest = read(&head, body).await?;
        let desk = desk(&app, &actor);
        let export = desk.export(&id, request, &mut { app.host }).await.map_err(failed)?;
        // A structure of texts and numbers can be written.
        Ok(serde_json::to_value(export).unwrap_or_default())
    };
    respond(exported.await)
}

fn desk<'d, S>(app: &'d App<S>, actor: &'d str) -> Desk<'d, S> {
    Desk { issuer: &app.issuer, config: &app.config, actor, now: (app.host.now)() }
}

/// The report, once the trail has that it was read.
async fn told<S: Store>(app: &App<S>, actor: String, report: &Report) -> Result<Value, OauthError> {
    let (first, last) = report.facts.looked_at;
    record(app, actor, Act::AuditRead { first, last }).await?;
    // A structure of texts and numbers can be written.
    Ok(serde_json::to_value(report).unwrap_or_default())
}

/// An incident as JSON, without the routes that guards told.
pub fn view(incident: &Incident) -> Value {
    // A structure of texts and numbers can be written.
    let mut body = serde_json::to_value(incident).unwrap_or_default();
    if let Some(members) = body.as_object_mut() {
        members.remove("version");
        members.remove("routes");
        members.insert("due_ms".to_owned(), incident.due_ms().into());
    }
    body
}

/// An incident in a list: without what people said.
pub fn summary(incident: &Incident) -> Value {
    let mut body = view(incident);
    if let Some(members) = body.as_object_mut() {
        members.remove("answers");
        members.remove("notes");
    }
    body
}

fn failed(error: Failed) -> OauthError {
    match error {
        Failed::None => OauthError::InvalidRequest("there is no such incident"),
        Failed::Refused(error) => OauthError::IncidentRefused(error.to_string()),
        Failed::Busy => OauthError::Unavailable("the incident is being changed; try again"),
        Failed::Entropy => OauthError::Unavailable("no incident can be made now"),
        Failed::Store(error) => unreadable(error),
        error => {
            tracing::error!(error = %error_chain(&error), "a report not exported");
            OauthError::Unavailable("the audit log is not available now")
        }
    }
}
