//! Where a call comes from: what it is shown as and counted by, until calls carry an identity.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use tonic::transport::server::TcpConnectInfo;

use crate::protocol::{id::PeerId, roster::Member};

/// The other end of a call's connection; unknown where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(Option<SocketAddr>);

/// Who shares a bound. A host, but on this machine a connection: there every peer of a demo has the same address, and
/// two peers have one connection between them. So this machine as a whole is bounded only by what all share; another
/// process of it is no stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallerKey(Option<SocketAddr>);

impl Caller {
    /// From what the server knows of a call.
    pub fn of(extensions: &http::Extensions) -> Self {
        Self::at(extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr))
    }

    /// From the address of the other end.
    pub fn at(address: Option<SocketAddr>) -> Self {
        Self(address.map(|address| SocketAddr::new(address.ip().to_canonical(), address.port())))
    }

    /// The host.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.map(|address| address.ip())
    }

    /// What it is counted by.
    pub fn key(&self) -> CallerKey {
        CallerKey(self.0.map(|address| {
            let port = if address.ip().is_loopback() { address.port() } else { 0 };
            SocketAddr::new(address.ip(), port)
        }))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
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
}
