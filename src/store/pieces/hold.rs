//! Whose a part is: looks at what lies under its name, and the lock that keeps two transfers apart. Invariant: no link is
//! followed.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    thread,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, OFlags},
    io::Errno,
};

/// A transfer that was just paused or dropped may still have one write to end.
const LOCK_TRIES: u32 = 20;
/// Between two of these tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn look_at(part: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(part)
}

/// A regular file of this user without another name, under which others would see it change.
pub(super) fn is_plain(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file() && metadata.nlink() == 1 && metadata.uid() == rustix::process::geteuid().as_raw())
}

/// False when another transfer has it, here or in another process.
pub(super) fn lock(file: &File) -> bool {
    for attempt in 0..LOCK_TRIES {
        if attempt > 0 {
            thread::sleep(LOCK_PAUSE);
        }
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            // A file system without locks: two transfers of one content have to get along, as each checks its pieces.
            _ => return true,
        }
    }
    false
}

/// Whether the path still names the file.
pub(in crate::store) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}
