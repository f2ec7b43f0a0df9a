//! Takes a file of this machine over into a folder, under a name of its own.
//!
//! Invariant: no file is replaced, the file has its name only when all of it is on disk, and after an error the folder is as it
//! was.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    SpaceWatch, StoreError, check_space,
    part::part_name,
    publish::{open_plain, publish, rename_without_replacing},
    verify::{Running, hash_file},
};
use crate::protocol::id::ContentHash;

/// Bytes of one copying step.
const COPY_BYTES: usize = 256 << 10;

/// A file that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Where it lies now; a number was added to the name when that was taken.
    pub path: PathBuf,
    /// Its content, as it was read.
    pub hash: ContentHash,
    /// Its size.
    pub size_bytes: u64,
}

/// Moves the regular file at `from` to `destination`; copies it when that is in another file system, and removes it then.
/// `go_on` is asked in between. Blocks.
///
/// # Errors
/// `from` is no regular file, no space, the system refuses, or `go_on` said no. `from` is where it was, unless it had been
/// moved already and could not be moved back.
pub fn adopt(from: &Path, destination: &Path, go_on: impl Fn() -> bool) -> Result<Adopted, StoreError> {
    let source = open_plain(from).map_err(StoreError::io("open", from))?;
    let part = destination.with_file_name(part_name(destination));
    match rename_without_replacing(from, &part) {
        Ok(()) => {
            let adopted = moved(&source, &part, destination, &go_on);
            if adopted.is_err()
                && let Err(error) = rename_without_replacing(&part, from)
            {
                tracing::warn!(part = %part.display(), %error, "could not give a file back");
            }
            adopted
        }
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let adopted = copied(&source, &part, destination, &go_on);
            let leftover = if adopted.is_ok() { from } else { part.as_path() };
            if let Err(error) = fs::remove_file(leftover)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %leftover.display(), %error, "could not remove a copied file");
            }
            adopted
        }
        Err(error) => Err(StoreError::io("move", from)(error)),
    }
}

fn moved(
    source: &File,
    part: &Path,
    destination: &Path,
    go_on: &impl Fn() -> bool,
) -> Result<Adopted, StoreError> {
    let read = hash_file(source, |_| go_on());
    let (hash, size_bytes) = read.map_err(|error| interrupted(error, "read", part))?;
    source.sync_all().map_err(StoreError::io("bring to disk", part))?;
    Ok(Adopted { path: publish(part, destination)?, hash, size_bytes })
}

fn copied(
    mut source: &File,
    part: &Path,
    destination: &Path,
    go_on: &impl Fn() -> bool,
) -> Result<Adopted, StoreError> {
    let folder = destination.parent().unwrap_or(destination);
    let size = source.metadata().map_err(StoreError::io("look at", part))?.len();
    check_space(folder, size)?;
    let mut copy =
        OpenOptions::new().write(true).create_new(true).open(part).map_err(StoreError::io("create", part))?;
    let (mut hash, mut size_bytes, mut space) = (Running::default(), 0, SpaceWatch::of(folder));
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StoreError::io("read", part)(error)),
        };
        copy.write_all(&buffer[..read]).map_err(StoreError::io("write", part))?;
        hash.update(&buffer[..read]);
        size_bytes += read as u64;
        space.wrote(read)?;
        if !go_on() {
            return Err(StoreError::Stopped);
        }
    }
    copy.sync_all().map_err(StoreError::io("bring to disk", part))?;
    Ok(Adopted { path: publish(part, destination)?, hash: hash.hash(), size_bytes })
}

fn interrupted(error: io::Error, doing: &'static str, path: &Path) -> StoreError {
    match error.kind() {
        io::ErrorKind::Interrupted => StoreError::Stopped,
        _ => StoreError::io(doing, path)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(bytes: &[u8]) -> ContentHash {
        ContentHash::from_bytes(*blake3::hash(bytes).as_bytes())
    }

    #[test]
    fn a_file_is_moved_in_and_takes_the_place_of_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("spooled"), folder.path().join("a.txt"));
        for name in ["a.txt", "a (1).txt"] {
            fs::write(&from, name).expect("written");
            let adopted = adopt(&from, &to, || true).expect("taken over");
            assert_eq!(adopted.path, folder.path().join(name));
            assert_eq!((adopted.hash, adopted.size_bytes), (hash_of(name.as_bytes()), name.len() as u64));
            assert!(!from.exists());
        }
        assert_eq!(fs::read(&to).expect("read"), b"a.txt");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2, "nothing else is left");
    }

    #[test]
    fn another_file_system_gets_a_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, part, to) =
            (folder.path().join("from"), folder.path().join(".part"), folder.path().join("to"));
        fs::write(&from, b"bytes").expect("written");
        let source = open_plain(&from).expect("opened");
        let adopted = copied(&source, &part, &to, &|| true).expect("copied");
        assert_eq!((adopted.path.as_path(), adopted.hash), (to.as_path(), hash_of(b"bytes")));
        let source = open_plain(&from).expect("opened");
        assert!(matches!(copied(&source, &part, &to, &|| false), Err(StoreError::Stopped)));
    }

    #[test]
    fn what_is_not_taken_over_stays_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("spooled"), folder.path().join("a.txt"));
        fs::write(&from, vec![0; 1 << 20]).expect("written");
        assert!(matches!(adopt(&from, &to, || false), Err(StoreError::Stopped)));
        assert!(from.exists() && !to.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).expect("made");
        assert!(adopt(&folder.path().join("link"), &to, || true).is_err(), "no link is followed");
    }
}
