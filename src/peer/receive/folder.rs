//! Takes a folder that another peer pushes: into a stage beside the inbox's files, published in one step.
//!
//! Invariant: every name is checked before anything of that name is written, nothing is kept unless the files are those of
//! the offer, each with its hash, and a push that fails leaves nothing.

use std::{fs::File, io::Write, path::Path};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Code, Status};

use super::{Caller, Receiver, Request, Response, STALL_TIMEOUT, message, refusal_status, store_status};
use crate::{
    net::shelter::own_fault,
    peer::transfers::Ticket,
    protocol::{
        action::TransferState,
        id::ContentHash,
        manifest::{Manifest, ManifestBuilder, ManifestFile},
        pace::LeastPace,
    },
    shutdown::Shutdown,
    store::{
        SpaceWatch, StoreError,
        inbox::{ANSWER_TIMEOUT, Sender},
        stage::{FILE_OVERHEAD_BYTES, Stage},
        verify::Running,
    },
    wire::{
        Invalid,
        folder::{MAX_PACK_FILES, sent_file},
        pb,
        transfer::{IncomingOffer, MAX_CHUNK_BYTES},
    },
};

/// Messages between the network and the disk: at most 2 MiB.
const QUEUE_MESSAGES: usize = 4;

enum Order {
    Pack(Vec<pb::SendFile>),
    Data(Bytes),
    /// The sender has ended well: without it nothing is published.
    End,
}

impl Receiver {
    /// As for one file: the offer, then bytes, then the end.
    pub(super) async fn take_folder(
        &self,
        (offer, files): (&IncomingOffer, u32),
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
        let admitted = self.inbox.admit_folder(sender, &offer.name, files, offer.size_bytes, ANSWER_TIMEOUT);
        admitted.await.map_err(|refusal| refusal_status(&refusal))?;
        let (orders, queue) = mpsc::channel(QUEUE_MESSAGES);
        let intake = Intake {
            offer: offer.clone(),
            files: files as usize,
            folder: self.inbox.folder().to_path_buf(),
            stop: self.shutdown.clone(),
        };
        // Ends without publishing when the orders end before the offer is fulfilled.
        let writer = self.shutdown.spawn_blocking(move || intake.run(queue));
        ticket.enter(TransferState::Running);
        let accepted = answers.send(Ok(message(Response::Accepted(pb::SendAccepted {})))).await;
        accepted.map_err(|_| Status::cancelled("the sender left"))?;
        let mut pace = LeastPace::new(STALL_TIMEOUT);
        loop {
            let began = Instant::now();
            let next = timeout(pace.patience(), requests.next()).await;
            let wait = began.elapsed();
            let Some(next) = next.map_err(|_| Status::deadline_exceeded("the sender stalled"))? else {
                break;
            };
            let (order, count) = order(next?)?;
            pace.waited(wait, count);
            if orders.send(order).await.is_err() {
                break;
            }
            ticket.count(count);
        }
        ticket.enter(TransferState::Verifying);
        // A writer that has failed takes no orders; it says why below.
        let _ = orders.send(Order::End).await;
        let taken = writer
            .await
            .map_err(|_| own_fault(Code::Internal, "the receiver could not store the folder"))??;
        let name = taken.file_name().unwrap_or_default().to_string_lossy().into_owned();
        ticket.update(|transfer| transfer.path = Some(taken));
        Ok(pb::SendDone { name, size_bytes: offer.size_bytes })
    }
}

/// A message within its bounds, and the bytes of files in it.
fn order(request: pb::SendRequest) -> Result<(Order, u64), Status> {
    match request.message {
        Some(Request::Pack(pack)) => {
            if pack.files.is_empty() || pack.files.len() > MAX_PACK_FILES {
                return Err(Invalid::new("pack.files", format!("must be 1 to {MAX_PACK_FILES}")).into());
            }
            let bytes = pack.files.iter().map(|file| file.data.len() as u64).sum();
            Ok((Order::Pack(pack.files), bytes))
        }
        Some(Request::Data(data)) if data.is_empty() || data.len() > MAX_CHUNK_BYTES => {
            Err(Invalid::new("data", "must be 1 to 524288 bytes").into())
        }
        Some(Request::Data(data)) => {
            let bytes = data.len() as u64;
            Ok((Order::Data(data), bytes))
        }
        _ => Err(Invalid::new("pack", "has to follow the offer of a folder").into()),
    }
}

/// The thread that checks and writes one folder.
struct Intake {
    offer: IncomingOffer,
    files: usize,
    folder: std::path::PathBuf,
    stop: Shutdown,
}

/// The file that `data` belongs to.
struct Open {
    file: File,
    path: String,
    hash: Running,
    expected: Option<ContentHash>,
    left: u64,
}

impl Intake {
    fn run(self, mut queue: mpsc::Receiver<Order>) -> Result<std::path::PathBuf, Status> {
        let stored = |error: StoreError| store_status(&error);
        let mut stage = Stage::for_push(&self.folder, &self.offer.name).map_err(stored)?;
        stage.check_space(self.files, self.offer.size_bytes).map_err(stored)?;
        let (mut manifest, mut count, mut left) = (ManifestBuilder::default(), 0, self.offer.size_bytes);
        let (mut open, mut has_ended): (Option<Open>, bool) = (None, false);
        let mut space = SpaceWatch::of(stage.path());
        while let Some(order) = queue.blocking_recv() {
            if self.stop.is_stopping() {
                return Err(store_status(&StoreError::Stopped));
            }
            match order {
                Order::End => {
                    has_ended = true;
                    break;
                }
                Order::Data(data) => {
                    let file = open.as_mut().ok_or_else(|| Invalid::new("data", "belongs to no file"))?;
                    file.write(&data, stage.path())?;
                    space.wrote(data.len()).map_err(stored)?;
                    if file.left == 0
                        && let Some(file) = open.take()
                    {
                        file.finish()?;
                    }
                }
                Order::Pack(files) => {
                    for file in files {
                        if open.is_some() {
                            return Err(Status::data_loss("a file is cut off; nothing was kept"));
                        }
                        let (file, data) = sent_file(file)?;
                        count += 1;
                        let rest = left.checked_sub(file.size_bytes).filter(|_| count <= self.files);
                        left = rest.ok_or_else(|| {
                            Status::data_loss("more files or bytes came than were offered; nothing was kept")
                        })?;
                        let file = manifest
                            .add(file)
                            .map_err(|invalid| Invalid::new("pack.files.path", invalid.to_string()))?;
                        open = take_file(&mut stage, file, &data)?;
                        space.wrote(data.len() + FILE_OVERHEAD_BYTES).map_err(stored)?;
                    }
                }
            }
        }
        let manifest = manifest.finish();
        if !has_ended || open.is_some() || count != self.files || left > 0 {
            return Err(Status::data_loss("files of the offer are missing; nothing was kept"));
        }
        self.publish(stage, &manifest)
    }

    fn publish(&self, stage: Stage, manifest: &Manifest) -> Result<std::path::PathBuf, Status> {
        if manifest.id() != self.offer.hash {
            return Err(Status::data_loss(
                "the files that came are not those of the offer; nothing was kept",
            ));
        }
        let destination = self.folder.join(&self.offer.name);
        stage.publish(manifest, &destination).map_err(|error| store_status(&error))
    }
}

/// Writes what came with the file; `None` when that was all of it.
fn take_file(stage: &mut Stage, file: &ManifestFile, data: &[u8]) -> Result<Option<Open>, Status> {
    let created = stage.create(&file.path).map_err(|error| store_status(&error))?;
    let mut open = Open {
        file: created,
        path: file.path.clone(),
        hash: Running::default(),
        expected: file.hash,
        left: file.size_bytes,
    };
    open.write(data, stage.path())?;
    if open.left > 0 {
        return Ok(Some(open));
    }
    open.finish()?;
    Ok(None)
}

impl Open {
    fn write(&mut self, data: &[u8], stage: &Path) -> Result<(), Status> {
        let left = self.left.checked_sub(data.len() as u64);
        self.left = left
            .ok_or_else(|| Status::data_loss("a file is longer than it was said to be; nothing was kept"))?;
        self.hash.update(data);
        self.file
            .write_all(data)
            .map_err(|error| store_status(&StoreError::io("write", &stage.join(&self.path))(error)))
    }

    fn finish(self) -> Result<(), Status> {
        if self.expected == Some(self.hash.hash()) {
            return Ok(());
        }
        Err(Status::data_loss("the bytes of a file do not match its hash; nothing was kept"))
    }
}
