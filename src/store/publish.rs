//! Gives a finished part its name. Invariant: no file is ever replaced, and the name is on disk when its path is told.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, open},
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
        let read = open_plain(&path).and_then(|file| hash_file(&file, |_| go_on()));
        if read.is_ok_and(|(read, _)| read == *hash) {
            return Some(path);
        }
    }
    None
}

/// Opens a regular file and nothing else: no link is followed, and nobody waits for the writer of a FIFO that took its place
/// meanwhile.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_place_of_a_published_file_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("made");
        assert!(open_plain(&fifo).is_err());
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("link")).expect("made");
        assert!(open_plain(&folder.path().join("link")).is_err() && open_plain(folder.path()).is_err());
        std::fs::write(folder.path().join("file"), "text").expect("written");
        let hash = ContentHash::from_bytes(*blake3::hash(b"text").as_bytes());
        let found = find_published(&folder.path().join("file"), &hash, None, || true);
        assert_eq!(found, Some(folder.path().join("file")));
    }
}
