//! The daemon that tracks live peers and assigns zones. It never sees a file name, a query or a file. In a closed network it is
//! the certificate authority as well.

pub mod admin;
mod closed;
pub mod counts;
mod door;
mod enroll;
mod invite_file;
pub mod overview;
mod reach;
mod refusal;
mod service;
mod session;
pub mod state;
pub mod store;
mod sweep;

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, anyhow};
use tokio::task::JoinHandle;
use tonic::service::Routes;

use self::{
    admin::Admin,
    closed::Closed,
    door::Door,
    enroll::Enroll,
    invite_file::InviteFile,
    overview::Overview,
    reach::Reach,
    service::Service,
    session::Hub,
    state::{State, Terms},
    store::Store,
};
use crate::{
    config::RegistrySettings,
    net::{
        Identity, Security, Transport, advertise::advertised, secret_file, socket::ControlSocket,
        standard::with_standard,
    },
    protocol::trust::{NetworkId, PublicKey, invite::Invite},
    shutdown::Shutdown,
    wire::{
        admin::InviteAsk,
        enrollment,
        pb::{
            enrollment_service_server::{self, EnrollmentServiceServer},
            registry_service_server::{self, RegistryServiceServer},
        },
        registry::MAX_REQUEST_BYTES,
    },
};

/// Looks at the authority that a registry's data folder keeps, and changes nothing. True when there is one.
///
/// # Errors
/// When it is damaged, or cannot be read, or others can.
pub fn check_authority(data: &Path) -> anyhow::Result<bool> {
    closed::check(data)
}

/// A registry that runs. It ends by the [`Shutdown`] that it was started with.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    admin: Admin,
    overview: Overview,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Where it listens; the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To watch it by.
    pub fn overview(&self) -> Overview {
        self.overview.clone()
    }

    /// The key that invites name, in a closed network.
    pub fn authority(&self) -> Option<PublicKey> {
        self.admin.closed.as_deref().map(Closed::authority)
    }

    /// Which network it is, in a closed one.
    pub fn network(&self) -> Option<NetworkId> {
        self.admin.closed.as_deref().map(|closed| closed.trust().network())
    }

    /// Makes an invite, and tells until when it is good.
    ///
    /// # Errors
    /// When the network is not closed, the zone cannot be, or the invite could not be kept.
    pub async fn invite(&self, ask: &InviteAsk) -> anyhow::Result<(Invite, SystemTime)> {
        self.admin.invite(ask).await.map_err(|status| anyhow!("{}", status.message()))
    }

    /// Completes when it has stopped and its last snapshot is written.
    ///
    /// # Errors
    /// When serving failed.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.serving.await.context("the registry's task failed")?
    }
}

/// Starts a registry: takes its port and its socket, takes up its last snapshot and, unless the network is plaintext on this
/// machine, the network's authority, serves.
///
/// # Errors
/// When the port or the data folder cannot be had, or the authority's file is damaged; nothing is left running.
pub async fn start(settings: RegistrySettings, shutdown: Shutdown) -> anyhow::Result<Running> {
    // Before anything is read: the lock beside it keeps a second registry off this folder.
    let socket = socket(&settings.data)?;
    let (closed, security) = if settings.insecure_loopback {
        (None, Security::PlaintextLoopback)
    } else {
        let closed = Arc::new(Closed::open(&settings.data, settings.certificate_lifetime, shutdown.clone())?);
        let security = Security::Closed(closed.trust().clone());
        (Some(closed), security)
    };
    run(settings, security, closed, socket, shutdown).await
}

async fn run(
    settings: RegistrySettings,
    security: Security,
    closed: Option<Arc<Closed>>,
    socket: Option<ControlSocket>,
    shutdown: Shutdown,
) -> anyhow::Result<Running> {
    let transport = Transport::new(Identity::ephemeral(), security);
    let listener = transport.listen(settings.listen).await?;
    let address = listener.address();
    let host = host(settings.advertise.as_deref(), address).await?;

    let terms = Terms { layout: settings.layout, lease: settings.lease, heartbeat: settings.heartbeat };
    let store = Arc::new(Store::open(&settings.data)?);
    let (saved, epoch) = store.load()?;
    let pins = closed.as_deref().map(Closed::zone_pins).unwrap_or_default();
    let state = State::restore(terms, epoch, saved, pins, Instant::now(), &mut rand::rng());
    tracing::info!(%address, zones = state.zones(), peers = state.peers(), epoch, is_closed = closed.is_some(), "registry is up");
    let hub = Arc::new(Hub::new(state));
    if let Some(closed) = &closed {
        hub.deny(&closed.denied());
    }
    // The epoch has to outlive a crash in the first seconds.
    store.save(&hub);

    let admin = Admin {
        closed: closed.clone(),
        hub: hub.clone(),
        layout: settings.layout,
        host,
        shutdown: shutdown.clone(),
    };
    let mut invite_file = settings.invite_file.map(|path| InviteFile::new(path, settings.layout));
    if let (Some(file), Some(closed)) = (&mut invite_file, &closed) {
        file.refresh(&admin, closed).await?;
    }

    let overview = Overview(Arc::new(overview::Parts {
        hub: hub.clone(),
        closed: closed.clone(),
        transport: transport.clone(),
        address,
        shutdown: shutdown.clone(),
        started: Instant::now(),
    }));
    let reach = closed.clone().map(|closed| (closed, Reach::new(transport.clone(), settings.lease)));
    let door = Arc::new(Door::new(hub.clone(), reach));
    let registry = Service { hub: hub.clone(), door, shutdown: shutdown.clone() };
    let registry = RegistryServiceServer::new(registry).max_decoding_message_size(MAX_REQUEST_BYTES);
    let mut routes = Routes::new(registry);
    if let Some(closed) = &closed {
        let enroll = EnrollmentServiceServer::new(Enroll::new(closed.clone(), hub.clone()));
        routes = routes.add_service(enroll.max_decoding_message_size(enrollment::MAX_REQUEST_BYTES));
    }
    let services: &[&str] = match closed {
        Some(_) => &[registry_service_server::SERVICE_NAME, enrollment_service_server::SERVICE_NAME],
        None => &[registry_service_server::SERVICE_NAME],
    };
    let routes = with_standard(routes, services, &shutdown).await;

    sweep::spawn(&hub, &store, &shutdown);
    if let Some(closed) = &closed {
        sweep::spawn_authority(closed, &admin, invite_file, &shutdown);
    }
    if let Some(socket) = socket {
        admin.clone().serve(socket, &shutdown);
    }
    let served = transport.serve(listener, routes, None, &shutdown);
    let blocking = shutdown.clone();
    let serving = shutdown.spawn_draining("serve", async move {
        let served = served.await;
        // A registry that cannot serve any more must not seem to live on.
        blocking.stop();
        if let Some(closed) = closed {
            closed.commit().await.map_err(|refusal| anyhow!(refusal))?;
        }
        blocking.spawn_blocking(move || store.save(&hub)).await.context("the last snapshot failed")?;
        served
    });
    Ok(Running { address, admin, overview, serving })
}

/// None, when the registry keeps nothing.
fn socket(data: &Path) -> anyhow::Result<Option<ControlSocket>> {
    if data.as_os_str().is_empty() {
        return Ok(None);
    }
    secret_file::make_folder(data)?;
    Ok(Some(ControlSocket::bind(&admin::socket_path(data))?))
}

/// What invites say of where this registry is.
async fn host(asked: Option<&str>, listening: SocketAddr) -> anyhow::Result<String> {
    match asked {
        Some(host) => Ok(host.to_owned()),
        None => Ok(advertised(None, listening, &listening.to_string()).await?.to_string()),
    }
}
