//! The body of an answer: a panic or a deadline in the midst of a stream ends it with a status, and the call keeps its place
//! for as long as the stream runs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Status, body::Body};

use super::{door::Place, guilt::is_nonsense, internal, is_over, late, panicked};

/// An answer's body in its shelter.
#[derive(Debug)]
pub struct Sheltered {
    inner: Body,
    call: Option<Call>,
}

/// Of a body that is not at its end.
#[derive(Debug)]
struct Call {
    method: http::Uri,
    deadline: Option<Instant>,
    // Made when the body first has to wait.
    timer: Option<Pin<Box<Sleep>>>,
    place: Place,
}

impl Sheltered {
    pub(super) fn new(inner: Body, method: http::Uri, deadline: Option<Instant>, place: Place) -> Self {
        let call = (!inner.is_end_stream()).then_some(Call { method, deadline, timer: None, place });
        Self { inner, call }
    }

    /// One that needs none.
    pub(super) fn bare(inner: Body) -> Self {
        Self { inner, call: None }
    }

    /// Drops the answer, so that its handler sees that it is over, and ends with this.
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.call = None;
        let inner = std::mem::take(&mut self.inner);
        // What panicked once may do so again while it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(inner)));
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }
}

impl http_body::Body for Sheltered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(call) = &mut this.call else { return Pin::new(&mut this.inner).poll_frame(cx) };
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll_frame(cx)));
        match polled {
            Err(panic) => {
                panicked(&call.method, &*panic);
                this.end(&internal())
            }
            Ok(Poll::Ready(mut frame)) => {
                match &mut frame {
                    Some(Ok(end)) => {
                        if end.trailers_mut().is_some_and(is_nonsense) {
                            call.place.on_nonsense(std::time::Instant::now());
                        }
                    }
                    None => this.call = None,
                    Some(Err(_)) => {}
                }
                Poll::Ready(frame)
            }
            Ok(Poll::Pending) => {
                let Some(deadline) = call.deadline else { return Poll::Pending };
                let timer = call.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
                if is_over(timer.as_mut(), cx) { this.end(&late()) } else { Poll::Pending }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.call.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
