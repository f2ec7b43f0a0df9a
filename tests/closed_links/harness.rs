//! Networks, daemons and callers for the tests of links.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use floodplain::{
    net::{Authority, Caller, Identity, PrivateKey, Purpose, Security, To, Transport, Trust, guard::Scope},
    protocol::{
        id::{PeerId, ZoneId},
        trust::Credentials,
    },
    shutdown::Shutdown,
};
use futures::FutureExt;
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use tonic::{
    Code, Request, Status, Streaming,
    service::{Routes, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

/// Longest that anything awaited here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn zone(number: u32) -> Option<ZoneId> {
    ZoneId::new(number)
}

/// A network: its authority.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) authority: Authority,
}

impl Network {
    pub(crate) fn found() -> Self {
        Self { authority: Authority::generate().expect("an authority") }
    }

    /// The same network with another authority.
    pub(crate) fn next_authority(&self) -> Self {
        let key = PrivateKey::generate().expect("a key");
        Self { authority: Authority::from_key(key, self.authority.network()) }
    }

    /// A new peer. With no lifetime its certificate has run out an hour ago.
    pub(crate) fn peer(&self, zone: Option<ZoneId>, lifetime: Duration) -> Trust {
        let key = PrivateKey::generate().expect("a key");
        let (network, public) = (self.authority.network(), key.public());
        let (certificate, not_after) = if lifetime.is_zero() {
            self.certify_late(&key)
        } else {
            self.authority.certify_peer(&public, network, zone, lifetime).expect("signed")
        };
        let authorities = vec![self.authority.public()];
        Trust::new(key, Credentials { certificate, authorities, network, not_after }).expect("credentials")
    }

    /// The registry.
    pub(crate) fn registry(&self, lifetime: Duration) -> Trust {
        let key = PrivateKey::generate().expect("a key");
        let network = self.authority.network();
        let (certificate, not_after) =
            self.authority.certify_registry(&key.public(), network, lifetime).expect("signed");
        let authorities = vec![self.authority.public()];
        Trust::new(key, Credentials { certificate, authorities, network, not_after }).expect("credentials")
    }

    /// What a peer would get at a renewal.
    pub(crate) fn credentials(&self, peer: &Trust, zone: Option<ZoneId>, lifetime: Duration) -> Credentials {
        let (network, key) = (self.authority.network(), peer.key().public());
        let (certificate, not_after) =
            self.authority.certify_peer(&key, network, zone, lifetime).expect("signed");
        Credentials { certificate, authorities: vec![self.authority.public()], network, not_after }
    }

    fn certify_late(&self, key: &PrivateKey) -> (Vec<u8>, SystemTime) {
        let network = self.authority.network();
        let mut leaf =
            CertificateParams::new(vec![network.peer_name(&key.public().peer_id())]).expect("a name");
        leaf.distinguished_name = DistinguishedName::new();
        let now = time::OffsetDateTime::now_utc();
        (leaf.not_before, leaf.not_after) = (now - 2 * DAY, now - DAY / 24);
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = DistinguishedName::new();
        issuer.distinguished_name.push(DnType::CommonName, network.to_string());
        let pair = |key: &PrivateKey| KeyPair::from_pem(&key.to_pem()).expect("a key");
        let issuer = Issuer::new(issuer, pair(self.authority.key()));
        let certificate = leaf.signed_by(&pair(key), &issuer).expect("signed");
        (certificate.der().to_vec(), SystemTime::now() - DAY / 24)
    }
}

/// Who is of the zone beside those whose certificate says so.
#[derive(Debug)]
struct Zone {
    zone: Option<ZoneId>,
    members: Vec<PeerId>,
}

impl Scope for Zone {
    fn is_of_zone(&self, caller: &Caller) -> bool {
        (caller.zone().is_some() && caller.zone() == self.zone)
            || caller.peer().is_some_and(|peer| self.members.contains(&peer))
    }
}

/// Something that serves health behind the real listener and its guard, and nothing else: what else a caller may call is
/// unimplemented, what it may not is refused.
#[derive(Debug)]
pub(crate) struct Daemon {
    trust: Option<Trust>,
    address: SocketAddr,
    callers: Arc<Mutex<Vec<Caller>>>,
    shutdown: Shutdown,
}

impl Daemon {
    /// Of zone 1.
    pub(crate) async fn start(trust: Trust, members: Vec<PeerId>) -> Self {
        Self::begin(Some(trust), members).await
    }

    pub(crate) async fn start_plain() -> Self {
        Self::begin(None, vec![]).await
    }

    async fn begin(trust: Option<Trust>, members: Vec<PeerId>) -> Self {
        let security = trust.clone().map_or(Security::PlaintextLoopback, Security::Closed);
        let transport = Transport::new(Identity::ephemeral(), security);
        let shutdown = Shutdown::new();
        let listener = transport.listen(([127, 0, 0, 1], 0).into()).await.expect("a port");
        let address = listener.address();
        let (_, health) = tonic_health::server::health_reporter();
        let callers = Arc::<Mutex<Vec<Caller>>>::default();
        let called = callers.clone();
        let health = InterceptedService::new(health, move |request: Request<()>| {
            called.lock().expect("no panic").push(Caller::of(request.extensions()));
            Ok::<_, Status>(request)
        });
        let scope = Arc::new(Zone { zone: zone(1), members });
        let served = transport.serve(listener, Routes::new(health), Some(scope), &shutdown);
        drop(shutdown.spawn("serve", served));
        Self { trust, address, callers, shutdown }
    }

    pub(crate) fn trust(&self) -> &Trust {
        self.trust.as_ref().expect("a closed one")
    }

    pub(crate) fn to(&self) -> To {
        let peer = self.trust.as_ref().map(|trust| trust.key().public().peer_id());
        To { address: self.address, peer: peer.unwrap_or(PeerId::from_bytes([0; 32])) }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Who called last, of those that the guard let pass.
    pub(crate) fn last_caller(&self) -> Option<Caller> {
        self.callers.lock().expect("no panic").last().copied()
    }

    pub(crate) fn calls(&self) -> usize {
        self.callers.lock().expect("no panic").len()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

pub(crate) fn transport(trust: &Trust) -> Transport {
    Transport::new(Identity::ephemeral(), Security::Closed(trust.clone()))
}

/// Over a connection of its own. `Unavailable` stands for every connection that did not come about or was ended.
pub(crate) async fn ask_health(caller: &Trust, to: To) -> Result<(), Code> {
    let asked = async {
        let Ok(channel) = transport(caller).dial(to, Purpose::Link).await else {
            return Err(Code::Unavailable);
        };
        ask_health_over(channel).await
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("no caller hangs")
}

pub(crate) async fn ask_health_over(channel: Channel) -> Result<(), Code> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.map(drop).map_err(|status| match status.code() {
        Code::Unknown | Code::Internal | Code::Cancelled => Code::Unavailable,
        code => code,
    })
}

/// A stream that stays open until somebody ends it.
#[derive(Debug)]
pub(crate) struct Open(Streaming<HealthCheckResponse>);

pub(crate) async fn watch_health(caller: &Trust, to: To) -> Open {
    let channel = transport(caller).dial(to, Purpose::Link).await.expect("connected");
    let stream = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.expect("a stream");
    let mut stream = stream.into_inner();
    stream.message().await.expect("no error").expect("the first word");
    Open(stream)
}

impl Open {
    pub(crate) fn is_open(&mut self) -> bool {
        self.0.message().now_or_never().is_none()
    }
}

pub(crate) async fn until_ended(stream: &mut Open) {
    let ended = async { while let Ok(Some(_)) = stream.0.message().await {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
}
