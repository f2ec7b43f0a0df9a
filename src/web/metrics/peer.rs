//! The families of a peer.

use std::{fmt, time::SystemTime};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::lines::Lines;
use crate::peer::{
    transfers::{Slots, TransferCount},
    vitals::Signs,
};

/// A peer's numbers of one moment.
#[derive(Debug)]
pub(super) struct PeerNumbers(pub(super) Signs);

/// States of a peer's connection with the registry.
const CONNECTIONS: &[&str] = &["connected", "reconnecting", "disconnected", "revoked"];

impl Collector for PeerNumbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (to, now) = (&mut Lines(encoder), &self.0);
        network(to, now)?;
        searches(to, now)?;
        transfers(to, now)?;
        index(to, now)
    }
}

fn network(to: &mut Lines<'_>, now: &Signs) -> fmt::Result {
    to.state(
        "floodplain_connection",
        "How the peer stands with the registry: 1 for the state that it is in",
        CONNECTIONS,
        now.connection.name(),
    )?;
    to.gauge("floodplain_zone_peers", "Members of the peer's zone, itself included", now.zone_peers)?;
    to.gauge("floodplain_neighbors", "Members of its zone that the peer forwards to", now.neighbors)?;
    to.gauge("floodplain_roster_revision", "Revision of the zone's roster", now.roster_revision)?;
    to.gauge("floodplain_gateway", "1 while the peer is a gateway of its zone", u64::from(now.is_gateway))?;
    connections(to, "floodplain_connections", now.connections)?;
    calls(to, "floodplain_call", now.calls)?;
    certificate(to, "floodplain_certificate_expiry_timestamp_seconds", now.certificate_not_after)
}

/// Of the port of a daemon. The names are `name` and what is added here.
pub(super) fn connections(to: &mut Lines<'_>, name: &str, now: crate::net::Connections) -> fmt::Result {
    to.gauge(&format!("{name}_open"), "Connections that are open", now.open)?;
    to.counter(&format!("{name}_accepted"), "Connections that were accepted", now.accepted)?;
    to.counters(
        &format!("{name}_refused"),
        "Connections that were closed at once: above the bound of their host, or without a handshake",
        [([("reason", "host_bound")], now.refused), ([("reason", "handshake")], now.unproven)],
    )
}

/// Of the door before the calls of a daemon. The names are `name` and what is added here.
pub(super) fn calls(to: &mut Lines<'_>, name: &str, now: crate::net::Calls) -> fmt::Result {
    to.counters(
        &format!("{name}_strikes"),
        "What counted against callers: calls that came too fast, and calls that made no sense",
        [([("kind", "rate")], now.rate_strikes), ([("kind", "nonsense")], now.nonsense_strikes)],
    )?;
    to.counter(&format!("{name}_mutes"), "Times that a caller was silenced", now.mutes)?;
    to.counters(
        &format!("{name}s_refused"),
        "Calls that were not let in: too fast or silenced, above the part of one caller, above what all may have",
        [
            ([("reason", "rate")], now.refused_rate),
            ([("reason", "caller_bound")], now.refused_caller),
            ([("reason", "bound")], now.refused_whole),
        ],
    )
}

/// Until when the own certificate is good; nothing without keys.
pub(super) fn certificate(to: &mut Lines<'_>, name: &str, not_after: Option<SystemTime>) -> fmt::Result {
    let Some(not_after) = not_after else { return Ok(()) };
    let seconds = not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    to.gauge(name, "When the daemon's certificate runs out, in seconds since 1970", seconds.as_secs())
}

fn searches(to: &mut Lines<'_>, now: &Signs) -> fmt::Result {
    let (counters, refusals) = (now.counters, now.refusals);
    to.counter("floodplain_searches", "Searches that began at the peer", counters.searches)?;
    to.counter("floodplain_search_hits", "Contents that the peer's own searches found", now.searched.hits)?;
    to.histogram(
        "floodplain_search_first_hit_seconds",
        "From the start of a search of the peer's own to its first hit",
        &now.searched.first_hit,
    )?;
    to.histogram(
        "floodplain_search_duration_seconds",
        "From the start of a search of the peer's own to its end",
        &now.searched.duration,
    )?;
    to.gauge(
        "floodplain_queries_running",
        "Queries that run at the peer, its own included",
        now.running_queries,
    )?;
    to.counter(
        "floodplain_queries_answered",
        "Queries of others that the peer answered",
        counters.queries_answered,
    )?;
    to.counter(
        "floodplain_queries_duplicate",
        "Copies of queries that the query cache dropped",
        counters.duplicates_dropped,
    )?;
    to.counters(
        "floodplain_queries_refused",
        "Queries that were refused: against the rules, for want of room, or because their sender asks too much",
        [
            ([("reason", "rules")], refusals.rules),
            ([("reason", "no_room")], refusals.no_room),
            ([("reason", "busy")], refusals.busy),
            ([("reason", "muted")], refusals.muted),
        ],
    )?;
    to.counter("floodplain_strikes", "Queries that counted against their sender", now.tally.strikes)?;
    to.counter("floodplain_mutes", "Times that a sender of queries was silenced", now.tally.mutes)
}

fn transfers(to: &mut Lines<'_>, now: &Signs) -> fmt::Result {
    let counters = now.counters;
    to.counters(
        "floodplain_transferred_bytes",
        "File bytes that went over the network",
        [([("direction", "up")], counters.bytes_up), ([("direction", "down")], counters.bytes_down)],
    )?;
    let by_both = |of: &TransferCount| ([("direction", of.direction.name()), ("state", of.state)], of.count);
    to.gauges(
        "floodplain_transfers",
        "Transfers that are there; a failed download stays until it is tried again or cancelled",
        now.live_transfers.iter().map(by_both),
    )?;
    to.counters(
        "floodplain_transfers_ended",
        "Transfers that ended, copies kept for the network included",
        now.ended_transfers.iter().map(by_both),
    )?;
    let by_kind = |of: fn(Slots) -> u64| {
        [([("kind", "upload")], of(now.upload_slots)), ([("kind", "download")], of(now.download_slots))]
    };
    to.gauges("floodplain_slots", "Transfers that may run at once", by_kind(|slots| slots.limit))?;
    to.gauges("floodplain_slots_in_use", "Slots that are taken", by_kind(|slots| slots.in_use))?;
    to.gauges("floodplain_slots_queue", "Transfers that wait for a slot", by_kind(|slots| slots.waiting))
}

fn index(to: &mut Lines<'_>, now: &Signs) -> fmt::Result {
    let (index, replicas) = (now.index, now.replicas);
    to.gauge("floodplain_index_files", "Files that can be found", index.files)?;
    to.gauge("floodplain_index_bytes", "Bytes of the files that can be found", index.bytes)?;
    to.gauge("floodplain_index_hashed_files", "Files whose content hash is known", index.hashed_files)?;
    to.gauge("floodplain_index_scanning", "1 while shares are walked", u64::from(index.is_scanning))?;
    to.gauge("floodplain_replicas", "Contents that are kept for the network", replicas.contents)?;
    to.gauge("floodplain_replica_used_bytes", "Bytes that are kept for the network", replicas.used_bytes)?;
    to.gauge("floodplain_replica_quota_bytes", "Bytes that may be kept for the network", replicas.quota_bytes)
}
