//! What is asked of other peers about replicas: each call has a deadline, and a peer that says nothing is told apart from
//! one that says no.

use std::{collections::HashSet, time::Duration};

use tokio::time::timeout;
use tonic::{Code, Request, Status, transport::Channel};

use super::Keeping;
use crate::{
    net::shelter::own_fault,
    protocol::{id::ContentHash, roster::Member},
    wire::{
        pb::replica_service_client::ReplicaServiceClient,
        replica::{self, KeepAsk, Kept, MAX_ANSWER_BYTES, MAX_CHECKED, Released},
    },
};

/// For a check or a release, dialing included.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request to keep to the answer that it begins.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole content: the keeper itself gives up a source that stalls, so this only bounds a keeper that lies.
const KEEP_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// What one member told of the contents it was asked about.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) kept: HashSet<ContentHash>,
    pub(super) released: Vec<Released>,
    /// What it would keep now, when it told.
    pub(super) room_bytes: Option<u64>,
}

impl Keeping {
    fn client(&self, member: &Member) -> Result<ReplicaServiceClient<Channel>, Status> {
        let channel = self
            .0
            .channels
            .to(member.into())
            .map_err(|forbidden| Status::failed_precondition(forbidden.to_string()))?;
        Ok(ReplicaServiceClient::new((*channel).clone()).max_decoding_message_size(MAX_ANSWER_BYTES))
    }

    /// What a member keeps of these contents; `None` when it did not answer all of it.
    pub(super) async fn check(&self, member: &Member, hashes: &[ContentHash]) -> Option<Answer> {
        let mut client = self.client(member).ok()?;
        let mut answer = Answer::default();
        for asked in hashes.chunks(MAX_CHECKED) {
            let mut request = Request::new(replica::to_check_request(asked));
            request.set_timeout(CALL_TIMEOUT);
            let told = timeout(CALL_TIMEOUT, client.check_replicas(request)).await.ok()?.ok()?;
            let (kept, released) = replica::checked(told.get_ref()).ok()?;
            answer.room_bytes = told.get_ref().room_bytes;
            // Only what was asked about counts.
            answer.kept.extend(kept.into_iter().filter(|hash| asked.contains(hash)));
            answer.released.extend(released.into_iter().filter(|told| asked.contains(&told.hash)));
        }
        Some(answer)
    }

    /// Has a member keep a content, this peer too. Dropping it takes the request back.
    pub(super) async fn have_kept(&self, member: &Member, ask: &KeepAsk) -> Result<(), Status> {
        if member.id == self.0.view.now().me.id {
            return self.keep_here(ask.clone(), || ()).await;
        }
        let mut client = self.client(member)?;
        let late = |_| Status::deadline_exceeded("no answer in time");
        let begun = async {
            let mut answers = client.keep(replica::to_keep_request(ask)).await?.into_inner();
            let first = answers.message().await?;
            Ok::<_, Status>((answers, first))
        };
        let (mut answers, mut next) = timeout(BEGIN_TIMEOUT, begun).await.map_err(late)??;
        let done = async {
            loop {
                let said = next.take().ok_or_else(|| Status::aborted("it ended without a word"))?;
                match replica::kept(&said).map_err(|_| Status::internal("its answer is malformed"))? {
                    Kept::Done => return Ok(()),
                    Kept::Accepted => next = answers.message().await?,
                }
            }
        };
        timeout(KEEP_TIMEOUT, done).await.map_err(late)?
    }

    /// Takes a content back from a member, this peer too. True when it kept it.
    pub(super) async fn take_back(&self, member: &Member, released: Released) -> Result<bool, Status> {
        if member.id == self.0.view.now().me.id {
            return self.release_here(released).await;
        }
        let mut request = Request::new(replica::to_release_request(&released));
        request.set_timeout(CALL_TIMEOUT);
        let mut client = self.client(member)?;
        let answer = timeout(CALL_TIMEOUT, client.release(request))
            .await
            .map_err(|_| Status::deadline_exceeded("no answer in time"))??;
        Ok(answer.into_inner().was_kept)
    }

    /// Takes a content back here.
    pub(super) async fn release_here(&self, released: Released) -> Result<bool, Status> {
        let (store, index) = (self.0.store.clone(), self.0.index.clone());
        let releasing = self.0.shutdown.spawn_blocking(move || {
            let was_kept = store.release(&released.hash, released.key);
            if was_kept == Ok(true) {
                look_again(&index, &released.hash);
            }
            was_kept
        });
        match releasing.await {
            Ok(Ok(was_kept)) => Ok(was_kept),
            Ok(Err(wrong)) => Err(Status::permission_denied(wrong.to_string())),
            Err(_) => Err(own_fault(Code::Internal, "releasing the content failed")),
        }
    }
}

/// Has the index look at the copies of a content again: one of them is gone.
pub(super) fn look_again(index: &crate::index::Index, hash: &ContentHash) {
    const MAX_COPIES: usize = 64;
    for copy in index.find_all(hash, MAX_COPIES) {
        // Opening notices what is gone, and has it walked.
        drop(index.open_file(&copy.path));
    }
}
