//! What the policy allows and nobody used.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::access::AccessRequest;
use edgepass_issuer::policy::use_history::review;
use edgepass_issuer::policy::use_review::{Review, UseFinding};
use edgepass_issuer::storage::{AccessFilter, AccessStore, Page, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::records::{MAX_PAGE, QUERY, unreadable};
use super::{Head, READ, authorize, respond};
use crate::App;

/// How to look.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewQuery {
    /// The time that is looked at, in seconds. Default 90 days, at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<u64>,
    /// The oldest that a secret may be, in seconds. Default 365 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_age: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ReviewAnswer {
    /// The findings.
    pub findings: Vec<UseFinding>,
    /// The roles of which nothing is said: their use is not completely known.
    pub unknown: Vec<String>,
    /// Access without an approval that nobody has looked at.
    #[serde(default)]
    pub unreviewed: Vec<Unreviewed>,
    /// The environment of the issuer, if its configuration names one.
    pub environment: Option<String>,
}

/// Access without an approval that nobody has looked at.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Unreviewed {
    /// The request.
    pub id: String,
    /// The role.
    pub role: String,
    /// Who had access.
    pub asked_by: String,
    /// Since when, in milliseconds.
    pub asked_ms: u64,
}

/// Every use of access without an approval that nobody has looked at: at most one of a role.
///
/// # Errors
///
/// [`StoreError`].
pub async fn unreviewed(store: &impl AccessStore) -> Result<Vec<Unreviewed>, StoreError> {
    let filter = AccessFilter { unreviewed: true, ..AccessFilter::default() };
    let found = store.accesses(&filter, Page::first(false, MAX_PAGE)).await?;
    let one = |(_, it): (u64, AccessRequest)| Unreviewed {
        id: it.id,
        role: it.role,
        asked_by: it.asked_by,
        asked_ms: it.asked_ms,
    };
    Ok(found.into_iter().map(one).collect())
}

const DAY: u64 = 24 * 60 * 60;

/// `GET /admin/v1/review`.
pub(crate) async fn get<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<ReviewQuery>, QueryRejection>,
) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let how = Review {
            now: (app.host.now)().numeric_date().seconds(),
            period: query.period.unwrap_or(90 * DAY).max(DAY),
            secret_age: Some(query.secret_age.unwrap_or(365 * DAY)),
        };
        let policy = app.issuer.policy();
        let (findings, unknown) =
            review(&policy, app.issuer.store().as_ref(), &how).await.map_err(unreadable)?;
        let unreviewed = unreviewed(&**app.issuer.store()).await.map_err(unreadable)?;
        let environment = app.config.environment.clone();
        Ok(json!(ReviewAnswer { findings, unknown, unreviewed, environment }))
    };
    respond(found.await)
}
