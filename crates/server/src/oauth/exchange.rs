//! The grant type `token-exchange` of `POST /oauth/token` (RFC 8693): a token of this issuer for a
//! narrower one, or a token of an outside issuer for one of this issuer.

use edgepass_issuer::Store;
use edgepass_issuer::exchange::{Exchange, ExchangeError, ValidToken};
use edgepass_issuer::issue::Recipient;
use edgepass_issuer::policy::TokenRequest;
use edgepass_issuer::policy::federation::Federation;
use edgepass_issuer::policy::version::LivePolicy;
use edgepass_issuer::used_id::{IdKind, UsedId};
use edgepass_jose::{ClaimsSet, CompactJws, base64url};
use edgepass_verify::{Request, Requirements, UnixMillis, VerifyError};

use super::authenticate::{Authenticated, Credentials, authenticate};
use super::error::OauthError;
use super::form::Parameters;
use super::token::{Order, refused, scope, target};
use crate::federations::Trusted;
use crate::limits::Wait;
use crate::peer::Peer;
use crate::{App, error_chain};

pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
/// The time for which verifiers accept an outside token after its `exp`, in seconds.
const LEEWAY: u64 = 10;
/// The longest outside token, in bytes.
const MAX_BYTES: usize = 16 * 1024;

/// The token that the request asks for.
pub(super) async fn order<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    credentials: &Credentials<'_>,
    form: &Parameters,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    let wrong = OauthError::InvalidRequest;
    if ["replace", "grace"].iter().any(|name| form.get(name).is_some()) {
        return Err(wrong("an exchange replaces no token"));
    }
    let subject = form.get("subject_token").ok_or_else(|| wrong("subject_token is missing"))?;
    let subject = subject.trim();
    if !matches!(form.get("requested_token_type"), None | Some(ACCESS_TOKEN | JWT)) {
        return Err(wrong("requested_token_type must be that of an access token"));
    }
    match form.get("subject_token_type") {
        Some(ACCESS_TOKEN) => {
            let client = authenticate(app, policy, credentials, now)?;
            narrowed(app, policy, &client, form, subject, now).await
        }
        Some(JWT | ID_TOKEN) => federated(app, policy, form, subject, &credentials.peer, now).await,
        Some(_) => Err(wrong("subject_token_type is not supported")),
        None => Err(wrong("subject_token_type is missing")),
    }
}

/// A token of this issuer, for one with at most its scope and time.
async fn narrowed<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    Authenticated { client, assertion }: &Authenticated<'_>,
    form: &Parameters,
    subject: &str,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    let wrong = OauthError::InvalidRequest;
    if form.get("role").is_some() {
        return Err(wrong("the new token has the role of subject_token: leave role out"));
    }
    let actor = match (form.get("actor_token"), form.get("actor_token_type")) {
        (None, None) => None,
        (Some(token), Some(ACCESS_TOKEN)) => {
            let actor = valid(app, token, now).await?;
            Some(actor.ok_or_else(|| wrong("actor_token is not valid"))?)
        }
        _ => return Err(wrong("send actor_token with actor_token_type of an access token")),
    };
    let subject =
        valid(app, subject, now).await?.ok_or_else(|| wrong("subject_token is not valid"))?;
    let exchange = Exchange {
        client,
        subject: &subject,
        actor: actor.as_ref(),
        scope: scope(form)?,
        audience: target(form)?,
    };
    let (grant, recipient) = exchange.grant(policy, now).map_err(|error| match error {
        ExchangeError::Policy(error) => refused(error),
        ExchangeError::Scope(_) => OauthError::InvalidScope(error.to_string()),
        ExchangeError::Audience(_) => OauthError::InvalidTarget(error.to_string()),
        ExchangeError::NotTheClients => {
            OauthError::UnauthorizedClient("the client may not exchange this token")
        }
        ExchangeError::Networks => {
            wrong("the networks of the role have changed since subject_token was issued")
        }
        ExchangeError::Regions => {
            wrong("the role's agreement and subject_token have no region in common")
        }
        _ => wrong("the client may not act as asked"),
    })?;
    let once = assertion.iter().copied().collect();
    Ok(Order { grant, recipient: Recipient { once, ..recipient }, exchanged: true })
}

async fn valid<S: Store>(
    app: &App<S>,
    token: &str,
    now: UnixMillis,
) -> Result<Option<ValidToken>, OauthError> {
    app.issuer.valid_token(token, now).await.map_err(|error| {
        tracing::error!(error = %error_chain(&error), "token not looked up");
        OauthError::Unavailable("no token can be looked up now")
    })
}

/// A token of an outside issuer, for one of the role that a federation names. The caller needs no
/// secret: the outside token proves who it is.
async fn federated<S: Store>(
    app: &App<S>,
    policy: &LivePolicy,
    form: &Parameters,
    subject: &str,
    peer: &Peer,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    let address = peer.address;
    let wait = |wait: Wait| OauthError::TooMany(wait.seconds());
    app.limits.may_authenticate(address).map_err(wait)?;
    if form.get("actor_token").is_some() {
        return Err(OauthError::InvalidRequest(
            "an outside token is exchanged without actor_token",
        ));
    }
    if !is_access_or_id_token(subject) {
        app.limits.failure(address).map_err(wait)?;
        return Err(OauthError::SubjectTokenRefused("typ_not_accepted"));
    }
    let all = app.federations.all();
    let named = |trusted: &&Trusted| {
        let rule = &trusted.rule;
        form.get("client_id").is_none_or(|id| id == rule.name)
            && form.get("role").is_none_or(|role| role == rule.role)
    };
    let (mut accepted, mut reason) = (None, None::<VerifyError>);
    for trusted in all.iter().filter(named) {
        let request = Request {
            authorization: Some(format!("Bearer {subject}")),
            network: peer.network(),
            ..Request::default()
        };
        match trusted.client.verify_request(request, Requirements::default()).await.outcome {
            // The order of the rules must not decide what is granted.
            Ok(_) if accepted.is_some() => {
                return Err(OauthError::InvalidRequest(
                    "several federations accept subject_token: name one by client_id or role",
                ));
            }
            Ok(claims) => accepted = Some((&trusted.rule, claims)),
            Err(error) => {
                let federation = trusted.rule.name.as_str();
                tracing::info!(federation, %error, "an outside token is refused");
                // Of several rules, that which the token comes nearest to.
                if reason.as_ref().is_none_or(|before| before.step() <= error.step()) {
                    reason = Some(error);
                }
            }
        }
    }
    if let Some((rule, claims)) = accepted {
        app.limits.request(&rule.name).map_err(wait)?;
        return order_of(policy, rule, form, &claims, subject, now);
    }
    match reason {
        None => Err(OauthError::InvalidRequest("no federation has that client_id or role")),
        Some(error) if error.is_unavailable() => Err(OauthError::Unavailable(
            "a document of the outside issuer (keys, status list) cannot be fetched now",
        )),
        Some(error) => {
            app.limits.failure(address).map_err(wait)?;
            Err(OauthError::SubjectTokenRefused(error.code()))
        }
    }
}

/// The order for the token of a federation's rule.
fn order_of(
    policy: &LivePolicy,
    verified: &Federation,
    form: &Parameters,
    claims: &ClaimsSet,
    token: &str,
    now: UnixMillis,
) -> Result<Order, OauthError> {
    // The rule that was verified may be of another policy than the one that grants.
    let rule = policy.federations.iter().find(|rule| *rule == verified);
    let rule = rule.ok_or(OauthError::UnauthorizedClient("the federation has ended"))?;
    let role = policy.role(&rule.role).map_err(refused)?;
    let request = TokenRequest {
        audience: target(form)?.map(str::to_owned),
        scope: scope(form)?,
        lifetime: Some(rule.lifetime),
    };
    let grant = policy.grant(role, &request, now).map_err(refused)?;
    // An outside subject must not be taken for a client or for a subject of another issuer.
    let name = &rule.name;
    let outside = claims.required_string("sub").ok().filter(|sub| is_printable(sub));
    let outside = outside.ok_or(OauthError::SubjectTokenRefused("claim_invalid"))?;
    let subject = format!("{name}:{outside}");
    let recipient = Recipient::new(name.clone(), subject, format!("federation:{name}"));
    // Not as the rule writes it: several rules may mean the same issuer.
    let issuer = claims.required_string("iss").unwrap_or(&rule.issuer);
    let once = vec![used(issuer, claims, token)];
    Ok(Order { grant, recipient: Recipient { once, ..recipient }, exchanged: true })
}

/// Whether the header allows an outside token to be one for access or identity. `typ` of Kubernetes is
/// absent, that of GitHub `JWT` (RFC 8725 §3.11). `true` for what is no token: the verifier says why.
fn is_access_or_id_token(token: &str) -> bool {
    let Ok(jws) = CompactJws::parse(token, MAX_BYTES) else { return true };
    let header = jws.header();
    !header.members().contains_key("typ") || header.has_type("JWT") || header.has_type("at+jwt")
}

/// Whether an outside `sub` can be a part of one of this issuer.
fn is_printable(subject: &str) -> bool {
    (1..=512).contains(&subject.len()) && !subject.chars().any(char::is_control)
}

/// The use of an outside token: by its `jti`, else by what is signed.
fn used(issuer: &str, claims: &ClaimsSet, token: &str) -> UsedId {
    let expiration = claims.expiration().ok().flatten().map_or(u64::MAX, |date| date.seconds());
    let until = expiration.saturating_add(LEEWAY).saturating_add(1);
    match (claims.required_string("jti"), CompactJws::parse(token, MAX_BYTES)) {
        (Ok(jwt_id), _) => UsedId::new(IdKind::OutsideToken, &[issuer, "jti", jwt_id], until),
        // The signature is left out: another one over the same text may be valid as well.
        (Err(_), Ok(jws)) => {
            let signed = base64url::encode(jws.signing_input());
            UsedId::new(IdKind::OutsideToken, &[issuer, "signed", &signed], until)
        }
        (Err(_), Err(_)) => UsedId::new(IdKind::OutsideToken, &[issuer, "text", token], until),
    }
}
