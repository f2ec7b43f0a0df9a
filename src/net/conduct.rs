//! Who behaves badly, as the connections and the calls of one listener tell each other.
//!
//! Invariant: a caller that is silenced is read on none of its connections until that is over, however many it opens. The host
//! of one that proved no id gets no new one meanwhile, but this machine does; what is remembered is bounded by the connections and
//! [`MOST_HOSTS`].

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::caller::{Caller, CallerKey};

/// Connections of one peer at once, wherever they come from; two peers have a few between them, and some that are just ending. Each may hold a whole window of
/// bytes that nobody reads (4 MiB), and a frame.
pub(super) const MAX_PER_PEER: usize = 32;
/// Hosts that get no connection for now; with more the rest does.
const MOST_HOSTS: usize = 1024;

/// Of one listener; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Conduct(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    // Held for a look-up, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    callers: HashMap<CallerKey, Known>,
    /// Until when.
    hosts: HashMap<IpAddr, Instant>,
}

#[derive(Debug)]
struct Known {
    connections: usize,
    /// The last that it came from; `None` is this machine.
    host: Option<IpAddr>,
    silence: Arc<AtomicU64>,
}

/// A connection of a caller; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Bond {
    conduct: Conduct,
    key: CallerKey,
    /// In nanoseconds after the listener began; 0 is none.
    silence: Arc<AtomicU64>,
}

impl Default for Conduct {
    fn default() -> Self {
        Self(Arc::new(Inner { began: Instant::now(), state: Mutex::default() }))
    }
}

impl Conduct {
    /// A connection of that caller; `None` when it is a peer that has enough of them.
    pub(super) fn connect(&self, caller: &Caller) -> Option<Bond> {
        let key = caller.key();
        let mut state = self.lock();
        let known = state.callers.entry(key).or_insert_with(|| Known {
            connections: 0,
            host: None,
            silence: Arc::default(),
        });
        if caller.peer().is_some() && known.connections >= MAX_PER_PEER {
            return None;
        }
        known.connections += 1;
        // Who proved its id is bounded by that; others may share its address.
        known.host = caller.ip().filter(|ip| caller.peer().is_none() && !ip.is_loopback());
        Some(Bond { conduct: self.clone(), key, silence: known.silence.clone() })
    }

    /// Nothing of that caller is read for so long.
    pub(super) fn silence(&self, key: CallerKey, lasts: Duration, now: Instant) {
        let mut state = self.lock();
        let Some(known) = state.callers.get(&key) else { return };
        let until = now + lasts;
        let nanos = until.saturating_duration_since(self.0.began).as_nanos();
        known.silence.fetch_max(u64::try_from(nanos).unwrap_or(u64::MAX), Relaxed);
        let Some(host) = known.host else { return };
        if state.hosts.len() >= MOST_HOSTS {
            state.hosts.retain(|_, until| *until > now);
        }
        if state.hosts.len() < MOST_HOSTS {
            let known = state.hosts.entry(host).or_insert(until);
            *known = until.max(*known);
        }
    }

    /// New connections of that host are not for now.
    pub(super) fn is_refused(&self, host: IpAddr, now: Instant) -> bool {
        self.lock().hosts.get(&host).is_some_and(|until| *until > now)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bond {
    /// When the connection may be read again; `None` is now.
    pub(super) fn silent_until(&self) -> Option<Instant> {
        let nanos = self.silence.load(Relaxed);
        if nanos == 0 {
            return None;
        }
        let until = self.conduct.0.began + Duration::from_nanos(nanos);
        if until > Instant::now() {
            return Some(until);
        }
        // One that was set meanwhile stays.
        let _ = self.silence.compare_exchange(nanos, 0, Relaxed, Relaxed);
        None
    }
}

impl Drop for Bond {
    fn drop(&mut self) {
        let mut state = self.conduct.lock();
        if let Some(known) = state.callers.get_mut(&self.key) {
            known.connections -= 1;
            if known.connections == 0 {
                state.callers.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::caller::Standing, protocol::id::PeerId};

    const SECOND: Duration = Duration::from_secs(1);

    fn member(number: u8, address: &str) -> Caller {
        let peer = PeerId::from_bytes([number; 32]);
        Caller::new(Some(address.parse().expect("an address")), Standing::Member { peer, zone: None })
    }

    #[test]
    fn a_silenced_peer_is_silent_on_all_its_connections_and_others_of_its_host_are_heard() {
        let (conduct, now) = (Conduct::default(), Instant::now());
        let (bad, good) = (member(1, "10.0.0.1:1"), member(2, "10.0.0.2:1"));
        let first = conduct.connect(&bad).expect("room");
        let second = conduct.connect(&bad).expect("room");
        let other = conduct.connect(&good).expect("room");
        conduct.silence(bad.key(), 60 * SECOND, now);
        conduct.silence(bad.key(), SECOND, now);
        let third = conduct.connect(&bad).expect("room");
        for silent in [&first, &second, &third] {
            assert!(silent.silent_until().is_some_and(|until| until > now + 50 * SECOND));
        }
        assert!(other.silent_until().is_none());
        assert!(!conduct.is_refused(bad.ip().expect("one"), now), "others may be behind that address");
        drop((first, second, third, other));
        assert!(conduct.lock().callers.is_empty());
    }

    #[test]
    fn the_host_of_a_silenced_stranger_gets_no_new_connection_until_it_is_over() {
        let (conduct, now) = (Conduct::default(), Instant::now());
        let host = |last| IpAddr::from([10, 0, 0, last]);
        let bad = Caller::at(Some((host(1), 1).into()));
        let _bond = conduct.connect(&bad).expect("room");
        conduct.silence(bad.key(), 60 * SECOND, now);
        assert!(conduct.is_refused(host(1), now) && !conduct.is_refused(host(2), now));
        assert!(!conduct.is_refused(host(1), now + 60 * SECOND));
    }

    #[test]
    fn this_machine_is_never_refused_and_a_silence_that_is_over_is_none() {
        let (conduct, now) = (Conduct::default(), Instant::now());
        let local = Caller::at(Some("127.0.0.1:1".parse().expect("an address")));
        let bond = conduct.connect(&local).expect("room");
        conduct.silence(local.key(), Duration::from_nanos(1), now);
        while Instant::now() <= now + Duration::from_nanos(1) {}
        assert!(bond.silent_until().is_none());
        conduct.silence(local.key(), 60 * SECOND, now);
        assert!(bond.silent_until().is_some());
        assert!(!conduct.is_refused(local.ip().expect("one"), now));
    }

    #[test]
    fn a_peer_has_no_more_connections_than_its_bound_and_others_have_theirs() {
        let conduct = Conduct::default();
        let mut held: Vec<Bond> =
            (0..MAX_PER_PEER).filter_map(|_| conduct.connect(&member(1, "10.0.0.1:1"))).collect();
        assert_eq!(held.len(), MAX_PER_PEER);
        assert!(conduct.connect(&member(1, "10.0.0.9:1")).is_none(), "wherever it comes from");
        assert!(conduct.connect(&member(2, "10.0.0.1:1")).is_some());
        held.pop();
        assert!(conduct.connect(&member(1, "10.0.0.1:1")).is_some());
    }

    #[test]
    fn the_hosts_that_are_refused_are_bounded() {
        let (conduct, now) = (Conduct::default(), Instant::now());
        for number in 0..2 * u32::try_from(MOST_HOSTS).expect("fits") {
            let caller = Caller::at(Some((IpAddr::from((167_772_160 + number).to_be_bytes()), 1).into()));
            let _bond = conduct.connect(&caller).expect("room");
            conduct.silence(caller.key(), SECOND, now);
        }
        assert_eq!(conduct.lock().hosts.len(), MOST_HOSTS);
        let caller = Caller::at(Some("10.9.9.9:1".parse().expect("an address")));
        let _bond = conduct.connect(&caller).expect("room");
        conduct.silence(caller.key(), SECOND, now + SECOND);
        assert_eq!(conduct.lock().hosts.len(), 1, "those of the past are forgotten");
    }
}
