//! Registries on the local network, announced and found by multicast DNS (RFC 6762, RFC 6763). A help for people, never
//! required.
//!
//! Invariant: what is found is a hint and proves nothing: whoever dials one has to hold the key that is expected of it. What
//! others announce is bounded in number and length and checked before anyone sees it, and what the library remembers of it by
//! ending the library.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use anyhow::{Context, Result};
use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    protocol::{
        id::PeerName,
        trust::{NetworkId, PublicKey},
    },
    shutdown::Shutdown,
};

/// The kind of service.
const SERVICE: &str = "_floodplain._tcp.local.";
/// Registries that are told of; whoever floods the network with more makes some unseen.
const MAX_FOUND: usize = 64;
/// Addresses of one that are told.
const MAX_ADDRESSES: usize = 8;
/// Bytes of a version that is told.
const MAX_VERSION_BYTES: usize = 32;
/// Answers that are looked at in one search, good or not.
const MAX_ANSWERS: usize = 1024;
/// Records of others that the library may remember, with their timers; it keeps whatever comes for as long as its sender says, without
/// a bound. A large office announces some hundreds of services; this many take less than 10 MiB.
const MAX_HELD: i64 = 16_384;
/// How often that is looked at. A flood that fills 100 Mbit/s brings some 100,000 records meanwhile.
const HELD_CHECK: Duration = Duration::from_secs(1);
/// For the library's answer; it takes commands between two packets.
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
/// A registry that gave up announcing itself tries again after this. Whoever has an invite needs no announcement.
const FULL_PAUSE: Duration = Duration::from_secs(60);
/// For the goodbye of a registry that ends.
const GOODBYE_DEADLINE: Duration = Duration::from_secs(1);
/// The keys of what is told beside name, address and port.
const NETWORK: &str = "network";
const KEY: &str = "key";
const VERSION: &str = "version";

/// What a registry tells of itself. Nothing in it is secret.
#[derive(Debug, Clone)]
pub struct Announcement {
    /// Its network.
    pub network: NetworkId,
    /// The key that invites into it name.
    pub authority: PublicKey,
    /// Where it listens; on all addresses of this machine when that is unspecified.
    pub listening: SocketAddr,
}

/// A registry that was found: what it says of itself, unproven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What its machine is called. Foreign text.
    pub name: String,
    /// Where it may be dialed, at least one.
    pub addresses: Vec<SocketAddr>,
    /// The key that invites into its network name.
    pub authority: PublicKey,
    /// Its network, base 32.
    pub network: String,
    /// Version of its program; empty when it tells none.
    pub version: String,
}

/// Announces a registry until the stop. It runs beside everything else; when it fails, the log says so.
///
/// # Errors
/// When multicast cannot be used here.
pub fn announce(announcement: &Announcement, shutdown: &Shutdown) -> Result<()> {
    let Announcement { network, authority, listening } = announcement;
    let network = network.to_string();
    let machine = PeerName::from_any(&rustix::system::uname().nodename().to_string_lossy());
    // Two on one machine have two names, and neither takes the machine's own from another responder.
    let short: String = network.chars().take(8).collect();
    let (instance, host) = (format!("{machine} {short}"), format!("floodplain-{short}.local."));
    let authority = authority.to_string();
    let told = [(NETWORK, &network[..]), (KEY, &authority), (VERSION, env!("CARGO_PKG_VERSION"))];
    let service = if listening.ip().is_unspecified() {
        ServiceInfo::new(SERVICE, &instance, &host, "", listening.port(), &told[..])
            .map(ServiceInfo::enable_addr_auto)
    } else {
        ServiceInfo::new(SERVICE, &instance, &host, listening.ip(), listening.port(), &told[..])
    };
    let service = service.context("the registry cannot be described")?;
    let mut daemon = announced(&service)?;
    tracing::info!(name = instance, "announced on the local network");
    let stop = shutdown.clone();
    drop(shutdown.spawn_draining("announcement", async move {
        loop {
            tokio::select! {
                () = stop.stopping() => break,
                () = until_full(&daemon) => {}
            }
            let _ = daemon.shutdown();
            tracing::warn!(
                seconds = FULL_PAUSE.as_secs(),
                "the local network is flooded with announcements; this registry is not announced for now"
            );
            tokio::select! {
                () = stop.stopping() => return,
                () = sleep(FULL_PAUSE) => {}
            }
            daemon = match announced(&service) {
                Ok(daemon) => daemon,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "this registry is announced no more");
                    return;
                }
            };
        }
        if let Ok(gone) = daemon.unregister(service.get_fullname()) {
            // Late or not, others forget it by themselves.
            let _ = tokio::time::timeout(GOODBYE_DEADLINE, gone.recv_async()).await;
        }
        let _ = daemon.shutdown();
    }));
    Ok(())
}

fn announced(service: &ServiceInfo) -> Result<ServiceDaemon> {
    let daemon = daemon()?;
    daemon.register(service.clone()).context("the registry cannot be announced")?;
    Ok(daemon)
}

/// Until what the library remembers of others is too much, or it has ended by itself.
async fn until_full(daemon: &ServiceDaemon) {
    while held(daemon).await.is_some_and(|held| held <= MAX_HELD) {
        sleep(HELD_CHECK).await;
    }
}

/// Records of others that the library holds, and the times at which it looks at them again. `None` when it does not answer.
async fn held(daemon: &ServiceDaemon) -> Option<i64> {
    let metrics = daemon.get_metrics().ok()?;
    let metrics = timeout(METRICS_DEADLINE, metrics.recv_async()).await.ok()?.ok()?;
    let is_held = |name: &str| name.starts_with("cached-") || name == "timer";
    Some(metrics.iter().filter(|(name, _)| is_held(name)).map(|(_, count)| count).sum())
}

/// Registries that answer within this time, in order of their names.
///
/// # Errors
/// When multicast cannot be used here.
pub async fn find(wait: Duration) -> Result<Vec<Found>> {
    let daemon = daemon()?;
    let answers = daemon.browse(SERVICE).context("the local network cannot be asked")?;
    let until = Instant::now() + wait;
    let mut found: Vec<Found> = Vec::new();
    let mut full = pin!(until_full(&daemon));
    for _ in 0..MAX_ANSWERS {
        let event = tokio::select! {
            event = timeout_at(until, answers.recv_async()) => event,
            () = &mut full => break,
        };
        let Ok(Ok(event)) = event else { break };
        let ServiceEvent::ServiceResolved(service) = event else { continue };
        let Some(one) = checked(&service) else { continue };
        // A later answer has all that an earlier one had.
        if let Some(known) =
            found.iter_mut().find(|known| (&known.name, known.authority) == (&one.name, one.authority))
        {
            *known = one;
        } else if found.len() < MAX_FOUND {
            found.push(one);
        }
    }
    let _ = daemon.shutdown();
    found.sort_by(|a, b| (&a.name, &a.network).cmp(&(&b.name, &b.network)));
    Ok(found)
}

fn daemon() -> Result<ServiceDaemon> {
    let daemon = ServiceDaemon::new().context("multicast DNS cannot be used here")?;
    // Nobody else is there, and what is there is found without.
    daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
    Ok(daemon)
}

/// What a record says, as far as it is one of ours and can be dialed.
fn checked(service: &ResolvedService) -> Option<Found> {
    let name = service.get_fullname().strip_suffix(SERVICE)?.strip_suffix('.')?;
    let authority = service.get_property_val_str(KEY)?.parse::<PublicKey>().ok()?;
    let network = service.get_property_val_str(NETWORK)?;
    // As the name of a registry is built: nothing else passes for a network.
    NetworkId::of_registry(&format!("registry.{network}.floodplain"))?;
    let version = service.get_property_val_str(VERSION).unwrap_or_default();
    let mut addresses: Vec<SocketAddr> = service
        .get_addresses()
        .iter()
        .map(|address| SocketAddr::new(address.to_ip_addr().to_canonical(), service.get_port()))
        .filter(|address| can_be_dialed(*address))
        .collect();
    // IPv4 first: an IPv6 address of a home is more likely not to be reached from the next room.
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.truncate(MAX_ADDRESSES);
    (!addresses.is_empty() && version.len() <= MAX_VERSION_BYTES).then(|| Found {
        name: name.chars().take(63).collect(),
        addresses,
        authority,
        network: network.to_owned(),
        version: version.to_owned(),
    })
}

fn can_be_dialed(address: SocketAddr) -> bool {
    let ip = address.ip();
    let is_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    address.port() != 0 && !is_local && !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn key() -> PublicKey {
        PublicKey::from_bytes([7; 32])
    }

    fn told(name: &str, ips: &[&str], port: u16, properties: &[(&str, &str)]) -> Option<Found> {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let service = ServiceInfo::new(SERVICE, name, "h.local.", &ips[..], port, properties).unwrap();
        checked(&service.as_resolved_service())
    }

    #[test]
    fn only_what_could_be_a_registry_is_told() {
        let (key, network) = (key().to_string(), key().network_id().to_string());
        let good = [(KEY, &key[..]), (NETWORK, &network), (VERSION, "1.0.0")];
        let found = told("lab", &["fe80::1", "2001:db8::1", "10.0.0.5", "127.0.0.1"], 7000, &good).unwrap();
        assert_eq!(found.addresses, ["10.0.0.5:7000", "[2001:db8::1]:7000"].map(|at| at.parse().unwrap()));
        assert_eq!((&found.name[..], &found.version[..], found.network), ("lab", "1.0.0", network.clone()));
        for bad in ["127.0.0.1", "169.254.1.1", "224.0.0.251", "0.0.0.0", "fe80::1", "::ffff:127.0.0.1"] {
            assert_eq!(told("lab", &[bad], 7000, &good), None, "{bad}");
        }
        assert_eq!(told("lab", &["10.0.0.5"], 0, &good), None);
        let other = |key, value| {
            let changed = good.map(|(name, old)| if name == key { (name, value) } else { (name, old) });
            told("lab", &["10.0.0.5"], 7000, &changed)
        };
        for (name, value) in [
            (KEY, ""),
            (KEY, "x"),
            (KEY, "\u{1b}[2J"),
            (NETWORK, ""),
            (NETWORK, "\u{1b}[2J"),
            (NETWORK, &key[..]),
            (VERSION, "a version that goes on and on and on"),
        ] {
            assert_eq!(other(name, value), None, "{name}={value:?}");
        }
        assert_eq!(told("lab", &["10.0.0.5"], 7000, &good[..1]), None, "no network");
        assert!(told("lab", &["10.0.0.5"], 7000, &good[..2]).unwrap().version.is_empty());
    }

    #[test]
    fn of_many_addresses_a_few_are_told() {
        let (key, network) = (key().to_string(), key().network_id().to_string());
        let ips: Vec<String> = (1..100).map(|last| format!("10.0.0.{last}")).collect();
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        let found = told("lab", &ips, 7000, &[(KEY, &key), (NETWORK, &network)]).unwrap();
        assert_eq!(found.addresses.len(), MAX_ADDRESSES);
    }
}
