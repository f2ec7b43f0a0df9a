//! What a peer holds of what the members of its zone gave: their summaries, and so whom a query may pass by; at a gateway
//! their keys.
//!
//! Invariant: a member is ruled out only by a summary of the very version that it announced last, of its present start, or by
//! its name where the query names another peer; a member that said that its words are changing is asked whatever they were.

use std::{collections::HashMap, sync::Arc};

use super::{Keys, Probe, Summary};
use crate::protocol::{
    claim::RulesOut,
    id::PeerId,
    roster::{Member, Roster},
};

/// All that is in one book; what is above is not held, and its peers, or their zone, always asked.
pub const MAX_HELD_BYTES: usize = 64 << 20;

/// What takes room in a book.
pub trait Held {
    /// Bytes of memory.
    fn size_bytes(&self) -> usize;
}

impl Held for Summary {
    fn size_bytes(&self) -> usize {
        Summary::size_bytes(self)
    }
}

impl Held for Arc<Keys> {
    fn size_bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

/// What a member gave.
#[derive(Debug)]
struct Given<T> {
    incarnation: u64,
    version: u64,
    /// `None` when it cannot be used, or has no room: its peer is asked, and gives another when it announces one.
    held: Option<T>,
}

impl<T: Held> Given<T> {
    fn size_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, T::size_bytes)
    }
}

/// What the members of a zone gave, one thing a member.
#[derive(Debug)]
pub struct Book<T = Summary> {
    given: HashMap<PeerId, Given<T>>,
}

impl<T> Default for Book<T> {
    fn default() -> Self {
        Self { given: HashMap::new() }
    }
}

impl<T: Held> Book<T> {
    /// Nothing is held: everyone is asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a member gave, or that it gave what nobody understands; what is older than what is held changes nothing, and
    /// what has no room below [`MAX_HELD_BYTES`] counts as what nobody understands.
    pub fn hold(&mut self, id: PeerId, incarnation: u64, version: u64, held: Option<T>) {
        let before = self.given.get(&id);
        if before.is_some_and(|given| (given.incarnation, given.version) >= (incarnation, version)) {
            return;
        }
        let others = self.size_bytes() - before.map_or(0, Given::size_bytes);
        let held = held.filter(|held| others + held.size_bytes() <= MAX_HELD_BYTES);
        self.given.insert(id, Given { incarnation, version, held });
    }

    /// What is held of a member's present start, with its version, to ask for what became different.
    pub fn held(&self, member: &Member) -> Option<(u64, &T)> {
        let given = self.of_present_start(member)?;
        Some((given.version, given.held.as_ref()?))
    }

    /// What is held of a member, when it is what it announced last.
    pub fn current(&self, member: &Member) -> Option<&T> {
        let is_current = |version| member.summary.is_settled && member.summary.version == version;
        self.held(member).filter(|(version, _)| is_current(*version)).map(|(_, held)| held)
    }

    fn of_present_start(&self, member: &Member) -> Option<&Given<T>> {
        self.given.get(&member.id).filter(|given| given.incarnation == member.incarnation)
    }

    /// The member announced something that was not taken.
    pub fn misses(&self, member: &Member) -> bool {
        let stamp = member.summary;
        stamp.is_settled
            && stamp.version > 0
            && self.of_present_start(member).is_none_or(|given| given.version < stamp.version)
    }

    /// Forgets whoever is not in the roster.
    pub fn keep_only(&mut self, roster: &Roster) {
        self.given.retain(|id, _| roster.get(id).is_some());
    }

    /// Bytes of what is held.
    pub fn size_bytes(&self) -> usize {
        self.given.values().map(Given::size_bytes).sum()
    }

    /// Nobody gave anything.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }
}

impl Book {
    /// The member has nothing that answers the query.
    pub fn rules_out(&self, member: &Member, probe: &Probe) -> bool {
        !probe.may_mean(&member.id, &member.name)
            || self.current(member).is_some_and(|summary| !summary.may_answer(probe))
    }
}

/// A rule for one query.
#[derive(Debug, Clone, Copy)]
pub struct BySummary<'a> {
    /// What is held.
    pub book: &'a Book,
    /// At a gateway, the keys that it was given: they tell what the bits of a summary cannot.
    pub keys: Option<&'a Book<Arc<Keys>>>,
    /// What the query needs.
    pub probe: &'a Probe,
}

impl RulesOut for BySummary<'_> {
    fn rules_out(&self, member: &Member) -> bool {
        let keys = || self.keys.and_then(|keys| keys.current(member));
        self.book.rules_out(member, self.probe) || keys().is_some_and(|keys| !keys.may_answer(self.probe))
    }

    fn knows_best(&self) -> bool {
        self.keys.is_some()
    }
}
