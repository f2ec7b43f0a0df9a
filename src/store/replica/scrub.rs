//! Reads what is kept now and then, to see whether the disk still has it.
//!
//! Invariant: what is not its content any more is neither kept nor served from the moment it is noticed; it is set aside and
//! not destroyed, for someone may have edited it. A round goes on where a stop broke it off, and begins anew after an
//! unclean end.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    ops::Bound,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::PoisonError,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Kept, MAX_NUMBER, Replica, Replicas, numbered, record, rename_without_replacing};
use crate::{
    protocol::id::ContentHash,
    store::{StoreError, verify::hash_file},
};

/// Everything is read once in this time, as far as the pace allows.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// There while a peer runs: found at a start, the last end was none in order.
const RUNNING_FILE: &str = "running";
/// How far the round is: `seconds hash`, with `-` for a round that is done.
const CURSOR_FILE: &str = "scrub";
/// Folder in the share for what was wrong; hidden, so that nobody is offered it.
const DAMAGED: &str = ".damaged";
/// Files that are set aside; the oldest go.
const MAX_DAMAGED: usize = 16;

/// How far the reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    began: SystemTime,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    Behind(ContentHash),
    End,
}

/// What to read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToScrub {
    /// This content.
    Read(ContentHash),
    /// Nothing for so long.
    Rest(Duration),
}

/// What came of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scrubbed {
    /// It is what it was, or nobody's concern any more.
    Right,
    /// It is something else: it was set aside, and its record dropped.
    Wrong(Box<Replica>),
    /// It was not read to its end.
    Unread,
}

impl Cursor {
    /// From the last end; at the start of a round when there was none in order. Marks the run.
    pub(super) fn open(records: &Path) -> Result<Self, StoreError> {
        let running = records.join(RUNNING_FILE);
        let was_unclean = running.symlink_metadata().is_ok();
        if !was_unclean {
            record::replace(records, &running, b"").map_err(StoreError::io("write", &running))?;
        }
        let now = SystemTime::now();
        if was_unclean {
            return Ok(Self { began: now, at: At::Start });
        }
        let text = fs::read_to_string(records.join(CURSOR_FILE)).unwrap_or_default();
        // What was pulled was read then: the first round of all is due after a day.
        Ok(Self::parse(&text).unwrap_or(Self { began: now, at: At::End }))
    }

    fn parse(text: &str) -> Option<Self> {
        let (seconds, at) = text.trim().split_once(' ')?;
        let began = UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?;
        let at = match at {
            "-" => At::End,
            "+" => At::Start,
            hash => At::Behind(hash.parse().ok()?),
        };
        Some(Self { began, at })
    }

    fn to_text(self) -> String {
        let seconds = self.began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.at {
            At::Start => format!("{seconds} +\n"),
            At::Behind(hash) => format!("{seconds} {hash}\n"),
            At::End => format!("{seconds} -\n"),
        }
    }

    fn next<T>(&mut self, kept: &BTreeMap<ContentHash, T>, now: SystemTime) -> ToScrub {
        if self.at == At::End {
            // A clock that was set back makes it due as well.
            let since = now.duration_since(self.began).unwrap_or(EVERY);
            if since < EVERY {
                return ToScrub::Rest(EVERY.saturating_sub(since));
            }
            *self = Self { began: now, at: At::Start };
        }
        let from = match self.at {
            At::Behind(hash) => Bound::Excluded(hash),
            At::Start | At::End => Bound::Unbounded,
        };
        if let Some((hash, _)) = kept.range((from, Bound::Unbounded)).next() {
            return ToScrub::Read(*hash);
        }
        self.at = At::End;
        ToScrub::Rest(EVERY.saturating_sub(now.duration_since(self.began).unwrap_or_default()))
    }
}

impl Replicas {
    /// What is to be read at this time.
    pub fn to_scrub(&self, now: SystemTime) -> ToScrub {
        let state = self.lock();
        self.cursor().next(&state.kept, now)
    }

    /// Reads a content, and sets it aside when it is not what it was. `go_on` is asked after every 256 KiB with the bytes so
    /// far. Blocks on the disk.
    pub fn scrub(&self, hash: &ContentHash, go_on: impl FnMut(u64) -> bool) -> Scrubbed {
        let Some(kept) = self.lock().kept.get(hash).cloned() else {
            self.cursor().at = At::Behind(*hash);
            return Scrubbed::Right;
        };
        let path = self.0.folder.join(&kept.file);
        let read = open(&path).and_then(|file| hash_file(&file, go_on));
        let found = match read {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Scrubbed::Unread,
            // A disk that cannot give it has lost it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => None,
            Err(error) => {
                // Gone is noticed by the rounds.
                tracing::debug!(file = kept.file, %error, "could not read a replica");
                self.cursor().at = At::Behind(*hash);
                return Scrubbed::Right;
            }
        };
        self.cursor().at = At::Behind(*hash);
        if found == Some((*hash, kept.replica.size_bytes)) {
            return Scrubbed::Right;
        }
        let mut state = self.lock();
        // It was given up meanwhile, or kept anew.
        if state.kept.get(hash) != Some(&kept) {
            return Scrubbed::Right;
        }
        // First: a crash in between leaves a record without content, which goes by itself.
        self.set_aside(&kept);
        record::remove(&self.0.records, hash);
        state.kept.remove(hash);
        Scrubbed::Wrong(Box::new(kept.replica))
    }

    /// Ends in order: the next start goes on with the reading where it is. Blocks on the disk.
    pub fn close(&self) {
        let (records, text) = (&self.0.records, self.cursor().to_text());
        let written = record::replace(records, &records.join(CURSOR_FILE), text.as_bytes());
        if let Err(error) = written.and_then(|()| fs::remove_file(records.join(RUNNING_FILE))) {
            tracing::warn!(%error, "could not note an end in order; all replicas are read at the next start");
        }
    }

    pub(super) fn set_aside(&self, kept: &Kept) {
        let path = self.0.folder.join(&kept.file);
        let moved = self.move_to_damaged(&path, &kept.file);
        match moved {
            Ok(to) => tracing::warn!(
                file = kept.file, hash = %kept.replica.hash, to = %to.display(),
                "a replica is not its content any more; it was set aside"
            ),
            Err(error) => {
                tracing::warn!(
                    file = kept.file, hash = %kept.replica.hash, %error,
                    "a replica is not its content any more, and is removed: it could not be set aside"
                );
                // Served, it would be believed by nobody; under its name it would only be in the way.
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn move_to_damaged(&self, path: &Path, file: &str) -> io::Result<PathBuf> {
        let folder = self.0.folder.join(DAMAGED);
        fs::create_dir_all(&folder)?;
        make_room(&folder)?;
        for number in 0..=MAX_NUMBER {
            let to = folder.join(numbered(file, number));
            match rename_without_replacing(path, &to) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                moved => return moved.map(|()| to),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn cursor(&self) -> std::sync::MutexGuard<'_, Cursor> {
        self.0.scrub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves room for one more.
fn make_room(folder: &Path) -> io::Result<()> {
    let entries = fs::read_dir(folder)?.flatten();
    // A rename sets this time.
    let time =
        |entry: &fs::DirEntry| entry.metadata().map_or((0, 0), |found| (found.ctime(), found.ctime_nsec()));
    let mut files: Vec<_> = entries.map(|entry| (time(&entry), entry.path())).collect();
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(MAX_DAMAGED);
    for (_, path) in files.drain(..surplus) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Never through a link, and without waiting for the writer of a FIFO.
fn open(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
