//! Known words near to those of a query that no file here has: what a search that found nothing may have meant.
//!
//! Invariant: the table is never held for more than [`CHUNK`] words at a time, so that changes of the folders go on.

use std::collections::BTreeMap;

use super::{Inner, files::Files, tokens::FileId};
use crate::protocol::query::{Nearest, Query};

/// Words looked at before the table is let go of for a moment: 4 ms, at 180 ns a word.
const CHUNK: usize = 20_000;
/// Words looked at in all, in order: what comes behind them is not suggested. 180 ms.
const MAX_WORDS: usize = 1_000_000;
/// Files with a word that are counted.
const MAX_COUNTED: usize = 1_000;

/// The query's words that no file has, each with its nearest; none for words that are near to nothing.
pub(super) fn near(inner: &Inner, query: &Query) -> BTreeMap<String, Vec<String>> {
    let mut unknown = unknown_words(&inner.files(), query);
    let mut behind: Option<String> = None;
    for _ in 0..MAX_WORDS / CHUNK {
        if unknown.is_empty() {
            break;
        }
        let files = inner.files();
        let mut looked_at = 0;
        let mut last = None;
        for (word, ids) in files.tokens.behind(behind.as_deref()).take(CHUNK) {
            for nearest in unknown.values_mut() {
                nearest.consider(word, || live(&files, ids));
            }
            looked_at += 1;
            last = Some(word);
        }
        if looked_at < CHUNK {
            break;
        }
        behind = last.map(str::to_owned);
    }
    let found = unknown.into_iter().map(|(word, nearest)| (word, nearest.words()));
    found.filter(|(_, words)| !words.is_empty()).collect()
}

fn unknown_words(files: &Files, query: &Query) -> BTreeMap<String, Nearest> {
    let mut unknown = BTreeMap::new();
    for phrase in query.phrases() {
        for (place, word) in phrase.words().iter().enumerate() {
            let is_beginning = phrase.is_prefix() && place + 1 == phrase.words().len();
            let is_known = live(files, files.tokens.list(word)) > 0
                || is_beginning && files.tokens.lists_of_prefix(word).any(|ids| live(files, ids) > 0);
            if !is_known && let Some(nearest) = Nearest::to(word) {
                unknown.insert(word.clone(), nearest);
            }
        }
    }
    unknown
}

/// How many of these files are still there.
fn live(files: &Files, ids: &[FileId]) -> usize {
    ids.iter().take(MAX_COUNTED).filter(|id| files.entry(**id).is_some()).count()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::{
        index::{Index, IndexSettings, Stamp, files::Found},
        shutdown::Shutdown,
    };

    #[test]
    fn words_near_to_unknown_ones_are_told_unless_their_files_are_gone() {
        let (index, _) = still(&["s/budget 2024.pdf", "s/budget.xlsx", "s/gadget.txt", "s/report.txt"]);
        let near = |query: &str| {
            let near = index.near_words(&Query::parse(query).expect("made"));
            near.into_iter().map(|(word, near)| format!("{word}: {}", near.join(" "))).collect::<Vec<_>>()
        };
        assert_eq!(near("bugdet -reprot"), ["bugdet: budget"]);
        assert_eq!(near("\"reprot gadgets\" ext:pfd"), ["gadgets: gadget", "reprot: report"]);
        // The last word may be a beginning, and what is known needs no other.
        assert!(near("budget bud").is_empty() && near("ext:pdf").is_empty() && near("zebra").is_empty());
        assert!(index.inner.files_mut().remove("s\0report.txt"));
        assert!(near("reprot x").is_empty());
    }

    #[test]
    fn near_words_are_looked_for_in_all_of_a_large_index() {
        let paths: Vec<String> = (0..25_000).map(|number| format!("s/n{number:05}x")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(["s/zebra.txt"]).collect();
        let (index, _) = still(&paths);
        let near = index.near_words(&Query::parse("zebar").expect("made"));
        assert_eq!(near["zebar"], ["zebra"]);
    }

    /// An index over names alone, which follows no folder.
    fn still(paths: &[&str]) -> (Index, TempDir) {
        let dir = tempfile::tempdir().expect("made");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("made");
        let index = runtime.block_on(async {
            let shutdown = Shutdown::new();
            let settings = IndexSettings { shares: vec![], data: dir.path().join("data") };
            let index = Index::open(settings, &shutdown).expect("made");
            assert!(shutdown.drain(Duration::from_secs(20)).await);
            index
        });
        let mut files = index.inner.files_mut();
        for path in paths {
            let stamp = Stamp { size_bytes: 1, ..Stamp::default() };
            let found = Found { key: path.replace('/', "\0"), on_disk: None, stamp };
            assert!(files.put(found, None, 0));
        }
        drop(files);
        (index, dir)
    }
}
