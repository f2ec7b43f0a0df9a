//! Queries against the table: lists of words give candidates, the reference semantics decide, and the best come first.
//!
//! Invariant: the table is never held for longer than candidates take, or [`HELD`] of looking at them. What was looked at may
//! change meanwhile, so that what is told is looked at once more.

mod candidates;

use std::ops::Deref;

use self::candidates::candidates;
use super::{
    files::{Entry, Files},
    tokens::FileId,
};
use crate::protocol::{
    action::FileInfo,
    query::{Fit, Fitting, Query},
    text::{fold_into, words},
};

/// Matches that are ranked; a query that matches more gets the best of the first so many.
const RANKED_MAX: usize = 10_000;
/// What may be spent before the table is let go of for a moment: 1 to 2 ms.
const HELD: usize = 65_536;
/// What a file costs whose path is looked at, where one that falls to its size costs 1.
const PATH_COST: usize = 32;

/// The files that answer, best first: exact name, beginning of the name, words in one segment; then the shorter path. `files`
/// takes hold of the table, several times where many files have to be looked at. None when they are not wanted any more before
/// all are found.
pub(super) fn search<G: Deref<Target = Files>>(
    files: impl Fn() -> G,
    query: &Query,
    limit: usize,
    is_wanted: impl Fn() -> bool,
) -> Vec<FileInfo> {
    if limit == 0 {
        return Vec::new();
    }
    let mut looker = Looker { query, fitting: Fitting::of(query), folded: String::new(), spent: 0 };
    let mut best: Vec<(Fit, usize, FileId)> = Vec::new();
    let mut held = files();
    let some = candidates(&held, query);
    // Slots that come while this goes on are those of files that came after the query.
    let slots = FileId::try_from(held.entries.len()).unwrap_or(FileId::MAX);
    let count = some.as_ref().map_or(slots as usize, Vec::len);
    for place in 0..count {
        if !is_wanted() {
            return Vec::new();
        }
        let id =
            some.as_ref().map_or_else(|| FileId::try_from(place).unwrap_or(FileId::MAX), |ids| ids[place]);
        if let Some((fit, length)) = held.entry(id).and_then(|entry| looker.look_at(entry)) {
            best.push((fit, length, id));
            if best.len() >= RANKED_MAX.max(limit) {
                break;
            }
        }
        if looker.spent >= HELD {
            looker.spent = 0;
            drop(held);
            held = files();
        }
    }
    let order = |left: &(Fit, usize, FileId), right: &(Fit, usize, FileId)| {
        let key = |id| held.entry(id).map(Entry::key);
        (left.0, left.1).cmp(&(right.0, right.1)).then_with(|| key(left.2).cmp(&key(right.2)))
    };
    if best.len() > limit {
        best.select_nth_unstable_by(limit - 1, order);
        best.truncate(limit);
    }
    best.sort_unstable_by(order);
    let told = best.iter().filter_map(|(_, _, id)| held.entry(*id));
    told.filter(|entry| looker.look_at(entry).is_some()).map(Entry::info).collect()
}

/// Looks at one file after the other.
struct Looker<'a> {
    query: &'a Query,
    fitting: Fitting<'a>,
    /// The path that is looked at.
    folded: String,
    spent: usize,
}

impl Looker<'_> {
    /// How well a file answers, and the length of its path; `None` when it does not.
    fn look_at(&mut self, entry: &Entry) -> Option<(Fit, usize)> {
        let query = self.query;
        self.spent += 1;
        if query.hash().is_some() && query.hash() != entry.hash
            || !query.allows_size(entry.stamp.size_bytes)
            || !query.allows_time(entry.stamp.modified())
        {
            return None;
        }
        self.spent += PATH_COST;
        let path = entry.path();
        fold_into(&path, &mut self.folded);
        let path_words: Vec<&str> = words(&self.folded).collect();
        query.allows_path(&self.folded, &path_words).then(|| (self.fitting.fit(&self.folded), path.len()))
    }
}
