//! The inverted lists: from a word to the files whose path holds it. Lists may name files that are gone; whoever reads them
//! checks.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

/// A file's slot in the table of files.
pub(super) type FileId = u32;

/// Most words belong to one file only, and need no allocation of their own.
#[derive(Debug)]
enum List {
    One(FileId),
    Many(Vec<FileId>),
}

impl List {
    fn as_slice(&self) -> &[FileId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// From so many files on, one that belongs between the others waits for the rest of its batch: each would move half of the list.
const LONG: usize = 4096;

/// Words in order, so that those with a common beginning lie together.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    lists: BTreeMap<Box<str>, List>,
    /// What belongs between the others of long lists, until [`Tokens::settle`].
    late: HashMap<Box<str>, Vec<FileId>>,
}

impl Tokens {
    /// Adds a file to a word's list; lists are sorted and without doubles once [`Self::settle`] was called.
    pub(super) fn add(&mut self, word: &str, id: FileId) {
        let Some(list) = self.lists.get_mut(word) else {
            self.lists.insert(word.into(), List::One(id));
            return;
        };
        match list {
            List::One(one) if *one == id => {}
            List::One(one) => *list = List::Many(vec![id.min(*one), id.max(*one)]),
            List::Many(ids) if ids.last().is_some_and(|last| *last < id) => ids.push(id),
            List::Many(ids) if ids.len() < LONG => {
                if let Err(place) = ids.binary_search(&id) {
                    ids.insert(place, id);
                }
            }
            List::Many(_) => match self.late.get_mut(word) {
                Some(late) => late.push(id),
                None => _ = self.late.insert(word.into(), vec![id]),
            },
        }
    }

    /// Puts what was added in its place. To be called before anybody looks.
    pub(super) fn settle(&mut self) {
        for (word, mut late) in self.late.drain() {
            if let Some(List::Many(ids)) = self.lists.get_mut(&word) {
                late.sort_unstable();
                ids.append(&mut late);
                #[expect(clippy::stable_sort_primitive, reason = "it merges two sorted parts in one pass")]
                ids.sort();
                ids.dedup();
            }
        }
    }

    /// The files with exactly this word, in order of their slots.
    pub(super) fn list(&self, word: &str) -> &[FileId] {
        self.lists.get(word).map_or(&[], List::as_slice)
    }

    /// The lists of all words that begin so.
    pub(super) fn lists_of_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a [FileId]> {
        self.lists
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(word, _)| word.starts_with(prefix))
            .map(|(_, list)| list.as_slice())
    }

    /// The words that come behind this one, each with its list; all of them behind none.
    pub(super) fn behind<'a>(
        &'a self,
        word: Option<&str>,
    ) -> impl Iterator<Item = (&'a str, &'a [FileId])> + use<'a> {
        let from = word.map_or(Bound::Unbounded, Bound::Excluded);
        self.lists.range::<str, _>((from, Bound::Unbounded)).map(|(word, list)| (&**word, list.as_slice()))
    }

    /// Forgets files everywhere, so that their slots can be used again.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(FileId) -> bool) {
        self.lists.retain(|_, list| match list {
            List::One(id) => is_kept(*id),
            List::Many(ids) => {
                ids.retain(|id| is_kept(*id));
                if let [one] = ids[..] {
                    *list = List::One(one);
                    return true;
                }
                !ids.is_empty()
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_in_order_and_without_doubles_once_it_is_settled() {
        let mut tokens = Tokens::default();
        let long = FileId::try_from(LONG).unwrap();
        for id in (0..2 * long).filter(|id| id % 2 == 0) {
            tokens.add("jpg", id);
        }
        for id in (0..2 * long).rev().chain([3, 5, 2 * long]) {
            tokens.add("jpg", id);
        }
        tokens.settle();
        assert!(tokens.list("jpg").iter().copied().eq(0..=2 * long));
    }
}
