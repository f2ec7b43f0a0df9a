//! The piece trees of shared files: kept on disk beside the hashes, made with them in one reading.
//!
//! Invariant: a tree is told only after its values were merged to the hash it is told for. One that is not kept, for it
//! was lost or an older version knew the hash alone, is made in the background once it was asked for.

use std::{collections::BTreeMap, sync::Mutex};

use super::{Index, Inner, content::read_one, lock, path::Stamp};
use crate::{
    protocol::{
        id::ContentHash,
        piece::{Layout, Tree},
    },
    shutdown::Shutdown,
};

/// Trees that wait to be made; with more, those asked for later are left to be asked for again.
const MAX_WANTED: usize = 256;
/// Copies of a content that are tried.
const MAX_COPIES: usize = 4;

/// Contents whose trees are to be made, and whether a reader is at it.
pub(super) type Wanted = Mutex<BTreeMap<ContentHash, bool>>;

impl Index {
    /// The tree of a shared content; `None` when there is no such file, or its tree is not known: then it is made in the
    /// background, for the next who asks. Blocks on the disk.
    pub fn tree(&self, hash: &ContentHash) -> Option<Tree> {
        let size_bytes = self.find_hash(hash)?.size_bytes;
        if !Layout::of(size_bytes).has_values() {
            return Tree::from_values(*hash, size_bytes, &[]).ok();
        }
        let values = self.inner.known.tree(hash).unwrap_or_default();
        match Tree::from_values(*hash, size_bytes, &values) {
            Ok(tree) => Some(tree),
            Err(wrong) => {
                tracing::debug!(%hash, %wrong, "no tree is kept; making it");
                let mut wanted = lock(&self.inner.wanted_trees);
                if wanted.len() < MAX_WANTED && !wanted.contains_key(hash) {
                    wanted.insert(*hash, false);
                    drop(wanted);
                    self.inner.want_hashes();
                }
                None
            }
        }
    }

    /// Keeps the tree of a file that is shared now or in a moment, so that it is not read for it. Blocks on the disk.
    pub fn note_tree(&self, tree: &Tree) {
        if self.inner.known.note_tree(tree) {
            self.inner.known.write();
        }
    }
}

/// Makes the next tree that is wanted. False when none is.
pub(super) fn make_one(inner: &Inner, buffer: &mut Vec<u8>, shutdown: &Shutdown) -> bool {
    let Some(hash) = next_wanted(inner) else { return false };
    let copies: Vec<(String, String, Stamp)> = {
        let files = inner.files();
        let copies = files.by_hash(&hash).take(MAX_COPIES).filter_map(|id| files.entry(id)).map(|entry| {
            let (share, inside) = entry.place();
            (share.to_owned(), inside, entry.stamp)
        });
        copies.collect()
    };
    for (share, inside, stamp) in copies {
        let Some(folder) = inner.folder_of(&share) else { continue };
        match read_one(inner, &folder, &inside, stamp, buffer, shutdown) {
            Ok(tree) if tree.root() == hash => {
                if inner.known.note_tree(&tree) {
                    inner.known.write();
                }
                break;
            }
            Ok(_) => tracing::debug!(share, inside, "its content is not what its stamp says"),
            Err(error) => tracing::debug!(share, inside, %error, "no tree was made of it"),
        }
    }
    lock(&inner.wanted_trees).remove(&hash);
    true
}

/// One that nobody makes yet, which stays on the list while it is made: it may be asked for meanwhile.
fn next_wanted(inner: &Inner) -> Option<ContentHash> {
    let mut wanted = lock(&inner.wanted_trees);
    let (hash, is_being_made) = wanted.iter_mut().find(|(_, is_being_made)| !**is_being_made)?;
    *is_being_made = true;
    Some(*hash)
}
