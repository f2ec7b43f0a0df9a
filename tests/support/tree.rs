//! A registry that makes a tree of its peers: each is told of everyone, but forwards a classic flood only to those whom it is
//! given. The real one joins all of a zone within a few hops, so that a deep tree would need a zone of hundreds.

// Shared as a module of tests and benchmarks: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use floodplain::{
    protocol::{
        id::{LeaseId, PeerId, ZoneId},
        membership::Membership,
        roster::{Member, Roster},
    },
    wire::{
        self,
        pb::{
            self,
            registry_service_server::{RegistryService, RegistryServiceServer},
            session_request, session_response,
        },
    },
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

/// Nobody renews, so that nothing but queries moves.
const NO_RENEWAL: Duration = Duration::from_secs(60 * 60);

/// Who forwards to whom, by name.
pub type Edges = Vec<(String, String)>;

/// A line of that many hops, and beside each of its peers but the first a leaf.
pub fn line_with_leaves(hops: usize) -> Edges {
    let next = |hop: usize| (format!("peer{hop}"), format!("peer{}", hop + 1));
    let leaf = |hop: usize| (format!("peer{hop}"), format!("leaf{}", hop + 1));
    (0..hops).map(next).chain((0..hops).map(leaf)).collect()
}

/// The registry of one tree; lives as long as the runtime.
#[derive(Clone)]
pub struct Tree(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    edges: Edges,
    zone: watch::Sender<Zone>,
}

#[derive(Clone, Default)]
struct Zone {
    members: BTreeMap<String, Member>,
    revision: u64,
    /// Where each is reached, when not at its own address.
    ways: BTreeMap<String, SocketAddr>,
}

impl Zone {
    fn roster(&self) -> Roster {
        let seen = |member: &Member| {
            let address = self.ways.get(member.name.as_str()).copied().unwrap_or(member.address);
            Member { address, ..member.clone() }
        };
        Roster::new(ZoneId::FIRST, self.revision, self.members.values().map(seen).collect())
    }
}

impl Tree {
    /// Serves on a port that the system chooses.
    pub async fn serve(edges: Edges) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let tree = Self(Arc::new(Inner { address, edges, zone: watch::Sender::default() }));
        let serving =
            tonic::transport::Server::builder().add_service(RegistryServiceServer::new(tree.clone()));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        tree
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Everybody is reached by a way of its own from now on, which counts what comes back from it.
    pub async fn count(&self) -> BTreeMap<String, Arc<AtomicU64>> {
        let members = self.0.zone.borrow().members.clone();
        let (mut ways, mut counts) = (BTreeMap::new(), BTreeMap::new());
        for (name, member) in members {
            let count = Arc::<AtomicU64>::default();
            ways.insert(name.clone(), counted(member.address, count.clone()).await);
            counts.insert(name, count);
        }
        self.0.zone.send_modify(|zone| {
            zone.revision += 1;
            zone.ways = ways;
        });
        counts
    }

    fn onward(&self, name: &str, zone: &Zone) -> Vec<PeerId> {
        let of = self.0.edges.iter().filter(|(from, _)| from == name);
        of.filter_map(|(_, to)| zone.members.get(to).map(|member| member.id)).collect()
    }
}

/// A way to that address. What it holds itself are some KiB in the sockets.
async fn counted(to: SocketAddr, count: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(to).await else { continue };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, Arc::default()));
            tokio::spawn(carry(far_in, near_out, count.clone()));
        }
    });
    address
}

async fn carry(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    count: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        count.fetch_add(length as u64, Relaxed);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

type Replies<T> = BoxStream<'static, Result<T, Status>>;
type Answer<T> = Result<Response<T>, Status>;

fn none<T>() -> Answer<T> {
    Err(Status::unimplemented("not of this stand-in"))
}

#[tonic::async_trait]
impl RegistryService for Tree {
    type SessionStream = Replies<pb::SessionResponse>;

    async fn session(&self, request: Request<Streaming<pb::SessionRequest>>) -> Answer<Self::SessionStream> {
        let mut up = request.into_inner();
        let first = up.message().await?.and_then(|first| first.message);
        let Some(session_request::Message::Register(register)) = first else {
            return Err(Status::invalid_argument("not a registration"));
        };
        let member = wire::registry::registration(register)?.member;
        let name = member.name.to_string();
        self.0.zone.send_modify(|zone| {
            zone.revision += 1;
            zone.members.insert(name.clone(), member);
        });
        // What it says of itself later is of no use here.
        tokio::spawn(async move { while let Ok(Some(_)) = up.message().await {} });
        let welcome = session_response::Message::Welcome(wire::registry::to_membership(&Membership {
            lease: LeaseId::random(&mut rand::rng()),
            lease_ttl: 2 * NO_RENEWAL,
            heartbeat_interval: NO_RENEWAL,
            roster: self.0.zone.borrow().roster(),
            neighbors: Vec::new(),
            gateways: Vec::new(),
        }));
        let tree = self.clone();
        let changes = WatchStream::new(self.0.zone.subscribe()).flat_map(move |zone| {
            let onward = tree.onward(&name, &zone);
            stream::iter([
                session_response::Message::Snapshot(wire::registry::to_roster(&zone.roster())),
                session_response::Message::Neighbors(wire::registry::to_neighbors(&onward)),
            ])
        });
        let told = stream::iter([welcome]).chain(changes);
        Ok(Response::new(told.map(|message| Ok(pb::SessionResponse { message: Some(message) })).boxed()))
    }

    async fn register(&self, _: Request<pb::RegisterRequest>) -> Answer<pb::RegisterResponse> {
        none()
    }

    async fn heartbeat(&self, _: Request<pb::HeartbeatRequest>) -> Answer<pb::HeartbeatResponse> {
        none()
    }

    async fn unregister(&self, _: Request<pb::UnregisterRequest>) -> Answer<pb::UnregisterResponse> {
        none()
    }

    async fn list_zones(&self, _: Request<pb::ListZonesRequest>) -> Answer<pb::ListZonesResponse> {
        none()
    }

    async fn list_peers(&self, _: Request<pb::ListPeersRequest>) -> Answer<pb::ListPeersResponse> {
        none()
    }

    async fn check_reach(&self, _: Request<pb::CheckReachRequest>) -> Answer<pb::CheckReachResponse> {
        none()
    }
}
