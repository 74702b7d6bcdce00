//! The routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use edgepass_issuer::Store;
use edgepass_issuer::paths::{AGGREGATION, JWK_SET, LISTS, METADATA, OPENID_METADATA};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::documents::AUTHORIZE;
use crate::oauth::{introspect, revoke, token};
use crate::{App, acts, documents, health, leaks};

/// The routes of all environments. Those of an environment with a name are below its name, which is
/// the last segment of its issuer identifier; RFC 8414 §3.1 puts the metadata at the root all the
/// same. The only environment without a name has its routes at the root.
pub fn router<S: Store>(environments: Vec<Arc<App<S>>>) -> Router {
    let mut all = Router::new();
    let mut named = Vec::new();
    for app in environments {
        match app.config.environment.clone() {
            None => all = all.merge(routes(app)),
            Some(name) => {
                all = all.nest(&format!("/{name}"), routes(Arc::clone(&app)));
                named.push((name, app));
            }
        }
    }
    if named.is_empty() {
        return all;
    }
    let environments = Arc::new(Environments(named));
    let root = Router::new()
        .route(&format!("/{METADATA}/{{*path}}"), get(metadata_of_environment::<S>))
        .route(&format!("/{OPENID_METADATA}/{{*path}}"), get(metadata_of_environment::<S>))
        .layer(cors())
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(all_ready::<S>))
        .layer(timeout(TIMEOUT))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(log))
        .with_state(environments);
    all.merge(root)
}

/// The environments, by name.
struct Environments<S>(Vec<(String, Arc<App<S>>)>);

/// The metadata of the environment that the path ends with.
async fn metadata_of_environment<S: Store>(
    State(environments): State<Arc<Environments<S>>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let name = path.rsplit('/').next().unwrap_or_default();
    match environments.0.iter().find(|(own, _)| own == name) {
        Some((_, app)) => documents::metadata(State(Arc::clone(app)), headers).await,
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Whether all environments are ready. The response is that of the first that is not.
async fn all_ready<S: Store>(State(environments): State<Arc<Environments<S>>>) -> Response {
    let mut response = ().into_response();
    for (_, app) in &environments.0 {
        response = health::readyz(State(Arc::clone(app))).await;
        if !response.status().is_success() {
            break;
        }
    }
    response
}

/// The routes of one issuer, at the root. If the issuer identifier has a path, a proxy in front must
/// strip that path. In the URL of the metadata it follows the well-known part (RFC 8414 §3.1), and
/// may stay.
fn routes<S: Store>(app: Arc<App<S>>) -> Router {
    let public = Router::new()
        .route(&format!("/{JWK_SET}"), get(documents::jwk_set::<S>))
        .route(&format!("/{METADATA}"), get(documents::metadata::<S>))
        .route(&format!("/{METADATA}/{{*path}}"), get(documents::metadata::<S>))
        .route(&format!("/{OPENID_METADATA}"), get(documents::metadata::<S>))
        .route(&format!("/{OPENID_METADATA}/{{*path}}"), get(documents::metadata::<S>))
        .route(&format!("/{AGGREGATION}"), get(documents::aggregation::<S>))
        .route(&format!("/{LISTS}{{id}}"), get(documents::status_list::<S>))
        .layer(cors());
    // The handler limits the body, after authentication. The timeout is longer, since an act may
    // change a million tokens.
    let acts =
        Router::new().route("/status-acts", post(acts::post::<S>)).layer(timeout(ACT_TIMEOUT));
    // A report may hold many tokens.
    let leaks = Router::new()
        .route("/leaks/revoke", post(leaks::by_possession::<S>))
        .route("/leaks/github", post(leaks::by_github::<S>))
        .route("/v1/revocable_token_types", get(leaks::gitlab_types::<S>))
        .route("/v1/revoke_tokens", post(leaks::by_gitlab::<S>))
        .layer(RequestBodyLimitLayer::new(MAX_REPORT_BYTES))
        .layer(timeout(TIMEOUT));
    Router::new()
        .merge(public)
        .route(&format!("/{AUTHORIZE}"), get(documents::authorize))
        .route("/oauth/token", post(token::post::<S>))
        .route("/oauth/revoke", post(revoke::post::<S>))
        .route("/oauth/introspect", post(introspect::post::<S>))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz::<S>))
        .route("/metrics", get(health::metrics::<S>))
        .layer(RequestBodyLimitLayer::new(MAX_BODY_BYTES))
        .layer(timeout(TIMEOUT))
        .merge(acts)
        .merge(leaks)
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(log))
        .with_state(app)
}

fn timeout(after: Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, after)
}

/// Lets pages of any origin read the public documents, which are the same for every requester.
fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET])
        // Clients of the Model Context Protocol name its version when they ask for the metadata.
        .allow_headers([
            header::IF_NONE_MATCH,
            header::CACHE_CONTROL,
            HeaderName::from_static("mcp-protocol-version"),
        ])
        .expose_headers([header::ETAG, header::AGE, HeaderName::from_static("retry-after")])
}

/// Logs one line for each request, at level `debug`: method, route pattern and status. Never logs
/// the path as sent, a header or a body.
async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    tracing::debug!(%method, route, status = response.status().as_u16(), "request");
    response
}

const MAX_BODY_BYTES: usize = 32 * 1024;
const MAX_REPORT_BYTES: usize = 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);
const ACT_TIMEOUT: Duration = Duration::from_secs(120);
