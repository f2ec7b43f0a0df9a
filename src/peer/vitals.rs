//! How a running peer does, for whoever operates it: numbers alone. No name, query, path or id is among them.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

pub use super::counters::{Refusals, Searched};
use super::{
    counters::Counts,
    search::Searcher,
    transfers::{Slots, TransferCount, Transfers},
    upload::Uploads,
    view::View,
};
use crate::{
    index::Index,
    net::{Calls, Connections, Transport},
    protocol::{
        action::{Connection, Counters, IndexState},
        strikes::Tally,
    },
    shutdown::Shutdown,
    store::replica::Replicas,
};

/// Where the numbers of a peer are read; cheap to clone. It changes nothing, and nothing waits for it.
#[derive(Debug, Clone)]
pub struct Vitals(pub(super) Arc<Parts>);

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) view: View,
    pub(super) index: Index,
    pub(super) transport: Transport,
    pub(super) searcher: Arc<Searcher>,
    pub(super) counts: Counts,
    pub(super) transfers: Transfers,
    pub(super) uploads: Uploads,
    pub(super) replicas: Replicas,
    pub(super) shutdown: Shutdown,
    pub(super) started: Instant,
}

/// The numbers of a peer at one moment; counters count from its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Signs {
    /// How it stands with the registry.
    pub connection: Connection,
    /// Members of its zone, itself included; 0 in no zone.
    pub zone_peers: u64,
    /// Members of its zone that it forwards to.
    pub neighbors: u64,
    /// Its zone's revision; 0 in no zone.
    pub roster_revision: u64,
    /// It is a gateway of its zone.
    pub is_gateway: bool,
    /// Searches, queries of others and bytes.
    pub counters: Counters,
    /// Queries of others that were refused, by reason.
    pub refusals: Refusals,
    /// What was given to those that ask too much.
    pub tally: Tally,
    /// Queries that run now.
    pub running_queries: u64,
    /// What its own searches came to.
    pub searched: Searched,
    /// What it shares.
    pub index: IndexState,
    /// Transfers that are there now, by direction and state.
    pub live_transfers: Vec<TransferCount>,
    /// Transfers that ended, by direction and state.
    pub ended_transfers: Vec<TransferCount>,
    /// Slots of uploads.
    pub upload_slots: Slots,
    /// Slots of downloads.
    pub download_slots: Slots,
    /// What it keeps for the network.
    pub replicas: ReplicaSpace,
    /// Connections of its port.
    pub connections: Connections,
    /// What was done to callers of its port that ask too much.
    pub calls: Calls,
    /// Until when its certificate is good; `None` without keys.
    pub certificate_not_after: Option<SystemTime>,
    /// Since its start.
    pub uptime: Duration,
}

/// What a peer keeps for the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaSpace {
    /// Contents kept.
    pub contents: u64,
    /// Their bytes.
    pub used_bytes: u64,
    /// Bytes that it may keep.
    pub quota_bytes: u64,
}

impl Vitals {
    /// As it is now.
    pub fn now(&self) -> Signs {
        let parts = &*self.0;
        let knowledge = parts.view.now();
        let roster = knowledge.roster.as_deref();
        let (contents, used_bytes) = parts.replicas.kept();
        let quota_bytes = parts.replicas.quota_bytes();
        Signs {
            connection: knowledge.connection,
            zone_peers: roster.map_or(0, |roster| roster.members().len() as u64),
            neighbors: knowledge.neighbor_members().count() as u64,
            roster_revision: roster.map_or(0, crate::protocol::roster::Roster::revision),
            is_gateway: knowledge.is_gateway(),
            counters: Counters {
                bytes_up: parts.transfers.bytes_up(),
                bytes_down: parts.transfers.bytes_down(),
                ..parts.counts.now()
            },
            refusals: parts.counts.refusals(),
            tally: parts.searcher.tally(),
            running_queries: parts.searcher.running() as u64,
            searched: parts.counts.searched(),
            index: parts.index.state(),
            live_transfers: parts.transfers.live_counts(),
            ended_transfers: parts.transfers.ended_counts(),
            upload_slots: parts.uploads.slots(),
            download_slots: parts.transfers.slots(),
            replicas: ReplicaSpace { contents, used_bytes, quota_bytes },
            connections: parts.transport.connections().now(),
            calls: parts.transport.connections().calls(),
            certificate_not_after: parts.transport.trust().map(|trust| trust.credentials().not_after),
            uptime: parts.started.elapsed(),
        }
    }

    /// Why it cannot do its work now; `None` when it can. A peer that left on purpose cannot.
    pub fn problem(&self) -> Option<&'static str> {
        if self.0.shutdown.is_stopping() {
            return Some("stopping");
        }
        match self.0.view.now().connection {
            Connection::Connected => None,
            Connection::Reconnecting => Some("not joined: the registry does not answer"),
            Connection::Disconnected => Some("not joined: it left the network"),
            Connection::Revoked => Some("not joined: the registry has shut it out"),
        }
    }

    /// Completes when it has joined a zone.
    pub async fn until_joined(&self) {
        self.0.view.until(|now| now.connection == Connection::Connected).await;
    }
}
