//! The one set of actions that every face offers, whether the peer runs in this process or behind a control socket.

use std::{fmt, sync::Arc, time::Duration};

use futures::stream::BoxStream;

use crate::protocol::action::{
    ActionError, Activity, Answer, FolderPage, GetAsk, InboxInfo, IndexState, Listing, NewHit, PageAsk,
    PeerInfo, PeerPath, PutAsk, PutPage, ReadAsk, ReadEvent, SaveAsk, SavedSearch, SearchAsk, SearchEvent,
    SendAsk, ShareFileAsk, ShareInfo, SharedFile, Status, Transfer, TransferControl, Unput, Which, ZoneInfo,
};
use crate::protocol::id::ZoneId;

/// What an action gives.
pub type Outcome<T> = Result<T, ActionError>;

/// A running action's events. Dropping it cancels the action.
pub type Events<T> = BoxStream<'static, Outcome<T>>;

/// Everything that a person can do with a peer.
#[tonic::async_trait]
pub trait Actions: fmt::Debug + Send + Sync {
    /// Searches. Hits come as they are found; the last event is `Done`, unless it is an error.
    async fn search(&self, ask: SearchAsk) -> Outcome<Events<SearchEvent>>;
    /// Saves a search, to be asked again in the background. Answers when it was asked for the first time, or could not be.
    async fn save_search(&self, ask: SaveAsk) -> Outcome<SavedSearch>;
    /// The saved searches, in order of their names.
    async fn saved_searches(&self) -> Outcome<Vec<SavedSearch>>;
    /// Forgets a saved search and what it found.
    async fn remove_saved_search(&self, name: String) -> Outcome<()>;
    /// What saved searches found that nobody was told yet; nobody is told again. Waits for some, at most `wait` and 25 s;
    /// empty when there was none.
    async fn take_new_hits(&self, wait: Duration) -> Outcome<Vec<NewHit>>;
    /// Downloads one file. The last event has a final state. Dropping the events of a detached one cancels nothing.
    async fn get(&self, ask: GetAsk) -> Outcome<Events<Transfer>>;
    /// Reads one file in order while it arrives; only checked bytes come. A good end is the end of the events.
    async fn read(&self, ask: ReadAsk) -> Outcome<Events<ReadEvent>>;
    /// Pushes one file into another peer's inbox. The last event has a final state.
    async fn send(&self, ask: SendAsk) -> Outcome<Events<Transfer>>;
    /// Has the network keep a content. The last event has a final state, and the holders as its sources.
    async fn put(&self, ask: PutAsk) -> Outcome<Events<Transfer>>;
    /// One page of what this peer put and did not take back, in order of names, with who keeps it now.
    async fn puts(&self, page: PageAsk) -> Outcome<PutPage>;
    /// Takes back what this peer put, by hash or name.
    async fn unput(&self, what: String) -> Outcome<Unput>;
    /// Lists one folder of a peer's shares.
    async fn browse(&self, path: PeerPath, page: PageAsk) -> Outcome<FolderPage>;
    /// The peers of the network, or of one zone.
    async fn peers(&self, zone: Option<ZoneId>) -> Outcome<Listing<PeerInfo>>;
    /// The zones of the network.
    async fn zones(&self) -> Outcome<Listing<ZoneInfo>>;
    /// The peer's own state.
    async fn status(&self) -> Outcome<Status>;
    /// The offered folders.
    async fn shares(&self) -> Outcome<Vec<ShareInfo>>;
    /// Offers another folder, from now on and after a restart.
    async fn add_share(&self, folder: std::path::PathBuf) -> Outcome<ShareInfo>;
    /// Stops offering a folder; its files stay.
    async fn remove_share(&self, name: String) -> Outcome<()>;
    /// Takes a file over into the first share, without replacing any, and has it found at once. The same content under the
    /// same name again leaves one file.
    async fn share_file(&self, ask: ShareFileAsk) -> Outcome<SharedFile>;
    /// Walks all shares again; answers when the index is as the folders are.
    async fn rescan(&self) -> Outcome<IndexState>;
    /// Running transfers, failed downloads that can be retried, and the last 100 ended, in order of their ids.
    async fn transfers(&self) -> Outcome<Vec<Transfer>>;
    /// Pauses, resumes, cancels, retries or reorders transfers; how many that changed. Answers when it has happened, or
    /// is sure to. Nothing happens to one that is as it shall be already, and none need be there when all are meant.
    async fn control_transfers(&self, which: Which, control: TransferControl) -> Outcome<u32>;
    /// Offers that wait for an answer.
    async fn inbox(&self) -> Outcome<InboxInfo>;
    /// Answers an offer.
    async fn answer_offer(&self, id: u64, answer: Answer) -> Outcome<()>;
    /// Leaves the network and keeps running, or joins again. Answers when it has happened.
    async fn set_connected(&self, connected: bool) -> Outcome<()>;
    /// Every query that begins or ends at the peer from now on, own ones and those of others. A slow listener loses the
    /// oldest, and is told how many. Ends with the peer.
    async fn activity(&self) -> Outcome<Events<Activity>>;
}

/// A peer, here or elsewhere; cheap to clone.
pub type Handle = Arc<dyn Actions>;
