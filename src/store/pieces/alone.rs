//! Whether anybody else has opened a file that this program made: one that nobody has need not be read once more.
//!
//! Invariant: says yes only for a file that was new and on a file system of this machine, where every opening is told, and
//! when none was told since.

#[cfg(not(target_os = "linux"))]
use std::fs::File;

/// Watches one file.
#[derive(Debug)]
pub(super) struct Alone {
    #[cfg(target_os = "linux")]
    events: Option<std::os::fd::OwnedFd>,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs::File, os::fd::AsRawFd};

    use rustix::{
        fs::inotify::{self, CreateFlags, WatchFlags},
        io::Errno,
    };

    use super::Alone;

    /// Where the kernel of this machine sees every opening: ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, bcachefs and ZFS, by the
    /// numbers of statfs(2). Another machine could open a file of a network file system unseen.
    const LOCAL: [i64; 7] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1];

    impl Alone {
        pub(in crate::store::pieces) fn watch(file: &File, is_new: bool) -> Self {
            let is_local = || rustix::fs::fstatfs(file).is_ok_and(|told| LOCAL.contains(&told.f_type));
            if !is_new || !is_local() {
                return Self { events: None };
            }
            let watch = || {
                let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
                // By the file itself: its name may lead elsewhere by now.
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                inotify::add_watch(&events, path, WatchFlags::OPEN)?;
                Ok::<_, Errno>(events)
            };
            // Without one, as when too many are watched, the file is read once more.
            Self { events: watch().ok() }
        }

        pub(in crate::store::pieces) fn is_proved(&self) -> bool {
            let mut event = [0; 256];
            // Whatever is told is an opening, or that openings may have been missed.
            self.events
                .as_ref()
                .is_some_and(|events| rustix::io::read(events, &mut event) == Err(Errno::AGAIN))
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Alone {
    pub(super) fn watch(_: &File, _: bool) -> Self {
        Self {}
    }

    pub(super) fn is_proved(&self) -> bool {
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        fs::{self, File, OpenOptions},
        io::Write,
    };

    use super::*;

    fn new_file(folder: &tempfile::TempDir) -> (File, std::path::PathBuf) {
        let path = folder.path().join("file");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(&path).expect("creates");
        (file, path)
    }

    #[test]
    fn nobody_but_its_maker_has_touched_a_file_until_somebody_opens_it() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, path) = new_file(&folder);
        let alone = Alone::watch(&file, true);
        file.write_all(&vec![1; 100_000]).unwrap();
        file.set_len(50_000).unwrap();
        file.sync_all().unwrap();
        fs::metadata(&path).unwrap();
        assert!(alone.is_proved() && alone.is_proved());
        drop(File::open(&path).unwrap());
        assert!(!alone.is_proved(), "somebody looked into it");
    }

    #[test]
    fn an_opening_by_another_name_is_seen_and_a_file_that_was_there_before_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, path) = new_file(&folder);
        let alone = Alone::watch(&file, true);
        fs::rename(&path, folder.path().join("renamed")).unwrap();
        fs::hard_link(folder.path().join("renamed"), folder.path().join("link")).unwrap();
        drop(OpenOptions::new().append(true).open(folder.path().join("link")).unwrap());
        assert!(!alone.is_proved());
        assert!(!Alone::watch(&file, false).is_proved());
    }
}
