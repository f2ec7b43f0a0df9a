//! The hits of one search as its origin gathers them: one hit per content with everyone who has it, each place once, and
//! never more than the bounds, whatever others send. A number that was told stays that hit's; in which order hits are shown
//! once all are there is another matter, and said by [`in_order`].

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use super::{
    action::{FileInfo, Hit, Holder},
    id::{ContentHash, PeerId},
    query::{Fitting, Query},
    text::fold_into,
};

/// Most hits of one search.
pub const MAX_HITS: usize = 10_000;
/// Most holders of one hit.
pub const MAX_HOLDERS: usize = 256;
/// Most places in all hits together: about 30 MB with paths of usual length.
pub const MAX_PLACES: usize = 100_000;

/// What makes two files one hit: the content, or the place while the content is not hashed yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Content(ContentHash),
    Place(PeerId, String),
}

/// The hits of one search, numbered from 1 in order of arrival.
#[derive(Debug, Default)]
pub struct HitList {
    query: Query,
    hits: Vec<Hit>,
    by_key: HashMap<Key, usize>,
    places: HashSet<(PeerId, String)>,
    want: Option<usize>,
    is_truncated: bool,
    folded: String,
}

impl HitList {
    /// To that query. Enough at `want` hits; `None` or 0: no limit below [`MAX_HITS`].
    pub fn new(query: Query, want: Option<u32>) -> Self {
        let want = want.filter(|want| *want > 0).map(|want| usize::try_from(want).unwrap_or(usize::MAX));
        Self { query, want, ..Self::default() }
    }

    /// Takes one file in as `holder` has it; `holder.path` is set from the file. `have` tells whether this peer has the
    /// content itself. Gives the hit to show: a new one, or one told before with one holder more. `None` when the place
    /// was told before, or when a bound leaves it out, which [`HitList::is_truncated`] tells from then on.
    pub fn add(&mut self, file: FileInfo, holder: Holder, have: bool) -> Option<Hit> {
        let holder = Holder { path: file.path.clone(), ..holder };
        let place = (holder.peer_id, file.path.clone());
        if self.places.contains(&place) {
            return None;
        }
        let key = match file.hash {
            Some(hash) => Key::Content(hash),
            None => Key::Place(holder.peer_id, file.path.clone()),
        };
        let known = self.by_key.get(&key).copied();
        let has_room = self.places.len() < MAX_PLACES
            && match known {
                Some(at) => self.hits[at].holders.len() < MAX_HOLDERS,
                None => self.hits.len() < MAX_HITS && !self.is_enough(),
            };
        if !has_room {
            self.is_truncated = true;
            return None;
        }
        self.places.insert(place);
        fold_into(&file.path, &mut self.folded);
        let fit = Fitting::of(&self.query).fit(&self.folded);
        let at = if let Some(at) = known {
            self.hits[at].holders.push(holder);
            at
        } else {
            let at = self.hits.len();
            self.by_key.insert(key, at);
            let number = u32::try_from(at + 1).expect("MAX_HITS fits");
            self.hits.push(Hit { number, file, fit, have, holders: vec![holder] });
            at
        };
        let hit = &mut self.hits[at];
        hit.have |= have;
        // One who calls it by a better name says what it is.
        hit.fit = hit.fit.min(fit);
        Some(hit.clone())
    }

    /// As many hits as wanted are there. More holders of these are still taken in.
    pub fn is_enough(&self) -> bool {
        self.want.is_some_and(|want| self.hits.len() >= want)
    }

    /// Something was left out.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// In order of their numbers.
    pub fn hits(&self) -> &[Hit] {
        &self.hits
    }

    /// The hit of that number, from 1.
    pub fn get(&self, number: u32) -> Option<&Hit> {
        self.hits.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }
}

/// To show all at once, best first: by how well the name answers, then by how many peers have it, since more of them are
/// faster and surer, then those that a peer would give the soonest, then the nearest, then by name.
pub fn in_order<'a>(hits: impl IntoIterator<Item = &'a Hit>) -> Vec<&'a Hit> {
    let mut hits: Vec<&Hit> = hits.into_iter().collect();
    hits.sort_by_cached_key(|hit| {
        let peers: HashSet<PeerId> = hit.holders.iter().map(|holder| holder.peer_id).collect();
        let soonest = hit.holders.iter().map(|holder| (holder.queue_place, holder.hops)).min();
        (hit.fit, Reverse(peers.len()), soonest, hit.file.name().to_lowercase(), hit.number)
    });
    hits
}

#[cfg(test)]
mod tests;
