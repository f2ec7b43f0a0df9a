//! One peer's part in one query: whom it asks, whom it asks instead when a branch breaks or is silent, and what it
//! reports. It always ends, by its deadline at the latest, and asks no member twice.
//!
//! A branch that ends without its report counts for nothing: what lay behind it is given out again, and hits that came
//! twice are told apart at the origin.
//!
//! A silent peer is hedged: the next member of its part is asked for the rest as well. When the hedge reports first, the
//! silent one is missing for itself alone, and keeps the rest of [`SILENCE_LIMIT`] to begin; when the slow one reports
//! first and has reached the hedge, the hedge is cancelled. Both may reach the rest: that costs messages and searches
//! (which the query cache cannot save, as either of the two may yet break), never a wrong count, since reports are sets.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use super::{
    claim::{Claim, Part},
    flood::Plan,
    id::PeerId,
};

/// A peer that has not begun to answer by then is hedged. Ten times the round trip of a busy local network.
pub const HEDGE_AFTER: Duration = Duration::from_millis(50);
/// A peer that has not begun to answer by then is given up: a third of the usual time for a search (3 s), so that one
/// stopped machine in the roster does not make every search last to its deadline.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(1);
/// Most asks of one part that are open at once; the silence limit makes room for more.
pub const MAX_OPEN_PER_PART: usize = 4;
/// A wave that has not ended by then is not waited for by the next: two silent peers in a row.
pub const WAVE_PATIENCE: Duration = Duration::from_millis(100);
/// Most peers in each set of a report; more are left out and the report is marked truncated.
pub const MAX_REPORTED: usize = 16_384;

/// What a hop keeps of the time for itself: the way back of the report, and the hits behind it.
const HOP_RESERVE: Duration = Duration::from_millis(20);

/// Time that the next hop gets of what is left: 5 % less, and at least 20 ms less; `None` when nothing remains. A flood
/// of nested calls with equal time-outs returned nothing when one link died.
pub fn child_time(left: Duration) -> Option<Duration> {
    left.checked_sub((left / 20).max(HOP_RESERVE)).filter(|time| !time.is_zero())
}

/// One ask of one relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(u32);

/// What the relay wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Send the query to a peer. Answer with [`Relay::on_heard`] when its response begins (the headers of the stream
    /// count), then [`Relay::on_done`] with its report, or [`Relay::on_broken`] whatever else happens.
    Ask {
        /// To be told in every answer.
        ask: AskId,
        /// To whom.
        peer: PeerId,
        /// What it answers for.
        claim: Option<Claim>,
        /// TTL of this copy.
        ttl: u8,
        /// Hops of this copy.
        hops: u8,
        /// Deadline of this copy.
        deadline: Instant,
    },
    /// Close that stream; nothing more about it is listened to.
    Cancel(AskId),
}

/// What became of a branch. Peers are told by [`PeerId::short`]; sets, so that no peer is counted twice whichever way its
/// answer came. A peer is in `answered` only if its hits went ahead of this report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Peers whose index was searched.
    pub answered: BTreeSet<u64>,
    /// Peers that were tried and did not answer; none that another branch has as answered.
    pub unreachable: BTreeSet<u64>,
    /// Peers that were not asked, since their summaries say that they have nothing; none that answered or was tried.
    pub ruled_out: BTreeSet<u64>,
    /// Copies that a query cache dropped.
    pub duplicates: u32,
    /// Search messages sent in this branch, those that found nobody included.
    pub messages: u32,
    /// Something was left out: a bound or the deadline was reached.
    pub truncated: bool,
}

impl Report {
    /// The whole answer to a duplicate.
    pub fn duplicate() -> Self {
        Self { duplicates: 1, ..Self::default() }
    }

    /// A peer that one branch could not reach, or did not ask, and another heard, has answered.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.unreachable = &self.unreachable - &self.answered;
        self.ruled_out = &(&self.ruled_out - &self.answered) - &self.unreachable;
        self
    }

    /// Takes another branch in.
    pub fn merge(&mut self, other: &Report) {
        for (own, others) in [
            (&mut self.answered, &other.answered),
            (&mut self.unreachable, &other.unreachable),
            (&mut self.ruled_out, &other.ruled_out),
        ] {
            for short in others {
                if own.len() < MAX_REPORTED {
                    own.insert(*short);
                } else if !own.contains(short) {
                    self.truncated = true;
                }
            }
        }
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.messages = self.messages.saturating_add(other.messages);
        self.truncated |= other.truncated;
    }
}

/// A branch: members are asked in order, and everyone behind the last asked is in the claim of each that is open.
#[derive(Debug)]
struct Branch {
    members: Vec<PeerId>,
    claim: Option<Claim>,
    /// How many were asked.
    asked: usize,
    /// Someone reported for the rest.
    is_reported: bool,
}

/// One open ask.
#[derive(Debug)]
struct Open {
    branch: usize,
    peer: PeerId,
    hedge_at: Option<Instant>,
    silent_until: Option<Instant>,
    overdue_at: Instant,
}

/// One peer's handling of one query.
#[derive(Debug)]
pub struct Relay {
    me: PeerId,
    ttl: u8,
    hops: u8,
    deadline: Instant,
    branches: Vec<Branch>,
    waves: VecDeque<Vec<Part>>,
    next_wave_at: Option<Instant>,
    open: BTreeMap<AskId, Open>,
    next_ask: u32,
    is_searching: bool,
    is_ended: bool,
    report: Report,
}

impl Relay {
    /// Begins, with the first asks. When `is_searched_here`, the relay is not finished before [`Relay::on_searched`].
    pub fn new(me: PeerId, is_searched_here: bool, plan: Plan, now: Instant) -> (Self, Vec<Command>) {
        let mut relay = Self {
            me,
            ttl: plan.ttl,
            hops: plan.hops,
            deadline: plan.deadline,
            branches: Vec::new(),
            waves: plan.waves.into(),
            next_wave_at: None,
            open: BTreeMap::new(),
            next_ask: 0,
            is_searching: is_searched_here,
            is_ended: false,
            report: Report { ruled_out: plan.ruled_out.into_iter().collect(), ..Report::default() },
        };
        let mut commands = Vec::new();
        relay.widen(now, &mut commands);
        (relay, commands)
    }

    /// The own index was searched and its hits are on their way back.
    pub fn on_searched(&mut self, was_truncated: bool) {
        if self.is_searching {
            self.is_searching = false;
            self.report.answered.insert(self.me.short());
            self.report.truncated |= was_truncated;
        }
    }

    /// That peer began to answer.
    pub fn on_heard(&mut self, ask: AskId) {
        if let Some(open) = self.open.get_mut(&ask) {
            open.hedge_at = None;
            open.silent_until = None;
        }
    }

    /// That branch is reported; its hits were passed on before.
    pub fn on_done(&mut self, ask: AskId, report: &Report, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        let Some(done) = self.open.remove(&ask) else { return commands };
        self.report.merge(report);
        self.branches[done.branch].is_reported = true;
        // Others of this part are open for themselves alone now: only those that this branch did not reach.
        let reached: Vec<AskId> = self
            .open
            .iter()
            .filter(|(_, open)| {
                open.branch == done.branch && self.report.answered.contains(&open.peer.short())
            })
            .map(|(ask, _)| *ask)
            .collect();
        for ask in reached {
            self.open.remove(&ask);
            commands.push(Command::Cancel(ask));
        }
        self.widen(now, &mut commands);
        commands
    }

    /// That peer could not be reached, refused, or its stream ended without a report.
    pub fn on_broken(&mut self, ask: AskId, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        self.give_up(ask, now, &mut commands);
        self.widen(now, &mut commands);
        commands
    }

    /// Time has passed: at [`Relay::next_wake`] at the latest.
    pub fn on_tick(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        if self.is_ended {
            return commands;
        }
        if now >= self.deadline {
            let open: Vec<u64> = self.open.values().map(|open| open.peer.short()).collect();
            self.report.unreachable.extend(open);
            if !self.is_finished() {
                self.report.truncated = true;
            }
            self.end(&mut commands);
            return commands;
        }
        let overdue: Vec<AskId> = self
            .open
            .iter()
            .filter(|(_, open)| now >= open.overdue_at || open.silent_until.is_some_and(|at| now >= at))
            .map(|(ask, _)| *ask)
            .collect();
        for ask in overdue {
            commands.push(Command::Cancel(ask));
            self.give_up(ask, now, &mut commands);
        }
        let silent: Vec<AskId> = self
            .open
            .iter()
            .filter(|(_, open)| open.hedge_at.is_some_and(|at| now >= at))
            .map(|(ask, _)| *ask)
            .collect();
        for ask in silent {
            let Some(open) = self.open.get_mut(&ask) else { continue };
            open.hedge_at = None;
            let branch = open.branch;
            let open_here = self.open.values().filter(|open| open.branch == branch).count();
            if !self.branches[branch].is_reported && open_here < MAX_OPEN_PER_PART {
                self.ask_next(branch, now, &mut commands);
            }
        }
        self.widen(now, &mut commands);
        commands
    }

    /// Enough hits are there: everything open is cancelled.
    pub fn on_enough(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        if !self.is_finished() {
            self.report.truncated = true;
            self.end(&mut commands);
        }
        commands
    }

    /// When [`Relay::on_tick`] has something to do; `None` when finished.
    pub fn next_wake(&self) -> Option<Instant> {
        if self.is_finished() {
            return None;
        }
        let asks = self.open.values();
        asks.flat_map(|open| [open.hedge_at, open.silent_until, Some(open.overdue_at)].into_iter().flatten())
            .chain([self.deadline])
            .chain(self.next_wave_at)
            .min()
    }

    /// Nothing is open: the report is whole.
    pub fn is_finished(&self) -> bool {
        self.is_ended || (self.open.is_empty() && self.waves.is_empty() && !self.is_searching)
    }

    /// What became of this branch so far.
    pub fn report(&self) -> Report {
        self.report.clone().settled()
    }

    fn end(&mut self, commands: &mut Vec<Command>) {
        commands.extend(self.open.keys().map(|ask| Command::Cancel(*ask)));
        self.open.clear();
        self.waves.clear();
        self.next_wave_at = None;
        self.is_ended = true;
    }

    /// Begins the next wave when it is time.
    fn widen(&mut self, now: Instant, commands: &mut Vec<Command>) {
        let is_due = self.open.is_empty() || self.next_wave_at.is_some_and(|at| now >= at);
        if self.is_ended || !is_due {
            return;
        }
        self.next_wave_at = None;
        let Some(wave) = self.waves.pop_front() else { return };
        for part in wave {
            self.branches.push(Branch {
                members: part.members,
                claim: part.claim,
                asked: 0,
                is_reported: false,
            });
            self.ask_next(self.branches.len() - 1, now, commands);
        }
        if !self.waves.is_empty() {
            self.next_wave_at = Some(now + WAVE_PATIENCE);
        }
    }

    fn give_up(&mut self, ask: AskId, now: Instant, commands: &mut Vec<Command>) {
        let Some(broken) = self.open.remove(&ask) else { return };
        self.report.unreachable.insert(broken.peer.short());
        // One that was hedged and is silent still is no hope for the others.
        let is_covered = self.branches[broken.branch].is_reported
            || self.open.values().any(|open| {
                open.branch == broken.branch && (open.silent_until.is_none() || open.hedge_at.is_some())
            });
        if !is_covered {
            self.ask_next(broken.branch, now, commands);
        }
    }

    fn ask_next(&mut self, at: usize, now: Instant, commands: &mut Vec<Command>) {
        let branch = &mut self.branches[at];
        let Some(peer) = branch.members.get(branch.asked).copied() else { return };
        let left = self.deadline.saturating_duration_since(now);
        let Some(time) = child_time(left) else {
            self.report.truncated = true;
            return;
        };
        branch.asked += 1;
        let ask = AskId(self.next_ask);
        self.next_ask += 1;
        let deadline = now + time;
        let can_hedge = branch.asked < branch.members.len();
        self.open.insert(
            ask,
            Open {
                branch: at,
                peer,
                hedge_at: can_hedge.then_some(now + HEDGE_AFTER),
                silent_until: Some(now + SILENCE_LIMIT),
                // Half of the reserve is for its report to arrive, the other half to ask someone else instead.
                overdue_at: deadline + left.saturating_sub(time) / 2,
            },
        );
        self.report.messages = self.report.messages.saturating_add(1);
        commands.push(Command::Ask {
            ask,
            peer,
            claim: branch.claim,
            ttl: self.ttl,
            hops: self.hops,
            deadline,
        });
    }
}

#[cfg(test)]
mod tests;
