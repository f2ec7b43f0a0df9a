//! What this peer put into the network, with the keys that take it back: one small file each in the data folder, readable by
//! its owner alone.
//!
//! Invariant: a key is on disk before anybody is asked to keep its content, so that a crash leaves nothing that cannot be
//! taken back.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    replica::{replace, sweep_new, temporary},
};
use crate::protocol::{
    id::{ContentHash, OwnerKey},
    name::portable_name,
    placement::{DEFAULT_REPLICAS, MAX_REPLICAS},
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
    /// Its size; 0 in a record of an earlier version, which did not tell.
    pub size_bytes: u64,
    /// Replicas wanted.
    pub replicas: usize,
    /// When, to the second; `None` in a record of an earlier version.
    pub put_time: Option<SystemTime>,
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
            size_bytes: record.size_bytes.unwrap_or(0),
            replicas: record
                .replicas
                .filter(|replicas| (1..=MAX_REPLICAS).contains(replicas))
                .unwrap_or(DEFAULT_REPLICAS),
            put_time: record
                .put_unix_seconds
                .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
            key: record.key.parse().ok()?,
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    hash: String,
    name: String,
    size_bytes: Option<u64>,
    replicas: Option<usize>,
    put_unix_seconds: Option<u64>,
    key: String,
}

impl From<&Put> for Record {
    fn from(put: &Put) -> Self {
        let since = put.put_time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        Self {
            hash: put.hash.to_string(),
            name: put.name.clone(),
            size_bytes: Some(put.size_bytes),
            replicas: Some(put.replicas),
            put_unix_seconds: since.map(|since| since.as_secs()),
            key: put.key.reveal(),
        }
    }
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
        self.all().filter(|put| put.name == name).collect()
    }

    /// At most so many records behind that place, in order of name and hash, and whether there are more. Blocks on the disk,
    /// for every record.
    pub fn page(&self, after: Option<&(String, ContentHash)>, size: usize) -> (Vec<Put>, bool) {
        let is_behind = |put: &Put| after.is_none_or(|(name, hash)| (&put.name, &put.hash) > (name, hash));
        let mut puts: Vec<Put> = self.all().filter(is_behind).collect();
        puts.sort_by(|one, other| (&one.name, &one.hash).cmp(&(&other.name, &other.hash)));
        let has_more = puts.len() > size;
        puts.truncate(size);
        (puts, has_more)
    }

    fn all(&self) -> impl Iterator<Item = Put> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| self.read(&entry.path()))
    }

    /// Keeps a record where none is. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails; none is there then.
    pub fn keep(&self, put: &Put) -> Result<(), StoreError> {
        let kept = self.write(put);
        if kept.is_err() {
            // It may be there, only not for certain.
            self.forget(&put.hash);
        }
        kept
    }

    /// Writes a record anew where one is. Blocks on the disk.
    ///
    /// # Errors
    /// The disk fails; the former one or this one is there then.
    pub fn write(&self, put: &Put) -> Result<(), StoreError> {
        let path = self.path_of(&put.hash);
        let json = serde_json::to_vec_pretty(&Record::from(put)).map_err(io::Error::from);
        json.and_then(|json| replace(&self.folder, &path, &json)).map_err(StoreError::io("write", &path))
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

    fn put(number: u8, name: &str) -> Put {
        Put {
            hash: ContentHash::from_bytes([number; 32]),
            name: name.into(),
            size_bytes: 7,
            replicas: 3,
            put_time: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)),
            key: OwnerKey::from_bytes([2; 32]),
        }
    }

    #[test]
    fn pages_go_through_all_records_in_order_of_names() {
        let home = tempfile::tempdir().expect("a folder");
        let puts = Puts::open(home.path()).expect("opens");
        let all = [put(9, "a"), put(1, "b"), put(2, "b"), put(0, "c")];
        for put in all.iter().rev() {
            puts.keep(put).expect("keeps");
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (page, has_more) = puts.page(after.as_ref(), 3);
            after = page.last().map(|last| (last.name.clone(), last.hash));
            seen.extend(page);
            if !has_more {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_record_of_an_earlier_version_goes_on_to_open() {
        let (hash, key) = (ContentHash::from_bytes([1; 32]), OwnerKey::from_bytes([2; 32]));
        let json = format!(r#"{{"hash": "{hash}", "name": "a note", "key": "{}"}}"#, key.reveal());
        let put = Put::from_json(json.as_bytes()).expect("a record");
        assert_eq!((put.hash, put.key, put.replicas, put.put_time), (hash, key, DEFAULT_REPLICAS, None));
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone_until_it_is_forgotten() {
        let home = tempfile::tempdir().expect("a folder");
        let puts = Puts::open(home.path()).expect("opens");
        let put = put(1, "a note");
        puts.keep(&put).expect("keeps");
        let mode = fs::metadata(puts.path_of(&put.hash)).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        let puts = Puts::open(home.path()).expect("opens");
        assert_eq!((puts.get(&put.hash), puts.named("a note")), (Some(put.clone()), vec![put.clone()]));
        puts.forget(&put.hash);
        assert_eq!((puts.get(&put.hash), puts.named("a note")), (None, vec![]));
    }
}
