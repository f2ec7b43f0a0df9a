//! Dialing: a channel per purpose, so that a download's windows do not slow a search's cancellation. In a closed network the
//! caller says who is expected, and nobody else is talked to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::{
    Forbidden, Security, Transport, Trust,
    leaf::{Leaf, Subject},
    link::{Bounds, Link},
    listen::{TRANSFER_CONNECTION_WINDOW, TRANSFER_FRAME, TRANSFER_STREAM_WINDOW},
};
use crate::protocol::{id::PeerId, roster::Member};

/// How long a connection may take to open, its handshake included. A host that is switched off answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A channel that is never pinged does not recover from a partition.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Small, so that a cancelled search has little in flight (0.7 ms to cancel a busy tree against 9 to 33 ms), and so that less
/// than 1 MiB in all runs ahead of a reader who stalls, seven hops from the last peer with a branch beside each.
const SEARCH_WINDOW: u32 = 32 << 10;
/// For whole rosters.
const REGISTRY_WINDOW: u32 = 64 << 10;

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The registry: a session and small calls.
    Registry,
    /// A link to a neighbor: searches and folder listings.
    Link,
    /// Files.
    Transfer,
}

/// A peer to be dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct To {
    /// Where.
    pub address: SocketAddr,
    /// Who is expected there. In a plaintext network nobody can prove it, and nobody is asked.
    pub peer: PeerId,
}

impl From<&Member> for To {
    fn from(member: &Member) -> Self {
        Self { address: member.address, peer: member.id }
    }
}

/// Why nobody is at the other end.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The security in force does not allow the address.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The name has no address.
    #[error("could not find the address of {host}")]
    Unknown {
        /// What was looked up.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nobody answered, or one who is not the one expected.
    #[error("could not connect to {address}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

impl Transport {
    /// Opens a channel to a peer. It reconnects by itself at the next call when the connection is lost.
    ///
    /// # Errors
    /// When the address is forbidden, or that peer does not answer there within 3 s.
    pub async fn dial(&self, to: To, purpose: Purpose) -> Result<Channel, DialError> {
        self.open(to.address, Expected::Peer(to.peer), purpose).await
    }

    /// A channel to a peer that connects at its first call.
    ///
    /// # Errors
    /// When the address is forbidden.
    pub fn dial_lazily(&self, to: To, purpose: Purpose) -> Result<Channel, Forbidden> {
        self.vet(to.address)?;
        let endpoint = endpoint(to.address, purpose);
        Ok(match &self.0.security {
            Security::PlaintextLoopback => endpoint.connect_lazy(),
            Security::Closed(trust) => {
                let secure = secure(trust.clone(), to.address, Expected::Peer(to.peer));
                endpoint.connect_with_connector_lazy(secure)
            }
        })
    }

    /// Opens a channel to the registry at the first address of a `HOST:PORT` where it answers.
    ///
    /// # Errors
    /// When the name has no address, or the registry answers at none of its addresses: the last one's error.
    pub async fn dial_host(&self, host: &str, purpose: Purpose) -> Result<Channel, DialError> {
        let mut last = None;
        for address in addresses(host).await? {
            match self.open(address, Expected::Registry, purpose).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("a host has at least one address"))
    }

    async fn open(
        &self,
        address: SocketAddr,
        expected: Expected,
        purpose: Purpose,
    ) -> Result<Channel, DialError> {
        self.vet(address)?;
        let endpoint = endpoint(address, purpose);
        let opened = match &self.0.security {
            Security::PlaintextLoopback => endpoint.connect().await,
            Security::Closed(trust) => {
                endpoint.connect_with_connector(secure(trust.clone(), address, expected)).await
            }
        };
        opened.map_err(|source| DialError::Unreachable { address, source })
    }
}

/// The addresses of a `HOST:PORT`; at least one.
pub(super) async fn addresses(host: &str) -> Result<Vec<SocketAddr>, DialError> {
    let unknown = |source| DialError::Unknown { host: host.into(), source };
    let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(host))
        .await
        .unwrap_or_else(|late| Err(late.into()))
        .map_err(unknown)?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(unknown(io::ErrorKind::NotFound.into())) } else { Ok(addresses) }
}

pub(super) fn endpoint(address: SocketAddr, purpose: Purpose) -> Endpoint {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .expect("a socket address makes a valid URI")
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    match purpose {
        Purpose::Registry => endpoint.initial_stream_window_size(REGISTRY_WINDOW),
        Purpose::Link => endpoint.initial_stream_window_size(SEARCH_WINDOW),
        Purpose::Transfer => endpoint
            .initial_stream_window_size(TRANSFER_STREAM_WINDOW)
            .initial_connection_window_size(TRANSFER_CONNECTION_WINDOW)
            .max_frame_size(TRANSFER_FRAME),
    }
}

/// Who has to be at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Peer(PeerId),
    Registry,
}

/// Opens connections over TLS, whenever tonic needs one, with the certificate that is shown then.
fn secure(
    trust: Trust,
    address: SocketAddr,
    expected: Expected,
) -> impl Service<Uri, Response = Connection, Error = io::Error, Future: Send> + Send + 'static {
    tower::service_fn(move |_| {
        let trust = trust.clone();
        async move { connect(&trust, address, expected).await.map(TokioIo::new) }
    })
}

/// What tonic speaks over.
pub(super) type Connection = TokioIo<Link<TlsStream<TcpStream>>>;

async fn connect(
    trust: &Trust,
    address: SocketAddr,
    expected: Expected,
) -> io::Result<Link<TlsStream<TcpStream>>> {
    let denied = || io::Error::new(io::ErrorKind::PermissionDenied, "that peer was shut out of the network");
    let name = match expected {
        Expected::Peer(peer) if trust.is_denied(&peer) => return Err(denied()),
        Expected::Peer(peer) => trust.network().peer_name(&peer),
        Expected::Registry => trust.network().registry_name(),
    };
    let name = ServerName::try_from(name).map_err(io::Error::other)?;
    let stream = handshake(address, trust.client(), name).await?;
    // The name was checked by the verifier; the leaf, that the id in it is the hash of its key.
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or_else(|| io::Error::other("it showed no certificate"))?;
    let leaf = Leaf::read(certificate, trust.network()).map_err(io::Error::other)?;
    let bounds = match (expected, leaf.subject) {
        (Expected::Peer(expected), Subject::Peer { peer, .. }) if peer == expected => {
            Bounds::of_peer(Some(trust.watch(peer).ok_or_else(denied)?), trust.bounded(leaf.not_after))
        }
        (Expected::Registry, Subject::Registry) => Bounds::until(leaf.not_after),
        _ => return Err(io::Error::other("it is somebody else")),
    };
    Ok(Link::new(stream, bounds))
}

/// Connects, and lets the verifier of these settings see who is there.
pub(super) async fn handshake(
    address: SocketAddr,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(client).connect(name, stream).await
}
