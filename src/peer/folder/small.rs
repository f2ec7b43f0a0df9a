//! The small files of a folder: one call asks for all of them ahead, one thread checks and writes them as they come.
//!
//! Invariant: only bytes that match the list are written, and every file that was asked for is written, failed, or asked
//! for again while the holder makes headway.

use std::{sync::PoisonError, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{Failed, KEPT_FAILURES, Run};
use crate::{
    peer::download::store_error,
    protocol::{
        action::{ActionError, ErrorKind, NoteCode, TransferState},
        id::ContentHash,
        manifest::ManifestFile,
        plan::Pace,
    },
    store::StoreError,
    wire::{
        folder::{Downloaded, MAX_FOLDER_MESSAGE_BYTES, downloaded, to_many_requests},
        pb::{self, peer_service_client::PeerServiceClient},
    },
};

/// Packs between the network and the disk: 1 MiB.
const QUEUE_PACKS: usize = 4;
/// From the call to the answer's headers, dialing included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that bring nothing before the rest is given up.
const MAX_IDLE_CALLS: u32 = 3;
/// A holder that lets nobody wait any more is asked again, for as long as the folder is wanted; the wait doubles so often.
const MAX_DOUBLINGS: u32 = 4;
const RETRY_AFTER: Duration = Duration::from_secs(2);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Files of the list with the bytes that came for them.
type Batch = Vec<(usize, Bytes)>;

impl Run {
    /// Those that did not come.
    pub(super) async fn fetch_small(&self, mut missing: Vec<usize>) -> Result<Vec<Failed>, ActionError> {
        let (mut failed, mut idle_calls, mut busy_calls) = (Vec::new(), 0, 0_u32);
        while !missing.is_empty() {
            let (answered, ended) = self.call(&missing, &mut failed).await?;
            missing.drain(..answered);
            let status = match ended {
                Ok(()) if missing.is_empty() => break,
                Ok(()) => Status::unavailable("it ended too early"),
                Err(status) => status,
            };
            if failed.len() >= KEPT_FAILURES {
                break;
            }
            (idle_calls, busy_calls) = match (answered, status.code()) {
                (1.., _) => (0, 0),
                (0, Code::ResourceExhausted) => (idle_calls, busy_calls + 1),
                (0, _) => (idle_calls + 1, busy_calls),
            };
            let is_final = matches!(status.code(), Code::InvalidArgument | Code::PermissionDenied)
                || matches!(status.code(), Code::Unauthenticated | Code::Unimplemented | Code::OutOfRange);
            if is_final || idle_calls == MAX_IDLE_CALLS {
                let said: String = status.message().chars().take(200).collect();
                let kind = match status.code() {
                    Code::Unavailable => ErrorKind::Unreachable,
                    Code::DeadlineExceeded => ErrorKind::TimedOut,
                    Code::ResourceExhausted | Code::PermissionDenied => ErrorKind::Refused,
                    _ => ErrorKind::Failed,
                };
                let files = self.manifest.files();
                failed.extend(missing.iter().map(|&at| (files[at].path.clone(), kind, said.clone())));
                break;
            }
            let told = status.get_error_details().retry_info().and_then(|info| info.retry_delay);
            // What a holder wishes has a bound before it is doubled.
            let wait = told.unwrap_or(RETRY_AFTER).min(MAX_RETRY_AFTER);
            let wait = (wait * (1 << busy_calls.saturating_sub(1).min(MAX_DOUBLINGS))).min(MAX_RETRY_AFTER);
            let name = &self.wanted.source.name;
            let said = if busy_calls > 0 { "is busy" } else { "broke off" };
            self.ticket.enter(TransferState::Waiting);
            let said = format!("{name} {said}; asked again in {} s", wait.as_secs_f64().ceil());
            self.ticket.note(NoteCode::AsksAgain, said);
            tokio::time::sleep(wait).await;
            self.ticket.enter(TransferState::Running);
        }
        Ok(failed)
    }

    /// One call for all that is missing: how many of them were answered, and how it ended.
    async fn call(
        &self,
        missing: &[usize],
        failed: &mut Vec<Failed>,
    ) -> Result<(usize, Result<(), Status>), ActionError> {
        let files = self.manifest.files();
        let paths = missing.iter().map(|&at| self.shared_path(&files[at]));
        let requests = futures::stream::iter(to_many_requests(paths));
        let channel = self
            .channels
            .to(self.wanted.source.to())
            .map_err(|forbidden| ActionError::new(ErrorKind::Refused, forbidden.to_string()))?;
        let mut client =
            PeerServiceClient::new((*channel).clone()).max_decoding_message_size(MAX_FOLDER_MESSAGE_BYTES);
        let mut answers = match timeout(ANSWER_TIMEOUT, client.download_many(requests)).await {
            Ok(Ok(answers)) => answers.into_inner(),
            Ok(Err(status)) => return Ok((0, Err(status))),
            Err(_) => return Ok((0, Err(Status::deadline_exceeded("it did not answer")))),
        };
        let (batches, queue) = mpsc::channel(QUEUE_PACKS);
        let writer = self.write(queue);
        let (mut answered, mut pace, mut is_queued) = (0, Pace::default(), false);
        let ended = loop {
            let asked_at = Instant::now();
            let next = match timeout(pace.patience(), answers.message()).await {
                Ok(Ok(Some(next))) => next,
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(status)) => break Err(status),
                Err(_) => break Err(Status::deadline_exceeded("it sent too little for too long")),
            };
            let wait = asked_at.elapsed();
            if next.items.is_empty() && next.queue_position > 0 {
                // Waiting one's turn is no stall.
                (pace, is_queued) = (Pace::default(), true);
                self.ticket.enter(TransferState::Waiting);
                let name = &self.wanted.source.name;
                let said = format!("place {} in {name}'s queue", next.queue_position);
                self.ticket.note(NoteCode::QueuedAtHolder, said);
                continue;
            }
            if std::mem::take(&mut is_queued) {
                self.ticket.enter(TransferState::Running);
            }
            let (batch, bytes) = match take(next, files, &missing[answered..], failed) {
                Ok(taken) => taken,
                Err(status) => break Err(status),
            };
            answered += batch.1;
            pace.waited(wait, bytes);
            self.ticket.count(bytes);
            self.throttle.pass(self.wanted.source.address, bytes).await;
            if batches.send(batch.0).await.is_err() || failed.len() >= KEPT_FAILURES {
                break Ok(());
            }
        };
        drop(batches);
        let written = writer.await;
        match written {
            Ok(Ok(wrong)) => failed.extend(wrong),
            Ok(Err(error)) => return Err(store_error(&error)),
            Err(_) => return Err(ActionError::new(ErrorKind::Failed, "writing the folder failed")),
        }
        Ok((answered, ended))
    }

    /// The thread that checks and writes; gives the files whose bytes were wrong.
    fn write(
        &self,
        mut queue: mpsc::Receiver<Batch>,
    ) -> tokio::task::JoinHandle<Result<Vec<Failed>, StoreError>> {
        let (stage, manifest, stop) = (self.stage.clone(), self.manifest.clone(), self.shutdown.clone());
        self.shutdown.spawn_blocking(move || {
            let mut held = stage.lock().unwrap_or_else(PoisonError::into_inner);
            let stage = held.as_mut().ok_or(StoreError::Stopped)?;
            let mut wrong = Vec::new();
            while let Some(batch) = queue.blocking_recv() {
                if stop.is_stopping() {
                    return Err(StoreError::Stopped);
                }
                for (at, bytes) in batch {
                    let file = &manifest.files()[at];
                    let found = ContentHash::from_bytes(*blake3::hash(&bytes).as_bytes());
                    if file.hash.is_some_and(|expected| expected != found) {
                        let reason = "its bytes do not match its hash".to_owned();
                        wrong.push((file.path.clone(), ErrorKind::Mismatch, reason));
                        continue;
                    }
                    stage.put(&file.path, &bytes)?;
                }
            }
            Ok(wrong)
        })
    }
}

/// The files of one message, how many places of `missing` they answer, and their bytes.
fn take(
    message: pb::DownloadManyResponse,
    files: &[ManifestFile],
    missing: &[usize],
    failed: &mut Vec<Failed>,
) -> Result<((Batch, usize), u64), Status> {
    let answered = message.items.len();
    if answered > missing.len() || answered == 0 {
        return Err(Status::out_of_range("it answered with files that nobody asked for"));
    }
    let (mut batch, mut bytes) = (Vec::with_capacity(answered), 0);
    for (item, &at) in message.items.into_iter().zip(missing) {
        let file = &files[at];
        let mut fail = |kind, reason: String| failed.push((file.path.clone(), kind, reason));
        match downloaded(item) {
            Ok(Downloaded::File { info, data }) if info.size_bytes == file.size_bytes => {
                bytes += info.size_bytes;
                batch.push((at, data));
            }
            Ok(Downloaded::File { .. }) => {
                fail(ErrorKind::Mismatch, "it has another size than the list said".into());
            }
            Ok(Downloaded::Failed(reason)) => fail(ErrorKind::Failed, reason),
            Err(invalid) => fail(ErrorKind::Mismatch, format!("the answer makes no sense: {invalid}")),
        }
    }
    Ok(((batch, answered), bytes))
}
