//! One query on its way to one peer: it waits for room on the link, goes out, and its answer comes back checked.
//!
//! Invariant: the room on the link is taken for as long as the answer is read, and no longer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use tonic::Request;

use super::{super::links::Links, room::Sender};
use crate::{
    protocol::{report::Report, roster::Member},
    wire::{
        pb::SearchRequest,
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

/// Sends the query when there is room on the link, and gives how long its answer took to begin; `None` when the peer cannot
/// be reached or refuses. The room is taken until the answer is dropped.
pub(super) async fn open(
    links: Arc<Links>,
    member: Member,
    sender: Sender,
    message: impl FnOnce() -> SearchRequest,
) -> Option<(Duration, impl futures::Stream<Item = Event>)> {
    let (mut client, room) = links.for_query(&member).ok()?;
    let mut place = room.enter(sender).ok()?;
    place.come().await;
    let sent_at = Instant::now();
    match client.search(Request::new(message())).await {
        Ok(response) => {
            let peer = member.id;
            let found = response.into_inner().map_err(|status| status.to_string());
            let found = found.map(move |item| {
                let _on_link = &place;
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
        Err(status) => {
            tracing::debug!(peer = ?member.id, error = status.message(), "a branch could not be opened");
            None
        }
    }
}
