//! Connections: their limit and their timeouts.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower_http::add_extension::AddExtension;

use crate::connections::{Connections, Limits, Requests};
use crate::tls::Tls;
use edgepass_issuer::paths::STATUS_HEAD;

/// Serves HTTP/1.1, with TLS if given, until `stop` ends. Then finishes the requests in flight, for at most 4 s.
///
/// At most as many connections are open as `limits` says, so that file descriptors remain for the
/// database and targets, and revocations are still published. For a further one, an idle one ends.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    router: Router,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) {
    let (shutdown, on_shutdown) = watch::channel(());
    let mut connections = Connections::new(limits);
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let (stream, address) = accept(&listener).await;
            (stream, address, connections.place(address).await)
        };
        let (stream, address, place) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        let router = AddExtension::new(router.clone(), address);
        let on_shutdown = on_shutdown.clone();
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        tokio::spawn(async move {
            let requests = place.requests(on_shutdown.clone());
            let served = async {
                match acceptor {
                    None => serve_connection(stream, router, requests, on_shutdown).await,
                    // A client that fails the handshake concerns only itself.
                    Some(acceptor) => {
                        let accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
                        if let Ok(Ok(stream)) = accepted {
                            serve_connection(stream, router, requests, on_shutdown).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                () = place.ended() => {}
            }
        });
    }
    drop((listener, on_shutdown));
    shutdown.send_replace(());
    // Connections that are still open after that end with the process.
    let _ = timeout(SHUTDOWN_TIMEOUT, shutdown.closed()).await;
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                // A failure only makes responses slower.
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) => match error.kind() {
                // The client closed the connection before it was accepted.
                ErrorKind::ConnectionAborted
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionRefused => {}
                _ => {
                    tracing::error!(%error, "no connection can be accepted; trying again");
                    sleep(ACCEPT_RETRY_PAUSE).await;
                }
            },
        }
    }
}

/// Serves a connection until the client closes it or is too slow. After `on_shutdown` changes,
/// serves only the request in flight.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    router: AddExtension<Router, SocketAddr>,
    requests: Requests,
    mut on_shutdown: watch::Receiver<()>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        // Only there a handler asks for it.
        if request.uri().path().ends_with(STATUS_HEAD) {
            request.extensions_mut().insert(requests.clone());
        }
        let (answering, response) = (requests.begin(), router.call(request));
        async move {
            let response = response.await;
            drop(answering);
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut connection = pin!(connection);
    tokio::select! {
        // An error of a connection concerns only its client, and is not logged.
        _ = &mut connection => return,
        _ = on_shutdown.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time from the start of a connection, or from its last response, to the end of the next
/// request's header section. It exceeds the minute for which proxies keep an idle connection, so
/// that no proxy sends a request on a connection that the issuer is closing.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Longest time for which a client may read nothing while a response waits to be sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for requests in flight after `stop` has ended.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    /// The client's end of a connection with a buffer of 1 KiB, the task that serves it, and the
    /// sender that stops the task.
    async fn connected() -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
        let router = Router::new().route("/", get(|| async { "a".repeat(100_000) }));
        let router = AddExtension::new(router, SocketAddr::from(([127, 0, 0, 1], 1)));
        let (client, server) = duplex(1024);
        let (shutdown, on_shutdown) = watch::channel(());
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let limits = Limits { connections: 1, watches: 0 };
        let place = Connections::new(limits).place(address).await;
        let requests = place.requests(on_shutdown.clone());
        (client, tokio::spawn(serve_connection(server, router, requests, on_shutdown)), shutdown)
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
        let (mut client, serving, _shutdown) = connected().await;
        let dripping = tokio::spawn(async move {
            client.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            while client.write_all(b"a").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        serving.await.unwrap();
        dripping.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 75);

        let start = Instant::now();
        let (mut client, serving, _shutdown) = connected().await;
        sleep(Duration::from_secs(70)).await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
        sleep(Duration::from_secs(70)).await;
        assert!(ask(&mut client).await.starts_with("HTTP/1.1 200"));
        serving.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 140 + 75);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let start = Instant::now();
        let (mut client, serving, _shutdown) = connected().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        serving.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_when_it_stops_is_answered() {
        let (mut client, serving, shutdown) = connected().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        let _ = client.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200 OK");
        shutdown.send_replace(());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.ends_with(&[b'a'; 100_000]));
        serving.await.unwrap();
    }
}
