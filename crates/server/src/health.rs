//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;

use crate::App;

/// Responds 200 as long as the process runs.
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Responds 503 if the endpoint or a target has been behind for 2 s, or if the store cannot record
/// changes, else 200.
pub(crate) async fn readyz<S: Store>(State(app): State<Arc<App<S>>>) -> Response {
    let missing = if !app.publication.is_healthy() {
        "publication is behind\n"
    } else if !app.issuer.store().is_writable().await {
        "nothing can be recorded\n"
    } else {
        return "ready\n".into_response();
    };
    (StatusCode::SERVICE_UNAVAILABLE, missing).into_response()
}

pub(crate) async fn metrics<S: Store>(State(app): State<Arc<App<S>>>) -> Response {
    app.metrics.set_lists(app.publication.publisher().list_count());
    match app.metrics.encode() {
        Ok(text) => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, media_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
