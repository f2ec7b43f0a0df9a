//! The HTTP/2 server behind a port.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use rand::RngExt as _;
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::server::Server};
use tower::layer::util::{Identity, Stack};

use super::{
    Transport, Trust,
    accept::{accepted_by, secured, served},
    conduct::Conduct,
    counts::ConnectionCounts,
    descriptors,
    guard::{Guard, Scope},
    shelter::ShelterLayer,
};
use crate::shutdown::Shutdown;

/// Connections of one peer's listener at once. Each costs about 15 KB; more than a zone and its fetchers ever need.
const CONNECTIONS_OF_PEER: usize = 4096;
/// Of a registry's, where the system has descriptors for so many: each of the most peers that one registry takes keeps one for its
/// session, and one more for a minute after it has looked something up.
pub const CONNECTIONS_OF_REGISTRY: usize = 200_000;
/// Calls at once on one connection, above what one caller may have; more wait at the caller.
const MAX_STREAMS: u32 = 512;
/// Calls that are reset before their handler began; a connection with more is ended (rapid reset, CVE-2023-44487). A caller that
/// drops its searches at once has a few of these.
const MAX_RESET_BEFORE_BEGUN: usize = 64;
/// Streams that this side reset for an error of the other; a connection with more is ended. A library that has not yet heard how
/// many streams are allowed may be that much above it.
const MAX_RESET_FOR_ERRORS: usize = 256;
/// How long calls that still run may go on after the stop.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// A connection takes no new calls after this time, and ends when its calls have: so often at least both ends prove anew who
/// they are.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// Nor after this part of a certificate's life. One is renewed at 23 parts of 30 at the latest, so that no call begins in the
/// last two: there the connection is cut.
const AGES_PER_LIFETIME: u32 = 6;
/// Bytes of request headers; ours are below 1 KiB.
const MAX_HEADER_BYTES: u32 = 8 << 10;
/// What this side takes per stream and per connection before it says that it has read some: files pushed to the inbox
/// need it (256 KiB costs a third of the rate); requests are far smaller.
pub(super) const TRANSFER_STREAM_WINDOW: u32 = 2 << 20;
pub(super) const TRANSFER_CONNECTION_WINDOW: u32 = 4 << 20;
/// A chunk of 256 KiB with its framing in one DATA frame: a fifteenth of the system calls of 16 KiB frames.
pub(super) const TRANSFER_FRAME: u32 = (256 << 10) + 64;

/// Part of the age that every connection reaches.
const LEAST_AGE: f64 = 0.8;
/// Part of the age at which a channel is better replaced.
const CHANNEL_AGE: f64 = 0.6;

/// What a connection may hold here that nobody has read yet.
#[derive(Debug, Clone, Copy)]
struct Windows {
    stream: u32,
    connection: u32,
    frame: u32,
}

impl Windows {
    const OF_PEER: Self = Self {
        stream: TRANSFER_STREAM_WINDOW,
        connection: TRANSFER_CONNECTION_WINDOW,
        frame: TRANSFER_FRAME,
    };
    /// Requests are at most 16 KiB, and strangers may connect.
    const OF_REGISTRY: Self = Self { stream: 64 << 10, connection: 256 << 10, frame: 16 << 10 };
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Where it listens; the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Transport {
    /// Takes a port.
    ///
    /// # Errors
    /// When the security does not allow the address, or the system does not give it.
    pub async fn listen(&self, address: SocketAddr) -> anyhow::Result<Listener> {
        self.vet(address)?;
        let socket = TcpListener::bind(address)
            .await
            .with_context(|| format!("could not listen on {address}; is another daemon using the port?"))?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, address })
    }

    /// How long a channel is used for new calls: so long that no server ends it meanwhile, for a call that crosses with that is
    /// lost.
    pub fn channel_age(&self) -> Duration {
        most_age(self.trust()).mul_f64(CHANNEL_AGE)
    }

    /// Serves until the stop, then lets running calls end for a short while. Connections are dropped after that. In a
    /// closed network `scope` says who is of the zone, for the methods that belong to it; a registry has none.
    pub fn serve(
        &self,
        listener: Listener,
        routes: Routes,
        scope: Option<Arc<dyn Scope>>,
        shutdown: &Shutdown,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let address = listener.address;
        let trust = self.trust().cloned();
        // Only peers take files.
        let (windows, most) = match scope {
            Some(_) => (Windows::OF_PEER, CONNECTIONS_OF_PEER),
            None => (Windows::OF_REGISTRY, descriptors::for_connections(CONNECTIONS_OF_REGISTRY)),
        };
        let conduct = Conduct::default();
        let counts = self.connections().clone();
        let guarded = server(trust.as_ref(), conduct.clone(), counts.clone(), windows)
            .layer(Guard::new(trust.clone(), scope))
            .add_routes(routes);
        let (stopping, overdue) = (shutdown.stopping_owned(), shutdown.stopping_owned());
        async move {
            let overdue = async {
                overdue.await;
                tokio::time::sleep(DRAIN_GRACE).await;
            };
            let plain = accepted_by(listener.socket, most, conduct.clone(), counts);
            let incoming = match trust {
                None => served(plain),
                Some(trust) => served(secured(plain, trust, conduct)),
            };
            let serving = guarded.serve_with_incoming_shutdown(incoming, stopping);
            tokio::select! {
                served = serving => served.with_context(|| format!("could not serve on {address}")),
                () = overdue => Ok(()),
            }
        }
    }
}

/// After this time at the latest a connection takes no new calls, where certificates last for so long.
fn most_age(trust: Option<&Trust>) -> Duration {
    trust.map_or(MAX_AGE, |trust| MAX_AGE.min(trust.lifetime() / AGES_PER_LIFETIME))
}

fn server(
    trust: Option<&Trust>,
    conduct: Conduct,
    counts: ConnectionCounts,
    windows: Windows,
) -> Server<Stack<ShelterLayer, Identity>> {
    // Connections that began together must not end together at all daemons of a network.
    let age = most_age(trust).mul_f64(rand::rng().random_range(LEAST_AGE..1.0));
    Server::builder()
        .layer(ShelterLayer::beside(conduct, counts))
        .http2_max_pending_accept_reset_streams(Some(MAX_RESET_BEFORE_BEGUN))
        .http2_max_local_error_reset_streams(Some(MAX_RESET_FOR_ERRORS))
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_frame_size(windows.frame)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .max_connection_age(age)
}
