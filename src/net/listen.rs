//! The accept loop and the HTTP/2 server behind it.
//!
//! The loop is ours because tonic's own spins when file descriptors run out and forgets `TCP_NODELAY` on a listener that
//! it did not bind (44 ms a call). A permit is taken before a connection is accepted, so that those above the cap wait
//! in the kernel's queue.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::Context as _;
use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::{
    service::Routes,
    transport::server::{Connected, Server, TcpConnectInfo},
};

use super::Transport;
use crate::shutdown::Shutdown;

/// Connections of one listener at once. Each costs about 15 KB; more than a zone and its fetchers ever need.
const MAX_CONNECTIONS: usize = 4096;
/// Calls at once on one connection; more wait at the caller.
const MAX_STREAMS: u32 = 1024;
/// From the accept to the whole HTTP/2 preface: whoever connects and says nothing must not keep a place from others. From
/// there on pings tell who is gone.
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of the preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How long the accept loop rests when the system has no descriptor left.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);
/// How long calls that still run may go on after the stop.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// Bytes of request headers; ours are below 1 KiB.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// What this side takes per stream and per connection before it says that it has read some: files pushed to the inbox
/// need it (256 KiB costs a third of the rate); requests are far smaller.
pub(super) const TRANSFER_STREAM_WINDOW: u32 = 2 << 20;
pub(super) const TRANSFER_CONNECTION_WINDOW: u32 = 4 << 20;
/// A chunk of 256 KiB with its framing in one DATA frame: a fifteenth of the system calls of 16 KiB frames.
pub(super) const TRANSFER_FRAME: u32 = (256 << 10) + 64;

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens; the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Transport {
    /// Takes a port.
    ///
    /// # Errors
    /// When the security does not allow the address, or the system does not give it.
    pub async fn listen(&self, address: SocketAddr) -> anyhow::Result<Listener> {
        self.vet(address)?;
        let socket = TcpListener::bind(address)
            .await
            .with_context(|| format!("could not listen on {address}; is another daemon using the port?"))?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address })
    }

    /// Serves until the stop, then lets running calls end for a short while. Connections are dropped after that.
    pub fn serve(
        &self,
        listener: Listener,
        routes: Routes,
        shutdown: &Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let address = listener.address;
        let serving = server()
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming(listener.socket), shutdown.stopping_owned());
        let stopping = shutdown.stopping_owned();
        async move {
            let overdue = async {
                stopping.await;
                tokio::time::sleep(DRAIN_GRACE).await;
            };
            tokio::select! {
                served = serving => served.with_context(|| format!("could not serve on {address}")),
                () = overdue => Ok(()),
            }
        }
    }
}

fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(TRANSFER_STREAM_WINDOW)
        .initial_connection_window_size(TRANSFER_CONNECTION_WINDOW)
        .max_frame_size(TRANSFER_FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
}

/// Connections as they are accepted; never ends and never fails.
fn incoming(socket: TcpListener) -> impl Stream<Item = Result<Connection, Infallible>> {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    futures::stream::unfold((socket, room), |(socket, room)| async {
        let connection = accept(&socket, room.clone()).await;
        Some((Ok(connection), (socket, room)))
    })
}

async fn accept(socket: &TcpListener, room: Arc<Semaphore>) -> Connection {
    let permit = room.acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                // Without it every small answer waits for the delayed acknowledgement of the one before.
                if stream.set_nodelay(true).is_ok() {
                    let deadline = Box::pin(tokio::time::sleep(PREFACE_DEADLINE));
                    let preface = Some(Preface { left_bytes: PREFACE_BYTES, deadline });
                    return Connection { stream, preface, _permit: permit };
                }
            }
            Err(error) => {
                if is_exhaustion(&error) {
                    tracing::warn!(%error, "cannot accept connections now");
                    tokio::time::sleep(EXHAUSTION_PAUSE).await;
                }
            }
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// An accepted connection; gives its place free when dropped.
struct Connection {
    stream: TcpStream,
    /// What is still owed; `None` once it came.
    preface: Option<Preface>,
    _permit: OwnedSemaphorePermit,
}

struct Preface {
    left_bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(preface) = &mut self.preface {
            preface.left_bytes = preface.left_bytes.saturating_sub(buf.filled().len() - before);
            if preface.left_bytes == 0 {
                self.preface = None;
            } else if preface.deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
