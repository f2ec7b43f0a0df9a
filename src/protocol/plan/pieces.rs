//! Which holder brings which pieces of a file whose tree is known, several at once, so that nobody idles while something
//! can be taken from somebody slower.
//!
//! Invariant: a piece is in one range in flight at most (a spare copy of a last piece aside), every piece is verified
//! once, and what is fetched twice is bounded: a bad piece costs itself, a broken stream the piece it was in, a range
//! that was halved what was on its way, and a late last piece one more copy.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use super::{Failure, Outcome, holders::Holders};
use crate::protocol::piece::{Layout, set::PieceSet};

/// Holders that are asked at once: more streams into one disk bring no more.
pub const MAX_IN_FLIGHT: usize = 16;
/// A last piece that takes longer than this is asked for once more. Below it a second copy costs more than it saves.
const LATE: Duration = Duration::from_millis(500);
/// Largest piece that is asked for once more: the copy is held in memory until it is known to be right.
const MAX_SPARE_BYTES: u64 = 4 << 20;

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Ask a holder.
    Fetch(Errand),
    /// Somebody else was faster: end that stream, then [`Pieces::ended`].
    Leave(u64),
    /// Nothing, until a stream moves or that time has come.
    Wait(Option<Instant>),
    /// Every piece is verified and nothing is in flight.
    Done,
    /// Nothing is in flight, and nobody can be asked now or later.
    Stuck,
}

/// A holder and its range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// Its number, never used again.
    pub task: u64,
    /// Position among the holders.
    pub holder: usize,
    /// Consecutive pieces, at least one. Their end may be lowered on the way.
    pub pieces: Range<u32>,
    /// The first byte: that of the first piece, or of the rest of it when this holder was cut off there.
    pub start: u64,
    /// A second copy of a last piece: it may not touch the place where the first one is being written.
    pub is_spare: bool,
}

#[derive(Debug, Clone)]
struct Running {
    errand: Errand,
    began_at: Instant,
    /// Byte of the file up to which it brought something.
    reached: u64,
    right_bytes: u64,
    is_left: bool,
}

impl Running {
    /// How long the rest takes at the rate so far.
    fn time_left(&self, end: u64, now: Instant) -> Duration {
        let took = now.saturating_duration_since(self.began_at);
        match u32::try_from((self.reached - self.errand.start) >> 10) {
            Ok(0) | Err(_) => took,
            Ok(kib) => {
                (took / kib).saturating_mul(u32::try_from((end - self.reached) >> 10).unwrap_or(u32::MAX))
            }
        }
    }
}

/// A piece whose stream was cut off in the midst of it.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Whose bytes lie before `reached`, when they are of one holder and nobody has written there since. Another one would be
    /// blamed for them.
    holder: Option<usize>,
    reached: u64,
    /// The highest that `reached` ever was: what comes below it again is no progress.
    most: u64,
}

/// The state of one file.
#[derive(Debug, Clone)]
pub struct Pieces {
    layout: Layout,
    verified: PieceSet,
    /// Verified or in a range in flight.
    taken: PieceSet,
    holders: Holders,
    running: BTreeMap<u64, Running>,
    last_task: u64,
    brought: Vec<usize>,
    /// One for each piece at most.
    begun: BTreeMap<u32, Begun>,
}

impl Pieces {
    /// With the pieces that are there already.
    pub fn new(layout: Layout, verified: PieceSet, holders: Holders) -> Self {
        let taken = verified.clone();
        let (running, begun) = (BTreeMap::new(), BTreeMap::new());
        Self { layout, verified, taken, holders, running, last_task: 0, brought: Vec::new(), begun }
    }

    /// What to do now; to be asked until it says to wait, or that it is over.
    pub fn next(&mut self, now: Instant) -> Decision {
        let is_over = |run: &&mut Running| {
            !run.is_left && run.errand.pieces.clone().all(|piece| self.verified.contains(piece))
        };
        if let Some(run) = self.running.values_mut().filter(|run| run.errand.is_spare).find(is_over) {
            run.is_left = true;
            return Decision::Leave(run.errand.task);
        }
        if self.verified.is_full() {
            return if self.running.is_empty() { Decision::Done } else { Decision::Wait(None) };
        }
        let ready = self.holders.ready(now).filter(|_| self.running.len() < MAX_IN_FLIGHT);
        let soonest = self.holders.soonest().filter(|at| *at > now);
        let Some(holder) = ready else {
            return if self.running.is_empty() && soonest.is_none() {
                Decision::Stuck
            } else {
                Decision::Wait(soonest)
            };
        };
        if let Some((pieces, is_spare)) = self.errand(holder, now) {
            return Decision::Fetch(self.begin(holder, pieces, is_spare, now));
        }
        let look_again = now + LATE;
        Decision::Wait(Some(soonest.map_or(look_again, |at| at.min(look_again))))
    }

    /// The next bytes of a stream: how many of them are to be kept. Fewer than came when its range ends there.
    pub fn admit(&mut self, task: u64, bytes: u64) -> u64 {
        let layout = self.layout;
        let Some(run) = self.running.get_mut(&task) else { return 0 };
        let kept = bytes.min(layout.bytes_of(run.errand.pieces.clone()).end - run.reached);
        run.reached += kept;
        kept
    }

    /// Whether a stream has brought its whole range, or is not wanted any more.
    pub fn is_through(&self, task: u64) -> bool {
        self.running.get(&task).is_none_or(|run| {
            run.is_left || run.reached >= self.layout.bytes_of(run.errand.pieces.clone()).end
        })
    }

    /// A piece of a stream was checked where it lies now. A wrong one puts its holder aside.
    pub fn checked(&mut self, task: u64, piece: u32, is_right: bool) {
        let Some(run) = self.running.get_mut(&task) else { return };
        let holder = run.errand.holder;
        if !is_right {
            self.holders.lied(holder);
        } else if self.verified.insert(piece) {
            let range = self.layout.range(piece);
            run.right_bytes += range.end - range.start;
            self.holders.brought(holder);
            self.taken.insert(piece);
            self.begun.remove(&piece);
            self.note_brought(holder);
        }
    }

    /// It brought something that is verified.
    pub fn note_brought(&mut self, holder: usize) {
        if !self.brought.contains(&holder) {
            self.brought.push(holder);
        }
    }

    /// A stream ended: what it did not bring is free for others.
    pub fn ended(&mut self, task: u64, how: Result<(), Failure>, now: Instant) {
        let Some(run) = self.running.remove(&task) else { return };
        if !run.errand.is_spare {
            for piece in run.errand.pieces.clone().filter(|piece| !self.verified.contains(*piece)) {
                self.taken.remove(piece);
            }
        }
        match how {
            Ok(()) => self.holders.ended(run.errand.holder),
            Err(failure) => {
                let brought_bytes = run.right_bytes + self.cut_off(&run);
                self.holders.failed(run.errand.holder, failure, brought_bytes, now);
            }
        }
    }

    /// Remembers how far the piece came that a stream was cut off in. Tells by how many bytes that is further than ever.
    fn cut_off(&mut self, run: &Running) -> u64 {
        if run.errand.is_spare || run.reached >= self.layout.size_bytes() {
            return 0;
        }
        let piece = self.layout.piece_at(run.reached);
        let start = self.layout.range(piece).start;
        if run.reached == start || self.verified.contains(piece) {
            return 0;
        }
        let before = self.begun.get(&piece).map_or(start, |begun| begun.most);
        let (holder, reached) = (Some(run.errand.holder), run.reached);
        self.begun.insert(piece, Begun { holder, reached, most: before.max(reached) });
        reached.saturating_sub(before)
    }

    /// The stream that is writing a piece in its place.
    pub fn writer_of(&self, piece: u32) -> Option<u64> {
        let writers = self.running.values().filter(|run| !run.errand.is_spare);
        let mut of_piece = writers.filter(|run| run.errand.pieces.contains(&piece));
        of_piece.next().map(|run| run.errand.task)
    }

    /// What is verified.
    pub fn verified(&self) -> &PieceSet {
        &self.verified
    }

    /// Verified bytes.
    pub fn verified_bytes(&self) -> u64 {
        self.verified
            .ranges()
            .map(|range| self.layout.bytes_of(range))
            .map(|bytes| bytes.end - bytes.start)
            .sum()
    }

    /// Verified bytes, and those on their way to be.
    pub fn present_bytes(&self) -> u64 {
        let writing = self.running.values().filter(|run| !run.errand.is_spare);
        let start = |run: &Running| self.layout.bytes_of(run.errand.pieces.clone()).start;
        let unchecked = writing.map(|run| (run.reached - start(run)).saturating_sub(run.right_bytes));
        self.verified_bytes() + unchecked.sum::<u64>()
    }

    /// Who brought pieces, in order of their first one.
    pub fn brought(&self) -> &[usize] {
        &self.brought
    }

    /// Who can be asked.
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// To add or renew some while it runs.
    pub fn holders_mut(&mut self) -> &mut Holders {
        &mut self.holders
    }

    /// What is to be said when nobody is left.
    pub fn given_up(&self) -> Outcome {
        self.holders.given_up()
    }

    fn errand(&mut self, holder: usize, now: Instant) -> Option<(Range<u32>, bool)> {
        let own = |(piece, begun): (&u32, &Begun)| (begun.holder == Some(holder)).then_some(*piece);
        let own = self.begun.iter().filter_map(own).find(|piece| !self.taken.contains(*piece));
        let of_own = |own: u32| self.taken.gaps().find(|gap| gap.contains(&own)).map(|gap| own..gap.end);
        let waiting = own.and_then(of_own);
        let waiting = waiting.or_else(|| self.taken.gaps().max_by_key(ExactSizeIterator::len));
        if let Some(gap) = waiting {
            // Others that could begin right now get their part without a halving.
            let room = MAX_IN_FLIGHT - self.running.len();
            let idle = u32::try_from(self.holders.count_ready(now).clamp(1, room)).unwrap_or(1);
            let share = (gap.end - gap.start).div_ceil(idle);
            return Some((gap.start..gap.start + share, false));
        }
        self.halve().map(|pieces| (pieces, false)).or_else(|| self.late(now).map(|pieces| (pieces, true)))
    }

    /// The rear half of the longest range in flight, in bytes that are left; the piece that has begun stays.
    fn halve(&mut self) -> Option<Range<u32>> {
        let layout = self.layout;
        let left = |run: &Running| layout.bytes_of(run.errand.pieces.clone()).end - run.reached;
        let wide = |run: &&mut Running| {
            run.errand.pieces.end > layout.piece_at(run.reached).saturating_add(1) && !run.errand.is_spare
        };
        let longest = self.running.values_mut().filter(wide).max_by_key(|run| left(run))?;
        let pieces = &mut longest.errand.pieces;
        let half = layout.piece_at(longest.reached + left_of(layout, pieces, longest.reached) / 2);
        let middle = half.max(layout.piece_at(longest.reached)) + 1;
        let middle = middle.min(pieces.end - 1);
        let rear = middle..pieces.end;
        pieces.end = middle;
        Some(rear)
    }

    /// A last piece that takes long and that nobody else was asked for.
    fn late(&self, now: Instant) -> Option<Range<u32>> {
        if self.layout.piece_bytes() > MAX_SPARE_BYTES {
            return None;
        }
        let mut latest = None;
        for run in self.running.values().filter(|run| !run.errand.is_spare && !run.is_left) {
            let end = self.layout.bytes_of(run.errand.pieces.clone()).end;
            let piece = run.errand.pieces.end - 1;
            let has_spare = self
                .running
                .values()
                .any(|other| other.errand.is_spare && other.errand.pieces.contains(&piece));
            let left = run.time_left(end, now);
            if run.reached < end && !has_spare && left >= LATE && latest.is_none_or(|(most, _)| left > most) {
                latest = Some((left, piece));
            }
        }
        latest.map(|(_, piece)| piece..piece + 1)
    }

    fn begin(&mut self, holder: usize, pieces: Range<u32>, is_spare: bool, now: Instant) -> Errand {
        self.last_task += 1;
        self.holders.begin(holder);
        pieces.clone().for_each(|piece| {
            self.taken.insert(piece);
        });
        let start = self.start(holder, pieces.start, is_spare);
        let errand = Errand { task: self.last_task, holder, pieces, start, is_spare };
        let run =
            Running { errand: errand.clone(), began_at: now, reached: start, right_bytes: 0, is_left: false };
        self.running.insert(errand.task, run);
        errand
    }

    /// Where a stream of that holder begins in its first piece.
    fn start(&mut self, holder: usize, piece: u32, is_spare: bool) -> u64 {
        let start = self.layout.range(piece).start;
        match self.begun.get_mut(&piece) {
            Some(begun) if !is_spare && begun.holder == Some(holder) => begun.reached,
            Some(begun) if !is_spare => {
                begun.holder = None;
                start
            }
            _ => start,
        }
    }
}

fn left_of(layout: Layout, pieces: &Range<u32>, reached: u64) -> u64 {
    layout.bytes_of(pieces.clone()).end - reached
}

#[cfg(test)]
mod tests;
