//! What a peer knows of the summaries of its zone, and whom a query may therefore pass by.
//!
//! Invariant: a member is ruled out only by a summary of the very version that it announced last, of its present start,
//! and only while announcements come; a member that said that its words are changing is always asked.

use std::collections::HashMap;

use super::{Probe, Summary};
use crate::protocol::{id::PeerId, roster::Roster};

/// What a member announces of its summary. The announcement goes out before anybody can rely on a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Of the member's present start.
    pub incarnation: u64,
    /// Rises with every summary of that start; 0 before the first.
    pub version: u64,
    /// Its words are those of that version. False from the first change on, until a newer version is ready.
    pub is_settled: bool,
}

/// One member's, as far as it is known.
#[derive(Debug, Default)]
struct Page {
    announced: Option<Stamp>,
    held: Option<(u64, u64, Summary)>,
}

/// The summaries of a zone.
#[derive(Debug, Default)]
pub struct Book {
    pages: HashMap<PeerId, Page>,
}

impl Book {
    /// Nothing is known: everyone is asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// A member's newest announcement. An older one than is known changes nothing.
    pub fn announce(&mut self, id: PeerId, stamp: Stamp) {
        let page = self.pages.entry(id).or_default();
        let order = |stamp: &Stamp| (stamp.incarnation, stamp.version, !stamp.is_settled);
        if page.announced.as_ref().is_none_or(|known| order(known) < order(&stamp)) {
            page.announced = Some(stamp);
        }
    }

    /// A member's summary came.
    pub fn hold(&mut self, id: PeerId, incarnation: u64, version: u64, summary: Summary) {
        let page = self.pages.entry(id).or_default();
        if page.held.as_ref().is_none_or(|(start, held, _)| (*start, *held) < (incarnation, version)) {
            page.held = Some((incarnation, version, summary));
        }
    }

    /// The summary that is held of a member, with its start and version, to ask for what became different.
    pub fn held(&self, id: &PeerId) -> Option<(u64, u64, &Summary)> {
        let (incarnation, version, summary) = self.pages.get(id)?.held.as_ref()?;
        Some((*incarnation, *version, summary))
    }

    /// The member has nothing that answers the query.
    pub fn rules_out(&self, id: &PeerId, probe: &Probe) -> bool {
        let Some(page) = self.pages.get(id) else { return false };
        let (Some(stamp), Some((incarnation, version, summary))) = (page.announced, &page.held) else {
            return false;
        };
        let is_current = stamp.is_settled && stamp.incarnation == *incarnation && stamp.version == *version;
        is_current && !summary.may_answer(probe)
    }

    /// Members whose announced summary is not held, with what was announced.
    pub fn missing(&self) -> Vec<(PeerId, Stamp)> {
        let missing = self.pages.iter().filter_map(|(id, page)| {
            let stamp = page.announced.filter(|stamp| stamp.is_settled && stamp.version > 0)?;
            let is_held = page
                .held
                .as_ref()
                .is_some_and(|(start, version, _)| (*start, *version) >= (stamp.incarnation, stamp.version));
            (!is_held).then_some((*id, stamp))
        });
        missing.collect()
    }

    /// Announcements do not come any more, or some may have been lost: everyone is asked until they are told anew.
    pub fn doubt_all(&mut self) {
        for page in self.pages.values_mut() {
            page.announced = None;
        }
    }

    /// Forgets whoever is not in the roster.
    pub fn keep_only(&mut self, roster: &Roster) {
        self.pages.retain(|id, _| roster.get(id).is_some());
    }

    /// Bytes of the summaries that are held.
    pub fn size_bytes(&self) -> usize {
        let held = self.pages.values().filter_map(|page| page.held.as_ref());
        held.map(|(_, _, summary)| summary.size_bytes()).sum()
    }
}
