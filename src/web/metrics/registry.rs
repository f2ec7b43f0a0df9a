//! The families of a registry.

use std::fmt;

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    lines::{Lines, Word},
    peer::{calls, certificate, connections},
};
use crate::registry::overview::Standing;

/// A registry's numbers of one moment.
#[derive(Debug)]
pub(super) struct RegistryNumbers(pub(super) Standing);

/// Upper bounds of the sizes that zones are counted by, and how they are written; zones of the default size hold 24.
const SIZES: [(u64, Word); 8] =
    [(0, "0"), (1, "1"), (3, "3"), (6, "6"), (12, "12"), (24, "24"), (100, "100"), (u64::MAX, "+Inf")];

impl Collector for RegistryNumbers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (to, now) = (&mut Lines(encoder), &self.0);
        to.gauge("floodplain_registry_peers", "Live peers", now.peers)?;
        to.gauge("floodplain_registry_peers_limit", "Peers that there may be", now.capacity.peers)?;
        to.gauge("floodplain_registry_zones", "Zones that are there", now.zones)?;
        to.gauges(
            "floodplain_registry_zones_by_size",
            "Zones that hold at most so many peers, those of smaller bounds included",
            SIZES.map(|(bound, word)| {
                let within = now.zone_sizes.iter().filter(|(size, _)| *size <= bound);
                ([("peers", word)], within.map(|(_, zones)| zones).sum())
            }),
        )?;
        to.gauge("floodplain_registry_sessions", "Peers with an open session", now.sessions)?;
        to.gauge("floodplain_registry_epoch", "Starts of the registry so far", u64::from(now.epoch))?;
        to.gauge("floodplain_registry_revision", "Newest revision of any zone", now.revision)?;
        let counted = now.counted;
        for (name, help, value) in [
            ("registrations", "Registrations that were let in, again included", counted.registrations),
            ("refused", "Registrations that were refused", counted.refused),
            ("heartbeats", "Leases that were renewed", counted.heartbeats),
            ("expiries", "Leases that ran out", counted.expiries),
            ("leaves", "Peers that left by themselves", counted.leaves),
            ("moves", "Peers that were moved to another zone", counted.moves),
            ("zones_opened", "Zones that were opened", counted.zones_opened),
            ("zones_closed", "Zones that were merged into others or fell empty", counted.zones_closed),
            ("sessions_opened", "Sessions that were opened", counted.sessions),
            ("enrollments", "Peers that an invite let into the network", counted.enrollments),
            ("renewals", "Certificates that were renewed", counted.renewals),
            ("revocations", "Members that were shut out", counted.revocations),
        ] {
            to.counter(&format!("floodplain_registry_{name}"), help, value)?;
        }
        connections(to, "floodplain_registry_connections", now.connections)?;
        calls(to, "floodplain_registry_call", now.calls)?;
        let Some(closed) = &now.closed else { return Ok(()) };
        to.gauge("floodplain_registry_members", "Members, those shut out not counted", closed.members)?;
        to.gauge("floodplain_registry_denied", "Peers that others are told to refuse", closed.denied)?;
        to.gauge(
            "floodplain_registry_authorities",
            "Keys that members may be certified by; two while the authority is being changed",
            closed.authorities,
        )?;
        let name = "floodplain_registry_certificate_expiry_timestamp_seconds";
        certificate(to, name, Some(closed.certificate_not_after))
    }
}
