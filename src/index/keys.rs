//! The keys of all paths, for the summary of this peer.
//!
//! Invariant: the table is never held for more than [`CHUNK`] slots at a time. Whatever comes meanwhile may be missing, which
//! the number of paths that came then tells.

use std::sync::Arc;

use super::Inner;
use crate::protocol::{
    summary::{KeysOf, OwnKeys},
    text::{fold_into, words},
};

/// Slots that are copied at once: 100 us, at a guess.
const CHUNK: usize = 10_000;

/// All keys, and how many paths had come when the first was looked at.
pub(super) fn keys(inner: &Inner) -> (u64, Option<OwnKeys>) {
    gathered(inner, || ())
}

/// Calls `between` when the table has been let go of.
fn gathered(inner: &Inner, mut between: impl FnMut()) -> (u64, Option<OwnKeys>) {
    let came = inner.files().came();
    let mut keys = KeysOf::default();
    let mut folded = String::new();
    let mut from = 0;
    loop {
        let chunk: Vec<Arc<str>> = {
            let files = inner.files();
            let Some(slots) = files.entries.get(from..).filter(|slots| !slots.is_empty()) else { break };
            slots.iter().take(CHUNK).flatten().map(super::files::Entry::shared_key).collect()
        };
        between();
        from += CHUNK;
        for key in chunk {
            fold_into(&key, &mut folded);
            keys.add(words(&folded));
        }
    }
    (came, keys.finish())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        index::{Index, IndexSettings, Stamp, files::Found},
        protocol::{
            query::Query,
            summary::{Probe, Summary},
        },
        shutdown::Shutdown,
    };

    #[test]
    fn keys_are_of_all_paths_and_changes_go_on_while_they_are_made() {
        let (index, _dir) = still();
        for number in 0..25_000 {
            put(&index, &format!("s\0n{number:05}x\0Old {}.txt", number % 7));
        }
        let (came, keys) = index.keys();
        assert_eq!((came, index.paths_came()), (25_000, 25_000));
        let summary = Summary::of(&keys.expect("few"));
        for query in ["n00000x", "n24999x", "24999", "old n10000x", "ext:txt n19999x"] {
            let probe = Probe::of(&Query::parse(query).expect("made"));
            assert_eq!(summary.may_answer(&probe), query != "24999", "{query}");
        }

        // One that comes into a slot that was passed is missing, and it shows.
        let mut rounds = 0;
        let (came, keys) = gathered(&index.inner, || {
            rounds += 1;
            assert!(index.inner.files.try_write().is_ok(), "the table is held");
            if rounds == 2 {
                put(&index, "s\0zebra.txt");
            }
        });
        assert_eq!((rounds, came, index.paths_came()), (3, 25_000, 25_001));
        assert!(keys.is_some());
    }

    #[test]
    fn every_path_that_is_new_counts_and_no_other_change() {
        let (index, _dir) = still();
        put(&index, "s\0annual report.txt");
        put(&index, "s\0budget.txt");
        assert_eq!(index.paths_came(), 2);
        put(&index, "s\0annual budget.txt");
        assert_eq!(index.paths_came(), 3, "of known words, but a pair that is new");
        put(&index, "s\0annual budget.txt");
        assert!(index.inner.files_mut().remove("s\0budget.txt"));
        assert_eq!(index.paths_came(), 3);
        put(&index, "s\0budget.txt");
        assert_eq!(index.paths_came(), 4);
        let (_, keys) = index.keys();
        assert!(keys.is_some_and(|keys| keys.summary.has_pairs() && !keys.summary.as_slice().is_empty()));
    }

    fn put(index: &Index, key: &str) {
        let stamp = Stamp { size_bytes: 1, ..Stamp::default() };
        let found = Found { key: key.into(), on_disk: None, stamp };
        assert!(index.inner.files_mut().put(found, None, 0));
    }

    /// An index over names alone, which follows no folder.
    fn still() -> (Index, TempDir) {
        let dir = tempfile::tempdir().expect("made");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("made");
        let index = runtime.block_on(async {
            let shutdown = Shutdown::new();
            let settings = IndexSettings { shares: vec![], data: dir.path().join("data") };
            let index = Index::open(settings, &shutdown).expect("made");
            assert!(shutdown.drain(Duration::from_secs(20)).await);
            index
        });
        (index, dir)
    }
}
