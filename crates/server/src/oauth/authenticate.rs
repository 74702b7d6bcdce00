//! Client authentication: by a secret, by a signed assertion, or by a TLS certificate.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_issuer::client::assertion::{Assertion, AssertionError};
use edgepass_issuer::client::{Authentication, Client};
use edgepass_issuer::used_id::UsedId;
use edgepass_issuer::{Config, IssuerPolicy, Store};
use edgepass_verify::UnixMillis;

use super::error::OauthError;
use super::form::Parameters;
use crate::App;
use crate::limits::Wait;
use crate::peer::Peer;

/// What a request says of its client.
pub(crate) struct Credentials<'r> {
    pub(crate) headers: &'r HeaderMap,
    /// The parameters of the body, if it is a form.
    pub(crate) form: Option<&'r Parameters>,
    pub(crate) peer: Peer,
}

/// An authenticated client.
pub(crate) struct Authenticated<'p> {
    pub(crate) client: &'p Client,
    /// The use of the client's assertion. The request may be carried out only if it is the first.
    pub(crate) assertion: Option<UsedId>,
}

/// The names of the methods that clients may use (RFC 8414 §2). A certificate needs a proxy that shows
/// it.
pub(crate) fn methods(config: &Config) -> Vec<&'static str> {
    let mut methods = vec!["private_key_jwt", "client_secret_basic", "client_secret_post"];
    if config.proxy_shows_certificates() {
        methods.push("self_signed_tls_client_auth");
    }
    methods
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Returns the client that these credentials authenticate. Exactly one method may be used; the body
/// may repeat the `client_id`. Requests of web pages of other origins are refused, and requests over
/// the limits.
///
/// Source: [RFC 6749 §2.3](https://www.rfc-editor.org/rfc/rfc6749#section-2.3), RFC 7523 §2.2,
/// RFC 8705 §2.
pub(crate) fn authenticate<'p, S>(
    app: &App<S>,
    policy: &'p IssuerPolicy,
    credentials: &Credentials<'_>,
    now: UnixMillis,
) -> Result<Authenticated<'p>, OauthError> {
    let wait = |wait: Wait| OauthError::TooMany(wait.seconds());
    app.limits.may_authenticate(credentials.peer.address).map_err(wait)?;
    let found = identify(&app.config, policy, credentials, now);
    match &found {
        Ok(found) => app.limits.request(&found.client.id).map_err(wait)?,
        Err(error) if error.is_failed_authentication() => {
            app.limits.failure(credentials.peer.address).map_err(wait)?;
        }
        Err(_) => {}
    }
    found
}

fn identify<'p>(
    config: &Config,
    policy: &'p IssuerPolicy,
    credentials: &Credentials<'_>,
    now: UnixMillis,
) -> Result<Authenticated<'p>, OauthError> {
    refuse_other_origins(config, credentials.headers)?;
    let form = |name| credentials.form.and_then(|form| form.get(name));
    let named = form("client_id");
    let basic = basic(credentials.headers)?;
    // A body that is no form has no room for an assertion.
    let field = match credentials.form {
        Some(_) => None,
        None => assertion_field(credentials.headers)?,
    };
    match (basic, form("client_secret"), form("client_assertion").or(field)) {
        (Some((id, secret)), None, None) => {
            is_same(named, &id)?;
            by_secret(policy, &id, &secret, now)
        }
        (None, Some(secret), None) => by_secret(policy, named.ok_or(UNKNOWN)?, secret, now),
        (None, None, Some(text)) => {
            if field.is_none() && form("client_assertion_type") != Some(ASSERTION_TYPE) {
                return Err(OauthError::InvalidRequest(
                    "client_assertion_type must be urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
            }
            by_assertion(config, policy, named, text, now)
        }
        (None, None, None) => by_certificate(policy, named.ok_or(UNKNOWN)?, &credentials.peer),
        _ => Err(OauthError::InvalidRequest("use one client authentication method")),
    }
}

/// The field `Client-Assertion`, which is not in the RFC.
fn assertion_field(headers: &HeaderMap) -> Result<Option<&str>, OauthError> {
    let mut fields = headers.get_all("client-assertion").iter();
    match (fields.next(), fields.next()) {
        (None, _) => Ok(None),
        (Some(field), None) => Ok(Some(field.to_str().map_err(|_| UNKNOWN)?)),
        (Some(_), Some(_)) => {
            Err(OauthError::InvalidRequest("more than one Client-Assertion header"))
        }
    }
}

/// Like [`authenticate`], for requests that issue nothing: records the use of an assertion.
pub(crate) async fn authenticate_now<'p, S: Store>(
    app: &App<S>,
    policy: &'p IssuerPolicy,
    credentials: &Credentials<'_>,
) -> Result<&'p Client, OauthError> {
    let now = (app.host.now)();
    let Authenticated { client, assertion } = authenticate(app, policy, credentials, now)?;
    if let Some(id) = assertion {
        let first = app.issuer.store().use_once(id, now.numeric_date().seconds()).await;
        match first {
            Ok(true) => {}
            Ok(false) => {
                let counted = app.limits.failure(credentials.peer.address);
                counted.map_err(|wait| OauthError::TooMany(wait.seconds()))?;
                return Err(USED);
            }
            Err(error) => {
                tracing::error!(error = %crate::error_chain(&error), "assertion not recorded");
                return Err(OauthError::Unavailable("no assertion can be checked now"));
            }
        }
    }
    Ok(client)
}

const UNKNOWN: OauthError = OauthError::InvalidClient("unknown client or wrong credentials");

/// The assertion was used before.
pub(crate) const USED: OauthError =
    OauthError::InvalidClient("client_assertion: its jti was used before");

fn is_same(named: Option<&str>, id: &str) -> Result<(), OauthError> {
    if named.is_none_or(|named| named == id) {
        Ok(())
    } else {
        Err(OauthError::InvalidRequest("two different client identifiers"))
    }
}

fn by_secret<'p>(
    policy: &'p IssuerPolicy,
    id: &str,
    secret: &str,
    now: UnixMillis,
) -> Result<Authenticated<'p>, OauthError> {
    let client = policy.client(id).ok_or(UNKNOWN)?;
    let Authentication::Secrets(secrets) = &client.authentication else { return Err(UNKNOWN) };
    // All are compared, so that the time does not tell which one fits.
    let fitting = secrets.iter().filter(|own| own.matches(secret, now)).count();
    if fitting > 0 { Ok(Authenticated { client, assertion: None }) } else { Err(UNKNOWN) }
}

fn by_assertion<'p>(
    config: &Config,
    policy: &'p IssuerPolicy,
    named: Option<&str>,
    text: &str,
    now: UnixMillis,
) -> Result<Authenticated<'p>, OauthError> {
    let refused = OauthError::InvalidClientAssertion;
    let assertion = Assertion::parse(text).map_err(refused)?;
    let id = assertion.claimed_client().ok_or(UNKNOWN)?;
    is_same(named, id)?;
    // As for a client whose keys do not fit: nobody learns which clients there are.
    let keys = policy.client(id).and_then(|client| match &client.authentication {
        Authentication::Keys(keys) => Some((client, keys)),
        _ => None,
    });
    let Some((client, keys)) = keys else { return Err(refused(AssertionError::Signature)) };
    let used = assertion.check(id, keys, &config.issuer, now).map_err(refused)?;
    Ok(Authenticated { client, assertion: Some(used) })
}

fn by_certificate<'p>(
    policy: &'p IssuerPolicy,
    id: &str,
    peer: &Peer,
) -> Result<Authenticated<'p>, OauthError> {
    let client = policy.client(id).ok_or(UNKNOWN)?;
    let Authentication::Certificates(own) = &client.authentication else { return Err(UNKNOWN) };
    let shown = peer.certificate.as_ref().ok_or(UNKNOWN)?;
    if own.iter().any(|own| own == shown.as_str()) {
        Ok(Authenticated { client, assertion: None })
    } else {
        Err(UNKNOWN)
    }
}
/// Refuses requests of web pages of other origins, by `Origin` and `Sec-Fetch-Site`: a browser adds
/// remembered Basic credentials to a request that any page posts
/// (<https://w3c.github.io/webappsec-fetch-metadata/>).
pub(crate) fn refuse_other_origins(config: &Config, headers: &HeaderMap) -> Result<(), OauthError> {
    let own = edgepass_verify::url::origin(&config.issuer);
    let is_own = |origin: &HeaderValue| {
        own.as_deref().is_some_and(|own| origin.as_bytes() == own.as_bytes())
    };
    let is_own_site = |site: &HeaderValue| ["none", "same-origin"].iter().any(|own| site == own);
    let origins_are_own = headers.get_all(header::ORIGIN).iter().all(is_own);
    if origins_are_own && headers.get_all("sec-fetch-site").iter().all(is_own_site) {
        Ok(())
    } else {
        Err(OauthError::InvalidRequest("a web page of another origin sent this"))
    }
}

/// The credentials of HTTP Basic, form-decoded as RFC 6749 §2.3.1 demands. `None`: there is no
/// `Authorization` header. One with another scheme is refused.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OauthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(OauthError::InvalidRequest("more than one Authorization header"));
    }
    let credentials = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or(UNKNOWN)?;
    let (id, secret) = credentials.split_once(':').ok_or(UNKNOWN)?;
    Ok(Some((form_decoded(id), form_decoded(secret))))
}

fn form_decoded(text: &str) -> String {
    // Encode `=` and `&`, so that the parser reads the whole text as one name.
    let text = text.replace('=', "%3D").replace('&', "%26");
    form_urlencoded::parse(text.as_bytes()).next().map_or_else(String::new, |(name, _)| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_decoded() {
        for (text, expected) in [
            ("example%2Dservice", "example-service"),
            ("a+b", "a b"),
            ("a%5Fb=c&d", "a_b=c&d"),
            ("", ""),
        ] {
            assert_eq!(form_decoded(text), expected);
        }
    }
}
