//! Proof that a peer is where it says: the registry dials the address, and whoever answers has to prove the peer's id.
//!
//! Invariant: no address gets into a roster of a closed network, and so is dialed by others, that did not answer as that peer
//! within the last lease.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;
use tokio::sync::Semaphore;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::state::MAX_PEERS;
use crate::{
    net::{Purpose, To, Transport},
    protocol::id::PeerId,
};

/// For the connection and the handshake; a machine that is switched off does not answer at all.
const DIAL_WITHIN: Duration = Duration::from_secs(3);
/// Dials at once: a class that is switched on comes in a few seconds, and a registry is no means to flood anyone.
const DIALS_AT_ONCE: usize = 64;
/// How long one waits for its turn before it is told to come back.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// Proofs that are remembered; one for each peer that can be here. The oldest gives way.
const MAX_PROVEN: NonZeroUsize = NonZeroUsize::new(MAX_PEERS).expect("not zero");

/// Dials peers back.
#[derive(Debug)]
pub(super) struct Reach {
    transport: Transport,
    turns: Semaphore,
    // Held for a look-up, never across an await.
    proven: Mutex<LruCache<(PeerId, SocketAddr), Instant>>,
    lease: Duration,
}

impl Reach {
    pub(super) fn new(transport: Transport, lease: Duration) -> Self {
        // Unbounded at first, so that an empty one takes no room.
        let mut proven = LruCache::unbounded();
        proven.resize(MAX_PROVEN);
        Self { transport, turns: Semaphore::new(DIALS_AT_ONCE), proven: Mutex::new(proven), lease }
    }

    /// The peer is reached at the address.
    pub(super) async fn check(&self, peer: PeerId, address: SocketAddr) -> Result<(), Status> {
        if self.is_proven(peer, address) {
            return Ok(());
        }
        self.dial_back(peer, address).await
    }

    /// As [`Self::check`], whatever was proven before.
    pub(super) async fn dial_back(&self, peer: PeerId, address: SocketAddr) -> Result<(), Status> {
        let turn = tokio::time::timeout(TURN_WITHIN, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
            let text = "too many peers come at once; connect again";
            return Err(Status::with_error_details(Code::Unavailable, text, details));
        };
        let dialed = self.transport.dial(To { address, peer }, Purpose::Link);
        let problem = match tokio::time::timeout(DIAL_WITHIN, dialed).await {
            Ok(Ok(_proven)) => {
                self.proven
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .put((peer, address), Instant::now());
                return Ok(());
            }
            Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::debug!(%peer, %address, problem, "a peer is not where it says");
        let text = format!(
            "nobody at {address} proves to be this peer; open the port in the firewall, or set FLOODPLAIN_ADVERTISE to an address that leads to it"
        );
        let details = ErrorDetails::with_precondition_failure_violation("REACHABLE", "peer.address", &*text);
        Err(Status::with_error_details(Code::FailedPrecondition, text, details))
    }

    fn is_proven(&self, peer: PeerId, address: SocketAddr) -> bool {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        proven.get(&(peer, address)).is_some_and(|at| at.elapsed() < self.lease)
    }
}
