//! Streams of events (`text/event-stream`), bounded in number, kept alive, and ended by the stop.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::{HeaderMap, HeaderName, header};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use super::problem::Problem;
use crate::shutdown::Shutdown;

/// Streams at once, over all readers.
pub(super) const MAX_STREAMS: usize = 64;
/// A comment is sent after so much silence, so that proxies and readers know that the other end lives.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A reader that takes nothing for so long is given up: its place is free, and nothing is looked at for it.
pub(super) const READER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Events, or runs of them, on the way to one reader.
const QUEUE_EVENTS: usize = 4;

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
        let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE_EVENTS);
        drop(self.shutdown.spawn("event stream", async move {
            let _place = place;
            let mut events = pin!(events);
            let mut event = Bytes::from_static(b": floodplain\n\n");
            while let Ok(Ok(())) = timeout(READER_TIMEOUT, sender.send(event)).await {
                event = tokio::select! {
                    () = sender.closed() => return,
                    next = events.next() => match next {
                        Some(event) => event,
                        None => return,
                    },
                    () = sleep(PING_EVERY) => Bytes::from_static(b": ping\n\n"),
                };
            }
        }));
        let body = ReceiverStream::new(receiver).map(Ok::<_, std::convert::Infallible>);
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
