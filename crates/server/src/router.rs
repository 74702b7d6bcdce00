//! The routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use edgepass_issuer::Store;
use edgepass_issuer::paths::{AGGREGATION, JWK_SET, LISTS, METADATA, OPENID_METADATA, STATUS_HEAD};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{Any, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;

use crate::documents::AUTHORIZE;
use crate::oauth::{introspect, revoke, token};
use crate::{
    App, acts, admin, audit_log, documents, health, leaks, status_entries, status_head, usage,
};

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
        .layer((middleware::from_fn(log), CatchPanicLayer::new(), timeout(TIMEOUT)))
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
    let Routes { router, .. } = documented::<S>();
    router.layer((middleware::from_fn(log), CatchPanicLayer::new())).with_state(app)
}

/// All routes of an issuer. `openapi.json` has the same.
fn documented<S: Store>() -> Routes<S> {
    let public = Routes::default()
        .get(&format!("/{JWK_SET}"), documents::jwk_set::<S>)
        .get(&format!("/{METADATA}"), documents::metadata::<S>)
        .get(&format!("/{METADATA}/{{*path}}"), documents::metadata::<S>)
        .get(&format!("/{OPENID_METADATA}"), documents::metadata::<S>)
        .get(&format!("/{OPENID_METADATA}/{{*path}}"), documents::metadata::<S>)
        .get(&format!("/{AGGREGATION}"), documents::aggregation::<S>)
        .get(&format!("/{LISTS}{{id}}"), documents::status_list::<S>)
        .get(&format!("/{}/{{*path}}", audit_log::PREFIX), audit_log::document::<S>)
        .get("/openapi.json", openapi::<S>)
        .with(|router| router.layer(cors()));
    let endpoints = Routes::default()
        .get(&format!("/{AUTHORIZE}"), documents::authorize)
        .post("/oauth/token", token::post::<S>)
        .post("/oauth/revoke", revoke::post::<S>)
        .post("/oauth/introspect", introspect::post::<S>)
        .post("/status-entries", status_entries::post::<S>)
        .get("/healthz", health::healthz)
        .get("/readyz", health::readyz::<S>)
        .get("/metrics", health::metrics::<S>)
        .merge(public)
        // `no-store` also where no handler answered: too large a body, another method, or too late.
        .with(|router| {
            let limit = RequestBodyLimitLayer::new(MAX_BODY_BYTES);
            router.layer((no_store(), timeout(TIMEOUT), limit))
        });
    // A request waits without its handler, which needs no timeout.
    let watches = Routes::default()
        .get(&format!("/{STATUS_HEAD}"), status_head::get::<S>)
        .with(|router| router.layer(cors()));
    // The handler limits the body, after authentication. The timeout is longer, since an act may
    // change a million tokens.
    let acts = Routes::default()
        .post("/status-acts", acts::post::<S>)
        .get("/admin/v1/tokens", admin::records::tokens::<S>)
        .post("/admin/v1/tokens", admin::tokens::post::<S>)
        .get("/admin/v1/audit", admin::records::audit::<S>)
        .get("/admin/v1/audit/key", admin::trail::key::<S>)
        .get("/admin/v1/audit/proof", admin::trail::proof::<S>)
        .post("/admin/v1/erase", admin::trail::erase::<S>)
        .get("/admin/v1/usage", admin::usage::get::<S>)
        .get("/admin/v1/review", admin::review::get::<S>)
        .get("/admin/v1/access-requests", admin::access::list::<S>)
        .post("/admin/v1/access-requests", admin::access::ask::<S>)
        .get("/admin/v1/access-requests/{id}", admin::access::show::<S>)
        .post("/admin/v1/access-requests/{id}/decision", admin::access::decide::<S>)
        .post("/admin/v1/access-requests/{id}/end", admin::access::end::<S>)
        .post("/admin/v1/access-requests/{id}/review", admin::access::review::<S>)
        .get("/admin/v1/incidents", admin::incidents::list::<S>)
        .post("/admin/v1/incidents", admin::incidents::open::<S>)
        .get("/admin/v1/incidents/{id}", admin::incidents::show::<S>)
        .post("/admin/v1/incidents/{id}/notes", admin::incidents::note::<S>)
        .post("/admin/v1/incidents/{id}/close", admin::incidents::close::<S>)
        .post("/admin/v1/incidents/{id}/export", admin::incidents::export::<S>)
        .get("/admin/v1/findings", admin::findings::list::<S>)
        .post("/admin/v1/findings/undo", admin::findings::undo::<S>)
        .post("/admin/v1/status-acts", admin::act::<S>)
        .post("/admin/v1/status-entries", admin::entry::<S>)
        .get("/admin/v1/keys", admin::keys::list::<S>)
        .post("/admin/v1/keys/rotate", admin::keys::post_rotate::<S>)
        .post("/admin/v1/keys/compromise", admin::keys::post_compromise::<S>)
        .get("/admin/v1/clients", admin::policy::clients::<S>)
        .get("/admin/v1/policy", admin::policy::get::<S>)
        .post("/admin/v1/policy/apply", admin::policy::apply::<S>)
        .with(|router| router.layer((no_store(), timeout(ACT_TIMEOUT))));
    // The handler limits the body, after authentication.
    let usage = Routes::default()
        .post("/usage-reports", usage::post::<S>)
        .with(|router| router.layer((no_store(), timeout(TIMEOUT))));
    // A report may hold many tokens.
    let leaks = Routes::default()
        .post("/leaks/revoke", leaks::by_possession::<S>)
        .post("/leaks/github", leaks::by_github::<S>)
        .get("/v1/revocable_token_types", leaks::gitlab_types::<S>)
        .post("/v1/revoke_tokens", leaks::by_gitlab::<S>)
        .with(|router| {
            let limit = RequestBodyLimitLayer::new(MAX_REPORT_BYTES);
            router.layer((no_store(), timeout(TIMEOUT), limit))
        });
    endpoints.merge(watches).merge(acts).merge(usage).merge(leaks)
}

/// Routes, with a list of them.
struct Routes<S> {
    router: Router<Arc<App<S>>>,
    /// Method and path of each, in the form of OpenAPI.
    names: Vec<(&'static str, String)>,
}

impl<S: Store> Default for Routes<S> {
    fn default() -> Self {
        Self { router: Router::new(), names: Vec::new() }
    }
}

impl<S: Store> Routes<S> {
    fn get<H: Handler<T, Arc<App<S>>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route("get", path, get(handler))
    }

    fn post<H: Handler<T, Arc<App<S>>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.route("post", path, post(handler))
    }

    fn route(
        mut self,
        method: &'static str,
        path: &str,
        handler: MethodRouter<Arc<App<S>>>,
    ) -> Self {
        self.names.push((method, path.replace("{*", "{")));
        Self { router: self.router.route(path, handler), ..self }
    }

    fn with(self, change: impl FnOnce(Router<Arc<App<S>>>) -> Router<Arc<App<S>>>) -> Self {
        Self { router: change(self.router), ..self }
    }

    fn merge(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        Self { router: self.router.merge(other.router), ..self }
    }
}

/// The description of the routes (OpenAPI 3.1).
const OPENAPI: &str = include_str!("../openapi.json");

async fn openapi<S: Store>(State(app): State<Arc<App<S>>>) -> Response {
    let text = OPENAPI.replace("{issuer}", app.issuer.issuer());
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn no_store() -> SetResponseHeaderLayer<HeaderValue> {
    let value = HeaderValue::from_static("no-store");
    SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, value)
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

#[cfg(test)]
mod tests {
    use super::*;
    use edgepass_store::SqliteStore;
    use serde_json::Value;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut expected = Vec::new();
        for (path, operations) in described["paths"].as_object().unwrap() {
            let methods = operations.as_object().unwrap().keys();
            let methods = methods.filter(|name| *name != "parameters");
            expected.extend(methods.map(|method| (method.clone(), path.clone())));
        }
        let routes = documented::<SqliteStore>().names;
        let mut routes: Vec<_> =
            routes.into_iter().map(|(method, path)| (method.to_owned(), path)).collect();
        expected.sort();
        routes.sort();
        assert_eq!(routes, expected);
    }
}
