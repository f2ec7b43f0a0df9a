//! Where a peer runs, so far as zones care: as two numbers that are equal for what may fail together.

use std::net::IpAddr;

use crate::protocol::id::PeerId;

/// What fails together with a peer, so that a zone does not depend on one machine or one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Locality {
    host: u64,
    net: u64,
}

impl Locality {
    /// From what identifies the machine and where the peer is dialed. Without a host id the address stands for the
    /// machine. The network is the IPv4 /24 or the IPv6 /64.
    pub fn new(host_id: &str, ip: IpAddr) -> Self {
        let (address, net) = match ip {
            IpAddr::V4(ip) => (ip.octets().to_vec(), ip.octets()[..3].to_vec()),
            IpAddr::V6(ip) => (ip.octets().to_vec(), ip.octets()[..8].to_vec()),
        };
        let host = if host_id.is_empty() { short_hash(&address) } else { short_hash(host_id.as_bytes()) };
        Self { host, net: short_hash(&net) }
    }

    /// On the same machine.
    pub fn is_same_host(self, other: Self) -> bool {
        self.host == other.host
    }

    /// In the same network.
    pub fn is_same_net(self, other: Self) -> bool {
        self.net == other.net
    }

    /// The machine and the network as numbers, for a snapshot.
    pub fn parts(self) -> (u64, u64) {
        (self.host, self.net)
    }

    /// Back from [`Self::parts`].
    pub fn from_parts((host, net): (u64, u64)) -> Self {
        Self { host, net }
    }
}

/// Collisions only cost a needless detour, so 8 bytes do.
fn short_hash(bytes: &[u8]) -> u64 {
    PeerId::from_bytes(*blake3::hash(bytes).as_bytes()).short()
}
