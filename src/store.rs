//! Files on this machine as transfers see them: what is read out, what is being written, what others pushed here.
//!
//! Architecture invariant: a file under its final name is whole, verified and on disk, and never took the place of
//! another; everything else bears the name of a part file and is removed when its transfer ends, or at the next start.

pub mod inbox;
pub mod part;
pub mod pool;
pub mod puts;
pub mod read;
pub mod replica;
pub mod sweep;
pub mod verify;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::protocol::id::ContentHash;

/// Ends the name of every part file; the index passes over such names.
pub const PART_SUFFIX: &str = ".fp-part";

/// Space that is never filled up, so that a transfer does not stop everything else on the machine.
pub const MIN_FREE_BYTES: u64 = 64 << 20;

/// Why a file could not be stored. Nothing of it was left behind.
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
    /// The daemon is stopping.
    #[error("the transfer was stopped")]
    Stopped,
}

impl StoreError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            if source.kind() == io::ErrorKind::StorageFull || source.kind() == io::ErrorKind::QuotaExceeded {
                let folder = path.parent().unwrap_or(path).to_path_buf();
                let free_bytes = free_bytes(&folder).unwrap_or(0);
                return Self::NoSpace { folder, needed_bytes: MIN_FREE_BYTES, free_bytes };
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
