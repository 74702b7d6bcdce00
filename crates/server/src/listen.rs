//! Connections: how many there may be, and what each may take.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_io_timeout::TimeoutStream;

/// Answer at an address until `stop` ends; then what has been asked already, for a moment.
///
/// At most `limit` connections are held, so that whoever opens many leaves files for the database and for
/// targets: what is revoked meanwhile is published there. Others wait until one has ended.
pub async fn serve(
    listener: TcpListener,
    limit: usize,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let (stopping, running) = watch::channel(());
    let mut slots = Slots { free: Arc::new(Semaphore::new(limit)), told: None };
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let slot = slots.take().await;
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
    // The process ends with those that do not end by themselves.
    let _ = timeout(GRACE, stopping.closed()).await;
}

/// One for each connection.
struct Slots {
    free: Arc<Semaphore>,
    /// When it was last told that none is free.
    told: Option<Instant>,
}

impl Slots {
    /// `None` never comes: the semaphore is not closed.
    async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(slot);
        }
        if self.told.is_none_or(|at| at.elapsed() > TELL_AGAIN) {
            self.told = Some(Instant::now());
            tracing::warn!("every connection is taken; others wait");
        }
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // It only costs time when it fails.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => match error.kind() {
                // The client had gone before it was its turn.
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionRefused => {}
                _ => {
                    tracing::error!(%error, "no connection can be accepted; trying again");
                    sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
}

/// Answer on a connection until its client is done or too slow, or the issuer stops.
async fn attend(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    router: Router,
    mut running: watch::Receiver<()>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // What goes wrong on a connection is its client's affair.
        _ = &mut connection => return,
        _ = running.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// From the last answer, or the beginning, to the end of a request's header. Longer than the minute for
/// which proxies keep an idle connection: none sends a request on one that is just being closed.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// For how long a client may take nothing of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests in flight may take after `stop`.
const GRACE: Duration = Duration::from_secs(4);
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    use super::*;

    /// A client's end of a connection that holds 1 KiB in flight, what attends to it, and what stops that.
    fn connected() -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
        let router = Router::new().route("/", get(|| async { "a".repeat(100_000) }));
        let (client, server) = duplex(1024);
        let (stopping, running) = watch::channel(());
        (client, tokio::spawn(attend(server, router, running)), stopping)
    }

    async fn ask(client: &mut DuplexStream) -> String {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 100_000];
        let _ = client.read_exact(&mut answer).await.unwrap();
        let rest = String::from_utf8(answer).unwrap();
        let header = rest.split("\r\n\r\n").next().unwrap().to_owned();
        let mut end = vec![0; header.len() + 4];
        let _ = client.read_exact(&mut end).await.unwrap();
        header
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_never_ends_and_a_client_that_asks_nothing_more_are_cut() {
        let start = Instant::now();
        let (mut client, attending, _stopping) = connected();
        let dripping = tokio::spawn(async move {
            client.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            while client.write_all(b"a").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        attending.await.unwrap();
        dripping.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 75);

        let start = Instant::now();
        let (mut client, attending, _stopping) = connected();
        sleep(Duration::from_secs(70)).await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_secs(70)).await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
        attending.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 140 + 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let start = Instant::now();
        let (mut client, attending, _stopping) = connected();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        attending.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_when_it_stops_is_answered() {
        let (mut client, attending, stopping) = connected();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        let _ = client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        stopping.send_replace(());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(&[b'a'; 100_000]));
        attending.await.unwrap();
    }

    #[tokio::test]
    async fn no_more_connections_than_slots() {
        let mut slots = Slots { free: Arc::new(Semaphore::new(1)), told: None };
        let first = slots.take().await;
        assert!(timeout(Duration::from_millis(10), slots.take()).await.is_err());
        assert!(slots.told.is_some());
        drop(first);
        assert!(slots.take().await.is_some());
    }
}
