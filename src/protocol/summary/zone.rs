//! What a gateway knows of words: the filter of its own zone, made of the keys of all members, and the filters that gateways
//! of other zones tell.
//!
//! Invariant: a zone is ruled out only by a filter over the keys of all its members, in the very versions that they announced
//! last as its gateway heard; from the word that something changed until the next filter it is asked.

use std::{collections::HashMap, sync::Arc};

use super::{BLOCK_BYTES, Change, Density, Keys, NotASummary, Probe, Summary, book::Book};
use crate::protocol::{
    crossing::RulesOutZones,
    id::{PeerId, ZoneId},
    roster::Member,
};

/// Zones whose filters one gateway holds; those beyond are always asked. As many as it asks at once.
pub const MAX_ZONE_FILTERS: usize = 128;
/// The filters of all other zones together; one for which there is no room is not held, and its zone is asked.
pub const MAX_FILTERS_BYTES: usize = 64 << 20;
/// Most blocks in one message, 64 KiB: a watcher that reads slowly holds no more of a gateway's memory.
pub const MAX_PART_BLOCKS: usize = 8192;
/// A filter that was told so many times over without being settled is a lie. One that is told while words change all the time
/// is settled in between, or told anew once a second at most.
const MAX_TIMES_TOLD: usize = 16;

/// The zones whose filters a gateway of `own` is to hold: the next ones by number, going round, so that where there are more
/// than [`MAX_ZONE_FILTERS`] each gateway is watched by as many others.
pub fn watched(own: ZoneId, zones: impl Iterator<Item = ZoneId>) -> Vec<ZoneId> {
    let mut others: Vec<ZoneId> = zones.filter(|zone| *zone != own).collect();
    others.sort_unstable_by_key(|zone| zone.get().wrapping_sub(own.get()));
    others.truncate(MAX_ZONE_FILTERS);
    others
}

/// What the filter of a zone is made of.
#[derive(Debug, Clone)]
pub struct Basis {
    keys: Vec<Arc<Keys>>,
}

impl Basis {
    /// The keys of all members; those of `me` are given.  `None` when those of one of them are changing or not held.
    pub fn of<'a>(
        members: impl Iterator<Item = &'a Member>,
        me: PeerId,
        own: &Arc<Keys>,
        book: &Book<Arc<Keys>>,
    ) -> Option<Self> {
        let others = members.filter(|member| member.id != me).map(|member| book.current(member));
        let keys = others.map(|keys| keys.cloned()).chain([Some(own.clone())]).collect::<Option<_>>()?;
        Some(Self { keys })
    }

    /// The members.
    pub fn listed(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    /// Both are of the very same keys.
    pub fn is_same(&self, other: &Self) -> bool {
        let both = || self.keys.iter().zip(&other.keys);
        self.keys.len() == other.keys.len() && both().all(|(one, other)| Arc::ptr_eq(one, other))
    }

    /// The filter; `None` when the words are too many for one. Blocks, some 100 ms for three million keys.
    pub fn filter(&self) -> Option<Summary> {
        Summary::of_all(self.keys.iter().map(|keys| &**keys), Density::ZONE)
    }
}

/// The filter of the own zone as it is told to others, with the way from the one before.
#[derive(Debug)]
pub struct ZoneFilter {
    version: u64,
    listed: u32,
    filter: Summary,
    change: Option<(u64, Change)>,
}

impl ZoneFilter {
    /// Of that version, above all that this gateway told in its life; with the one before, when it is of the same zone.
    pub fn new(version: u64, before: Option<&Self>, listed: u32, filter: Summary) -> Self {
        let change = before.and_then(|before| Some((before.version, before.filter.change_to(&filter)?)));
        Self { version, listed, filter, change }
    }

    /// Which one it is.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The `at`th part for someone who was told that version, who then has this one; `None` behind the last.
    fn part(&self, told: Option<u64>, at: usize) -> Option<News> {
        let changed = self.change.as_ref().filter(|(from, _)| told == Some(*from));
        if let Some((_, change)) = changed {
            let part = change.blocks.chunks(MAX_PART_BLOCKS).nth(at)?;
            return Some(News::Blocks(Change { blocks: part.into() }));
        }
        let Some(at) = at.checked_sub(1) else {
            let (blocks, has_pairs) = (self.filter.size_bytes() / BLOCK_BYTES, self.filter.has_pairs());
            return Some(News::Begin { blocks, has_pairs });
        };
        let part = self.filter.blocks.chunks(MAX_PART_BLOCKS).nth(at)?;
        let places = (at * MAX_PART_BLOCKS..)
            .map(|place| u32::try_from(place).expect("a filter has 2^19 blocks at most"));
        Some(News::Blocks(Change { blocks: places.zip(part.iter().copied()).collect() }))
    }
}

/// What one watcher of the zone was told.
#[derive(Debug, Default)]
pub struct Telling {
    /// The version that it has, settled or not.
    told: Option<u64>,
    /// Whether, and of which version, it was told that the zone is settled; `None` before anything.
    settled: Option<Option<u64>>,
    /// On its way, and the next part of it.
    sending: Option<(Arc<ZoneFilter>, usize)>,
}

impl Telling {
    /// The next thing to tell, this being the filter now, if the zone is settled; `None` when everything is told.
    pub fn next(&mut self, now: Option<&Arc<ZoneFilter>>) -> Option<News> {
        if now.is_none() && self.settled != Some(None) {
            self.settled = Some(None);
            return Some(News::Unsettled);
        }
        loop {
            if let Some((filter, at)) = &mut self.sending {
                if let Some(part) = filter.part(self.told, *at) {
                    *at += 1;
                    return Some(part);
                }
                // A newer one may have come meanwhile: this one is then what it is told the change of.
                self.told = Some(filter.version);
                self.sending = None;
            }
            let newest = now?;
            if self.told != Some(newest.version) {
                self.sending = Some((newest.clone(), 0));
                continue;
            }
            if self.settled == Some(self.told) {
                return None;
            }
            self.settled = Some(self.told);
            return Some(News::Settled { version: newest.version, listed: newest.listed });
        }
    }
}

/// What a gateway tells of its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Nothing can be said of it.
    Unsettled,
    /// Another filter begins.
    Begin {
        /// Its length in blocks of 8 bytes.
        blocks: usize,
        /// It tells of pairs of words.
        has_pairs: bool,
    },
    /// Blocks of it, at most [`MAX_PART_BLOCKS`].
    Blocks(Change),
    /// The filter says all of the zone.
    Settled {
        /// Rises.
        version: u64,
        /// The members.
        listed: u32,
    },
}

/// News that cannot follow what was told before. The zone is to be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNews {
    /// Blocks, or the end, of a filter that was not begun.
    #[error("it told of a filter that it had not begun")]
    NotBegun,
    /// Versions rise.
    #[error("it told an older filter after a newer one")]
    Older,
    /// More blocks than any change needs.
    #[error("it tells blocks without end")]
    Endless,
    /// A filter that is too large, or blocks that lie outside.
    #[error(transparent)]
    NotASummary(#[from] NotASummary),
}

/// What was told of one zone.
#[derive(Debug)]
struct Told {
    /// `None` when there was no room for it.
    filter: Option<Summary>,
    blocks: usize,
    /// Blocks that came since it was settled.
    came: usize,
    version: u64,
    /// Its members, while it is settled.
    listed: Option<u32>,
}

/// The filters of other zones.
#[derive(Debug, Default)]
pub struct Filters {
    told: HashMap<ZoneId, Told>,
}

impl Filters {
    /// Nothing is held: every zone is asked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what is told of a zone, which is watched. One whose filter finds no room is asked.
    ///
    /// # Errors
    /// When it does not follow what was told before; the caller is to [`Filters::forget`] the zone.
    pub fn take_in(&mut self, zone: ZoneId, news: News) -> Result<(), NotNews> {
        match news {
            News::Unsettled => {
                if let Some(told) = self.told.get_mut(&zone) {
                    told.listed = None;
                }
            }
            News::Begin { blocks, has_pairs } => {
                let version = self.told.remove(&zone).map_or(0, |told| told.version);
                let filter = empty(blocks, has_pairs)?;
                let has_room = self.told.len() < MAX_ZONE_FILTERS
                    && self.size_bytes() + filter.size_bytes() <= MAX_FILTERS_BYTES;
                let filter = has_room.then_some(filter);
                self.told.insert(zone, Told { filter, blocks, came: 0, version, listed: None });
            }
            News::Blocks(change) => {
                let told = self.told.get_mut(&zone).ok_or(NotNews::NotBegun)?;
                told.listed = None;
                told.came += change.blocks.len();
                if told.came > told.blocks.saturating_mul(MAX_TIMES_TOLD) {
                    return Err(NotNews::Endless);
                }
                if let Some(filter) = &mut told.filter {
                    filter.apply(&change)?;
                }
            }
            News::Settled { version, listed } => {
                let told = self.told.get_mut(&zone).ok_or(NotNews::NotBegun)?;
                if version < told.version {
                    return Err(NotNews::Older);
                }
                (told.version, told.listed, told.came) = (version, Some(listed), 0);
            }
        }
        Ok(())
    }

    /// Nothing is known of the zone any more.
    pub fn forget(&mut self, zone: ZoneId) {
        self.told.remove(&zone);
    }

    /// Bytes of the filters that are held.
    pub fn size_bytes(&self) -> usize {
        self.told.values().filter_map(|told| told.filter.as_ref()).map(Summary::size_bytes).sum()
    }

    /// The members of a zone of whom none has anything that answers the query.
    fn ruled_out(&self, zone: ZoneId, probe: &Probe) -> Option<u32> {
        let told = self.told.get(&zone)?;
        told.listed.filter(|_| told.filter.as_ref().is_some_and(|filter| !filter.may_answer(probe)))
    }
}

fn empty(blocks: usize, has_pairs: bool) -> Result<Summary, NotASummary> {
    let density = Density::ZONE;
    if blocks == 0 || blocks > density.max_bytes / BLOCK_BYTES {
        return Err(NotASummary);
    }
    Ok(Summary { blocks: vec![0; blocks].into(), has_pairs, density })
}

/// A rule for one query.
#[derive(Debug, Clone, Copy)]
pub struct ByFilter<'a> {
    /// What is held.
    pub filters: &'a Filters,
    /// What the query needs.
    pub probe: &'a Probe,
}

impl RulesOutZones for ByFilter<'_> {
    fn ruled_out(&self, zone: ZoneId) -> Option<u32> {
        self.filters.ruled_out(zone, self.probe)
    }
}

#[cfg(test)]
mod tests;
