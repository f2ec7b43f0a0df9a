//! Who may call what: one layer before every handler.
//!
//! Invariant: in a closed network no handler runs for a caller who was shut out, who proved nothing, or who is not of the zone
//! that the method belongs to; what a caller is goes to the handler as a [`Caller`].

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::Either;
use tonic::{Status, body::Body};

use super::{
    Trust,
    caller::{Caller, Standing},
};

/// Also without a certificate.
const FOR_STRANGERS: [&str; 2] = ["/floodplain.v1.EnrollmentService/Enroll", "/grpc.health.v1.Health/Check"];
/// Also with a certificate that has run out.
const FOR_EXPIRED: [&str; 2] = ["/floodplain.v1.EnrollmentService/Renew", "/grpc.health.v1.Health/Check"];
/// For peers of the own zone. `Search` is as well, unless it is for more than a zone: the message tells that, so that
/// its handler asks [`Scope::admits`].
const FOR_ZONE: [&str; 2] = ["/floodplain.v1.PeerService/GetSummary", "/floodplain.v1.PeerService/GetKeys"];

/// Who is of the zone of the one who serves.
pub trait Scope: fmt::Debug + Send + Sync + 'static {
    /// By its certificate, or by what is known of the zone: a certificate may be older than a move.
    fn is_of_zone(&self, caller: &Caller) -> bool;

    /// It may call what belongs to the zone. Where nothing is proven, anybody may.
    fn admits(&self, caller: &Caller) -> bool {
        caller.standing() == Standing::Plain || self.is_of_zone(caller)
    }
}

/// Who may call what at one daemon.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    trust: Option<Trust>,
    scope: Option<Arc<dyn Scope>>,
}

impl Guard {
    /// Without `trust` nothing is proven and anybody may call anything. Without `scope` nothing belongs to a zone.
    pub(super) fn new(trust: Option<Trust>, scope: Option<Arc<dyn Scope>>) -> Self {
        Self { trust, scope }
    }

    fn check(&self, caller: &Caller, path: &str) -> Result<(), Status> {
        let Some(trust) = &self.trust else { return Ok(()) };
        if caller.peer().is_some_and(|peer| trust.is_denied(&peer)) {
            return Err(Status::permission_denied("this peer was shut out of the network"));
        }
        match caller.standing() {
            // Nothing comes over TLS unproven; what says so was not made by the accept loop.
            Standing::Plain => Err(Status::unauthenticated("nothing is known of the caller")),
            Standing::Stranger if FOR_STRANGERS.contains(&path) => Ok(()),
            Standing::Stranger => Err(Status::unauthenticated("show a certificate of this network")),
            Standing::Expired { .. } if FOR_EXPIRED.contains(&path) => Ok(()),
            Standing::Expired { .. } => Err(Status::unauthenticated("the certificate has run out; renew it")),
            Standing::Member { .. } if !FOR_ZONE.contains(&path) => Ok(()),
            Standing::Member { .. } => match &self.scope {
                Some(scope) if !scope.admits(caller) => Err(not_of_zone()),
                _ => Ok(()),
            },
        }
    }
}

/// The refusal of what belongs to the zone to a caller of another one.
pub fn not_of_zone() -> Status {
    Status::permission_denied("this is for peers of the same zone")
}

impl<S> tower::Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: self.clone(), inner }
    }
}

/// A service behind a guard.
#[derive(Debug, Clone)]
pub(super) struct Guarded<S> {
    guard: Guard,
    inner: S,
}

type Answer<E> = Result<http::Response<Body>, E>;

impl<S, B> tower::Service<http::Request<B>> for Guarded<S>
where
    S: tower::Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<Ready<Answer<Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match self.guard.check(&Caller::of(request.extensions()), request.uri().path()) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::*;
    use crate::{
        net::{Authority, PrivateKey},
        protocol::{
            id::{PeerId, ZoneId},
            trust::{Credentials, DenyList},
        },
    };

    #[derive(Debug)]
    struct OfZone(PeerId);

    impl Scope for OfZone {
        fn is_of_zone(&self, caller: &Caller) -> bool {
            caller.peer() == Some(self.0) || caller.zone() == ZoneId::new(1)
        }
    }

    fn trust() -> Trust {
        let (authority, key) = (Authority::generate().expect("made"), PrivateKey::generate().expect("a key"));
        let network = authority.network();
        let (certificate, not_after) =
            authority.certify_peer(&key.public(), network, None, Duration::from_secs(60)).expect("signed");
        let credentials =
            Credentials { certificate, authorities: vec![authority.public()], network, not_after };
        Trust::new(key, credentials).expect("good")
    }

    #[test]
    fn a_caller_may_call_what_its_standing_allows() {
        let [known, near, far, denied] = [1, 2, 3, 4].map(|n| PeerId::from_bytes([n; 32]));
        let trust = trust();
        trust.deny(DenyList::new(1, vec![denied]).expect("short"));
        let guard = Guard::new(Some(trust), Some(Arc::new(OfZone(known))));
        let member = |peer, zone| Standing::Member { peer, zone: ZoneId::new(zone) };
        let (enroll, health, renew) = (FOR_STRANGERS[0], FOR_STRANGERS[1], FOR_EXPIRED[0]);
        let (register, keys) = ("/floodplain.v1.RegistryService/Register", FOR_ZONE[1]);
        let told = |standing, path| {
            guard.check(&Caller::new(None, standing), path).map_or_else(|status| status.code(), |()| Code::Ok)
        };
        for (standing, path, code) in [
            (Standing::Stranger, enroll, Code::Ok),
            (Standing::Stranger, health, Code::Ok),
            (Standing::Stranger, renew, Code::Unauthenticated),
            (Standing::Stranger, register, Code::Unauthenticated),
            (Standing::Stranger, "/grpc.health.v1.Health/Watch", Code::Unauthenticated),
            (Standing::Expired { peer: far }, renew, Code::Ok),
            (Standing::Expired { peer: far }, enroll, Code::Unauthenticated),
            (Standing::Expired { peer: denied }, renew, Code::PermissionDenied),
            (Standing::Plain, enroll, Code::Unauthenticated),
            (member(far, 2), register, Code::Ok),
            (member(far, 2), keys, Code::PermissionDenied),
            (member(far, 0), keys, Code::PermissionDenied),
            (member(near, 1), keys, Code::Ok),
            (member(known, 2), keys, Code::Ok),
            (member(denied, 1), register, Code::PermissionDenied),
        ] {
            assert_eq!(told(standing, path), code, "{standing:?} {path}");
        }
    }
}
