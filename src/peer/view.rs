//! What a peer knows of its zone. Written by the session alone; read by everyone, without waiting.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::net::{
    caller::{Caller, KnownPeers},
    guard::Scope,
};
use crate::protocol::{
    action::{Connection, PeerInfo},
    gateway::Gateways,
    id::{PeerId, PeerName, ZoneId},
    roster::{Member, Roster, Stamp},
};

/// A peer's knowledge at one moment.
#[derive(Debug, Clone)]
pub struct Knowledge {
    /// This peer as it is registered, or wants to be.
    pub me: Member,
    /// How it stands with the registry.
    pub connection: Connection,
    /// The zone as last heard of; kept while the registry is lost, gone after leaving.
    pub roster: Option<Arc<Roster>>,
    /// Whom classic floods are forwarded to.
    pub neighbors: Arc<[PeerId]>,
    /// Through whom queries enter the own zone, and, while this peer is a gateway itself, every other one. Kept and gone
    /// as the roster is.
    pub gateways: Arc<Gateways>,
}

impl Knowledge {
    /// The zone this peer is in.
    pub fn zone(&self) -> Option<ZoneId> {
        self.roster.as_ref().map(|roster| roster.zone())
    }

    /// The member of that id.
    pub fn member(&self, id: &PeerId) -> Option<&Member> {
        self.roster.as_ref()?.get(id)
    }

    /// The members that are neighbors.
    pub fn neighbor_members(&self) -> impl Iterator<Item = &Member> {
        self.neighbors.iter().filter_map(|id| self.member(id))
    }

    /// The gateways of the own zone, this peer among them if it is one.
    pub fn own_gateways(&self) -> &[Member] {
        self.zone().map_or(&[], |zone| self.gateways.of(zone))
    }

    /// Queries of other zones enter the own one through this peer.
    pub fn is_gateway(&self) -> bool {
        self.own_gateways().iter().any(|gateway| gateway.id == self.me.id)
    }

    /// This peer as faces see it.
    pub fn my_info(&self) -> PeerInfo {
        PeerInfo {
            name: self.me.name.clone(),
            id: self.me.id,
            zone: self.zone(),
            address: self.me.address,
            shared_files: self.me.shared_files,
        }
    }
}

/// Shared knowledge; cheap to clone.
#[derive(Debug, Clone)]
pub struct View {
    knowledge: Arc<ArcSwap<Knowledge>>,
    changed: watch::Sender<()>,
}

impl View {
    /// Before the first join.
    pub fn new(id: PeerId, name: PeerName, address: SocketAddr, incarnation: u64) -> Self {
        let me = Member {
            id,
            name,
            address,
            incarnation,
            shared_files: 0,
            room_bytes: 0,
            summary: Stamp::default(),
        };
        let knowledge = Knowledge {
            me,
            connection: Connection::Reconnecting,
            roster: None,
            neighbors: Arc::new([]),
            gateways: Arc::default(),
        };
        Self { knowledge: Arc::new(ArcSwap::from_pointee(knowledge)), changed: watch::Sender::new(()) }
    }

    /// As it is now.
    pub fn now(&self) -> Arc<Knowledge> {
        self.knowledge.load_full()
    }

    /// Changes it. Only the session calls this, so that no change is lost between reading and writing.
    pub(super) fn update(&self, change: impl FnOnce(&mut Knowledge)) {
        let mut next = Knowledge::clone(&self.knowledge.load());
        change(&mut next);
        self.knowledge.store(Arc::new(next));
        self.changed.send_replace(());
    }

    /// To hear that it is another one.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Waits until it is so. Survives being dropped at any point.
    pub async fn until(&self, is_so: impl Fn(&Knowledge) -> bool) -> Arc<Knowledge> {
        let mut changes = self.changed.subscribe();
        loop {
            let now = self.now();
            if is_so(&now) {
                return now;
            }
            // The sender lives in `self`, so that there is always a next change to wait for.
            let _ = changes.changed().await;
        }
    }
}

impl Scope for View {
    fn is_of_zone(&self, caller: &Caller) -> bool {
        let now = self.now();
        let is_certified = caller.zone().is_some_and(|zone| now.zone() == Some(zone));
        is_certified || caller.peer().is_some_and(|peer| now.member(&peer).is_some())
    }
}

impl KnownPeers for View {
    fn known(&self, id: &PeerId) -> Option<Member> {
        self.now().member(id).cloned()
    }
}
