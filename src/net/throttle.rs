//! Rate limits of transfers: all of one direction together, and each other peer by itself.
//!
//! Invariant: without a limit nothing is locked or counted; with one, the memory is that of the peers that moved bytes
//! within the last moments.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::{Instant, sleep};

use crate::protocol::bucket::{Bucket, RateLimits};

/// Peers are forgotten when so many are counted, and whenever they are twice those that were left then.
const SWEEP_AT: usize = 64;

/// Makes bytes wait until their limits let them pass; cheap to clone. The default lets everything pass.
///
/// Own code instead of the `governor` crate: that counts cells of a rate of at most 2^32 - 1 a second, refuses more at
/// once than its burst, and waits by a timer of its own, beside the runtime's clock.
#[derive(Debug)]
pub struct Throttle<K>(Option<Arc<Inner<K>>>);

#[derive(Debug)]
struct Inner<K> {
    whole: Option<Mutex<Bucket>>,
    per_peer: Option<(NonZeroU64, Mutex<Peers<K>>)>,
}

#[derive(Debug)]
struct Peers<K> {
    buckets: HashMap<K, Bucket>,
    sweep_at: usize,
}

impl<K> Clone for Throttle<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Throttle<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Eq + Hash> Throttle<K> {
    /// With these limits.
    pub fn new(limits: RateLimits) -> Self {
        let whole = NonZeroU64::new(limits.whole).map(|rate| Mutex::new(Bucket::new(rate)));
        let peers = || Mutex::new(Peers { buckets: HashMap::new(), sweep_at: SWEEP_AT });
        let per_peer = NonZeroU64::new(limits.per_peer).map(|rate| (rate, peers()));
        Self((whole.is_some() || per_peer.is_some()).then(|| Arc::new(Inner { whole, per_peer })))
    }

    /// Waits until so many bytes of that peer may move. Dropped before, they count all the same.
    pub async fn pass(&self, peer: K, bytes: u64) {
        let Some(inner) = &self.0 else { return };
        // One after the other: what the peer's own limit holds back takes nothing from the others meanwhile.
        if let Some((rate, peers)) = &inner.per_peer {
            let now = Instant::now();
            let wait = {
                let mut peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
                peers.sweep(now);
                peers.buckets.entry(peer).or_insert_with(|| Bucket::new(*rate)).take(now.into_std(), bytes)
            };
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
        if let Some(whole) = &inner.whole {
            let now = Instant::now().into_std();
            let wait = whole.lock().unwrap_or_else(PoisonError::into_inner).take(now, bytes);
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
    }
}

impl<K: Eq + Hash> Peers<K> {
    fn sweep(&mut self, now: Instant) {
        if self.buckets.len() >= self.sweep_at {
            self.buckets.retain(|_, bucket| !bucket.is_even(now.into_std()));
            self.sweep_at = (2 * self.buckets.len()).max(SWEEP_AT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// Bytes that so many tasks of each peer move within ten seconds, by peer.
    async fn moved(limits: RateLimits, tasks: &[u8]) -> HashMap<u8, u64> {
        let (throttle, moved) = (Throttle::new(limits), Arc::new(Mutex::new(HashMap::new())));
        let running: Vec<_> = tasks
            .iter()
            .map(|&peer| {
                let (throttle, moved) = (throttle.clone(), moved.clone());
                tokio::spawn(async move {
                    loop {
                        throttle.pass(peer, MIB / 16).await;
                        *moved.lock().unwrap().entry(peer).or_default() += MIB / 16;
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        sleep(Duration::from_secs(10)).await;
        running.iter().for_each(tokio::task::JoinHandle::abort);
        std::mem::take(&mut *moved.lock().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_is_shared_equally_and_used_up() {
        let moved = moved(RateLimits { whole: MIB, per_peer: 0 }, &[1, 2]).await;
        for peer in [1, 2] {
            assert!((4 * MIB..6 * MIB).contains(&moved[&peer]), "{moved:?}");
        }
        assert!((10 * MIB..=11 * MIB).contains(&(moved[&1] + moved[&2])), "{moved:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_one_limit_however_many_streams_it_has() {
        let moved = moved(RateLimits { whole: 3 * MIB, per_peer: MIB }, &[1, 1, 1, 2]).await;
        for peer in [1, 2] {
            assert!((9 * MIB..=11 * MIB).contains(&moved[&peer]), "{moved:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_is_kept() {
        assert!(Throttle::<u8>::new(RateLimits::default()).0.is_none());
        tokio::time::timeout(Duration::ZERO, Throttle::default().pass(1, u64::MAX)).await.expect("at once");
    }

    #[tokio::test(start_paused = true)]
    async fn peers_of_the_past_are_forgotten() {
        let throttle = Throttle::new(RateLimits { whole: 0, per_peer: MIB });
        for peer in 0..10_000 {
            throttle.pass(peer, 10 << 10).await;
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let (_, peers) = throttle.0.as_ref().unwrap().per_peer.as_ref().unwrap();
        assert!(peers.lock().unwrap().buckets.len() <= 2 * SWEEP_AT);
    }
}
