//! What a branch's report says of its own part and of others, and of whom it says nothing.
//!
//! Invariant: a report has the last word on the part that its branch was asked for, and on nobody else.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use super::{Branch, Claim, Command, MAX_REPORTED, Part, PeerId, Reach, Relay, Report};

impl Relay {
    /// Takes in what a branch tells of its part; a neighbor's part in a classic flood is whatever it reached.
    pub(super) fn merge(&mut self, at: usize, report: &Report) {
        let Part { members, claim, .. } = &self.branches[at].part;
        if claim.is_none() {
            return self.report.merge_members(report);
        }
        let part: BTreeSet<u64> = members.iter().map(PeerId::short).collect();
        let mut own = report.clone();
        self.keep_of(&part, &mut own);
        self.report.merge_members(&own);
    }

    /// Takes in what a gateway tells of other zones and of the own one, for the members that were left to it and those that were passed by. It looked
    /// again at its end at those whom it ruled out, unless it was cut short.
    pub(super) fn merge_handed_over(&mut self, report: &Report) {
        let handed_over = self.branches.iter().filter(|branch| branch.part.claim.is_some());
        let part: BTreeSet<u64> =
            handed_over.flat_map(|branch| &branch.part.members).map(PeerId::short).collect();
        let mut own = report.clone();
        self.keep_of(&part, &mut own);
        if !report.truncated {
            self.report.vouched_for.extend(&own.ruled_out);
        }
        self.report.merge_members(&own);
        self.report.merge_other_zones(report);
    }

    /// Leaves of a report what it says of those whom it was asked for, and beside that who answered elsewhere.
    fn keep_of(&mut self, part: &BTreeSet<u64>, own: &mut Report) {
        let is_of_part = |short: &u64| part.contains(short) || self.passed_by.contains(short);
        let answered = std::mem::take(&mut own.answered);
        own.unreachable.retain(is_of_part);
        own.ruled_out.retain(is_of_part);
        for short in answered {
            if is_of_part(&short) {
                own.answered.insert(short);
            } else if short != self.me.short() && self.answered_elsewhere.len() < MAX_REPORTED {
                self.answered_elsewhere.insert(short);
            }
        }
    }

    /// Makes parts of those whom a report on their part left out, of whom nobody else said anything either: it came too
    /// early, or from another roster.
    pub(super) fn ask_forgotten(&mut self, now: Instant, commands: &mut Vec<Command>) {
        let Report { answered, unreachable, ruled_out, .. } = &self.report;
        let is_told = |peer: &PeerId| {
            [answered, unreachable, ruled_out, &self.answered_elsewhere]
                .iter()
                .any(|set| set.contains(&peer.short()))
        };
        let mut parts = Vec::new();
        for branch in self.branches.iter_mut().filter(|branch| branch.is_reported) {
            let Some(claim) = branch.part.claim else { continue };
            let rest = branch.part.members.split_off(branch.asked);
            // Each run of them up to the next one that is told.
            let mut before = claim.before;
            let mut run = VecDeque::new();
            for peer in rest.into_iter().rev() {
                if is_told(&peer) {
                    parts.push((before, std::mem::take(&mut run)));
                    before = peer;
                } else {
                    run.push_front(peer);
                }
            }
            parts.push((before, run));
        }
        for (before, run) in parts.into_iter().filter(|(_, run)| !run.is_empty()) {
            let part = Part { members: run.into(), claim: Some(Claim { before }), reach: Reach::Inside };
            self.branches.push(Branch { part, asked: 0, is_reported: false });
            self.ask_next(self.branches.len() - 1, now, commands);
        }
    }
}
