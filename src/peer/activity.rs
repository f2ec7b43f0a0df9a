//! Tells whoever watches of the queries that pass through this peer.
//!
//! Invariants: while nobody listens nothing is made and nothing kept; whatever begins also ends, however it ends; a slow
//! listener loses the oldest, is told how many, and holds up no query.

use std::{sync::Arc, time::SystemTime};

use futures::{StreamExt, stream};
use tokio::sync::broadcast::{self, error::RecvError};

use super::handle::Events;
use crate::{
    protocol::{
        action::{Activity, ActivityKind, MAX_ACTIVITY_ASKED},
        id::{PeerId, QueryId, ZoneId},
    },
    shutdown::Shutdown,
};

/// Activities that wait for one listener: about 0.3 MB with the longest texts. At it, the oldest goes.
const ROOM: usize = 256;

/// Where queries tell what happens to them; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Activities(broadcast::Sender<Arc<Activity>>);

impl Activities {
    /// Nobody listens.
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(ROOM))
    }

    /// Everything from now on, until the stop.
    pub(crate) fn listen(&self, shutdown: &Shutdown) -> Events<Activity> {
        let heard = stream::unfold((self.0.subscribe(), 0), |(mut listener, mut missed)| async move {
            loop {
                match listener.recv().await {
                    Ok(activity) => {
                        let activity = Activity { missed, ..Arc::unwrap_or_clone(activity) };
                        return Some((Ok(activity), (listener, 0)));
                    }
                    Err(RecvError::Lagged(lost)) => missed += lost,
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        heard.take_until(shutdown.stopping_owned()).boxed()
    }

    /// A query begins, and went on to `asked`. `None` while nobody listens: this query is not told then.
    pub(crate) fn begin(
        &self,
        (id, text): (&QueryId, &str),
        (from, hops): (Option<PeerId>, u8),
        zone: Option<ZoneId>,
        asked: impl Iterator<Item = PeerId>,
    ) -> Option<Telling> {
        if self.0.receiver_count() == 0 {
            return None;
        }
        let activity = Activity {
            time: SystemTime::now(),
            query: Activity::short(id),
            kind: ActivityKind::Began,
            text: Activity::cut(text),
            from,
            zone,
            hops,
            hits: 0,
            asked: asked.take(MAX_ACTIVITY_ASKED).collect(),
            missed: 0,
        };
        // Who went away meanwhile need not be told.
        let _ = self.0.send(Arc::new(activity.clone()));
        Some(Telling { to: self.0.clone(), activity })
    }
}

/// A query that was told to begin. Its end is told when this is dropped.
#[derive(Debug)]
pub(crate) struct Telling {
    to: broadcast::Sender<Arc<Activity>>,
    activity: Activity,
}

impl Telling {
    /// One more was asked.
    pub(crate) fn on_asked(&mut self, peer: PeerId) {
        let asked = &mut self.activity.asked;
        if asked.len() < MAX_ACTIVITY_ASKED && !asked.contains(&peer) {
            asked.push(peer);
        }
    }

    /// So many more hits were passed on.
    pub(crate) fn on_hits(&mut self, more: usize) {
        self.activity.hits = self.activity.hits.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let asked = std::mem::take(&mut self.activity.asked);
        let text = std::mem::take(&mut self.activity.text);
        let (time, kind) = (SystemTime::now(), ActivityKind::Answered);
        let _ = self.to.send(Arc::new(Activity { time, kind, text, asked, ..self.activity.clone() }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use futures::FutureExt;

    use super::*;

    fn id(byte: u8) -> PeerId {
        PeerId::from_bytes([byte; 32])
    }

    fn begin(activities: &Activities, number: u8) -> Option<Telling> {
        let query = QueryId::from_bytes([number; 16]);
        activities.begin((&query, "report"), (Some(id(1)), 2), ZoneId::new(3), (2..40).map(id))
    }

    fn heard(events: &mut Events<Activity>) -> Option<Activity> {
        events.next().now_or_never().flatten().map(Result::unwrap)
    }

    #[tokio::test]
    async fn nothing_is_made_while_nobody_listens() {
        let (activities, shutdown) = (Activities::new(), Shutdown::new());
        assert!(begin(&activities, 1).is_none());
        let events = activities.listen(&shutdown);
        assert!(begin(&activities, 1).is_some());
        drop(events);
        assert!(begin(&activities, 1).is_none());
    }

    #[tokio::test]
    async fn what_begins_is_told_to_end_with_what_came_of_it() {
        let (activities, shutdown) = (Activities::new(), Shutdown::new());
        let mut events = activities.listen(&shutdown);
        let mut telling = begin(&activities, 7).unwrap();
        let began = heard(&mut events).unwrap();
        assert_eq!((began.kind, began.query, began.hits), (ActivityKind::Began, [7; 8], 0));
        assert_eq!(began.asked, (2..18).map(id).collect::<Vec<_>>());
        telling.on_hits(3);
        telling.on_hits(2);
        telling.on_asked(id(99));
        assert_eq!(heard(&mut events), None);
        drop(telling);
        let answered = heard(&mut events).unwrap();
        let expected =
            Activity { kind: ActivityKind::Answered, hits: 5, time: answered.time, ..began.clone() };
        assert_eq!(answered, expected);
        assert!(answered.time >= began.time);
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_is_told_how_many() {
        let (activities, shutdown) = (Activities::new(), Shutdown::new());
        let mut events = activities.listen(&shutdown);
        let tellings: Vec<_> = (0..200).map(|number| begin(&activities, number).unwrap()).collect();
        drop(tellings);
        // 400 were told and there is room for 256.
        let first = events.next().await.unwrap().unwrap();
        assert_eq!((first.missed, first.query, first.kind), (144, [144; 8], ActivityKind::Began));
        for _ in 1..ROOM {
            assert_eq!(events.next().await.unwrap().unwrap().missed, 0);
        }
        assert_eq!(heard(&mut events), None);
    }

    #[tokio::test]
    async fn listening_ends_with_the_stop() {
        let (activities, shutdown) = (Activities::new(), Shutdown::new());
        let mut events = activities.listen(&shutdown);
        shutdown.stop();
        assert!(events.next().await.is_none());
    }
}
