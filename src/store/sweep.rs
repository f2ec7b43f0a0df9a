//! Part files that a killed process left behind and that no transfer goes on with.
//!
//! Invariant: only a hidden regular file with the name of a part is removed, only when it was last written before this
//! process could have begun one and nobody asked to keep it, and no link is followed.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::SystemTime,
};

use super::{PART_SUFFIX, pieces::without_number};

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Part files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes the dead parts right in this folder that were last written before `started`; those below it are left. What
/// cannot be removed is warned of and left. A folder that is not there has none. Parts whose file names are in `keep`,
/// as [`super::pieces::part_path`] makes them, are left, and so are their doubles with a number.
///
/// # Errors
/// The folder cannot be read.
pub fn sweep_parts(folder: &Path, started: SystemTime, keep: &BTreeSet<OsString>) -> io::Result<Swept> {
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
        let is_kept = |name: &OsStr| keep.contains(name);
        if is_kept(&name) || without_number(&name).is_some_and(|name| is_kept(OsStr::new(&name))) {
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
        assert_eq!(
            sweep_parts(&folder, SystemTime::now(), &BTreeSet::new()).expect("no folder"),
            Swept::default()
        );
        fs::create_dir_all(folder.join(".dir.fp-part")).expect("makes");
        fs::write(home.path().join("precious"), b"precious").expect("writes");
        std::os::unix::fs::symlink(home.path().join("precious"), folder.join(".link.fp-part"))
            .expect("links");
        for name in [
            ".a.0123.fp-part",
            ".b.4567.fp-part",
            "c.fp-part",
            ".d",
            ".dir.fp-part/.e.fp-part",
            ".kept.89ab.fp-part",
            ".kept.89ab.2.fp-part",
            ".b.4567.2.fp-part",
        ] {
            fs::write(folder.join(name), b"12345").expect("writes");
        }
        let started = SystemTime::now() + Duration::from_secs(1);
        let live = fs::File::create(folder.join(".live.fp-part")).expect("creates");
        live.set_modified(started + Duration::from_secs(1)).expect("sets");
        let keep = BTreeSet::from([".kept.89ab.fp-part".into()]);
        assert_eq!(sweep_parts(&folder, started, &keep).expect("reads"), Swept { files: 3, bytes: 15 });
        let mut left: Vec<_> =
            fs::read_dir(&folder).expect("reads").map(|entry| entry.expect("one").file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [
                ".d",
                ".dir.fp-part",
                ".kept.89ab.2.fp-part",
                ".kept.89ab.fp-part",
                ".link.fp-part",
                ".live.fp-part",
                "c.fp-part"
            ]
        );
        assert!(home.path().join("precious").exists() && folder.join(".dir.fp-part/.e.fp-part").exists());
    }
}
