//! What a peer holds of the summaries of its zone, and whom a query may therefore pass by.
//!
//! Invariant: a member is ruled out only by a summary of the very version that it announced last, of its present start; a
//! member that said that its words are changing is always asked.

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
    summary: Summary,
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

    /// Takes a member's summary; one that is older than what is held changes nothing, and one
    /// that has no room below [`MAX_HELD_BYTES`] is not held.
    pub fn hold(&mut self, id: PeerId, incarnation: u64, version: u64, summary: Summary) {
        let is_newer = |held: &Held| (held.incarnation, held.version) < (incarnation, version);
        let others = self.size_bytes() - self.held.get(&id).map_or(0, |held| held.summary.size_bytes());
        if others + summary.size_bytes() > MAX_HELD_BYTES {
            self.held.remove(&id);
        } else if self.held.get(&id).is_none_or(is_newer) {
            self.held.insert(id, Held { incarnation, version, summary });
        }
    }

    /// The version and the summary that are held of a member's present start, to ask for what became different.
    pub fn held(&self, member: &Member) -> Option<(u64, &Summary)> {
        let held = self.held.get(&member.id).filter(|held| held.incarnation == member.incarnation)?;
        Some((held.version, &held.summary))
    }

    /// The member has nothing that answers the query.
    pub fn rules_out(&self, member: &Member, probe: &Probe) -> bool {
        let is_current = |version| member.summary.is_settled && member.summary.version == version;
        self.held(member).is_some_and(|(version, summary)| is_current(version) && !summary.may_answer(probe))
    }

    /// The member announced a summary that is not held.
    pub fn misses(&self, member: &Member) -> bool {
        let stamp = member.summary;
        stamp.is_settled
            && stamp.version > 0
            && self.held(member).is_none_or(|(version, _)| version < stamp.version)
    }

    /// Forgets whoever is not in the roster.
    pub fn keep_only(&mut self, roster: &Roster) {
        self.held.retain(|id, _| roster.get(id).is_some());
    }

    /// Bytes of the summaries that are held.
    pub fn size_bytes(&self) -> usize {
        self.held.values().map(|held| held.summary.size_bytes()).sum()
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
