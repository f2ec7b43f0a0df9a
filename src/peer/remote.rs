//! A peer in another process of the same owner, spoken to through its control socket. A face cannot tell it from one in
//! its own process: the same values, the same errors, and a dropped stream cancels.

use std::{
    fmt,
    future::Future,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{StreamExt, future, stream};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::{
    Response, Status as GrpcStatus, Streaming,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use super::{
    control::{ANSWER_DEADLINE, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, SCAN_DEADLINE},
    handle::{Actions, Events, Handle, Outcome},
};
use crate::{
    protocol::{
        action::{
            ActionError, Activity, Answer, ErrorKind, FolderPage, GetAsk, InboxInfo, IndexState, Listing,
            NewHit, PageAsk, PeerInfo, PeerPath, PutAsk, PutPage, ReadAsk, ReadEvent, SaveAsk, SavedSearch,
            SearchAsk, SearchEvent, SendAsk, ShareFileAsk, ShareInfo, SharedFile, Status, Transfer,
            TransferControl, Unput, Which, ZoneInfo,
        },
        id::ZoneId,
    },
    wire::{
        Invalid,
        common::to_duration,
        control as wire,
        pb::{self, control_service_client::ControlServiceClient},
    },
};

/// For the socket to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How much longer than the peer itself a call is waited for, so that the peer's own answer comes first.
const CLIENT_GRACE: Duration = Duration::from_secs(2);
/// A peer that was stopped answers no ping; its streams end after twice this.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The channel to the running peer at a control socket. Connects again by itself when the peer was restarted.
///
/// # Errors
/// Kind `Unreachable` when no peer listens there or it is not ours.
pub async fn channel(socket: &Path) -> Result<Channel, ActionError> {
    unix_channel(socket).await.map_err(|error| unreachable(socket, &error))
}

/// The channel to whatever daemon of this owner listens at a Unix socket. Connects again by itself.
///
/// # Errors
/// When none does.
pub async fn unix_channel(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    let path = socket.to_path_buf();
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    // The host is never looked up; it only fills the `:authority` of the calls.
    let endpoint = Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    endpoint.connect_with_connector(connector).await
}

/// The running peer at a control socket.
///
/// # Errors
/// Kind `Unreachable` when no peer listens there or it is not ours.
pub async fn connect(socket: &Path) -> Result<Handle, ActionError> {
    let client = ControlServiceClient::new(channel(socket).await?)
        .max_encoding_message_size(MAX_REQUEST_BYTES)
        .max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok(std::sync::Arc::new(Remote { client, socket: socket.into() }))
}

fn unreachable(socket: &Path, error: &(dyn std::error::Error + 'static)) -> ActionError {
    let kind = std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref::<io::Error>())
        .map(io::Error::kind);
    let socket = socket.display();
    let (message, hint) = match kind {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => (
            format!("no peer runs at {socket}"),
            "start one with `floodplain peer`, or name its data folder with --data",
        ),
        Some(io::ErrorKind::PermissionDenied) => {
            (format!("the peer at {socket} belongs to another user"), "run this command as that user")
        }
        Some(io::ErrorKind::InvalidInput) => {
            (format!("{socket} is too long for a socket's path"), "choose a data folder with a shorter path")
        }
        _ => (format!("the peer at {socket} does not answer"), "restart it"),
    };
    ActionError::new(ErrorKind::Unreachable, message).hint(hint)
}

struct Remote {
    client: ControlServiceClient<Channel>,
    socket: PathBuf,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Remote {
    fn error(&self, status: &GrpcStatus) -> ActionError {
        // A status of the transport has the failed connection as its source; one that the peer sent has none.
        match std::error::Error::source(status) {
            Some(source) if status.code() == tonic::Code::Unavailable => unreachable(&self.socket, source),
            Some(_) => {
                ActionError::new(ErrorKind::Unreachable, "the peer went away").hint("is it still running?")
            }
            None => wire::to_action_error(status),
        }
    }

    /// One call within its deadline.
    async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, GrpcStatus>>,
    ) -> Outcome<T> {
        if let Ok(answer) = tokio::time::timeout(deadline + CLIENT_GRACE, call).await {
            return answer.map(Response::into_inner).map_err(|status| self.error(&status));
        }
        let message = format!("the peer at {} does not answer", self.socket.display());
        Err(ActionError::new(ErrorKind::TimedOut, message).hint("restart it"))
    }

    /// A stream of events, which ends after its first error.
    fn events<R, E>(&self, replies: Streaming<R>, convert: fn(R) -> Result<E, Invalid>) -> Events<E>
    where
        R: Send + 'static,
        E: Send + 'static,
    {
        let this = Self { client: self.client.clone(), socket: self.socket.clone() };
        let events = replies.map(move |reply| match reply {
            Ok(reply) => convert(reply).map_err(|invalid| wire::to_malformed(&invalid)),
            Err(status) => Err(this.error(&status)),
        });
        let until_error = events.scan(false, |has_failed, event| {
            let event = (!*has_failed).then_some(event);
            *has_failed = matches!(event, Some(Err(_)));
            future::ready(event)
        });
        stream::StreamExt::boxed(until_error)
    }
}

/// A request that cannot even be written.
fn usage(invalid: &Invalid) -> ActionError {
    ActionError::new(ErrorKind::Usage, invalid.to_string())
}

fn sound<T>(answer: Result<T, Invalid>) -> Outcome<T> {
    answer.map_err(|invalid| wire::to_malformed(&invalid))
}

#[tonic::async_trait]
impl Actions for Remote {
    async fn search(&self, ask: SearchAsk) -> Outcome<Events<SearchEvent>> {
        let request = wire::to_search_request(&ask);
        let replies = self.call(ANSWER_DEADLINE, self.client.clone().start_search(request)).await?;
        Ok(self.events(replies, wire::search_event))
    }

    async fn save_search(&self, ask: SaveAsk) -> Outcome<SavedSearch> {
        let request = wire::to_save_request(ask);
        let response = self.call(ANSWER_DEADLINE, self.client.clone().save_search(request)).await?;
        sound(crate::wire::required("search", response.search).and_then(wire::saved_search))
    }

    async fn saved_searches(&self) -> Outcome<Vec<SavedSearch>> {
        let request = pb::GetSavedSearchesRequest {};
        let response = self.call(ANSWER_DEADLINE, self.client.clone().get_saved_searches(request)).await?;
        sound(response.searches.into_iter().map(wire::saved_search).collect())
    }

    async fn remove_saved_search(&self, name: String) -> Outcome<()> {
        let request = pb::RemoveSavedSearchRequest { name };
        self.call(ANSWER_DEADLINE, self.client.clone().remove_saved_search(request)).await.map(drop)
    }

    async fn take_new_hits(&self, wait: Duration) -> Outcome<Vec<NewHit>> {
        let request = pb::TakeNewHitsRequest { wait: Some(to_duration(wait)) };
        let response = self.call(ANSWER_DEADLINE, self.client.clone().take_new_hits(request)).await?;
        sound(response.hits.into_iter().map(wire::new_hit).collect())
    }

    async fn get(&self, ask: GetAsk) -> Outcome<Events<Transfer>> {
        let request = wire::to_get_request(&ask).map_err(|invalid| usage(&invalid))?;
        let replies = self.call(ANSWER_DEADLINE, self.client.clone().start_get(request)).await?;
        Ok(self.events(replies, |reply| wire::transfer(reply.transfer)))
    }

    async fn read(&self, ask: ReadAsk) -> Outcome<Events<ReadEvent>> {
        let request = wire::to_read_request(&ask);
        let replies = self.call(ANSWER_DEADLINE, self.client.clone().start_read(request)).await?;
        Ok(self.events(replies, wire::read_event))
    }

    async fn send(&self, ask: SendAsk) -> Outcome<Events<Transfer>> {
        let request = wire::to_send_request(&ask).map_err(|invalid| usage(&invalid))?;
        let replies = self.call(ANSWER_DEADLINE, self.client.clone().start_send(request)).await?;
        Ok(self.events(replies, |reply| wire::transfer(reply.transfer)))
    }

    async fn put(&self, ask: PutAsk) -> Outcome<Events<Transfer>> {
        let request = wire::to_put_request(&ask).map_err(|invalid| usage(&invalid))?;
        let replies = self.call(ANSWER_DEADLINE, self.client.clone().start_put(request)).await?;
        Ok(self.events(replies, |reply| wire::transfer(reply.transfer)))
    }

    async fn puts(&self, page: PageAsk) -> Outcome<PutPage> {
        let request = wire::to_puts_request(&page);
        sound(wire::put_page(self.call(ANSWER_DEADLINE, self.client.clone().get_puts(request)).await?))
    }

    async fn unput(&self, what: String) -> Outcome<Unput> {
        let request = pb::UnputRequest { target: what };
        sound(wire::unput(self.call(ANSWER_DEADLINE, self.client.clone().unput(request)).await?))
    }

    async fn browse(&self, path: PeerPath, page: PageAsk) -> Outcome<FolderPage> {
        let request = wire::to_browse_request(&path, &page);
        sound(wire::folder_page(self.call(ANSWER_DEADLINE, self.client.clone().browse_peer(request)).await?))
    }

    async fn peers(&self, zone: Option<ZoneId>) -> Outcome<Listing<PeerInfo>> {
        let request = pb::GetPeersRequest { zone_id: zone.map_or(0, ZoneId::get) };
        sound(wire::peers(&self.call(ANSWER_DEADLINE, self.client.clone().get_peers(request)).await?))
    }

    async fn zones(&self) -> Outcome<Listing<ZoneInfo>> {
        let request = pb::GetZonesRequest {};
        sound(wire::zones(self.call(ANSWER_DEADLINE, self.client.clone().get_zones(request)).await?))
    }

    async fn status(&self) -> Outcome<Status> {
        let request = pb::GetStatusRequest {};
        sound(wire::status(self.call(ANSWER_DEADLINE, self.client.clone().get_status(request)).await?))
    }

    async fn shares(&self) -> Outcome<Vec<ShareInfo>> {
        let request = pb::GetSharesRequest {};
        let response = self.call(ANSWER_DEADLINE, self.client.clone().get_shares(request)).await?;
        sound(response.shares.into_iter().map(wire::share).collect())
    }

    async fn add_share(&self, folder: PathBuf) -> Outcome<ShareInfo> {
        let request = wire::to_add_share_request(&folder).map_err(|invalid| usage(&invalid))?;
        let response = self.call(SCAN_DEADLINE, self.client.clone().add_share(request)).await?;
        sound(crate::wire::required("share", response.share).and_then(wire::share))
    }

    async fn share_file(&self, ask: ShareFileAsk) -> Outcome<SharedFile> {
        let request = wire::to_share_file_request(&ask).map_err(|invalid| usage(&invalid))?;
        sound(wire::shared_file(self.call(SCAN_DEADLINE, self.client.clone().share_file(request)).await?))
    }

    async fn remove_share(&self, name: String) -> Outcome<()> {
        let request = pb::RemoveShareRequest { name };
        self.call(ANSWER_DEADLINE, self.client.clone().remove_share(request)).await.map(drop)
    }

    async fn rescan(&self) -> Outcome<IndexState> {
        let request = pb::RescanSharesRequest {};
        let response = self.call(SCAN_DEADLINE, self.client.clone().rescan_shares(request)).await?;
        sound(crate::wire::required("index", response.index).map(wire::index_state))
    }

    async fn transfers(&self) -> Outcome<Vec<Transfer>> {
        let request = pb::GetTransfersRequest {};
        let response = self.call(ANSWER_DEADLINE, self.client.clone().get_transfers(request)).await?;
        sound(response.transfers.into_iter().map(|transfer| wire::transfer(Some(transfer))).collect())
    }

    async fn control_transfers(&self, which: Which, control: TransferControl) -> Outcome<u32> {
        let request = wire::to_control_request(which, control);
        let response = self.call(ANSWER_DEADLINE, self.client.clone().control_transfers(request)).await?;
        Ok(response.count)
    }

    async fn inbox(&self) -> Outcome<InboxInfo> {
        let request = pb::GetInboxRequest {};
        sound(wire::inbox(self.call(ANSWER_DEADLINE, self.client.clone().get_inbox(request)).await?))
    }

    async fn answer_offer(&self, id: u64, answer: Answer) -> Outcome<()> {
        let request = wire::to_answer_request(id, answer);
        self.call(ANSWER_DEADLINE, self.client.clone().answer_offer(request)).await.map(drop)
    }

    async fn set_connected(&self, connected: bool) -> Outcome<()> {
        let request = pb::SetConnectedRequest { connected };
        self.call(ANSWER_DEADLINE, self.client.clone().set_connected(request)).await.map(drop)
    }

    async fn activity(&self) -> Outcome<Events<Activity>> {
        let request = pb::WatchActivityRequest {};
        let replies = self.call(ANSWER_DEADLINE, self.client.clone().watch_activity(request)).await?;
        Ok(self.events(replies, |reply| wire::activity(reply.activity)))
    }
}
