//! Client authentication by `client_secret_basic` or `client_secret_post`.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgepass_issuer::policy::Client;
use edgepass_issuer::{Config, IssuerPolicy};

use crate::error::OauthError;

/// Returns the client that these credentials authenticate.
///
/// `form` holds `client_id` and `client_secret` of the body. Exactly one method may be used; with
/// Basic, the body may repeat the `client_id`. Requests of web pages of other origins are refused.
///
/// Source: [RFC 6749 §2.3.1](https://www.rfc-editor.org/rfc/rfc6749#section-2.3.1).
pub(crate) fn authenticate<'p>(
    config: &Config,
    policy: &'p IssuerPolicy,
    headers: &HeaderMap,
    form: (Option<&str>, Option<&str>),
) -> Result<&'p Client, OauthError> {
    refuse_other_origins(config, headers)?;
    let basic = basic(headers)?;
    let (id, secret) = match (basic, form) {
        (Some((id, _)), (Some(other), None)) if id != other => {
            return Err(OauthError::InvalidRequest("two different client identifiers"));
        }
        (Some(credentials), (_, None)) => credentials,
        (None, (Some(id), Some(secret))) => (id.to_owned(), secret.to_owned()),
        (Some(_), (_, Some(_))) => {
            return Err(OauthError::InvalidRequest("use one client authentication method"));
        }
        (None, _) => return Err(OauthError::InvalidClient),
    };
    let client = policy.client(&id).ok_or(OauthError::InvalidClient)?;
    if client.secret.matches(&secret) { Ok(client) } else { Err(OauthError::InvalidClient) }
}

/// Refuses requests of web pages of other origins, by `Origin` and `Sec-Fetch-Site`: a browser adds
/// remembered Basic credentials to a request that any page posts
/// (<https://w3c.github.io/webappsec-fetch-metadata/>).
fn refuse_other_origins(config: &Config, headers: &HeaderMap) -> Result<(), OauthError> {
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
        .ok_or(OauthError::InvalidClient)?;
    let (id, secret) = credentials.split_once(':').ok_or(OauthError::InvalidClient)?;
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
