//! Part files that a killed process left behind and that nothing goes on with.
//!
//! Invariant: what `is_kept` names stays; only a hidden regular file with the name of a part is removed, only when it was last written before this
//! process could have begun one and no other process has it open as its part, and no link is followed.

use std::{fs, io, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

use super::{
    PART_SUFFIX,
    pieces::{is_taken, part_path, remove_parts},
};
use crate::protocol::id::ContentHash;

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Part files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes the dead parts right in this folder that were last written before `started`; those below it are left. What
/// cannot be removed is warned of and left, and so is what `is_kept` says yes to, by the name of the part. A folder that is
/// not there has none.
///
/// # Errors
/// The folder cannot be read.
pub fn sweep_parts(folder: &Path, started: SystemTime, is_kept: impl Fn(&str) -> bool) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(swept),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if !(name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(PART_SUFFIX.as_bytes())) {
            continue;
        }
        if name.to_str().is_some_and(&is_kept) {
            continue;
        }
        // Of the entry itself: links are neither followed nor removed.
        let Ok(metadata) = entry.metadata() else { continue };
        let is_live = metadata.modified().is_ok_and(|written| written >= started);
        if !metadata.is_file() || is_live || is_taken(&entry.path()) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Ok(()) => {
                swept.files += 1;
                swept.bytes += metadata.len();
            }
            Err(error) => {
                tracing::warn!(path = %entry.path().display(), %error, "could not remove a dead part file");
            }
        }
    }
    Ok(swept)
}

/// Removes the parts of whatever content that were to get this name in this folder, but for those that `is_kept` says yes
/// to or that another transfer has. What cannot be removed is warned of and left.
pub fn remove_parts_called(folder: &Path, name: &str, is_kept: impl Fn(&Path) -> bool) {
    let any = part_path(folder, &ContentHash::from_bytes([0; 32]), name);
    let any = any.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (Some(tail), Ok(entries)) = (any.rfind(".0000"), fs::read_dir(folder)) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let digits = found.strip_prefix(&any[..=tail]).and_then(|rest| rest.strip_suffix(PART_SUFFIX));
        let is_part = digits.is_some_and(|digits| {
            digits.len() == any.len() - PART_SUFFIX.len() - tail - 1
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        });
        if is_part && !is_kept(&entry.path()) {
            remove_parts(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_dead_parts_are_swept() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("inbox");
        assert_eq!(sweep_parts(&folder, SystemTime::now(), |_| false).expect("no folder"), Swept::default());
        fs::create_dir_all(folder.join(".dir.fp-part")).expect("makes");
        fs::write(home.path().join("precious"), b"precious").expect("writes");
        std::os::unix::fs::symlink(home.path().join("precious"), folder.join(".link.fp-part"))
            .expect("links");
        for name in [
            ".a.0123.fp-part",
            ".b.4567.fp-part",
            ".kept.fp-part",
            "c.fp-part",
            ".d",
            ".dir.fp-part/.e.fp-part",
        ] {
            fs::write(folder.join(name), b"12345").expect("writes");
        }
        let started = SystemTime::now() + Duration::from_secs(1);
        let live = fs::File::create(folder.join(".live.fp-part")).expect("creates");
        live.set_modified(started + Duration::from_secs(1)).expect("sets");
        assert_eq!(
            sweep_parts(&folder, started, |name| name == ".kept.fp-part").expect("reads"),
            Swept { files: 2, bytes: 10 }
        );
        let mut left: Vec<_> =
            fs::read_dir(&folder).expect("reads").map(|entry| entry.expect("one").file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [".d", ".dir.fp-part", ".kept.fp-part", ".link.fp-part", ".live.fp-part", "c.fp-part"]
        );
        assert!(home.path().join("precious").exists() && folder.join(".dir.fp-part/.e.fp-part").exists());
    }

    #[test]
    fn a_part_that_another_process_fills_is_not_swept() {
        let home = tempfile::tempdir().expect("a folder");
        let live = home.path().join(".live.0123456789abcdef.fp-part");
        let file = fs::File::create(&live).expect("creates");
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("locks");
        let later = SystemTime::now() + Duration::from_secs(1);
        assert_eq!(sweep_parts(home.path(), later, |_| false).expect("reads").files, 0);
        drop(file);
        assert_eq!(sweep_parts(home.path(), later, |_| false).expect("reads").files, 1);
    }

    #[test]
    fn parts_are_removed_by_the_name_that_they_were_to_get() {
        let home = tempfile::tempdir().expect("a folder");
        let names = [
            ".a.0123456789abcdef.fp-part",
            ".a.0123456789abcdef.2.fp-part",
            ".a.1111111111111111.fp-part",
            ".a.b.0123456789abcdef.fp-part",
            ".a.0123.fp-part",
            ".a.0123456789abcdeg.fp-part",
            "a",
        ];
        for name in names {
            fs::write(home.path().join(name), b"x").expect("writes");
        }
        remove_parts_called(home.path(), "a", |part| part.ends_with(names[2]));
        let left: Vec<&str> = names.into_iter().filter(|name| home.path().join(name).exists()).collect();
        assert_eq!(left, names[2..]);
    }
}
