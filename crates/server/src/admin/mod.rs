//! `/admin/v1`: what operators do, over HTTP. A token of this issuer authorizes each request; its
//! audience is the issuer itself, and its scope one of those below.

pub mod access;
pub mod findings;
pub mod incidents;
pub mod keys;
pub mod policy;
pub mod records;
pub mod review;
pub mod tokens;
pub mod trail;
pub mod usage;
pub mod view;

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::access::Party;
use edgepass_issuer::status_act::unchanged;
use edgepass_issuer::token_facts::{Confirmation, TokenFacts};
use edgepass_jose::json;
use edgepass_verify::checks::{networks, purpose};
use edgepass_verify::policy as settings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::acts::{ActRequest, is_json};
use crate::oauth::authenticate::refuse_other_origins;
use crate::oauth::error::OauthError;
use crate::peer::Peer;
use crate::{App, error_chain};

pub use edgepass_issuer::policy::operator_scopes::{APPROVE, AUDIT, OPERATE, READ, REQUEST, USAGE};

/// Limit of a body in bytes, with room for as many `jti` as one act may name.
const MAX_BYTES: usize = 4 << 20;

/// The head of a request.
pub(crate) struct Head {
    headers: HeaderMap,
    extensions: Extensions,
}

impl Head {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

impl<S: Send + Sync> axum::extract::FromRequestParts<S> for Head {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut axum::http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self { headers: parts.headers.clone(), extensions: parts.extensions.clone() })
    }
}

/// Returns the actor of a request whose token has the scope: `subject:` and its `sub`, or `client:` and
/// its `client_id` if the token is a client's own.
pub(crate) async fn authorize<S: Store>(
    app: &App<S>,
    head: &Head,
    needed: &'static str,
) -> Result<String, OauthError> {
    Ok(name(&authorized(app, head, &[needed]).await?))
}

/// Returns who makes a request whose token has one of the scopes, and the first of them that it has.
pub(crate) async fn authorize_party<S: Store>(
    app: &App<S>,
    head: &Head,
    any_of: &[&'static str],
) -> Result<(Party, &'static str), OauthError> {
    let facts = authorized(app, head, any_of).await?;
    let has = |needed: &&&str| facts.scope.split(' ').any(|own| own == **needed);
    let scope = any_of.iter().find(has).copied().unwrap_or_default();
    Ok((Party { name: name(&facts), role: Some(facts.role) }, scope))
}

/// The actor with a token.
fn name(facts: &TokenFacts) -> String {
    match facts.subject == facts.client_id {
        true => format!("client:{}", facts.client_id),
        false => format!("subject:{}", facts.subject),
    }
}

/// Returns the `client_id` of a request whose token has the scope, if the token is the client's own.
pub(crate) async fn authorize_client<S: Store>(
    app: &App<S>,
    head: &Head,
    needed: &'static str,
) -> Result<String, OauthError> {
    let facts = authorized(app, head, &[needed]).await?;
    match facts.subject == facts.client_id {
        true => Ok(facts.client_id),
        false => Err(OauthError::UnauthorizedClient("the token is not a client's own")),
    }
}

/// Returns what is recorded of the token of a request, which has one of the scopes. The status of the token is that
/// of the database, so that a revocation counts at once.
async fn authorized<S: Store>(
    app: &App<S>,
    head: &Head,
    any_of: &[&'static str],
) -> Result<TokenFacts, OauthError> {
    let peer = Peer::of(&head.extensions, &head.headers, app.config.proxy.as_ref());
    let wait = |wait: crate::limits::Wait| OauthError::TooMany(wait.seconds());
    app.limits.may_authenticate(peer.address).map_err(wait)?;
    let found = identify(app, &head.headers, &peer).await;
    if let Err(OauthError::InvalidToken(_)) = found {
        app.limits.failure(peer.address).map_err(wait)?;
    }
    let facts = found?;
    if facts.scope.split(' ').any(|own| any_of.contains(&own)) {
        Ok(facts)
    } else {
        Err(OauthError::InsufficientScope(any_of.first().copied().unwrap_or_default()))
    }
}

/// What is recorded of the request's token.
async fn identify<S: Store>(
    app: &App<S>,
    headers: &HeaderMap,
    peer: &Peer,
) -> Result<TokenFacts, OauthError> {
    refuse_other_origins(&app.config, headers)?;
    let refused = OauthError::InvalidToken;
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => field,
        // RFC 6750 §3.1: without a code where there are no credentials.
        (None, _) => return Err(OauthError::TokenMissing),
        (Some(_), Some(_)) => {
            return Err(OauthError::InvalidRequest("send Authorization once"));
        }
    };
    let text = field.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(OauthError::TokenMissing);
    }
    let found = app.issuer.valid_token(token.trim(), (app.host.now)()).await.map_err(|error| {
        tracing::error!(error = %error_chain(&error), "token not looked up");
        OauthError::Unavailable("no token can be looked up now")
    })?;
    let (claims, record) =
        found.ok_or_else(|| refused("the token is not a valid one of this issuer: it may have expired, or be revoked; get another"))?;
    let facts = record.facts;
    if facts.audience != app.issuer.issuer() {
        return Err(refused("the audience of the token is not this issuer"));
    }
    let network = peer.network();
    if networks::check(&claims, &network).is_err()
        || purpose::check_regions(&claims, &network).is_err()
    {
        return Err(refused("the token may not be used from this network"));
    }
    // RFC 8693 §4.1: somebody else acts than the token's subject, whom the trail would blame.
    if claims.get("act").is_some() {
        return Err(refused("a token with which somebody else acts is not accepted here"));
    }
    match (&facts.confirmation, &peer.certificate) {
        (None, _) => {}
        (Some(Confirmation::Certificate(own)), Some(shown)) if own == shown.as_str() => {}
        (Some(Confirmation::Certificate(_)), _) => {
            return Err(refused("the token is bound to another certificate"));
        }
        (Some(Confirmation::Key(_)), _) => {
            return Err(refused("tokens that are bound by DPoP are not accepted here"));
        }
    }
    Ok(facts)
}

/// Reads a body in JSON, each member once.
pub(crate) async fn read<T: DeserializeOwned>(head: &Head, body: Body) -> Result<T, OauthError> {
    if !is_json(&head.headers) {
        return Err(OauthError::InvalidRequest("send Content-Type: application/json"));
    }
    let body = to_bytes(body, MAX_BYTES)
        .await
        .map_err(|_| OauthError::InvalidRequest("send at most 4 MiB"))?;
    let read = json::parse_object(&body).ok();
    let read = read.and_then(|body| settings::json::read(body.into()).ok());
    read.ok_or(OauthError::InvalidRequest(
        "send a JSON object with the members that /openapi.json describes, each once",
    ))
}

/// A response in JSON that nobody stores.
pub(crate) fn answer(body: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// A response to a request that changes or reads something.
pub(crate) fn respond(outcome: Result<Value, OauthError>) -> Response {
    outcome.map_or_else(IntoResponse::into_response, answer)
}

/// `POST /admin/v1/status-acts`.
pub(crate) async fn act<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let acted = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let order: ActRequest = read(&head, body).await?;
        let (change, is_dry) = (order.act, order.dry_run);
        let single = match order.jwt_ids.as_slice() {
            [jwt_id] if !is_dry => Some(jwt_id.clone()),
            _ => None,
        };
        let mut done = crate::acts::carry_out(&app, order, &actor).await?;
        let changed_nothing = done.get("count").and_then(Value::as_u64) == Some(0);
        if let (Some(jwt_id), true, Some(members)) = (single, changed_nothing, done.as_object_mut())
        {
            let record = app.issuer.store().token(&jwt_id).await.map_err(records::unreadable)?;
            let state = unchanged(change, record.as_ref(), (app.host.now)());
            members
                .insert("unchanged".to_owned(), state.map_err(OauthError::InvalidRequest)?.into());
        }
        Ok(done)
    };
    respond(acted.await)
}

/// `POST /admin/v1/status-entries`.
pub(crate) async fn entry<S: Store>(
    State(app): State<Arc<App<S>>>,
    head: Head,
    body: Body,
) -> Response {
    let allotted = async {
        let actor = authorize(&app, &head, OPERATE).await?;
        let entry = read(&head, body).await?;
        let client = edgepass_issuer::order::CLIENT.to_owned();
        crate::status_entries::allot(&app, entry, client, actor).await
    };
    respond(allotted.await)
}
