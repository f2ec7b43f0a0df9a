//! Takes a file of this machine over into a folder, under a name of its own.
//!
//! Invariant: no file is replaced, the file has its new name only when all of it is on disk, and until then it has its old one:
//! whoever is killed on the way has lost nothing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek as _, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    SpaceWatch, StoreError, check_space,
    part::part_name,
    publish::{find_published, folder_of, open_plain, publish},
    verify::{Running, hash_file},
};
use crate::protocol::id::ContentHash;

/// Bytes of one copying step.
const COPY_BYTES: usize = 256 << 10;

/// A file that was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Where it lies now; a number was added to the name when another content had that.
    pub path: PathBuf,
    /// Its content, as it was read.
    pub hash: ContentHash,
    /// Its size.
    pub size_bytes: u64,
    /// It lay there before, and what was brought is gone.
    pub was_there: bool,
}

/// Moves the regular file at `from` to `destination` in one step, after it was read where it lies; copies it when that is in
/// another file system, and removes it when the copy has its name. Where a file of that name has the same content, that one
/// stays and `from` is removed. `taking` lets one at a time look and take. `go_on` is asked in between. Blocks.
///
/// # Errors
/// `from` is no regular file, no space, the system refuses, or `go_on` said no. The source stays where it was, and of a copy
/// nothing is left behind.
pub fn adopt(
    from: &Path,
    destination: &Path,
    taking: &Mutex<()>,
    go_on: impl Fn() -> bool,
) -> Result<Adopted, StoreError> {
    let mut source = open_plain(from).map_err(StoreError::io("open", from))?;
    let read = hash_file(&source, |_| go_on());
    let (hash, size_bytes) = read.map_err(|error| interrupted(error, "read", from))?;
    source.sync_all().map_err(StoreError::io("bring to disk", from))?;
    // Two of one content at once would both see none there.
    let _turn = taking.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = find_published(destination, &hash, Some(size_bytes), &go_on) {
        remove(from);
        return Ok(Adopted { path, hash, size_bytes, was_there: true });
    }
    match publish(from, destination) {
        Ok(path) => return Ok(Adopted { path, hash, size_bytes, was_there: false }),
        Err(StoreError::Io { source: error, .. }) if error.kind() == io::ErrorKind::CrossesDevices => {}
        Err(error) => return Err(error),
    }
    source.rewind().map_err(StoreError::io("read", from))?;
    let adopted = copied(from, &source, destination, &go_on)?;
    remove(from);
    Ok(adopted)
}

/// What was taken over under another name.
fn remove(from: &Path) {
    if let Err(error) = fs::remove_file(from)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %from.display(), %error, "could not remove a file that was taken over");
    }
}

/// Copies from where the source stands, in a part that no sweep takes while it is written.
fn copied(
    from: &Path,
    source: &File,
    destination: &Path,
    go_on: &impl Fn() -> bool,
) -> Result<Adopted, StoreError> {
    let size = source.metadata().map_err(StoreError::io("look at", from))?.len();
    check_space(folder_of(destination), size)?;
    let part = destination.with_file_name(part_name(destination));
    let copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&part)
        .map_err(StoreError::io("create", &part))?;
    let filled = fill(from, source, &part, &copy, go_on);
    let adopted = filled.and_then(|(hash, size_bytes)| {
        Ok(Adopted { path: publish(&part, destination)?, hash, size_bytes, was_there: false })
    });
    if adopted.is_err()
        && let Err(error) = fs::remove_file(&part)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(part = %part.display(), %error, "could not remove a part file");
    }
    adopted
}

/// The hash and the size of what was copied, which is on disk then.
fn fill(
    from: &Path,
    mut source: &File,
    part: &Path,
    mut copy: &File,
    go_on: &impl Fn() -> bool,
) -> Result<(ContentHash, u64), StoreError> {
    // Another process that looks at it may take it for dead and remove it. File systems without locks go without.
    if let Err(Errno::WOULDBLOCK) = flock(copy, FlockOperation::NonBlockingLockExclusive) {
        return Err(StoreError::Lost(part.to_path_buf()));
    }
    let (mut hash, mut size_bytes) = (Running::default(), 0);
    let mut space = SpaceWatch::of(folder_of(part));
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StoreError::io("read", from)(error)),
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
    Ok((hash.hash(), size_bytes))
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
            let adopted = adopt(&from, &to, &Mutex::default(), || true).expect("taken over");
            assert_eq!(adopted.path, folder.path().join(name));
            assert_eq!((adopted.hash, adopted.size_bytes), (hash_of(name.as_bytes()), name.len() as u64));
            assert!(!from.exists());
        }
        assert_eq!(fs::read(&to).expect("read"), b"a.txt");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2, "nothing else is left");
    }

    #[test]
    fn a_content_that_is_there_under_its_name_stays_the_only_one_however_many_bring_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = folder.path().join("a.txt");
        let taking = Mutex::default();
        let bring = |number: usize, bytes: &[u8]| {
            let from = folder.path().join(format!(".spooled {number}"));
            fs::write(&from, bytes).expect("written");
            adopt(&from, &to, &taking, || true).expect("taken over")
        };
        let was_there: Vec<bool> = std::thread::scope(|scope| {
            let bringing: Vec<_> = (0..8)
                .map(|number| {
                    scope.spawn({
                        let bring = &bring;
                        move || bring(number, b"same").was_there
                    })
                })
                .collect();
            bringing.into_iter().map(|one| one.join().expect("ended")).collect()
        });
        assert_eq!(was_there.iter().filter(|was_there| !**was_there).count(), 1);
        assert!(!bring(8, b"else").was_there);
        let again = bring(9, b"else");
        assert_eq!((again.path, again.was_there), (folder.path().join("a (1).txt"), true));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2);
    }

    #[test]
    fn another_file_system_gets_a_copy() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::write(&from, b"bytes").expect("written");
        let names = || {
            let entries = fs::read_dir(folder.path()).expect("listed");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("one").file_name()).collect();
            names.sort();
            names
        };
        let source = open_plain(&from).expect("opened");
        let is_locked = std::cell::Cell::new(false);
        let looked = || {
            let part = names().into_iter().find(|name| name.to_string_lossy().starts_with('.'));
            let part = File::open(folder.path().join(part.expect("a part"))).expect("opened");
            let held = flock(&part, FlockOperation::NonBlockingLockShared);
            is_locked.set(held == Err(Errno::WOULDBLOCK));
            true
        };
        let adopted = copied(&from, &source, &to, &looked).expect("copied");
        assert_eq!((adopted.path.as_path(), adopted.hash), (to.as_path(), hash_of(b"bytes")));
        assert!(is_locked.get(), "nobody sweeps a part that is being written");
        let source = open_plain(&from).expect("opened");
        assert!(matches!(copied(&from, &source, &to, &|| false), Err(StoreError::Stopped)));
        assert_eq!(names(), ["from", "to"], "nothing else is left");
    }

    #[test]
    fn the_only_copy_keeps_its_name_until_it_is_published() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("spooled"), folder.path().join("a.txt"));
        fs::write(&from, vec![0; 1 << 20]).expect("written");
        let looks = std::cell::Cell::new(0);
        let looked = || {
            assert!(from.exists() && !to.exists());
            looks.set(looks.get() + 1);
            true
        };
        adopt(&from, &to, &Mutex::default(), looked).expect("taken over");
        assert!(looks.get() > 0 && !from.exists() && to.exists());
    }

    #[test]
    fn what_is_not_taken_over_stays_where_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("spooled"), folder.path().join("a.txt"));
        fs::write(&from, vec![0; 1 << 20]).expect("written");
        assert!(matches!(adopt(&from, &to, &Mutex::default(), || false), Err(StoreError::Stopped)));
        assert!(from.exists() && !to.exists());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).expect("made");
        assert!(
            adopt(&folder.path().join("link"), &to, &Mutex::default(), || true).is_err(),
            "no link is followed"
        );
    }
}
