//! Gives many small files in one call: the `DownloadMany` service.
//!
//! Invariant: answers come in the order asked, a file is given whole as the index tells it or not at all, and one call holds
//! one upload slot and one thread when its turn in the queue has come, until its fetcher is done or takes and asks too slowly.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    transfers::Ticket,
    upload::{ManyPlace, Slot, Uploads},
};
use crate::{
    net::{Caller, CallerKey, queue::Turn, throttle::Throttle},
    protocol::{action::TransferState, manifest::SMALL_FILE_BYTES, pace::LeastPace, plan::FileName},
    shutdown::Shutdown,
    store::read::{FileSource, SourceError},
    wire::{
        folder::{ENTRY_BYTES, PACK_BYTES, many_ask, to_downloaded},
        pb,
    },
};

/// Packs read ahead of the network: 1 MiB.
const READ_AHEAD_PACKS: usize = 4;
/// A fetcher that neither asks nor takes for so long is given up; sooner when it was slow before.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

type Answer = Result<pb::DownloadManyResponse, Status>;
type Requests = Pin<Box<dyn Stream<Item = Result<pb::DownloadManyRequest, Status>> + Send>>;

impl Uploads {
    /// Answers a call for many files, when it is its turn.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when too many wait already.
    pub fn many<S>(&self, requests: S, fetcher: Caller) -> Result<BoxStream<'static, Answer>, Status>
    where
        S: Stream<Item = Result<pb::DownloadManyRequest, Status>> + Send + 'static,
    {
        let requests: Requests = Box::pin(requests);
        let mut slot = self.enter_for_many(fetcher)?;
        let (answers, stream) = mpsc::channel(READ_AHEAD_PACKS);
        if slot.is_mine() {
            self.give_many(slot, fetcher, requests, answers)?;
        } else {
            // A task of its own: a fetcher that reads nothing is to lose the slot when its turn has come.
            let waiting = self.clone().wait_for_many(slot, fetcher, requests, answers);
            drop(self.shutdown().spawn("queue", waiting));
        }
        Ok(ReceiverStream::new(stream).boxed())
    }

    /// Tells of the place in the queue until its turn has come.
    async fn wait_for_many(
        self,
        mut slot: Slot,
        fetcher: Caller,
        requests: Requests,
        answers: mpsc::Sender<Answer>,
    ) {
        loop {
            let turn = tokio::select! {
                () = answers.closed() => return,
                turn = slot.news() => turn,
            };
            match turn {
                Turn::Position(queue_position) if answers.capacity() > 1 => {
                    let told = pb::DownloadManyResponse { queue_position, ..Default::default() };
                    let _ = answers.try_send(Ok(told));
                }
                Turn::Position(_) => {}
                Turn::Now => break,
            }
        }
        if let Err(status) = self.give_many(slot, fetcher, requests, answers.clone()) {
            // There is room: one place was always left.
            let _ = answers.try_send(Err(status));
        }
    }

    fn give_many(
        &self,
        slot: Slot,
        fetcher: Caller,
        requests: Requests,
        answers: mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        let ManyPlace { slot, fetcher, throttle, ticket, source, shutdown } =
            self.place_for_many(slot, fetcher)?;
        ticket.enter(TransferState::Running);
        let giver = Giver {
            requests,
            answers,
            source,
            fetcher,
            throttle,
            ticket,
            pace: LeastPace::new(STALL_TIMEOUT),
            runtime: Handle::current(),
            stop: shutdown.clone(),
        };
        drop(shutdown.spawn_blocking(move || {
            giver.give();
            drop(slot);
        }));
        Ok(())
    }
}

/// The thread of one call.
struct Giver {
    requests: Requests,
    answers: mpsc::Sender<Answer>,
    source: Arc<dyn FileSource>,
    fetcher: CallerKey,
    throttle: Throttle<CallerKey>,
    ticket: Ticket,
    pace: LeastPace,
    runtime: Handle,
    stop: Shutdown,
}

/// The call is over; the fetcher was told why, or is gone.
struct Over;

#[derive(Default)]
struct Pack {
    items: Vec<pb::DownloadedFile>,
    bytes: usize,
    payload_bytes: u64,
    /// Holds the bytes of the pack's files one after the other.
    buffer: BytesMut,
}

impl Giver {
    fn give(mut self) {
        let mut pack = Pack::default();
        // `Over` needs no more words: whoever could hear them is gone or was told.
        let _ = self.give_all(&mut pack);
        // Until everything is taken the slot stays taken.
        let taken = timeout(self.pace.patience(), self.answers.reserve_many(READ_AHEAD_PACKS));
        let _ = self.runtime.block_on(taken);
    }

    fn give_all(&mut self, pack: &mut Pack) -> Result<(), Over> {
        while let Some(paths) = self.next_request(pack)? {
            for path in paths {
                if self.stop.is_stopping() || self.ticket.cancel_token().is_cancelled() {
                    return self.refuse(Status::unavailable("the upload was stopped"));
                }
                self.add(path, pack)?;
            }
        }
        self.send(pack)
    }

    /// What is wanted next. Before waiting for it, what is packed is sent.
    fn next_request(&mut self, pack: &mut Pack) -> Result<Option<Vec<String>>, Over> {
        use futures::FutureExt;
        let ready = self.requests.next().now_or_never();
        let next = if let Some(next) = ready {
            next
        } else {
            self.send(pack)?;
            let began = Instant::now();
            let (patience, stop) = (self.pace.patience(), self.stop.clone());
            let next = self.runtime.block_on(async {
                tokio::select! {
                    next = timeout(patience, self.requests.next()) => next.ok(),
                    () = stop.stopping() => None,
                    () = self.answers.closed() => None,
                }
            });
            self.pace.waited(began.elapsed(), 0);
            let Some(next) = next else {
                self.refuse(Status::deadline_exceeded("nothing was asked for too long"))?;
                return Err(Over);
            };
            next
        };
        match next {
            None => Ok(None),
            Some(Ok(request)) => match many_ask(request) {
                Ok(paths) => Ok(Some(paths)),
                Err(invalid) => self.refuse(invalid.into()).and(Err(Over)),
            },
            Some(Err(_)) => Err(Over),
        }
    }

    fn add(&mut self, path: String, pack: &mut Pack) -> Result<(), Over> {
        let opened = self.source.open(&FileName::Path(path)).map_err(|error| told(&error));
        let opened = opened.and_then(|source| match usize::try_from(source.info().size_bytes) {
            Ok(size) if source.info().size_bytes <= SMALL_FILE_BYTES => Ok((source, size)),
            _ => Err((Code::OutOfRange, "too large: use Download".into())),
        });
        let size = opened.as_ref().map_or(0, |(source, size)| size + source.info().path.len());
        if pack.bytes + size + ENTRY_BYTES > PACK_BYTES {
            self.send(pack)?;
        }
        let item = opened.and_then(|(source, size)| {
            // As large as what may still come into this pack, and never larger than it.
            if pack.buffer.capacity() < size {
                pack.buffer = BytesMut::with_capacity(PACK_BYTES.max(size));
            }
            pack.buffer.resize(size, 0);
            match source.read_whole(&mut pack.buffer) {
                Ok(()) => Ok(to_downloaded(Ok((source.info(), pack.buffer.split().freeze())))),
                Err(error) => {
                    pack.buffer.clear();
                    Err(told(&error))
                }
            }
        });
        let item = item.unwrap_or_else(|error| to_downloaded(Err(error)));
        pack.bytes += size + ENTRY_BYTES;
        pack.payload_bytes += item.data.len() as u64;
        pack.items.push(item);
        Ok(())
    }

    fn send(&mut self, pack: &mut Pack) -> Result<(), Over> {
        if pack.items.is_empty() {
            return Ok(());
        }
        let items = std::mem::take(&mut pack.items);
        let bytes = std::mem::take(&mut pack.payload_bytes);
        pack.bytes = 0;
        self.runtime.block_on(self.throttle.pass(self.fetcher, bytes));
        self.hand_on(Ok(pb::DownloadManyResponse { items, queue_position: 0 }), bytes)?;
        self.ticket.update(|transfer| transfer.size_bytes += bytes);
        self.ticket.count(bytes);
        Ok(())
    }

    fn refuse(&mut self, status: Status) -> Result<(), Over> {
        self.hand_on(Err(status), 0).and(Err(Over))
    }

    fn hand_on(&mut self, answer: Answer, bytes: u64) -> Result<(), Over> {
        let answer = match self.answers.try_send(answer) {
            Ok(()) => {
                self.pace.waited(Duration::ZERO, bytes);
                return Ok(());
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Over),
            Err(mpsc::error::TrySendError::Full(answer)) => answer,
        };
        let began = Instant::now();
        let sent = self.runtime.block_on(timeout(self.pace.patience(), self.answers.send(answer)));
        self.pace.waited(began.elapsed(), bytes);
        if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(Over) }
    }
}

fn told(error: &SourceError) -> (Code, String) {
    let code = match error {
        SourceError::NotFound => Code::NotFound,
        SourceError::Changed => Code::Aborted,
        SourceError::OutOfRange { .. } => Code::OutOfRange,
        SourceError::Io(cause) => {
            tracing::warn!(%cause, "could not read a shared file");
            Code::Internal
        }
    };
    (code, error.to_string())
}
