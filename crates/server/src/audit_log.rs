//! The log of the audit trail: extends it, writes it to the targets and serves it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use edgepass_issuer::Store;
use edgepass_issuer::log::{CHECKPOINT, Sequencer};
use edgepass_issuer::publish::document::Document;
use edgepass_log::TileId;
use futures_util::future::{join, join_all};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::documents::{NO_STORE, published};
use crate::{App, error_chain};

/// Time between two checkpoints: with the time that they take, an entry is in the log within a second.
const EVERY: Duration = Duration::from_millis(500);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(2);
/// Time after which a target is looked at again, although the log has not grown: a call before may have
/// failed.
const AGAIN: Duration = Duration::from_secs(10);

/// Extends the log and writes it to the targets, until the task is dropped.
pub(crate) async fn run<S: Store>(app: &App<S>) {
    // The targets are compared with the database before that.
    app.publication.started().await;
    let (grown, _) = watch::channel(());
    let targets = 0..app.publication.publisher().target_count();
    let targets = targets.map(|target| write(app, target, grown.subscribe()));
    join(extend(app, &grown), join_all(targets)).await;
}

async fn extend<S: Store>(app: &App<S>, grown: &watch::Sender<()>) {
    let mut sequencer = Sequencer::new(Arc::clone(&app.issuer));
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if app.publication.publisher().is_stopped() {
            continue;
        }
        match sequencer.extend(&mut { app.host }).await {
            Ok(extended) => {
                app.metrics.set_audit_log(extended.size);
                grown.send_replace(());
                if extended.is_more {
                    ticks.reset_immediately();
                }
            }
            Err(error) => {
                tracing::error!(error = %error_chain(&error), "audit log not extended");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn write<S: Store>(app: &App<S>, target: usize, mut grown: watch::Receiver<()>) {
    loop {
        if let Err(error) = app.publication.publisher().update_log(target, (app.host.now)()).await {
            tracing::error!(error = %error_chain(&error), "audit log not published");
            tokio::time::sleep(PAUSE).await;
        }
        let _ = tokio::time::timeout(AGAIN, grown.changed()).await;
    }
}

/// `GET /audit-log/...`: the checkpoint and the tiles (C2SP tlog-tiles). They hold hashes alone.
pub(crate) async fn document<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    let not_found = || (StatusCode::NOT_FOUND, [NO_STORE]).into_response();
    if app.publication.publisher().is_stopped() {
        return published(&headers, None);
    }
    let store = app.issuer.store();
    let log = match store.log().await {
        Ok(Some(log)) if log.size > 0 => log,
        Ok(_) => return not_found(),
        Err(error) => return unreadable(&error),
    };
    let below = format!("{}/", log.path);
    let full = format!("{PREFIX}/{path}");
    let Some(name) = full.strip_prefix(&below) else { return not_found() };
    if name == CHECKPOINT {
        let text = "text/plain; charset=utf-8";
        let checkpoint = Document::of_octets(full.clone(), text, log.checkpoint.into());
        return published(&headers, Some(Arc::new(checkpoint)));
    }
    let Ok(tile) = name.parse::<TileId>() else { return not_found() };
    match store.log_tiles(&[tile]).await {
        Ok(tiles) => match tiles.into_iter().next() {
            Some(tile) => {
                let octets = "application/octet-stream";
                let tile = Document::of_octets(full, octets, tile.hashes.into()).lasting();
                published(&headers, Some(Arc::new(tile)))
            }
            None => not_found(),
        },
        Err(error) => unreadable(&error),
    }
}

/// The first segment of the paths of logs.
pub(crate) const PREFIX: &str = "audit-log";

fn unreadable(error: &edgepass_issuer::storage::StoreError) -> Response {
    tracing::error!(error = %error_chain(error), "audit log not readable");
    (StatusCode::SERVICE_UNAVAILABLE, [NO_STORE], [(header::RETRY_AFTER, "1")]).into_response()
}
