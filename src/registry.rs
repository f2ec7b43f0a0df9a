//! The daemon that tracks live peers and assigns zones. It never sees a file name, a query or a file.

mod refusal;
mod service;
mod session;
pub mod state;
mod store;
mod sweep;

use std::{net::SocketAddr, sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use self::{
    service::Service,
    session::Hub,
    state::{State, Terms},
    store::Store,
};
use crate::{
    config::RegistrySettings,
    net::{Identity, Security, Transport, standard::with_standard},
    shutdown::Shutdown,
    wire::{pb::registry_service_server::RegistryServiceServer, registry::MAX_REQUEST_BYTES},
};

/// A registry that runs. It ends by the [`Shutdown`] that it was started with.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Where it listens; the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Completes when it has stopped and its last snapshot is written.
    ///
    /// # Errors
    /// When serving failed.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.serving.await.context("the registry's task failed")?
    }
}

/// Starts the registry of a plaintext network on this machine, as its settings ask; see [`start_in`].
///
/// # Errors
/// As [`start_in`], and when the settings ask for a closed network: that takes an authority.
pub async fn start(settings: RegistrySettings, shutdown: Shutdown) -> anyhow::Result<Running> {
    ensure!(settings.insecure_loopback, "this registry has no network; found one by `floodplain up`");
    start_in(settings, Security::PlaintextLoopback, shutdown).await
}

/// Starts a registry: takes its port, takes up its last snapshot, serves.
///
/// # Errors
/// When the port or the data folder cannot be had; nothing is left running.
pub async fn start_in(
    settings: RegistrySettings,
    security: Security,
    shutdown: Shutdown,
) -> anyhow::Result<Running> {
    let transport = Transport::new(Identity::ephemeral(), security);
    let listener = transport.listen(settings.listen).await?;
    let address = listener.address();

    let terms = Terms { layout: settings.layout, lease: settings.lease, heartbeat: settings.heartbeat };
    let store = Arc::new(Store::open(&settings.data)?);
    let (saved, epoch) = store.load()?;
    let state = State::restore(terms, epoch, saved, Instant::now(), &mut rand::rng());
    tracing::info!(%address, zones = state.zones(), peers = state.peers(), epoch, "registry is up");
    let hub = Arc::new(Hub::new(state));
    // The epoch has to outlive a crash in the first seconds.
    store.save(&hub);

    let registry = RegistryServiceServer::new(Service { hub: hub.clone(), shutdown: shutdown.clone() })
        .max_decoding_message_size(MAX_REQUEST_BYTES);
    let routes = with_standard::<RegistryServiceServer<Service>>(Routes::new(registry), &shutdown).await?;

    sweep::spawn(&hub, &store, &shutdown);
    let served = transport.serve(listener, routes, None, &shutdown);
    let blocking = shutdown.clone();
    let serving = shutdown.spawn_draining("serve", async move {
        let served = served.await;
        // A registry that cannot serve any more must not seem to live on.
        blocking.stop();
        blocking.spawn_blocking(move || store.save(&hub)).await.context("the last snapshot failed")?;
        served
    });
    Ok(Running { address, serving })
}
