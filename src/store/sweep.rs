//! Part files that a killed process left behind and that nothing goes on with.
//!
//! Invariant: what `is_kept` names stays; only a hidden regular file with the name of a part is removed, only when it was last written before this
//! process could have begun one, and no link is followed.

use std::{fs, io, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

use super::PART_SUFFIX;

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
        if !metadata.is_file() || metadata.modified().is_ok_and(|written| written >= started) {
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
}
