//! A real registry on a port of the system's choice, and peers that speak to it by gRPC.

use std::{net::SocketAddr, path::Path, time::Duration};

use floodplain::{
    config::RegistrySettings,
    protocol::{
        gateway::Gateways,
        id::{Credential, PeerId},
        roster::Roster,
        zone::Layout,
    },
    registry::{self, Running},
    shutdown::Shutdown,
    wire::{
        self,
        pb::{
            self, SessionRequest, registry_service_client::RegistryServiceClient, session_request,
            session_response::Message,
        },
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

pub const ELASTIC: Layout = Layout::Elastic { min: 6, target: 16, max: 24 };

/// Longer than anything here takes; a wait that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than [`PATIENCE`], and than any test here: who is gone within that was not gone by its lease.
const LEASE: Duration = Duration::from_secs(120);

pub type Client = RegistryServiceClient<Channel>;

#[derive(Debug)]
pub struct Registry {
    pub address: SocketAddr,
    running: Running,
    shutdown: Shutdown,
}

impl Registry {
    pub async fn start(layout: Layout, data: &Path) -> Self {
        let settings = RegistrySettings {
            listen: ([127, 0, 0, 1], 0).into(),
            advertise: None,
            invite_file: None,
            layout,
            lease: LEASE,
            heartbeat: Duration::from_secs(10),
            data: data.to_path_buf(),
            http: floodplain::config::HttpSettings::default(),
            insecure_loopback: true,
        };
        let shutdown = Shutdown::new();
        let running = registry::start(settings, shutdown.clone()).await.unwrap();
        Self { address: running.address(), running, shutdown }
    }

    pub async fn client(&self) -> Client {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        RegistryServiceClient::new(endpoint.connect().await.unwrap())
    }

    pub async fn stop(self) {
        assert!(self.shutdown.drain(PATIENCE).await, "the registry did not end");
        self.running.ended().await.unwrap();
    }
}

/// One peer as it would register.
#[derive(Debug, Clone)]
pub struct Peer {
    pub credential: Credential,
    pub request: pb::RegisterRequest,
}

impl Peer {
    /// Peer `number`, at a port of its own.
    pub fn new(number: u16) -> Self {
        let credential = Credential::random(&mut rand::rng());
        let peer = pb::Peer {
            peer_id: credential.peer_id().as_bytes().to_vec().into(),
            name: format!("peer-{number}"),
            address: format!("127.0.0.1:{}", 10_000 + number),
            incarnation: 1,
            ..pb::Peer::default()
        };
        let request = pb::RegisterRequest {
            peer: Some(peer),
            credential: credential.as_bytes().to_vec().into(),
            host_id: format!("host-{number}"),
        };
        Self { credential, request }
    }

    pub fn id(&self) -> PeerId {
        self.credential.peer_id()
    }

    pub fn peer(&mut self) -> &mut pb::Peer {
        self.request.peer.as_mut().unwrap()
    }
}

/// An open session and the view that its peer keeps.
#[derive(Debug)]
pub struct Session {
    pub up: mpsc::Sender<SessionRequest>,
    pub down: Streaming<pb::SessionResponse>,
    pub lease: Vec<u8>,
    pub roster: Roster,
    pub gateways: Gateways,
}

impl Session {
    pub async fn open(client: &mut Client, peer: &Peer) -> Result<Self, Status> {
        let (up, requests) = mpsc::channel(8);
        up.send(request(session_request::Message::Register(peer.request.clone()))).await.unwrap();
        let mut down = client.session(ReceiverStream::new(requests)).await?.into_inner();
        let first = tokio::time::timeout(PATIENCE, down.message()).await.unwrap()?;
        let Some(Message::Welcome(welcome)) = first.and_then(|first| first.message) else {
            panic!("the first message was no welcome");
        };
        let lease = welcome.lease_id.to_vec();
        let membership = wire::registry::membership(welcome).unwrap();
        let gateways = Gateways::new(membership.roster.zone(), membership.gateways);
        Ok(Self { up, down, lease, roster: membership.roster, gateways })
    }

    pub async fn say(&self, message: session_request::Message) {
        self.up.send(request(message)).await.unwrap();
    }

    pub async fn beat(&self) {
        let lease_id = self.lease.clone().into();
        self.say(session_request::Message::Heartbeat(pb::HeartbeatRequest {
            lease_id,
            shared_files: 0,
            room_bytes: 0,
            ..Default::default()
        }))
        .await;
    }

    /// The next message, after taking it into the view.
    pub async fn next(&mut self) -> Result<Option<Message>, Status> {
        let next = tokio::time::timeout(PATIENCE, self.down.message()).await.expect("nothing came")?;
        let message = next.and_then(|next| next.message);
        match &message {
            Some(Message::Delta(delta)) => {
                let delta = wire::registry::delta(delta).unwrap();
                self.roster.apply(&delta).expect("no delta is missing");
            }
            Some(Message::Snapshot(snapshot)) => {
                self.roster = wire::registry::roster(snapshot).unwrap();
            }
            Some(Message::Gateways(told)) => {
                self.gateways.take_in(wire::registry::gateways(told).unwrap());
            }
            _ => {}
        }
        Ok(message)
    }

    /// Follows until the view is as wanted.
    pub async fn until(&mut self, is_wanted: impl Fn(&Roster) -> bool) {
        while !is_wanted(&self.roster) {
            assert!(self.next().await.unwrap().is_some(), "the session ended");
        }
    }
}

/// Every zone, in order.
pub async fn zones(client: &mut Client) -> Vec<pb::Zone> {
    client.list_zones(pb::ListZonesRequest::default()).await.unwrap().into_inner().zones
}

fn request(message: session_request::Message) -> SessionRequest {
    SessionRequest { message: Some(message) }
}

/// Every live peer, page by page.
pub async fn list(client: &mut Client) -> Vec<pb::Peer> {
    let (mut peers, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListPeersRequest { zone_id: 0, page_size: 37, page_token };
        let page = client.list_peers(request).await.unwrap().into_inner();
        peers.extend(page.peers);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return peers;
        }
    }
}
