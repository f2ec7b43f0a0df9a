//! Takes a part file for one transfer and finds out what of it can be believed. Invariant: no link is followed, no other
//! file is written to, and no two transfers have one part.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, SeekFrom},
    io::Errno,
};

use super::{
    READ_BYTES, Seed,
    alone::Alone,
    hold::{is_at, is_plain, lock, look_at},
    is_right, seed,
};
use crate::{
    protocol::{
        id::ContentHash,
        piece::{PieceCheck, Tree, set::PieceSet},
    },
    store::{PART_SUFFIX, StoreError, check_space, publish::folder_of},
};

/// Transfers of one content into one folder at a time, each with a part of its own; the number has one digit.
const MAX_PARTS: u32 = 9;
/// Things in the way that are removed, one after the other, before it is given up.
const MAX_REPLACED: u32 = 8;

/// A part that is this transfer's.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) right: PieceSet,
    pub(super) alone: Alone,
}

/// Blocks. `go_on` is asked before every piece.
pub(super) fn open(
    part: &Path,
    tree: &Tree,
    seed: Option<&Seed>,
    go_on: impl Fn() -> bool,
) -> Result<Opened, StoreError> {
    let layout = tree.layout();
    // There is no piece that could show that this is not the empty file.
    if layout.pieces() == 0 && !PieceCheck::new(tree, 0).is_right() {
        let name = part.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = ContentHash::from_bytes(*blake3::hash(&[]).as_bytes());
        return Err(StoreError::Mismatch { name, expected: tree.root(), found });
    }
    let folder = folder_of(part);
    fs::create_dir_all(folder).map_err(StoreError::io("make the folder", folder))?;
    let left = seed.filter(|seed| !seed::is_moved(seed, part));
    let (file, path, is_new) = take_any(part)?;
    let alone = Alone::watch(&file, is_new);
    if let Some(seed) = left {
        seed::pour(seed, &file, &path, layout.size_bytes(), &go_on)?;
    }
    let right = pieces_in(&file, tree, &go_on)?;
    let has_bytes = file.metadata().map_err(StoreError::io("look at", &path))?.len() > 0;
    if right.is_empty() && has_bytes {
        // Junk of any size would only take the space.
        file.set_len(0).map_err(StoreError::io("empty", &path))?;
    }
    let there: u64 =
        right.ranges().map(|pieces| layout.bytes_of(pieces)).map(|bytes| bytes.end - bytes.start).sum();
    if let Err(error) = check_space(folder_of(&path), layout.size_bytes() - there) {
        if right.is_empty() {
            // Nothing to go on with.
            let _ = fs::remove_file(&path);
        }
        return Err(error);
    }
    Ok(Opened { file, path, right, alone })
}

/// The part of that name, or the next one that nobody has, and whether it was made just now.
fn take_any(part: &Path) -> Result<(File, PathBuf, bool), StoreError> {
    for number in 1..=MAX_PARTS {
        let path = numbered(part, number);
        if let Some((file, is_new)) = take(&path)? {
            return Ok((file, path, is_new));
        }
    }
    Err(StoreError::NamesTaken(part.to_path_buf()))
}

pub(super) fn remove_all(part: &Path) {
    for number in 1..=MAX_PARTS {
        remove(&numbered(part, number));
    }
}

pub(super) fn is_taken(part: &Path) -> bool {
    let lock = FlockOperation::NonBlockingLockShared;
    look_at(part).is_ok_and(|file| rustix::fs::flock(file, lock) == Err(Errno::WOULDBLOCK))
}

pub(super) fn remove(part: &Path) {
    // What is no plain file is replaced when the part is opened; it takes no space.
    let Ok(file) = look_at(part) else { return };
    if is_plain(&file).unwrap_or(false)
        && lock(&file)
        && is_at(&file, part)
        && let Err(error) = fs::remove_file(part)
    {
        tracing::warn!(part = %part.display(), %error, "could not remove a part file");
    }
}

/// `.name.hash.2.fp-part`; 1 is the part itself.
fn numbered(part: &Path, number: u32) -> PathBuf {
    let name = part.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_suffix(PART_SUFFIX) {
        Some(stem) if number > 1 => part.with_file_name(format!("{stem}.{number}{PART_SUFFIX}")),
        _ => part.to_path_buf(),
    }
}

/// `None` when another transfer has it.
fn take(path: &Path) -> Result<Option<(File, bool)>, StoreError> {
    for _ in 0..MAX_REPLACED {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = options.clone().custom_flags(flags.bits().cast_signed()).open(path);
        let (file, is_new) = match opened {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match options.create_new(true).open(path) {
                    Ok(file) => (file, true),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(error) => return Err(StoreError::io("create", path)(error)),
                }
            }
            Err(error) if is_in_the_way(&error) => {
                clear(path)?;
                continue;
            }
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        if !is_plain(&file).map_err(StoreError::io("look at", path))? {
            clear(path)?;
            continue;
        }
        if !lock(&file) {
            return Ok(None);
        }
        // Whoever had it may have published or removed it meanwhile.
        if is_at(&file, path) {
            return Ok(Some((file, is_new)));
        }
    }
    Err(StoreError::Lost(path.to_path_buf()))
}

/// A link, a socket, or a file that may not be written.
fn is_in_the_way(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, Errno::LOOP | Errno::NXIO | Errno::ACCESS))
}

fn clear(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("replace", path)(error)),
        _ => Ok(()),
    }
}

/// Hashes what there is; holes are passed over.
fn pieces_in(file: &File, tree: &Tree, go_on: &impl Fn() -> bool) -> Result<PieceSet, StoreError> {
    let layout = tree.layout();
    let mut right = PieceSet::new(layout.pieces());
    let mut buffer = vec![0; READ_BYTES];
    let mut piece = 0;
    while piece < layout.pieces() {
        if !go_on() {
            return Err(StoreError::Stopped);
        }
        let start = layout.range(piece).start;
        match rustix::fs::seek(file, SeekFrom::Data(start)) {
            Ok(data) if layout.piece_at(data) > piece => {
                piece = layout.piece_at(data);
                continue;
            }
            Err(Errno::NXIO) => break,
            // In this piece, or the file system does not know.
            _ => {}
        }
        // What cannot be read is not there.
        if is_right(tree, piece, &mut buffer, |bytes, at| file.read_at(bytes, at)).unwrap_or(false) {
            right.insert(piece);
        }
        piece += 1;
    }
    Ok(right)
}
