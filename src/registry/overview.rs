//! What an operator sees of a running registry: a handle that reads and can change nothing.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use super::{
    closed::Closed,
    counts::Counted,
    session::Hub,
    state::{MAX_PEERS, Page, PeerPlace, ZoneSummary},
};
use crate::{
    net::{Calls, Connections, Transport},
    protocol::{
        id::{PeerId, PeerName, ZoneId},
        zone::Layout,
    },
    shutdown::Shutdown,
};

/// A registry as it is watched; cheap to clone.
#[derive(Debug, Clone)]
pub struct Overview(pub(super) Arc<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) hub: Arc<Hub>,
    pub(super) closed: Option<Arc<Closed>>,
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
    pub(super) shutdown: Shutdown,
    pub(super) started: Instant,
}

/// A registry at one moment, without its lists.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Where it listens.
    pub address: SocketAddr,
    /// Live peers.
    pub peers: u64,
    /// Live zones.
    pub zones: u64,
    /// How many zones have how many peers, by rising size.
    pub zone_sizes: Vec<(u64, u64)>,
    /// Peers with an open session; the others renew by single calls, or were just cut off.
    pub sessions: u64,
    /// Counts the starts of this registry.
    pub epoch: u32,
    /// The newest revision of any zone.
    pub revision: u64,
    /// How many peers there may be.
    pub capacity: Capacity,
    /// A peer that is silent this long is gone.
    pub lease: Duration,
    /// How often peers renew.
    pub heartbeat: Duration,
    /// Of a closed network only.
    pub closed: Option<ClosedNetwork>,
    /// Connections of its port.
    pub connections: Connections,
    /// What was done to callers of its port that ask too much.
    pub calls: Calls,
    /// What happened since the start.
    pub counted: Counted,
    /// Since its start.
    pub uptime: Duration,
}

/// How many peers there may be, and of what size zones are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Peers at most.
    pub peers: u64,
    /// As it is set.
    pub layout: Layout,
}

/// Who belongs to a closed network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedNetwork {
    /// Its name: the hash of its first key.
    pub network: String,
    /// Members, those shut out not counted.
    pub members: u64,
    /// Members that were shut out.
    pub revoked: u64,
    /// Shut out, and peers are told so, because their certificates could still be good.
    pub denied: u64,
    /// Keys that members may be certified by: two while the authority is being changed.
    pub authorities: u64,
    /// Until when the registry's own certificate is good.
    pub certificate_not_after: SystemTime,
}

/// A live peer as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePeer {
    /// Its id.
    pub id: PeerId,
    /// Its name.
    pub name: PeerName,
    /// Its zone.
    pub zone: ZoneId,
    /// Where it is dialed.
    pub address: SocketAddr,
    /// What is left of its lease; zero for one that is held beyond its time.
    pub lease_left: Duration,
    /// Rises with every start of it.
    pub incarnation: u64,
    /// Files that it shares, as it said last.
    pub shared_files: u64,
    /// Bytes that it would keep for the network, as it said last.
    pub room_bytes: u64,
    /// It is a gateway of its zone.
    pub is_gateway: bool,
    /// It has an open session.
    pub has_session: bool,
}

impl Overview {
    /// Everything but the lists. Takes as long as there are zones, behind the lock of the registry's state.
    pub fn standing(&self) -> Standing {
        let parts = &*self.0;
        let sessions = parts.hub.open_sessions() as u64;
        let standing = parts.hub.read(|state| {
            let terms = state.terms();
            let peers = match terms.layout {
                Layout::Fixed { zones, zone_size } => u64::from(zones) * u64::from(zone_size),
                Layout::Elastic { .. } => MAX_PEERS as u64,
            };
            Standing {
                address: parts.address,
                peers: state.peers() as u64,
                zones: state.zones() as u64,
                zone_sizes: state.zone_sizes(),
                sessions,
                epoch: state.epoch(),
                revision: state.revision(),
                capacity: Capacity { peers, layout: terms.layout },
                lease: terms.lease,
                heartbeat: terms.heartbeat,
                closed: None,
                connections: parts.transport.connections().now(),
                calls: parts.transport.connections().calls(),
                counted: parts.hub.counts().now(),
                uptime: parts.started.elapsed(),
            }
        });
        // Outside of the state's lock: this one has its own.
        let closed = parts.closed.as_deref().map(|closed| {
            let (members, revoked) = closed.member_counts();
            ClosedNetwork {
                network: closed.trust().network().to_string(),
                members: (members - revoked) as u64,
                revoked: revoked as u64,
                denied: closed.denied().peers().len() as u64,
                authorities: closed.authorities() as u64,
                certificate_not_after: closed.trust().credentials().not_after,
            }
        });
        Standing { closed, ..standing }
    }

    /// Zones in order of their ids, after `after`.
    pub fn zones(&self, after: Option<ZoneId>, limit: usize) -> Page<ZoneSummary> {
        self.0.hub.read(|state| state.list_zones(after, limit))
    }

    /// Peers of one zone or of all, in order of zone and name, after `after`.
    pub fn peers(&self, only: Option<ZoneId>, after: Option<&PeerPlace>, limit: usize) -> Page<LivePeer> {
        let now = Instant::now();
        let Page { items, has_more } = self.0.hub.read(|state| {
            let page = state.list_peers(only, after, limit);
            let items = page.items.into_iter().map(|(zone, member)| LivePeer {
                id: member.id,
                lease_left: state.lease_left(&member.id, now).unwrap_or_default(),
                is_gateway: state.is_gateway(&member.id),
                has_session: false,
                name: member.name,
                zone,
                address: member.address,
                incarnation: member.incarnation,
                shared_files: member.shared_files,
                room_bytes: member.room_bytes,
            });
            Page { items: items.collect::<Vec<_>>(), has_more: page.has_more }
        });
        let has_session = self.0.hub.have_sessions(items.iter().map(|peer| peer.id));
        let items = items.into_iter().zip(has_session);
        let items = items.map(|(peer, has_session)| LivePeer { has_session, ..peer }).collect();
        Page { items, has_more }
    }

    /// Why it cannot do its work now; `None` when it can.
    pub fn problem(&self) -> Option<&'static str> {
        self.0.shutdown.is_stopping().then_some("stopping")
    }
}
