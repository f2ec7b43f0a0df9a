//! What a download has to know before its first piece: the size of the file, and the tree under its hash.
//!
//! Invariant: what comes out is proved. The values merge to the hash, and the last piece, which no wrong size can bring,
//! was checked, or lies beside the destination at the size that was proved once.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    Channels, DownloadAsk,
    fetch::{Fetch, Range, Stop},
    people::People,
    telling::{failed, resting, tell_queue},
};
use crate::{
    net::throttle::Throttle,
    peer::transfers::Ticket,
    protocol::{
        action::{ErrorKind, NoteCode, TransferState},
        id::ContentHash,
        piece::{MIN_PIECE_BYTES, PieceCheck, Tree},
        plan::{Failure, FailureKind, FileName, Patience, holders::Holders},
    },
    shutdown::Shutdown,
    store::{StoreError, pieces::part_path, whole::store_whole},
};

/// Largest last piece that is held in memory; a larger one is fetched once more, into its place.
const MAX_HELD_BYTES: u64 = 4 << 20;

/// A file whose pieces can be fetched.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) tree: Tree,
    /// As its first holder calls it.
    pub(super) name: String,
    /// Pieces that came with the proof, checked already.
    pub(super) came: Vec<(u32, Bytes)>,
    /// Who told; nobody when it was known here.
    pub(super) teller: Option<usize>,
}

impl Known {
    /// The shortest way of a small file, all of which came with the proof: one write, and it is published. `None` when it
    /// has to go the long one.
    pub(super) async fn store_whole(
        &self,
        destination: &Path,
        (people, ticket, shutdown): (&People, &Ticket, &Shutdown),
    ) -> Result<Option<PathBuf>, StoreError> {
        let layout = self.tree.layout();
        let [(0, bytes)] = &self.came[..] else { return Ok(None) };
        if layout.has_values() || bytes.len() as u64 != layout.size_bytes() {
            return Ok(None);
        }
        ticket.update(|transfer| transfer.done_bytes = layout.size_bytes());
        ticket.enter(TransferState::Verifying);
        let (folder, name) = super::folder_and_name(destination);
        let part = part_path(folder, &self.tree.root(), &name);
        let (tree, bytes) = (self.tree.clone(), bytes.clone());
        let stored = store_whole(part, destination.to_path_buf(), tree, bytes, shutdown).await?;
        if let (Some(_), Some(teller)) = (&stored, self.teller) {
            let teller = people.source(teller).name.clone();
            ticket.update(|transfer| transfer.sources = vec![teller]);
        }
        Ok(stored)
    }
}

/// What was found out.
#[derive(Debug)]
pub(super) enum Opened {
    Known(Known),
    /// These have the file, but nothing to check its pieces with.
    NoTree(Vec<usize>),
    /// Nobody can be asked any more.
    Nobody,
}

enum Told {
    Known(Known),
    NoTree,
    Lie,
}

/// Asks one holder after the other.
pub(super) struct Opening<'a> {
    pub(super) ask: &'a DownloadAsk,
    pub(super) holders: &'a mut Holders,
    pub(super) people: &'a mut People,
    pub(super) channels: &'a Channels,
    pub(super) throttle: &'a Throttle<SocketAddr>,
    pub(super) ticket: &'a Ticket,
    pub(super) patience: Patience,
}

impl Opening<'_> {
    /// Until one has told and proved it.
    pub(super) async fn run(self) -> Opened {
        let (mut without_tree, mut last_failure, mut first) = (Vec::new(), String::new(), None);
        loop {
            let now = Instant::now();
            let Some(holder) = self.holders.ready(now.into_std()) else {
                match self.holders.soonest() {
                    // Those without a tree bring it now, rather than that others are waited for.
                    Some(_) if !without_tree.is_empty() => return Opened::NoTree(without_tree),
                    Some(at) => {
                        self.ticket.enter(TransferState::Waiting);
                        let wait = at.saturating_duration_since(now.into_std());
                        self.ticket.note(NoteCode::AsksAgain, resting(wait, &last_failure));
                        sleep_until(at.into()).await;
                        continue;
                    }
                    None if without_tree.is_empty() => return Opened::Nobody,
                    None => return Opened::NoTree(without_tree),
                }
            };
            self.holders.begin(holder);
            let had_first = first.is_some();
            let told = if self.holders.has_better(holder) {
                let slow = || Stop::passing("it did not prove the file's size in time");
                timeout(self.patience.proof, self.tell(holder, &mut first))
                    .await
                    .unwrap_or_else(|_| Err(slow()))
            } else {
                self.tell(holder, &mut first).await
            };
            let now = Instant::now().into_std();
            match told {
                Ok(Told::Known(known)) => {
                    self.holders.ended(holder);
                    return Opened::Known(known);
                }
                Ok(Told::NoTree) => {
                    without_tree.push(holder);
                    let Stop::Holder(failure, _) =
                        Stop::last(ErrorKind::Failed, "it has no piece values of the file")
                    else {
                        continue;
                    };
                    self.holders.failed(holder, failure, 0, now);
                }
                Ok(Told::Lie) => {
                    let name = &self.people.source(holder).name;
                    tracing::warn!(holder = name, "a holder lied about a file");
                    let said = format!("{name} told something wrong of the file and is left aside");
                    self.ticket.note(NoteCode::HolderLeftAside, said);
                    self.holders.lied(holder);
                }
                Err(Stop::Holder(failure, kind)) => {
                    tracing::debug!(
                        holder = self.people.source(holder).name, reason = %failure.reason, "a holder failed"
                    );
                    last_failure = failed(&self.people.source(holder).name, &failure);
                    self.people.note(holder, kind);
                    // The first piece is kept.
                    let brought_bytes = if first.is_some() && !had_first { MIN_PIECE_BYTES } else { 0 };
                    self.holders.failed(holder, failure, brought_bytes, now);
                }
                Err(Stop::Here(error)) => {
                    tracing::warn!(%error, "the disk failed before anything was written");
                    self.holders.ended(holder);
                    return Opened::Nobody;
                }
            }
        }
    }

    /// `first` is the first piece, when one brought it right whose last piece was wrong: it is not fetched again.
    async fn tell(&self, holder: usize, first: &mut Option<Bytes>) -> Result<Told, Stop> {
        let source = self.people.source(holder);
        let channel = self
            .channels
            .to(source.to())
            .map_err(|forbidden| Stop::last(ErrorKind::Refused, forbidden.to_string()))?;
        self.ticket.update(|transfer| {
            if !transfer.sources.contains(&source.name) {
                transfer.sources.push(source.name.clone());
            }
        });
        let what = &self.ask.what;
        let length = if first.is_some() { 1 } else { MIN_PIECE_BYTES };
        let range = Range { offset: 0, length, with_tree: true };
        let mut fetch = Fetch::open_within(&channel, what, range, self.patience.stall).await?;
        let (queued, has_better) =
            (|position| tell_queue(self.ticket, &source.name, position), || self.holders.has_better(holder));
        let (told, values) = fetch.file_from_best(queued, has_better).await?;
        self.ticket.enter(TransferState::Running);
        if let (Some(expected), Some(hash)) = (self.ask.hash(), told.hash)
            && expected != hash
        {
            return Err(Stop::last(ErrorKind::Mismatch, "it says that the file has another content"));
        }
        let Some(hash) = self.ask.hash().or(told.hash) else { return Ok(Told::NoTree) };
        let name = told.name().to_owned();
        self.ticket.update(|transfer| {
            transfer.size_bytes = told.size_bytes;
            transfer.hash = Some(hash);
        });
        let Ok(tree) = Tree::from_values(hash, told.size_bytes, &values) else {
            return Ok(if values.is_empty() { Told::NoTree } else { Told::Lie });
        };
        let layout = tree.layout();
        let known =
            |came| Told::Known(Known { tree: tree.clone(), name: name.clone(), came, teller: Some(holder) });
        if layout.has_values() && self.is_proved(hash, told.size_bytes, &name).await {
            return Ok(known(Vec::new()));
        }
        let mut came = Vec::new();
        if layout.piece_bytes() == MIN_PIECE_BYTES {
            if first.is_none() {
                let Some(right) = self.piece(&mut fetch, holder, &tree, 0).await? else {
                    return Ok(Told::Lie);
                };
                *first = Some(right);
            }
            // Right for the hash, whoever told the values. What is not is fetched again later.
            came.extend(first.clone().map(|first| (0, first)).filter(|(_, first)| is_right(&tree, 0, first)));
        }
        if layout.has_values() {
            // Its slot is given back first: the holder may have one.
            drop(fetch);
            let last = layout.pieces() - 1;
            let bytes = layout.range(last);
            let range = Range { offset: bytes.start, length: bytes.end - bytes.start, with_tree: false };
            let name = FileName::Hash(hash);
            let mut fetch = Fetch::open_within(&channel, &name, range, self.patience.stall).await?;
            let (again, _) = fetch.file_from_best(queued, has_better).await?;
            self.ticket.enter(TransferState::Running);
            if again.size_bytes != told.size_bytes {
                let changed = Failure::new(FailureKind::Changed, "the file changed while it was asked for");
                return Err(Stop::Holder(changed, ErrorKind::Failed));
            }
            let Some(tail) = self.piece(&mut fetch, holder, &tree, last).await? else {
                return Ok(Told::Lie);
            };
            if bytes.end - bytes.start <= MAX_HELD_BYTES {
                came.push((last, tail));
            }
        }
        Ok(known(came))
    }

    /// A piece, if it is right; held up to [`MAX_HELD_BYTES`].
    async fn piece(
        &self,
        fetch: &mut Fetch,
        holder: usize,
        tree: &Tree,
        piece: u32,
    ) -> Result<Option<Bytes>, Stop> {
        let range = tree.layout().range(piece);
        let (mut check, mut held) = (PieceCheck::new(tree, piece), BytesMut::new());
        let (address, has_better) = (self.people.source(holder).address, || self.holders.has_better(holder));
        while let Some(bytes) = fetch.bytes_from_best(range.end, has_better).await? {
            self.throttle.pass(address, bytes.len() as u64).await;
            self.ticket.count(bytes.len() as u64);
            check.update(&bytes);
            if range.end - range.start <= MAX_HELD_BYTES {
                held.extend_from_slice(&bytes);
            }
        }
        Ok(check.is_right().then(|| held.freeze()))
    }

    /// Whether a part of that size is there: it is made after the size was proved.
    async fn is_proved(&self, hash: ContentHash, size_bytes: u64, name: &str) -> bool {
        let destination = self.ask.destination_for(name);
        let (folder, name) = super::folder_and_name(&destination);
        let part = tokio::fs::symlink_metadata(part_path(folder, &hash, &name)).await;
        part.is_ok_and(|part| part.is_file() && part.len() == size_bytes)
    }
}

fn is_right(tree: &Tree, piece: u32, bytes: &[u8]) -> bool {
    let mut check = PieceCheck::new(tree, piece);
    check.update(bytes);
    check.is_right()
}

/// So that a lie about the size is a failure of its own.
impl Stop {
    fn passing(reason: &str) -> Self {
        Self::Holder(Failure::new(FailureKind::Passing, reason), ErrorKind::TimedOut)
    }
}
