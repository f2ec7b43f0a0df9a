//! Who may be asked for a file, and when: the tries, the waits and the last failure of every holder.
//!
//! Invariant: every failure uses up one of a bounded number of tries, who has another file by now is never asked again,
//! and neither is who brought wrong bytes, unless it is pardoned.

use std::time::Instant;

use super::{
    FIRST_WAIT, FORGIVING_BYTES, Failure, FailureKind, LONGEST_WAIT, MAX_BUSY_TRIES, MAX_TRIES, Outcome,
};

/// Holders of one file that are remembered; more are not taken up.
pub const MAX_HOLDERS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    #[default]
    Usable,
    /// Its tries are used up; it gets new ones when it is found again.
    GivenUp,
    /// For ever: its file is another one now.
    Changed,
    /// Until it is pardoned: it brought something wrong.
    Wrong,
}

#[derive(Debug, Clone, Default)]
struct Holder {
    tries: u32,
    busy_tries: u32,
    ready_at: Option<Instant>,
    last: Option<Failure>,
    standing: Standing,
    is_asked: bool,
    /// It failed, was too slow or has others wait, and has brought nothing right since.
    is_doubtful: bool,
}

impl Holder {
    fn is_usable(&self) -> bool {
        self.standing == Standing::Usable
    }
}

/// All holders of one file, by position.
#[derive(Debug, Clone, Default)]
pub struct Holders(Vec<Holder>);

impl Holders {
    /// So many, the best first; [`MAX_HOLDERS`] at most.
    pub fn new(holders: usize) -> Self {
        Self(vec![Holder::default(); holders.min(MAX_HOLDERS)])
    }

    /// How many are known, whatever became of them.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more, unless there are too many. Its position.
    pub fn add(&mut self) -> Option<usize> {
        if self.0.len() >= MAX_HOLDERS {
            return None;
        }
        self.0.push(Holder::default());
        Some(self.0.len() - 1)
    }

    /// It was found again after it had been given up: it gets its tries back, but not if it is out for ever.
    pub fn renew(&mut self, index: usize) {
        let Some(holder) = self.0.get_mut(index) else { return };
        if holder.standing == Standing::GivenUp {
            *holder = Holder { last: holder.last.take(), ..Holder::default() };
        }
    }

    /// Nobody is left, and time has passed: those that brought something wrong are worth another try when they are found
    /// again. Somebody at this machine may have written over what they brought.
    pub fn pardon(&mut self) {
        for holder in self.0.iter_mut().filter(|holder| holder.standing == Standing::Wrong) {
            holder.standing = Standing::GivenUp;
            holder.last = Some(Failure::new(FailureKind::Final, "what it sent did not match the hash"));
        }
    }

    /// Who can be asked right now: those that failed least first.
    pub fn ready(&self, now: Instant) -> Option<usize> {
        let ready = self.all_ready(now);
        ready.min_by_key(|(index, holder)| (holder.tries + holder.busy_tries, *index)).map(|(index, _)| index)
    }

    /// How many could be asked right now.
    pub fn count_ready(&self, now: Instant) -> usize {
        self.all_ready(now).count()
    }

    /// When somebody who is not asked now can be asked.
    pub fn soonest(&self) -> Option<Instant> {
        let waiting = self.0.iter().filter(|holder| holder.is_usable() && !holder.is_asked);
        waiting.filter_map(|holder| holder.ready_at).min()
    }

    /// Whether to leave a slow one for somebody else: one that may be asked, and has not failed or made others wait
    /// since it last brought something. Two slow ones are both better than none.
    pub fn has_better(&self, index: usize) -> bool {
        let is_better = |holder: &Holder| holder.is_usable() && !holder.is_doubtful;
        self.0.iter().enumerate().any(|(other, holder)| other != index && is_better(holder))
    }

    /// Is being asked from now on.
    pub fn begin(&mut self, index: usize) {
        if let Some(holder) = self.0.get_mut(index) {
            holder.is_asked = true;
        }
    }

    /// Is not asked any more, and did not fail.
    pub fn ended(&mut self, index: usize) {
        if let Some(holder) = self.0.get_mut(index) {
            holder.is_asked = false;
        }
    }

    /// It has a queue, and a place in it was given.
    pub fn made_wait(&mut self, index: usize) {
        if let Some(holder) = self.0.get_mut(index) {
            holder.is_doubtful = true;
        }
    }

    /// It brought something right.
    pub fn brought(&mut self, index: usize) {
        if let Some(holder) = self.0.get_mut(index) {
            holder.is_doubtful = false;
        }
    }

    /// Is not asked any more, because it failed after it had brought so many bytes that stay and that nobody had brought before.
    pub fn failed(&mut self, index: usize, failure: Failure, brought_bytes: u64, now: Instant) {
        let Some(holder) = self.0.get_mut(index) else { return };
        (holder.is_asked, holder.is_doubtful) = (false, true);
        if brought_bytes >= FORGIVING_BYTES {
            (holder.tries, holder.busy_tries) = (0, 0);
        }
        let standing = match failure.kind {
            FailureKind::Final => Standing::GivenUp,
            FailureKind::Changed => Standing::Changed,
            FailureKind::Busy => {
                holder.busy_tries += 1;
                left_of(holder.busy_tries, MAX_BUSY_TRIES)
            }
            FailureKind::Passing | FailureKind::Disagrees => {
                holder.tries += 1;
                left_of(holder.tries, MAX_TRIES)
            }
        };
        // A wrong one stays so.
        if holder.standing == Standing::Usable {
            holder.standing = standing;
        }
        let doublings = (holder.tries + holder.busy_tries).saturating_sub(1).min(16);
        let wished = failure.retry_after.unwrap_or_default();
        holder.ready_at = Some(now + (FIRST_WAIT * (1 << doublings)).max(wished).min(LONGEST_WAIT));
        holder.last = Some(failure);
    }

    /// It brought bytes that are not those of the file, or lied about its size: not asked again unless pardoned.
    pub fn lied(&mut self, index: usize) {
        if let Some(holder) = self.0.get_mut(index) {
            (holder.is_asked, holder.standing) = (false, Standing::Wrong);
        }
    }

    /// What is to be said when nobody is left.
    pub fn given_up(&self) -> Outcome {
        let of = |wrong: bool| {
            self.0.iter().enumerate().filter(move |(_, holder)| (holder.standing == Standing::Wrong) == wrong)
        };
        let wrong: Vec<usize> = of(true).map(|(index, _)| index).collect();
        let failed = of(false).filter_map(|(index, holder)| Some((index, holder.last.clone()?))).collect();
        if wrong.is_empty() { Outcome::AllFailed(failed) } else { Outcome::Mismatch { wrong, failed } }
    }

    fn all_ready(&self, now: Instant) -> impl Iterator<Item = (usize, &Holder)> {
        let is_ready = move |holder: &Holder| {
            holder.is_usable() && !holder.is_asked && holder.ready_at.is_none_or(|at| at <= now)
        };
        self.0.iter().enumerate().filter(move |(_, holder)| is_ready(holder))
    }
}

fn left_of(tries: u32, most: u32) -> Standing {
    if tries < most { Standing::Usable } else { Standing::GivenUp }
}
