//! The keys of all paths, for the summary of this peer.
//!
//! Invariant: the table is never held for more than [`CHUNK`] slots at a time. Whatever comes meanwhile may be missing, which
//! the number of paths that came then tells.

use std::sync::Arc;

use super::Inner;
use crate::protocol::{
    summary::{Keys, KeysOf},
    text::{fold_into, words},
};

/// Slots that are copied at once: 100 us, at a guess.
const CHUNK: usize = 10_000;

/// All keys, and how many paths had come when the first was looked at.
pub(super) fn keys(inner: &Inner) -> (u64, Option<Keys>) {
    let came = inner.files().came();
    let mut keys = KeysOf::default();
    let mut folded = String::new();
    let mut from = 0;
    loop {
        let chunk: Vec<Arc<str>> = {
            let files = inner.files();
            let Some(slots) = files.entries.get(from..).filter(|slots| !slots.is_empty()) else { break };
            slots.iter().take(CHUNK).flatten().map(|entry| entry.shared_key()).collect()
        };
        from += CHUNK;
        for key in chunk {
            fold_into(&key, &mut folded);
            keys.add(words(&folded));
        }
    }
    (came, keys.finish())
}
