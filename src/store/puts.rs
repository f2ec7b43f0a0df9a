//! What this peer put into the network, with the keys that take it back: one small file each in the data folder, readable by
//! its owner alone.
//!
//! Invariant: a key is on disk before anybody is asked to keep its content, so that a crash leaves nothing that cannot be
//! taken back.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    replica::{replace, sweep_new, temporary},
};
use crate::protocol::{
    id::{ContentHash, OwnerKey},
    name::portable_name,
};

/// A record is below 1 KiB; a larger file is none.
const MAX_RECORD_BYTES: u64 = 16 << 10;

/// One content that this peer put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// Which.
    pub hash: ContentHash,
    /// The name it was given.
    pub name: String,
    /// Takes it back.
    pub key: OwnerKey,
}

impl Put {
    /// What the bytes of a file say; `None` when they are no record.
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let record: Record = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            hash: record.hash.parse().ok()?,
            name: portable_name(&record.name).ok()?,
            key: record.key.parse().ok()?,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    hash: String,
    name: String,
    key: String,
}

/// The records; cheap to clone.
#[derive(Debug, Clone)]
pub struct Puts {
    folder: PathBuf,
}

impl Puts {
    /// In the data folder; what a killed process left half way is removed. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let folder = data.join("puts");
        fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        sweep_new(&folder)?;
        Ok(Self { folder })
    }

    /// The record of that content. Blocks on the disk.
    pub fn get(&self, hash: &ContentHash) -> Option<Put> {
        self.read(&self.path_of(hash)).filter(|put| put.hash == *hash)
    }

    /// The records of that name. Blocks on the disk.
    pub fn named(&self, name: &str) -> Vec<Put> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let puts = entries.flatten().filter_map(|entry| self.read(&entry.path()));
        puts.filter(|put| put.name == name).collect()
    }

    /// Keeps a record where none is. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails; none is there then.
    pub fn keep(&self, put: &Put) -> Result<(), StoreError> {
        let path = self.path_of(&put.hash);
        let record = Record { hash: put.hash.to_string(), name: put.name.clone(), key: put.key.reveal() };
        let json = serde_json::to_vec_pretty(&record).map_err(io::Error::from);
        let kept = json.and_then(|json| replace(&self.folder, &path, &json));
        if kept.is_err() {
            // It may be there, only not for certain.
            self.forget(&put.hash);
        }
        kept.map_err(StoreError::io("write", &path))
    }

    /// Forgets a record. Blocks on the disk.
    pub fn forget(&self, hash: &ContentHash) {
        let path = self.path_of(hash);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "could not remove the record of a put");
        }
    }

    /// A file that holds a text while it is put, and that does not outlive the next start. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails; nothing is left then.
    pub fn keep_text(&self, text: &str) -> io::Result<tempfile::TempPath> {
        let mut file = temporary(&self.folder)?;
        file.write_all(text.as_bytes())?;
        Ok(file.into_temp_path())
    }

    fn path_of(&self, hash: &ContentHash) -> PathBuf {
        self.folder.join(format!("{hash}.json"))
    }

    #[expect(clippy::unused_self, reason = "reads as the others do")]
    fn read(&self, path: &Path) -> Option<Put> {
        let found = fs::symlink_metadata(path).ok()?;
        if !found.is_file() || found.len() > MAX_RECORD_BYTES {
            return None;
        }
        Put::from_json(&fs::read(path).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_kept_for_its_owner_alone_until_it_is_forgotten() {
        let home = tempfile::tempdir().expect("a folder");
        let puts = Puts::open(home.path()).expect("opens");
        let put = Put {
            hash: ContentHash::from_bytes([1; 32]),
            name: "a note".into(),
            key: OwnerKey::from_bytes([2; 32]),
        };
        puts.keep(&put).expect("keeps");
        let mode = fs::metadata(puts.path_of(&put.hash)).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        let puts = Puts::open(home.path()).expect("opens");
        assert_eq!((puts.get(&put.hash), puts.named("a note")), (Some(put.clone()), vec![put.clone()]));
        puts.forget(&put.hash);
        assert_eq!((puts.get(&put.hash), puts.named("a note")), (None, vec![]));
    }
}
