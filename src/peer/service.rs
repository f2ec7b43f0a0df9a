//! What other peers may ask of this one: every request is checked in `wire`, and answered by the part that knows.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::search::{NotServed, Running, Searcher};
use crate::{
    index::{Index, IndexError},
    protocol::flood::Refusal,
    wire::{
        self,
        pb::{self, peer_service_server::PeerService},
    },
};

/// A query that found no room is worth another try after this long: most queries end sooner.
const RETRY_AFTER: Option<Duration> = Some(Duration::from_secs(1));

/// Answers other peers.
#[derive(Debug)]
pub struct Service {
    index: Index,
    searcher: Arc<Searcher>,
}

impl Service {
    /// Over the parts of one peer.
    pub fn new(index: Index, searcher: Arc<Searcher>) -> Self {
        Self { index, searcher }
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
        let search = wire::peer::search(request.into_inner())?;
        let found =
            self.searcher.serve(Running::incoming(search, std::time::Instant::now())).map_err(not_served)?;
        Ok(Response::new(found.map(|found| Ok(wire::peer::to_found(found))).boxed()))
    }

    async fn browse(
        &self,
        request: Request<pb::BrowseRequest>,
    ) -> Result<Response<pb::BrowseResponse>, Status> {
        let (path, page) = wire::peer::browse(request.into_inner())?;
        let page = self.index.browse(&path, &page).map_err(|error| not_listed(&error))?;
        Ok(Response::new(wire::peer::to_folder_page(page)))
    }
}

fn not_served(error: NotServed) -> Status {
    let code = match error {
        NotServed::Refused(Refusal::TooFar) => Code::InvalidArgument,
        NotServed::Refused(Refusal::Expired) => Code::DeadlineExceeded,
        NotServed::Refused(_) | NotServed::Busy(_) => Code::ResourceExhausted,
        NotServed::NoZone => Code::FailedPrecondition,
    };
    let mut details = ErrorDetails::new();
    if code == Code::ResourceExhausted {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code, error.to_string(), details)
}
