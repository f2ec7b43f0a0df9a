//! What a peer holds of the summaries of its zone, and whom a query may therefore pass by.
//!
//! Invariant: a member is ruled out only by a summary of the very version that it announced last, of its present start, or by
//! its name where the query names another peer; a member that said that its words are changing is asked whatever they were.

use std::collections::HashMap;

use super::{Probe, Summary};
use crate::protocol::{
    claim::RulesOut,
    id::PeerId,
    roster::{Member, Roster},
};

/// All summaries together; those above are not held, and their peers always asked. 135 KiB are 100 ordinary peers.
pub const MAX_HELD_BYTES: usize = 64 << 20;

/// A summary as its peer gave it.
#[derive(Debug)]
struct Held {
    incarnation: u64,
    version: u64,
    /// `None` when it cannot be used, or has no room: its peer is asked, and gives another when it announces one.
    summary: Option<Summary>,
}

impl Held {
    fn size_bytes(&self) -> usize {
        self.summary.as_ref().map_or(0, Summary::size_bytes)
    }
}

/// The summaries of a zone, one a member.
#[derive(Debug, Default)]
pub struct Book {
    held: HashMap<PeerId, Held>,
}

impl Book {
    /// Nothing is held: everyone is asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a member's summary, or that it gave one that nobody understands; one that is older than what is held changes
    /// nothing, and one that has no room below [`MAX_HELD_BYTES`] counts as one that nobody understands.
    pub fn hold(&mut self, id: PeerId, incarnation: u64, version: u64, summary: Option<Summary>) {
        let before = self.held.get(&id);
        if before.is_some_and(|held| (held.incarnation, held.version) >= (incarnation, version)) {
            return;
        }
        let others = self.size_bytes() - before.map_or(0, Held::size_bytes);
        let summary = summary.filter(|summary| others + summary.size_bytes() <= MAX_HELD_BYTES);
        self.held.insert(id, Held { incarnation, version, summary });
    }

    /// The version and the summary that are held of a member's present start, to ask for what became different.
    pub fn held(&self, member: &Member) -> Option<(u64, &Summary)> {
        let held = self.of_present_start(member)?;
        Some((held.version, held.summary.as_ref()?))
    }

    fn of_present_start(&self, member: &Member) -> Option<&Held> {
        self.held.get(&member.id).filter(|held| held.incarnation == member.incarnation)
    }

    /// The member has nothing that answers the query.
    pub fn rules_out(&self, member: &Member, probe: &Probe) -> bool {
        let is_current = |version| member.summary.is_settled && member.summary.version == version;
        !probe.may_mean(&member.id, &member.name)
            || self
                .held(member)
                .is_some_and(|(version, summary)| is_current(version) && !summary.may_answer(probe))
    }

    /// The member announced a summary that is not held.
    pub fn misses(&self, member: &Member) -> bool {
        let stamp = member.summary;
        stamp.is_settled
            && stamp.version > 0
            && self.of_present_start(member).is_none_or(|held| held.version < stamp.version)
    }

    /// Forgets whoever is not in the roster.
    pub fn keep_only(&mut self, roster: &Roster) {
        self.held.retain(|id, _| roster.get(id).is_some());
    }

    /// Bytes of the summaries that are held.
    pub fn size_bytes(&self) -> usize {
        self.held.values().map(Held::size_bytes).sum()
    }
}

/// A rule for one query.
#[derive(Debug, Clone, Copy)]
pub struct BySummary<'a> {
    /// What is held.
    pub book: &'a Book,
    /// What the query needs.
    pub probe: &'a Probe,
}

impl RulesOut for BySummary<'_> {
    fn rules_out(&self, member: &Member) -> bool {
        self.book.rules_out(member, self.probe)
    }
}
