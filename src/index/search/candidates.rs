//! Which files may answer a query, by the lists of its words alone.
//!
//! Invariant: every file that answers is among the candidates; the rarest condition is the first, and none is worked out
//! that costs more than looking at the paths which are left.

use super::super::{
    files::Files,
    tokens::{FileId, Tokens},
};
use crate::protocol::{query::Query, text::words};

/// Places of a list that are passed in the time in which one path is looked at.
const PLACES: usize = 256;

/// Files of which a candidate must be one.
enum Condition<'a> {
    Word(&'a [FileId]),
    /// Any of several words.
    Any(Vec<&'a [FileId]>),
}

impl Condition<'_> {
    /// How many files it has, at most.
    fn len(&self) -> usize {
        match self {
            Self::Word(list) => list.len(),
            Self::Any(lists) => lists.iter().map(|list| list.len()).sum(),
        }
    }
}

/// A set of files that holds every answer, in order of their slots; `None` means all.
pub(super) fn candidates(files: &Files, query: &Query) -> Option<Vec<FileId>> {
    if let Some(hash) = query.hash() {
        return Some(files.by_hash(&hash).collect());
    }
    let (tokens, slots) = (&files.tokens, files.entries.len());
    let mut conditions = words_of(tokens, query);
    let fewest = conditions.iter().map(Condition::len).min();
    // A beginning that has more words than there are paths to look at is left to the paths.
    let most = fewest.map_or(usize::MAX, |fewest| fewest.saturating_mul(PLACES));
    conditions.extend(beginning_of(tokens, query, most));
    if conditions.is_empty() {
        return None;
    }
    conditions.sort_by_key(Condition::len);
    let mut conditions = conditions.into_iter();
    let mut ids = match conditions.next()? {
        Condition::Word(list) => list.to_vec(),
        Condition::Any(lists) => union(&lists, slots),
    };
    for condition in conditions {
        if condition.len() / PLACES > ids.len() {
            break;
        }
        match condition {
            Condition::Word(list) => keep_common(&mut ids, list, true),
            Condition::Any(lists) => {
                let set = Slots::of(&lists, slots);
                ids.retain(|id| set.has(*id));
            }
        }
    }
    for word in query.not_words() {
        let list = tokens.list(word);
        if list.len() / PLACES <= ids.len() {
            keep_common(&mut ids, list, false);
        }
    }
    Some(ids)
}

/// The words that must be there as they are, and the extensions.
fn words_of<'a>(tokens: &'a Tokens, query: &Query) -> Vec<Condition<'a>> {
    let mut conditions = Vec::new();
    for phrase in query.phrases() {
        let (last, head) = phrase.words().split_last().expect("a phrase has a word");
        let whole = head.iter().chain((!phrase.is_prefix()).then_some(last));
        conditions.extend(whole.map(|word| Condition::Word(tokens.list(word))));
    }
    if !query.extensions().is_empty() {
        // An extension stands behind a dot, so that its words are whole words of the path.
        let last_words = query.extensions().iter().filter_map(|extension| words(extension).last());
        conditions.push(Condition::Any(last_words.map(|word| tokens.list(word)).collect()));
    }
    conditions
}

/// The words with the beginning that is asked for, unless they have more than `most` files.
fn beginning_of<'a>(tokens: &'a Tokens, query: &'a Query, most: usize) -> Option<Condition<'a>> {
    let phrase = query.phrases().iter().find(|phrase| phrase.is_prefix())?;
    let (mut lists, mut count) = (Vec::new(), 0);
    for list in tokens.lists_of_prefix(phrase.words().last()?) {
        count += list.len();
        if count > most {
            return None;
        }
        lists.push(list);
    }
    Some(Condition::Any(lists))
}

/// One bit a slot.
struct Slots(Vec<u64>);

impl Slots {
    fn of(lists: &[&[FileId]], slots: usize) -> Self {
        let mut bits = vec![0; slots.div_ceil(64)];
        for id in lists.iter().copied().flatten() {
            bits[*id as usize / 64] |= 1 << (id % 64);
        }
        Self(bits)
    }

    fn has(&self, id: FileId) -> bool {
        self.0[id as usize / 64] >> (id % 64) & 1 == 1
    }

    fn into_ids(self) -> Vec<FileId> {
        let count: u32 = self.0.iter().map(|bits| bits.count_ones()).sum();
        let mut ids = Vec::with_capacity(count as usize);
        for (at, mut bits) in (0..).zip(self.0) {
            while bits != 0 {
                ids.push(64 * at + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        ids
    }
}

fn union(lists: &[&[FileId]], slots: usize) -> Vec<FileId> {
    match lists {
        [] => Vec::new(),
        [list] => list.to_vec(),
        // A few are sorted sooner than all bits are passed.
        _ if lists.iter().map(|list| list.len()).sum::<usize>() < slots / 256 => {
            let mut ids = lists.concat();
            ids.sort_unstable();
            ids.dedup();
            ids
        }
        _ => Slots::of(lists, slots).into_ids(),
    }
}

/// Keeps those that are in the list, or those that are not. Steps grow while nothing is met, so that a short list meets a
/// long one in little more than its own length.
fn keep_common(ids: &mut Vec<FileId>, mut list: &[FileId], is_common: bool) {
    ids.retain(|id| {
        let mut step = 1;
        while step < list.len() && list[step] < *id {
            step *= 2;
        }
        let from = step / 2;
        let until = list.len().min(step + 1);
        let place = from.min(until) + list[from.min(until)..until].partition_point(|there| there < id);
        list = &list[place..];
        (list.first() == Some(id)) == is_common
    });
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn lists_are_sets(
            left in btree_set(0_u32..900, 0..300),
            right in btree_set(0_u32..900, 0..300),
        ) {
            let (ids, list): (Vec<_>, Vec<_>) = (left.iter().copied().collect(), right.iter().copied().collect());
            let kept = |is_common| {
                let mut ids = ids.clone();
                keep_common(&mut ids, &list, is_common);
                ids
            };
            prop_assert_eq!(kept(true), left.intersection(&right).copied().collect::<Vec<_>>());
            prop_assert_eq!(kept(false), left.difference(&right).copied().collect::<Vec<_>>());
            let both: Vec<_> = left.union(&right).copied().collect();
            prop_assert_eq!(union(&[&ids, &list], 900), &both[..], "by bits");
            prop_assert_eq!(union(&[&ids, &list], 900 * 256), &both[..], "by sorting");
            let set = Slots::of(&[&list], 900);
            prop_assert!((0..900).all(|id| set.has(id) == right.contains(&id)));
        }
    }
}
