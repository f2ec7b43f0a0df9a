//! The daemon that shares, searches and transfers; both client and server.
//!
//! [`start`] brings the parts up in the order in which they need each other; every task ends with the `Shutdown` given.

mod activity;
pub mod channels;
pub mod control;
mod counters;
mod directory;
pub mod download;
mod earlier;
pub mod enroll;
pub mod folder;
pub mod handle;
mod links;
mod local;
mod many;
mod mover;
mod origin;
mod read;
pub mod receive;
pub mod remote;
mod renew;
mod replicas;
mod retry;
mod room;
mod saved;
mod search;
pub mod send;
mod service;
mod session;
mod shared;
mod summaries;
pub mod transfers;
pub mod upload;
mod view;
pub mod vitals;
mod zones;

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use tokio::sync::watch;
use tonic::service::Routes;

pub use handle::{Actions, Handle};
pub use view::{Knowledge, View};
pub use vitals::Vitals;

use self::{
    channels::Channels,
    control::ControlSocket,
    counters::Counts,
    directory::Directory,
    download::Downloader,
    earlier::{open_kept, open_saved, open_transfers},
    folder::FolderGetter,
    links::Links,
    local::Local,
    mover::{Mover, Shared},
    origin::Origin,
    read::Reader,
    receive::Receiver,
    renew::Renewer,
    replicas::{Keeping, Parts, ReplicaFace, Staged, Turns},
    search::{Searcher, Words},
    send::Sender,
    service::Service,
    session::Session,
    shared::Offered,
    summaries::Summaries,
    upload::{FastDownload, Uploads},
    zones::Zones,
};
use crate::{
    config::PeerSettings,
    index::{Index, IndexSettings},
    net::{
        Identity, Purpose, Security, Transport, Trust, advertise::advertised, secret_file,
        shelter::LargeRequests, standard::with_standard, throttle::Throttle,
    },
    protocol::{
        action::{ActionError, Connection, ErrorKind},
        flood::QueryCache,
    },
    shutdown::Shutdown,
    store::{
        inbox::Inbox,
        membership::{Enrolled, NetworkFolder},
    },
    wire::{
        pb::{
            peer_service_server::{self, PeerServiceServer},
            replica_service_server::{self, ReplicaServiceServer},
        },
        replica,
        transfer::MAX_CHUNK_BYTES,
    },
};

/// Largest message of a push: a chunk of a file with its framing.
const MAX_PUSH_BYTES: usize = MAX_CHUNK_BYTES + 1024;
/// Largest of every other request: 16 KiB of paths with their framing.
const MAX_REQUEST_BYTES: usize = (16 << 10) + 1024;
/// How long what runs may go on after the peer has left.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    local: Arc<Local>,
    searcher: Arc<Searcher>,
    address: SocketAddr,
    refusal: watch::Receiver<Option<ActionError>>,
    vitals: Vitals,
    shutdown: Shutdown,
}

/// Starts a peer in the network that its settings ask for: in a closed one, to which it belongs or is invited, or with
/// `insecure_loopback` in a plaintext one on this machine. Takes its socket and its port, begins to index and to join,
/// serves. Returns before it has joined; see [`Peer::until_ready`]. Waits for an invite that is to come in a file.
///
/// # Errors
/// An [`ActionError`] inside when it belongs to no network and none lets it in. Else when a port, a folder or the control
/// socket cannot be had; the tasks begun so far end with `shutdown`.
pub async fn start(mut settings: PeerSettings, shutdown: Shutdown) -> Result<Peer> {
    secret_file::make_folder(&settings.data)?;
    // First: it tells that no other process has this folder.
    let socket = ControlSocket::bind(&control::socket_path(&settings.data))?;
    if settings.insecure_loopback {
        return begin(settings, Security::PlaintextLoopback, None, socket, shutdown).await;
    }
    let enrolled = enroll::enrolled(&settings).await?;
    if settings.is_registry_default {
        settings.registry.clone_from(&enrolled.registry);
    }
    if settings.is_name_default {
        settings.name.clone_from(&enrolled.name);
    }
    let folder = NetworkFolder::of(&settings.data);
    let trust = Trust::new(enrolled.key.clone(), enrolled.credentials.clone())
        .with_context(|| format!("{} is damaged", folder.path().display()))?;
    trust.deny(folder.denied()?);
    begin(settings, Security::Closed(trust), Some(Kept { folder, enrolled }), socket, shutdown).await
}

/// A membership and where it is kept.
struct Kept {
    folder: NetworkFolder,
    enrolled: Enrolled,
}

#[expect(clippy::too_many_lines, reason = "one part after the other, each a few lines")]
async fn begin(
    settings: PeerSettings,
    security: Security,
    kept: Option<Kept>,
    socket: ControlSocket,
    shutdown: Shutdown,
) -> Result<Peer> {
    let started = SystemTime::now();
    let identity = match &security {
        Security::PlaintextLoopback => Identity::load_or_create(&settings.data)?,
        Security::Closed(trust) => Identity::proven(&settings.data, trust)?,
    };
    let transport = Transport::new(identity, security);
    let listener = transport.listen(settings.listen).await?;
    let address = advertised(settings.advertise, listener.address(), &settings.registry).await?;

    let downloads = mover::downloads_beside(&settings.inbox);
    let (transfers, revived) = open_transfers(&settings, &downloads, started, &shutdown).await?;
    let mut shares = settings.shares.clone();
    shares.push(downloads.clone());
    let (replicas, puts) = open_kept(&settings, &shutdown).await?;
    if replicas.is_offered() {
        shares.push(replicas.folder().to_path_buf());
    }
    let index = IndexSettings { shares, data: settings.data.clone() };
    let index = Index::open(index, &shutdown).context("could not open the index")?;
    let (id, incarnation) = (transport.identity().id(), transport.identity().incarnation());
    let view = View::new(id, settings.name.clone(), address, incarnation);
    let counts = Counts::default();
    let links = Arc::new(Links::new(transport.clone(), Purpose::Link));
    let summaries = Summaries::new(view.clone(), index.clone(), links.clone());
    let zones = Zones::new(view.clone(), links.clone(), summaries.clone(), shutdown.clone());
    let words = Words { summaries: summaries.clone(), zones: zones.clone() };
    let cache = QueryCache::new(NonZeroUsize::new(settings.query_cache).unwrap_or(NonZeroUsize::MIN));
    let staged = Staged::default();
    let source = Arc::new(Shared(index.clone(), staged.clone()));
    let (slots, limits) = (settings.upload_slots, settings.upload_limits);
    let uploads = Uploads::new(source, slots, limits, transfers.clone(), shutdown.clone());
    let searcher = Arc::new(Searcher::new(
        view.clone(),
        index.clone(),
        (links.clone(), uploads.clone()),
        words.clone(),
        counts.clone(),
        cache,
        shutdown.clone(),
    ));
    let activities = searcher.activities().clone();
    let directory = Arc::new(Directory::new(
        settings.registry.clone(),
        transport.clone(),
        view.clone(),
        shutdown.clone(),
    ));
    let origin = Arc::new(Origin::new(
        view.clone(),
        index.clone(),
        searcher.clone(),
        directory.clone(),
        counts.clone(),
        shutdown.clone(),
        (settings.ttl, settings.search_timeout),
    ));
    let saved = open_saved(&settings, origin.clone(), view.clone(), &shutdown).await?;
    let channels = Channels::new(transport.clone());
    let inbox = Inbox::open(settings.inbox, &settings.data, settings.accept)?;
    let offered = {
        let (index, downloads, replicas) = (index.clone(), downloads.clone(), replicas.clone());
        let inbox = inbox.clone();
        let looking = move || Offered::new(index, &downloads, replicas.folder(), inbox.folder());
        tokio::task::spawn_blocking(looking).await?
    };
    let throttle = Throttle::new(settings.download_limits);
    let downloader = Downloader::new(channels.clone(), transfers.clone(), shutdown.clone(), throttle.clone())
        .with_index(index.clone());
    let keeping = Keeping::new(Parts {
        store: replicas.clone(),
        puts,
        staged,
        turns: Turns::default(),
        view: view.clone(),
        index: index.clone(),
        channels: channels.clone(),
        puller: Downloader::new(
            channels.clone(),
            transfers.aside(replicas::PULLS_AT_ONCE),
            shutdown.clone(),
            throttle.clone(),
        ),
        transfers: transfers.clone(),
        grace: settings.replica_grace,
        shutdown: shutdown.clone(),
        short: std::sync::Mutex::default(),
        is_leaving: AtomicBool::new(false),
        handing_over: tokio::sync::Mutex::default(),
    });
    let mover = Mover {
        view: view.clone(),
        index: index.clone(),
        origin: origin.clone(),
        directory: directory.clone(),
        downloader,
        reader: Reader::new(channels.clone(), throttle.clone(), shutdown.clone()),
        folders: FolderGetter::new(channels.clone(), transfers.clone(), throttle, shutdown.clone()),
        sender: Sender::new(id, channels, transfers.clone(), shutdown.clone()),
        transfers: transfers.clone(),
        inbox: inbox.clone(),
        downloads,
        patient_until: tokio::time::Instant::now(),
        shutdown: shutdown.clone(),
    };
    mover.start_revived(revived);
    let known = Arc::new(view.clone());
    let receiver = Receiver::new(inbox, known, transfers.clone(), shutdown.clone());
    let vitals = Vitals(Arc::new(vitals::Parts {
        view: view.clone(),
        index: index.clone(),
        transport: transport.clone(),
        searcher: searcher.clone(),
        counts: counts.clone(),
        transfers: transfers.clone(),
        uploads: uploads.clone(),
        replicas: replicas.clone(),
        shutdown: shutdown.clone(),
        started: Instant::now(),
    }));
    let service = Service::new(index.clone(), searcher.clone(), words, uploads.clone(), receiver);
    let service = PeerServiceServer::new(service).max_decoding_message_size(MAX_REQUEST_BYTES);
    let pushes = service.clone().max_decoding_message_size(MAX_PUSH_BYTES);
    let service = LargeRequests::new("/floodplain.v1.PeerService/Send", MAX_REQUEST_BYTES, pushes, service);
    let keeper = ReplicaServiceServer::new(ReplicaFace(keeping.clone()))
        .max_decoding_message_size(replica::MAX_REQUEST_BYTES);
    let routes = Routes::new(FastDownload::new(uploads, service)).add_service(keeper);
    let routes = with_standard(
        routes,
        &[peer_service_server::SERVICE_NAME, replica_service_server::SERVICE_NAME],
        &shutdown,
    )
    .await;
    let scope = Arc::new(view.clone());
    let served = transport.serve(listener, routes, Some(scope), &shutdown);
    let stop = shutdown.clone();
    shutdown.spawn_draining("serve", async move {
        if let Err(error) = served.await {
            tracing::error!(error = format!("{error:#}"), "cannot serve other peers any more");
            // A peer that cannot serve must not seem to live on.
            stop.stop();
        }
    });
    let renewal = kept.zip(transport.trust().cloned()).map(|(kept, trust)| {
        let Kept { folder, enrolled: Enrolled { registry: kept_registry, name, issued, .. } } = kept;
        let (registry, transport) = (settings.registry.clone(), transport.clone());
        Renewer { registry, kept_registry, name, transport, trust, folder, issued }.start(&shutdown)
    });
    let session = Session {
        registry: settings.registry.clone(),
        transport: transport.clone(),
        view: view.clone(),
        index: index.clone(),
        summaries: summaries.clone(),
        replicas,
        is_name_default: settings.is_name_default,
        renewal,
    };
    let (session, refusal) = session.start(&shutdown);
    summaries.start(&shutdown);
    zones.start();
    saved.start(&shutdown);
    drop(shutdown.spawn("replicas", keeping.clone().look_after()));
    drop(shutdown.spawn("scrub", keeping.clone().scrub()));
    tracing::info!(name = %settings.name, %address, registry = settings.registry, "peer is up");
    let local = Arc::new(Local {
        registry: settings.registry,
        view,
        index,
        offered,
        links,
        origin,
        saved,
        directory,
        session,
        summaries,
        counts,
        mover,
        keeping,
        transfers,
        activities,
        shutdown: shutdown.clone(),
        started: Instant::now(),
    });
    let controlled = control::serve(local.clone(), socket, shutdown.clone());
    shutdown.spawn_draining("control", async move {
        if let Err(error) = controlled.await {
            tracing::error!(%error, "the control socket failed");
        }
    });
    Ok(Peer { local, searcher, address, refusal, vitals, shutdown })
}

impl Peer {
    /// Its actions, for faces.
    pub fn handle(&self) -> Handle {
        self.local.clone()
    }

    /// Its numbers, for whoever operates it.
    pub fn vitals(&self) -> Vitals {
        self.vitals.clone()
    }

    /// Where others reach it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it knows of its zone.
    pub fn view(&self) -> &View {
        &self.local.view
    }

    /// Waits until the peer has joined its zone.
    ///
    /// # Errors
    /// When the registry refuses it: `Refused`, with what to do. It does not try again then.
    pub async fn until_ready(&self) -> Result<(), ActionError> {
        let joined = self.local.view.until(|now| now.connection == Connection::Connected);
        let mut refusal = self.refusal.clone();
        tokio::select! {
            _ = joined => Ok(()),
            refused = refusal.wait_for(Option::is_some) => {
                let refused = refused.ok().and_then(|error| error.clone());
                // A session that ended without a refusal was stopped.
                Err(refused.unwrap_or_else(|| ActionError::new(ErrorKind::Cancelled, "the peer is stopping")))
            }
        }
    }

    /// Waits until every file of its shares can be found by name.
    pub async fn until_indexed(&self) {
        self.local.index.until_ready().await;
    }

    /// Waits until the content of every file is known.
    pub async fn until_hashed(&self) {
        self.local.index.until_hashed().await;
    }

    /// Queries that run at it now.
    pub fn running_queries(&self) -> usize {
        self.searcher.running()
    }

    /// Leaves the network and ends: off the registry's lists first, so that nothing new comes, then what runs is given a
    /// short while. False when something was still running after that.
    pub async fn leave(&self) -> bool {
        self.local.keeping.hand_over(local::HAND_OVER_TIMEOUT).await;
        self.local.session.leave().await;
        let is_drained = self.shutdown.drain(DRAIN_GRACE).await;
        let keeping = self.local.keeping.clone();
        // A panic in it counts as an unclean end.
        let _ = tokio::task::spawn_blocking(move || keeping.close()).await;
        is_drained
    }
}
