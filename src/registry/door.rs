//! What every registration passes, over a session or not, before the state sees it: who it is, how often it comes, and, in a
//! closed network, that it is a member, that its name is its own, and that it is where it says.

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    closed::Closed,
    reach::Reach,
    refusal::{check_caller, check_source, not_admitted, refused},
    session::Hub,
    state::Refusal,
};
use crate::{
    net::Caller,
    protocol::{
        id::PeerId,
        membership::Registration,
        rate::{Rate, Rates, TooOften},
    },
};

/// Registrations of one peer: one that was cut off comes back a few times in a row, and never each second for long.
const REGISTRATIONS: Rate = Rate { burst: 20, interval: Duration::from_secs(1) };

/// The way in.
#[derive(Debug)]
pub(super) struct Door {
    // Held for a look-up, never across an await.
    rates: Mutex<Rates<PeerId>>,
    closed: Option<(Arc<Closed>, Reach)>,
    hub: Arc<Hub>,
}

impl Door {
    pub(super) fn new(hub: Arc<Hub>, closed: Option<(Arc<Closed>, Reach)>) -> Self {
        Self { rates: Mutex::new(Rates::new(REGISTRATIONS)), closed, hub }
    }

    /// The authority, in a closed network.
    pub(super) fn closed(&self) -> Option<&Arc<Closed>> {
        self.closed.as_ref().map(|(closed, _)| closed)
    }

    /// The registration may go on to the state.
    pub(super) async fn admit(&self, registration: &Registration, caller: &Caller) -> Result<(), Status> {
        let admitted = self.check(registration, caller).await;
        if admitted.is_err() {
            self.hub.counts().refused.add_one();
        }
        admitted
    }

    async fn check(&self, registration: &Registration, caller: &Caller) -> Result<(), Status> {
        check_caller(registration, caller)?;
        let (peer, member) = (registration.member.id, &registration.member);
        // Only who proves the id counts against it.
        if registration.credential.is_some_and(|credential| credential.peer_id() != peer) {
            return Err(refused(&Refusal::WrongCredential));
        }
        self.count(peer)?;
        let Some((closed, reach)) = &self.closed else { return Ok(()) };
        closed.check_told(&peer).map_err(|refusal| not_admitted(&refusal))?;
        reach.check(peer, member.address).await?;
        let zone = closed.pin_name(&peer, &member.name).await.map_err(|refusal| not_admitted(&refusal))?;
        // Of an authority that came meanwhile it knows nothing, and those who renew would be strangers to it. Should it have been
        // shut out, the hub knows.
        closed.check_told(&peer).map_err(|refusal| not_admitted(&refusal))?;
        self.hub.pin(peer, zone);
        Ok(())
    }

    /// The caller is a member and would be found at the address, as [`Self::admit`] would have it.
    pub(super) async fn check_reach(&self, address: SocketAddr, caller: &Caller) -> Result<(), Status> {
        check_source(address, caller.address())?;
        let (Some((closed, reach)), Some(peer)) = (&self.closed, caller.peer()) else { return Ok(()) };
        self.count(peer)?;
        closed.check_told(&peer).map_err(|refusal| not_admitted(&refusal))?;
        reach.dial_back(peer, address).await
    }

    fn count(&self, peer: PeerId) -> Result<(), Status> {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(peer, Instant::now()).map_err(too_often)
    }

    /// The certificate of a peer that was let in is to be renewed now.
    pub(super) fn is_renewal_due(&self, peer: &PeerId) -> bool {
        self.closed().is_some_and(|closed| closed.is_behind(peer))
    }
}

/// The refusal of one who comes too often.
pub(super) fn too_often(refusal: TooOften) -> Status {
    let details = ErrorDetails::with_retry_info(Some(refusal.after));
    Status::with_error_details(Code::Unavailable, refusal.to_string(), details)
}
