//! Streams of events (`text/event-stream`), bounded in number, kept alive, and ended by the stop.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, header};
use tokio::sync::Semaphore;

use super::problem::Problem;
use crate::shutdown::Shutdown;

/// Streams at once, over all readers.
pub(super) const MAX_STREAMS: usize = 64;
/// A comment is sent after so much silence, so that proxies and readers know that the other end lives.
const PING_EVERY: Duration = Duration::from_secs(15);

/// The streams of one gateway; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    places: Arc<Semaphore>,
    shutdown: Shutdown,
}

/// One event, as it is sent.
pub(super) fn event(name: &str, id: &str, data: &str) -> Bytes {
    // JSON has no line ends of its own; a bare one would begin another field.
    debug_assert!(!data.contains(['\n', '\r']), "data is one line");
    format!("event: {name}\nid: {id}\ndata: {data}\n\n").into()
}

impl Streams {
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), shutdown }
    }

    /// Answers with these events.
    ///
    /// # Errors
    /// When too many streams are open.
    pub(super) fn open(
        &self,
        events: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Response, Problem> {
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Problem::busy(format!("{MAX_STREAMS} streams of events are open already")))?;
        let (stop, first) = (self.shutdown.clone(), Bytes::from_static(b": floodplain\n\n"));
        let events = stream::unfold((events.boxed(), stop, place), |(mut events, stop, place)| async move {
            let event = tokio::select! {
                event = events.next() => event?,
                () = stop.stopping() => return None,
                () = tokio::time::sleep(PING_EVERY) => Bytes::from_static(b": ping\n\n"),
            };
            Some((event, (events, stop, place)))
        });
        let body = stream::once(async { first }).chain(events).map(Ok::<_, std::convert::Infallible>);
        let headers = [
            (header::CONTENT_TYPE, "text/event-stream"),
            (header::CACHE_CONTROL, "no-store"),
            // nginx holds events back otherwise.
            (HeaderName::from_static("x-accel-buffering"), "no"),
        ];
        Ok((headers, Body::from_stream(body)).into_response())
    }
}

/// The last event that a reader had, as it says when it comes back.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty())
}
