//! Which holder is asked for which range of a file, so that a download always ends: with the right bytes, or with every
//! holder's reason.
//!
//! Here for a file without a tree: one holder is asked at a time, from the byte that the others reached. With a tree
//! several bring pieces at once (`pieces`). Invariant: every failure uses up one of a bounded number of tries, and a holder
//! that was put aside is never asked again.

pub mod holders;
pub mod pieces;

use std::{collections::VecDeque, time::Duration};

use super::id::ContentHash;

/// Tries of one holder that break, before it is given up. A guess: a restart of the holder takes one or two.
const MAX_TRIES: u32 = 3;
/// Tries of a holder whose slots are taken: with the waits below, about two minutes of queueing.
const MAX_BUSY_TRIES: u32 = 30;
/// A try that went on by this much begins the tries and the waits anew, or a link that is cut every few seconds would make a
/// download wait longer and longer, and at last give its holder up. Less is what a holder sends before it fails for a reason of its own. What
/// counts is kept, so that the tries of a file stay bounded by its size.
const FORGIVING_BYTES: u64 = 64 << 10;
/// Wait before a holder is asked again after its first failure; doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// The least that a holder has to bring to be kept, in bytes a second.
const LEAST_BYTES_PER_SECOND: u64 = 1 << 10;

/// How long a download waits for holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Less than 1 KiB/s over so long means switch; a call is answered as soon.
    pub stall: Duration,
    /// Who has not proved the size of the file by then is left for another one, if there is another one.
    pub proof: Duration,
    /// While it runs, holders that came meanwhile are looked for this often.
    pub look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let ten = Duration::from_secs(10);
        Self { stall: ten, proof: ten, look: Duration::from_secs(15) }
    }
}

/// How a remote request names a file: never by a path on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FileName {
    /// By content.
    Hash(ContentHash),
    /// By its place in the holder's index: `<share>/<path>`.
    Path(String),
}

/// What kind of failure a try of a holder ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It may pass: unreachable, cut off, stalled.
    Passing,
    /// All its slots are taken; it may be asked again later.
    Busy,
    /// It does not have the file, or not any more.
    Final,
    /// The file there is another one now, so that it cannot bring the rest of this one.
    Changed,
    /// It tells something else of the file than another holder did: one of them is wrong.
    Disagrees,
}

/// Why a try of a holder ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of thing.
    pub kind: FailureKind,
    /// In words, for the person who waits.
    pub reason: String,
    /// How long the holder asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Without a wish of the holder.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_after: None }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask a holder for the rest of the file.
    Fetch(Assignment),
    /// Compare the whole with its hash.
    Verify,
    /// Nothing more can or has to be done.
    End(Outcome),
}

/// One holder and its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// Position in the list of holders.
    pub holder: usize,
    /// First byte; the range goes to the end of the file. At 0, what was received before is void.
    pub offset: u64,
    /// Wait this long first.
    pub after: Duration,
}

/// How a download ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The bytes are what the hash says; these holders brought them, in order of their first byte.
    Done(Vec<usize>),
    /// Nobody is left, and these holders brought bytes that are not what the hash says. The others failed so.
    Mismatch {
        /// Who lied, or has a damaged copy.
        wrong: Vec<usize>,
        /// What became of the rest.
        failed: Vec<(usize, Failure)>,
    },
    /// Nobody is left; each with its last failure.
    AllFailed(Vec<(usize, Failure)>),
}

#[derive(Debug, Clone, Default)]
struct Holder {
    tries: u32,
    busy_tries: u32,
    last: Option<Failure>,
    is_wrong: bool,
}

/// The state of one download.
#[derive(Debug, Clone)]
pub struct Plan {
    holders: Vec<Holder>,
    /// Those that may still be asked; a failed one goes to the back.
    queue: VecDeque<usize>,
    /// Whose bytes are in, in order of their first byte.
    brought: Vec<usize>,
    current: Option<usize>,
    reached: u64,
    /// What `reached` was when the current holder was asked.
    began_at: u64,
    /// Bytes of several holders proved wrong together: from now on each is tried alone.
    is_alone: bool,
    is_complete: bool,
    is_verified: bool,
}

impl Plan {
    /// With the holders 0 to `holders - 1`, the best first.
    pub fn new(holders: usize) -> Self {
        Self {
            holders: vec![Holder::default(); holders],
            queue: (0..holders).collect(),
            brought: Vec::new(),
            current: None,
            reached: 0,
            began_at: 0,
            is_alone: false,
            is_complete: false,
            is_verified: false,
        }
    }

    /// What to do now. After `Fetch`: [`Self::received`] as bytes come, then [`Self::completed`] or [`Self::failed`].
    /// After `Verify`: [`Self::verified`]. Asking twice changes nothing.
    pub fn step(&mut self) -> Step {
        if self.is_verified {
            return Step::End(Outcome::Done(self.brought.clone()));
        }
        if self.is_complete {
            return Step::Verify;
        }
        let Some(&holder) = self.queue.front() else { return Step::End(self.given_up()) };
        if self.is_alone && self.brought.iter().any(|&other| other != holder) {
            self.start_again();
        }
        if self.current != Some(holder) {
            self.current = Some(holder);
            self.began_at = self.reached;
        }
        Step::Fetch(Assignment { holder, offset: self.reached, after: self.wait_for(holder) })
    }

    /// Whether anybody but the current holder may be asked.
    pub fn has_other(&self) -> bool {
        self.queue.len() > 1
    }

    /// Bytes of the current holder came and were kept.
    pub fn received(&mut self, bytes: u64) {
        let Some(holder) = self.current.filter(|_| bytes > 0) else { return };
        self.reached = self.reached.saturating_add(bytes);
        if !self.brought.contains(&holder) {
            self.brought.push(holder);
        }
    }

    /// The current holder brought its range to the end.
    pub fn completed(&mut self) {
        if self.current.take().is_some() {
            self.is_complete = true;
        }
    }

    /// The current holder ended early.
    pub fn failed(&mut self, failure: Failure) {
        let Some(index) = self.current.take() else { return };
        self.queue.retain(|&queued| queued != index);
        let is_forgiven = !self.is_alone && self.reached - self.began_at >= FORGIVING_BYTES;
        let holder = &mut self.holders[index];
        let may_return = match failure.kind {
            FailureKind::Final | FailureKind::Changed => false,
            FailureKind::Busy => {
                holder.busy_tries += 1;
                holder.busy_tries < MAX_BUSY_TRIES
            }
            FailureKind::Passing | FailureKind::Disagrees => {
                holder.tries = if is_forgiven { 0 } else { holder.tries + 1 };
                holder.tries < MAX_TRIES
            }
        };
        let is_disagreement = failure.kind == FailureKind::Disagrees;
        holder.last = Some(failure);
        if may_return {
            self.queue.push_back(index);
        }
        if is_disagreement {
            self.go_alone();
        }
    }

    /// Whether the whole is what its hash says.
    pub fn verified(&mut self, matches: bool) {
        if !std::mem::take(&mut self.is_complete) {
            return;
        }
        if matches {
            self.is_verified = true;
        } else if let [single] = self.brought[..] {
            self.holders[single].is_wrong = true;
            self.queue.retain(|&queued| queued != single);
            self.start_again();
        } else if self.brought.is_empty() {
            // An empty file that should not be empty: whoever said so is at the front of the queue.
            if let Some(holder) = self.queue.pop_front() {
                self.holders[holder].is_wrong = true;
            }
        } else {
            self.go_alone();
        }
    }

    fn start_again(&mut self) {
        self.reached = 0;
        self.brought.clear();
    }

    /// Happens once: everyone who can still say anything is tried again, from the first byte and alone.
    fn go_alone(&mut self) {
        if !self.is_alone {
            self.is_alone = true;
            for (index, holder) in self.holders.iter_mut().enumerate() {
                let is_final =
                    |last: &Failure| matches!(last.kind, FailureKind::Final | FailureKind::Changed);
                if !holder.is_wrong && !holder.last.as_ref().is_some_and(is_final) {
                    holder.tries = 0;
                    if !self.queue.contains(&index) {
                        self.queue.push_back(index);
                    }
                }
            }
        }
        self.start_again();
    }

    fn wait_for(&self, holder: usize) -> Duration {
        let holder = &self.holders[holder];
        let failures = (holder.tries + holder.busy_tries).min(16);
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let wished = holder.last.as_ref().and_then(|last| last.retry_after).unwrap_or_default();
        (FIRST_WAIT * (1 << doublings)).max(wished).min(LONGEST_WAIT)
    }

    fn given_up(&self) -> Outcome {
        let of = |wrong: bool| self.holders.iter().enumerate().filter(move |(_, h)| h.is_wrong == wrong);
        let wrong: Vec<usize> = of(true).map(|(index, _)| index).collect();
        let failed = of(false).filter_map(|(index, h)| Some((index, h.last.clone()?))).collect();
        if wrong.is_empty() { Outcome::AllFailed(failed) } else { Outcome::Mismatch { wrong, failed } }
    }
}

/// Tells a slow holder from a dead one. Counts only the time in which the holder was waited for, so that a slow disk on
/// this side is not held against it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(Patience::default().stall)
    }
}

impl Pace {
    /// Over windows of that length.
    pub fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0 }
    }

    /// Begins a new window.
    pub fn reset(&mut self) {
        *self = Self::new(self.window);
    }

    /// How much longer the next bytes may take; zero when the holder is to be left.
    pub fn patience(&self) -> Duration {
        self.window.saturating_sub(self.waited)
    }

    /// Something came since it was last found to be fast enough: slow, not dead.
    pub fn has_bytes(&self) -> bool {
        self.bytes > 0
    }

    /// This many bytes came after this wait.
    pub fn waited(&mut self, wait: Duration, bytes: u64) {
        self.waited += wait;
        self.brought(bytes);
    }

    /// This many bytes came.
    pub fn brought(&mut self, bytes: u64) {
        self.bytes += bytes;
        let least = u128::from(LEAST_BYTES_PER_SECOND) * self.window.as_millis() / 1000;
        if u128::from(self.bytes) >= least {
            self.reset();
        }
    }
}

#[cfg(test)]
mod tests;
