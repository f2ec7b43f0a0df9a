//! Accepts the control socket's connections: never more at once than a bound, and never in a spin when the system has
//! no descriptor left.

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
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tonic::transport::server::Connected;

/// Connections at once; further ones wait in the listener's backlog.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// Pause after a failed accept: descriptors do not come back sooner for asking at once.
const BACK_OFF: Duration = Duration::from_millis(100);

/// An accepted connection with its place among [`MAX_CONNECTIONS`].
#[derive(Debug)]
pub(super) struct Accepted {
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
}

/// Every connection, for ever.
pub(super) fn accept(listener: &UnixListener) -> impl Stream<Item = Result<Accepted, Infallible>> {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    stream::unfold((listener, permits), |(listener, permits)| async move {
        let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    return Some((Ok(Accepted { stream, _permit: permit }), (listener, permits)));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection on the control socket");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    })
}

impl Connected for Accepted {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
