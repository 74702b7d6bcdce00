//! `POST /oauth/token`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::access::{AccessError, Ask, GrantError, Party};
use edgepass_issuer::client::Client;
use edgepass_issuer::issue::{IssueError, IssuedToken, Recipient};
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::policy::{Grant, RefusedByPolicy, Role, TokenRequest};
use edgepass_issuer::replacement::{DEFAULT_GRACE, ReplaceError, replace};
use edgepass_issuer::token_facts::Confirmation;
use edgepass_issuer::used_id::{IdKind, UsedId};
use edgepass_jose::Scope;
use edgepass_verify::UnixMillis;
use edgepass_verify::policy::duration::DurationText;
use serde::Serialize;

use super::authenticate::{Authenticated, Credentials, USED, authenticate};
use super::binding::bind;
use super::error::{AccessNeed, OauthError};
use super::exchange;
use super::form::Parameters;
use crate::access::Failed;
use crate::admin::records::unreadable;
use crate::peer::Peer;
use crate::{App, admin, error_chain};

/// A token to be issued.
pub(super) struct Order {
    pub(super) grant: Grant,
    pub(super) recipient: Recipient,
    /// Whether it is issued in exchange for another token.
    pub(super) exchanged: bool,
}

pub(crate) async fn post<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Result<Parameters, OauthError>,
) -> Response {
    let answer = async {
        let form = form?;
        let peer = Peer::of(&extensions, &headers, app.config.proxy.as_ref());
        let from = peer.address;
        let credentials = Credentials { headers: &headers, form: Some(&form), peer };
        let (policy, now) = (app.issuer.policy(), (app.host.now)());
        let order = order(&app, &policy, &credentials, &form, now).await?;
        let order = bind(&app, order, &credentials, now)?;
        // The documents of an outside issuer may have been waited for.
        if app.issuer.policy().number() != policy.number() {
            return Err(OauthError::Unavailable("the policy has changed meanwhile: try again"));
        }
        issue(&app, &policy, &order, from, now).await
    };
    answer.await.unwrap_or_else(|error| {
        app.metrics.token_refused(error.code());
        error.into_response()
    })
}

/// The token that the request asks for.
async fn order<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    credentials: &Credentials<'_>,
    form: &Parameters,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    // RFC 9396: never ignored, since the client may rely on it.
    if form.get("authorization_details").is_some() {
        return Err(OauthError::InvalidAuthorizationDetails);
    }
    match form.get("grant_type") {
        Some("client_credentials") => {
            let client = authenticate(app, policy, credentials, now)?;
            match form.get("replace") {
                None if form.get("grace").is_some() => {
                    Err(OauthError::InvalidRequest("grace goes with replace"))
                }
                None => client_credentials(app, policy, &client, form, now).await,
                Some(jwt_id) => {
                    Box::pin(replacement(app, policy, &client, form, jwt_id, now)).await
                }
            }
        }
        // Boxed, as what is rare: the state of every request has room for what is not.
        Some(exchange::GRANT_TYPE) => {
            Box::pin(exchange::order(app, policy, credentials, form, now)).await
        }
        Some(_) => Err(OauthError::UnsupportedGrantType),
        None => Err(OauthError::InvalidRequest("grant_type is missing")),
    }
}

/// Grants a token to the client itself. The parameter `role`, by default the client's first role that
/// has the audience, is not in the RFC.
///
/// Source: [RFC 6749 §4.4](https://www.rfc-editor.org/rfc/rfc6749#section-4.4).
async fn client_credentials<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    Authenticated { client, assertion }: &Authenticated<'_>,
    form: &Parameters,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    let audience = target(form)?;
    let role = policy.role_of(client, form.get("role"), audience).map_err(refused)?;
    let audience = audience.map(str::to_owned);
    let request = TokenRequest { audience, scope: scope(form)?, lifetime: None };
    if policy.approval(&role.name).is_none() && ACCESS.iter().any(|name| form.get(name).is_some()) {
        return Err(OauthError::InvalidRequest("the role needs no approval: leave access_* out"));
    }
    let granted =
        app.issuer.grant_role(policy, role, request.clone(), (&client.id, &client.id), now);
    let grant = match granted.await {
        Ok(grant) => grant,
        Err(GrantError::Policy(error)) => return Err(refused(error)),
        Err(GrantError::Needed | GrantError::Over(_) | GrantError::Changed)
            if form.get("access_reason").is_some() =>
        {
            // Asking is an act of the client, too: an assertion authorizes one.
            if let Some(id) = assertion {
                spend(app, *id, now).await?;
            }
            return Err(match ask(app, client, role, request, form, now).await? {
                Ok(id) | Err(AccessError::Asked(id)) => denied(app, AccessNeed::Pending, &id),
                Err(error) => {
                    let url = requests_url(app);
                    OauthError::AccessDenied(AccessNeed::Refused, url, Some(error.to_string()))
                }
            });
        }
        Err(GrantError::Denied(id)) => return Err(denied(app, AccessNeed::Denied, &id)),
        Err(GrantError::Changed) => return Err(denied(app, AccessNeed::Changed, "")),
        Err(GrantError::Pending(id)) => return Err(denied(app, AccessNeed::Pending, &id)),
        Err(GrantError::Beyond) => return Err(denied(app, AccessNeed::Beyond, "")),
        Err(GrantError::Store(error)) => return Err(unreadable(error)),
        Err(_) => return Err(denied(app, AccessNeed::Required, "")),
    };
    let (client_id, subject) = (client.id.clone(), client.id.clone());
    let recipient = Recipient::new(client_id, subject, format!("client:{}", client.id));
    let once = assertion.iter().copied().collect();
    Ok(Order { grant, recipient: Recipient { once, ..recipient }, exchanged: false })
}

/// Parameters that ask for access. They are not in the RFC.
const ACCESS: [&str; 3] = ["access_reason", "access_ticket", "access_for"];

/// Records the use of an assertion by a request that issues nothing.
async fn spend<S: Store>(app: &App<S>, id: UsedId, now: UnixMillis) -> Result<(), OauthError> {
    match app.issuer.store().use_once(id, now.numeric_date().seconds()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(USED),
        Err(error) => Err(unreadable(error)),
    }
}

/// Asks for access in the name of the client. Returns the request, or why the rules refuse it.
async fn ask<S: Store>(
    app: &App<S>,
    client: &Client,
    role: &Role,
    request: TokenRequest,
    form: &Parameters,
    now: UnixMillis,
) -> Result<Result<String, AccessError>, OauthError> {
    let duration = form.get("access_for").and_then(|text| DurationText::parse(text).ok());
    let duration =
        duration.ok_or(OauthError::InvalidRequest("access_for is a duration such as 1h"))?;
    let ask = Ask {
        role: role.name.clone(),
        seconds: duration.0.as_secs(),
        reason: form.get("access_reason").unwrap_or_default().to_owned(),
        ticket: form.get("access_ticket").map(str::to_owned),
        audience: request.audience,
        scope: request.scope.map(|scope| scope.to_string()),
        ..Ask::default()
    };
    let party = Party { name: format!("client:{}", client.id), role: None };
    let asked = crate::access::ask(&app.issuer, ask, &party, &mut { app.host }, now).await;
    match asked {
        Ok(changed) => Ok(Ok(changed.request.id)),
        Err(Failed::Refused(error)) => Ok(Err(error)),
        Err(error) => Err(admin::access::failed(error)),
    }
}

/// The refusal of a role that needs approval, with the URL of the request, or of all requests.
fn denied<S>(app: &App<S>, need: AccessNeed, id: &str) -> OauthError {
    let all = requests_url(app);
    let url = if id.is_empty() { all } else { format!("{all}/{id}") };
    OauthError::AccessDenied(need, url, None)
}

fn requests_url<S>(app: &App<S>) -> String {
    format!("{}/admin/v1/access-requests", app.issuer.issuer())
}

/// Grants a token that replaces one of the client's own, which is named by its `jti`. The old one is
/// revoked after `grace`. Neither parameter is in the RFC.
async fn replacement<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    Authenticated { client, assertion }: &Authenticated<'_>,
    form: &Parameters,
    jwt_id: &str,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    let wrong = OauthError::InvalidRequest;
    let grace = match form.get("grace") {
        None => DEFAULT_GRACE,
        Some(text) => {
            DurationText::parse(text).map_err(|_| wrong("grace is a duration such as 30s"))?.0
        }
    };
    if ["role", "resource", "audience"].iter().any(|name| form.get(name).is_some()) {
        return Err(wrong("a token is replaced by one of its role and audience: name neither"));
    }
    let old = app.issuer.store().token(jwt_id).await.map_err(|error| {
        tracing::error!(error = %error_chain(&error), "token not looked up");
        OauthError::Unavailable("no token can be looked up now")
    })?;
    // Another client's token is as unknown as one that does not exist.
    let old = old.filter(|old| old.facts.client_id == client.id);
    let old = old.ok_or_else(|| wrong("the client has no token with that jti"))?;
    // What an operator issued may have a subject or a lifetime that the client cannot obtain.
    if old.facts.created_by != format!("client:{}", client.id) {
        return Err(wrong(
            "the client did not obtain that token itself: whoever issued it replaces it",
        ));
    }
    // The client may have lost the role since.
    policy.role_of(client, Some(&old.facts.role), None).map_err(refused)?;
    let replaced = replace(policy, &old, scope(form)?, None, grace, now);
    let (grant, replaces) = replaced.map_err(|error| match error {
        ReplaceError::Policy(error) => refused(error),
        ReplaceError::Scope(_) => OauthError::InvalidScope(error.to_string()),
        ReplaceError::Grace => wrong("grace is at most 1h"),
        ReplaceError::Exchanged => wrong("the token was exchanged from another one"),
        ReplaceError::OnRequest => {
            wrong("the role needs approval: get another token without replace")
        }
        _ => wrong("the token to be replaced is not valid any more"),
    })?;
    let actor = format!("client:{}", client.id);
    let recipient = Recipient {
        confirmation: old.facts.confirmation,
        once: assertion.iter().copied().collect(),
        replaces: Some(replaces),
        ..Recipient::new(client.id.clone(), old.facts.subject, actor)
    };
    Ok(Order { grant, recipient, exchanged: false })
}

/// The audience that the request names: by `resource` (RFC 8707) or `audience` (RFC 8693 §2.1).
pub(super) fn target(form: &Parameters) -> Result<Option<&str>, OauthError> {
    let wrong = |text: &str| OauthError::InvalidTarget(text.to_owned());
    let mut resources = form.all("resource");
    // RFC 8707 §2: an absolute URI without a fragment
    if resources.any(|uri| !uri.contains(':') || uri.contains('#')) {
        return Err(wrong("resource must be an absolute URI without a fragment"));
    }
    let mut named = form.all("resource").chain(form.all("audience"));
    let first = named.next();
    match named.find(|other| Some(*other) != first) {
        Some(_) => Err(wrong("a token has one audience: name one")),
        None => Ok(first),
    }
}

pub(super) fn scope(form: &Parameters) -> Result<Option<Scope>, OauthError> {
    let scope = form.get("scope").map(Scope::parse).transpose();
    scope.map_err(|_| OauthError::InvalidScope("scope is malformed".into()))
}

async fn issue<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    order: &Order,
    from: IpAddr,
    now: UnixMillis,
) -> Result<Response, OauthError> {
    let Order { grant, recipient, exchanged } = order;
    let client = recipient.client_id.as_str();
    let refused = |error: IssueError| not_issued(&error, client);
    let granted = app.issuer.grant(policy, grant, recipient, &mut { app.host }, now);
    let issued = match app.issuer.issue(granted.map_err(refused)?, now).await {
        Err(error @ IssueError::Used(_)) => {
            let counted = app.limits.failure(from);
            counted.map_err(|wait| OauthError::TooMany(wait.seconds()))?;
            return Err(refused(error));
        }
        issued => issued.map_err(refused)?,
    };
    publish(app, &issued).await?;
    app.metrics.token_issued(&grant.role);
    tracing::info!(jti = issued.jwt_id, client, role = grant.role, %from, "token issued");
    let body = TokenResponse {
        access_token: &issued.token,
        token_type: token_type(recipient.confirmation.as_ref()),
        expires_in: issued.lifetime,
        scope: &issued.scope,
        issued_token_type: exchanged.then_some(exchange::ACCESS_TOKEN),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

/// The body of a response.
///
/// Source: [RFC 6749 §5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1).
#[derive(Serialize)]
struct TokenResponse<'t> {
    access_token: &'t str,
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    scope: &'t str,
    /// RFC 8693 §2.2.1
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
}

/// The scheme with which the token is presented (RFC 9449 §5).
fn token_type(confirmation: Option<&Confirmation>) -> &'static str {
    if let Some(Confirmation::Key(_)) = confirmation { "DPoP" } else { "Bearer" }
}

/// Lists are opened ahead of time. If the token needed a new list all the same, publishes the list
/// before the client gets the token.
async fn publish<S: Store>(app: &App<S>, issued: &IssuedToken) -> Result<(), OauthError> {
    if !app.publication.serves_list(&issued.list_id).await {
        tracing::error!(jti = issued.jwt_id, "the status list of an issued token is not served");
        return Err(OauthError::Unavailable("no token can be issued now"));
    }
    Ok(())
}

fn not_issued(error: &IssueError, client: &str) -> OauthError {
    match error {
        IssueError::Used(IdKind::ClientAssertion) => return USED,
        IssueError::Used(IdKind::Proof) => {
            return OauthError::InvalidDpopProof("the DPoP proof was used before");
        }
        IssueError::Used(IdKind::OutsideToken) => {
            return OauthError::InvalidRequest("subject_token was used before");
        }
        IssueError::NotReplaced => {
            return OauthError::InvalidRequest("the token to be replaced is not valid any more");
        }
        IssueError::NoAccess => {
            return OauthError::InvalidRequest(
                "the role needs approval, and access is not granted now",
            );
        }
        IssueError::ParentNotValid => {
            return OauthError::InvalidRequest(
                "subject_token is not valid any more, or was exchanged eight times in a row",
            );
        }
        _ => {}
    }
    tracing::error!(error = %error_chain(error), client, "token not issued");
    OauthError::Unavailable("no token can be issued now")
}

/// The OAuth error for a refusal by the policy. Its text names only values of the policy.
pub(crate) fn refused(error: RefusedByPolicy) -> OauthError {
    match error {
        RefusedByPolicy::Role { .. } => {
            OauthError::UnauthorizedClient("the client may not use that role")
        }
        RefusedByPolicy::Audience { .. } => OauthError::InvalidTarget(error.to_string()),
        other => OauthError::InvalidScope(other.to_string()),
    }
}
