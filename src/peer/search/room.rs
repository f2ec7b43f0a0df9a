//! Room for queries, at this peer and on each link, and turns at the index.
//!
//! Invariant: what others ask never takes what is kept for this peer's own searches, and no other peer takes so much that
//! the next one finds no room: what is refused, or waits, is refused to whoever has most.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread::available_parallelism,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    net::queue::{Place, Queue},
    protocol::{
        id::PeerId,
        queue::{QueueBounds, QueueFull},
    },
};

/// Own searches that run at once: two thirds of all.
const RUNNING_OWN: usize = 384;
/// Queries of others that run at once; one neighbor alone can have a third. Each takes its turn on the CPU: with 683 places an
/// own search beside a storm waited for all of them at every step.
const RUNNING_OTHERS: usize = 192;
/// Own queries on one link at once; more wait there.
const OWN_ON_LINK: usize = 24;
/// Queries of others on one link at once; of one neighbor a third. With the own ones it is less than one peer lets in from
/// another (64), or whoever storms here would use up this peer's room at the next one.
const RELAYED_ON_LINK: usize = 24;
/// Senders of which no turn is held or awaited are forgotten when there are more.
const IDLE_SENDERS: usize = 64;

/// For whom a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// This peer.
    Me,
    /// A member of the zone, or a gateway.
    Known(PeerId),
    /// All whom nobody knows together, so that nobody gains room by making up names.
    Stranger,
}

/// Places for queries, the own ones apart.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    own: Queue<Sender>,
    others: Queue<Sender>,
}

impl Room {
    /// Of a peer: what finds no place is refused.
    pub(crate) fn of_peer() -> Self {
        Self::new(RUNNING_OWN, RUNNING_OTHERS, 0)
    }

    /// Of a link: what finds no place waits. No more can wait than run here.
    pub(crate) fn of_link() -> Self {
        Self::new(OWN_ON_LINK, RELAYED_ON_LINK, RUNNING_OWN + RUNNING_OTHERS)
    }

    fn new(own: usize, others: usize, waiting: usize) -> Self {
        let queue = |places, keeps_room| {
            let bounds = QueueBounds {
                places,
                places_per_caller: places,
                keeps_room,
                waiting,
                waiting_per_caller: waiting,
            };
            Queue::new(bounds)
        };
        Self { own: queue(own, false), others: queue(others, true) }
    }

    /// A place, or the waiting for one.
    pub(crate) fn enter(&self, sender: Sender) -> Result<Place<Sender>, QueueFull> {
        if sender == Sender::Me { self.own.enter(sender) } else { self.others.enter(sender) }
    }

    /// Places that are held.
    pub(crate) fn holding(&self) -> usize {
        self.own.holding() + self.others.holding()
    }
}

/// Turns at the index. Those of others leave one core alone, and senders take turns, however many queries each has.
#[derive(Debug)]
pub(crate) struct Turns {
    own: Arc<Semaphore>,
    others: Arc<Semaphore>,
    per_sender: usize,
    // Held for a look-up, never across an await. At most as many as queries run, and some idle ones.
    senders: Mutex<HashMap<Sender, Weak<Semaphore>>>,
}

/// A turn; over when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _at_index: OwnedSemaphorePermit,
    _of_sender: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// For an index on this machine.
    pub(crate) fn of_machine() -> Self {
        Self::new(available_parallelism().map_or(1, NonZeroUsize::get))
    }

    fn new(cores: usize) -> Self {
        let others = cores.saturating_sub(1).max(1);
        Self {
            own: Arc::new(Semaphore::new(cores)),
            others: Arc::new(Semaphore::new(others)),
            per_sender: others.div_ceil(2),
            senders: Mutex::new(HashMap::new()),
        }
    }

    /// Waits for a turn. May be dropped at any point, which ends the waiting.
    pub(crate) async fn take(&self, sender: Sender) -> Turn {
        const OPEN: &str = "the semaphores are never closed";
        if sender == Sender::Me {
            let at_index = self.own.clone().acquire_owned().await.expect(OPEN);
            return Turn { _at_index: at_index, _of_sender: None };
        }
        // Whoever has as many turns as it may have waits here, and only then among the other senders: they come in turn.
        let of_sender = self.of(sender).acquire_owned().await.expect(OPEN);
        let at_index = self.others.clone().acquire_owned().await.expect(OPEN);
        Turn { _at_index: at_index, _of_sender: Some(of_sender) }
    }

    fn of(&self, sender: Sender) -> Arc<Semaphore> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = senders.get(&sender).and_then(Weak::upgrade) {
            return known;
        }
        if senders.len() >= IDLE_SENDERS {
            senders.retain(|_, known| known.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(self.per_sender));
        senders.insert(sender, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn member(number: u8) -> Sender {
        Sender::Known(PeerId::from_bytes([number; 32]))
    }

    /// Takes all it gets.
    fn storm(room: &Room, sender: Sender) -> Vec<Place<Sender>> {
        std::iter::from_fn(|| room.enter(sender).ok()).collect()
    }

    #[test]
    fn own_queries_have_their_third_whatever_others_do_and_a_storm_leaves_room_for_the_next_sender() {
        let room = Room::of_peer();
        let mut stormed = storm(&room, member(1));
        assert_eq!(stormed.len(), 64, "a third of what is not kept for own ones");
        let second = storm(&room, member(2));
        assert!(second.len() > 40, "{}", second.len());
        let _strangers = storm(&room, Sender::Stranger);
        assert!(room.enter(member(3)).is_ok());
        assert_eq!(storm(&room, Sender::Me).len(), 384);
        assert!(room.enter(member(1)).is_err());
        drop(second);
        assert!(room.enter(member(1)).is_err(), "what is free again is for others first");
        stormed.truncate(40);
        assert!(room.enter(member(1)).is_ok());
    }

    #[test]
    fn what_this_peer_has_on_a_link_is_less_than_another_peer_lets_in_from_it() {
        let let_in = storm(&Room::of_peer(), member(1)).len();
        assert!(OWN_ON_LINK + RELAYED_ON_LINK < let_in, "{let_in}");
    }

    #[tokio::test]
    async fn a_storm_waits_on_a_link_and_queries_of_others_pass_it() {
        let room = Room::of_link();
        let mut stormed: Vec<Place<Sender>> =
            (0..500).map(|_| room.enter(member(1)).expect("it waits")).collect();
        assert_eq!(room.holding(), 8);
        assert!(
            room.enter(member(2)).expect("room").is_mine() && room.enter(Sender::Me).expect("room").is_mine()
        );
        let mut waiting = stormed.split_off(8);
        assert!(!waiting[0].is_mine());
        drop(stormed);
        waiting[0].come().await;
        assert_eq!(room.holding(), 8);
    }

    #[tokio::test]
    async fn senders_take_turns_at_the_index_and_own_searches_need_not_wait_for_them() {
        let turns = Turns::new(2);
        let first = turns.take(member(1)).await;
        let mut storm: Vec<_> = (0..50).map(|_| Box::pin(turns.take(member(1)))).collect();
        assert!(storm.iter_mut().all(|turn| turn.now_or_never().is_none()));
        let mut other = Box::pin(turns.take(member(2)));
        assert!(other.as_mut().now_or_never().is_none(), "one core is kept");
        assert!(turns.take(Sender::Me).now_or_never().is_some());
        drop(first);
        let turn = other.now_or_never().expect("it is next, and not the fifty that came before it");
        assert!(storm.iter_mut().all(|turn| turn.now_or_never().is_none()));
        drop(turn);
        assert!(storm.iter_mut().any(|turn| turn.now_or_never().is_some()));
    }

    #[tokio::test]
    async fn senders_that_are_gone_are_forgotten() {
        let turns = Turns::new(4);
        for number in 0..200 {
            drop(turns.take(member(number)).await);
        }
        assert!(turns.senders.lock().unwrap_or_else(PoisonError::into_inner).len() <= IDLE_SENDERS);
    }
}
