//! `POST /oauth/token`, with the grant type `client_credentials`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::issue::{IssueError, Recipient};
use edgepass_issuer::paths::LISTS;
use edgepass_issuer::policy::{RefusedByPolicy, TokenRequest};
use edgepass_jose::Scope;
use serde::Deserialize;
use serde_json::json;

use crate::App;
use crate::client_auth::authenticate;
use crate::error::OauthError;
use crate::error_chain;

/// An access token request. A repeated parameter is refused by the form parser.
///
/// Source: [RFC 6749 §4.4.2](https://www.rfc-editor.org/rfc/rfc6749#section-4.4.2).
#[derive(Deserialize)]
pub(crate) struct Body {
    grant_type: Option<String>,
    scope: Option<String>,
    /// The role to use; by default the client's first. Not in the RFC.
    role: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
}

impl Body {
    /// RFC 6749 §3.2: a parameter without a value counts as omitted.
    fn without_empty(self) -> Self {
        let given = |value: Option<String>| value.filter(|value| !value.is_empty());
        Self {
            grant_type: given(self.grant_type),
            scope: given(self.scope),
            role: given(self.role),
            client_id: given(self.client_id),
            client_secret: given(self.client_secret),
        }
    }
}

pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Result<Form<Body>, FormRejection>,
) -> Response {
    match issue(&app, &headers, body).await {
        Ok(response) => response,
        Err(error) => {
            app.metrics.token_refused(error.code());
            error.into_response()
        }
    }
}

async fn issue<S: Store>(
    app: &App<S>,
    headers: &HeaderMap,
    body: Result<Form<Body>, FormRejection>,
) -> Result<Response, OauthError> {
    let Form(body) =
        body.map_err(|_| OauthError::InvalidRequest("send a form with each parameter once"))?;
    let body = body.without_empty();
    let form = (body.client_id.as_deref(), body.client_secret.as_deref());
    let policy = app.issuer.policy();
    let client = authenticate(&app.config, &policy, headers, form)?;
    match body.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(OauthError::UnsupportedGrantType),
        None => return Err(OauthError::InvalidRequest("grant_type is missing")),
    }
    let scope = body.scope.as_deref().map(Scope::parse).transpose();
    let scope = scope.map_err(|_| OauthError::InvalidScope("scope is malformed".into()))?;
    let role = policy.role_of(client, body.role.as_deref()).map_err(refused)?;
    let (mut entropy, now) = (app.host, (app.host.now)());
    let request = TokenRequest { scope, ..TokenRequest::default() };
    let grant = policy.grant(role, &request, now).map_err(refused)?;
    let recipient = Recipient {
        client_id: client.id.clone(),
        subject: client.id.clone(),
        actor: format!("client:{}", client.id),
    };
    let granted = app
        .issuer
        .grant(&policy, &grant, &recipient, &mut entropy, now)
        .map_err(|error| not_issued(&error, &client.id))?;
    let issued =
        app.issuer.issue(granted, now).await.map_err(|error| not_issued(&error, &client.id))?;
    // Lists are opened ahead of time. If this token needed a new list all the same, publish the
    // list before the client gets the token.
    let path = format!("{LISTS}{}", issued.list_id);
    let is_served = || app.publication.publisher().document(&path).is_some();
    if !is_served() {
        app.publication.until(|publisher| publisher.covers(&issued.list_id, 0)).await;
    }
    if !is_served() {
        tracing::error!(client = client.id, "the status list of an issued token is not served");
        return Err(OauthError::Unavailable("no token can be issued now"));
    }
    app.metrics.token_issued(&grant.role);
    tracing::info!(jti = issued.jwt_id, client = client.id, role = grant.role, "token issued");
    // RFC 6749 §5.1
    let body = Json(json!({
        "access_token": issued.token,
        "token_type": "Bearer",
        "expires_in": issued.lifetime,
        "scope": issued.scope,
    }));
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}

fn not_issued(error: &IssueError, client: &str) -> OauthError {
    tracing::error!(error = %error_chain(error), client, "token not issued");
    OauthError::Unavailable("no token can be issued now")
}

/// The OAuth error for a refusal by the policy. Its text names only roles and scopes of the policy.
fn refused(error: RefusedByPolicy) -> OauthError {
    match error {
        RefusedByPolicy::Role { .. } => {
            OauthError::UnauthorizedClient("the client may not use that role")
        }
        other => OauthError::InvalidScope(other.to_string()),
    }
}
