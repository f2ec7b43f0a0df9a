//! Open connections by peer, so that they can be cut when their peer is shut out.
//!
//! Invariant: deciding who is denied and entering a connection are one step under one lock, so that no connection slips in
//! between.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::protocol::{id::PeerId, trust::DenyList};

#[derive(Debug, Default)]
pub(super) struct Links {
    /// Read for every call.
    denied: ArcSwap<DenyList>,
    // A std lock: held for a look-up, never across an await. Bounded by the connections that are open.
    open: Mutex<HashMap<PeerId, Open>>,
}

#[derive(Debug)]
struct Open {
    cut: CancellationToken,
    links: usize,
}

impl Links {
    pub(super) fn deny(&self, list: DenyList) {
        let open = self.lock();
        if list.version < self.denied.load().version {
            return;
        }
        for (_, link) in open.iter().filter(|(peer, _)| list.has(peer)) {
            link.cut.cancel();
        }
        self.denied.store(Arc::new(list));
    }

    pub(super) fn is_denied(&self, peer: &PeerId) -> bool {
        self.denied.load().has(peer)
    }

    pub(super) fn open(&self, peer: &PeerId) -> usize {
        self.lock().get(peer).map_or(0, |open| open.links)
    }

    pub(super) fn watch(self: &Arc<Self>, peer: PeerId) -> Option<Watched> {
        let mut open = self.lock();
        if self.is_denied(&peer) {
            return None;
        }
        let link = open.entry(peer).or_insert_with(|| Open { cut: CancellationToken::new(), links: 0 });
        // One that was cut and let in again, while connections that were cut have not ended yet.
        if link.cut.is_cancelled() {
            link.cut = CancellationToken::new();
        }
        link.links += 1;
        let cut = Box::pin(link.cut.clone().cancelled_owned());
        Some(Watched { links: self.clone(), peer, cut })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection with a peer, for as long as it lives.
#[derive(Debug)]
pub(in crate::net) struct Watched {
    links: Arc<Links>,
    peer: PeerId,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Watched {
    /// Ready when the peer is shut out.
    pub(in crate::net) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.cut.as_mut().poll(cx)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut open = self.links.lock();
        if let Some(link) = open.get_mut(&self.peer) {
            link.links -= 1;
            if link.links == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures::FutureExt;

    use super::*;

    #[test]
    fn denying_a_peer_cuts_its_links_and_no_others_and_an_older_list_changes_nothing() {
        let links = Arc::new(Links::default());
        let (bad, good) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let mut watched = [bad, bad, good].map(|peer| links.watch(peer).expect("let in"));
        links.deny(DenyList::new(2, vec![bad]).expect("short"));
        let cut =
            watched.iter_mut().map(|watched| poll_fn(|cx| watched.poll_cut(cx)).now_or_never().is_some());
        assert_eq!(cut.collect::<Vec<_>>(), [true, true, false]);
        assert!(links.watch(bad).is_none() && links.watch(good).is_some());
        links.deny(DenyList::new(1, vec![]).expect("short"));
        assert!(links.is_denied(&bad));
        links.deny(DenyList::new(3, vec![]).expect("short"));
        let mut again = links.watch(bad).expect("let in again");
        assert!(poll_fn(|cx| again.poll_cut(cx)).now_or_never().is_none());
        drop((watched, again));
        assert_eq!((links.open(&bad), links.open(&good)), (0, 0));
    }
}
