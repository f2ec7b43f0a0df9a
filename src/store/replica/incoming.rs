//! What is on its way to be kept. Invariant: nothing of a content stays here longer than its reservation, whichever way
//! its download ended.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{protocol::id::ContentHash, store::StoreError};

/// Folder in the share for what is on its way; hidden, so that the index passes over it.
const INCOMING: &str = ".incoming";

/// Where a content comes in.
pub(super) fn path(folder: &Path, hash: &ContentHash) -> PathBuf {
    folder.join(INCOMING).join(hash.to_string())
}

/// Removes what an earlier run left; makes the folder when something may come in.
pub(super) fn empty(folder: &Path, is_wanted: bool) -> Result<(), StoreError> {
    let incoming = folder.join(INCOMING);
    if let Err(error) = fs::remove_dir_all(&incoming)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(StoreError::io("empty", &incoming)(error));
    }
    if is_wanted {
        fs::create_dir_all(&incoming).map_err(StoreError::io("make", &incoming))?;
    }
    Ok(())
}

/// Removes the content and the parts that a download left beside it, whose names hold its hash. What cannot be removed goes
/// at the next start.
pub(super) fn remove(folder: &Path, hash: &ContentHash) {
    let Ok(entries) = fs::read_dir(folder.join(INCOMING)) else { return };
    let hash = hash.to_string();
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().contains(&hash) {
            // Gone already when it was published.
            let _ = fs::remove_file(entry.path());
        }
    }
}
