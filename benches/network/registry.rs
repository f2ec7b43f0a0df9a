//! What a peer costs a registry process over real gRPC: by unary calls on one connection, and by sessions on connections of
//! their own, as peers hold them.

use std::{net::SocketAddr, time::Instant};

use anyhow::{Context, Result};
use floodplain::{
    net::{Identity, Purpose, Security, Transport},
    protocol::{id::Credential, membership::Registration, roster::Member},
    wire::{
        self,
        pb::{
            self, SessionRequest, registry_service_client::RegistryServiceClient, session_request,
            session_response::Message,
        },
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use crate::{
    daemon::Daemon,
    measure::{Cpu, memory_kib, micros},
};

/// Unary calls on their way at once.
const AT_ONCE: usize = 16;
/// Heartbeats of each peer.
const BEATS: u32 = 3;
/// Peers that hold a session, each on a connection of its own.
const SESSIONS: u16 = 500;
/// Heartbeats on each session.
const SESSION_BEATS: u32 = 20;

type Client = RegistryServiceClient<Channel>;

pub(crate) async fn run(peers: u16) -> Result<()> {
    println!("registry process                    calls/s   CPU us a call");
    unary(peers).await?;
    sessions().await
}

/// CPU of the registry and time, per call.
struct Meter {
    pid: u32,
    cpu: Cpu,
    begun: Instant,
}

impl Meter {
    fn begin(pid: u32) -> Self {
        Self { pid, cpu: Cpu::of(pid), begun: Instant::now() }
    }

    fn print(&self, what: &str, calls: u32) {
        let rate = f64::from(calls) / self.begun.elapsed().as_secs_f64();
        let cost = micros(Cpu::of(self.pid).since(&self.cpu)) / f64::from(calls);
        println!("{what:34} {rate:8.0} {cost:15.1}");
    }
}

async fn unary(peers: u16) -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Nobody is to be swept meanwhile.
    let registry = Daemon::registry(folder.path(), &["--lease", "1h"])?;
    let client = client(registry.address).await?;
    let registrations: Vec<_> = (0..peers).map(registration).collect();
    let (before, _) = memory_kib(registry.pid());
    let meter = Meter::begin(registry.pid());
    let leases: Vec<_> = stream::iter(registrations)
        .map(|request| {
            let mut client = client.clone();
            async move { client.register(request).await.map(|answer| answer.into_inner().lease_id) }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    meter.print("Register, unary", peers.into());
    let (after, _) = memory_kib(registry.pid());
    let meter = Meter::begin(registry.pid());
    let beats = (0..BEATS).flat_map(|_| leases.clone());
    stream::iter(beats)
        .map(|lease_id| {
            let mut client = client.clone();
            async move {
                client
                    .heartbeat(pb::HeartbeatRequest {
                        lease_id,
                        shared_files: 0,
                        room_bytes: 0,
                        ..Default::default()
                    })
                    .await
                    .map(drop)
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    meter.print("Heartbeat, unary", BEATS * u32::from(peers));
    let each = 1024 * after.saturating_sub(before) / u64::from(peers);
    println!("RSS with {peers} registered {:.1} MiB; {each} bytes a registered peer", after as f64 / 1024.0);
    Ok(())
}

async fn sessions() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let registry = Daemon::registry(folder.path(), &["--lease", "1h"])?;
    let (before, _) = memory_kib(registry.pid());
    let meter = Meter::begin(registry.pid());
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        sessions.push(Session::open(registry.address, number).await?);
    }
    meter.print("Session opened, own connection", SESSIONS.into());
    let (after, _) = memory_kib(registry.pid());
    // What the joins of others told is not to be counted with the heartbeats.
    stream::iter(&mut sessions).for_each_concurrent(None, Session::settle).await;
    let meter = Meter::begin(registry.pid());
    for _ in 0..SESSION_BEATS {
        stream::iter(&mut sessions).map(Ok).try_for_each_concurrent(AT_ONCE, Session::beat).await?;
    }
    meter.print("Heartbeat on a session", SESSION_BEATS * u32::from(SESSIONS));
    let each = after.saturating_sub(before) as f64 / f64::from(SESSIONS);
    println!("RSS with {SESSIONS} sessions {:.1} MiB; {each:.1} KiB a session", after as f64 / 1024.0);
    Ok(())
}

/// A session as a peer holds it.
struct Session {
    lease_id: bytes::Bytes,
    up: mpsc::Sender<SessionRequest>,
    down: Streaming<pb::SessionResponse>,
}

impl Session {
    async fn open(registry: SocketAddr, number: u16) -> Result<Self> {
        let mut client = client(registry).await?;
        let (up, ups) = mpsc::channel(4);
        let register = session_request::Message::Register(registration(number));
        up.send(SessionRequest { message: Some(register) }).await?;
        let mut down = client.session(ReceiverStream::new(ups)).await?.into_inner();
        let welcome = down.message().await?.and_then(|response| response.message);
        let Some(Message::Welcome(welcome)) = welcome else { anyhow::bail!("no welcome") };
        Ok(Self { lease_id: welcome.lease_id, up, down })
    }

    /// Reads until a heartbeat is answered; everything before it is read by then.
    async fn beat(&mut self) -> Result<()> {
        let beat = pb::HeartbeatRequest {
            lease_id: self.lease_id.clone(),
            shared_files: 0,
            room_bytes: 0,
            ..Default::default()
        };
        self.up.send(SessionRequest { message: Some(session_request::Message::Heartbeat(beat)) }).await?;
        loop {
            let message = self.down.message().await?.context("the session ended")?.message;
            if matches!(message, Some(Message::Ack(_))) {
                return Ok(());
            }
        }
    }

    async fn settle(&mut self) {
        let _ = self.beat().await;
    }
}

async fn client(registry: SocketAddr) -> Result<Client> {
    let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
    Ok(Client::new(transport.dial_host(&registry.to_string(), Purpose::Registry).await?))
}

fn registration(number: u16) -> pb::RegisterRequest {
    let credential = Credential::random(&mut rand::rng());
    let member = Member {
        id: credential.peer_id(),
        name: format!("peer-{number}").parse().expect("a name"),
        address: ([127, 0, 0, 1], 10_000 + number).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: floodplain::protocol::roster::Stamp::default(),
    };
    let registration =
        Registration { member, credential: Some(credential), host_id: format!("host-{number}") };
    wire::registry::to_registration(&registration)
}
