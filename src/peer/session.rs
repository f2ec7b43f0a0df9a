//! A peer's standing with the registry: joins, renews, follows the zone, rejoins by itself, leaves cleanly.
//!
//! While the registry is lost the last roster stays in the view, so that searches and transfers go on.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::anyhow;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tonic::{Code, Status, Streaming};

use self::{
    confirm::until_wanted,
    join::{is_shut_out, refused},
};
use super::{enroll::with_id, renew::Renewal, retry::pauses, summaries::Summaries, view::View};
use crate::{
    index::Index,
    net::Transport,
    protocol::{
        action::{ActionError, Connection},
        confirm::Confirms,
        gateway::Gateways,
        id::LeaseId,
        roster::{Load, Member},
    },
    shutdown::Shutdown,
    store::replica::Replicas,
    wire::{
        self,
        pb::{self, session_request},
    },
};

mod confirm;
mod follow;
mod join;

/// Messages on their way to the registry: a heartbeat, a snapshot request and a leave are the most there can be.
const UP_QUEUE: usize = 4;
/// How long the registry may take to answer a registration.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the registry may take to answer a leave: a stop leaves first and drains then, all within 8 s.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pauses between attempts to join: doubled with jitter from the first to the second, for ever.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Between two attempts of a peer that was shut out: for good, unless whoever runs the registry restores an earlier state of it.
const SHUT_OUT_PAUSE: Duration = Duration::from_secs(300);
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
    /// Another one is to begin at once.
    Again,
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
        let (mut retries, mut refusals, mut was_joined) = (pauses(RETRY_PAUSES), 0, false);
        // Once for each trouble, however often it is met until the peer has joined.
        let mut told = String::new();
        loop {
            let mut is_joined = false;
            let begun = Instant::now();
            let end = self.live(&mut orders, &mut is_joined).await;
            if is_joined {
                (refusals, was_joined) = (0, true);
                told.clear();
                // One that loses every session at once must not join ten times a second.
                if begun.elapsed() > RETRY_PAUSES.1 {
                    retries = pauses(RETRY_PAUSES);
                }
            }
            let mut pause = retries.next().unwrap_or(RETRY_PAUSES.1);
            let mut connection = Connection::Reconnecting;
            match end {
                End::Left(told) => {
                    if self.stay_away(told, &mut orders).await {
                        continue;
                    }
                    return Ok(());
                }
                End::Again => continue,
                End::Lost(error) => {
                    let error = format!("{error:#}");
                    if told.is_empty() {
                        tracing::warn!(registry = %self.registry, error, "no registry; trying again until it answers");
                        told = error;
                    } else {
                        tracing::debug!(registry = %self.registry, error, "the registry is still away");
                    }
                }
                End::Refused(status) => {
                    refusals += 1;
                    if status.code() == Code::AlreadyExists && self.is_name_default && refusals == 1 {
                        self.take_another_name();
                        continue;
                    }
                    let error = refused(&self.registry, &status);
                    let is_shut_out = is_shut_out(&status);
                    if !was_joined && (is_shut_out || refusals >= MAX_REFUSALS) {
                        return Err(error);
                    }
                    if is_shut_out {
                        (pause, connection) = (SHUT_OUT_PAUSE, Connection::Revoked);
                    }
                    if told == error.message {
                        tracing::debug!(registry = %self.registry, %error, "the registry still refuses this peer");
                    } else if is_shut_out {
                        tracing::error!(registry = %self.registry, %error, hint = error.hint, "revoked: this peer does not belong to the network any more");
                    } else {
                        tracing::warn!(registry = %self.registry, %error, hint = error.hint, "the registry refused this peer; trying again");
                    }
                    told = error.message;
                }
            }
            self.view.update(|now| {
                now.connection = connection;
                if connection == Connection::Revoked {
                    (now.roster, now.neighbors, now.gateways) = (None, [].into(), Arc::default());
                }
            });
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
        let (mut down, up, welcome, shown_until) = match joined {
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
        let (mut confirms, mut is_confirming) = (Confirms::default(), false);
        let mut heard = Instant::now();
        let mut first_walk = std::pin::pin!(self.index.until_ready());
        let mut is_walked = false;
        let mut aged = std::pin::pin!(self.aged(shown_until));
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
                Ok(()) = until_wanted(&mut wanted, confirms.not_before()), if !is_confirming => {
                    is_confirming = true;
                    confirms.on_sent(Instant::now().into_std());
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
                        // The answer to the next registration says why.
                        Err(status) if is_shut_out(&status) => return End::Again,
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
                () = &mut aged => return End::Again,
                told = until_leave(orders) => {
                    self.leave(lease, &up, &mut down).await;
                    return End::Left(told);
                }
            }
        }
    }

    /// When a session is better begun anew, before its connection is cut with the certificate that was shown for it.
    async fn aged(&self, shown_until: Option<SystemTime>) {
        match self.renewal.as_ref().zip(shown_until) {
            Some((renewal, until)) => renewal.outlived(until).await,
            None => std::future::pending().await,
        }
    }

    fn beat(&self, lease: &LeaseId, sequence: u64, up: &mpsc::Sender<pb::SessionRequest>) -> Result<(), End> {
        let beat = wire::registry::to_heartbeat(lease, &self.load(), sequence);
        up.try_send(request(session_request::Message::Heartbeat(beat)))
            .map_err(|_| End::Lost(anyhow!("heartbeats do not get through")))
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
