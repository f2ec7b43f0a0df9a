//! The gRPC face of the authority for peers: lets them in and renews them. Strangers call it: what costs the most comes last,
//! and nobody is heard too often.

use std::{
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Request, Response, Status};

use super::{closed::Closed, door::too_often, refusal::not_admitted, session::Hub};
use crate::{
    net::{Caller, CallerKey},
    protocol::{
        id::PeerId,
        rate::{Rate, Rates},
    },
    wire::{
        enrollment as wire,
        pb::{self, enrollment_service_server::EnrollmentService},
    },
};

/// Attempts of one host to be let in: a class behind one address is in within seconds. Guessing 128 bits is hopeless at any
/// rate; this keeps the signatures cheap.
const ENROLLMENTS: Rate = Rate { burst: 50, interval: Duration::from_millis(200) };
/// Renewals of one peer: one a day is due, and one with each move to another zone. Where certificates last for seconds only,
/// there may be four for each.
const RENEWALS: Rate = Rate { burst: 20, interval: Duration::from_secs(2) };

/// The service.
#[derive(Debug)]
pub(super) struct Enroll {
    closed: Arc<Closed>,
    hub: Arc<Hub>,
    // Held for a look-up, never across an await.
    enrollments: Mutex<Rates<CallerKey>>,
    renewals: Mutex<Rates<PeerId>>,
}

impl Enroll {
    pub(super) fn new(closed: Arc<Closed>, hub: Arc<Hub>) -> Self {
        let interval = RENEWALS.interval.min(closed.lifetime() / 4);
        let (enrollments, renewals) = (Rates::new(ENROLLMENTS), Rates::new(Rate { interval, ..RENEWALS }));
        Self { closed, hub, enrollments: Mutex::new(enrollments), renewals: Mutex::new(renewals) }
    }
}

#[tonic::async_trait]
impl EnrollmentService for Enroll {
    async fn enroll(
        &self,
        request: Request<pb::EnrollRequest>,
    ) -> Result<Response<pb::EnrollResponse>, Status> {
        take(&self.enrollments, Caller::of(request.extensions()).key())?;
        let asked = wire::enrollment(&request.into_inner())?;
        let credentials = self.closed.enroll(&asked).await.map_err(|refusal| not_admitted(&refusal))?;
        self.hub.counts().enrollments.add_one();
        Ok(Response::new(pb::EnrollResponse { credentials: Some(wire::to_credentials(&credentials)) }))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Result<Response<pb::RenewResponse>, Status> {
        let Some(peer) = Caller::of(request.extensions()).peer() else {
            return Err(Status::unauthenticated("show the certificate that is to be renewed"));
        };
        let key = wire::key("public_key", &request.into_inner().public_key)?;
        if key.peer_id() != peer {
            return Err(Status::permission_denied("a certificate is renewed for its own key only"));
        }
        take(&self.renewals, peer)?;
        let zone = self.hub.read(|state| state.zone_of(&peer));
        let credentials = self.closed.renew(&peer, zone).map_err(|refusal| not_admitted(&refusal))?;
        self.hub.counts().renewals.add_one();
        Ok(Response::new(pb::RenewResponse { credentials: Some(wire::to_credentials(&credentials)) }))
    }
}

fn take<K: Eq + Hash>(rates: &Mutex<Rates<K>>, key: K) -> Result<(), Status> {
    let mut rates = rates.lock().unwrap_or_else(PoisonError::into_inner);
    rates.take(key, Instant::now()).map_err(too_often)
}
