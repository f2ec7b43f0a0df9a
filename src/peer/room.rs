//! Room for queries, at this peer and on each link.
//!
//! Invariant: what others ask never takes what is kept for this peer's own searches, and no other peer takes so much that
//! the next one finds no room: what is refused, or waits, is refused to whoever has most.

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
/// Queries on one link at once.
pub(super) const MOST_ON_LINK: usize = OWN_ON_LINK + RELAYED_ON_LINK;

/// For whom a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sender {
    /// This peer.
    Me,
    /// A member of the zone, or a gateway, for itself.
    Asks(PeerId),
    /// The same, for others: what it gives on takes nothing of what it may ask itself.
    Relays(PeerId),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u8) -> Sender {
        Sender::Asks(PeerId::from_bytes([number; 32]))
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
        assert!(MOST_ON_LINK < let_in, "{let_in}");
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
}
