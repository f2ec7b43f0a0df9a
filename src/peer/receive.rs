//! Takes files that others push: the Send service, in front of the inbox.
//!
//! Invariant: no byte is taken before the offer is, none is kept unless all match the offer, and a sender that says
//! nothing holds its place for half a minute at most.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    download::store_error,
    transfers::{Ticket, Transfers},
};
use crate::{
    protocol::action::{Direction, TransferState},
    shutdown::Shutdown,
    store::{
        StoreError,
        inbox::{ANSWER_TIMEOUT, Inbox, Refusal},
        part::PartFile,
        verify,
    },
    wire::{
        Invalid, pb,
        transfer::{IncomingOffer, MAX_CHUNK_BYTES, offer},
    },
};
use pb::{send_request::Message as Request, send_response::Message as Response};

/// Pushes to this peer that wait or run at once; each takes a thread and 2 MiB while bytes flow.
const MAX_RECEIVES: usize = 64;
/// From the call to the offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two chunks.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers of one push.
pub type Responses = ReceiverStream<Result<pb::SendResponse, Status>>;

/// The receiving side of a peer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Receiver {
    inbox: Inbox,
    transfers: Transfers,
    slots: Arc<Semaphore>,
    shutdown: Shutdown,
}

impl Receiver {
    /// In front of this inbox.
    pub fn new(inbox: Inbox, transfers: Transfers, shutdown: Shutdown) -> Self {
        Self { inbox, transfers, slots: Arc::new(Semaphore::new(MAX_RECEIVES)), shutdown }
    }

    /// Serves one call. The push ends when its answers are dropped.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many pushes wait or run.
    pub fn serve<S>(&self, requests: S) -> Result<Responses, Status>
    where
        S: Stream<Item = Result<pb::SendRequest, Status>> + Send + 'static,
    {
        let slot = self.slots.clone().try_acquire_owned();
        let slot =
            slot.map_err(|_| Status::resource_exhausted("too many files are being sent to this peer"))?;
        let (answers, responses) = mpsc::channel(2);
        let this = self.clone();
        drop(self.shutdown.spawn("receive", async move {
            let _slot = slot;
            let left = answers.clone();
            let received = tokio::select! {
                received = this.receive(requests, &answers) => received,
                () = left.closed() => return,
            };
            // Nobody hears it when the sender has left meanwhile; the file is here all the same.
            let _ = answers.send(received.map(|done| message(Response::Done(done)))).await;
        }));
        Ok(ReceiverStream::new(responses))
    }

    async fn receive<S>(
        &self,
        requests: S,
        answers: &mpsc::Sender<Result<pb::SendResponse, Status>>,
    ) -> Result<pb::SendDone, Status>
    where
        S: Stream<Item = Result<pb::SendRequest, Status>> + Send,
    {
        let mut requests = pin!(requests);
        let first = timeout(OFFER_TIMEOUT, requests.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no offer came"))?.transpose()?;
        let Some(Request::Offer(offered)) = first.and_then(|first| first.message) else {
            return Err(Invalid::new("offer", "has to come first").into());
        };
        let offer = offer(&offered)?;
        let begun = self.transfers.begin(
            Direction::Receive,
            &offer.name,
            offer.size_bytes,
            vec![offer.sender.to_string()],
        );
        let ticket = begun.map_err(|error| Status::resource_exhausted(error.message))?;
        ticket.update(|transfer| transfer.hash = Some(offer.hash));
        let taken = tokio::select! {
            taken = self.take(&offer, &ticket, answers, requests) => taken,
            () = ticket.cancelled() => Err(Status::permission_denied("the receiver cancelled it")),
        };
        match taken {
            Ok(done) => {
                ticket.finish(TransferState::Done);
                Ok(done)
            }
            Err(status) => {
                let kind = super::send::kind_of(&status);
                let error = crate::protocol::action::ActionError::new(kind, status.message());
                ticket.finish(TransferState::Failed(error));
                Err(status)
            }
        }
    }

    async fn take(
        &self,
        offer: &IncomingOffer,
        ticket: &Ticket,
        answers: &mpsc::Sender<Result<pb::SendResponse, Status>>,
        mut requests: impl Stream<Item = Result<pb::SendRequest, Status>> + Unpin,
    ) -> Result<pb::SendDone, Status> {
        let sender = (offer.sender_id, offer.sender.clone());
        let admitted = self.inbox.admit(sender, &offer.name, offer.size_bytes, ANSWER_TIMEOUT).await;
        admitted.map_err(|refusal| refusal_status(&refusal))?;
        let destination = self.inbox.folder().join(&offer.name);
        let created = PartFile::create(destination, offer.size_bytes, &self.shutdown).await;
        let mut part = created.map_err(|error| store_status(&error))?;
        ticket.enter(TransferState::Running);
        let accepted = answers.send(Ok(message(Response::Accepted(pb::SendAccepted {})))).await;
        accepted.map_err(|_| Status::cancelled("the sender left"))?;
        let mut left = offer.size_bytes;
        loop {
            let next = timeout(STALL_TIMEOUT, requests.next()).await;
            let Some(next) = next.map_err(|_| Status::deadline_exceeded("the sender stalled"))? else {
                break;
            };
            let Some(Request::Data(data)) = next?.message else {
                return Err(Invalid::new("data", "has to follow the offer").into());
            };
            let count = data.len() as u64;
            if data.len() > MAX_CHUNK_BYTES {
                return Err(Invalid::new("data", "must be at most 524288 bytes").into());
            }
            left = left
                .checked_sub(count)
                .ok_or_else(|| Status::data_loss("more bytes came than were offered; nothing was kept"))?;
            part.write(data).await.map_err(|error| store_status(&error))?;
            ticket.count(count);
        }
        if left > 0 {
            return Err(Status::data_loss(format!(
                "{left} bytes of the offer are missing; nothing was kept"
            )));
        }
        ticket.enter(TransferState::Verifying);
        let sum = part.sum().await.map_err(|error| store_status(&error))?;
        verify::compare(&offer.name, offer.hash, sum.hash).map_err(|error| store_status(&error))?;
        let path = part.publish().await.map_err(|error| store_status(&error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ticket.update(|transfer| transfer.path = Some(path));
        Ok(pb::SendDone { name, size_bytes: sum.size_bytes })
    }
}

fn message(message: Response) -> pb::SendResponse {
    pb::SendResponse { message: Some(message) }
}

fn refusal_status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::Policy(_) | Refusal::Declined(_) => Status::permission_denied(refusal.to_string()),
        Refusal::Unanswered => Status::deadline_exceeded(refusal.to_string()),
        Refusal::Full => Status::resource_exhausted(refusal.to_string()),
        Refusal::Store(error) => store_status(error),
    }
}

/// What the sender is told; folders of this machine are none of its business.
fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::NoSpace { .. } => Status::resource_exhausted("the receiver has no room for the file"),
        StoreError::Mismatch { .. } => {
            Status::data_loss("the bytes that came do not match the offer; nothing was kept")
        }
        StoreError::NamesTaken(_) => {
            Status::resource_exhausted("the receiver has too many files of that name")
        }
        StoreError::Stopped => Status::unavailable("the receiver is stopping"),
        StoreError::Io { .. } => {
            tracing::warn!(error = %store_error(error), "could not store a received file");
            Status::internal("the receiver could not store the file")
        }
    }
}
