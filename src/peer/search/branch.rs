//! One query on its way to one peer: it waits for room on the link, goes out, and its answer comes back checked.
//!
//! Invariant: the room on the link is taken for as long as the answer is read, and no longer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use tokio::{runtime::Handle, time::timeout};
use tonic::{Request, Response, Status, Streaming};

use super::super::{links::Links, room::Sender};
use crate::{
    net::queue::Place,
    protocol::{relay::SILENCE_LIMIT, report::Report, roster::Member},
    shutdown::Shutdown,
    telemetry::trace::Trace,
    wire::{
        pb::{SearchRequest, SearchResponse},
        peer::{self as wire, Found, PeerHits},
    },
};

/// What a branch tells.
#[derive(Debug)]
pub(super) enum Event {
    /// So long after it was sent.
    Heard(Duration),
    Hits(PeerHits),
    Done(Report),
    Broken,
}

/// The beginning of an answer, and the room that it takes.
type Begun = (Result<Response<Streaming<SearchResponse>>, Status>, Place<Sender>);

/// A call that is not closed before its answer has begun: streams that are opened and closed faster than they are taken
/// make the other side close the whole connection, with everyone else's queries on it. Whoever asks here and goes away again
/// and again does not bring that about. It ends by itself after [`SILENCE_LIMIT`].
struct Call {
    answer: Option<BoxFuture<'static, Begun>>,
    shutdown: Shutdown,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take()
            && !self.shutdown.is_stopping()
            && Handle::try_current().is_ok()
        {
            self.shutdown.spawn("end of a branch", timeout(SILENCE_LIMIT, answer).map(drop));
        }
    }
}

/// Sends the query when there is room on the link, and gives how long its answer took to begin; `None` when the peer cannot
/// be reached or refuses, and when there is no room until the deadline. The room is taken until the answer is dropped.
pub(super) async fn open(
    (links, shutdown): (Arc<Links>, Shutdown),
    member: Member,
    (sender, deadline): (Sender, Instant),
    (trace, message): (Trace, impl FnOnce(Duration) -> SearchRequest),
) -> Option<(Duration, impl futures::Stream<Item = Event>)> {
    let (mut client, room) = links.for_query(&member).ok()?;
    let mut place = room.enter(sender).ok()?;
    place.come().await;
    let sent_at = Instant::now();
    // What has no time left makes no sense to who gets it, and would count against this peer.
    let left = deadline.checked_duration_since(sent_at).filter(|left| !left.is_zero())?;
    let mut message = Request::new(message(left));
    trace.tell(message.metadata_mut());
    let answer = async move { (client.search(message).await, place) }.boxed();
    let mut call = Call { answer: Some(answer), shutdown };
    let begun = call.answer.as_mut().expect("it was just put there").await;
    call.answer = None;
    match begun {
        (Ok(response), place) => {
            let peer = member.id;
            let found = response.into_inner().map_err(|status| status.to_string());
            let found = found.map(move |item| {
                let _on_link = (&place, &trace);
                let checked = item.and_then(|item| wire::found(item).map_err(|invalid| invalid.to_string()));
                match checked {
                    Ok(Found::Hits(hits)) => Event::Hits(hits),
                    Ok(Found::Done(report)) => Event::Done(report),
                    Err(error) => {
                        tracing::debug!(?peer, error, "a branch broke");
                        Event::Broken
                    }
                }
            });
            Some((sent_at.elapsed(), found))
        }
        (Err(status), _) => {
            tracing::debug!(peer = ?member.id, error = status.message(), "a branch could not be opened");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::{
        net::{Identity, Purpose, Security, Transport},
        protocol::{id::PeerId, roster::Stamp},
    };

    #[tokio::test]
    async fn a_query_that_waited_until_its_time_was_over_is_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
        let links = Arc::new(Links::new(transport, Purpose::Link));
        let member = Member {
            id: PeerId::from_bytes([1; 32]),
            name: "ana".parse().expect("a name"),
            address: listener.local_addr().expect("an address"),
            incarnation: 1,
            shared_files: 0,
            room_bytes: 0,
            summary: Stamp::default(),
        };
        let message = |left: Duration| panic!("sent with {left:?} left");
        let shutdown = Shutdown::new();
        let opened =
            open((links, shutdown), member, (Sender::Me, Instant::now()), (Trace::search(), message)).await;
        assert!(opened.is_none());
        assert!(listener.accept().now_or_never().is_none(), "nobody came");
    }
}
