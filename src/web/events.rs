//! What happens at the peer, as events that any number of readers follow, each at its own speed.
//!
//! Invariant: at most [`MAX_EVENTS`] of [`MAX_BYTES`] together are kept, for all readers at once; one that is too slow, or was away
//! too long, loses the oldest and is told so. Nothing is watched while nobody reads.

mod watch;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{Stream, stream};
use rand::RngExt as _;
use tokio::sync::{Notify, watch as channel};

use super::sse;
use crate::{peer::Handle, shutdown::Shutdown};

/// Events that are kept for readers that come back.
const MAX_EVENTS: usize = 1024;
/// Bytes of them.
const MAX_BYTES: usize = 4 << 20;
/// Events that one reader is given at once.
const BATCH: usize = 64;

/// What happens; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Happenings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    peer: Handle,
    shutdown: Shutdown,
    /// Tells the ids of this run from those of another.
    run: u32,
    readers: AtomicUsize,
    /// The last reader went.
    unread: Notify,
    /// The network is to be looked at now.
    network_changed: Notify,
    // A std lock: held to add or copy a few events.
    ring: Mutex<Ring>,
    last: channel::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<(u64, Bytes)>,
    bytes: usize,
    last: u64,
    /// The watchers run.
    is_watched: bool,
}

impl Ring {
    fn push(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push_back((self.last, event));
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES && self.events.len() > 1 {
            if let Some((_, oldest)) = self.events.pop_front() {
                self.bytes -= oldest.len();
            }
        }
    }

    /// Those behind `seen`, at most [`BATCH`], and up to where that is; `None` when some of them are gone.
    fn after(&self, seen: u64) -> Option<(Vec<Bytes>, u64)> {
        let first = self.last + 1 - self.events.len() as u64;
        if seen > self.last || seen + 1 < first {
            return None;
        }
        let skip = usize::try_from(seen + 1 - first).unwrap_or(usize::MAX);
        let batch: Vec<_> = self.events.iter().skip(skip).take(BATCH).collect();
        let seen = batch.last().map_or(seen, |(id, _)| *id);
        Some((batch.into_iter().map(|(_, event)| event.clone()).collect(), seen))
    }
}

/// Counts a reader as long as it reads.
struct Reader(Arc<Inner>);

impl Drop for Reader {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.unread.notify_waiters();
        }
    }
}

impl Happenings {
    pub(super) fn new(peer: Handle, shutdown: Shutdown) -> Self {
        Self(Arc::new(Inner {
            peer,
            shutdown,
            run: rand::rng().random(),
            readers: AtomicUsize::new(0),
            unread: Notify::new(),
            network_changed: Notify::new(),
            ring: Mutex::default(),
            last: channel::Sender::new(0),
        }))
    }

    /// Everything from now on, or from behind the event of that id.
    pub(super) fn read(&self, last_id: Option<&str>) -> impl Stream<Item = Bytes> + Send + use<> {
        self.0.readers.fetch_add(1, Ordering::AcqRel);
        let reader = Reader(self.0.clone());
        self.watch();
        let now = self.0.ring().last;
        // One that cannot be known here was lost with an earlier run.
        let seen = last_id.map_or(now, |id| self.0.seen(id).unwrap_or(u64::MAX));
        let changes = self.0.last.subscribe();
        stream::unfold((reader, changes, seen), |(reader, mut changes, seen)| async move {
            loop {
                changes.borrow_and_update();
                let news = reader.0.ring().after(seen);
                match news {
                    None => {
                        let last = reader.0.ring().last;
                        let reset = sse::event("reset", &reader.0.id(last), "{}");
                        return Some((reset, (reader, changes, last)));
                    }
                    Some((events, seen)) if !events.is_empty() => {
                        return Some((events.concat().into(), (reader, changes, seen)));
                    }
                    Some(_) => changes.changed().await.ok()?,
                }
            }
        })
    }

    /// Starts to watch, unless that is done already.
    fn watch(&self) {
        let was_watched = std::mem::replace(&mut self.0.ring().is_watched, true);
        if !was_watched {
            watch::start(&self.0);
        }
    }
}

impl Inner {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn id(&self, number: u64) -> String {
        format!("{:08x}-{number}", self.run)
    }

    fn seen(&self, id: &str) -> Option<u64> {
        let (run, number) = id.split_once('-')?;
        (u32::from_str_radix(run, 16).ok()? == self.run).then_some(())?;
        number.parse().ok()
    }

    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    /// Completes when nobody reads.
    async fn until_unread(&self) {
        loop {
            let gone = self.unread.notified();
            if !self.has_readers() {
                return;
            }
            gone.await;
        }
    }

    /// Tells all readers.
    fn tell(&self, name: &str, data: &str) {
        let mut ring = self.ring();
        ring.last += 1;
        let last = ring.last;
        let event = sse::event(name, &self.id(last), data);
        ring.push(event);
        drop(ring);
        self.last.send_replace(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(events: u64) -> Ring {
        let mut ring = Ring::default();
        for _ in 0..events {
            ring.last += 1;
            ring.push(ring.last.to_string().into());
        }
        ring
    }

    #[test]
    fn a_reader_goes_on_where_it_was_as_long_as_that_is_kept() {
        let ring = ring(2000);
        assert_eq!(ring.events.len(), MAX_EVENTS);
        assert_eq!(ring.after(2000), Some((Vec::new(), 2000)));
        let (events, seen) = ring.after(1990).expect("kept");
        assert_eq!((events.len(), events[0].as_ref(), seen), (10, b"1991".as_slice(), 2000));
        let (events, seen) = ring.after(976).expect("kept");
        assert_eq!((events.len(), events[0].as_ref(), seen), (BATCH, b"977".as_slice(), 1040));
        assert_eq!(ring.after(975), None, "the oldest are gone");
        assert_eq!(ring.after(2001), None, "of another run");
        assert_eq!(Ring::default().after(0), Some((Vec::new(), 0)));
    }

    #[test]
    fn few_large_events_are_bounded_as_well() {
        let mut ring = Ring::default();
        for _ in 0..10 {
            ring.last += 1;
            ring.push(vec![0; 1 << 20].into());
        }
        assert!(ring.bytes <= MAX_BYTES && ring.events.len() == 4);
        assert!(ring.after(5).is_none() && ring.after(6).is_some());
    }
}
