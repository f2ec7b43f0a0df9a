//! The actions of a peer that runs in this process.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use tonic::{Code, Request};

use super::{
    activity::Activities,
    control,
    counters::Counts,
    directory::Directory,
    handle::{Actions, Events, Outcome},
    links::Links,
    mover::Mover,
    origin::Origin,
    replicas::Keeping,
    saved::SavedSearches,
    session::SessionControl,
    shared::Offered,
    summaries::Summaries,
    transfers::Transfers,
    view::View,
};
use crate::{
    index::Index,
    protocol::{
        action::{
            ActionError, Activity, Answer, Connection, Counters, ErrorKind, FolderPage, GetAsk, InboxInfo,
            IndexState, Listing, NewHit, PageAsk, PeerInfo, PeerPath, PutAsk, PutPage, ReadAsk, ReadEvent,
            SaveAsk, SavedSearch, SearchAsk, SearchEvent, SendAsk, ShareFileAsk, ShareInfo, SharedFile,
            Status, Transfer, TransferControl, Unput, Which, ZoneInfo,
        },
        id::ZoneId,
        roster::Member,
    },
    shutdown::Shutdown,
    wire,
};

/// How long another peer may take to list a folder.
const BROWSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long joining again may take before it is told that it goes on in the background.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a leaving peer hands over what it keeps.
pub(super) const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(20);

/// The parts of a peer, as its actions need them.
pub(super) struct Local {
    pub(super) registry: String,
    pub(super) view: View,
    pub(super) index: Index,
    pub(super) offered: Offered,
    pub(super) links: Arc<Links>,
    pub(super) origin: Arc<Origin>,
    pub(super) saved: SavedSearches,
    pub(super) directory: Arc<Directory>,
    pub(super) session: SessionControl,
    pub(super) summaries: Summaries,
    pub(super) counts: Counts,
    pub(super) mover: Mover,
    pub(super) keeping: Keeping,
    pub(super) transfers: Transfers,
    pub(super) activities: Activities,
    pub(super) shutdown: Shutdown,
    pub(super) started: Instant,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("me", &self.view.now().me).finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl Actions for Local {
    async fn search(&self, ask: SearchAsk) -> Outcome<Events<SearchEvent>> {
        self.origin.start(ask)
    }

    async fn save_search(&self, ask: SaveAsk) -> Outcome<SavedSearch> {
        self.saved.save(ask).await
    }

    async fn saved_searches(&self) -> Outcome<Vec<SavedSearch>> {
        Ok(self.saved.list())
    }

    async fn remove_saved_search(&self, name: String) -> Outcome<()> {
        self.saved.remove(&name).await
    }

    async fn take_new_hits(&self, wait: Duration) -> Outcome<Vec<NewHit>> {
        Ok(self.saved.take_news(wait).await)
    }

    async fn get(&self, ask: GetAsk) -> Outcome<Events<Transfer>> {
        self.mover.get(ask).await
    }

    async fn read(&self, ask: ReadAsk) -> Outcome<Events<ReadEvent>> {
        self.mover.read(ask).await
    }

    async fn send(&self, ask: SendAsk) -> Outcome<Events<Transfer>> {
        let receiver = self.directory.find(&ask.peer).await?;
        self.mover.send(ask, &receiver)
    }

    async fn put(&self, ask: PutAsk) -> Outcome<Events<Transfer>> {
        self.keeping.put(ask)
    }

    async fn puts(&self, page: PageAsk) -> Outcome<PutPage> {
        self.keeping.puts(page).await
    }

    async fn unput(&self, what: String) -> Outcome<Unput> {
        self.keeping.unput(&what).await
    }

    async fn browse(&self, path: PeerPath, page: PageAsk) -> Outcome<FolderPage> {
        let member = self.directory.find(&path.peer).await?;
        if member.id == self.view.now().me.id {
            return Ok(self.index.browse(&path.path, &page)?);
        }
        self.browse_other(&member, &path.path, &page).await
    }

    async fn peers(&self, zone: Option<ZoneId>) -> Outcome<Listing<PeerInfo>> {
        Ok(self.directory.peers(zone).await)
    }

    async fn zones(&self) -> Outcome<Listing<ZoneInfo>> {
        Ok(self.directory.zones().await)
    }

    async fn status(&self) -> Outcome<Status> {
        let knowledge = self.view.now();
        let index = self.index.state();
        let roster = knowledge.roster.as_ref();
        Ok(Status {
            me: PeerInfo { shared_files: index.files, ..knowledge.my_info() },
            connection: knowledge.connection,
            registry: self.registry.clone(),
            zone_peers: u32::try_from(roster.map_or(0, |roster| roster.members().len())).unwrap_or(u32::MAX),
            roster_revision: roster.map_or(0, |roster| roster.revision()),
            neighbors: knowledge.neighbor_members().map(|member| member.name.to_string()).collect(),
            index,
            counters: Counters {
                bytes_up: self.transfers.bytes_up(),
                bytes_down: self.transfers.bytes_down(),
                ..self.counts.now()
            },
            uptime: self.started.elapsed(),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    async fn shares(&self) -> Outcome<Vec<ShareInfo>> {
        Ok(self.offered.list())
    }

    async fn add_share(&self, folder: std::path::PathBuf) -> Outcome<ShareInfo> {
        let offered = self.offered.clone();
        blocking(move || offered.add(&folder)).await
    }

    async fn share_file(&self, ask: ShareFileAsk) -> Outcome<SharedFile> {
        self.offered.take(ask, &self.shutdown).await
    }

    async fn remove_share(&self, name: String) -> Outcome<()> {
        let offered = self.offered.clone();
        blocking(move || offered.remove(&name)).await
    }

    async fn rescan(&self) -> Outcome<IndexState> {
        let state = self.index.rescan().await;
        // Whoever searches after this finds what is new.
        self.summaries.told().await;
        Ok(state)
    }

    async fn transfers(&self) -> Outcome<Vec<Transfer>> {
        Ok(self.mover.transfers())
    }

    async fn control_transfers(&self, which: Which, control: TransferControl) -> Outcome<u32> {
        self.mover.control(which, control).await
    }

    async fn inbox(&self) -> Outcome<InboxInfo> {
        Ok(self.mover.inbox())
    }

    async fn answer_offer(&self, id: u64, answer: Answer) -> Outcome<()> {
        self.mover.answer(id, answer)
    }

    async fn set_connected(&self, connected: bool) -> Outcome<()> {
        if connected {
            self.keeping.come_back();
            self.session.join().await;
            let joined = self.view.until(|now| now.connection == Connection::Connected);
            timeout(JOIN_TIMEOUT, joined).await.map_err(|_| {
                ActionError::new(
                    ErrorKind::Unreachable,
                    format!("the registry at {} does not answer", self.registry),
                )
                .hint("the peer goes on trying; `floodplain doctor` looks for what is wrong")
            })?;
        } else {
            self.keeping.hand_over(HAND_OVER_TIMEOUT).await;
            self.session.leave().await;
        }
        Ok(())
    }

    async fn activity(&self) -> Outcome<Events<Activity>> {
        Ok(self.activities.listen(&self.shutdown))
    }
}

impl Local {
    async fn browse_other(&self, member: &Member, path: &str, page: &PageAsk) -> Outcome<FolderPage> {
        let mut client = self
            .links
            .client(member)
            .map_err(|error| ActionError::new(ErrorKind::Refused, error.to_string()))?
            .max_decoding_message_size(control::MAX_RESPONSE_BYTES);
        let mut request = Request::new(wire::peer::to_browse(path, page));
        request.set_timeout(BROWSE_TIMEOUT);
        match timeout(BROWSE_TIMEOUT, client.browse(request)).await {
            Ok(Ok(response)) => wire::peer::folder_page(response.into_inner()).map_err(|invalid| {
                ActionError::new(
                    ErrorKind::Failed,
                    format!("{}'s answer is malformed: {invalid}", member.name),
                )
            }),
            Ok(Err(status)) if status.code() == Code::NotFound => {
                Err(ActionError::new(ErrorKind::NotFound, format!("{} has no folder `{path}`", member.name))
                    .hint("an empty path lists the shares"))
            }
            Ok(Err(status)) if status.code() == Code::Unavailable => Err(unreachable(member)),
            Ok(Err(status)) => Err(ActionError::new(
                ErrorKind::Failed,
                format!("{} could not list the folder: {}", member.name, status.message()),
            )),
            Err(_) => Err(unreachable(member)),
        }
    }
}

fn unreachable(member: &Member) -> ActionError {
    ActionError::new(ErrorKind::Unreachable, format!("{} at {} does not answer", member.name, member.address))
        .hint("it may have just left; see `floodplain peers`")
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ActionError::new(ErrorKind::Failed, "the index failed"))?
}
