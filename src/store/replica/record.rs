//! The records of replicas on disk: one JSON file each, replaced as a whole, so that a crash leaves the former or the new.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Kept, MAX_KEPT, MAX_RELEASED, Replica};
use crate::{
    protocol::{
        id::{ContentHash, OwnerKey},
        name::portable_name,
        placement::MAX_REPLICAS,
    },
    store::StoreError,
};

/// One line `hash key` a release, the oldest first.
const RELEASED_FILE: &str = "released";
/// A record is below 1 KiB; a larger file is none.
const MAX_RECORD_BYTES: u64 = 16 << 10;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    hash: String,
    size_bytes: u64,
    name: String,
    file: String,
    replicas: usize,
    owner_tag: String,
    owner: String,
}

impl From<&Kept> for Record {
    fn from(kept: &Kept) -> Self {
        let Replica { hash, size_bytes, name, replicas, owner_tag, owner } = &kept.replica;
        Self {
            hash: hash.to_string(),
            size_bytes: *size_bytes,
            name: name.clone(),
            file: kept.file.clone(),
            replicas: *replicas,
            owner_tag: owner_tag.to_string(),
            owner: owner.to_string(),
        }
    }
}

impl Record {
    fn check(self) -> Option<Kept> {
        let replica = Replica {
            hash: self.hash.parse().ok()?,
            size_bytes: self.size_bytes,
            name: portable_name(&self.name).ok()?,
            replicas: Some(self.replicas).filter(|count| (1..=MAX_REPLICAS).contains(count))?,
            owner_tag: self.owner_tag.parse().ok()?,
            owner: self.owner.parse().ok()?,
        };
        Some(Kept { replica, file: portable_name(&self.file).ok()? })
    }
}

pub(super) fn from_json(bytes: &[u8]) -> Option<Kept> {
    serde_json::from_slice::<Record>(bytes).ok().and_then(Record::check)
}

fn path_of(records: &Path, hash: &ContentHash) -> PathBuf {
    records.join(format!("{hash}.json"))
}

/// All records that make sense; the others stay on disk and are told of.
pub(super) fn read_all(records: &Path) -> Result<BTreeMap<ContentHash, Kept>, StoreError> {
    let mut kept = BTreeMap::new();
    for entry in fs::read_dir(records).map_err(StoreError::io("read", records))?.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "json") || kept.len() >= MAX_KEPT {
            continue;
        }
        let is_small = entry.metadata().is_ok_and(|found| found.is_file() && found.len() <= MAX_RECORD_BYTES);
        let bytes = if is_small { fs::read(&path).ok() } else { None };
        if let Some(found) = bytes.and_then(|bytes| from_json(&bytes)) {
            kept.insert(found.replica.hash, found);
        } else {
            tracing::warn!(path = %path.display(), "not the record of a replica");
        }
    }
    Ok(kept)
}

pub(super) fn write(records: &Path, kept: &Kept) -> Result<(), StoreError> {
    let path = path_of(records, &kept.replica.hash);
    let json = serde_json::to_vec_pretty(&Record::from(kept));
    let written = json.map_err(io::Error::from).and_then(|json| replace(records, &path, &json));
    written.map_err(StoreError::io("write", &path))
}

pub(super) fn remove(records: &Path, hash: &ContentHash) {
    let path = path_of(records, hash);
    if let Err(error) = fs::remove_file(&path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "could not remove the record of a replica");
    }
}

pub(super) fn read_released(records: &Path) -> Result<VecDeque<(ContentHash, OwnerKey)>, StoreError> {
    let path = records.join(RELEASED_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(VecDeque::new()),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    let line = |line: &str| {
        let (hash, key) = line.split_once(' ')?;
        Some((hash.parse().ok()?, key.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).take(MAX_RELEASED).collect())
}

pub(super) fn write_released(
    records: &Path,
    released: &VecDeque<(ContentHash, OwnerKey)>,
) -> Result<(), StoreError> {
    let path = records.join(RELEASED_FILE);
    let mut text = String::with_capacity(released.len() * 130);
    for (hash, key) in released {
        let _ = writeln!(text, "{hash} {}", key.reveal());
    }
    replace(records, &path, text.as_bytes()).map_err(StoreError::io("write", &path))
}

/// Begins the names of files that are about to take the place of others.
const NEW_PREFIX: &str = ".new-";

/// Removes what a killed process was about to put in place.
pub(in crate::store) fn sweep_new(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(StoreError::io("read", folder))?.flatten() {
        let is_new = entry.file_name().to_string_lossy().starts_with(NEW_PREFIX);
        if is_new && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "could not remove a file of an earlier run");
        }
    }
    Ok(())
}

/// A file in that folder, for its owner alone; removed when it is dropped, or by [`sweep_new`].
pub(in crate::store) fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(NEW_PREFIX).tempfile_in(folder)
}

/// As a whole, and on disk when it returns.
pub(in crate::store) fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}
