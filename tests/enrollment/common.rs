//! A real registry of a closed network on a port of the system's choice, and peers with keys and doors of their own.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use floodplain::{
    config::RegistrySettings,
    net::{Authority, Identity, PrivateKey, Purpose, Security, Transport, Trust, enroll},
    protocol::{
        id::PeerId,
        trust::{Credentials, NetworkId, invite::Invite},
        zone::Layout,
    },
    registry::{self, Running},
    shutdown::Shutdown,
    wire::{
        admin::InviteAsk,
        enrollment::{self, Enrollment},
        pb::{
            self, enrollment_service_client::EnrollmentServiceClient,
            registry_admin_service_client::RegistryAdminServiceClient,
            registry_service_client::RegistryServiceClient, session_request, session_response::Message,
        },
    },
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{net::UnixStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, service::Routes, transport::Channel};

pub const ELASTIC: Layout = Layout::Elastic { min: 6, target: 16, max: 24 };
/// Longer than anything here takes; a wait that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Registry {
    pub running: Running,
    shutdown: Shutdown,
    pub data: TempDir,
    settings: RegistrySettings,
}

impl Registry {
    pub async fn start(layout: Layout) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self::start_in(data, |settings| settings.layout = layout).await
    }

    pub async fn start_in(data: TempDir, change: impl FnOnce(&mut RegistrySettings)) -> Self {
        let mut settings = RegistrySettings {
            listen: ([127, 0, 0, 1], 0).into(),
            layout: ELASTIC,
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            data: data.path().join("registry"),
            http: floodplain::config::HttpSettings::default(),
            insecure_loopback: false,
            advertise: None,
            invite_file: None,
        };
        change(&mut settings);
        let shutdown = Shutdown::new();
        let running = registry::start(settings.clone(), shutdown.clone()).await.unwrap();
        Self { running, shutdown, data, settings }
    }

    /// Stops it and starts it again over the same folder, at the same port.
    pub async fn restart(self) -> Self {
        let listen = self.running.address();
        let settings = self.settings.clone();
        let data = self.stop().await;
        Self::start_in(data, |anew| *anew = RegistrySettings { listen, ..settings }).await
    }

    pub async fn stop(self) -> TempDir {
        assert!(self.shutdown.drain(PATIENCE).await, "the registry did not end");
        self.running.ended().await.unwrap();
        self.data
    }

    pub fn folder(&self) -> &Path {
        &self.settings.data
    }

    pub async fn invite(&self, uses: u32) -> Invite {
        self.running.invite(&InviteAsk { uses, ..InviteAsk::default() }).await.unwrap().0
    }

    /// As the owner connects: over the socket in the data folder.
    pub async fn owner(&self) -> RegistryAdminServiceClient<Channel> {
        let path = registry::admin::socket_path(self.folder());
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Channel::from_static("http://registry");
        RegistryAdminServiceClient::new(endpoint.connect_with_connector(connector).await.unwrap())
    }

    pub async fn members(&self) -> Vec<pb::NetworkMember> {
        let request = pb::ListMembersRequest::default();
        self.owner().await.list_members(request).await.unwrap().into_inner().members
    }

    pub async fn revoke(&self, who: &str) -> Result<pb::NetworkMember, Status> {
        let request = pb::RevokeRequest { peer: who.into() };
        Ok(self.owner().await.revoke(request).await?.into_inner().member.unwrap())
    }

    pub async fn rotate(
        &self,
        step: pb::rotate_authority_request::Step,
    ) -> Result<pb::RotateAuthorityResponse, Status> {
        let request = pb::RotateAuthorityRequest { step: step.into() };
        Ok(self.owner().await.rotate_authority(request).await?.into_inner())
    }

    /// The network's first authority, out of its file: to make certificates that have run out already.
    pub fn authority(&self, network: NetworkId) -> Authority {
        let file = std::fs::read(self.folder().join("authority")).unwrap();
        let text = String::from_utf8_lossy(&file);
        let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
        let (from, to) = (text.find(begin).unwrap(), text.find(end).unwrap() + end.len());
        Authority::from_key(PrivateKey::from_pem(&text[from..to]).unwrap(), network)
    }
}

/// Asks to be let in, as whoever holds an invite does.
pub async fn ask(invite: &Invite, request: pb::EnrollRequest) -> Result<Credentials, Status> {
    let channel = enroll::dial(&invite.registry, invite.authority).await.unwrap();
    let answer = EnrollmentServiceClient::new(channel).enroll(request).await?.into_inner();
    Ok(enrollment::credentials(answer.credentials).unwrap())
}

pub fn request(invite: &Invite, key: &PrivateKey, name: &str) -> pb::EnrollRequest {
    let name = name.parse().unwrap();
    let text = enrollment::signed(&invite.authority, &invite.token, &key.public(), &name);
    let (token, proof) = (invite.token, key.sign(&text));
    enrollment::to_enrollment(&Enrollment { token, key: key.public(), proof, name })
}

/// A peer of the network that can be dialed.
#[derive(Debug)]
pub struct Peer {
    pub name: String,
    pub trust: Trust,
    pub transport: Transport,
    pub address: SocketAddr,
    registry: String,
    shutdown: Shutdown,
    _data: TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

impl Peer {
    pub async fn enroll(invite: &Invite, name: &str) -> Result<Self, Status> {
        Self::enroll_by(invite, PrivateKey::generate().unwrap(), name).await
    }

    pub async fn enroll_by(invite: &Invite, key: PrivateKey, name: &str) -> Result<Self, Status> {
        let credentials = ask(invite, request(invite, &key, name)).await?;
        Ok(Self::with(&invite.registry, key, credentials, name).await)
    }

    /// With any credentials, good or not.
    pub async fn with(registry: &str, key: PrivateKey, credentials: Credentials, name: &str) -> Self {
        let (data, shutdown) = (tempfile::tempdir().unwrap(), Shutdown::new());
        let trust = Trust::new(key, credentials).unwrap();
        let identity = Identity::proven(data.path(), &trust).unwrap();
        let transport = Transport::new(identity, Security::Closed(trust.clone()));
        let listener = transport.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.address();
        let (_, health) = tonic_health::server::health_reporter();
        shutdown.spawn_draining("serve", transport.serve(listener, Routes::new(health), None, &shutdown));
        let (name, registry) = (name.to_owned(), registry.to_owned());
        Self { name, trust, transport, address, registry, shutdown, _data: data }
    }

    pub fn id(&self) -> PeerId {
        self.transport.identity().id()
    }

    pub async fn channel(&self) -> Channel {
        self.transport.dial_host(&self.registry, Purpose::Registry).await.unwrap()
    }

    pub fn registration(&self) -> pb::RegisterRequest {
        let peer = pb::Peer {
            peer_id: self.id().as_bytes().to_vec().into(),
            name: self.name.clone(),
            address: self.address.to_string(),
            incarnation: 1,
            ..pb::Peer::default()
        };
        pb::RegisterRequest { peer: Some(peer), ..pb::RegisterRequest::default() }
    }

    pub async fn register(&self) -> Result<pb::RegisterResponse, Status> {
        self.register_as(self.registration()).await
    }

    pub async fn register_as(&self, request: pb::RegisterRequest) -> Result<pb::RegisterResponse, Status> {
        Ok(RegistryServiceClient::new(self.channel().await).register(request).await?.into_inner())
    }

    /// Renews over a connection that is there, with the key that it is asked for.
    pub async fn renew_over(&self, channel: Channel, key: &PrivateKey) -> Result<Credentials, Status> {
        let request = pb::RenewRequest { public_key: key.public().to_der().to_vec().into() };
        let answer = EnrollmentServiceClient::new(channel).renew(request).await?.into_inner();
        Ok(enrollment::credentials(answer.credentials).unwrap())
    }

    pub async fn renew(&self) -> Result<Credentials, Status> {
        self.renew_over(self.channel().await, self.trust.key()).await
    }

    /// The same peer with another certificate of the same key: one that ran out when it was made.
    pub async fn expired(&self, registry: &Registry) -> Self {
        let (network, key) = (self.trust.network(), self.trust.key().clone());
        let authority = registry.authority(network);
        let made = authority.certify_peer(&key.public(), network, None, Duration::ZERO).unwrap();
        let (certificate, not_after) = made;
        let credentials =
            Credentials { certificate, authorities: vec![authority.public()], network, not_after };
        while SystemTime::now() <= not_after {
            tokio::task::yield_now().await;
        }
        Self::with(&self.registry, key, credentials, &self.name).await
    }

    pub async fn session(&self) -> Result<Session, Status> {
        let (up, requests) = mpsc::channel(8);
        let register = session_request::Message::Register(self.registration());
        up.send(pb::SessionRequest { message: Some(register) }).await.unwrap();
        let mut client = RegistryServiceClient::new(self.channel().await);
        let mut down = client.session(ReceiverStream::new(requests)).await?.into_inner();
        let first = tokio::time::timeout(PATIENCE, down.message()).await.unwrap()?;
        let first = first.and_then(|first| first.message);
        assert!(matches!(first, Some(Message::Welcome(_))), "the first message was no welcome");
        Ok(Session { down, _up: up })
    }
}

#[derive(Debug)]
pub struct Session {
    down: Streaming<pb::SessionResponse>,
    _up: mpsc::Sender<pb::SessionRequest>,
}

impl Session {
    pub async fn next(&mut self) -> Result<Option<Message>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("nothing came")?;
        Ok(next.and_then(|next| next.message))
    }

    /// The next message that is wanted, others aside.
    pub async fn until<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> Result<T, Status> {
        loop {
            let message = self.next().await?.expect("the session ended");
            if let Some(found) = wanted(message) {
                return Ok(found);
            }
        }
    }

    pub async fn until_denied(&mut self, version: u64) -> pb::DenyList {
        let list = |message| match message {
            Message::Denied(list) if list.version >= version => Some(list),
            _ => None,
        };
        self.until(list).await.unwrap()
    }

    pub async fn until_renewal_due(&mut self) {
        self.until(|message| matches!(message, Message::RenewalDue(_)).then_some(())).await.unwrap();
    }

    /// Follows to the end; why it ended.
    pub async fn end(&mut self) -> Code {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
}

pub fn code<T>(outcome: Result<T, Status>) -> Code {
    outcome.map_or_else(|status| status.code(), |_| Code::Ok)
}
