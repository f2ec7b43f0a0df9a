//! A file of one piece, checked before a byte of it is written: made, brought to disk and named by one task.
//!
//! Invariant: as for [`super::pieces`]: the file gets its name only when it was read back right and is on disk, and the
//! name of its part is taken from nobody. Whatever stands in the way is left to that way.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::{
    StoreError, check_space,
    pieces::{hold::is_at, proof::Look},
    publish::{folder_of, publish},
};
use crate::{
    protocol::piece::{PieceCheck, Tree},
    shutdown::Shutdown,
};

/// Stores the bytes of a file of one piece, or of an empty one, by way of `part`, and gives the path under which it is
/// published: `destination`, or `name (1).ext` and so on when that is taken. `None` when the part is there already, or
/// cannot be believed in: [`super::pieces::PieceFile`] is to see to it. Goes on when dropped half way.
///
/// # Errors
/// No space, or the system refuses. Nothing is left behind.
pub async fn store_whole(
    part: PathBuf,
    destination: PathBuf,
    tree: Tree,
    bytes: Bytes,
    shutdown: &Shutdown,
) -> Result<Option<PathBuf>, StoreError> {
    let storing = shutdown.spawn_blocking(move || store(&part, &destination, &tree, &bytes));
    storing.await.map_err(|_| StoreError::Stopped)?
}

fn store(part: &Path, destination: &Path, tree: &Tree, bytes: &[u8]) -> Result<Option<PathBuf>, StoreError> {
    let file = match create(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = folder_of(part);
            fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
            create(part)
        }
        created => created,
    };
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(StoreError::io("create", part)(error)),
    };
    // Somebody who wants the same was quicker: it is theirs now. Without locks each checks what it has.
    if let Err(Errno::WOULDBLOCK) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Ok(None);
    }
    let stored = fill(&file, part, destination, tree, bytes);
    if !matches!(stored, Ok(Some(_)))
        && is_at(&file, part)
        && let Err(error) = fs::remove_file(part)
    {
        tracing::warn!(path = %part.display(), %error, "could not remove a part file");
    }
    stored
}

fn create(part: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(part)
}

fn fill(
    mut file: &File,
    part: &Path,
    destination: &Path,
    tree: &Tree,
    bytes: &[u8],
) -> Result<Option<PathBuf>, StoreError> {
    check_space(folder_of(part), bytes.len() as u64)?;
    file.write_all(bytes).map_err(StoreError::io("write", part))?;
    let last_look = Look::at(file).map_err(StoreError::io("look at", part))?;
    if let Err(error) = file.sync_all() {
        tracing::warn!(path = %part.display(), %error, "the disk lost a part");
        return Ok(None);
    }
    let mut check = PieceCheck::new(tree, 0);
    let mut there = vec![0; bytes.len()];
    file.read_exact_at(&mut there, 0).map_err(StoreError::io("read back", part))?;
    check.update(&there);
    if !(check.is_right() && is_at(file, part) && last_look.is_still_so(file)) {
        tracing::warn!(path = %part.display(), "a file is not what was written to it");
        return Ok(None);
    }
    publish(part, destination).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::id::ContentHash;

    const BYTES: &[u8] = b"a file of one piece";

    fn tree(bytes: &[u8]) -> Tree {
        let hash = ContentHash::from_bytes(*blake3::hash(bytes).as_bytes());
        Tree::from_values(hash, bytes.len() as u64, &[]).expect("one piece has no values")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("reads");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("one").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_file_appears_whole_beside_what_has_its_name_and_nothing_else_is_left() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("new/folder");
        let shutdown = Shutdown::new();
        for (bytes, name) in [(BYTES, "file.txt"), (BYTES, "file (1).txt"), (b"", "file (2).txt")] {
            let (part, to) = (folder.join(".file.fp-part"), folder.join("file.txt"));
            let stored = store_whole(part, to, tree(bytes), Bytes::from_static(bytes), &shutdown);
            assert_eq!(stored.await.expect("stores"), Some(folder.join(name)));
            assert_eq!(fs::read(folder.join(name)).expect("reads"), bytes);
        }
        assert_eq!(names(&folder), ["file (1).txt", "file (2).txt", "file.txt"]);
    }

    #[test]
    fn a_part_that_is_there_is_neither_written_to_nor_removed() {
        let home = tempfile::tempdir().expect("a folder");
        let (part, to) = (home.path().join(".file.fp-part"), home.path().join("file"));
        fs::write(&part, "somebody's").expect("writes");
        assert_eq!(store(&part, &to, &tree(BYTES), BYTES).expect("no error"), None);
        std::os::unix::fs::symlink("elsewhere", home.path().join(".link.fp-part")).expect("links");
        let link = home.path().join(".link.fp-part");
        assert_eq!(store(&link, &to, &tree(BYTES), BYTES).expect("no error"), None);
        assert_eq!(fs::read(&part).expect("reads"), b"somebody's");
        assert_eq!(names(home.path()), [".file.fp-part", ".link.fp-part"]);
    }

    #[test]
    fn what_is_not_right_when_read_back_gets_no_name() {
        let home = tempfile::tempdir().expect("a folder");
        let (part, to) = (home.path().join(".file.fp-part"), home.path().join("file"));
        assert_eq!(store(&part, &to, &tree(BYTES), b"A file of one piece").expect("no error"), None);
        assert!(names(home.path()).is_empty());
    }
}
