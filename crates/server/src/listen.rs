//! Connections: their limit and their timeouts.

use std::future::pending;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use hyper::body::{Body, Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;
use tower_http::add_extension::AddExtension;

use crate::connections::{Connections, Limits, Requests};
use crate::held::{HasWaited, Held, Holds, Rewound};
use crate::tls::Tls;

/// Serves HTTP/1.1, with TLS if given, until `stop` ends. Then finishes the requests in flight, for at most 4 s.
///
/// `holds` says which requests wait before the router gets them.
///
/// At most as many connections are open as `limits` says, so that file descriptors remain for the
/// database and targets, and revocations are still published. For a further one, an idle one ends.
pub async fn serve(
    listener: TcpListener,
    limits: Limits,
    router: Router,
    holds: Holds,
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
        let service = Service {
            router: AddExtension::new(router.clone(), address),
            holds: Arc::clone(&holds),
        };
        let on_shutdown = on_shutdown.clone();
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        tokio::spawn(async move {
            let requests = place.requests(on_shutdown.clone());
            let served = async {
                match acceptor {
                    None => serve_connection(stream, service, requests, on_shutdown).await,
                    // A client that fails the handshake concerns only itself. Boxed, so that connections
                    // without TLS take less memory.
                    Some(acceptor) => {
                        let accepting = Box::pin(acceptor.accept(stream));
                        if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, accepting).await {
                            Box::pin(serve_connection(stream, service, requests, on_shutdown))
                                .await;
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

/// What serves the requests of a connection.
#[derive(Clone)]
struct Service {
    router: AddExtension<Router, SocketAddr>,
    holds: Holds,
}

/// Serves a connection until the client closes it or is too slow. After `on_shutdown` changes,
/// serves only the request in flight.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    service: Service,
    requests: Requests,
    on_shutdown: watch::Receiver<()>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    let mut stream = Rewound::new(Box::pin(stream));
    let mut first = First::New;
    loop {
        let (service, requests) = (service.clone(), requests.clone());
        let serving = serve_requests(stream, first, service, requests, on_shutdown.clone());
        // Boxed, so that it takes no memory while a request waits.
        let Some((rewound, read, held)) = Box::pin(serving).await else { return };
        let Some((rewound, has_waited)) = held.wait(rewound, read).await else { return };
        stream = rewound;
        first = if has_waited { First::HasWaited } else { First::TooLong };
    }
}

/// The first request that is read from a connection.
#[derive(Clone, Copy, Eq, PartialEq)]
enum First {
    New,
    /// It has waited, and is read again.
    HasWaited,
    /// It was to wait, but is too long, and is read again.
    TooLong,
}

/// Serves requests of a connection until it ends, or until one waits: returns the connection, what was read
/// after the request, and the request.
async fn serve_requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Rewound<S>,
    first: First,
    service: Service,
    requests: Requests,
    mut on_shutdown: watch::Receiver<()>,
) -> Option<(Rewound<S>, Bytes, Held)> {
    let is_blocked = stream.is_blocked();
    let Service { router, holds } = service;
    let (router, is_first) = (TowerToHyperService::new(router), AtomicBool::new(true));
    let answered = requests.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let answering = answered.begin();
        let mut is_held = false;
        let is_again = is_first.swap(false, Ordering::Relaxed) && first != First::New;
        if is_again && first == First::HasWaited {
            request.extensions_mut().insert(HasWaited);
        } else if !is_again
            && request.method() == Method::GET
            && request.body().is_end_stream()
            && !is_blocked.load(Ordering::Relaxed)
            && let Some(wait) = holds(request.uri(), request.headers(), answered.stopping())
            && answered.watch()
        {
            answered.hold(Held::new(&request, wait));
            is_held = true;
        }
        let response = (!is_held).then(|| router.call(request));
        async move {
            let response = match response {
                Some(response) => response.await,
                // The connection ends this before it is over.
                None => pending().await,
            };
            drop(answering);
            response
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // A request that has waited is answered although the listener stops.
            biased;
            // An error of a connection concerns only its client, and is not logged.
            _ = &mut connection => return None,
            held = requests.held() => {
                let parts = connection.into_parts();
                return Some((parts.io.into_inner(), parts.read_buf, held));
            }
            _ = on_shutdown.changed(), if !is_stopping => {
                is_stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
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
        connected_by(duplex(1024), router, Arc::new(|_, _, _| None)).await
    }

    async fn connected_by(
        (client, server): (DuplexStream, DuplexStream),
        router: Router,
        holds: Holds,
    ) -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let service = Service { router: AddExtension::new(router, address), holds };
        let (shutdown, on_shutdown) = watch::channel(());
        let limits = Limits { connections: 1, watches: 1 };
        let place = Connections::new(limits).place(address).await;
        let requests = place.requests(on_shutdown.clone());
        (client, tokio::spawn(serve_connection(server, service, requests, on_shutdown)), shutdown)
    }

    /// As [`connected`], to a listener that lets requests for `/held` wait for 20 s, and answers with
    /// the time in seconds since the call.
    async fn connected_to_one_that_holds() -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
        holding(duplex(1024)).await
    }

    async fn holding(
        ends: (DuplexStream, DuplexStream),
    ) -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
        let start = Instant::now();
        let seconds = move || async move { format!("after {} s;", start.elapsed().as_secs()) };
        let router = Router::new().route("/held", get(seconds)).route("/", get(seconds));
        let holds: Holds = Arc::new(|uri, headers, mut stopping| {
            let is_held = uri.path() == "/held" && headers.contains_key("prefer");
            is_held.then(|| -> crate::Wait {
                Box::pin(async move {
                    let _ = timeout(Duration::from_secs(20), stopping.changed()).await;
                })
            })
        });
        connected_by(ends, router, holds).await
    }

    const HELD: &[u8] = b"GET /held?after=1 HTTP/1.1\r\nHost: a\r\nPrefer: wait=20\r\n\r\n";

    /// What the listener answers until it closes the connection.
    async fn answers(client: &mut DuplexStream) -> Vec<String> {
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        let bodies = text.split("HTTP/1.1 200 OK").skip(1);
        bodies.map(|one| one.split("\r\n\r\n").nth(1).unwrap().to_owned()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_and_those_after_it_do_too() {
        let (mut client, serving, _shutdown) = connected_to_one_that_holds().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        client.write_all(HELD).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        sleep(Duration::from_secs(3)).await;
        // What comes meanwhile is read after the request that waits.
        client.write_all(b"st: a\r\n\r\n").await.unwrap();
        client.write_all(HELD).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let expected = ["after 0 s;", "after 20 s;", "after 20 s;", "after 40 s;", "after 40 s;"];
        assert_eq!(answers(&mut client).await, expected);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_octet_of_many_requests_is_lost() {
        // More than the HTTP library reads at once, and a request that comes in two parts.
        let (mut client, serving, _shutdown) = holding(duplex(1 << 16)).await;
        let (first, rest) = HELD.split_at(40);
        client.write_all(first).await.unwrap();
        sleep(Duration::from_secs(1)).await;
        let mut requests = rest.to_vec();
        for _ in 0..300 {
            requests.extend_from_slice(HELD);
        }
        requests.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.write_all(&requests).await.unwrap();
        assert_eq!(answers(&mut client).await.len(), 302);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_keeps_what_it_says_of_the_connection() {
        for (version, field) in [("1.0", ""), ("1.1", "Connection: close\r\n")] {
            let (mut client, serving, _shutdown) = connected_to_one_that_holds().await;
            let asked =
                format!("GET /held HTTP/{version}\r\nHost: a\r\nPrefer: wait=20\r\n{field}\r\n");
            client.write_all(asked.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.") && answer.ends_with("after 20 s;"), "{answer}");
            serving.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_ends_with_its_client() {
        let start = Instant::now();
        let (mut client, serving, _shutdown) = connected_to_one_that_holds().await;
        client.write_all(HELD).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        drop(client);
        serving.await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_is_answered_when_the_listener_stops() {
        let (mut client, serving, shutdown) = connected_to_one_that_holds().await;
        client.write_all(HELD).await.unwrap();
        sleep(Duration::from_secs(3)).await;
        shutdown.send_replace(());
        assert_eq!(answers(&mut client).await, ["after 3 s;"]);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_with_a_body_or_another_method_never_waits() {
        for (method, field) in [("GET", "Content-Length: 1\r\n"), ("HEAD", "")] {
            let (mut client, _serving, _shutdown) = connected_to_one_that_holds().await;
            let asked = format!(
                "{method} /held HTTP/1.1\r\nHost: a\r\nPrefer: wait=20\r\nConnection: close\r\n{field}\r\nx"
            );
            client.write_all(asked.as_bytes()).await.unwrap();
            let start = Instant::now();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            assert_eq!(start.elapsed().as_secs(), 0);
        }
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
