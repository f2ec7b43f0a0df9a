//! A body that holds a place until it was sent or given up, so that a bound on answers covers the time in which they flow.
//!
//! Invariant: the body is otherwise as it was, its length included.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Such a body.
#[derive(Debug)]
pub(super) struct Held {
    inner: Body,
    _place: OwnedSemaphorePermit,
}

impl Held {
    /// Gives the place back when this is dropped.
    pub(super) fn new(inner: Body, place: OwnedSemaphorePermit) -> Self {
        Self { inner, _place: place }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body::Body as _;
    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_held_body_keeps_its_length_and_its_place_until_it_is_dropped() {
        let places = Arc::new(Semaphore::new(1));
        let place = places.clone().try_acquire_owned().expect("free");
        let mut held = Held::new(Body::from("bytes"), place);
        assert_eq!(held.size_hint().exact(), Some(5));
        let frame = held.frame().await.expect("one").expect("whole");
        assert_eq!(frame.into_data().expect("bytes"), "bytes");
        assert_eq!(places.available_permits(), 0);
        drop(held);
        assert_eq!(places.available_permits(), 1);
    }
}
