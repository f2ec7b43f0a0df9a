//! From an indexed path to the open file, and to nothing else: no link is followed, nothing outside the share is reached,
//! and no FIFO or device can make the opener wait.

use std::{
    fs::{File, Metadata},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat, openat2},
    io::Errno,
};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stamp {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Last modification, whole seconds since 1970; negative before.
    pub modified_s: i64,
    /// And nanoseconds.
    pub modified_ns: u32,
    /// Inode number.
    pub inode: u64,
    /// Last change of content, name, mode or links, whole seconds since 1970. No program can put it back, as it can the
    /// modification.
    pub changed_s: i64,
    /// And nanoseconds.
    pub changed_ns: u32,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size_bytes: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            inode: metadata.ino(),
            changed_s: metadata.ctime(),
            changed_ns: u32::try_from(metadata.ctime_nsec()).unwrap_or(0),
        }
    }

    #[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)] // widths differ between systems
    fn of_stat(stat: &Stat) -> Self {
        Self {
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_s: i64::try_from(stat.st_mtime).unwrap_or(0),
            modified_ns: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            inode: u64::try_from(stat.st_ino).unwrap_or(0),
            changed_s: i64::try_from(stat.st_ctime).unwrap_or(0),
            changed_ns: u32::try_from(stat.st_ctime_nsec).unwrap_or(0),
        }
    }

    /// What a rename leaves as it was.
    pub(super) fn but_changed(self) -> Self {
        Self { changed_s: 0, changed_ns: 0, ..self }
    }

    /// Last modification; the epoch where the system cannot hold it.
    pub fn modified(&self) -> SystemTime {
        time(self.modified_s, self.modified_ns)
    }

    /// Last change of any kind; the epoch where the system cannot hold it.
    pub fn changed(&self) -> SystemTime {
        time(self.changed_s, self.changed_ns)
    }
}

fn time(s: i64, ns: u32) -> SystemTime {
    let whole = Duration::from_secs(s.unsigned_abs());
    let second = if s < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    second.and_then(|second| second.checked_add(Duration::from_nanos(ns.into()))).unwrap_or(UNIX_EPOCH)
}

/// What lies at a path in a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    File(Stamp),
    Folder,
    /// Nothing, or something that is never shared: a link, a FIFO, a device, a socket.
    Nothing,
}

/// Looks at `relative` beneath `root` without following any link.
pub(super) fn look(root: &Path, relative: &str) -> Lies {
    let Ok(fd) = open_beneath(root, relative, OFlags::PATH) else { return Lies::Nothing };
    match fstat(&fd) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Lies::File(Stamp::of_stat(&stat)),
            FileType::Directory => Lies::Folder,
            _ => Lies::Nothing,
        },
        Err(_) => Lies::Nothing,
    }
}

/// Opens the regular file at `relative` beneath `root` for reading.
pub(super) fn open_regular(root: &Path, relative: &str) -> io::Result<(File, Stamp)> {
    // Not blocking: opening a FIFO for reading would wait for its writer.
    let fd = open_beneath(root, relative, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let stat = fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok((fd.into(), Stamp::of_stat(&stat)))
}

/// As [`open_regular`], when the system need not ask any disk where the file is; never waits. `None` says nothing.
pub(super) fn open_cached(root: &Path, relative: &str) -> Option<(File, Stamp)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = open_plainly(root, relative, flags, ResolveFlags::CACHED)?;
    let stat = fstat(&fd).ok()?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_regular.then(|| (fd.into(), Stamp::of_stat(&stat)))
}

/// By one call, when no link lies on the whole path.
fn open_plainly(root: &Path, relative: &str, flags: OFlags, rules: ResolveFlags) -> Option<OwnedFd> {
    let is_beneath = relative.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    let rules = rules | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    (root.is_absolute() && is_beneath)
        .then(|| openat2(CWD, root.join(relative), flags, Mode::empty(), rules).ok())
        .flatten()
}

fn open_beneath(root: &Path, relative: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // One call in place of three. The long one decides of what is not plainly there.
    if let Some(opened) = open_plainly(root, relative, flags, ResolveFlags::empty()) {
        return Ok(opened);
    }
    let root =
        open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let rules = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&root, relative, flags, Mode::empty(), rules) {
        // ENOSYS before Linux 5.6; EPERM from container filters that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => open_by_steps(root, relative, flags),
        opened => Ok(opened?),
    }
}

/// The same by one folder at a time, for kernels without openat2.
fn open_by_steps(root: OwnedFd, relative: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let mut folder = root;
    let mut segments = relative.split('/').peekable();
    while let Some(segment) = segments.next() {
        if matches!(segment, "" | "." | "..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a path beneath the share"));
        }
        let is_last = segments.peek().is_none();
        let step = if is_last {
            flags
        } else {
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
        };
        folder = openat(folder.as_fd(), segment, step, Mode::empty())?;
    }
    Ok(folder)
}

/// The stamp of an open file.
pub(super) fn stamp_of(file: &File) -> io::Result<Stamp> {
    Ok(Stamp::of_stat(&fstat(file)?))
}

/// A path as the network sees it, in NFC; and the one on disk, where that differs.
pub(super) fn to_network(relative: &str) -> (String, Option<Box<str>>) {
    if is_nfc_quick(relative.chars()) == IsNormalized::Yes {
        return (relative.into(), None);
    }
    let network: String = relative.nfc().collect();
    let on_disk = (network != relative).then(|| relative.into());
    (network, on_disk)
}

#[cfg(test)]
mod race;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_by_steps_refuses_what_openat2_refuses() {
        let outside = tempfile::tempdir().unwrap();
        let share = outside.path().join("share");
        std::fs::create_dir_all(share.join("sub")).unwrap();
        std::fs::write(outside.path().join("secret"), "S").unwrap();
        std::fs::write(share.join("sub/ok"), "ok").unwrap();
        std::os::unix::fs::symlink("../secret", share.join("link")).unwrap();
        std::os::unix::fs::symlink("..", share.join("up")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, share.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let by_steps = |relative: &str| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let root = open(&share, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            open_by_steps(root, relative, flags)
        };
        assert!(open_regular(&share, "sub/ok").is_ok() && by_steps("sub/ok").is_ok());
        for escape in
            ["link", "up/secret", "../secret", "sub/../../secret", "/etc/passwd", "", ".", "sub/ok/"]
        {
            assert!(open_regular(&share, escape).is_err(), "{escape}");
            assert!(open_cached(&share, escape).is_none(), "{escape}");
            assert!(by_steps(escape).is_err(), "{escape}");
        }
        assert!(open_regular(&share, "fifo").is_err() && open_regular(&share, "sub").is_err());
        assert!(open_cached(&share, "fifo").is_none() && open_cached(&share, "sub").is_none());
        assert_eq!(look(&share, "fifo"), Lies::Nothing);
        assert_eq!(look(&share, "link"), Lies::Nothing);
        assert_eq!(look(&share, "sub"), Lies::Folder);
    }

    #[test]
    fn what_waits_or_never_ends_is_refused_at_once_in_place_of_a_file() {
        let share = tempfile::tempdir().unwrap();
        let at = share.path().join("a.txt");
        let replace = |kind: &str| {
            let _ = std::fs::remove_file(&at).or_else(|_| std::fs::remove_dir(&at));
            let node = |kind, dev| rustix::fs::mknodat(CWD, &at, kind, Mode::RUSR, dev);
            match kind {
                "file" => std::fs::write(&at, "text").unwrap(),
                "fifo" => node(FileType::Fifo, 0).unwrap(),
                "socket" => drop(std::os::unix::net::UnixListener::bind(&at).unwrap()),
                "folder" => std::fs::create_dir(&at).unwrap(),
                "link to itself" => std::os::unix::fs::symlink("a.txt", &at).unwrap(),
                "link to /dev/zero" => std::os::unix::fs::symlink("/dev/zero", &at).unwrap(),
                // Only the superuser makes devices.
                _ => return node(FileType::CharacterDevice, rustix::fs::makedev(1, 5)).is_ok(),
            }
            true
        };
        let begun = std::time::Instant::now();
        for kind in ["fifo", "socket", "folder", "link to itself", "link to /dev/zero", "/dev/zero"] {
            if !replace(kind) {
                continue;
            }
            assert!(open_regular(share.path(), "a.txt").is_err(), "{kind}");
            assert!(open_cached(share.path(), "a.txt").is_none(), "{kind}");
            let is_folder = look(share.path(), "a.txt") == Lies::Folder;
            assert!(
                is_folder == (kind == "folder")
                    && (is_folder || look(share.path(), "a.txt") == Lies::Nothing)
            );
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "nothing was waited for");
        assert!(replace("file") && open_regular(share.path(), "a.txt").is_ok());
    }

    #[test]
    fn times_before_1970_are_told() {
        let stamp = Stamp { size_bytes: 0, modified_s: -1, modified_ns: 500_000_000, ..Stamp::default() };
        assert_eq!(stamp.modified(), UNIX_EPOCH - Duration::from_millis(500));
    }
}
