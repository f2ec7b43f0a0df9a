//! The door for queries of others: whoever asks more than a peer that keeps the rules ever does is heard less and less.
//!
//! Invariant: own queries do not come by here, and a sender that was never refused more than [`MOST_AT_ONCE`] at once, nor
//! asks faster than [`PATIENCE`] allows, is never muted.

use std::{
    collections::HashMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::peer::room::{MOST_ON_LINK, Sender};
use crate::protocol::strikes::{Hearing, Patience, Strikes, Tally};

/// Queries of one sender. A peer that answers in 0.1 ms of a core is busy with two fifths of it at this rate; 24 peers that
/// share two cores reach 300 a second of all together.
const PATIENCE: Patience = Patience {
    per_second: NonZeroU32::new(4000).expect("not zero"),
    burst: 1024,
    strikes: NonZeroU32::new(32).expect("not zero"),
    first_mute: Duration::from_millis(100),
    longest_mute: Duration::from_secs(5),
    forgiven_after: Duration::from_secs(10),
    // As itself and for others: a zone of 24 and its gateways several times over. Each about 120 bytes.
    senders: NonZeroUsize::new(512).expect("not zero"),
};
/// Refusals of one sender that wait to be told. Links wait for room before they send, so that no peer that keeps the rules has
/// more than this open here at all: one above it is a strike. A peer that is only busy with many others mutes nobody.
const MOST_AT_ONCE: usize = MOST_ON_LINK;
/// Refusals that wait to be told, of all senders; what is above is told at once.
const MOST_WAITING: usize = 4096;
/// A refusal is told so much later: whoever has as many queries open as its connections allow asks the faster the sooner it
/// hears no, and to say it 50,000 times a second took a core.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// And one that is muted for long is told after this.
const MOST_PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

// Held for a look-up, never across an await.
#[derive(Debug)]
struct State {
    strikes: Strikes<Sender>,
    refused: HashMap<Sender, usize>,
    waiting: usize,
}

/// A refusal that is still to be told.
#[derive(Debug)]
pub(crate) struct Refused {
    gate: Gate,
    sender: Sender,
    retry_after: Duration,
    waits: bool,
}

impl Gate {
    /// With nobody known.
    pub(crate) fn new() -> Self {
        let state = State { strikes: Strikes::new(PATIENCE), refused: HashMap::new(), waiting: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A query of that sender comes. Nothing is to be done for one that is refused.
    pub(crate) fn enter(&self, sender: Sender, now: Instant) -> Result<(), Refused> {
        let mut state = self.lock();
        match state.strikes.hear(sender, now) {
            Hearing::Pass => Ok(()),
            Hearing::Refuse { retry_after } => Err(self.refused(&mut state, sender, retry_after)),
        }
    }

    /// There is no room for it.
    pub(crate) fn refuse(&self, sender: Sender, now: Instant) -> Refused {
        let mut state = self.lock();
        let is_too_many = state.refused.get(&sender).is_some_and(|count| *count >= MOST_AT_ONCE);
        let retry_after = if is_too_many { state.strikes.strike(sender, now) } else { Duration::ZERO };
        self.refused(&mut state, sender, retry_after)
    }

    /// What senders have been given so far.
    pub(crate) fn tally(&self) -> Tally {
        self.lock().strikes.tally()
    }

    fn refused(&self, state: &mut State, sender: Sender, retry_after: Duration) -> Refused {
        let waits = state.waiting < MOST_WAITING;
        if waits {
            state.waiting += 1;
            *state.refused.entry(sender).or_default() += 1;
        }
        Refused { gate: self.clone(), sender, retry_after, waits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    /// When to come again.
    pub(crate) fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// How much later it is to be told. To be kept until then.
    pub(crate) fn pause(&self) -> Duration {
        if self.waits { self.retry_after.clamp(LEAST_PAUSE, MOST_PAUSE) } else { Duration::ZERO }
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        let mut state = self.gate.lock();
        state.waiting -= 1;
        if let Some(count) = state.refused.get_mut(&self.sender) {
            *count -= 1;
            if *count == 0 {
                state.refused.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::id::PeerId;

    fn member(number: u8) -> Sender {
        Sender::Asks(PeerId::from_bytes([number; 32]))
    }

    #[test]
    fn one_that_keeps_asking_where_there_is_no_room_is_muted_and_one_that_waits_for_its_answers_never() {
        let (gate, now) = (Gate::new(), Instant::now());
        // As many as a link sends at once, again and again.
        for _ in 0..20 {
            let refused: Vec<Refused> = (0..MOST_AT_ONCE).map(|_| gate.refuse(member(1), now)).collect();
            assert!(refused.iter().all(|refused| refused.retry_after().is_zero()));
            assert!(refused.iter().all(|refused| refused.pause() == LEAST_PAUSE));
            assert!(gate.enter(member(1), now).is_ok());
        }
        let storm: Vec<Refused> = (0..MOST_AT_ONCE + 32).map(|_| gate.refuse(member(2), now)).collect();
        let told = gate.enter(member(2), now).expect_err("it is muted");
        assert_eq!(gate.tally(), Tally { strikes: 32, mutes: 1 });
        assert_eq!(told.retry_after(), PATIENCE.first_mute);
        drop((storm, told));
        assert!(gate.enter(member(2), now + PATIENCE.first_mute / 2).is_err());
        assert!(gate.enter(member(2), now + PATIENCE.first_mute).is_ok());
        assert!(gate.enter(member(1), now).is_ok() && gate.enter(Sender::Stranger, now).is_ok());
        let state = gate.lock();
        assert_eq!((state.waiting, state.refused.len()), (0, 0));
    }

    #[test]
    fn no_more_refusals_wait_than_there_is_room_for() {
        let (gate, now) = (Gate::new(), Instant::now());
        let refused: Vec<Refused> = (0..2 * MOST_WAITING).map(|_| gate.refuse(member(1), now)).collect();
        assert_eq!(refused.iter().filter(|refused| refused.pause().is_zero()).count(), MOST_WAITING);
        assert!(refused[2 * MOST_WAITING - 1].retry_after() <= PATIENCE.longest_mute);
    }
}
