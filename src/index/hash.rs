//! Reading files in the background to learn their hashes and trees: smallest first, on few threads, and given up where a
//! file changes meanwhile. A thread exists only while there is something to read.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::debug;

use super::{Inner, content::read_one, files::Next, tree};
use crate::shutdown::Shutdown;

/// Files read at once: a large one does not keep the small ones waiting, and the disk and the other core stay free.
pub(super) const READERS: usize = 2;

/// One of the readers. Ends when the stop is told.
pub(super) async fn run(inner: Arc<Inner>, reader: usize, shutdown: Shutdown) {
    loop {
        let work = {
            let (inner, shutdown) = (Arc::clone(&inner), shutdown.clone());
            shutdown.clone().spawn_blocking(move || read_all(&inner, &shutdown))
        };
        let rest = work.await.unwrap_or_default();
        tokio::select! {
            () = shutdown.stopping() => break,
            () = inner.hash_wanted[reader].notified() => {}
            () = async { tokio::time::sleep(rest.unwrap_or_default()).await }, if rest.is_some() => {}
        }
    }
}

/// Reads until nothing is left, and says how long the rest wants to be left alone.
fn read_all(inner: &Inner, shutdown: &Shutdown) -> Option<Duration> {
    let mut buffer = Vec::new();
    loop {
        if shutdown.is_stopping() {
            return None;
        }
        let next = inner.files_mut().next_to_hash(SystemTime::now());
        if !matches!(next, Next::File { .. }) && tree::make_one(inner, &mut buffer, shutdown) {
            continue;
        }
        let (id, path, share, inside, stamp) = match next {
            Next::File { id, path, share, inside, stamp } => (id, path, share, inside, stamp),
            Next::Rest(rest) => {
                inner.known.write();
                return Some(rest);
            }
            Next::Nothing => {
                inner.known.write();
                return None;
            }
        };
        let Some(folder) = inner.folder_of(&share) else {
            inner.files_mut().give_up(id, stamp);
            continue;
        };
        match read_one(inner, &folder, &inside, stamp, &mut buffer, shutdown) {
            Ok(tree) => {
                // Kept before the hash is told: whoever learns of it may ask for the tree at once.
                let is_much = inner.known.note_tree(&tree);
                let is_current = inner.files_mut().set_hash(id, &path, stamp, tree.root());
                if is_current && inner.known.note(&folder.join(&inside), stamp, tree.root()) || is_much {
                    inner.known.write();
                }
            }
            Err(error) => {
                debug!(path, %error, "not hashed now");
                inner.files_mut().give_up(id, stamp);
            }
        }
        inner.has_changed();
    }
}
