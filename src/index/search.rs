//! Queries against the table: lists of words give candidates, the reference semantics decide, and the best come first.

use std::cmp::Reverse;

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

/// The files that answer, best first: exact name, beginning of the name, words in one segment; then the shorter path.
/// None when they are not wanted any more before all are found.
pub(super) fn search(
    files: &Files,
    query: &Query,
    limit: usize,
    is_wanted: &dyn Fn() -> bool,
) -> Vec<FileInfo> {
    let mut best: Vec<(Fit, usize, FileId)> = Vec::new();
    let mut folded = String::new();
    let fitting = Fitting::of(query);
    let mut consider = |id: FileId| {
        if !is_wanted() {
            return false;
        }
        let Some(entry) = files.entry(id) else { return true };
        if query.hash().is_some() && query.hash() != entry.hash
            || !query.allows_size(entry.stamp.size_bytes)
            || !query.allows_time(entry.stamp.modified())
        {
            return true;
        }
        let path = entry.path();
        fold_into(&path, &mut folded);
        let path_words: Vec<&str> = words(&folded).collect();
        if query.allows_path(&folded, &path_words) {
            best.push((fitting.fit(&folded), path.len(), id));
        }
        best.len() < RANKED_MAX.max(limit)
    };
    match candidates(files, query) {
        Some(ids) => {
            ids.iter().all(|id| consider(*id));
        }
        None => {
            (0..).take(files.entries.len()).all(&mut consider);
        }
    }
    if !is_wanted() {
        return Vec::new();
    }
    let order = |left: &(Fit, usize, FileId), right: &(Fit, usize, FileId)| {
        let key = |id| files.entry(id).map(Entry::key);
        (left.0, left.1).cmp(&(right.0, right.1)).then_with(|| key(left.2).cmp(&key(right.2)))
    };
    if limit == 0 {
        return Vec::new();
    }
    if best.len() > limit {
        best.select_nth_unstable_by(limit - 1, order);
        best.truncate(limit);
    }
    best.sort_unstable_by(order);
    best.iter().filter_map(|(_, _, id)| files.entry(*id)).map(Entry::info).collect()
}

/// A set of files that holds every answer, in order of their slots; `None` means all.
fn candidates(files: &Files, query: &Query) -> Option<Vec<FileId>> {
    if let Some(hash) = query.hash() {
        return Some(files.by_hash(&hash).collect());
    }
    let (mut exact, mut prefix) = (Vec::new(), None);
    for phrase in query.phrases() {
        let (last, head) = phrase.words().split_last().expect("a phrase has a word");
        exact.extend(head.iter().map(|word| files.tokens.list(word)));
        if phrase.is_prefix() {
            prefix = Some(last);
        } else {
            exact.push(files.tokens.list(last));
        }
    }
    exact.sort_unstable_by_key(|list| Reverse(list.len()));
    if let Some(smallest) = exact.pop() {
        // Whatever is in the shortest list and in all others; what is left is checked by text.
        let in_all = |id: &&FileId| exact.iter().all(|list| list.binary_search(id).is_ok());
        return Some(smallest.iter().filter(in_all).copied().collect());
    }
    if let Some(prefix) = prefix {
        return Some(union(files.tokens.lists_of_prefix(prefix)));
    }
    if query.extensions().is_empty() {
        return None;
    }
    // An extension stands behind a dot, so that its words are whole words of the path.
    Some(union(
        query
            .extensions()
            .iter()
            .filter_map(|extension| words(extension).last())
            .map(|word| files.tokens.list(word)),
    ))
}

fn union<'a>(lists: impl Iterator<Item = &'a [FileId]>) -> Vec<FileId> {
    let mut lists = lists.peekable();
    let mut ids = lists.next().map(<[FileId]>::to_vec).unwrap_or_default();
    if lists.peek().is_some() {
        lists.for_each(|list| ids.extend_from_slice(list));
        ids.sort_unstable();
        ids.dedup();
    }
    ids
}
