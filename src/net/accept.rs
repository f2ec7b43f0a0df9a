//! The accept loop: never more connections at once than a bound, and never a spin when the system has no descriptor left.
//!
//! It is ours because tonic's own spins when descriptors run out and forgets `TCP_NODELAY` on a listener that it did not
//! bind. A place is taken before a connection is accepted, so that those above the bound wait in the kernel's queue.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::transport::server::Connected;

/// From the accept to the whole HTTP/2 preface: whoever connects and says nothing must not keep a place from others. From
/// there on pings tell who is gone.
const PREFACE_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of the preface (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
/// How long the loop rests after a failure: descriptors do not come back sooner for asking at once.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);

/// Something that connections come from.
pub trait Accept: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = Self::accept(self).await?;
        // Without it every small answer waits for the delayed acknowledgement of the one before: 44 ms a call.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(Self::accept(self).await?.0)
    }
}

impl<L: Accept + Sync> Accept for &L {
    type Stream = L::Stream;

    async fn accept(&self) -> io::Result<L::Stream> {
        L::accept(self).await
    }
}

/// Connections as they come, at most `most` at once; never ends and never fails.
pub fn accepted<L: Accept>(
    listener: L,
    most: usize,
) -> impl Stream<Item = Result<Accepted<L::Stream>, Infallible>> {
    let places = Arc::new(Semaphore::new(most));
    stream::unfold((listener, places), |(listener, places)| async move {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match Accept::accept(&listener).await {
                Ok(stream) => {
                    let deadline = Box::pin(tokio::time::sleep(PREFACE_DEADLINE));
                    let preface = Some(Preface { left_bytes: PREFACE_BYTES, deadline });
                    return Some((Ok(Accepted { stream, preface, _place: place }), (listener, places)));
                }
                // A connection that is gone before it was taken says nothing about the next one.
                Err(error) if !is_exhaustion(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections now");
                    tokio::time::sleep(EXHAUSTION_PAUSE).await;
                }
            }
        }
    })
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A connection with its place; the place is free again when it is dropped.
#[derive(Debug)]
pub struct Accepted<S> {
    stream: S,
    /// What is still owed; `None` once it came.
    preface: Option<Preface>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Preface {
    left_bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S: Connected> Connected for Accepted<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> S::ConnectInfo {
        self.stream.connect_info()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
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

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_connection_above_the_bound_waits_for_a_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut connections = Box::pin(accepted(listener, 1));
        let _clients = [TcpStream::connect(address).await, TcpStream::connect(address).await];
        let first = connections.next().await;
        assert!(futures::poll!(connections.next()).is_pending());
        drop(first);
        assert!(connections.next().await.is_some());
    }
}
