//! Pushes a file or a folder of this machine into another peer's inbox.
//!
//! Invariant: no byte leaves before the receiver took the offer, and `Done` means that the receiver verified and
//! published the file.

mod folder;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::pin,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    channels::Channels,
    handle::Events,
    transfers::{Ticket, Transfers},
};
use crate::{
    net::To,
    protocol::{
        action::{ActionError, Direction, ErrorKind, FileInfo, HintCode, NoteCode, Transfer, TransferState},
        id::{ContentHash, PeerId, PeerName},
        name::{Printable, to_portable_name},
    },
    shutdown::Shutdown,
    store::{
        inbox::ANSWER_TIMEOUT,
        pool::Pool,
        read::{READ_AHEAD_CHUNKS, Range, SourceError, SourceFile, chunks},
        verify::hash_file,
    },
    wire::{
        pb,
        transfer::{DEFAULT_CHUNK_BYTES, IncomingOffer, to_offer},
    },
};
use folder::Folder;
use pb::{
    peer_service_client::PeerServiceClient, send_request::Message as Request,
    send_response::Message as Response,
};

/// From the call to the answer's headers.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A receiver that takes no chunk for so long is given up.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// From the last byte to the receiver's `done`: it brings the file to disk meanwhile.
const DONE_TIMEOUT: Duration = Duration::from_secs(120);
/// Reading a file for its hash is told when it takes longer.
const TELL_READING_AFTER: Duration = Duration::from_secs(1);
/// Chunks between the disk and the connection.
const QUEUE_CHUNKS: usize = 2;
const SPARE_BUFFERS: usize = 8;

/// What to push, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushAsk {
    /// The file or folder.
    pub path: PathBuf,
    /// The file's content, when the index knows it.
    pub hash: Option<ContentHash>,
    /// Our name, as the receiver is shown it.
    pub sender: PeerName,
    /// Receiver's name, for messages.
    pub receiver: String,
    /// Who and where it is.
    pub to: To,
}

/// Pushes; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender {
    me: PeerId,
    channels: Channels,
    transfers: Transfers,
    pool: Pool,
    shutdown: Shutdown,
}

impl Sender {
    /// On behalf of this peer.
    pub fn new(me: PeerId, channels: Channels, transfers: Transfers, shutdown: Shutdown) -> Self {
        Self { me, channels, transfers, pool: Pool::new(DEFAULT_CHUNK_BYTES, SPARE_BUFFERS), shutdown }
    }

    /// On whose behalf.
    pub fn id(&self) -> PeerId {
        self.me
    }

    /// Starts a push. The events end with a final state; dropping them cancels it.
    ///
    /// # Errors
    /// `Refused` when too many transfers run, `Usage` when the path has no file name.
    pub fn start(&self, ask: PushAsk) -> Result<Events<Transfer>, ActionError> {
        let Some(name) = ask.path.file_name() else {
            let error = format!("{} has no file name", ask.path.display());
            return Err(ActionError::new(ErrorKind::Usage, error));
        };
        let name = to_portable_name(&name.to_string_lossy());
        let ticket = self.transfers.begin(Direction::Send, &name, 0, vec![ask.receiver.clone()])?;
        let events = ticket.events();
        let this = self.clone();
        drop(self.shutdown.spawn("send", async move {
            let pushed = tokio::select! {
                pushed = this.push(&ask, name, &ticket) => pushed,
                () = ticket.cancelled() => return ticket.finish(TransferState::Cancelled),
            };
            ticket.finish(pushed.map_or_else(TransferState::Failed, |()| TransferState::Done));
        }));
        Ok(events)
    }

    async fn push(&self, ask: &PushAsk, name: String, ticket: &Ticket) -> Result<(), ActionError> {
        let path = ask.path.clone();
        let is_folder = self.shutdown.spawn_blocking(move || path.is_dir()).await.unwrap_or(false);
        let (offer, what) = if is_folder {
            let folder = when_slow(ticket, self.read_folder(ask, ticket)).await?;
            let (manifest, files) = (&folder.manifest, folder.manifest.files().len());
            let (size_bytes, hash) = (manifest.size_bytes(), manifest.id());
            (self.offer(ask, name, size_bytes, hash, u32::try_from(files).ok()), What::Folder(folder))
        } else {
            let (source, hash) = when_slow(ticket, self.open(ask, ticket)).await?;
            ticket.update(|transfer| transfer.hash = Some(hash));
            (self.offer(ask, name, source.info().size_bytes, hash, None), What::File(source))
        };
        ticket.update(|transfer| transfer.size_bytes = offer.size_bytes);
        let channel = self
            .channels
            .to(ask.to)
            .map_err(|forbidden| ActionError::new(ErrorKind::Refused, forbidden.to_string()))?;
        let (requests, outgoing) = mpsc::channel(QUEUE_CHUNKS);
        let queued = requests.send(to_offer(&offer)).await;
        queued.map_err(|_| ActionError::new(ErrorKind::Failed, "the call ended before it began"))?;

        let failed = |status: Status| failure(&ask.receiver, &status);
        let mut client = PeerServiceClient::new((*channel).clone());
        let call = timeout(CALL_TIMEOUT, client.send(ReceiverStream::new(outgoing))).await;
        let late = || Status::deadline_exceeded("it did not answer");
        let mut answers = call.map_err(|_| failed(late()))?.map_err(failed)?.into_inner();
        ticket.note(NoteCode::WaitsForReceiver, format!("waits for {}'s answer", ask.receiver));
        let accepted = timeout(ANSWER_TIMEOUT + CALL_TIMEOUT, answers.message()).await;
        match accepted.map_err(|_| failed(late()))?.map_err(failed)? {
            Some(pb::SendResponse { message: Some(Response::Accepted(_)) }) => {}
            _ => {
                return Err(failed(Status::internal(
                    "it answered something else than that it takes the file",
                )));
            }
        }
        let given = self.give(what, ask, ticket, requests, answers).await;
        given.map_err(|error| broke_off(error, &ask.receiver, &ticket.transfer()))
    }

    /// What was accepted, until the receiver says that it has it.
    async fn give(
        &self,
        what: What,
        ask: &PushAsk,
        ticket: &Ticket,
        requests: mpsc::Sender<pb::SendRequest>,
        mut answers: Streaming<pb::SendResponse>,
    ) -> Result<(), ActionError> {
        let failed = |status: Status| failure(&ask.receiver, &status);
        ticket.enter(TransferState::Running);
        match what {
            What::File(source) => self.stream(source, ask, ticket, requests, &mut answers).await?,
            What::Folder(folder) => {
                self.stream_folder(folder, ask, ticket, requests, &mut answers).await?;
            }
        }
        ticket.enter(TransferState::Verifying);
        let late = || Status::deadline_exceeded("it did not say that it has everything");
        let done = timeout(DONE_TIMEOUT, answers.message()).await;
        match done.map_err(|_| failed(late()))?.map_err(failed)? {
            Some(pb::SendResponse { message: Some(Response::Done(_)) }) => Ok(()),
            _ => Err(failed(Status::internal("it ended without saying that it has the file"))),
        }
    }

    fn offer(
        &self,
        ask: &PushAsk,
        name: String,
        size_bytes: u64,
        hash: ContentHash,
        files: Option<u32>,
    ) -> IncomingOffer {
        IncomingOffer { sender_id: self.me, sender: ask.sender.clone(), name, size_bytes, hash, files }
    }

    /// Lists and hashes a folder.
    async fn read_folder(&self, ask: &PushAsk, ticket: &Ticket) -> Result<Folder, ActionError> {
        let (path, stop, cancel) = (ask.path.clone(), self.shutdown.clone(), ticket.cancel_token());
        let reading = self
            .shutdown
            .spawn_blocking(move || Folder::read(&path, || !stop.is_stopping() && !cancel.is_cancelled()));
        reading
            .await
            .unwrap_or_else(|_| Err(ActionError::new(ErrorKind::Failed, "reading the folder failed")))
    }

    /// Every file of a folder to the connection; ends when the last byte is handed over.
    async fn stream_folder(
        &self,
        folder: Folder,
        ask: &PushAsk,
        ticket: &Ticket,
        requests: mpsc::Sender<pb::SendRequest>,
        answers: &mut Streaming<pb::SendResponse>,
    ) -> Result<(), ActionError> {
        let size_bytes = folder.manifest.size_bytes();
        let mut messages = folder.messages(ticket.cancel_token(), &self.shutdown);
        let mut sent = 0;
        while let Some(message) = messages.recv().await {
            let (message, bytes) = message?;
            self.hand_over(message, ask, &requests, answers).await?;
            ticket.count(bytes);
            sent += bytes;
        }
        if sent < size_bytes {
            return Err(ActionError::new(ErrorKind::Cancelled, "the transfer was stopped"));
        }
        Ok(())
    }

    /// Everything to the connection; ends when the last byte is handed over.
    async fn stream(
        &self,
        source: SourceFile,
        ask: &PushAsk,
        ticket: &Ticket,
        requests: mpsc::Sender<pb::SendRequest>,
        answers: &mut Streaming<pb::SendResponse>,
    ) -> Result<(), ActionError> {
        let range = Range { offset: 0, end: source.info().size_bytes };
        let buffers = (&self.pool, 0, DEFAULT_CHUNK_BYTES);
        let mut chunks = chunks(source, range, buffers, READ_AHEAD_CHUNKS, (), &self.shutdown);
        let mut sent = 0;
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk.map_err(|error| unreadable(&ask.path, &error))?;
            let bytes = chunk.payload_bytes as u64;
            let data = chunk.buffer.freeze(chunk.payload_bytes);
            let message = pb::SendRequest { message: Some(Request::Data(data)) };
            self.hand_over(message, ask, &requests, answers).await?;
            ticket.count(bytes);
            sent += bytes;
        }
        if sent < range.end {
            return Err(ActionError::new(ErrorKind::Cancelled, "the transfer was stopped"));
        }
        Ok(())
    }

    /// One message to the connection. A receiver that gives up says so before it has taken everything.
    async fn hand_over(
        &self,
        message: pb::SendRequest,
        ask: &PushAsk,
        requests: &mpsc::Sender<pb::SendRequest>,
        answers: &mut Streaming<pb::SendResponse>,
    ) -> Result<(), ActionError> {
        tokio::select! {
            biased;
            handed = timeout(STALL_TIMEOUT, requests.send(message)) => match handed {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(self.why(ask, answers).await),
                Err(_) => Err(failure(&ask.receiver, &Status::deadline_exceeded("it stalled"))),
            },
            answer = answers.message() => {
                let status = answer.err().unwrap_or_else(|| Status::internal("it answered too early"));
                Err(failure(&ask.receiver, &status))
            }
        }
    }

    /// The call is over: the receiver's reason.
    async fn why(&self, ask: &PushAsk, answers: &mut Streaming<pb::SendResponse>) -> ActionError {
        let status = match timeout(CALL_TIMEOUT, answers.message()).await {
            Ok(Err(status)) => status,
            _ => Status::unavailable("the connection was cut"),
        };
        failure(&ask.receiver, &status)
    }

    /// Opens the file and hashes it where the index has not.
    async fn open(&self, ask: &PushAsk, ticket: &Ticket) -> Result<(SourceFile, ContentHash), ActionError> {
        let (path, known, stop) = (ask.path.clone(), ask.hash, self.shutdown.clone());
        let cancel = ticket.cancel_token();
        let opening = self.shutdown.spawn_blocking(move || {
            // Without NONBLOCK opening a FIFO would wait for its writer.
            let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path);
            let file = file.map_err(SourceError::Io)?;
            let source = describe(file, &path, known)?;
            let hash = match known {
                Some(hash) => hash,
                None => hash_file(source.file(), |_| !stop.is_stopping() && !cancel.is_cancelled())?.0,
            };
            Ok((source, hash))
        });
        match opening.await {
            Ok(opened) => opened.map_err(|error| unreadable(&ask.path, &error)),
            Err(_) => Err(ActionError::new(ErrorKind::Failed, "reading the file failed")),
        }
    }
}

/// Says that the file is being read, if that takes a while.
async fn when_slow<T>(ticket: &Ticket, reading: impl Future<Output = T>) -> T {
    let mut reading = pin!(reading);
    tokio::select! {
        read = &mut reading => return read,
        () = sleep(TELL_READING_AFTER) => ticket.note(NoteCode::ReadsWhatIsSent, "reads what is to be sent"),
    }
    reading.await
}

/// What is pushed.
enum What {
    File(SourceFile),
    Folder(Folder),
}

fn describe(file: File, path: &Path, hash: Option<ContentHash>) -> Result<SourceFile, SourceError> {
    let metadata = file.metadata()?;
    let info = FileInfo {
        hash,
        path: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        size_bytes: metadata.len(),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    };
    SourceFile::new(file, info)
}

fn unreadable(path: &Path, error: &SourceError) -> ActionError {
    let kind = match error {
        SourceError::NotFound => ErrorKind::NotFound,
        SourceError::Io(cause) if cause.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    };
    let cause = match error {
        SourceError::Io(cause) => cause.to_string(),
        SourceError::NotFound => "it is not a regular file".into(),
        SourceError::Changed => "it changed while it was sent".into(),
        SourceError::OutOfRange { .. } => error.to_string(),
    };
    ActionError::new(kind, format!("could not send {}: {cause}", path.display()))
}

/// What a receiver's status means to a face.
pub(super) fn kind_of(status: &Status) -> ErrorKind {
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::ResourceExhausted | Code::InvalidArgument => {
            ErrorKind::Refused
        }
        Code::DataLoss => ErrorKind::Mismatch,
        Code::DeadlineExceeded => ErrorKind::TimedOut,
        Code::Unavailable => ErrorKind::Unreachable,
        Code::Cancelled => ErrorKind::Cancelled,
        Code::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    }
}

/// Whoever had taken the offer is gone, or takes nothing any more.
fn broke_off(error: ActionError, receiver: &str, transfer: &Transfer) -> ActionError {
    if !matches!(error.kind, ErrorKind::Unreachable | ErrorKind::TimedOut) {
        return error;
    }
    let (done, whole) = (transfer.done_bytes, transfer.size_bytes);
    let message = format!("{receiver} broke off after {done} of {whole} bytes: {}", error.message);
    let hint = "what is unfinished is removed there; send it again when the receiver is back";
    ActionError::new(error.kind, message).hint(hint)
}

fn failure(receiver: &str, status: &Status) -> ActionError {
    let kind = match kind_of(status) {
        // A status with a source was not sent by anyone: the connection broke.
        ErrorKind::Failed | ErrorKind::Cancelled if std::error::Error::source(status).is_some() => {
            ErrorKind::Unreachable
        }
        kind => kind,
    };
    let said = status.message();
    let said = if said.is_empty() { status.code().description() } else { said };
    let message = match kind {
        ErrorKind::Refused => format!("{receiver} refused the file: {}", Printable(said)),
        ErrorKind::Unreachable => format!("{receiver} cannot be reached"),
        _ => format!("could not send to {receiver}: {}", Printable(said)),
    };
    let error = ActionError::new(kind, message);
    match kind {
        ErrorKind::TimedOut => error.hint("ask its user to answer the offer, and send again"),
        ErrorKind::Unreachable => {
            error.hint_as(HintCode::ListPeers, "see `floodplain peers` for who is there")
        }
        ErrorKind::Mismatch => error.hint("the file may have changed; send it again"),
        _ => error,
    }
}
