//! The faces that a browser or a script uses: a page, REST and gRPC on one loopback port, over the same handle as all others.
//!
//! Invariant: every request passes the [`guard`] first, and nothing here reaches deeper than the handle it was given.

mod api;
mod assets;
mod disposition;
mod events;
mod extract;
pub mod guard;
pub mod health;
mod held;
pub(crate) mod json;
mod lazy;
pub mod metrics;
mod once;
mod paging;
pub mod problem;
mod range;
pub mod registry;
mod searches;
mod spool;
mod sse;
pub mod token;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use axum::Router;
use tokio::net::TcpListener;
use tonic::{service::Routes, transport::Server};

pub use self::{api::open_peer, lazy::Calls, registry::open_registry};
use self::{
    guard::{Guard, door, owner_only},
    lazy::Lazy,
    token::Token,
};
use crate::{config::HttpSettings, net::accept::accepted, peer::Vitals, shutdown::Shutdown};

/// Connections at once; further ones wait in the listener's backlog. A browser has six to a host and one for events.
const MAX_CONNECTIONS: usize = 512;
/// Calls at once on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;
/// Bytes of request headers over HTTP/2.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// How long requests that still run may go on after the stop.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// What needs no token of a peer: `/healthz`, `/readyz` and `/metrics`.
pub fn of_peer(vitals: &Vitals) -> Router {
    let ready = vitals.clone();
    health::routes(move || ready.problem()).merge(metrics::of_peer(vitals.clone()))
}

/// A running gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    address: SocketAddr,
    folder: PathBuf,
    /// Set when the port that nobody chose was taken.
    instead_of: Option<SocketAddr>,
}

impl Gateway {
    /// Where it is dialed from this machine.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address that it would have taken by default, when another program had that.
    pub fn instead_of(&self) -> Option<SocketAddr> {
        self.instead_of
    }

    /// An address that opens the page once, within ten minutes. Blocks.
    ///
    /// # Errors
    /// When the token cannot be read.
    pub fn link(&self) -> Result<String> {
        link(&self.folder)?.with_context(|| format!("{} is gone", self.folder.display()))
    }
}

/// An address that opens the page of the gateway of that folder once, within ten minutes; `None` when none runs. Blocks.
///
/// # Errors
/// When the token or the address cannot be read.
pub fn link(folder: &Path) -> Result<Option<String>> {
    let (Some(address), Some(token)) = (token::address(folder)?, Token::load(folder)?) else {
        return Ok(None);
    };
    let ticket = token.ticket(std::time::SystemTime::now());
    Ok(Some(format!("http://{address}/login?ticket={ticket}")))
}

/// What a gateway serves.
pub(crate) struct Content {
    /// For everyone who passes the guard.
    pub(crate) open: Router,
    /// For the owner.
    pub(crate) owned: Router,
    /// gRPC, for the owner.
    pub(crate) calls: Option<Calls>,
}

/// A bound port, not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    gateway: Gateway,
    guard: Guard,
}

impl Bound {
    /// Takes the port and the token.
    ///
    /// # Errors
    /// When a port that somebody chose is taken, or the folder cannot be used.
    pub(crate) async fn bind(listen: SocketAddr, settings: &HttpSettings, folder: PathBuf) -> Result<Self> {
        let (listener, instead_of) = listen_at(listen, settings.is_default).await?;
        let mut address = listener.local_addr()?;
        let port = address.port();
        if address.ip().is_unspecified() {
            let loopback: IpAddr =
                if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
            address.set_ip(loopback);
        }
        let made = folder.clone();
        let token = tokio::task::spawn_blocking(move || Token::load_or_create(&made)).await??;
        let guard = Guard::new(token, port, settings.hosts.clone());
        Ok(Self { listener, gateway: Gateway { address, folder, instead_of }, guard })
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.gateway.folder
    }

    /// Serves until the stop, then lets running requests end for a short while.
    ///
    /// # Errors
    /// When the address file cannot be written.
    pub(crate) fn serve(self, content: Content, shutdown: &Shutdown) -> Result<Gateway> {
        let Self { listener, gateway, guard } = self;
        let file = token::address_file(&gateway.folder);
        let router = compose(content, guard);
        std::fs::write(&file, format!("{}\n", gateway.address))
            .with_context(|| format!("could not write {}", file.display()))?;
        let (stopping, overdue, stop) =
            (shutdown.stopping_owned(), shutdown.stopping_owned(), shutdown.clone());
        let address = gateway.address;
        shutdown.spawn_draining("gateway", async move {
            let serving = Server::builder()
                .accept_http1(true)
                .max_concurrent_streams(MAX_STREAMS)
                .http2_keepalive_interval(Some(Duration::from_secs(20)))
                .http2_keepalive_timeout(Some(Duration::from_secs(10)))
                .http2_max_header_list_size(MAX_HEADER_BYTES)
                .add_routes(Routes::from(router))
                .serve_with_incoming_shutdown(Box::pin(accepted(listener, MAX_CONNECTIONS)), stopping);
            let overdue = async {
                overdue.await;
                tokio::time::sleep(DRAIN_GRACE).await;
            };
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::error!(error = format!("{error:#}"), %address, "the gateway failed");
                },
                () = overdue => {}
            }
            if !stop.is_stopping() {
                tracing::warn!(%address, "the gateway ended");
            }
            // Whoever reads it must not be sent to a port that another program may take.
            let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
        });
        tracing::info!(%address, "the gateway listens");
        Ok(gateway)
    }
}

fn compose(content: Content, guard: Guard) -> Router {
    let Content { open, owned, calls } = content;
    let owned = owned.layer(axum::middleware::from_fn_with_state(guard.clone(), owner_only));
    let lazy = Lazy::new(calls, guard.clone());
    open.merge(owned)
        .method_not_allowed_fallback(api::wrong_method)
        .fallback(move |request| lazy.clone().answer(request))
        .layer(axum::middleware::from_fn_with_state(guard, door))
}

/// The address asked for; when it is only the default and taken, another port of the same host.
async fn listen_at(address: SocketAddr, is_default: bool) -> Result<(TcpListener, Option<SocketAddr>)> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok((listener, None)),
        Err(error) if is_default && error.kind() == io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind((address.ip(), 0)).await?;
            Ok((listener, Some(address)))
        }
        Err(error) => Err(error).with_context(|| {
            format!("the web page cannot listen on {address}; set FLOODPLAIN_HTTP_LISTEN to a free port, or to `off`")
        }),
    }
}
