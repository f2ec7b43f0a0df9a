//! Serves a peer's actions to the other processes of its owner. Every call is checked, bounded in time and number, and
//! ends with its client.

use std::{fmt, future::Future, panic::AssertUnwindSafe, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, service::Routes, transport::Server};
use tonic_health::ServingStatus;

use super::handle::{Events, Handle, Outcome};
use crate::{
    net::{accept::accepted, standard::with_standard},
    protocol::{
        action::{ActionError, ErrorKind, PeerPath, TransferControl, Which},
        id::ZoneId,
    },
    shutdown::Shutdown,
    telemetry::service::Logs,
    wire::{
        control as wire,
        pb::{
            self,
            control_service_server::{ControlService, ControlServiceServer, SERVICE_NAME},
        },
    },
};

pub use crate::net::socket::{BindError, ControlSocket, MAX_SOCKET_PATH_BYTES};

/// File name of the socket in the data folder.
pub const SOCKET_NAME: &str = "control.sock";
/// Largest request: two paths of 4,096 bytes and change.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// Largest answer: 1,000 files with paths of 4,096 bytes, twice over. A longer one fails.
pub const MAX_RESPONSE_BYTES: usize = 8 * 1024 * 1024;
/// Connections at once; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;
/// Actions at once over the socket; one more is refused.
pub const MAX_ACTIONS: usize = 128;
/// For what the peer answers by itself or with one call to another.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// For walking the shares: a guess, 10 million files at 3,000 a second.
pub const SCAN_DEADLINE: Duration = Duration::from_secs(3600);
/// For a whole transfer that is watched, pauses and waiting for a slot or an answer included. A guess: longer than anyone
/// keeps a terminal open for one.
pub const TRANSFER_DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much longer than its longest wait a search may take.
pub const SEARCH_GRACE: Duration = Duration::from_secs(10);
/// For running answers to leave when the peer stops.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves until the stop is told; then running streams end with an error of kind `Cancelled`, and the socket file is
/// removed.
///
/// # Errors
/// When the transport fails as a whole; single connections do not.
pub async fn serve(
    handle: Handle,
    socket: ControlSocket,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(SERVICE_NAME, ServingStatus::Serving).await;
    let service = service(handle, shutdown.clone());
    let incoming = Box::pin(accepted(socket.listener(), MAX_CONNECTIONS));
    let server = Server::builder()
        .max_concurrent_streams(u32::try_from(MAX_ACTIONS).expect("a small constant"))
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .add_service(health_service)
        .add_service(service)
        .add_service(Logs::service())
        .serve_with_incoming_shutdown(incoming, shutdown.stopping_owned());
    let drained = async {
        shutdown.stopping().await;
        health.set_service_status(SERVICE_NAME, ServingStatus::NotServing).await;
        health.set_service_status("", ServingStatus::NotServing).await;
        tokio::time::sleep(DRAIN_GRACE).await;
    };
    tokio::select! {
        ended = server => ended,
        () = drained => Ok(()),
    }
}

/// The same service with health and reflection, for a door of another kind.
///
/// # Errors
/// When the descriptors that were compiled in cannot be decoded.
pub async fn routes(handle: Handle, shutdown: Shutdown) -> anyhow::Result<Routes> {
    let service = service(handle, shutdown.clone());
    with_standard(Routes::new(service), &[SERVICE_NAME], &shutdown).await
}

fn service(handle: Handle, shutdown: Shutdown) -> ControlServiceServer<Service> {
    let service = Service { handle, shutdown, permits: Arc::new(Semaphore::new(MAX_ACTIONS)) };
    ControlServiceServer::new(service)
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_RESPONSE_BYTES)
}

/// Where the control socket of a data folder is.
pub fn socket_path(data: &std::path::Path) -> PathBuf {
    data.join(SOCKET_NAME)
}

struct Service {
    handle: Handle,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        let refused = |_| {
            let message = format!("{MAX_ACTIONS} actions run already");
            wire::to_status(
                &ActionError::new(ErrorKind::Refused, message).hint("wait for one of them to end"),
            )
        };
        Arc::clone(&self.permits).try_acquire_owned().map_err(refused)
    }

    /// Runs one action to its end, within a deadline and until the stop; a panic of it ends nothing else.
    async fn run<T>(
        &self,
        deadline: Duration,
        action: impl Future<Output = Outcome<T>>,
    ) -> Result<T, Status> {
        let _permit = self.permit()?;
        self.bounded(deadline, action).await
    }

    async fn bounded<T>(
        &self,
        deadline: Duration,
        action: impl Future<Output = Outcome<T>>,
    ) -> Result<T, Status> {
        let outcome = tokio::select! {
            outcome = AssertUnwindSafe(action).catch_unwind() => outcome.unwrap_or_else(|_| Err(panicked())),
            error = over(deadline, self.shutdown.clone()) => Err(error),
        };
        outcome.map_err(|error| wire::to_status(&error))
    }

    /// Starts an action and relays its events. When the client goes away the stream is dropped, and the action with it.
    async fn relay<E, T>(
        &self,
        deadline: Duration,
        starting: impl Future<Output = Outcome<Events<E>>>,
        convert: fn(E) -> T,
    ) -> Result<Response<Replies<T>>, Status>
    where
        E: 'static,
        T: Send + 'static,
    {
        let permit = self.permit()?;
        let events = self.bounded(ANSWER_DEADLINE, starting).await?;
        let over = Box::pin(over(deadline, self.shutdown.clone()));
        let replies = stream::unfold(Some((events, over, permit)), move |running| async move {
            let (mut events, mut over, permit) = running?;
            let event = tokio::select! {
                biased;
                event = AssertUnwindSafe(events.next()).catch_unwind() => event.unwrap_or_else(|_| Some(Err(panicked())))?,
                error = &mut over => Err(error),
            };
            match event {
                Ok(event) => Some((Ok(convert(event)), Some((events, over, permit)))),
                Err(error) => Some((Err(wire::to_status(&error)), None)),
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

async fn over(deadline: Duration, shutdown: Shutdown) -> ActionError {
    tokio::select! {
        () = shutdown.stopping() => ActionError::new(ErrorKind::Cancelled, "the peer is stopping"),
        () = tokio::time::sleep(deadline) => {
            let message = format!("no end within {}", humantime::format_duration(deadline));
            ActionError::new(ErrorKind::TimedOut, message)
        }
    }
}

fn panicked() -> ActionError {
    ActionError::new(ErrorKind::Failed, "the peer failed at this action")
        .hint("its log tells where; please report it")
}

#[tonic::async_trait]
impl ControlService for Service {
    type StartSearchStream = Replies<pb::StartSearchResponse>;
    type StartGetStream = Replies<pb::StartGetResponse>;
    type StartReadStream = Replies<pb::StartReadResponse>;
    type StartSendStream = Replies<pb::StartSendResponse>;
    type StartPutStream = Replies<pb::StartPutResponse>;
    type WatchActivityStream = Replies<pb::WatchActivityResponse>;

    async fn start_search(
        &self,
        request: Request<pb::StartSearchRequest>,
    ) -> Result<Response<Self::StartSearchStream>, Status> {
        let ask = wire::search_ask(request.into_inner())?;
        let deadline = ask.wait.unwrap_or(wire::MAX_WAIT) + SEARCH_GRACE;
        self.relay(deadline, self.handle.search(ask), |event| wire::to_search_response(&event)).await
    }

    async fn save_search(
        &self,
        request: Request<pb::SaveSearchRequest>,
    ) -> Result<Response<pb::SaveSearchResponse>, Status> {
        let ask = wire::save_ask(request.into_inner())?;
        let search = self.run(ANSWER_DEADLINE, self.handle.save_search(ask)).await?;
        Ok(Response::new(pb::SaveSearchResponse { search: Some(wire::to_saved_search(search)) }))
    }

    async fn get_saved_searches(
        &self,
        _: Request<pb::GetSavedSearchesRequest>,
    ) -> Result<Response<pb::GetSavedSearchesResponse>, Status> {
        let searches = self.run(ANSWER_DEADLINE, self.handle.saved_searches()).await?;
        let searches = searches.into_iter().map(wire::to_saved_search).collect();
        Ok(Response::new(pb::GetSavedSearchesResponse { searches }))
    }

    async fn remove_saved_search(
        &self,
        request: Request<pb::RemoveSavedSearchRequest>,
    ) -> Result<Response<pb::RemoveSavedSearchResponse>, Status> {
        let name = wire::remove_saved_ask(request.into_inner())?;
        self.run(ANSWER_DEADLINE, self.handle.remove_saved_search(name)).await?;
        Ok(Response::new(pb::RemoveSavedSearchResponse {}))
    }

    async fn take_new_hits(
        &self,
        request: Request<pb::TakeNewHitsRequest>,
    ) -> Result<Response<pb::TakeNewHitsResponse>, Status> {
        let wait = wire::news_wait(request.get_ref())?;
        let hits = self.run(ANSWER_DEADLINE, self.handle.take_new_hits(wait)).await?;
        let hits = hits.into_iter().map(wire::to_new_hit).collect();
        Ok(Response::new(pb::TakeNewHitsResponse { hits }))
    }

    async fn start_get(
        &self,
        request: Request<pb::StartGetRequest>,
    ) -> Result<Response<Self::StartGetStream>, Status> {
        let ask = wire::get_ask(request.into_inner())?;
        let convert = |transfer| pb::StartGetResponse { transfer: Some(wire::to_transfer(transfer)) };
        self.relay(TRANSFER_DEADLINE, self.handle.get(ask), convert).await
    }

    async fn start_read(
        &self,
        request: Request<pb::StartReadRequest>,
    ) -> Result<Response<Self::StartReadStream>, Status> {
        let ask = wire::read_ask(request.into_inner())?;
        self.relay(TRANSFER_DEADLINE, self.handle.read(ask), wire::to_read_response).await
    }

    async fn start_send(
        &self,
        request: Request<pb::StartSendRequest>,
    ) -> Result<Response<Self::StartSendStream>, Status> {
        let ask = wire::send_ask(request.into_inner())?;
        let convert = |transfer| pb::StartSendResponse { transfer: Some(wire::to_transfer(transfer)) };
        self.relay(TRANSFER_DEADLINE, self.handle.send(ask), convert).await
    }

    async fn start_put(
        &self,
        request: Request<pb::StartPutRequest>,
    ) -> Result<Response<Self::StartPutStream>, Status> {
        let ask = wire::put_ask(request.into_inner())?;
        let convert = |transfer| pb::StartPutResponse { transfer: Some(wire::to_transfer(transfer)) };
        self.relay(TRANSFER_DEADLINE, self.handle.put(ask), convert).await
    }

    async fn get_puts(
        &self,
        request: Request<pb::GetPutsRequest>,
    ) -> Result<Response<pb::GetPutsResponse>, Status> {
        let page = wire::puts_ask(request.into_inner())?;
        let page = self.run(ANSWER_DEADLINE, self.handle.puts(page)).await?;
        Ok(Response::new(wire::to_put_page(page)))
    }

    async fn unput(&self, request: Request<pb::UnputRequest>) -> Result<Response<pb::UnputResponse>, Status> {
        let what = wire::unput_ask(request.into_inner())?;
        let unput = self.run(ANSWER_DEADLINE, self.handle.unput(what)).await?;
        Ok(Response::new(wire::to_unput(unput)))
    }

    async fn browse_peer(
        &self,
        request: Request<pb::BrowsePeerRequest>,
    ) -> Result<Response<pb::BrowsePeerResponse>, Status> {
        let (path, page): (PeerPath, _) = wire::browse_ask(request.into_inner())?;
        let page = self.run(ANSWER_DEADLINE, self.handle.browse(path, page)).await?;
        Ok(Response::new(wire::to_folder_page(page)))
    }

    async fn get_peers(
        &self,
        request: Request<pb::GetPeersRequest>,
    ) -> Result<Response<pb::GetPeersResponse>, Status> {
        let zone = ZoneId::new(request.into_inner().zone_id);
        let listing = self.run(ANSWER_DEADLINE, self.handle.peers(zone)).await?;
        Ok(Response::new(wire::to_peers(&listing)))
    }

    async fn get_zones(
        &self,
        _: Request<pb::GetZonesRequest>,
    ) -> Result<Response<pb::GetZonesResponse>, Status> {
        let listing = self.run(ANSWER_DEADLINE, self.handle.zones()).await?;
        Ok(Response::new(wire::to_zones(listing)))
    }

    async fn get_status(
        &self,
        _: Request<pb::GetStatusRequest>,
    ) -> Result<Response<pb::GetStatusResponse>, Status> {
        let status = self.run(ANSWER_DEADLINE, self.handle.status()).await?;
        Ok(Response::new(wire::to_get_status_response(status)))
    }

    async fn get_shares(
        &self,
        _: Request<pb::GetSharesRequest>,
    ) -> Result<Response<pb::GetSharesResponse>, Status> {
        let shares = self.run(ANSWER_DEADLINE, self.handle.shares()).await?;
        let shares = shares.into_iter().map(wire::to_share).collect();
        Ok(Response::new(pb::GetSharesResponse { shares }))
    }

    async fn add_share(
        &self,
        request: Request<pb::AddShareRequest>,
    ) -> Result<Response<pb::AddShareResponse>, Status> {
        let folder = wire::add_share_ask(request.into_inner())?;
        let share = self.run(SCAN_DEADLINE, self.handle.add_share(folder)).await?;
        Ok(Response::new(pb::AddShareResponse { share: Some(wire::to_share(share)) }))
    }

    async fn share_file(
        &self,
        request: Request<pb::ShareFileRequest>,
    ) -> Result<Response<pb::ShareFileResponse>, Status> {
        let ask = wire::share_file_ask(request.into_inner())?;
        let shared = self.run(SCAN_DEADLINE, self.handle.share_file(ask)).await?;
        Ok(Response::new(wire::to_shared_file(shared)))
    }

    async fn remove_share(
        &self,
        request: Request<pb::RemoveShareRequest>,
    ) -> Result<Response<pb::RemoveShareResponse>, Status> {
        let name = wire::remove_share_ask(request.into_inner())?;
        self.run(ANSWER_DEADLINE, self.handle.remove_share(name)).await?;
        Ok(Response::new(pb::RemoveShareResponse {}))
    }

    async fn rescan_shares(
        &self,
        _: Request<pb::RescanSharesRequest>,
    ) -> Result<Response<pb::RescanSharesResponse>, Status> {
        let index = self.run(SCAN_DEADLINE, self.handle.rescan()).await?;
        Ok(Response::new(pb::RescanSharesResponse { index: Some(wire::to_index_state(index)) }))
    }

    async fn get_transfers(
        &self,
        _: Request<pb::GetTransfersRequest>,
    ) -> Result<Response<pb::GetTransfersResponse>, Status> {
        let transfers = self.run(ANSWER_DEADLINE, self.handle.transfers()).await?;
        let transfers = transfers.into_iter().map(wire::to_transfer).collect();
        Ok(Response::new(pb::GetTransfersResponse { transfers }))
    }

    async fn cancel_transfer(
        &self,
        request: Request<pb::CancelTransferRequest>,
    ) -> Result<Response<pb::CancelTransferResponse>, Status> {
        let id = wire::numbered("id", request.into_inner().id)?;
        let cancelled = self.handle.control_transfers(Which::One(id), TransferControl::Cancel);
        self.run(ANSWER_DEADLINE, cancelled).await?;
        Ok(Response::new(pb::CancelTransferResponse {}))
    }

    async fn control_transfers(
        &self,
        request: Request<pb::ControlTransfersRequest>,
    ) -> Result<Response<pb::ControlTransfersResponse>, Status> {
        let (which, control) = wire::control_ask(request.into_inner())?;
        let count = self.run(ANSWER_DEADLINE, self.handle.control_transfers(which, control)).await?;
        Ok(Response::new(pb::ControlTransfersResponse { count }))
    }

    async fn get_inbox(
        &self,
        _: Request<pb::GetInboxRequest>,
    ) -> Result<Response<pb::GetInboxResponse>, Status> {
        let inbox = self.run(ANSWER_DEADLINE, self.handle.inbox()).await?;
        Ok(Response::new(wire::to_inbox(inbox)))
    }

    async fn answer_offer(
        &self,
        request: Request<pb::AnswerOfferRequest>,
    ) -> Result<Response<pb::AnswerOfferResponse>, Status> {
        let (id, answer) = wire::answer(request.into_inner())?;
        self.run(ANSWER_DEADLINE, self.handle.answer_offer(id, answer)).await?;
        Ok(Response::new(pb::AnswerOfferResponse {}))
    }

    async fn set_connected(
        &self,
        request: Request<pb::SetConnectedRequest>,
    ) -> Result<Response<pb::SetConnectedResponse>, Status> {
        self.run(ANSWER_DEADLINE, self.handle.set_connected(request.into_inner().connected)).await?;
        Ok(Response::new(pb::SetConnectedResponse {}))
    }

    async fn watch_activity(
        &self,
        _: Request<pb::WatchActivityRequest>,
    ) -> Result<Response<Self::WatchActivityStream>, Status> {
        self.relay(TRANSFER_DEADLINE, self.handle.activity(), wire::to_activity).await
    }
}
