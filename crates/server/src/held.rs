//! A connection whose request waits for long. Of it only the text of the request is kept meanwhile, and
//! what was read after it; not the buffers of the HTTP library, which take 24 KB.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::http::{HeaderMap, Uri};
use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::watch;

/// What a request waits for.
pub type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Says of a `GET` request whether it waits before it is answered, and for what. The wait ends when the
/// receiver says that the listener stops.
pub type Holds = Arc<dyn Fn(&Uri, &HeaderMap, watch::Receiver<()>) -> Option<Wait> + Send + Sync>;

/// Marks a request that has waited.
#[derive(Clone, Copy)]
pub(crate) struct HasWaited;

/// A request that waits.
pub(crate) struct Held {
    /// The request, to be read again.
    text: Vec<u8>,
    wait: Wait,
}

impl Held {
    /// A request without a body.
    pub(crate) fn new<B>(request: &hyper::Request<B>, wait: Wait) -> Self {
        Self { text: text(request), wait }
    }

    /// Waits. Returns `stream` as it was before the request was read from it, and whether the request has
    /// waited: one with a long text does not. `None`: the client has closed the connection. `read` is what was
    /// read after the request.
    pub(crate) async fn wait<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        mut stream: Rewound<S>,
        read: Bytes,
    ) -> Option<(Rewound<S>, bool)> {
        for rest in [read, std::mem::take(&mut stream.read)] {
            self.text.extend_from_slice(&rest);
        }
        self.text.shrink_to_fit();
        if self.text.len() > MAX_HELD {
            stream.read = Bytes::from(self.text);
            return Some((stream, false));
        }
        // One octet is read to notice the end of the connection. More stay where they are.
        let mut next = [0; 1];
        tokio::select! {
            () = &mut self.wait => {}
            read = stream.read(&mut next) => {
                if !matches!(read, Ok(1)) {
                    return None;
                }
                self.text.extend_from_slice(&next);
                self.wait.await;
            }
        }
        stream.read = Bytes::from(self.text);
        Some((stream, true))
    }
}

/// Longest text of a request that waits, with what was read after it, in bytes.
const MAX_HELD: usize = 2048;

fn text<B>(request: &hyper::Request<B>) -> Vec<u8> {
    let mut text = format!("{} {} {:?}\r\n", request.method(), request.uri(), request.version());
    text.reserve(256);
    let mut text = text.into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// A stream from which something is read first that was read before.
pub(crate) struct Rewound<S> {
    read: Bytes,
    stream: S,
    /// Whether the stream took less than was written.
    is_blocked: Arc<AtomicBool>,
}

impl<S> Rewound<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { read: Bytes::new(), stream, is_blocked: Arc::default() }
    }

    /// Whether something may still have to be written: such a request cannot be held.
    pub(crate) fn is_blocked(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_blocked)
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.is_blocked.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read.split_to(length));
        if self.read.is_empty() {
            // Frees the text.
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // TLS takes more than it has sent, and says so here.
        self.is_blocked.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
