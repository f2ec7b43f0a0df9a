//! Who makes a call: what is proven of it, what it is shown as and what it is counted by.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::protocol::{
    id::{PeerId, ZoneId},
    roster::Member,
};

/// The other end of a call's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Unknown on a Unix socket.
    address: Option<SocketAddr>,
    standing: Standing,
}

/// What is proven of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: a plaintext network on this machine, or a Unix socket.
    Plain,
    /// Nothing, in a closed network: TLS without a certificate, at the registry only; or the registry itself, at a peer.
    Stranger,
    /// Its key; its certificate has run out. At the registry only.
    Expired {
        /// Who.
        peer: PeerId,
    },
    /// That it is a peer of the network.
    Member {
        /// Who.
        peer: PeerId,
        /// The zone that its certificate names, which may be the last one it was in.
        zone: Option<ZoneId>,
    },
}

/// Who shares a bound. A peer that proved its id, however many connections it has. Else a host, but on this machine a
/// connection: there every peer of a demo has the same address, and two peers have one connection between them. So this
/// machine as a whole is bounded only by what all share; another process of it is no stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerKey(Counted);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    Peer(PeerId),
    Address(Option<SocketAddr>),
}

impl Caller {
    /// Of a call, as the accept loop found out.
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get::<Self>().copied().unwrap_or_else(|| Self::at(None))
    }

    /// Of whom nothing is known but the address.
    pub fn at(address: Option<SocketAddr>) -> Self {
        Self::new(address, Standing::Plain)
    }

    /// At an address, and of whom that is proven.
    pub fn new(address: Option<SocketAddr>, standing: Standing) -> Self {
        let address = address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
        Self { address, standing }
    }

    /// Where its connection comes from; IPv4 in IPv6 is told as IPv4.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The host.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }

    /// What is proven of it.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Its id, when that is proven.
    pub fn peer(&self) -> Option<PeerId> {
        match self.standing {
            Standing::Member { peer, .. } | Standing::Expired { peer } => Some(peer),
            Standing::Plain | Standing::Stranger => None,
        }
    }

    /// The zone that its certificate names.
    pub fn zone(&self) -> Option<ZoneId> {
        match self.standing {
            Standing::Member { zone, .. } => zone,
            _ => None,
        }
    }

    /// It may speak for that peer: it is that peer, or nothing is proven in this network.
    pub fn may_speak_for(&self, peer: &PeerId) -> bool {
        match self.standing {
            Standing::Plain => true,
            Standing::Member { peer: proven, .. } => proven == *peer,
            Standing::Stranger | Standing::Expired { .. } => false,
        }
    }

    /// What it is counted by.
    pub fn key(&self) -> CallerKey {
        if let Some(peer) = self.peer() {
            return CallerKey(Counted::Peer(peer));
        }
        CallerKey(Counted::Address(self.address.map(|address| {
            let port = if address.ip().is_loopback() { address.port() } else { 0 };
            SocketAddr::new(address.ip(), port)
        })))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.ip().fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// Who is known under an id. Implemented by the view.
pub trait KnownPeers: fmt::Debug + Send + Sync + 'static {
    /// The peer of that id as the registry tells of it.
    fn known(&self, id: &PeerId) -> Option<Member>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_however_many_connections_it_has_but_this_machine_is_many() {
        let key = |address: &str| Caller::at(Some(address.parse().expect("an address"))).key();
        assert_eq!(key("10.0.0.1:1"), key("10.0.0.1:2"));
        assert_eq!(key("10.0.0.1:1"), key("[::ffff:10.0.0.1]:2"));
        assert_ne!(key("10.0.0.1:1"), key("10.0.0.2:1"));
        assert_ne!(key("127.0.0.1:1"), key("127.0.0.1:2"));
        assert_eq!(key("127.0.0.1:1"), key("[::ffff:127.0.0.1]:1"));
    }

    #[test]
    fn who_proved_an_id_is_one_wherever_it_calls_from_and_speaks_for_nobody_else() {
        let (peer, other) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let at = |address: &str, peer| {
            let address = address.parse().expect("an address");
            Caller::new(Some(address), Standing::Member { peer, zone: None })
        };
        assert_eq!(at("127.0.0.1:1", peer).key(), at("10.0.0.1:2", peer).key());
        assert_ne!(at("127.0.0.1:1", peer).key(), at("127.0.0.1:1", other).key());
        assert!(at("127.0.0.1:1", peer).may_speak_for(&peer));
        assert!(!at("127.0.0.1:1", peer).may_speak_for(&other));
        assert!(!Caller::new(None, Standing::Stranger).may_speak_for(&peer));
        assert!(Caller::at(None).may_speak_for(&peer));
    }
}
