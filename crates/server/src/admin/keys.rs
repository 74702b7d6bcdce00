//! `/admin/v1/keys`: lists, rotates and withdraws keys.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use edgepass_issuer::Store;
use edgepass_issuer::key_change::{Changed, KeyChangeError, compromise, rotate};
use edgepass_issuer::signing_key::{KeyState, SealedKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::records::unreadable;
use super::{Head, OPERATE, READ, authorize, read, respond, view};
use crate::oauth::error::OauthError;
use crate::{App, error_chain};

/// The body of `POST /admin/v1/keys/compromise`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Compromise {
    /// The key's `kid`.
    pub kid: String,
    /// The reason, for the audit trail.
    #[serde(default)]
    pub reason: String,
}

pub(crate) async fn list<S: Store>(State(app): State<Arc<App<S>>>, head: Head) -> Response {
    let found = async {
        authorize(&app, &head, READ).await?;
        let keys = app.issuer.store().keys().await.map_err(unreadable)?.keys;
        Ok(json!({ "keys": keys.iter().map(view::key).collect::<Vec<Value>>() }))
    };
    respond(found.await)
}

pub(crate) async fn post_rotate<S: Store>(State(app): State<Arc<App<S>>>, head: Head) -> Response {
    let rotated = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let changed = rotate(&app.issuer, &mut { app.host }, &actor, (app.host.now)()).await;
        let changed = changed.map_err(refused)?;
        tracing::info!(actor, "signing key rotated");
        settled(&app, changed, "rotated").await
    };
    respond(rotated.await)
}

pub(crate) async fn post_compromise<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let withdrawn = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let Compromise { kid, reason } = read(&head, body).await?;
        if reason.len() > 1024 {
            return Err(OauthError::InvalidRequest("reason must be a text of at most 1024 bytes"));
        }
        let now = (app.host.now)();
        match compromise(&app.issuer, &kid, &reason, &actor, now).await {
            Err(KeyChangeError::AlreadyWithdrawn) => {
                let signing = app.issuer.keys().signing_key_id().to_owned();
                let changed = Changed { signing, is_settled: true };
                settled(&app, changed, "the key was already withdrawn").await
            }
            changed => {
                let changed = changed.map_err(refused)?;
                tracing::warn!(actor, "compromised key withdrawn");
                settled(&app, changed, "the key is withdrawn").await
            }
        }
    };
    respond(withdrawn.await)
}

/// Longest wait until the published JWK Set shows a change, and the time between two looks.
const WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// Whether the published JWK Set has every key that belongs to it, and no compromised one.
pub fn are_settled(keys: &[SealedKey]) -> bool {
    let is_open = |key: &SealedKey| {
        key.state == KeyState::Compromised
            || (key.state.is_published() && key.published_at.is_none())
    };
    !keys.iter().any(is_open)
}

/// Waits until the change is published everywhere. The response says whether it is.
async fn settled<S: Store>(
    app: &App<S>,
    changed: Changed,
    what: &'static str,
) -> Result<Value, OauthError> {
    app.issuer.reload_keys().await.map_err(|error| {
        tracing::error!(error = %error_chain(&error), "keys not opened");
        OauthError::Unavailable("the change is recorded; the new keys cannot be opened")
    })?;
    let published = async {
        app.publication.round().await;
        while !are_settled(&app.issuer.store().keys().await.map_err(unreadable)?.keys) {
            tokio::time::sleep(POLL).await;
        }
        Ok(true)
    };
    let is_published = timeout(WAIT, published).await.unwrap_or(Ok(false))?;
    Ok(json!({
        "signing": changed.signing,
        "published": is_published,
        "settled": changed.is_settled,
        "what": what,
    }))
}

fn refused(error: KeyChangeError) -> OauthError {
    match error {
        KeyChangeError::UnknownKey => OauthError::InvalidRequest("this issuer has no such key"),
        KeyChangeError::StandbyTooYoung(_) => OauthError::InvalidRequest(
            "the standby key was published only recently: try again in a minute",
        ),
        KeyChangeError::Busy => OauthError::InvalidRequest(
            "the keys were changed at the same time: look at them before trying again",
        ),
        error => {
            tracing::error!(error = %error_chain(&error), "keys not changed");
            OauthError::Unavailable("the keys cannot be changed now")
        }
    }
}
