//! The large files of a folder: each by a download of its own, from all who are known or found to have it.
//!
//! Invariant: what is listed is the folder alone, with the bytes and the holders of all its files; a try that is given up
//! leaves what was verified in parts inside the stage.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use tokio::time::Instant;

use super::{Failed, KEPT_FAILURES, Run};
use crate::{
    peer::{
        download::{DownloadAsk, Downloader, Find, Finder, Source},
        transfers::Transfers,
    },
    protocol::{
        action::{ActionError, Direction, ErrorKind, Transfer, TransferState},
        id::ContentHash,
        plan::FileName,
    },
    store::StoreError,
};

/// Large files of one folder at once: one is verified and brought to disk while the other comes.
const LARGE_AT_ONCE: usize = 2;
/// Of smaller files no other holders are looked for: one is quicker than the search. A guess.
const SEARCHED_BYTES: u64 = 8 << 20;
/// A search goes to every peer of the zone: of one folder there is no more than one in this time.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// Looks for others that have a content; ends by itself.
pub(in crate::peer) type Search = Arc<dyn Fn(ContentHash) -> BoxFuture<'static, Vec<Source>> + Send + Sync>;

/// What all downloads of one try brought.
struct Tally {
    table: Transfers,
    /// Of the folder, before the first of them.
    before_bytes: u64,
    done_bytes: AtomicU64,
    counted_bytes: AtomicU64,
}

impl Run {
    /// Those that did not come.
    pub(super) async fn fetch_large(&self, missing: Vec<usize>) -> Result<Vec<Failed>, ActionError> {
        // A table that nobody sees.
        let table = Transfers::new(LARGE_AT_ONCE);
        let tally = Tally {
            table: table.clone(),
            before_bytes: self.ticket.transfer().done_bytes,
            done_bytes: AtomicU64::new(0),
            counted_bytes: AtomicU64::new(0),
        };
        let downloader =
            Downloader::new(self.channels.clone(), table, self.shutdown.clone(), self.throttle.clone());
        let searched = Arc::new(Mutex::new(None));
        let fetches = futures::stream::iter(missing);
        let fetches = fetches.map(|at| self.fetch_one(&downloader, &tally, at, searched.clone()));
        let mut fetches = std::pin::pin!(fetches.buffer_unordered(LARGE_AT_ONCE));
        let mut failed = Vec::new();
        while let Some(fetched) = fetches.next().await {
            failed.extend(fetched?);
            if failed.len() >= KEPT_FAILURES {
                break;
            }
        }
        Ok(failed)
    }

    async fn fetch_one(
        &self,
        downloader: &Downloader,
        tally: &Tally,
        at: usize,
        searched: Arc<Mutex<Option<Instant>>>,
    ) -> Result<Option<Failed>, ActionError> {
        let manifest = self.manifest.clone();
        let file = &self.manifest.files()[at];
        let place = self.with_stage(move |held| {
            held.as_mut().ok_or(StoreError::Stopped)?.place(&manifest.files()[at].path)
        });
        let place = place.await?;
        let ask = DownloadAsk {
            what: file.hash.map_or_else(|| FileName::Path(self.shared_path(file)), FileName::Hash),
            sources: vec![self.wanted.source.clone()],
            destination: place.clone(),
            name: None,
            finder: file
                .hash
                .filter(|_| file.size_bytes >= SEARCHED_BYTES)
                .and_then(|hash| self.finder(hash, searched)),
        };
        let ticket = Arc::new(tally.table.begin(
            Direction::Download,
            file.path.as_str(),
            file.size_bytes,
            Vec::new(),
        )?);
        let mut events = ticket.detached_events();
        let without = DownloadAsk { sources: Vec::new(), ..ask.clone() };
        let find: Find = Box::new(move || {
            let ask = ask.clone();
            async { Ok(ask) }.boxed()
        });
        // Not a task of its own: dropped with this try, it leaves its part.
        let mut run = std::pin::pin!(downloader.clone().run(ticket, None, without, find, false));
        let mut counted = 0;
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut run => break ended,
                Some(Ok(transfer)) = events.next() => self.tell(tally, &transfer, &mut counted),
            }
        };
        self.tell(tally, &ended, &mut counted);
        let failed = |kind, reason: &str| Ok(Some((file.path.clone(), kind, reason.to_owned())));
        match ended.state {
            TransferState::Failed(error) => failed(error.kind, &error.message),
            TransferState::Done if ended.path.as_ref() != Some(&place) => {
                failed(ErrorKind::Failed, "its place in the stage was taken by something else")
            }
            TransferState::Done if ended.size_bytes != file.size_bytes => {
                failed(ErrorKind::Mismatch, "it has another size than the list said")
            }
            TransferState::Done => Ok(None),
            _ => failed(ErrorKind::Cancelled, "its download was stopped"),
        }
    }

    fn finder(&self, hash: ContentHash, searched: Arc<Mutex<Option<Instant>>>) -> Option<Finder> {
        let search = self.wanted.search.clone()?;
        Some(Finder::of_folder(move || {
            let now = Instant::now();
            let mut searched = searched.lock().unwrap_or_else(PoisonError::into_inner);
            if searched.is_some_and(|at| now < at + SEARCH_EVERY) {
                return async { Vec::new() }.boxed();
            }
            *searched = Some(now);
            search(hash)
        }))
    }

    /// How far one of them is by now, when `counted` of it was told before.
    fn tell(&self, tally: &Tally, transfer: &Transfer, counted: &mut u64) {
        // A download that begins anew is counted once.
        let more = transfer.done_bytes.saturating_sub(*counted);
        *counted += more;
        let done = tally.before_bytes + tally.done_bytes.fetch_add(more, Relaxed) + more;
        // What lay in a part did not come over the network now.
        let came = tally.table.bytes_down();
        self.ticket.count(came.saturating_sub(tally.counted_bytes.swap(came, Relaxed)));
        self.ticket.update(|told| {
            told.done_bytes = done;
            let new: BTreeSet<&String> =
                transfer.sources.iter().filter(|name| !told.sources.contains(*name)).collect();
            let new: Vec<String> = new.into_iter().cloned().collect();
            told.sources.extend(new);
        });
        self.ticket.note_as(transfer);
    }
}
