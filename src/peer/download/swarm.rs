//! Fetches the pieces of one file from all who have it: carries out what the plan decides.
//!
//! Invariant: nothing runs on when it is dropped, and the part then holds what was verified, for the next time.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Downloader, Finder, Source,
    fetch::Stop,
    opening::Known,
    people::People,
    stream::{Common, Ended, Stream},
};
use crate::{
    peer::transfers::Ticket,
    protocol::{
        action::{ErrorKind, TransferState},
        piece::Tree,
        plan::{
            Failure, FailureKind, Outcome,
            holders::Holders,
            pieces::{Decision, Errand, Pieces},
        },
    },
    shutdown::Shutdown,
    store::{
        StoreError,
        pieces::{PieceFile, Seed, part_path},
    },
};

/// Why it stopped before the end.
#[derive(Debug)]
pub(super) enum Halt {
    /// Nobody can be asked any more.
    Nobody(Outcome),
    /// The disk of this machine.
    Here(StoreError),
}

/// One file whose tree is known, and its part.
#[derive(Debug)]
pub(super) struct Swarm {
    common: Arc<Common>,
    destination: PathBuf,
    streams: JoinSet<(u64, Ended)>,
    leaving: HashMap<u64, CancellationToken>,
    holder_of: HashMap<u64, usize>,
    /// Right copies that wait until the stream that writes their place has ended: its task, the copy's task, the piece.
    spares: Vec<(u64, u64, u32, Bytes)>,
}

impl Swarm {
    /// Opens the part, with what the seed has of it, and keeps what came with the proof.
    pub(super) async fn open(
        known: Known,
        seed: Option<Seed>,
        holders: Holders,
        destination: PathBuf,
        ticket: &Arc<Ticket>,
        shutdown: &Shutdown,
    ) -> Result<Self, StoreError> {
        let Known { tree, came, teller, .. } = known;
        let (folder, name) = super::folder_and_name(&destination);
        ticket.enter(TransferState::Verifying);
        let part = part_path(folder, &tree.root(), &name);
        let (part, mut verified) = PieceFile::open_with(part, tree.clone(), seed, shutdown).await?;
        let mut brought = false;
        for (piece, bytes) in came {
            let mut writer = part.writer(tree.layout().range(piece).start);
            for checked in writer.write(bytes).await? {
                if checked.is_right {
                    brought |= verified.insert(checked.piece);
                }
            }
        }
        let mut plan = Pieces::new(tree.layout(), verified, holders);
        if let Some(teller) = teller.filter(|_| brought || !tree.layout().has_values()) {
            plan.note_brought(teller);
        }
        let common = Arc::new(Common::new(plan, tree, part, ticket.clone()));
        let this = Self {
            common,
            destination,
            streams: JoinSet::new(),
            leaving: HashMap::new(),
            holder_of: HashMap::new(),
            spares: Vec::new(),
        };
        this.show_progress();
        Ok(this)
    }

    /// Until every piece is verified. May be dropped after [`Self::stop`] only, or with the whole.
    pub(super) async fn gather(
        &mut self,
        people: &mut People,
        with: &Downloader,
        finder: Option<&Finder>,
    ) -> Result<(), Halt> {
        let is_alone = finder.is_some_and(|finder| finder.is_of_folder);
        let mut look_at = Instant::now() + if is_alone { Duration::ZERO } else { with.patience.look };
        let mut looking: Option<BoxFuture<'static, Vec<Source>>> = None;
        loop {
            let until = loop {
                let decision = self.common.plan().next(Instant::now().into_std());
                match decision {
                    Decision::Fetch(errand) => self.begin(errand, people, with),
                    Decision::Leave(task) => self.leave(task),
                    Decision::Wait(until) => break until.map(Instant::from),
                    Decision::Done => {
                        let names = people.names(self.common.plan().brought());
                        // All was here already: of whom it came was told when it came.
                        if !names.is_empty() {
                            self.common.ticket.update(|transfer| transfer.sources = names);
                        }
                        return Ok(());
                    }
                    Decision::Stuck => return Err(Halt::Nobody(self.common.plan().given_up())),
                }
            };
            if self.streams.is_empty() {
                let wait = until.map(|until| until.saturating_duration_since(Instant::now()));
                self.common.telling.rests(wait);
            }
            let wake_at = until.unwrap_or(look_at).min(look_at);
            tokio::select! {
                Some(joined) = self.streams.join_next() => match joined {
                    Ok((task, ended)) => self.ended(task, ended, people).await.map_err(Halt::Here)?,
                    // The only panic is a fault of this program: others of its streams go on, it does not.
                    Err(error) => {
                        tracing::error!(%error, "a stream of a download ended strangely");
                        return Err(Halt::Here(StoreError::Stopped));
                    }
                },
                found = async { looking.as_mut().expect("checked").await }, if looking.is_some() => {
                    looking = None;
                    self.add(found, people);
                }
                () = sleep_until(wake_at) => {}
            }
            if Instant::now() >= look_at {
                look_at = Instant::now() + with.patience.look;
                if looking.is_none() {
                    looking = finder.map(Finder::find);
                }
            }
        }
    }

    /// More holders, or the same again.
    pub(super) fn add(&self, found: Vec<Source>, people: &mut People) {
        let mut plan = self.common.plan();
        for source in found {
            match people.find(&source) {
                Some(known) => plan.holders_mut().renew(known),
                None if plan.holders_mut().add().is_some() => people.add(source),
                None => break,
            }
        }
    }

    /// See [`Holders::pardon`].
    pub(super) fn pardon(&self) {
        self.common.plan().holders_mut().pardon();
    }

    /// Ends every stream and waits until none writes any more.
    pub(super) async fn stop(&mut self) {
        self.streams.shutdown().await;
        let mut plan = self.common.plan();
        for (task, _) in self.holder_of.drain() {
            plan.ended(task, Ok(()), Instant::now().into_std());
        }
        self.leaving.clear();
        self.spares.clear();
    }

    /// Whether anything of the file is here.
    pub(super) fn has_pieces(&self) -> bool {
        !self.common.plan().verified().is_empty()
    }

    /// What is here of it.
    pub(super) fn verified_bytes(&self) -> u64 {
        self.common.plan().verified_bytes()
    }

    /// Where its part is.
    pub(super) fn part(&self) -> &Path {
        self.common.part.path()
    }

    /// What its pieces are checked by.
    pub(super) fn tree(&self) -> &Tree {
        &self.common.tree
    }

    /// Gives the file its name.
    pub(super) async fn publish(self) -> Result<PathBuf, StoreError> {
        self.common.part.clone().publish(&self.destination).await
    }

    /// Throws away what is here. To be stopped before.
    pub(super) async fn discard(self) {
        self.common.part.clone().discard().await;
    }

    fn begin(&mut self, errand: Errand, people: &mut People, with: &Downloader) {
        let source = people.source(errand.holder);
        let name = source.name.clone();
        let channel = match with.channels.to(source.to()) {
            Ok(channel) => channel,
            Err(forbidden) => {
                let failure = Failure::new(FailureKind::Final, forbidden.to_string());
                people.note(errand.holder, ErrorKind::Refused);
                return self.common.plan().ended(errand.task, Err(failure), Instant::now().into_std());
            }
        };
        tracing::debug!(holder = name, pieces = ?errand.pieces, is_spare = errand.is_spare, "asks for pieces");
        self.common.ticket.update(|transfer| {
            if !transfer.sources.contains(&name) {
                transfer.sources.push(name.clone());
            }
        });
        let (address, throttle) = (source.address, with.throttle.clone());
        let leave = CancellationToken::new();
        self.leaving.insert(errand.task, leave.clone());
        self.holder_of.insert(errand.task, errand.holder);
        let common = self.common.clone();
        let telling = common.telling.stream(errand.task, errand.holder);
        let stream = Stream {
            common,
            errand,
            name,
            telling,
            address,
            throttle,
            channel,
            leave,
            stall: with.patience.stall,
        };
        self.streams.spawn(stream.run());
    }

    fn leave(&self, task: u64) {
        if let Some(leave) = self.leaving.get(&task) {
            leave.cancel();
        }
    }

    async fn ended(&mut self, task: u64, ended: Ended, people: &mut People) -> Result<(), StoreError> {
        self.leaving.remove(&task);
        let Some(holder) = self.holder_of.remove(&task) else { return Ok(()) };
        let mut how = Ok(());
        match ended {
            Ended::Through => {}
            Ended::Wrong(piece) => {
                let name = &people.source(holder).name;
                tracing::warn!(holder = name, piece, "a holder sent a wrong piece");
                self.common.telling.lied(holder, name);
            }
            Ended::Spare(piece, bytes) => {
                let writer = self.common.plan().writer_of(piece);
                if let Some(writer) = writer.filter(|writer| self.leaving.contains_key(writer)) {
                    self.leave(writer);
                    self.spares.push((writer, task, piece, bytes));
                    // The rules hear of its end when its bytes are in their place.
                    self.holder_of.insert(task, holder);
                    return Ok(());
                }
                self.write_spare(task, piece, bytes).await?;
            }
            Ended::Failed(Stop::Here(error)) => return Err(error),
            Ended::Failed(Stop::Holder(failure, kind)) => {
                tracing::debug!(
                    holder = people.source(holder).name, reason = %failure.reason, "a holder failed"
                );
                self.common.telling.failed(holder, &people.source(holder).name, &failure);
                people.note(holder, kind);
                how = Err(failure);
            }
        }
        while let Some(at) = self.spares.iter().position(|(writer, ..)| *writer == task) {
            let (_, spare, piece, bytes) = self.spares.swap_remove(at);
            self.write_spare(spare, piece, bytes).await?;
            self.holder_of.remove(&spare);
            self.common.plan().ended(spare, Ok(()), Instant::now().into_std());
        }
        self.common.plan().ended(task, how, Instant::now().into_std());
        self.show_progress();
        Ok(())
    }

    /// Nobody else writes that piece now.
    async fn write_spare(&self, task: u64, piece: u32, bytes: Bytes) -> Result<(), StoreError> {
        if self.common.plan().verified().contains(piece) {
            return Ok(());
        }
        let mut writer = self.common.part.writer(self.common.tree.layout().range(piece).start);
        self.common.ticket.count(bytes.len() as u64);
        for checked in writer.write(bytes).await? {
            // The copy was right: when the file is not, its holder is not to blame.
            if checked.is_right {
                self.common.plan().checked(task, checked.piece, true);
            }
        }
        Ok(())
    }

    fn show_progress(&self) {
        let present = self.common.plan().present_bytes();
        self.common.ticket.update(|transfer| transfer.done_bytes = present);
    }
}
