//! One peer's part in one query: whom it asks, whom it asks instead when a branch breaks or is silent, and what it
//! reports. It always ends, by its deadline at the latest, and asks no member twice.
//!
//! A branch that ends without its report counts for nothing: what lay behind it is given out again, and hits that came
//! twice are told apart at the origin.
//!
//! A peer that is silent for longer than its measured delays explain is hedged: the next member of its part is asked for
//! the rest as well. When the hedge reports first, the silent one is missing for itself alone, and keeps the rest of
//! [`SILENCE_LIMIT`] to begin; when the slow one reports first and has reached the hedge, the hedge is cancelled. Both may
//! reach the rest: that costs messages and searches (which the query cache cannot save, as either of the two may yet
//! break), never a wrong count, since reports are sets.
//!
//! Whoever reports on a claim is believed in what it says of its own part. Of others it may say that they answered (it does,
//! when its roster is another one and it asked its neighbors), which counts only where their own part does not say
//! otherwise. Members of a part of whom nobody says anything are asked at the end.
//!
//! Gateways are asked in the same way, but none of them for itself: when one has reported the other is cancelled. The parts of
//! the own zone that were handed over to one are asked as soon as both are broken or silent, as far as nothing was told of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use super::{
    claim::{Claim, Part, Reach},
    flood::Plan,
    hedge::UNKNOWN_WAIT,
    id::PeerId,
};

pub use super::report::{MAX_REPORTED, Report, ZoneReport};

mod told;

/// A peer that has not begun to answer by then is hedged, unless [`Relay::on_asked`] says when.
pub const HEDGE_AFTER: Duration = UNKNOWN_WAIT;
/// A peer that has not begun to answer by then is given up: a third of the usual time for a search (3 s), so that one
/// stopped machine in the roster does not make every search last to its deadline.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(1);
/// Most asks of one part that are open at once; the silence limit makes room for more.
pub const MAX_OPEN_PER_PART: usize = 4;
/// A wave that has not ended by then is not waited for by the next: two silent peers in a row.
pub const WAVE_PATIENCE: Duration = Duration::from_millis(100);
/// Other zones wait no longer than this for the home zone to end, when it may have enough hits: by then a silent peer is
/// given up. And no longer than this part of the time that is left.
const HOME_PATIENCE: (Duration, u32) = (SILENCE_LIMIT, 4);

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
    /// Send the query to a peer. Answer with [`Relay::on_asked`] if its delays are known, with [`Relay::on_heard`] when
    /// its response begins (the headers of the stream count), then [`Relay::on_done`] with its report, or
    /// [`Relay::on_broken`] whatever else happens.
    Ask {
        /// To be told in every answer.
        ask: AskId,
        /// To whom.
        peer: PeerId,
        /// What it answers for.
        claim: Option<Claim>,
        /// How far it goes from there.
        reach: Reach,
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

/// A branch: members are asked in order, and everyone behind the last asked is in the claim of each that is open.
#[derive(Debug)]
struct Branch {
    part: Part,
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
    asked_at: Instant,
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
    begun_at: Instant,
    open: BTreeMap<AskId, Open>,
    next_ask: u32,
    is_searching: bool,
    is_ended: bool,
    report: Report,
    /// Members that need not be asked, as the plan has them: they lie in the claims all the same.
    passed_by: BTreeSet<u64>,
    /// Peers that answered by the report of a branch that was not asked for them.
    answered_elsewhere: BTreeSet<u64>,
}

impl Relay {
    /// Begins, with the first asks. When `is_searched_here`, the relay is not finished before [`Relay::on_searched`].
    pub fn new(me: PeerId, is_searched_here: bool, plan: Plan, now: Instant) -> (Self, Vec<Command>) {
        let (passed_by, handed_over) = (BTreeSet::from_iter(plan.ruled_out), plan.handed_over);
        let mut relay = Self {
            me,
            ttl: plan.ttl,
            hops: plan.hops,
            deadline: plan.deadline,
            branches: Vec::new(),
            waves: plan.waves.into(),
            next_wave_at: None,
            begun_at: now,
            open: BTreeMap::new(),
            next_ask: 0,
            is_searching: is_searched_here,
            is_ended: false,
            report: Report {
                ruled_out: passed_by.clone(),
                is_crossed: plan.zones.is_some(),
                zones: plan.zones.unwrap_or_default(),
                ..Report::default()
            },
            passed_by,
            answered_elsewhere: BTreeSet::new(),
        };
        if relay.is_searching && relay.is_next_beyond() {
            relay.next_wave_at = Some(now + relay.home_patience(now));
        }
        let mut commands = Vec::new();
        relay.widen(now, &mut commands);
        // Told by the gateway as by a branch that left out everyone but its first.
        let handed_over = handed_over.into_iter().map(|part| Branch { part, asked: 0, is_reported: true });
        relay.branches.extend(handed_over);
        (relay, commands)
    }

    /// The own index was searched and its hits are on their way back.
    pub fn on_searched(&mut self, was_truncated: bool) {
        if self.is_searching {
            self.is_searching = false;
            self.report.answered.insert(self.me.short());
            self.report.truncated |= was_truncated;
            // Other zones may have waited for this alone.
            if self.open.is_empty() && !self.waves.is_empty() {
                self.next_wave_at = Some(self.begun_at);
            }
        }
    }

    /// That peer may be silent for so long (see [`super::hedge`]) before it is hedged.
    pub fn on_asked(&mut self, ask: AskId, hedge_after: Duration) {
        if let Some(open) = self.open.get_mut(&ask)
            && open.hedge_at.is_some()
        {
            open.hedge_at = Some(open.asked_at + hedge_after);
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
        let Some(done) = self.open.get(&ask) else { return commands };
        let at = done.branch;
        let reach = self.branches[at].part.reach;
        match reach {
            Reach::Inside | Reach::Everywhere => self.merge(at, report),
            Reach::OtherZones => self.report.merge_crossing(report),
            Reach::AllZones => self.merge_handed_over(report),
            Reach::WholeZone(zone) => {
                if !self.report.merge_zone(zone, report) {
                    // It did not run the query: as good as a refusal.
                    self.give_up(ask, now, &mut commands);
                    self.widen(now, &mut commands);
                    return commands;
                }
            }
        }
        self.open.remove(&ask);
        self.branches[at].is_reported = true;
        // Others of this part are open for themselves alone now: only those that this branch did not reach. No gateway is.
        let is_reached =
            |peer: &PeerId| reach != Reach::Inside || self.report.answered.contains(&peer.short());
        let others = self.open.iter().filter(|(_, open)| open.branch == at && is_reached(&open.peer));
        let reached: Vec<AskId> = others.map(|(ask, _)| *ask).collect();
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
            for (at, peer) in self.open.values().map(|open| (open.branch, open.peer)).collect::<Vec<_>>() {
                self.lose(at, peer);
            }
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
        let mut report = self.report.clone();
        for short in self.answered_elsewhere.difference(&report.unreachable) {
            if report.answered.len() < MAX_REPORTED {
                report.answered.insert(*short);
            }
        }
        report.settled()
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
        if !self.is_ended && self.open.is_empty() {
            self.ask_forgotten(now, commands);
        }
        let is_free = self.open.is_empty() && !(self.is_searching && self.is_next_beyond());
        let is_due = is_free || self.next_wave_at.is_some_and(|at| now >= at);
        if self.is_ended || !is_due {
            return;
        }
        self.next_wave_at = None;
        let Some(wave) = self.waves.pop_front() else { return };
        let is_home = wave.iter().any(|part| !part.is_beyond());
        for part in wave {
            self.branches.push(Branch { part, asked: 0, is_reported: false });
            self.ask_next(self.branches.len() - 1, now, commands);
        }
        if !self.waves.is_empty() {
            let leaves_home = is_home && self.is_next_beyond();
            let patience = if leaves_home { self.home_patience(now) } else { WAVE_PATIENCE };
            self.next_wave_at = Some(now + patience);
        }
    }

    fn is_next_beyond(&self) -> bool {
        self.waves.front().is_some_and(|wave| wave.iter().all(Part::is_beyond))
    }

    fn home_patience(&self, now: Instant) -> Duration {
        let (most, share) = HOME_PATIENCE;
        most.min(self.deadline.saturating_duration_since(now) / share)
    }

    /// That peer did not answer. Those of other zones are told by none of their counts.
    fn lose(&mut self, at: usize, peer: PeerId) {
        let reach = self.branches[at].part.reach;
        // What refuses as a gateway may answer as a member.
        if !matches!(reach, Reach::WholeZone(_) | Reach::AllZones) {
            self.report.unreachable.insert(peer.short());
        }
    }

    fn give_up(&mut self, ask: AskId, now: Instant, commands: &mut Vec<Command>) {
        let Some(broken) = self.open.remove(&ask) else { return };
        self.lose(broken.branch, broken.peer);
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
        let is_handed_over = branch.part.reach == Reach::AllZones;
        let Some(peer) = branch.part.members.get(branch.asked).copied() else {
            if is_handed_over {
                self.ask_forgotten(now, commands);
            }
            return;
        };
        let left = self.deadline.saturating_duration_since(now);
        let Some(time) = child_time(left) else {
            self.report.truncated = true;
            return;
        };
        branch.asked += 1;
        let ask = AskId(self.next_ask);
        self.next_ask += 1;
        let deadline = now + time;
        let can_hedge = branch.asked < branch.part.members.len() || is_handed_over;
        self.open.insert(
            ask,
            Open {
                branch: at,
                peer,
                asked_at: now,
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
            claim: branch.part.claim,
            reach: branch.part.reach,
            ttl: self.ttl,
            hops: self.hops,
            deadline,
        });
    }
}

#[cfg(test)]
mod beyond_tests;
#[cfg(test)]
mod tests;
