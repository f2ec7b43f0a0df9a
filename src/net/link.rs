//! An open connection that ends when it should: when its peer is shut out, and when what it was proven by has run out.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::SystemTime,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Duration, Sleep},
};

use super::trust::Watched;

/// How long a connection lives of one who is no member now: long enough to enroll, to renew, or to hear of being shut out.
const BRIEF: Duration = Duration::from_secs(10);

/// What ends a connection.
#[derive(Debug)]
pub(super) struct Bounds {
    watched: Option<Watched>,
    until: Option<Pin<Box<Sleep>>>,
}

impl Bounds {
    /// None.
    pub(super) fn none() -> Self {
        Self { watched: None, until: None }
    }

    /// With a peer, until the end of its certificate. Without a watch it was shut out already.
    pub(super) fn of_peer(watched: Option<Watched>, not_after: SystemTime) -> Self {
        let until = match watched {
            Some(_) => not_after,
            None => SystemTime::now() + BRIEF,
        };
        Self { watched, ..Self::until(until) }
    }

    /// With one who cannot be shut out: until the end of its certificate.
    pub(super) fn until(not_after: SystemTime) -> Self {
        let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
        Self { watched: None, until: Some(Box::pin(tokio::time::sleep(left))) }
    }

    /// With one who has no good certificate: long enough for a call.
    pub(super) fn brief() -> Self {
        Self::until(SystemTime::now() + BRIEF)
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(watched) = &mut self.watched
            && watched.poll_cut(cx).is_ready()
        {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the peer was shut out"));
        }
        if let Some(until) = &mut self.until
            && until.as_mut().poll(cx).is_ready()
        {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the certificate has run out"));
        }
        Ok(())
    }
}

/// A connection within its bounds. Both reading and writing look at them: a connection may wait for either alone.
#[derive(Debug)]
pub(super) struct Link<S> {
    stream: S,
    bounds: Bounds,
}

impl<S> Link<S> {
    pub(super) fn new(stream: S, bounds: Bounds) -> Self {
        Self { stream, bounds }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.bounds.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.bounds.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bounds.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bounds.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A connection that was cut is not waited for.
        self.bounds.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
