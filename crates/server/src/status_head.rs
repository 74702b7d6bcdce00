//! The endpoint of the status head, and the requests for it that wait.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::paths::STATUS_HEAD;
use edgepass_issuer::publish::head::LONGEST_WAIT;
use tokio::sync::watch;

use crate::App;
use crate::documents::{NO_STORE, listed, published};
use crate::held::{HasWaited, Holds};

/// Responds with the status head, newly signed.
pub(crate) async fn get<S: Store>(
    State(app): State<Arc<App<S>>>,
    has_waited: Option<Extension<HasWaited>>,
    headers: HeaderMap,
) -> Response {
    if !app.publication.publisher().has_head() {
        return (StatusCode::NOT_FOUND, [NO_STORE]).into_response();
    }
    let mut response = published(&headers, app.publication.head());
    if has_waited.is_some() && response.status() == StatusCode::OK {
        let applied = HeaderValue::from_static("wait");
        response.headers_mut().insert("preference-applied", applied);
    }
    response
}

/// Says which requests wait: those for the status head whose parameter `after` is its number, if the field
/// `Prefer` asks for it. They wait until there is another number, the time is over, or the listener stops.
///
/// Source: [RFC 7240 §4.3](https://www.rfc-editor.org/rfc/rfc7240#section-4.3), [RFC 6202
/// §2](https://www.rfc-editor.org/rfc/rfc6202#section-2) (long polling).
pub fn holds<S: Store>(apps: &[Arc<App<S>>]) -> Holds {
    let path = |app: &Arc<App<S>>| match &app.config.environment {
        None => format!("/{STATUS_HEAD}"),
        Some(name) => format!("/{name}/{STATUS_HEAD}"),
    };
    let apps: Vec<_> = apps.iter().map(|app| (path(app), Arc::clone(app))).collect();
    Arc::new(move |uri: &Uri, headers: &HeaderMap, stopping| {
        let (_, app) = apps.iter().find(|(path, _)| path == uri.path())?;
        let after = after(uri)?;
        let wait = wait(headers)?;
        let is_current = after == app.publication.publisher().head_number();
        if !is_current || app.publication.is_stale() || !app.publication.publisher().has_head() {
            return None;
        }
        Some(Box::pin(head_after(Arc::clone(app), after, wait, stopping)))
    })
}

async fn head_after<S: Store>(
    app: Arc<App<S>>,
    after: u64,
    wait: Duration,
    mut stopping: watch::Receiver<()>,
) {
    let _held = app.metrics.watch();
    tokio::select! {
        () = app.publication.head_after(after) => {}
        () = tokio::time::sleep(wait) => {}
        _ = stopping.changed() => {}
    }
}

/// The parameter `after`.
fn after(uri: &Uri) -> Option<u64> {
    let mut parameters = form_urlencoded::parse(uri.query()?.as_bytes());
    let (_, number) = parameters.find(|(name, _)| name == "after")?;
    number.parse().ok()
}

/// The time in the preference `wait`, at most [`LONGEST_WAIT`]. `None`: there is no such preference.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    listed(headers, HeaderName::from_static("prefer")).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse::<u64>().ok();
        let seconds = seconds.filter(|_| name.trim().eq_ignore_ascii_case("wait"));
        seconds.map(|seconds| Duration::from_secs(seconds.min(LONGEST_WAIT)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_at_most_as_long_as_the_issuer_allows() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_static(value));
            wait(&headers).map(|wait| wait.as_secs())
        };
        for (value, expected) in [
            ("wait=4", Some(4)),
            ("respond-async, WAIT = \"10\"; foo", Some(10)),
            ("wait=99999", Some(25)),
            ("wait=-1", None),
            ("wait", None),
            ("await=4", None),
            ("", None),
        ] {
            assert_eq!(wait(value), expected, "{value}");
        }
    }
}
