//! Files that are offered by their hash alone while they are put, so that keepers can pull what is in no share.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::{
    protocol::{action::FileInfo, id::ContentHash},
    store::read::{SourceError, SourceFile},
};

/// Cheap to clone. Bounded by the transfers that run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Staged {
    // A std lock: held for a look-up.
    files: Arc<Mutex<HashMap<ContentHash, (u64, PathBuf)>>>,
}

/// Offers its file until it is dropped.
#[derive(Debug)]
pub(super) struct Offered {
    staged: Staged,
    hash: ContentHash,
}

impl Staged {
    /// Offers a file of that content. Two puts of one content share the later one's file.
    pub(super) fn offer(&self, hash: ContentHash, path: PathBuf) -> Offered {
        let mut files = self.lock();
        let count = files.get(&hash).map_or(0, |(count, _)| *count) + 1;
        files.insert(hash, (count, path));
        drop(files);
        Offered { staged: self.clone(), hash }
    }

    /// The staged file of that content. Whoever pulls it checks its bytes. Blocks on the disk.
    pub(crate) fn open(&self, hash: &ContentHash) -> Result<SourceFile, SourceError> {
        let path = self.lock().get(hash).map(|(_, path)| path.clone()).ok_or(SourceError::NotFound)?;
        // Without NONBLOCK opening a FIFO would wait for its writer.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(&path)?;
        let metadata = file.metadata()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let info = FileInfo {
            hash: Some(*hash),
            path: format!("put/{name}"),
            size_bytes: metadata.len(),
            modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        };
        SourceFile::new(file, info)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContentHash, (u64, PathBuf)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let mut files = self.staged.lock();
        if let Some((count, _)) = files.get_mut(&self.hash) {
            *count -= 1;
            if *count == 0 {
                files.remove(&self.hash);
            }
        }
    }
}
