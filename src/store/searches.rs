//! The saved searches on disk: one JSON file each in the data folder, readable by its owner alone.
//!
//! Invariant: a search's file is whole or not there, whatever is killed when; what cannot be read is set aside, never
//! deleted.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    replica::{replace, sweep_new},
};
use crate::protocol::{
    action::{FileInfo, MAX_NEW_HIT_PEERS, NewHit, Scope},
    name::MAX_PATH_BYTES,
    query::MAX_QUERY_BYTES,
    saved::{MAX_KNOWN, MAX_SAVED, MAX_UNTOLD, Saved, is_name},
};

/// In the data folder.
const FOLDER: &str = "searches";
const SUFFIX: &str = ".json";
/// Largest file that is read: all that a search remembers, with the longest paths, escaped.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// As it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    text: String,
    scope: WrittenScope,
    has_begun: bool,
    /// 16 hexadecimal digits each.
    known: Vec<String>,
    #[serde(default)]
    untold: Vec<WrittenHit>,
    #[serde(default)]
    dropped: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenScope {
    Mine,
    All,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHit {
    hash: String,
    path: String,
    size_bytes: u64,
    modified_s: u64,
    peers: Vec<String>,
    found_s: u64,
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

impl From<&NewHit> for WrittenHit {
    fn from(hit: &NewHit) -> Self {
        Self {
            hash: hit.file.hash.map(|hash| hash.to_string()).unwrap_or_default(),
            path: hit.file.path.clone(),
            size_bytes: hit.file.size_bytes,
            modified_s: seconds(hit.file.modified),
            peers: hit.peers.clone(),
            found_s: seconds(hit.found),
        }
    }
}

impl WrittenHit {
    fn into_hit(self, search: &str) -> Option<NewHit> {
        (self.path.len() <= MAX_PATH_BYTES && self.peers.len() <= MAX_NEW_HIT_PEERS).then_some(())?;
        self.peers.iter().all(|peer| is_name(peer)).then_some(())?;
        let file = FileInfo {
            hash: Some(self.hash.parse().ok()?),
            path: self.path,
            size_bytes: self.size_bytes,
            modified: time(self.modified_s)?,
        };
        Some(NewHit { search: search.into(), file, peers: self.peers, found: time(self.found_s)? })
    }
}

impl From<&Saved> for Written {
    fn from(saved: &Saved) -> Self {
        Self {
            name: saved.name.clone(),
            text: saved.text.clone(),
            scope: match saved.scope {
                Scope::Mine => WrittenScope::Mine,
                Scope::All => WrittenScope::All,
            },
            has_begun: saved.has_begun,
            known: saved.known.iter().map(|known| format!("{known:016x}")).collect(),
            untold: saved.untold.iter().map(WrittenHit::from).collect(),
            dropped: saved.dropped,
        }
    }
}

impl Written {
    fn into_saved(self) -> Option<Saved> {
        let is_bounded = self.text.len() <= MAX_QUERY_BYTES
            && self.known.len() <= MAX_KNOWN
            && self.untold.len() <= MAX_UNTOLD;
        (is_bounded && is_name(&self.name)).then_some(())?;
        let known = self.known.iter().map(|known| u64::from_str_radix(known, 16).ok());
        let known = known.collect::<Option<_>>()?;
        let untold = self.untold.into_iter().map(|hit| hit.into_hit(&self.name)).collect::<Option<_>>()?;
        Some(Saved {
            known,
            untold,
            name: self.name,
            text: self.text,
            scope: match self.scope {
                WrittenScope::Mine => Scope::Mine,
                WrittenScope::All => Scope::All,
            },
            has_begun: self.has_begun,
            dropped: self.dropped,
        })
    }
}

/// The files. All functions wait for the disk.
#[derive(Debug)]
pub struct Searches {
    folder: PathBuf,
}

impl Searches {
    /// The saved searches of the data folder, in order of their names. More than [`MAX_SAVED`] and what cannot be read are
    /// left out with a warning.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(data: &Path) -> Result<(Self, Vec<Saved>), StoreError> {
        let folder = data.join(FOLDER);
        fs::create_dir_all(&folder).map_err(StoreError::io("make the folder", &folder))?;
        sweep_new(&folder)?;
        let mut all = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io("read the folder", &folder))? {
            let path = entry.map_err(StoreError::io("read the folder", &folder))?.path();
            let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX)) else {
                continue;
            };
            match read(&path) {
                Ok(saved) if saved.name == stem => all.push(saved),
                Ok(_) => set_aside(&path, &"it bears another name than its file"),
                Err(error) => set_aside(&path, &error),
            }
        }
        all.sort_by(|left, right| left.name.cmp(&right.name));
        if all.len() > MAX_SAVED {
            tracing::warn!(left_out = all.len() - MAX_SAVED, "too many searches are saved");
            all.truncate(MAX_SAVED);
        }
        Ok((Self { folder }, all))
    }

    /// Writes a search in place of what was known of it, and on disk.
    ///
    /// # Errors
    /// It could not be written; what was known before is still there.
    pub fn keep(&self, saved: &Saved) -> Result<(), StoreError> {
        let path = self.path(&saved.name);
        let json = to_json(saved);
        json.and_then(|json| replace(&self.folder, &path, &json)).map_err(StoreError::io("write", &path))
    }

    /// Forgets a search.
    ///
    /// # Errors
    /// Its file could not be removed.
    pub fn forget(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }
}

fn read(path: &Path) -> io::Result<Saved> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(fs::File::open(path)?, MAX_FILE_BYTES), &mut bytes)?;
    from_json(&bytes)
}

/// What the bytes of a file say.
///
/// # Errors
/// They are no saved search.
pub fn from_json(bytes: &[u8]) -> io::Result<Saved> {
    let written: Written = serde_json::from_slice(bytes)?;
    written.into_saved().ok_or_else(|| io::Error::other("a field makes no sense"))
}

/// As the file of a search says it.
///
/// # Errors
/// None that is known.
pub fn to_json(saved: &Saved) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&Written::from(saved))?)
}

/// Renames it, so that a person can look at it and the next start does not stumble.
fn set_aside(path: &Path, why: &dyn std::fmt::Display) {
    let aside = path.with_extension("unreadable");
    tracing::warn!(path = %path.display(), %why, aside = %aside.display(), "a saved search cannot be read");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(path = %path.display(), %error, "could not set it aside");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::protocol::id::ContentHash;

    fn saved(name: &str) -> Saved {
        let file = FileInfo {
            hash: Some(ContentHash::from_bytes([3; 32])),
            path: "docs/a \u{1b}\".pdf".into(),
            size_bytes: 7,
            modified: SystemTime::UNIX_EPOCH + Duration::from_secs(5),
        };
        let hit = NewHit {
            search: name.into(),
            file,
            peers: vec!["ana".into()],
            found: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        };
        Saved {
            name: name.into(),
            text: "\"a b\" newer:7d".into(),
            scope: Scope::All,
            has_begun: true,
            known: vec![0, u64::MAX, 0x0303_0303_0303_0303],
            untold: [hit].into(),
            dropped: 2,
        }
    }

    #[test]
    fn searches_come_back_as_they_were_for_their_owner_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let (searches, before) = Searches::open(data.path()).expect("opens");
        assert!(before.is_empty());
        for name in ["b.c", "a", "gone"] {
            searches.keep(&saved(name)).expect("keeps");
        }
        searches.forget("gone").expect("forgets");
        searches.forget("gone").expect("is forgotten");
        let mode = fs::metadata(data.path().join(FOLDER).join("a.json")).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0);
        assert_eq!(Searches::open(data.path()).expect("opens").1, [saved("a"), saved("b.c")]);
    }

    #[test]
    fn what_cannot_be_read_is_set_aside() {
        let data = tempfile::tempdir().expect("a folder");
        let (searches, _) = Searches::open(data.path()).expect("opens");
        searches.keep(&saved("a")).expect("keeps");
        let folder = data.path().join(FOLDER);
        let text = fs::read_to_string(folder.join("a.json")).expect("reads");
        let wrong = [
            ("b", text.clone()),
            ("c", "{\"name\":".into()),
            ("d", " ".repeat(5 << 20)),
            ("e", text.replace("\"name\":\"a\"", "\"name\":\"e\"").replace("\"ana\"", "\"\\u001b[2J\"")),
            ("f", text.replace("\"name\":\"a\"", "\"name\":\"f\"").replace("ffffffff", "zz")),
        ];
        for (name, text) in &wrong {
            fs::write(folder.join(format!("{name}.json")), text).expect("writes");
        }
        assert_eq!(Searches::open(data.path()).expect("opens").1, [saved("a")]);
        for (name, _) in &wrong {
            assert!(folder.join(format!("{name}.unreadable")).exists(), "{name}");
        }
    }
}
