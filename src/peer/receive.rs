//! Takes files that others push: the Send service, in front of the inbox.
//!
//! Invariant: no byte is taken before the offer is, none is kept unless all match the offer, a sender has a bounded part
//! of the places, and one that says nothing, or too little, loses its place within half a minute. An id that a sender
//! gives itself counts only when its call comes from where the registry says that peer is.

mod folder;

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    download::store_error,
    transfers::{Ticket, Transfers},
};
use crate::{
    net::{
        caller::{Caller, CallerKey, KnownPeers},
        limit::Admission,
        shelter::own_fault,
    },
    protocol::{
        action::{Direction, NoteCode, TransferState},
        pace::LeastPace,
    },
    shutdown::Shutdown,
    store::{
        StoreError,
        inbox::{ANSWER_TIMEOUT, Inbox, Refusal, Sender},
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
/// Of them, those of one sender: two `send` commands at once have 8 each under way.
const MAX_SENDER_RECEIVES: usize = 16;
/// From the call to the offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two chunks; less when they were slow or small before.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Answers of one push.
pub type Responses = ReceiverStream<Result<pb::SendResponse, Status>>;

/// The receiving side of a peer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Receiver {
    inbox: Inbox,
    transfers: Transfers,
    slots: Admission<CallerKey>,
    known: Arc<dyn KnownPeers>,
    shutdown: Shutdown,
}

impl Receiver {
    /// In front of this inbox; `known` tells whether a sender is who it says it is.
    pub fn new(inbox: Inbox, known: Arc<dyn KnownPeers>, transfers: Transfers, shutdown: Shutdown) -> Self {
        let slots = Admission::new(MAX_SENDER_RECEIVES, MAX_RECEIVES);
        Self { inbox, transfers, slots, known, shutdown }
    }

    /// Serves one call from `caller`. The push ends when its answers are dropped.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many pushes wait or run, of this caller or in all.
    pub fn serve<S>(&self, requests: S, caller: Caller) -> Result<Responses, Status>
    where
        S: Stream<Item = Result<pb::SendRequest, Status>> + Send + 'static,
    {
        let slot = self.slots.admit(caller.key());
        let slot = slot.map_err(|full| {
            Status::resource_exhausted(format!("files are being sent to this peer already: {full}"))
        })?;
        let (answers, responses) = mpsc::channel(2);
        let this = self.clone();
        drop(self.shutdown.spawn("receive", async move {
            let left = answers.clone();
            let received = tokio::select! {
                received = this.receive(requests, caller, &answers) => received,
                () = left.closed() => return,
            };
            // The place is free before the sender hears so: it may have the next file ready.
            drop(slot);
            // Nobody hears it when the sender has left meanwhile; the file is here all the same.
            let _ = answers.send(received.map(|done| message(Response::Done(done)))).await;
        }));
        Ok(ReceiverStream::new(responses))
    }

    async fn receive<S>(
        &self,
        requests: S,
        caller: Caller,
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
        if !caller.may_speak_for(&offer.sender_id) {
            return Err(Invalid::new("offer.sender_id", "must be the caller's own").into());
        }
        let begun = self.transfers.begin(
            Direction::Receive,
            &offer.name,
            offer.size_bytes,
            vec![offer.sender.to_string()],
        );
        let ticket = begun.map_err(|error| Status::resource_exhausted(error.message))?;
        // The id of a folder's list is the hash of no content.
        ticket.update(|transfer| transfer.hash = offer.files.is_none().then_some(offer.hash));
        ticket.note(NoteCode::WaitsForAnswerHere, "waits for an answer here; see `floodplain inbox`");
        let taken = tokio::select! {
            taken = async {
                match offer.files {
                    Some(files) => {
                        self.take_folder((&offer, files), caller, &ticket, answers, requests).await
                    }
                    None => self.take(&offer, caller, &ticket, answers, requests).await,
                }
            } => taken,
            () = ticket.cancelled() => {
                ticket.finish(TransferState::Cancelled);
                return Err(Status::permission_denied("the receiver cancelled it"));
            }
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
        caller: Caller,
        ticket: &Ticket,
        answers: &mpsc::Sender<Result<pb::SendResponse, Status>>,
        mut requests: impl Stream<Item = Result<pb::SendRequest, Status>> + Unpin,
    ) -> Result<pb::SendDone, Status> {
        let sender = Sender {
            id: offer.sender_id,
            name: offer.sender.clone(),
            is_confirmed: self.is_confirmed(offer, caller),
        };
        let admitted = self.inbox.admit(sender, &offer.name, offer.size_bytes, ANSWER_TIMEOUT).await;
        admitted.map_err(|refusal| refusal_status(&refusal))?;
        let destination = self.inbox.folder().join(&offer.name);
        let created = PartFile::create(destination, offer.size_bytes, &self.shutdown).await;
        let mut part = created.map_err(|error| store_status(&error))?;
        ticket.enter(TransferState::Running);
        let accepted = answers.send(Ok(message(Response::Accepted(pb::SendAccepted {})))).await;
        accepted.map_err(|_| Status::cancelled("the sender left"))?;
        let (mut left, mut pace) = (offer.size_bytes, LeastPace::new(STALL_TIMEOUT));
        loop {
            let began = Instant::now();
            let next = timeout(pace.patience(), requests.next()).await;
            let wait = began.elapsed();
            let Some(next) = next.map_err(|_| Status::deadline_exceeded("the sender stalled"))? else {
                break;
            };
            let Some(Request::Data(data)) = next?.message else {
                return Err(Invalid::new("data", "has to follow the offer").into());
            };
            let count = data.len() as u64;
            if data.is_empty() {
                return Err(Invalid::new("data", "must not be empty").into());
            }
            pace.waited(wait, count);
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

    /// In a closed network the id is the caller's own, and only the name is left to compare. Otherwise ids are public, so that
    /// one alone proves nothing; the address of the connection cannot be chosen freely.
    fn is_confirmed(&self, offer: &IncomingOffer, caller: Caller) -> bool {
        self.known.known(&offer.sender_id).is_some_and(|member| {
            let is_its_own =
                caller.peer().is_some() || caller.ip() == Some(member.address.ip().to_canonical());
            member.name == offer.sender && is_its_own
        })
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
        _ => {
            tracing::warn!(error = %store_error(error), "could not store a received file");
            own_fault(Code::Internal, "the receiver could not store the file")
        }
    }
}
