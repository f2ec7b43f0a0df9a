//! A peer's standing with the registry: joins, renews, follows the zone, rejoins by itself, leaves cleanly.
//!
//! While the registry is lost the last roster stays in the view, so that searches and transfers go on.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::{enroll::with_id, renew::Renewal, summaries::Summaries, view::View};
use crate::{
    index::Index,
    net::{Purpose, Transport},
    protocol::{
        action::{ActionError, Connection, ErrorKind},
        gateway::Gateways,
        id::LeaseId,
        membership::{Membership, Registration},
        roster::{Load, Member},
    },
    shutdown::Shutdown,
    store::replica::Replicas,
    wire::{
        self,
        pb::{self, registry_service_client::RegistryServiceClient, session_request},
        session::Down,
    },
};

mod follow;

/// Messages on their way to the registry: a heartbeat, a snapshot request and a leave are the most there can be.
const UP_QUEUE: usize = 4;
/// How long the registry may take to answer a registration.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the registry may take to answer a leave: a stop leaves first and drains then, all within 8 s.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between attempts to join: doubled with jitter from the first to the second, for ever.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A roster of 10,000 members of 200 B each.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Refusals in a row that end the first join: a restarted peer may meet the lease of its own earlier life for a second.
const MAX_REFUSALS: u32 = 4;

/// What the session is told to do.
#[derive(Debug)]
enum Order {
    Join,
    Leave(oneshot::Sender<()>),
}

/// Steers the session; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SessionControl {
    orders: mpsc::Sender<Order>,
}

impl SessionControl {
    /// Leaves the network; answers when the registry has taken the peer off, or cannot be told.
    pub(crate) async fn leave(&self) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Leave(done)).await.is_ok() {
            // The session's own time runs out first.
            let _ = timeout(LEAVE_TIMEOUT * 2, is_done).await;
        }
    }

    /// Joins again after a leave.
    pub(crate) async fn join(&self) {
        // A session that has ended belongs to a peer that is stopping.
        let _ = self.orders.send(Order::Join).await;
    }
}

/// Everything a session needs.
#[derive(Debug)]
pub(crate) struct Session {
    /// The registry, `HOST:PORT`.
    pub(crate) registry: String,
    /// How to get there, and who we are.
    pub(crate) transport: Transport,
    /// What it writes.
    pub(crate) view: View,
    /// For the number of shared files.
    pub(crate) index: Index,
    /// What it tells of this peer's words.
    pub(crate) summaries: Summaries,
    /// For the room that is left.
    pub(crate) replicas: Replicas,
    /// Another name may be taken when this one is in use.
    pub(crate) is_name_default: bool,
    /// Keeps its certificate good; in a closed network.
    pub(crate) renewal: Option<Renewal>,
}

/// Why one life of the session ended.
enum End {
    Left(Option<oneshot::Sender<()>>),
    Lost(anyhow::Error),
    Refused(Status),
}

impl Session {
    /// Starts the session's task. The receiver gets the refusal of the first join, if it comes; the session has ended then.
    pub(crate) fn start(self, shutdown: &Shutdown) -> (SessionControl, watch::Receiver<Option<ActionError>>) {
        let (orders, inbox) = mpsc::channel(UP_QUEUE);
        let (refused, refusal) = watch::channel(None);
        shutdown.spawn("session", async move {
            if let Err(error) = self.run(inbox).await {
                refused.send_replace(Some(error));
            }
        });
        (SessionControl { orders }, refusal)
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) -> Result<(), ActionError> {
        let (mut pauses, mut refusals, mut was_joined, mut was_warned) = (retry_pauses(), 0, false, false);
        loop {
            let mut is_joined = false;
            let begun = Instant::now();
            let end = self.live(&mut orders, &mut is_joined).await;
            if is_joined {
                (refusals, was_joined, was_warned) = (0, true, false);
                // One that loses every session at once must not join ten times a second.
                if begun.elapsed() > RETRY_PAUSES.1 {
                    pauses = retry_pauses();
                }
            }
            match end {
                End::Left(told) => {
                    if self.stay_away(told, &mut orders).await {
                        continue;
                    }
                    return Ok(());
                }
                End::Lost(error) => {
                    let error = format!("{error:#}");
                    // Once for each time that it is lost, however often it is tried until it is back.
                    if was_warned {
                        tracing::debug!(registry = %self.registry, error, "the registry is still away");
                    } else {
                        tracing::warn!(registry = %self.registry, error, "no registry; trying again until it answers");
                        was_warned = true;
                    }
                }
                End::Refused(status) => {
                    refusals += 1;
                    if status.code() == Code::AlreadyExists && self.is_name_default && refusals == 1 {
                        self.take_another_name();
                        continue;
                    }
                    let error = refused(&self.registry, &status);
                    if !was_joined && refusals >= MAX_REFUSALS {
                        return Err(error);
                    }
                    tracing::warn!(registry = %self.registry, %error, hint = error.hint, "the registry refused this peer; trying again");
                }
            }
            self.view.update(|now| now.connection = Connection::Reconnecting);
            let pause = pauses.next().unwrap_or(RETRY_PAUSES.1);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                told = until_leave(&mut orders) => if !self.stay_away(told, &mut orders).await {
                    return Ok(());
                },
            }
        }
    }

    /// Forgets the zone and waits for the order to join. False when nobody is left to give it.
    async fn stay_away(&self, told: Option<oneshot::Sender<()>>, orders: &mut mpsc::Receiver<Order>) -> bool {
        self.view.update(|now| {
            now.connection = Connection::Disconnected;
            now.roster = None;
            now.neighbors = [].into();
            now.gateways = Arc::default();
        });
        if let Some(told) = told {
            let _ = told.send(());
        }
        let is_wanted = until_join(orders).await;
        self.view.update(|now| now.connection = Connection::Reconnecting);
        is_wanted
    }

    /// A name of the machine that another peer has too.
    fn take_another_name(&self) {
        self.view.update(|now| {
            now.me.name = with_id(&now.me.name, &now.me.id);
        });
    }

    /// One registration from its beginning to its end.
    async fn live(&mut self, orders: &mut mpsc::Receiver<Order>, is_joined: &mut bool) -> End {
        let joined = tokio::select! {
            joined = self.join() => joined,
            told = until_leave(orders) => return End::Left(told),
        };
        let (mut down, up, welcome) = match joined {
            Ok(joined) => joined,
            Err(end) => return end,
        };
        if let Some(renewal) = &self.renewal {
            // Members of the zone that have not heard of this peer yet go by its certificate.
            tokio::select! {
                () = renewal.names(welcome.roster.zone()) => {}
                told = until_leave(orders) => {
                    self.leave(welcome.lease, &up, &mut down).await;
                    return End::Left(told);
                }
            }
        }
        *is_joined = true;
        let lease = welcome.lease;
        let (zone, peers) = (welcome.roster.zone(), welcome.roster.members().len());
        let gateways = Gateways::new(zone, welcome.gateways);
        tracing::info!(registry = %self.registry, %zone, peers, "joined the network");
        self.view.update(|now| {
            now.connection = Connection::Connected;
            now.roster = Some(welcome.roster.into());
            now.neighbors = welcome.neighbors.into();
            now.gateways = gateways.into();
        });
        let first = Instant::now() + welcome.heartbeat_interval;
        let mut beats = interval_at(first, welcome.heartbeat_interval);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut stamps, mut wanted) = (self.summaries.stamps(), self.summaries.wanted());
        // What was wanted before this session is wanted still.
        wanted.mark_changed();
        let mut is_confirming = false;
        let mut heard = Instant::now();
        let mut first_walk = std::pin::pin!(self.index.until_ready());
        let mut is_walked = false;
        loop {
            tokio::select! {
                // Others see how many files there are now, and not after the first interval.
                () = &mut first_walk, if !is_walked => {
                    is_walked = true;
                    beats.reset_immediately();
                }
                // Before anybody relies on a word that came.
                Ok(()) = stamps.changed() => beats.reset_immediately(),
                // One at a time: those who ask meanwhile share the next.
                Ok(()) = wanted.changed(), if !is_confirming => {
                    is_confirming = true;
                    if let Err(end) = self.beat(&lease, *wanted.borrow_and_update(), &up) {
                        return end;
                    }
                }
                message = down.message() => {
                    heard = Instant::now();
                    match message {
                        Ok(Some(message)) => match self.follow(message, &up) {
                            Ok(is_ack) => is_confirming &= !is_ack,
                            Err(error) => return End::Lost(error),
                        },
                        Ok(None) => return End::Lost(anyhow!("the registry ended the session")),
                        Err(status) => return End::Lost(anyhow!("{}", status.message().to_owned())),
                    }
                }
                _ = beats.tick() => {
                    if heard.elapsed() > welcome.lease_ttl {
                        return End::Lost(anyhow!("no answer within a lease"));
                    }
                    if let Err(end) = self.beat(&lease, *wanted.borrow_and_update(), &up) {
                        return end;
                    }
                }
                told = until_leave(orders) => {
                    self.leave(lease, &up, &mut down).await;
                    return End::Left(told);
                }
            }
        }
    }

    fn beat(&self, lease: &LeaseId, sequence: u64, up: &mpsc::Sender<pb::SessionRequest>) -> Result<(), End> {
        let beat = wire::registry::to_heartbeat(lease, &self.load(), sequence);
        up.try_send(request(session_request::Message::Heartbeat(beat)))
            .map_err(|_| End::Lost(anyhow!("heartbeats do not get through")))
    }

    async fn join(
        &self,
    ) -> Result<(Streaming<pb::SessionResponse>, mpsc::Sender<pb::SessionRequest>, Membership), End> {
        let channel = self
            .transport
            .dial_host(&self.registry, Purpose::Registry)
            .await
            .map_err(|error| End::Lost(error.into()))?;
        let mut client = RegistryServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        let (up, ups) = mpsc::channel(UP_QUEUE);
        let registration = Registration {
            member: self.me(),
            credential: self.transport.identity().credential().copied(),
            host_id: host_id(),
        };
        let register = wire::registry::to_registration(&registration);
        up.try_send(request(session_request::Message::Register(register)))
            .expect("the queue is new and empty");

        let answer = async {
            let mut down = client.session(ReceiverStream::new(ups)).await?.into_inner();
            let first =
                down.message().await?.ok_or_else(|| Status::unavailable("the registry ended the session"))?;
            Ok::<_, Status>((down, first))
        };
        let (down, first) = match timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) if is_refusal(&status) => return Err(End::Refused(status)),
            Ok(Err(status)) => return Err(End::Lost(anyhow!("{}", status.message().to_owned()))),
            Err(_) => {
                return Err(End::Lost(anyhow!("no answer to the registration within {ANSWER_TIMEOUT:?}")));
            }
        };
        match wire::session::down(first) {
            Ok(Down::Welcome(welcome)) => Ok((down, up, welcome)),
            Ok(_) => Err(End::Lost(anyhow!("the registry did not begin with a welcome"))),
            Err(invalid) => Err(End::Lost(anyhow!("the registry's welcome is malformed: {invalid}"))),
        }
    }

    fn me(&self) -> Member {
        self.view.now().me.clone().with_load(self.load())
    }

    fn load(&self) -> Load {
        Load {
            shared_files: self.index.state().files,
            room_bytes: self.replicas.room_bytes(),
            summary: self.summaries.stamp(),
        }
    }

    async fn leave(
        &self,
        lease: LeaseId,
        up: &mpsc::Sender<pb::SessionRequest>,
        down: &mut Streaming<pb::SessionResponse>,
    ) {
        let last = pb::UnregisterRequest { lease_id: wire::bytes(lease.as_bytes()) };
        let left = async {
            if up.send(request(session_request::Message::Leave(last))).await.is_ok() {
                // The registry ends the stream when the slot is free.
                while let Ok(Some(_)) = down.message().await {}
            }
        };
        // A registry that takes nothing would hold the queue for ever.
        let _ = timeout(LEAVE_TIMEOUT, left).await;
    }
}

fn request(message: session_request::Message) -> pb::SessionRequest {
    pb::SessionRequest { message: Some(message) }
}

fn retry_pauses() -> ExponentialBackoff {
    let (least, most) = RETRY_PAUSES;
    ExponentialBuilder::default()
        .with_min_delay(least)
        .with_max_delay(most)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Ignores everything but the order to join. False when nobody is left to give it.
async fn until_join(orders: &mut mpsc::Receiver<Order>) -> bool {
    loop {
        match orders.recv().await {
            Some(Order::Join) => return true,
            Some(Order::Leave(told)) => {
                let _ = told.send(());
            }
            None => return false,
        }
    }
}

/// Waits for the order to leave, with the one who waits for it; `None` when nobody is left to give orders.
async fn until_leave(orders: &mut mpsc::Receiver<Order>) -> Option<oneshot::Sender<()>> {
    loop {
        match orders.recv().await {
            Some(Order::Join) => {}
            Some(Order::Leave(told)) => return Some(told),
            None => return None,
        }
    }
}

/// The registry understood and said no, so that asking again at once changes nothing.
fn is_refusal(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::InvalidArgument
    )
}

fn is_about_incarnation(status: &Status) -> bool {
    let details = status.get_details_precondition_failure();
    details
        .is_some_and(|details| details.violations.iter().any(|violation| violation.r#type == "INCARNATION"))
}

fn refused(registry: &str, status: &Status) -> ActionError {
    let hint = match status.code() {
        Code::AlreadyExists => "set FLOODPLAIN_NAME to a name of its own, or stop the other peer",
        Code::ResourceExhausted => "wait until a peer leaves, or raise NETWORK_SIZE at the registry",
        Code::PermissionDenied => {
            "one that was shut out stays out: with a new data folder (--data) and a new invite it is a new peer"
        }
        // Anything else that has to be so first is told with what to do about it.
        Code::FailedPrecondition if is_about_incarnation(status) => {
            "another process runs with the same data folder: stop it, or use --data"
        }
        Code::FailedPrecondition => "the registry's log may say more",
        _ => "compare the versions and the settings of the two daemons",
    };
    ActionError::new(
        ErrorKind::Refused,
        format!("the registry at {registry} refused this peer: {}", status.message()),
    )
    .hint(hint)
}

/// Tells the registry which peers share a machine, without telling it which machine.
fn host_id() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let hash = blake3::derive_key("floodplain.v1 host id", format!("{machine}\0{node}").as_bytes());
    let (head, _) = hash.split_first_chunk::<8>().expect("32 bytes hold 8");
    format!("{:016x}", u64::from_be_bytes(*head))
}
