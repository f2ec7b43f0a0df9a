//! What a folder consists of: the list that a folder's transfer is held to.
//!
//! Invariant: every path of a manifest is relative, made of portable names in NFC, and no two of its paths, nor a path and
//! a folder, would be the same on a file system that ignores case; its number of files and bytes of paths are bounded.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization;

use super::{
    id::ContentHash,
    name::{InvalidName, MAX_PATH_BYTES, Printable, portable_name},
};

/// Most files of a folder that is moved as one.
pub const MAX_MANIFEST_FILES: usize = 100_000;
/// Most bytes of all paths together: 335 bytes each for the most files.
pub const MAX_MANIFEST_PATH_BYTES: usize = 32 << 20;
/// Files up to this size travel many in one message.
pub const SMALL_FILE_BYTES: u64 = 256 << 10;

/// One file of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFile {
    /// Below the folder, `/` between segments.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `None` while its holder has not read it yet.
    pub hash: Option<ContentHash>,
}

/// A folder's files, in order of path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    files: Vec<ManifestFile>,
    size_bytes: u64,
    id: ContentHash,
}

/// Why a list of files is no folder that may be made here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidManifest {
    /// Above a bound.
    #[error("the folder has more than {MAX_MANIFEST_FILES} files, or their paths are too long together")]
    TooMany,
    /// A path that may not become a file here.
    #[error("the folder holds `{path}`: {reason}", path = Printable(.path))]
    Name {
        /// As told.
        path: String,
        /// What is wrong with it.
        reason: InvalidName,
    },
    /// Two paths that are one where case is ignored.
    #[error("the folder holds `{first}` and `{second}`, which many systems take for the same name",
        first = Printable(.first), second = Printable(.second))]
    Clash {
        /// As told.
        first: String,
        /// As told.
        second: String,
    },
    /// The sizes are more than any disk holds.
    #[error("the sizes of the folder's files make no sense")]
    Sizes,
}

impl Manifest {
    /// Checks the files and puts them in order.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn new(files: Vec<ManifestFile>) -> Result<Self, InvalidManifest> {
        let mut builder = ManifestBuilder::default();
        for file in files {
            builder.add(file)?;
        }
        Ok(builder.finish())
    }

    fn of(mut files: Vec<ManifestFile>, size_bytes: u64) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut id = blake3::Hasher::new();
        for file in &files {
            id.update(&(file.path.len() as u64).to_le_bytes());
            id.update(file.path.as_bytes());
            id.update(&file.size_bytes.to_le_bytes());
            id.update(file.hash.as_ref().map_or(&[0; 32], |hash| hash.as_bytes()));
        }
        let id = ContentHash::from_bytes(*id.finalize().as_bytes());
        Self { files, size_bytes, id }
    }

    /// In order of path.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// Of all files.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// BLAKE3 over the files in order: length of the path in 8 bytes, little-endian, the path, the size in 8 bytes, the hash
    /// or 32 zeros.
    pub fn id(&self) -> ContentHash {
        self.id
    }
}

/// A manifest as its files become known. After an error it is not to be used any more.
#[derive(Debug, Default)]
pub struct ManifestBuilder {
    files: Vec<ManifestFile>,
    names: Names,
    size_bytes: u64,
    path_bytes: usize,
}

impl ManifestBuilder {
    /// Checks the next file, in any order, and gives it with its path in NFC.
    ///
    /// # Errors
    /// What is wrong with it, alone or beside the others.
    pub fn add(&mut self, mut file: ManifestFile) -> Result<&ManifestFile, InvalidManifest> {
        self.path_bytes += file.path.len();
        if self.files.len() == MAX_MANIFEST_FILES || self.path_bytes > MAX_MANIFEST_PATH_BYTES {
            return Err(InvalidManifest::TooMany);
        }
        let portable = portable_path(&file.path)?;
        self.names.add(&portable, &file.path)?;
        file.path = portable;
        self.size_bytes = self.size_bytes.checked_add(file.size_bytes).ok_or(InvalidManifest::Sizes)?;
        self.files.push(file);
        Ok(self.files.last().expect("just put there"))
    }

    /// The folder that these files make.
    pub fn finish(self) -> Manifest {
        Manifest::of(self.files, self.size_bytes)
    }
}

/// A relative path of portable names, in NFC.
///
/// # Errors
/// [`InvalidManifest::Name`].
pub fn portable_path(path: &str) -> Result<String, InvalidManifest> {
    let wrong = |reason| InvalidManifest::Name { path: path.chars().take(200).collect(), reason };
    if path.len() > MAX_PATH_BYTES {
        return Err(wrong(InvalidName::TooLong));
    }
    let mut portable = String::with_capacity(path.len());
    for segment in path.split('/') {
        if !portable.is_empty() {
            portable.push('/');
        }
        portable.push_str(&portable_name(segment).map_err(wrong)?);
    }
    Ok(portable)
}

/// The paths so far and the folders they lie in, by what a system that ignores case would call them.
#[derive(Debug, Default)]
struct Names {
    files: HashMap<String, String>,
    folders: HashMap<String, String>,
    last_folder: Option<String>,
}

impl Names {
    fn add(&mut self, portable: &str, told: &str) -> Result<(), InvalidManifest> {
        let clash = |first: &str, second: &str| InvalidManifest::Clash {
            first: first.to_owned(),
            second: second.to_owned(),
        };
        let key = caseless(portable);
        if let Some(folder) = self.folders.get(&key) {
            return Err(clash(folder, told));
        }
        if let Some(first) = self.files.insert(key.clone(), told.to_owned()) {
            return Err(clash(&first, told));
        }
        let folder = portable.rsplit_once('/').map(|(folder, _)| folder);
        // Files of one folder come one after the other.
        if folder.is_none() || folder == self.last_folder.as_deref() {
            return Ok(());
        }
        let ends = portable.match_indices('/').map(|(end, _)| end);
        let key_ends = key.match_indices('/').map(|(end, _)| end);
        for (end, key_end) in ends.zip(key_ends) {
            let (folder, key) = (&portable[..end], &key[..key_end]);
            if let Some(file) = self.files.get(key) {
                return Err(clash(file, told));
            }
            match self.folders.get(key) {
                Some(first) if first != folder => return Err(clash(first, folder)),
                Some(_) => {}
                None => drop(self.folders.insert(key.to_owned(), folder.to_owned())),
            }
        }
        self.last_folder = folder.map(str::to_owned);
        Ok(())
    }
}

fn caseless(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    // Through upper case, because only that unites `ß` with `SS`.
    path.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(paths: &[&str]) -> Result<Manifest, InvalidManifest> {
        let file = |path: &&str| ManifestFile { path: (*path).into(), size_bytes: 1, hash: None };
        Manifest::new(paths.iter().map(file).collect())
    }

    #[test]
    fn paths_that_escape_or_cannot_be_files_everywhere_are_refused() {
        let long = format!("{}x", "d/".repeat(2048));
        for path in [
            "",
            "/etc/passwd",
            "../pwned",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            "a\\b",
            "nul",
            "a/con.txt",
            "a\0b",
            "x.",
            "a/.b.0123.fp-part",
            "a/\u{202e}b",
            &long,
        ] {
            assert!(matches!(manifest(&["ok", path]), Err(InvalidManifest::Name { .. })), "{path:?}");
        }
        assert!(manifest(&["a b/é #1.txt", ".hidden", "a b/c/d"]).is_ok());
    }

    #[test]
    fn clashes_are_told_with_both_names() {
        for (first, second) in [
            ("README", "readme"),
            ("a/É", "a/e\u{301}"),
            ("a/é", "a/e\u{301}"),
            ("a", "a/b"),
            ("straße", "STRASSE"),
            ("same", "same"),
        ] {
            let clash = InvalidManifest::Clash { first: first.into(), second: second.into() };
            assert_eq!(manifest(&[first, "x/y", second]), Err(clash));
        }
        let inside = InvalidManifest::Clash { first: "a".into(), second: "A".into() };
        assert_eq!(manifest(&["a/b", "A"]), Err(inside));
        let folders = InvalidManifest::Clash { first: "Docs".into(), second: "docs".into() };
        assert_eq!(manifest(&["Docs/a", "docs/b"]), Err(folders));
        assert!(manifest(&["a/b/c", "a/b/d", "a/c", "b/c"]).is_ok());
    }

    #[test]
    fn too_many_files_and_senseless_sizes_are_refused() {
        let files = |count: usize| {
            let file = |n| ManifestFile { path: format!("{n}"), size_bytes: 0, hash: None };
            Manifest::new((0..count).map(file).collect())
        };
        assert!(files(MAX_MANIFEST_FILES).is_ok());
        assert_eq!(files(MAX_MANIFEST_FILES + 1), Err(InvalidManifest::TooMany));
        let huge = |path: &str| ManifestFile { path: path.into(), size_bytes: u64::MAX, hash: None };
        assert_eq!(Manifest::new(vec![huge("a"), huge("b")]), Err(InvalidManifest::Sizes));
    }

    #[test]
    fn the_same_files_have_the_same_id_in_any_order_and_others_another() {
        let id = |paths: &[&str]| manifest(paths).expect("valid").id();
        assert_eq!(id(&["a", "b/c"]), id(&["b/c", "a"]));
        assert_ne!(id(&["a", "b/c"]), id(&["a", "b/d"]));
        assert_eq!(manifest(&[]).expect("an empty folder").size_bytes(), 0);
    }
}
