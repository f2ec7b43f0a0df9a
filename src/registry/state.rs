//! What the registry knows, as a state machine: one request in, one answer and its events out. Names and addresses are
//! unique among live peers, and only the present lease of a peer renews or removes it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::Rng;

use crate::protocol::{
    id::{LeaseId, PeerId, PeerName, ZoneId},
    lease::{Leases, Superseded},
    membership::{Membership, Registration, Renewal},
    neighbor::neighbors,
    roster::{Delta, Load, Member, Roster},
    zone::{Full, Layout, Locality, Move, NoPlace, Zones},
};

mod gateway;
mod list;
mod saved;
mod seen;
#[cfg(test)]
mod tests;

pub use list::{Page, PeerPlace, ZoneSummary};
pub use saved::{Saved, SavedPeer};

/// Peers at once: 10,000 renewals a second at a heartbeat of 10 s, which one core bears. A peer beyond it is refused.
pub const MAX_PEERS: usize = 100_000;

/// Zones opened or merged in one sweep; more wait for the next one, so that a sweep stays short after a disaster.
const REBALANCES_PER_SWEEP: usize = 16;

/// What a registry grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How zones are laid out.
    pub layout: Layout,
    /// A peer that is silent this long is gone.
    pub lease: Duration,
    /// How often peers renew.
    pub heartbeat: Duration,
}

/// Why a request is refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The credential is not the one that the id is the hash of.
    #[error("the credential does not prove this peer id")]
    WrongCredential,
    /// A leftover of an earlier start.
    #[error("{0}; only the newest start of a peer is served")]
    Superseded(#[from] Superseded),
    /// The name belongs to another live peer.
    #[error("the name {0} belongs to another live peer; set FLOODPLAIN_NAME to another one")]
    NameTaken(PeerName),
    /// The address belongs to another live peer.
    #[error(
        "the address {0} belongs to another live peer; set FLOODPLAIN_LISTEN or FLOODPLAIN_ADVERTISE to another one"
    )]
    AddressTaken(SocketAddr),
    /// Every zone of a fixed layout is full.
    #[error("{0}; try again when a peer has left, or raise FLOODPLAIN_NETWORK_SIZE at the registry")]
    ZonesFull(Full),
    /// The zone that the peer is pinned to does not take it.
    #[error("{0}; ask for another invite")]
    Pinned(NoPlace),
    /// The registry takes no more peers.
    #[error("the network is full: this registry tracks at most {MAX_PEERS} peers")]
    NetworkFull,
    /// It may be here no longer.
    #[error("this peer was shut out of the network")]
    ShutOut,
    /// Not, or no longer, a present lease.
    #[error("the lease is not known (any more); register again")]
    UnknownLease,
}

impl From<NoPlace> for Refusal {
    fn from(refusal: NoPlace) -> Self {
        match refusal {
            NoPlace::Full(full) => Self::ZonesFull(full),
            pinned => Self::Pinned(pinned),
        }
    }
}

/// Why a peer is no longer a member under its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It left.
    Left,
    /// Its lease ran out.
    Expired,
    /// A newer incarnation took over.
    Replaced,
    /// It may be here no longer.
    Expelled,
}

/// What others have to hear about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A zone's roster changed.
    Changed(Delta),
    /// A member announced another summary. What else it says of itself is no event of its own.
    Announced {
        /// Its zone.
        zone: ZoneId,
        /// Who.
        peer: PeerId,
    },
    /// A zone has other gateways, or one of them another name or address.
    Gateways {
        /// Which zone.
        zone: ZoneId,
        /// Who was none before.
        new: Vec<PeerId>,
    },
    /// A live peer is in another zone now.
    Moved {
        /// Who.
        peer: PeerId,
    },
    /// A lease has ended.
    Ended {
        /// Whose.
        peer: PeerId,
        /// Which.
        lease: LeaseId,
        /// Why.
        reason: Reason,
    },
}

/// Joins and leaves of one request, by zone, so that each zone gets one delta.
#[derive(Debug, Default)]
struct Changes(BTreeMap<ZoneId, (Vec<Member>, Vec<PeerId>)>);

impl Changes {
    fn joined(&mut self, zone: ZoneId, member: Member) {
        self.0.entry(zone).or_default().0.push(member);
    }

    fn left(&mut self, zone: ZoneId, peer: PeerId) {
        self.0.entry(zone).or_default().1.push(peer);
    }
}

/// Peers, leases, zones and rosters.
#[derive(Debug)]
pub struct State {
    terms: Terms,
    zones: Zones,
    leases: Leases,
    rosters: BTreeMap<ZoneId, Roster>,
    /// In order of age; no zone without a gateway is in it.
    gateways: BTreeMap<ZoneId, Vec<PeerId>>,
    /// In lower case: `Ana` and `ana` would be taken for one.
    names: HashMap<String, PeerId>,
    addresses: HashMap<SocketAddr, PeerId>,
    /// The newest revision of any zone: (epoch << 32) + changes.
    revision: u64,
    /// Rises whenever a snapshot would differ.
    generation: u64,
    /// Zones opened and closed that nobody was told yet.
    zone_changes: (u64, u64),
}

impl State {
    /// With no peer. `epoch` is greater than that of any earlier run.
    pub fn new(terms: Terms, epoch: u32) -> Self {
        let revision = u64::from(epoch) << 32;
        let zones = Zones::new(terms.layout);
        let rosters =
            zones.sizes().map(|(zone, _)| (zone, Roster::new(zone, revision, Vec::new()))).collect();
        Self {
            terms,
            zones,
            leases: Leases::new(terms.lease),
            rosters,
            gateways: BTreeMap::new(),
            names: HashMap::new(),
            addresses: HashMap::new(),
            revision,
            generation: 0,
            zone_changes: (0, 0),
        }
    }

    /// Lets a peer in, or answers the same again to one that is in.
    ///
    /// # Errors
    /// As [`Refusal`] says; nothing changed.
    pub fn register(
        &mut self,
        registration: Registration,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<(Membership, Vec<Event>), Refusal> {
        let Registration { member, credential, host_id } = registration;
        let peer = member.id;
        if credential.is_some_and(|credential| credential.peer_id() != peer) {
            return Err(Refusal::WrongCredential);
        }
        self.leases.check(&peer, member.incarnation)?;
        let is_other = |owner: Option<&PeerId>| owner.is_some_and(|owner| *owner != peer);
        let name = name_key(&member.name);
        if is_other(self.names.get(&name)) {
            return Err(Refusal::NameTaken(member.name));
        }
        if is_other(self.addresses.get(&member.address)) {
            return Err(Refusal::AddressTaken(member.address));
        }

        let mut changes = Changes::default();
        let mut events = Vec::new();
        let before = self.member(&peer).map(|(zone, member)| (zone, member.clone()));
        let zone = match before {
            Some((zone, before)) => {
                self.note_load(&peer, member.load(), &mut events);
                if before != member.clone().with_load(before.load()) {
                    self.names.remove(&name_key(&before.name));
                    self.addresses.remove(&before.address);
                    changes.joined(zone, member.clone());
                }
                zone
            }
            None => self.place(&member, &host_id, now, rng, &mut changes, &mut events)?,
        };
        self.names.insert(name, peer);
        self.addresses.insert(member.address, peer);
        let before = self.leases.lease_of(&peer);
        let granted = self.leases.grant(peer, member.incarnation, LeaseId::random(rng), now)?;
        if let Some(lease) = before.filter(|before| *before != granted.lease()) {
            events.push(Event::Ended { peer, lease, reason: Reason::Replaced });
        }
        self.generation += 1;
        self.publish(changes, &mut events);

        let roster = self.rosters.get(&zone).expect("a zone with a member has a roster").clone();
        let membership = Membership {
            lease: granted.lease(),
            lease_ttl: self.terms.lease,
            heartbeat_interval: self.terms.heartbeat,
            neighbors: neighbors(roster.members(), &peer),
            gateways: self.gateways(zone),
            roster,
        };
        Ok((membership, events))
    }

    fn place(
        &mut self,
        member: &Member,
        host_id: &str,
        now: Instant,
        rng: &mut impl Rng,
        changes: &mut Changes,
        events: &mut Vec<Event>,
    ) -> Result<ZoneId, Refusal> {
        if self.leases.len() >= MAX_PEERS {
            return Err(Refusal::NetworkFull);
        }
        let locality = Locality::new(host_id, member.address.ip());
        let placed = self.zones.join(member.id, locality, now, rng)?;
        // It may be among the youngest that a new zone was opened with.
        let zone = self.zones.zone_of(&member.id).unwrap_or(placed.zone);
        let others = placed.moves.into_iter().filter(|moved| moved.peer != member.id);
        self.record(others, changes, events);
        changes.joined(zone, member.clone());
        Ok(zone)
    }

    /// Renews a lease and notes what its peer says of itself, which is listed and makes no revision.
    ///
    /// # Errors
    /// [`Refusal::UnknownLease`]; nothing changed.
    pub fn heartbeat(
        &mut self,
        lease: &LeaseId,
        load: Load,
        now: Instant,
    ) -> Result<(Renewal, Vec<Event>), Refusal> {
        let peer = self.leases.renew(lease, now).ok_or(Refusal::UnknownLease)?;
        let mut events = Vec::new();
        self.note_load(&peer, load, &mut events);
        Ok((self.renewal(&peer).ok_or(Refusal::UnknownLease)?, events))
    }

    fn note_load(&mut self, peer: &PeerId, load: Load, events: &mut Vec<Event>) {
        let Some(zone) = self.zones.zone_of(peer) else { return };
        let Some(before) = self.rosters.get_mut(&zone).and_then(|roster| roster.set_load(peer, load)) else {
            return;
        };
        self.generation += 1;
        if before.summary != load.summary {
            events.push(Event::Announced { zone, peer: *peer });
        }
    }

    /// What a renewal by this peer would answer now.
    pub fn renewal(&self, peer: &PeerId) -> Option<Renewal> {
        let zone = self.zones.zone_of(peer)?;
        let revision = self.rosters.get(&zone)?.revision();
        Some(Renewal { zone, revision, lease_ttl: self.terms.lease, sequence: 0 })
    }

    /// Takes off the peer whose present lease this is. Nobody, when it is nobody's.
    pub fn unregister(&mut self, lease: &LeaseId, now: Instant) -> Vec<Event> {
        self.leases.release(lease).map_or_else(Vec::new, |peer| {
            let mut events = vec![Event::Ended { peer, lease: *lease, reason: Reason::Left }];
            self.remove(&[peer], now, &mut events);
            events
        })
    }

    /// From its next join on a peer is in this zone only; with `None`, in any.
    pub fn pin(&mut self, peer: PeerId, zone: Option<ZoneId>) {
        self.zones.pin(peer, zone);
    }

    /// Takes off a peer, whatever it says. Nobody, when it is not there.
    pub fn expel(&mut self, peer: &PeerId, now: Instant) -> Vec<Event> {
        let lease = self.leases.lease_of(peer).filter(|lease| self.leases.release(lease).is_some());
        lease.map_or_else(Vec::new, |lease| {
            let mut events = vec![Event::Ended { peer: *peer, lease, reason: Reason::Expelled }];
            self.remove(&[*peer], now, &mut events);
            events
        })
    }

    /// The peer's stream ended without leave: it is gone within a second, unless it comes back.
    pub fn stream_lost(&mut self, lease: &LeaseId, now: Instant) {
        self.leases.stream_lost(lease, now);
    }

    /// Takes off who is silent for too long, then opens and merges zones as is due. To be called each
    /// [`SWEEP_INTERVAL`](crate::protocol::lease::SWEEP_INTERVAL).
    pub fn sweep(&mut self, now: Instant) -> Vec<Event> {
        let expired = self.leases.sweep(now);
        let mut events = Vec::new();
        for (peer, lease) in &expired {
            events.push(Event::Ended { peer: *peer, lease: *lease, reason: Reason::Expired });
        }
        let peers: Vec<PeerId> = expired.into_iter().map(|(peer, _)| peer).collect();
        self.remove(&peers, now, &mut events);
        for _ in 0..REBALANCES_PER_SWEEP {
            let moves = self.zones.rebalance(now);
            if moves.is_empty() {
                break;
            }
            let mut changes = Changes::default();
            self.record(moves, &mut changes, &mut events);
            self.publish(changes, &mut events);
        }
        events
    }

    /// The zone's roster.
    pub fn roster(&self, zone: ZoneId) -> Option<&Roster> {
        self.rosters.get(&zone)
    }

    /// The zone a peer is in.
    pub fn zone_of(&self, peer: &PeerId) -> Option<ZoneId> {
        self.zones.zone_of(peer)
    }

    /// Live peers.
    pub fn peers(&self) -> usize {
        self.leases.len()
    }

    /// Zones that are there.
    pub fn zones(&self) -> usize {
        self.rosters.len()
    }

    /// Rises whenever a snapshot would differ.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn member(&self, peer: &PeerId) -> Option<(ZoneId, &Member)> {
        let zone = self.zones.zone_of(peer)?;
        self.rosters.get(&zone)?.get(peer).map(|member| (zone, member))
    }

    fn remove(&mut self, peers: &[PeerId], now: Instant, events: &mut Vec<Event>) {
        let mut changes = Changes::default();
        for peer in peers {
            if let Some((_, member)) = self.member(peer) {
                let (name, address) = (name_key(&member.name), member.address);
                self.names.remove(&name);
                self.addresses.remove(&address);
            }
            if let Some(zone) = self.zones.leave(peer, now) {
                changes.left(zone, *peer);
            }
        }
        self.publish(changes, events);
    }

    /// Notes moves that the zones have made and the rosters have not.
    fn record(&self, moves: impl IntoIterator<Item = Move>, changes: &mut Changes, events: &mut Vec<Event>) {
        for Move { peer, from, to } in moves {
            if let Some(member) = self.rosters.get(&from).and_then(|roster| roster.get(&peer)) {
                changes.joined(to, member.clone());
                changes.left(from, peer);
                events.push(Event::Moved { peer });
            }
        }
    }

    /// Brings the rosters and the gateways to what the zones already are, one revision a zone.
    fn publish(&mut self, changes: Changes, events: &mut Vec<Event>) {
        for (zone, (joined, left)) in changes.0 {
            let from_revision = self.revision;
            self.revision += 1;
            self.generation += 1;
            let roster = self.rosters.entry(zone).or_insert_with(|| {
                self.zone_changes.0 += 1;
                Roster::new(zone, from_revision, Vec::new())
            });
            let from_revision = roster.revision();
            let delta = Delta { zone, from_revision, to_revision: self.revision, joined, left };
            roster.apply(&delta).expect("a delta made from the roster's own revision applies");
            let heard_of: Vec<PeerId> = delta.joined.iter().map(|member| member.id).collect();
            let is_closed =
                roster.members().is_empty() && matches!(self.terms.layout, Layout::Elastic { .. });
            if is_closed {
                self.zone_changes.1 += 1;
                self.rosters.remove(&zone);
            } else {
                events.push(Event::Changed(delta));
            }
            events.extend(self.choose_gateways(zone, &heard_of));
        }
    }
}

/// What names are compared by.
fn name_key(name: &PeerName) -> String {
    name.as_str().to_ascii_lowercase()
}
