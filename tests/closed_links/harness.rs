//! Networks, daemons and callers for the tests of links.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use floodplain::{
    net::{Authority, Caller, Identity, PrivateKey, Purpose, Security, To, Transport, Trust, guard::Scope},
    protocol::{
        id::{PeerId, ZoneId},
        trust::Credentials,
    },
    shutdown::Shutdown,
};
use futures::FutureExt;
use http_body::Frame;
use http_body_util::StreamBody;
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use tonic::{
    Code, Request, Status, Streaming,
    body::Body,
    server::NamedService,
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
    frames: Arc<AtomicUsize>,
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
        let frames = Arc::<AtomicUsize>::default();
        let routes = Routes::new(health).add_service(Endless(frames.clone()));
        let served = transport.serve(listener, routes, Some(scope), &shutdown);
        drop(shutdown.spawn("serve", served));
        Self { trust, address, callers, frames, shutdown }
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

    /// Waits until nothing more can be written of the answers that have no end.
    pub(crate) async fn until_stuck(&self) {
        const STILL: Duration = Duration::from_millis(200);
        let (mut frames, mut since) = (0, Instant::now());
        while frames == 0 || since.elapsed() < STILL {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let now = self.frames.load(Ordering::Relaxed);
            if now != frames {
                (frames, since) = (now, Instant::now());
            }
        }
    }

    /// Waits until no connection with that peer is open.
    pub(crate) async fn until_cut(&self, peer: &PeerId) {
        while self.trust().open_links(peer) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.callers.lock().expect("no panic").len()
    }
}

/// Answers every call with bytes without end, and counts them in frames.
#[derive(Debug, Clone)]
struct Endless(Arc<AtomicUsize>);

impl NamedService for Endless {
    const NAME: &'static str = "test.Endless";
}

impl tower::Service<http::Request<Body>> for Endless {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        const FRAME: &[u8] = &[0; 16 << 10];
        let frames = self.0.clone();
        let body = futures::stream::repeat_with(move || {
            frames.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(FRAME)))
        });
        let answer = http::Response::builder().header("content-type", "application/grpc");
        std::future::ready(Ok(answer.body(Body::new(StreamBody::new(body))).expect("a response")))
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
    watch_health_over(transport(caller).dial(to, Purpose::Link).await.expect("connected")).await
}

pub(crate) async fn watch_health_over(channel: Channel) -> Open {
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
