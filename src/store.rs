//! Files on this machine as transfers see them: what is read out, what is being written, what others pushed here.
//!
//! Architecture invariant: a file under its final name is whole, verified and on disk, and never took the place of
//! another; everything else bears the name of a part file, and is removed or gone on with by its transfer, or removed at
//! the next start.

pub mod adopt;
pub mod inbox;
mod inline;
pub mod jobs;
pub mod membership;
pub mod part;
pub mod pieces;
pub mod pool;
pub(crate) mod publish;
pub mod puts;
pub mod read;
pub mod replica;
pub mod searches;
pub mod stage;
pub mod sweep;
pub mod verify;
pub mod whole;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::protocol::id::ContentHash;

/// Ends the name of every part file; the index passes over such names.
pub const PART_SUFFIX: &str = crate::protocol::name::UNFINISHED_SUFFIX;

/// Space that is never filled up, so that a transfer does not stop everything else on the machine.
pub const MIN_FREE_BYTES: u64 = 64 << 20;

/// Why a file could not be stored. Of a [`part::PartFile`] nothing is left behind; a [`pieces::PieceFile`] leaves its
/// part for a resume, but for [`Self::NotOnDisk`].
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Found out before the first byte, or on the way.
    #[error("not enough space in {}: {needed_bytes} bytes are needed, {free_bytes} are free", .folder.display())]
    NoSpace {
        /// Where.
        folder: PathBuf,
        /// With what is always kept free.
        needed_bytes: u64,
        /// To this user.
        free_bytes: u64,
    },
    /// The bytes are not what was to come.
    #[error("the content of {name} is {found}, not {expected}")]
    Mismatch {
        /// File name.
        name: String,
        /// What was to come.
        expected: ContentHash,
        /// What came.
        found: ContentHash,
    },
    /// So many files of that name that no number was free.
    #[error("too many files are called like {}", .0.display())]
    NamesTaken(PathBuf),
    /// The system refused.
    #[error("could not {doing} {}", .path.display())]
    Io {
        /// As the middle of a sentence.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file system has no place for a file of that size.
    #[error("{} cannot grow to {size_bytes} bytes: the file system or a limit of this process forbids it", .path.display())]
    TooLarge {
        /// Of the part.
        path: PathBuf,
        /// Of the whole file.
        size_bytes: u64,
    },
    /// The system took the bytes but could not bring them to disk. They are gone from its cache or will be: the part was
    /// removed, and the file has to be fetched again.
    #[error("the disk lost what was written to {}, which was removed", .path.display())]
    NotOnDisk {
        /// Of the part.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process removed or replaced the part, or another transfer has it.
    #[error("{} was taken away while it was being written", .0.display())]
    Lost(PathBuf),
    /// Another process wrote to the part, or gave it another name, between the check of its pieces and its end.
    #[error("{} was changed by another program while it was being written", .0.display())]
    Changed(PathBuf),
    /// Published too early: so many pieces are not there.
    #[error("{missing} pieces of {} are missing", .path.display())]
    Incomplete {
        /// Of the part.
        path: PathBuf,
        /// Pieces.
        missing: u32,
    },
    /// The daemon is stopping.
    #[error("the transfer was stopped")]
    Stopped,
}

impl StoreError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
                let folder = path.parent().unwrap_or(path).to_path_buf();
                let free_bytes = free_bytes(&folder).unwrap_or(0);
                // Else it is a quota or the number of files that is used up: the system's own words say more.
                if free_bytes < MIN_FREE_BYTES {
                    return Self::NoSpace { folder, needed_bytes: MIN_FREE_BYTES, free_bytes };
                }
            }
            Self::Io { doing, path: path.to_path_buf(), source }
        }
    }
}

/// Bytes that this user may still write in the folder's file system.
///
/// # Errors
/// When the folder cannot be asked.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Looked at between so many bytes: the 64 pushes that may run at once can take [`MIN_FREE_BYTES`] before all are stopped.
const WATCHED_BYTES: usize = 1 << 20;

/// Stops whoever writes what others send before the last of the space is gone: pushes that run side by side were each
/// admitted to the same free space, and other programs write as well.
#[derive(Debug)]
pub struct SpaceWatch {
    folder: PathBuf,
    least_free_bytes: u64,
    unseen_bytes: usize,
}

impl SpaceWatch {
    /// Of the file system that a folder lies in.
    pub fn of(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), least_free_bytes: MIN_FREE_BYTES, unseen_bytes: 0 }
    }

    /// So many bytes were written.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] when less than [`MIN_FREE_BYTES`] is left.
    pub fn wrote(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.unseen_bytes = self.unseen_bytes.saturating_add(bytes);
        if self.unseen_bytes < WATCHED_BYTES {
            return Ok(());
        }
        self.unseen_bytes = 0;
        let (folder, needed_bytes) = (self.folder.clone(), self.least_free_bytes);
        let free_bytes = free_bytes(&folder).map_err(StoreError::io("ask for the free space of", &folder))?;
        if free_bytes < needed_bytes {
            return Err(StoreError::NoSpace { folder, needed_bytes, free_bytes });
        }
        Ok(())
    }
}

/// Refuses what would leave less than [`MIN_FREE_BYTES`].
///
/// # Errors
/// [`StoreError::NoSpace`], or the folder cannot be asked.
pub fn check_space(folder: &Path, size_bytes: u64) -> Result<(), StoreError> {
    let free_bytes = free_bytes(folder).map_err(StoreError::io("ask for the free space of", folder))?;
    let needed_bytes = size_bytes.saturating_add(MIN_FREE_BYTES);
    if size_bytes > 0 && needed_bytes > free_bytes {
        return Err(StoreError::NoSpace { folder: folder.to_path_buf(), needed_bytes, free_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fills_the_disk_is_stopped_on_the_way() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watch = SpaceWatch::of(folder.path());
        assert!(watch.wrote(10 * WATCHED_BYTES).is_ok());
        watch.least_free_bytes = u64::MAX;
        assert!(watch.wrote(WATCHED_BYTES - 1).is_ok(), "not asked for every few bytes");
        assert!(matches!(watch.wrote(1), Err(StoreError::NoSpace { .. })));
    }
}
