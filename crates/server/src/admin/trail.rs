//! The log of the audit trail: its key, proofs of entries, and erasing who a person is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::audit::Act;
use edgepass_issuer::audit::erase::{Erased, Erasure, erase_subject};
use edgepass_issuer::log::prove::{ProveError, find_issue, prove};
use edgepass_issuer::log::stored::StoredLog;
use edgepass_issuer::storage::{AuditStore, LogStore};
use edgepass_jose::base64url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::records::{QUERY, record, unreadable};
use super::{AUDIT, Head, OPERATE, authorize, read, respond};
use crate::acts::MAX_REASON_BYTES;
use crate::oauth::error::OauthError;
use crate::{App, error_chain};

/// Which entry is to be proven: by one of both.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProofQuery {
    /// The entry's position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// The entry about the issue of the token with this `jti`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Whether the personal values of the entry and their salt are asked for.
    pub private: bool,
}

/// The body of a request to erase a person.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// The subject of the tokens, or the actor.
    pub subject: String,
    /// Only entries before this time, in milliseconds since the epoch.
    #[serde(default = "always")]
    pub before_ms: u64,
    /// Why, for the audit trail.
    pub reason: String,
    /// Whether the entries are only counted.
    #[serde(default)]
    pub dry_run: bool,
}

fn always() -> u64 {
    u64::MAX
}

/// What was erased: see [`Erased`].
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct EraseAnswer {
    /// The number of entries.
    pub entries: u64,
    /// Whether their personal values were erased, and not only counted.
    pub erased: bool,
    /// The number of entries that cannot be read.
    pub damaged: u64,
    /// The number of deleted records of tokens, with their use.
    pub records: u64,
    /// The number of records that stay until a day after their tokens have expired.
    pub records_left: u64,
    /// The number of requests for access that were erased.
    pub requests: u64,
    /// Whether files of the database may hold the values for now.
    pub is_in_files: bool,
}

impl EraseAnswer {
    /// The answer to an erasure.
    pub fn of(done: &Erased, is_dry: bool) -> Self {
        let Erased { entries, damaged, records, records_left, requests, is_in_files } = *done;
        Self { entries, erased: !is_dry, damaged, records, records_left, requests, is_in_files }
    }
}

/// The key of the log, and where the log is published, below the base of published documents.
///
/// # Errors
///
/// If the stored key is not valid.
pub fn key_of(log: &StoredLog, base_uri: &str) -> Result<Value, edgepass_issuer::log::LogError> {
    let url = format!("{base_uri}/{}", log.path);
    Ok(json!({ "key": log.key()?.to_string(), "origin": log.origin, "url": url }))
}

/// The position of the entry that a query asks for.
async fn position(store: &impl AuditStore, query: &ProofQuery) -> Result<u64, OauthError> {
    match (query.position, &query.jti) {
        (Some(position), None) => Ok(position),
        (None, Some(jti)) => {
            let found = find_issue(store, jti).await.map_err(unreadable)?;
            found.ok_or(OauthError::InvalidRequest("no entry says that this token was issued"))
        }
        _ => Err(OauthError::InvalidRequest("name the entry by position or by jti")),
    }
}

/// An entry with its proof: `{"position", "entry", "proof", "key"}`, and `private` if it is asked for.
///
/// # Errors
///
/// [`ProveError`].
pub async fn proven(
    store: &(impl AuditStore + LogStore),
    log: &StoredLog,
    position: u64,
    with_private: bool,
) -> Result<Value, ProveError> {
    let (leaf, proof) = prove(store, log, position).await?;
    let entry: Value = serde_json::from_str(&leaf.text).unwrap_or_default();
    let key = log.key().map_err(edgepass_issuer::log::LogError::from)?;
    let mut object = json!({
        "position": position, "entry": entry, "proof": proof.to_string(), "key": key.to_string(),
    });
    let private = leaf.private.filter(|_| with_private);
    if let (Some(private), Some(members)) = (private, object.as_object_mut()) {
        let salt = base64url::encode(&private.salt);
        members.insert("private".to_owned(), json!({ "salt": salt, "values": private.values }));
    }
    Ok(object)
}

async fn log_of<S: Store>(app: &App<S>) -> Result<StoredLog, OauthError> {
    let log = app.issuer.store().log().await.map_err(unreadable)?;
    log.ok_or(OauthError::Unavailable("there is no log yet"))
}

/// `GET /admin/v1/audit/key`.
pub(crate) async fn key<S: Store>(State(app): State<Arc<App<S>>>, head: Head) -> Response {
    let found = async {
        authorize(&app, &head, AUDIT).await?;
        key_of(&log_of(&app).await?, &app.config.status.base_uri).map_err(|error| {
            tracing::error!(error = %error_chain(&error), "the log has no valid key");
            OauthError::Unavailable("the log has no valid key")
        })
    };
    respond(found.await)
}

/// `GET /admin/v1/audit/proof`.
pub(crate) async fn proof<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    query: Result<Query<ProofQuery>, QueryRejection>,
) -> Response {
    let found = async {
        let actor = authorize(&app, &head, AUDIT).await?;
        let Query(query) = query.map_err(|_| QUERY)?;
        let store = app.issuer.store();
        let at = position(store.as_ref(), &query).await?;
        let log = log_of(&app).await?;
        let shown = proven(store.as_ref(), &log, at, query.private).await;
        let shown = shown.map_err(|error| match error {
            ProveError::Store(error) => unreadable(error),
            ProveError::NotLogged => {
                OauthError::InvalidRequest("the log has no such entry, or not yet")
            }
            error => {
                tracing::error!(error = %error_chain(&error), "an entry not proven");
                OauthError::Unavailable(
                    "the entry cannot be proven: `edgepass audit verify` says why",
                )
            }
        })?;
        record(&app, actor, Act::AuditRead { first: at, last: at }).await?;
        Ok(shown)
    };
    respond(found.await)
}

/// `POST /admin/v1/erase`.
pub(crate) async fn erase<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let erased = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let request: EraseRequest = read(&head, body).await?;
        if request.subject.is_empty() || !(1..=MAX_REASON_BYTES).contains(&request.reason.len()) {
            return Err(OauthError::InvalidRequest(
                "send a subject, and a reason of 1 to 1024 bytes",
            ));
        }
        // Whoever acts must not remove who acted.
        if actor.split_once(':').is_some_and(|(_, name)| name == request.subject) {
            return Err(OauthError::InvalidRequest("somebody else erases what is about you"));
        }
        let is_dry = request.dry_run;
        let erasure = Erasure {
            subject: request.subject,
            before_ms: request.before_ms,
            reason: request.reason,
            is_dry,
        };
        let by = (actor.as_str(), app.issuer.policy().number(), (app.host.now)().0);
        let done = erase_subject(app.issuer.store().as_ref(), &erasure, by).await;
        Ok(json!(EraseAnswer::of(&done.map_err(unreadable)?, is_dry)))
    };
    respond(erased.await)
}
