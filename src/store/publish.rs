//! Gives a finished part its name. Invariant: no file is ever replaced, and the name is on disk when its path is told.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, RenameFlags},
    io::Errno,
};

use super::{StoreError, verify::hash_file};
use crate::protocol::{id::ContentHash, name::MAX_NAME_BYTES};

/// `name (1)` to `name (9999)` are tried when a name is taken.
const MAX_NUMBER: u32 = 9999;
/// Numbers that are looked at for a file that was published already.
const MAX_LOOKED_AT: u32 = 9;

/// Renames `part`, whose bytes are on disk already, to `destination`, or to `name (1).ext` and so on when that is taken.
/// Gives the path. Blocks.
///
/// # Errors
/// The system refuses, or every number is taken; the part is left where it is.
pub(super) fn publish(part: &Path, destination: &Path) -> Result<PathBuf, StoreError> {
    for number in 0..=MAX_NUMBER {
        let published = numbered(destination, number);
        match rename_without_replacing(part, &published) {
            Ok(()) => {
                let folder = folder_of(&published);
                // The file is whole and in its place; only a power cut could still take its name away.
                if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
                    tracing::warn!(folder = %folder.display(), %error, "could not bring a folder to disk");
                }
                return Ok(published);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::io("publish", &published)(error)),
        }
    }
    Err(StoreError::NamesTaken(destination.to_path_buf()))
}

/// The file of that content at `destination`, or at `name (1).ext` and so on up to the first number that is free. Reads
/// those of that size, or all of them when it is not known. Blocks; `go_on` is asked while it reads.
pub(crate) fn find_published(
    destination: &Path,
    hash: &ContentHash,
    size_bytes: Option<u64>,
    go_on: impl Fn() -> bool,
) -> Option<PathBuf> {
    for number in 0..=MAX_LOOKED_AT {
        let path = numbered(destination, number);
        // Of the entry itself: what a link names was not published here.
        let found = std::fs::symlink_metadata(&path).ok()?;
        if !found.is_file() || size_bytes.is_some_and(|size_bytes| size_bytes != found.len()) {
            continue;
        }
        let read = File::open(&path).and_then(|file| hash_file(&file, |_| go_on()));
        if read.is_ok_and(|(read, _)| read == *hash) {
            return Some(path);
        }
    }
    None
}

/// The folder that a path names something in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(super) fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag: a link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            std::fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// The longest beginning of at most so many bytes that cuts no character.
pub(super) fn cut(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// `name (2).ext`; 0 is the name itself.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let lossy = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let tail = match path.extension() {
        Some(extension) => format!(" ({number}).{}", extension.to_string_lossy()),
        None => format!(" ({number})"),
    };
    let stem = lossy(path.file_stem());
    path.with_file_name(format!("{}{tail}", cut(&stem, MAX_NAME_BYTES.saturating_sub(tail.len()))))
}
