//! Live sessions on top of the state: each has a bounded outbox, and whatever does not fit in is made up for by a
//! snapshot, never dropped quietly. The outbox goes with the lease, whether or not its peer ever reads that it ended.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use tokio::sync::Notify;

use self::{
    gateways::{Due, Untold},
    orders::Orders,
};
use super::counts::Counts;
use super::state::{Event, MAX_PEERS, Reason, Refusal, State};
use crate::net::{
    limit::{Admission, Full, Permit},
    listen::CONNECTIONS_OF_REGISTRY,
};
use crate::protocol::{
    gateway::Told,
    id::{LeaseId, PeerId, ZoneId},
    membership::{Membership, Registration, Renewal},
    neighbor::all_neighbors,
    roster::{Delta, Load, Roster},
    trust::DenyList,
};
use crate::wire::registry::News;

mod gateways;
mod orders;
mod stream;

pub(super) use stream::serve;

/// Deltas that wait for one peer; beyond it they give way to one snapshot.
const OUTBOX_DELTAS: usize = 64;

/// Streams of one peer at once: the one in use, and some that ended without being read to their end. A peer that comes
/// back after a cut leaves one for as long as it takes to notice that.
const STREAMS_PER_PEER: usize = 4;
/// Streams at once: every peer may come back over a new one before the old one is noticed to be dead.
const MAX_STREAMS: usize = 2 * MAX_PEERS;
const _: () =
    assert!(CONNECTIONS_OF_REGISTRY >= 2 * MAX_PEERS, "room for the session and a look-up of each peer");

/// What goes down a session after the welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Down {
    Snapshot(Roster),
    Delta(Arc<Delta>),
    News(News),
    Neighbors(Vec<PeerId>),
    Gateways(Told),
    Ack(Renewal),
    Denied(Arc<DenyList>),
    RenewalDue,
}

/// Why a session ends from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Lease(Reason),
    OtherSession,
}

/// One open session, named by its peer and a number that tells it from the peer's other sessions.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) peer: PeerId,
    pub(super) number: u64,
    pub(super) lease: LeaseId,
    pub(super) wake: Arc<Notify>,
    /// Why its lease ended, if it did; outlives the outbox.
    ended: Arc<OnceLock<Reason>>,
    _stream: Permit<PeerId>,
}

/// Why no session is opened.
#[derive(Debug)]
pub(super) enum NotOpened {
    Refused(Refusal),
    Full(Full),
}

/// What waits for one peer. Bounded by its shape: 64 deltas, the numbers of zones, and one of everything else.
#[derive(Debug)]
struct Outbox {
    number: u64,
    lease: LeaseId,
    wake: Arc<Notify>,
    deltas: VecDeque<Arc<Delta>>,
    is_snapshot_due: bool,
    /// Whose announcement is to be told; members of one zone at most.
    announced: BTreeSet<PeerId>,
    neighbors: Vec<PeerId>,
    are_neighbors_due: bool,
    gateways: Due,
    orders: Orders,
    is_ack_due: bool,
    sequence: u64,
    ended: Arc<OnceLock<Reason>>,
}

impl Outbox {
    fn push(&mut self, delta: &Arc<Delta>) {
        if self.deltas.len() == OUTBOX_DELTAS {
            self.want_snapshot();
        } else if !self.is_snapshot_due {
            self.deltas.push_back(delta.clone());
        }
        self.wake.notify_one();
    }

    fn want_snapshot(&mut self) {
        self.deltas.clear();
        // A snapshot tells them all.
        self.announced.clear();
        self.is_snapshot_due = true;
        self.wake.notify_one();
    }

    fn set_neighbors(&mut self, neighbors: Vec<PeerId>) {
        if self.neighbors != neighbors {
            self.neighbors = neighbors;
            self.are_neighbors_due = true;
            self.wake.notify_one();
        }
    }
}

#[derive(Debug)]
struct Inner {
    state: State,
    outboxes: HashMap<PeerId, Outbox>,
    untold: Untold,
    /// In a closed network.
    denied: Option<Arc<DenyList>>,
    sessions: u64,
    counts: Arc<Counts>,
}

/// The state with its sessions, behind one lock: everything under it takes microseconds, and nothing awaits there.
#[derive(Debug)]
pub(super) struct Hub {
    inner: Mutex<Inner>,
    streams: Admission<PeerId>,
    counts: Arc<Counts>,
}

impl Hub {
    pub(super) fn new(state: State) -> Self {
        let counts = Arc::<Counts>::default();
        let inner = Inner {
            state,
            outboxes: HashMap::new(),
            untold: Untold::default(),
            denied: None,
            sessions: 0,
            counts: counts.clone(),
        };
        Self { inner: Mutex::new(inner), streams: Admission::new(STREAMS_PER_PEER, MAX_STREAMS), counts }
    }

    /// Reads the state.
    pub(super) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock().state)
    }

    /// It has a lease now.
    pub(super) fn is_live(&self, peer: &PeerId) -> bool {
        self.read(|state| state.zone_of(peer)).is_some()
    }

    /// What is counted.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Peers with an open session.
    pub(super) fn open_sessions(&self) -> usize {
        self.lock().outboxes.len()
    }

    /// Which of these peers have an open session, in their order.
    pub(super) fn have_sessions(&self, peers: impl Iterator<Item = PeerId>) -> Vec<bool> {
        let inner = self.lock();
        peers.map(|peer| inner.outboxes.contains_key(&peer)).collect()
    }

    pub(super) fn register(&self, registration: Registration) -> Result<Membership, Refusal> {
        self.lock().register(registration)
    }

    pub(super) fn heartbeat(&self, lease: &LeaseId, load: Load) -> Result<Renewal, Refusal> {
        let mut inner = self.lock();
        let (renewal, events) = inner.state.heartbeat(lease, load, Instant::now())?;
        self.counts.heartbeats.add_one();
        inner.dispatch(events);
        Ok(renewal)
    }

    pub(super) fn unregister(&self, lease: &LeaseId) {
        let mut inner = self.lock();
        let events = inner.state.unregister(lease, Instant::now());
        inner.dispatch(events);
    }

    pub(super) fn sweep(&self) {
        let mut inner = self.lock();
        let events = inner.state.sweep(Instant::now());
        inner.dispatch(events);
        // What came too soon after the last time.
        inner.tell_other_zones();
    }

    /// Registers and opens a session; one that the peer has already ends.
    pub(super) fn open(&self, registration: Registration) -> Result<(Opened, Membership), NotOpened> {
        let peer = registration.member.id;
        // Kept only by who proves the id.
        let stream = self.streams.admit(peer).map_err(NotOpened::Full)?;
        let mut inner = self.lock();
        let membership = inner.register(registration).map_err(NotOpened::Refused)?;
        inner.sessions += 1;
        self.counts.sessions.add_one();
        // Of its own zone the welcome tells.
        let gateways = Due::behind_welcome(&inner.state, &peer);
        let outbox = Outbox {
            number: inner.sessions,
            lease: membership.lease,
            wake: Arc::new(Notify::new()),
            deltas: VecDeque::new(),
            is_snapshot_due: false,
            announced: BTreeSet::new(),
            neighbors: membership.neighbors.clone(),
            are_neighbors_due: false,
            gateways,
            orders: Orders::behind_welcome(inner.denied.as_ref()),
            is_ack_due: false,
            sequence: 0,
            ended: Arc::default(),
        };
        let opened = Opened {
            peer,
            number: outbox.number,
            lease: outbox.lease,
            wake: outbox.wake.clone(),
            ended: outbox.ended.clone(),
            _stream: stream,
        };
        if let Some(before) = inner.outboxes.insert(peer, outbox) {
            before.wake.notify_one();
        }
        Ok((opened, membership))
    }

    /// Renews over a session; the answer goes through the outbox, behind the deltas that it counts.
    pub(super) fn beat(&self, session: &Opened, load: Load, sequence: u64) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let (_, events) = inner.state.heartbeat(&session.lease, load, Instant::now())?;
        self.counts.heartbeats.add_one();
        inner.dispatch(events);
        if let Some(outbox) = inner.outbox(session) {
            outbox.is_ack_due = true;
            outbox.sequence = outbox.sequence.max(sequence);
            outbox.wake.notify_one();
        }
        Ok(())
    }

    /// The peer asks for a snapshot.
    pub(super) fn want_snapshot(&self, session: &Opened) {
        if let Some(outbox) = self.lock().outbox(session) {
            outbox.want_snapshot();
        }
    }

    /// What goes down next, if anything waits.
    pub(super) fn next(&self, session: &Opened) -> Result<Option<Down>, End> {
        let inner = &mut *self.lock();
        let outbox = match inner.outboxes.get_mut(&session.peer) {
            Some(outbox) if outbox.number == session.number => outbox,
            Some(_) => return Err(End::OtherSession),
            None => return Err(session.ended.get().map_or(End::OtherSession, |reason| End::Lease(*reason))),
        };
        if let Some(order) = outbox.orders.take(inner.denied.as_ref()) {
            return Ok(Some(order));
        }
        if std::mem::take(&mut outbox.is_snapshot_due) {
            let zone = inner.state.zone_of(&session.peer);
            let roster = zone.and_then(|zone| inner.state.roster(zone));
            return Ok(roster.cloned().map(Down::Snapshot));
        }
        if let Some(delta) = outbox.deltas.pop_front() {
            return Ok(Some(Down::Delta(delta)));
        }
        if !outbox.announced.is_empty() {
            let announced = std::mem::take(&mut outbox.announced);
            let roster = inner.state.zone_of(&session.peer).and_then(|zone| inner.state.roster(zone));
            return Ok(roster.map(|roster| {
                let members = announced.iter().filter_map(|id| roster.get(id));
                let members = members.map(|member| (member.id, member.load())).collect();
                Down::News(News { zone: roster.zone(), members })
            }));
        }
        if std::mem::take(&mut outbox.are_neighbors_due) {
            return Ok(Some(Down::Neighbors(outbox.neighbors.clone())));
        }
        if let Some(told) = outbox.gateways.take(&inner.state, &session.peer) {
            return Ok(Some(Down::Gateways(told)));
        }
        if std::mem::take(&mut outbox.is_ack_due) {
            let sequence = outbox.sequence;
            return Ok(inner.state.renewal(&session.peer).map(|ack| Down::Ack(Renewal { sequence, ..ack })));
        }
        Ok(None)
    }

    /// The session is over. Unless it was replaced or had ended already, its peer is gone after a short grace.
    pub(super) fn close(&self, session: &Opened) {
        let mut inner = self.lock();
        if inner.outbox(session).is_some() {
            inner.outboxes.remove(&session.peer);
            inner.state.stream_lost(&session.lease, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock is a fault of one request; every other peer goes on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn register(&mut self, registration: Registration) -> Result<Membership, Refusal> {
        if self.denied.as_ref().is_some_and(|denied| denied.has(&registration.member.id)) {
            return Err(Refusal::ShutOut);
        }
        let registered = self.state.register(registration, Instant::now(), &mut rand::rng());
        let counted = if registered.is_ok() { &self.counts.registrations } else { &self.counts.refused };
        counted.add_one();
        let (membership, events) = registered?;
        self.dispatch(events);
        Ok(membership)
    }

    fn outbox(&mut self, session: &Opened) -> Option<&mut Outbox> {
        self.outboxes.get_mut(&session.peer).filter(|outbox| outbox.number == session.number)
    }

    fn dispatch(&mut self, events: Vec<Event>) {
        let (opened, closed) = self.state.take_zone_changes();
        self.counts.zones_opened.add(opened);
        self.counts.zones_closed.add(closed);
        for event in events {
            match event {
                Event::Changed(delta) => self.publish(delta),
                Event::Announced { zone, peer } => self.announce(zone, peer),
                Event::Gateways { zone, new } => {
                    self.untold.changed(zone, &new, &self.state, &mut self.outboxes);
                }
                Event::Moved { peer } => {
                    self.counts.moves.add_one();
                    if let Some(outbox) = self.outboxes.get_mut(&peer) {
                        outbox.want_snapshot();
                        outbox.gateways.want_whole();
                        if self.denied.is_some() {
                            // Its certificate names the zone that it was in.
                            outbox.want_renewal();
                        }
                    }
                }
                Event::Ended { peer, lease, reason } => {
                    tracing::debug!(%peer, ?reason, "lease ended");
                    match reason {
                        Reason::Expired => self.counts.expiries.add_one(),
                        Reason::Left => self.counts.leaves.add_one(),
                        // Counted where it is decided.
                        Reason::Replaced | Reason::Expelled => {}
                    }
                    if self.outboxes.get(&peer).is_some_and(|outbox| outbox.lease == lease)
                        && let Some(outbox) = self.outboxes.remove(&peer)
                    {
                        // Set once: a lease ends once, and the outbox is gone then.
                        let _ = outbox.ended.set(reason);
                        outbox.wake.notify_one();
                    }
                }
            }
        }
        self.tell_other_zones();
    }

    fn tell_other_zones(&mut self) {
        self.untold.tell(&self.state, &mut self.outboxes, Instant::now());
    }

    /// Goes to everyone in the zone, whose announcement it is among them: when it comes back it is on its way to all.
    fn announce(&mut self, zone: ZoneId, peer: PeerId) {
        let Some(roster) = self.state.roster(zone) else { return };
        for member in roster.members() {
            if let Some(outbox) = self.outboxes.get_mut(&member.id).filter(|outbox| !outbox.is_snapshot_due) {
                outbox.announced.insert(peer);
                outbox.wake.notify_one();
            }
        }
    }

    fn publish(&mut self, delta: Delta) {
        // The zone may have closed by a later event of the same request.
        let Some(roster) = self.state.roster(delta.zone) else { return };
        let delta = Arc::new(delta);
        for (peer, neighbors) in all_neighbors(roster.members()) {
            if let Some(outbox) = self.outboxes.get_mut(&peer) {
                outbox.push(&delta);
                outbox.set_neighbors(neighbors);
            }
        }
    }
}

#[cfg(test)]
mod tests;
