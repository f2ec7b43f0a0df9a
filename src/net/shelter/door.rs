//! Who is let in: a rate for each caller with strikes and a mute, calls at once of each caller and of all.
//!
//! Invariant: what one caller does takes nothing from another but its part of what all may have at once, and memory is that of
//! [`Bounds::rate`]'s senders, the calls that run, and [`MOST_WAITING`] refusals.

use std::{
    collections::HashMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    net::{caller::CallerKey, conduct::Conduct, counts::ConnectionCounts},
    protocol::strikes::{Hearing, Patience, Strikes},
};

/// A session lasts as long as its peer does, and the registry bounds sessions itself.
const SESSION_PATH: &str = "/floodplain.v1.RegistryService/Session";
/// Refusals that are told later; above that they are told at once.
const MOST_WAITING: usize = 4096;
/// Whoever keeps as many calls open as its connections allow asks the faster the sooner it hears no.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// And one that is muted for long hears it after this.
const MOST_PAUSE: Duration = Duration::from_secs(1);
/// A call that makes no sense, which no peer that keeps the rules sends often, counts as so many that come too fast.
const NONSENSE_STRIKES: u32 = 4;
/// A call that found no room is worth another try after this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How much is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Calls of one caller.
    pub rate: Patience,
    /// Calls of one caller that run at once.
    pub at_once: usize,
    /// Calls of all that run at once.
    pub whole: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        let rate = Patience {
            // Twice the most queries that one sender may ask, and above what a fetcher of small files one by one reaches. A call
            // that does nothing costs 10 to 20 us, so that a caller at its rate takes a tenth of a core.
            per_second: NonZeroU32::new(8000).expect("not zero"),
            // What a core answers in 40 ms.
            burst: 2000,
            strikes: NonZeroU32::new(64).expect("not zero"),
            first_mute: Duration::from_millis(250),
            longest_mute: Duration::from_secs(10),
            forgiven_after: Duration::from_secs(20),
            // About 120 bytes each.
            senders: NonZeroUsize::new(4096).expect("not zero"),
        };
        // An honest pair of peers has below 200: searches 48, fetches that wait 64, pushes 16, and single calls. Each call costs
        // a few KiB, so that all are below 100 MiB.
        Self { rate, at_once: 384, whole: 16_384 }
    }
}

/// Lets calls in; cheap to clone.
#[derive(Debug, Clone)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Bounds,
    conduct: Conduct,
    counts: ConnectionCounts,
    // Held for a look-up and a count, never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    strikes: Strikes<CallerKey>,
    running: HashMap<CallerKey, usize>,
    whole: usize,
    waiting: usize,
}

/// A call that was let in; its place is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    door: Door,
    caller: CallerKey,
    counts: bool,
}

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Rate,
    Caller,
    Whole,
}

/// A call that is not let in, to be kept until it is told.
#[derive(Debug)]
pub struct Refused {
    door: Door,
    why: Why,
    retry_after: Duration,
    waits: bool,
}

impl Default for Door {
    fn default() -> Self {
        Self::new(Bounds::default())
    }
}

impl Door {
    /// With nobody known.
    pub fn new(bounds: Bounds) -> Self {
        Self::beside(Conduct::default(), ConnectionCounts::default(), bounds)
    }

    /// The same; connections of that conduct hear of who is muted, and what is refused is counted there.
    pub(in crate::net) fn beside(conduct: Conduct, counts: ConnectionCounts, bounds: Bounds) -> Self {
        let state =
            State { strikes: Strikes::new(bounds.rate), running: HashMap::new(), whole: 0, waiting: 0 };
        Self(Arc::new(Inner { bounds, conduct, counts, state: Mutex::new(state) }))
    }

    pub(super) fn enter(&self, caller: CallerKey, path: &str, now: Instant) -> Result<Place, Refused> {
        let bounds = &self.0.bounds;
        let mut state = self.lock();
        let before = state.strikes.tally();
        if let Hearing::Refuse { retry_after } = state.strikes.hear(caller, now) {
            let given = state.strikes.tally();
            self.0.counts.at_door(|calls| {
                calls.rate_strikes += given.strikes - before.strikes;
                calls.mutes += given.mutes - before.mutes;
            });
            self.silence(caller, retry_after, now);
            return Err(self.refused(&mut state, Why::Rate, retry_after));
        }
        if path == SESSION_PATH {
            return Ok(Place { door: self.clone(), caller, counts: false });
        }
        if state.whole >= bounds.whole {
            return Err(self.refused(&mut state, Why::Whole, RETRY_AFTER));
        }
        let running = state.running.entry(caller).or_default();
        if *running >= bounds.at_once {
            return Err(self.refused(&mut state, Why::Caller, RETRY_AFTER));
        }
        *running += 1;
        state.whole += 1;
        Ok(Place { door: self.clone(), caller, counts: true })
    }

    /// Of a mute its connections hear as well: to refuse calls one by one, after reading them, is what a flood wants.
    fn silence(&self, caller: CallerKey, retry_after: Duration, now: Instant) {
        // Less is no mute, or the rest of one that they have heard of.
        if retry_after >= self.0.bounds.rate.first_mute {
            self.0.conduct.silence(caller, retry_after, now);
        }
    }

    fn refused(&self, state: &mut State, why: Why, retry_after: Duration) -> Refused {
        self.0.counts.at_door(|calls| match why {
            Why::Rate => calls.refused_rate += 1,
            Why::Caller => calls.refused_caller += 1,
            Why::Whole => calls.refused_whole += 1,
        });
        let waits = state.waiting < MOST_WAITING;
        state.waiting += usize::from(waits);
        Refused { door: self.clone(), why, retry_after, waits }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    pub(super) fn why(&self) -> Why {
        self.why
    }

    /// When to come again.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// How much later it is to be told.
    pub fn pause(&self) -> Duration {
        if self.waits { self.retry_after.clamp(LEAST_PAUSE, MOST_PAUSE) } else { Duration::ZERO }
    }
}

impl Drop for Refused {
    fn drop(&mut self) {
        if self.waits {
            self.door.lock().waiting -= 1;
        }
    }
}

impl Place {
    /// The call made no sense.
    pub(super) fn on_nonsense(&self, now: Instant) {
        let mut state = self.door.lock();
        let before = state.strikes.tally();
        let mutes = (0..NONSENSE_STRIKES).map(|_| state.strikes.strike(self.caller, now));
        let mute = mutes.max().unwrap_or_default();
        let given = state.strikes.tally();
        drop(state);
        self.door.0.counts.at_door(|calls| {
            calls.nonsense_strikes += given.strikes - before.strikes;
            calls.mutes += given.mutes - before.mutes;
        });
        self.door.silence(self.caller, mute, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        let mut state = self.door.lock();
        state.whole -= 1;
        if let Some(running) = state.running.get_mut(&self.caller) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{caller::Caller, counts::Calls};

    const BROWSE: &str = "/floodplain.v1.PeerService/Browse";

    fn bounds(at_once: usize, whole: usize) -> Bounds {
        Bounds { at_once, whole, ..Bounds::default() }
    }

    fn key(port: u16) -> CallerKey {
        Caller::at(Some(([127, 0, 0, 1], port).into())).key()
    }

    #[test]
    fn one_caller_has_its_part_and_all_have_the_whole() {
        let (door, now) = (Door::new(bounds(2, 3)), Instant::now());
        let enter = |caller| door.enter(key(caller), BROWSE, now);
        let first = enter(1).expect("room");
        let _second = enter(1).expect("room");
        assert_eq!(enter(1).expect_err("its part").why(), Why::Caller);
        let _third = enter(2).expect("room");
        assert_eq!(enter(3).expect_err("the whole").why(), Why::Whole);
        let told = Calls { refused_caller: 1, refused_whole: 1, ..Calls::default() };
        assert_eq!(door.0.counts.calls(), told);
        drop(first);
        let _fourth = enter(3).expect("room again");
        assert_eq!(door.lock().running.len(), 3);
    }

    #[test]
    fn sessions_take_no_place_and_nothing_is_left_of_calls_that_ended() {
        let (door, now) = (Door::new(bounds(1, 1)), Instant::now());
        let sessions: Vec<_> =
            (0..9).map(|_| door.enter(key(1), SESSION_PATH, now).expect("no place is needed")).collect();
        drop(door.enter(key(1), BROWSE, now).expect("room"));
        drop(door.enter(key(1), BROWSE, now).expect("room again"));
        drop(sessions);
        let state = door.lock();
        assert_eq!((state.whole, state.running.len(), state.waiting), (0, 0, 0));
    }

    #[test]
    fn who_sends_nonsense_is_muted_after_a_few_and_read_no_more_meanwhile() {
        let (conduct, now) = (Conduct::default(), Instant::now());
        let counts = ConnectionCounts::default();
        let door = Door::beside(conduct.clone(), counts.clone(), Bounds::default());
        let rate = Bounds::default().rate;
        let caller = Caller::at(Some(([127, 0, 0, 1], 1).into()));
        let bond = conduct.connect(&caller).expect("room");
        let place = door.enter(caller.key(), BROWSE, now).expect("room");
        for _ in 1..rate.strikes.get() / NONSENSE_STRIKES {
            place.on_nonsense(now);
            assert!(door.enter(caller.key(), BROWSE, now).is_ok() && bond.silent_until().is_none());
        }
        place.on_nonsense(now);
        assert!(door.enter(caller.key(), BROWSE, now).is_err());
        assert!(bond.silent_until().is_some_and(|until| until >= now + rate.first_mute));
        let strikes = u64::from(rate.strikes.get());
        let told = Calls { nonsense_strikes: strikes, mutes: 1, refused_rate: 1, ..Calls::default() };
        assert_eq!(counts.calls(), told);
        assert!(door.enter(key(2), BROWSE, now).is_ok());
    }

    #[test]
    fn who_is_muted_for_its_rate_is_read_no_more_meanwhile_and_who_is_only_early_is() {
        let (conduct, now) = (Conduct::default(), Instant::now());
        let counts = ConnectionCounts::default();
        let door = Door::beside(conduct.clone(), counts.clone(), Bounds::default());
        let rate = Bounds::default().rate;
        let caller = Caller::at(Some(([127, 0, 0, 1], 1).into()));
        let bond = conduct.connect(&caller).expect("room");
        for _ in 0..rate.burst + rate.strikes.get() - 1 {
            let _ = door.enter(caller.key(), BROWSE, now);
        }
        assert!(bond.silent_until().is_none());
        assert!(door.enter(caller.key(), BROWSE, now).is_err());
        assert!(bond.silent_until().is_some());
        let strikes = u64::from(rate.strikes.get());
        let told = Calls { rate_strikes: strikes, mutes: 1, refused_rate: strikes, ..Calls::default() };
        assert_eq!(counts.calls(), told);
    }

    #[test]
    fn who_goes_on_above_the_rate_is_muted_and_nobody_else() {
        let (door, now) = (Door::default(), Instant::now());
        let rate = Bounds::default().rate;
        let mut refused = 0;
        for _ in 0..rate.burst + rate.strikes.get() {
            refused += u32::from(door.enter(key(1), BROWSE, now).is_err());
        }
        assert_eq!(refused, rate.strikes.get());
        let muted = door.enter(key(1), BROWSE, now + rate.first_mute / 2).expect_err("muted");
        assert_eq!((muted.why(), muted.retry_after()), (Why::Rate, rate.first_mute / 2));
        assert!(muted.pause() >= LEAST_PAUSE);
        assert!(door.enter(key(2), BROWSE, now).is_ok());
        assert!(door.enter(key(1), BROWSE, now + rate.first_mute).is_ok());
    }
}
