//! Two sizes of requests in one service: the few methods that take much are answered by a part of its own.
//!
//! Invariant: a method that is not named is never given to the part that takes large requests, and that one takes no large
//! request first.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use tonic::{body::Body, server::NamedService};

use super::first::ShortFirst;

/// Gives calls of one method to `large`, and all others to `small`.
#[derive(Debug, Clone)]
pub struct LargeRequests<L, S> {
    path: &'static str,
    first_bytes: usize,
    large: L,
    small: S,
}

impl<L, S> LargeRequests<L, S> {
    /// `path` is `/<service>/<method>`; the first message to it has at most so many bytes.
    pub fn new(path: &'static str, first_bytes: usize, large: L, small: S) -> Self {
        Self { path, first_bytes, large, small }
    }
}

impl<L, S: NamedService> NamedService for LargeRequests<L, S> {
    const NAME: &'static str = S::NAME;
}

impl<L, S> tower::Service<http::Request<Body>> for LargeRequests<L, S>
where
    L: tower::Service<http::Request<Body>, Response = S::Response, Error = Infallible, Future = S::Future>,
    S: tower::Service<http::Request<Body>, Error = Infallible>,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Generated services are always ready; the other one is asked for the rule's sake.
        match self.large.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.small.poll_ready(cx),
            waiting => waiting,
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> S::Future {
        if request.uri().path() == self.path {
            let short_first = |body| Body::new(ShortFirst::new(body, self.first_bytes));
            self.large.call(request.map(short_first))
        } else {
            self.small.call(request)
        }
    }
}
