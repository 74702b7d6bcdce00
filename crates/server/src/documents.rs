//! The published documents: JWK Set, metadata, status lists and their aggregation.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::list_id::is_list_id;
use edgepass_issuer::paths::{AGGREGATION, JWK_SET, LISTS, METADATA};
use edgepass_issuer::publish::document::Document;
use edgepass_issuer::status_index::RETIRE_AFTER;
use edgepass_issuer::{Config, IssuerPolicy, Store};
use serde_json::json;

use crate::App;
use crate::oauth::authenticate::methods;
use crate::oauth::error::OauthError;

/// The issuer's metadata.
///
/// Source: [RFC 8414 §2](https://www.rfc-editor.org/rfc/rfc8414#section-2). It requires
/// `response_types_supported`, which is empty; §3.2 would leave an empty member out. Clients of the
/// Model Context Protocol refuse metadata without it, and without `authorization_endpoint`, which
/// answers that it supports no response type.
pub(crate) fn metadata_of(config: &Config, policy: &IssuerPolicy) -> String {
    let (issuer, base) = (&config.issuer, &config.status.base_uri);
    let methods = methods(config);
    let algorithms = ["EdDSA", "ES256", "ES384", "RS256", "PS256"];
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/{AUTHORIZE}"),
        "response_types_supported": [],
        "token_endpoint": format!("{issuer}/oauth/token"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "jwks_uri": format!("{base}/{JWK_SET}"),
        // draft-ietf-oauth-status-list-20 §9
        "status_list_aggregation_endpoint": format!("{base}/{AGGREGATION}"),
        "scopes_supported": policy.scopes(),
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "dpop_signing_alg_values_supported": ["EdDSA", "Ed25519", "ES256", "RS256"],
        "tls_client_certificate_bound_access_tokens": config.proxy_shows_certificates(),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "introspection_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
    })
    .to_string()
}

/// The path of the authorization endpoint.
pub(crate) const AUTHORIZE: &str = "oauth/authorize";

/// `GET /oauth/authorize`: there is no user who could authorize anything.
///
/// Source: [RFC 6749 §4.1.2.1](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1). Nothing is
/// redirected, since no redirection URI is known.
pub(crate) async fn authorize() -> OauthError {
    OauthError::UnsupportedResponseType
}

pub(crate) async fn jwk_set<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    published(&headers, app.publication.document(JWK_SET))
}

pub(crate) async fn metadata<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    published(&headers, app.publication.document(METADATA))
}

pub(crate) async fn aggregation<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    published(&headers, app.publication.document(AGGREGATION))
}

/// Responds with a status list. If the list is recorded but not published yet, starts a publication
/// round first, and responds 503 if it is not served then. Responds 404 for an unknown or retired list,
/// and 501 to a parameter `time`.
pub(crate) async fn status_list<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(list_id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    // draft-ietf-oauth-status-list-20 §8.4: the issuer does not provide lists of earlier times.
    let query = query.unwrap_or_default();
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "time") {
        return (StatusCode::NOT_IMPLEMENTED, [NO_STORE]).into_response();
    }
    if app.publication.is_stale() {
        return published(&headers, None);
    }
    // A name that this issuer never gives to a list costs no read of the store.
    let plausible = is_list_id(&list_id);
    let path = format!("{LISTS}{list_id}");
    let mut list = app.publication.document(&path);
    if list.is_none() {
        if !plausible || !is_open(&app, &list_id).await {
            return (StatusCode::NOT_FOUND, [NO_STORE]).into_response();
        }
        app.publication.round().await;
        list = app.publication.document(&path);
    }
    published(&headers, list)
}

/// Whether the store has this list, and the list has not retired. Also `false` if the store fails.
/// A request for an unknown list thus costs one read, and no publication round.
async fn is_open<S: Store>(app: &App<S>, list_id: &str) -> bool {
    let retired_before = (app.host.now)().numeric_date().seconds().saturating_sub(RETIRE_AFTER);
    let lists = app.issuer.store().lists(retired_before).await;
    lists.is_ok_and(|lists| lists.iter().any(|list| list.id == list_id))
}

/// Responds with a public document: 200, or 304 if `If-None-Match` has its entity tag or `*`. Both
/// responses carry the entity tag. `None` gives 503.
pub(crate) fn published(headers: &HeaderMap, document: Option<Arc<Document>>) -> Response {
    let Some(document) = document else {
        // Nothing is published before the first round has ended.
        return (StatusCode::SERVICE_UNAVAILABLE, [NO_STORE], [(header::RETRY_AFTER, "1")])
            .into_response();
    };
    // RFC 9110 §13.1.2: weak comparison.
    let opaque = document.etag.trim_start_matches("W/");
    let held = listed(headers, header::IF_NONE_MATCH)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == opaque);
    let mut response = Response::new(Body::empty());
    let reply = response.headers_mut();
    reply.insert(header::CACHE_CONTROL, HeaderValue::from_static(document.cache_control));
    reply.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        reply.insert(header::ETAG, etag);
    }
    if held {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    reply.insert(header::CONTENT_TYPE, HeaderValue::from_static(document.media_type));
    let takes_gzip = listed(headers, header::ACCEPT_ENCODING).any(is_gzip);
    let body = match &document.gzipped {
        Some(gzipped) if takes_gzip => {
            reply.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            gzipped.clone()
        }
        _ => document.body.clone(),
    };
    *response.body_mut() = Body::from(body);
    response
}

/// The members of a list-based field, from all its lines.
pub(crate) fn listed(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a member of `Accept-Encoding` is `gzip` or `x-gzip` (RFC 9110 §8.4.1.3) with a weight
/// other than 0.
fn is_gzip(coding: &str) -> bool {
    let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
    let name = name.trim();
    let weight = weight.trim().trim_start_matches("q=").parse::<f32>();
    (name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip"))
        && weight.map_or(true, |weight| weight > 0.0)
}

pub(crate) const NO_STORE: (header::HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (coding, expected) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("x-gzip", true),
            ("gzip; q=0", false),
            ("gzip;q=0.000", false),
            ("br", false),
            ("*", false),
        ] {
            assert_eq!(is_gzip(coding), expected, "{coding}");
        }
    }
}
