//! What other peers may ask of this one: every request is checked in `wire`, and answered by the part that knows.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    receive::{Receiver, Responses},
    search::{NotServed, Running, Searcher, Words},
    upload::Uploads,
};
use crate::{
    index::{Index, IndexError},
    net::{Caller, guard, shelter::own_fault},
    protocol::{claim::Reach, flood::Refusal},
    telemetry::trace::Trace,
    wire::{
        self,
        pb::{self, peer_service_server::PeerService},
    },
};

/// A query that found no room is worth another try after this long: most queries end sooner.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Answers other peers.
#[derive(Debug)]
pub(crate) struct Service {
    index: Index,
    searcher: Arc<Searcher>,
    words: Words,
    uploads: Uploads,
    receiver: Receiver,
}

impl Service {
    /// Over the parts of one peer.
    pub(crate) fn new(
        index: Index,
        searcher: Arc<Searcher>,
        words: Words,
        uploads: Uploads,
        receiver: Receiver,
    ) -> Self {
        Self { index, searcher, words, uploads, receiver }
    }
}

type Replies<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl PeerService for Service {
    type SearchStream = Replies<pb::SearchResponse>;

    async fn search(
        &self,
        request: Request<pb::SearchRequest>,
    ) -> Result<Response<Self::SearchStream>, Status> {
        let caller = Caller::of(request.extensions());
        let (metadata, _, message) = request.into_parts();
        let search = wire::peer::search(message)?;
        if !caller.may_speak_for(&search.from) {
            return Err(wire::Invalid::new("from_id", "must be the caller's own").into());
        }
        // What is for more than a zone comes from another one, through a gateway.
        let is_of_zone = matches!(search.reach, Reach::Inside | Reach::AllZones);
        if is_of_zone && !self.searcher.admits(&caller) {
            return Err(guard::not_of_zone());
        }
        if self.searcher.is_me(&search.from) {
            // It would take the room that is kept for this peer's own searches.
            return Err(wire::Invalid::new("from_id", "is the receiver's own").into());
        }
        let trace = Trace::answer(&metadata, search.hops);
        let running = Running::incoming(search, std::time::Instant::now(), trace.clone());
        let served = self.searcher.serve_other(running);
        let found = match served {
            Ok(found) => found,
            Err(error) => {
                trace.is_refused();
                let status = not_served(&error);
                if let NotServed::NoRoom(_, refused) | NotServed::Busy(refused) | NotServed::Muted(refused) =
                    &error
                {
                    tokio::time::sleep(refused.pause()).await;
                }
                return Err(status);
            }
        };
        Ok(Response::new(found.map(|found| Ok(wire::peer::to_found(found))).boxed()))
    }

    async fn get_summary(
        &self,
        request: Request<pb::GetSummaryRequest>,
    ) -> Result<Response<pb::GetSummaryResponse>, Status> {
        Ok(Response::new(self.words.summaries.give(request.into_inner())?))
    }

    async fn get_keys(
        &self,
        request: Request<pb::GetKeysRequest>,
    ) -> Result<Response<pb::GetKeysResponse>, Status> {
        Ok(Response::new(self.words.zones.give_keys(request.into_inner())?))
    }

    type WatchZoneStream = Replies<pb::WatchZoneResponse>;

    async fn watch_zone(
        &self,
        request: Request<pb::WatchZoneRequest>,
    ) -> Result<Response<Self::WatchZoneStream>, Status> {
        let watcher = Caller::of(request.extensions()).key();
        Ok(Response::new(self.words.zones.tell(request.into_inner(), watcher)?))
    }

    async fn browse(
        &self,
        request: Request<pb::BrowseRequest>,
    ) -> Result<Response<pb::BrowseResponse>, Status> {
        let (path, page) = wire::peer::browse(request.into_inner())?;
        let page = self.index.browse(&path, &page).map_err(|error| not_listed(&error))?;
        Ok(Response::new(wire::peer::to_folder_page(page)))
    }

    type DownloadStream = Replies<pb::DownloadResponse>;

    async fn download(
        &self,
        request: Request<pb::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        let fetcher = Caller::of(request.extensions());
        Ok(Response::new(self.uploads.stream(request.into_inner(), fetcher).await?))
    }

    async fn list_files(
        &self,
        request: Request<pb::ListFilesRequest>,
    ) -> Result<Response<pb::ListFilesResponse>, Status> {
        let ask = wire::folder::files_ask(request.into_inner())?;
        let bounds = (ask.size, wire::folder::MAX_PAGE_BYTES);
        let page = self.index.list_files(&ask.path, ask.token.as_deref(), bounds);
        Ok(Response::new(wire::folder::to_files_page(page.map_err(|error| not_listed(&error))?)))
    }

    type DownloadManyStream = Replies<pb::DownloadManyResponse>;

    async fn download_many(
        &self,
        request: Request<Streaming<pb::DownloadManyRequest>>,
    ) -> Result<Response<Self::DownloadManyStream>, Status> {
        let fetcher = Caller::of(request.extensions());
        Ok(Response::new(self.uploads.many(request.into_inner(), fetcher)?))
    }

    type SendStream = Responses;

    async fn send(
        &self,
        request: Request<Streaming<pb::SendRequest>>,
    ) -> Result<Response<Self::SendStream>, Status> {
        let sender = Caller::of(request.extensions());
        Ok(Response::new(self.receiver.serve(request.into_inner(), sender)?))
    }
}

fn not_served(error: &NotServed) -> Status {
    let code = match error {
        NotServed::Refused(Refusal::TooFar) => Code::InvalidArgument,
        NotServed::Refused(Refusal::Expired) => Code::DeadlineExceeded,
        NotServed::NoZone | NotServed::Refused(_) => Code::FailedPrecondition,
        NotServed::NoRoom(_, refused) | NotServed::Busy(refused) | NotServed::Muted(refused) => {
            let retry = ErrorDetails::with_retry_info(Some(refused.retry_after().max(RETRY_AFTER)));
            return Status::with_error_details(Code::ResourceExhausted, error.to_string(), retry);
        }
    };
    Status::new(code, error.to_string())
}

fn not_listed(error: &IndexError) -> Status {
    match error {
        IndexError::NotFound { .. } => Status::not_found(error.to_string()),
        IndexError::BadPage => wire::Invalid::new("page_token", error.to_string()).into(),
        // What went wrong on this machine's disk is nobody else's business.
        _ => own_fault(Code::Internal, "the folder could not be listed"),
    }
}
