//! What the keeper, the hashers and the searches of one index share, and the order in which its locks are taken.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch as channel};

use super::{
    files::Files,
    hash,
    known::Known,
    path,
    shares::{Share, Shares},
    tree,
    watch::Wishes,
};
use crate::protocol::action::{ShareInfo, ShareKind};

/// Locks are held for microseconds to a few milliseconds, never across an await; whoever holds `files` may take `shares`,
/// never the reverse.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) files: RwLock<Files>,
    pub(super) shares: RwLock<Shares>,
    pub(super) known: Known,
    pub(super) wanted_trees: tree::Wanted,
    pub(super) data: PathBuf,
    pub(super) wishes: Arc<Wishes>,
    pub(super) hash_wanted: [Notify; hash::READERS],
    /// Rises with every change.
    pub(super) generation: channel::Sender<u64>,
    /// Number of the last complete full walk.
    pub(super) walked: AtomicU64,
    pub(super) walks: AtomicU32,
    pub(super) is_scanning: AtomicBool,
    /// The keeper has taken a wish that it has not fulfilled.
    pub(super) is_busy: AtomicBool,
    pub(super) is_stopped: AtomicBool,
    pub(super) files_read: AtomicU64,
}

impl Inner {
    // Poisoned locks are taken: every change of the table leaves it whole, whatever happens after it.
    pub(super) fn files(&self) -> RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn files_mut(&self) -> RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shares_mut(&self) -> RwLockWriteGuard<'_, Shares> {
        self.shares.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn share_list(&self) -> Vec<Share> {
        self.shares.read().unwrap_or_else(PoisonError::into_inner).list.clone()
    }

    pub(super) fn with_share<T>(&self, name: &str, then: impl FnOnce(&Share) -> T) -> Option<T> {
        let shares = self.shares.read().unwrap_or_else(PoisonError::into_inner);
        shares.list.iter().find(|share| share.name == name).map(then)
    }

    pub(super) fn folder_of(&self, share: &str) -> Option<PathBuf> {
        self.with_share(share, |share| share.folder.clone())
    }

    /// This very share is still offered.
    pub(super) fn has_share(&self, share: &Share) -> bool {
        self.with_share(&share.name, |current| current.folder == share.folder).unwrap_or(false)
    }

    pub(super) fn share_info(&self, share: Share) -> ShareInfo {
        let totals = self.files().share(&share.name);
        let Share { name, folder, problem } = share;
        // An index knows folders; what one is for, who opened it knows.
        let kind = ShareKind::Folder;
        ShareInfo { name, kind, folder, files: totals.files, bytes: totals.bytes, problem }
    }

    pub(super) fn set_problem(&self, share: &Share, problem: Option<String>) {
        let mut shares = self.shares_mut();
        let current = shares.list.iter_mut().find(|current| current.name == share.name);
        if let Some(current) = current.filter(|current| current.problem != problem) {
            if let Some(problem) = &problem {
                tracing::warn!(share = share.name, folder = %share.folder.display(), problem, "share in trouble");
            }
            current.problem = problem;
        }
    }

    /// A path on disk belongs to a file of the table.
    pub(super) fn is_on_disk_path_indexed(&self, shares: &[Share], on_disk: &str) -> bool {
        let on_disk = Path::new(on_disk);
        shares.iter().find(|share| on_disk.starts_with(&share.folder)).is_some_and(|share| {
            let inside = on_disk.strip_prefix(&share.folder).ok().and_then(Path::to_str).unwrap_or_default();
            self.files().by_path(&format!("{}/{}", share.name, path::to_network(inside).0)).is_some()
        })
    }

    pub(super) fn set_scanning(&self, is_scanning: bool) {
        self.is_scanning.store(is_scanning, Ordering::Release);
        self.has_changed();
    }

    pub(super) fn has_changed(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    pub(super) fn want_hashes(&self) {
        self.hash_wanted.iter().for_each(Notify::notify_one);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
