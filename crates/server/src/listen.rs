//! Connections: how many there may be, and for how long.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Listen at an address until `stop` ends; then answer what has been asked, for a moment.
///
/// At most `limit` connections are held, so that whoever opens many leaves files for the database: what is
/// revoked meanwhile is published. Others wait until one has ended.
pub async fn serve(
    listener: TcpListener,
    limit: usize,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let (stopping, running) = watch::channel(());
    let slots = Arc::new(Semaphore::new(limit));
    let mut stop = pin!(stop);
    loop {
        let next = async {
            // It is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (accept(&listener).await, slot)
        };
        let (stream, slot) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        let (router, running) = (router.clone(), running.clone());
        tokio::spawn(async move {
            attend(stream, router, running).await;
            drop(slot);
        });
    }
    drop((listener, running));
    stopping.send_replace(());
    // Those that do not end by themselves are cut.
    let _ = timeout(GRACE, stopping.closed()).await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // It had gone before it was its turn.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

/// Answer on a connection until its client is done, or too slow, or has had it for long.
async fn attend(stream: TcpStream, router: Router, mut running: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        _ = running.changed() => {}
        () = sleep(MAX_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_ANSWER, connection).await;
}

/// From the last answer, or the beginning, to the end of a request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that is older is closed after the answer under way.
const MAX_AGE: Duration = Duration::from_secs(300);
/// For that one answer: the longest act, and reading what came of it.
const LAST_ANSWER: Duration = Duration::from_secs(150);
/// How long requests in flight may take after `stop`.
const GRACE: Duration = Duration::from_secs(4);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
