//! The published documents: JWK Set, metadata, status lists.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::publish::entity_tag;
use edgepass_issuer::{Config, Issuer, Store};
use serde_json::json;

use crate::App;

/// Documents that do not change while the process runs.
pub(crate) struct Documents {
    jwk_set: Document,
    metadata: Document,
}

struct Document {
    body: String,
    media_type: &'static str,
    etag: String,
}

impl Documents {
    pub(crate) fn new<S: Store>(config: &Config, issuer: &Issuer<S>) -> Self {
        let base = config.issuer.trim_end_matches('/');
        // RFC 8414 §2; `response_types_supported` would be empty, so it is left out (§3.2).
        let metadata = json!({
            "issuer": config.issuer,
            "token_endpoint": format!("{base}/oauth/token"),
            "revocation_endpoint": format!("{base}/oauth/revoke"),
            "jwks_uri": format!("{base}/.well-known/jwks.json"),
            // draft-ietf-oauth-status-list-20 §9.1
            "status_list_aggregation_endpoint": format!("{base}/status-list-aggregation"),
            "scopes_supported": config.policy.scopes(),
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post"],
            "revocation_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post"],
        });
        Self {
            jwk_set: Document::new(issuer.jwk_set().to_string(), "application/jwk-set+json"),
            metadata: Document::new(metadata.to_string(), "application/json"),
        }
    }
}

impl Document {
    fn new(body: String, media_type: &'static str) -> Self {
        Self { etag: entity_tag(&body), body, media_type }
    }
}

pub(crate) async fn jwk_set<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    let Document { body, media_type, etag } = &app.documents.jwk_set;
    published(&headers, body, media_type, etag)
}

pub(crate) async fn metadata<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    let Document { body, media_type, etag } = &app.documents.metadata;
    published(&headers, body, media_type, etag)
}

/// The URIs of the lists being served, those that are needed longest last.
///
/// Source: draft-ietf-oauth-status-list-20 §9.3.
pub(crate) async fn aggregation<S: Store>(
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
) -> Response {
    let lists = app.publication.publisher().list_ids();
    let uris: Vec<String> = lists.iter().map(|id| app.issuer.list_uri(id)).collect();
    let document = Document::new(json!({ "status_lists": uris }).to_string(), "application/json");
    published(&headers, &document.body, document.media_type, &document.etag)
}

/// A list that was opened a moment ago is published on the first request for it.
pub(crate) async fn status_list<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(list_id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    // draft-ietf-oauth-status-list-20 §8.4: no list of another time is kept.
    let query = query.unwrap_or_default();
    if form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "time") {
        return (StatusCode::NOT_IMPLEMENTED, [(header::CACHE_CONTROL, "no-store")])
            .into_response();
    }
    // Identifiers that this issuer never makes cost no publication round.
    let plausible =
        list_id.len() <= 40 && list_id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let publisher = app.publication.publisher();
    let mut list = publisher.list(&list_id);
    if list.is_none() && plausible {
        app.publication.round().await;
        list = publisher.list(&list_id);
    }
    match list {
        Some(list) => published(&headers, &list.body, "application/statuslist+jwt", &list.etag),
        None => (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")]).into_response(),
    }
}

/// A public document with its validators: 200, or 304 when the caller holds it already.
fn published(headers: &HeaderMap, body: &str, media_type: &'static str, etag: &str) -> Response {
    let held = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == etag || tag.trim() == "*");
    let mut response = if held {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, media_type)], body.to_owned()).into_response()
    };
    let headers = response.headers_mut();
    // Shared caches may add this much to the revocation deadline, and no more.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}
