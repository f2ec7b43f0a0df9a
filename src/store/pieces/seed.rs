//! What a part begins with when this machine has something of the content already.
//!
//! Invariant: it saves fetching and proves nothing: what comes out of a seed is hashed like all else that lies in a part.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{fs::SeekFrom, io::Errno};

use super::hold::{is_at, is_plain, lock, look_at};
use crate::store::{
    StoreError, check_space,
    publish::{folder_of, rename_without_replacing},
};

/// Copied at a time; the stop is looked for in between.
const COPY_BYTES: u64 = 8 << 20;

/// Where something of a content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seed {
    /// A file that was just fetched. It is copied, without its bytes where the file system shares blocks.
    File(PathBuf),
    /// The part of a download that gave it up. It is moved.
    Part(PathBuf),
}

/// Whether the seed is now the part itself.
pub(super) fn is_moved(seed: &Seed, part: &Path) -> bool {
    let Seed::Part(from) = seed else { return false };
    from == part || rename_without_replacing(from, part).is_ok()
}

/// Copies what the seed has, unless the part, which is at `path`, has more. A seed that cannot be read is passed over.
///
/// # Errors
/// No space; `go_on` said no.
pub(super) fn pour(
    seed: &Seed,
    part: &File,
    path: &Path,
    size_bytes: u64,
    go_on: &impl Fn() -> bool,
) -> Result<(), StoreError> {
    let (Seed::File(at) | Seed::Part(at)) = seed;
    let Ok(from) = look_at(at) else { return Ok(()) };
    let has_more = match (from.metadata(), part.metadata()) {
        (Ok(from), Ok(part)) => from.is_file() && (part.len() == 0 || from.blocks() > part.blocks()),
        _ => false,
    };
    match seed {
        Seed::File(_) if has_more => {
            if from.metadata().is_ok_and(|from| from.len() == size_bytes)
                && rustix::fs::ioctl_ficlone(part, &from).is_err()
            {
                check_space(folder_of(path), size_bytes)?;
                copy(&from, part, path, go_on)?;
            }
        }
        Seed::File(_) => {}
        // Another process may have taken it up.
        Seed::Part(_) if !is_plain(&from).unwrap_or(false) || !lock(&from) => {}
        Seed::Part(_) => {
            if has_more {
                check_space(folder_of(path), from.metadata().map_or(0, |from| from.blocks() * 512))?;
                copy(&from, part, path, go_on)?;
            }
            if is_at(&from, at)
                && let Err(error) = fs::remove_file(at)
            {
                tracing::warn!(part = %at.display(), %error, "could not remove a part file");
            }
        }
    }
    Ok(())
}

/// Copies what is no hole.
fn copy(mut from: &File, mut to: &File, path: &Path, go_on: &impl Fn() -> bool) -> Result<(), StoreError> {
    let mut step = |at: u64| -> io::Result<Option<u64>> {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system that does not know.
            Err(_) => at,
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(u64::MAX);
        from.seek(io::SeekFrom::Start(start))?;
        to.seek(io::SeekFrom::Start(start))?;
        let copied = io::copy(&mut from.take(COPY_BYTES.min(end - start)), &mut to)?;
        Ok((copied > 0).then_some(start + copied))
    };
    let mut at = 0;
    loop {
        if !go_on() {
            return Err(StoreError::Stopped);
        }
        match step(at) {
            Ok(Some(next)) => at = next,
            Ok(None) => return Ok(()),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                return Err(StoreError::io("copy to", path)(error));
            }
            Err(error) => {
                tracing::debug!(part = %path.display(), %error, "copied only a part of what is here");
                return Ok(());
            }
        }
    }
}
