//! What other peers ask of a keeper: checked in `wire`, then done by the same code as for this peer's own person.

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Keeping;
use crate::wire::{
    pb::{self, replica_service_server::ReplicaService},
    replica::{self, Kept, Released},
};

/// Answers to one request to keep: there are two.
const ANSWERS: usize = 2;

/// Answers other peers.
#[derive(Debug)]
pub(in crate::peer) struct ReplicaFace(pub(in crate::peer) Keeping);

#[tonic::async_trait]
impl ReplicaService for ReplicaFace {
    type KeepStream = ReceiverStream<Result<pb::KeepResponse, Status>>;

    async fn keep(&self, request: Request<pb::KeepRequest>) -> Result<Response<Self::KeepStream>, Status> {
        let ask = replica::keep_ask(request.get_ref())?;
        let (answers, stream) = mpsc::channel(ANSWERS);
        let keeping = self.0.clone();
        drop(self.0.0.shutdown.spawn("keep", async move {
            let begun = || drop(answers.try_send(Ok(replica::to_kept(Kept::Accepted))));
            let kept = tokio::select! {
                kept = keeping.keep_here(ask, begun) => kept,
                // The one who asked went away: nobody would know of the replica.
                () = answers.closed() => return,
            };
            // There is room for two.
            let _ = answers.try_send(kept.map(|()| replica::to_kept(Kept::Done)));
        }));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn check_replicas(
        &self,
        request: Request<pb::CheckReplicasRequest>,
    ) -> Result<Response<pb::CheckReplicasResponse>, Status> {
        let asked = replica::check_ask(request.get_ref())?;
        let store = &self.0.0.store;
        let is_kept = |hash: &_| !self.0.is_leaving() && store.get(hash).is_some();
        let kept: Vec<_> = asked.iter().copied().filter(is_kept).collect();
        let gone = asked.iter().filter(|hash| !kept.contains(hash));
        let released = gone.filter_map(|hash| Some(Released { hash: *hash, key: store.released(hash)? }));
        let released: Vec<_> = released.collect();
        // One look at the file system's numbers.
        let room_bytes = if self.0.is_leaving() { 0 } else { store.room_bytes() };
        Ok(Response::new(replica::to_checked(&kept, &released, Some(room_bytes))))
    }

    async fn release(
        &self,
        request: Request<pb::ReleaseRequest>,
    ) -> Result<Response<pb::ReleaseResponse>, Status> {
        let released = replica::release_ask(request.get_ref())?;
        let was_kept = self.0.release_here(released).await?;
        Ok(Response::new(pb::ReleaseResponse { was_kept }))
    }
}
