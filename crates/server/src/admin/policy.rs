//! `/admin/v1/policy` and `/admin/v1/clients`.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::policy::version::StoredPolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::records::unreadable;
use super::{Head, OPERATE, READ, authorize, respond, view};
use crate::App;
use crate::oauth::error::OauthError;

/// Which version is asked for.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct VersionQuery {
    /// Its number. Default: the one in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

pub(crate) async fn get<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<VersionQuery>, QueryRejection>,
) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let Query(query) = query.map_err(|_| OauthError::InvalidRequest("write ?number=3"))?;
        let found = app.issuer.store().policy(query.number).await.map_err(unreadable)?;
        let found = found.ok_or(OauthError::InvalidRequest("there is no such policy version"))?;
        Ok(version(&found))
    };
    respond(found.await)
}

/// A stored version as JSON.
pub fn version(found: &StoredPolicy) -> Value {
    let policy: Value = serde_json::from_str(&found.version.text).unwrap_or_default();
    json!({
        "number": found.number,
        "digest": found.version.digest,
        "served_since_ms": found.served_since_ms,
        "policy": policy,
    })
}

pub(crate) async fn clients<S: Store>(State(app): State<Arc<App<S>>>, head: Head) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let policy = app.issuer.policy();
        Ok(json!({ "clients": policy.clients.iter().map(view::client).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

/// Lets the host read the configuration again, as SIGHUP does, for this issuer alone.
pub(crate) async fn apply<S: Store>(State(app): State<Arc<App<S>>>, head: Head) -> Response {
    let applied = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        tracing::info!(actor, "policy to be read again");
        match app.reloads.ask(actor).await {
            Some(Ok(())) => Ok(json!({ "applied": true })),
            // The log of the issuer has the mistakes: they may quote the configuration.
            Some(Err(())) => Err(OauthError::InvalidRequest(
                "the issuer has kept its policy: the configuration has mistakes, see its log",
            )),
            None => Err(OauthError::Unavailable("the issuer does not read its policy now")),
        }
    };
    respond(applied.await)
}
