//! Dialing: a channel per purpose, so that a download's windows do not slow a search's cancellation.

use std::{net::SocketAddr, time::Duration};

use tonic::transport::{Channel, Endpoint};

use super::{
    Forbidden, Transport,
    listen::{TRANSFER_CONNECTION_WINDOW, TRANSFER_FRAME, TRANSFER_STREAM_WINDOW},
};

/// How long a connection may take to open. A host that is switched off answers nothing at all.
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
    /// Nobody answered.
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
    /// Opens a channel. It reconnects by itself at the next call when the connection is lost.
    ///
    /// # Errors
    /// When the address is forbidden, or nobody answers there within 3 s.
    pub async fn dial(&self, address: SocketAddr, purpose: Purpose) -> Result<Channel, DialError> {
        let endpoint = self.endpoint(address, purpose)?;
        endpoint.connect().await.map_err(|source| DialError::Unreachable { address, source })
    }

    /// A channel that connects at its first call.
    ///
    /// # Errors
    /// When the address is forbidden.
    pub fn dial_lazily(&self, address: SocketAddr, purpose: Purpose) -> Result<Channel, Forbidden> {
        Ok(self.endpoint(address, purpose)?.connect_lazy())
    }

    /// Opens a channel to the first address of a `HOST:PORT` that answers.
    ///
    /// # Errors
    /// When the name has no address, or none of its addresses answers: the last one's error.
    pub async fn dial_host(&self, host: &str, purpose: Purpose) -> Result<Channel, DialError> {
        let unknown = |source| DialError::Unknown { host: host.into(), source };
        let addresses = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(host))
            .await
            .unwrap_or_else(|late| Err(late.into()))
            .map_err(unknown)?;
        let mut last = unknown(std::io::ErrorKind::NotFound.into());
        for address in addresses {
            match self.dial(address, purpose).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn endpoint(&self, address: SocketAddr, purpose: Purpose) -> Result<Endpoint, Forbidden> {
        self.vet(address)?;
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .expect("a socket address makes a valid URI")
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(match purpose {
            Purpose::Registry => endpoint.initial_stream_window_size(REGISTRY_WINDOW),
            Purpose::Link => endpoint.initial_stream_window_size(SEARCH_WINDOW),
            Purpose::Transfer => endpoint
                .initial_stream_window_size(TRANSFER_STREAM_WINDOW)
                .initial_connection_window_size(TRANSFER_CONNECTION_WINDOW)
                .max_frame_size(TRANSFER_FRAME),
        })
    }
}
