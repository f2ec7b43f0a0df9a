//! Hashes across restarts: what was read once is not read again while its stamp is the same. Only a cache: without it, or
//! with a broken one, files are read again.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTableMetadata, TableDefinition};
use tracing::{debug, warn};

use super::path::Stamp;
use crate::protocol::id::ContentHash;

type Row = (u64, i64, u32, u64, [u8; 32]);
/// Path on disk to size, modification (s, ns), inode and hash.
const HASHES: TableDefinition<'_, &str, Row> = TableDefinition::new("hashes-1");
/// redb's own default is 1 GiB; a peer with an empty share aims at 15 MiB in all.
const CACHE_BYTES: usize = 4 << 20;
/// Hashes that wait to be written; reached, they are written at once.
const UNWRITTEN_MAX: usize = 4096;
/// Rows of files that are gone are kept for shares that come back, up to this many more than twice the files.
const STALE_ROWS: u64 = 10_000;

#[derive(Debug)]
pub(super) struct Known {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    db: Option<Database>,
    /// It could not be opened; said once.
    is_broken: bool,
    unwritten: HashMap<String, (Stamp, ContentHash)>,
}

impl Known {
    /// Touches no file yet.
    pub(super) fn new(data: &Path) -> Self {
        Self { file: data.join("index.redb"), state: Mutex::default() }
    }

    /// Hashes of those files whose stamp is the one on record. Blocks on the disk.
    pub(super) fn look_up<'a>(
        &self,
        files: impl Iterator<Item = (&'a Path, &'a Stamp)>,
    ) -> Vec<Option<ContentHash>> {
        let mut state = self.lock();
        if state.db.is_none() && self.file.exists() {
            self.open(&mut state);
        }
        let table = state.db.as_ref().and_then(|db| db.begin_read().ok()?.open_table(HASHES).ok());
        files
            .map(|(path, stamp)| {
                let path = path.to_str()?;
                if let Some((known, hash)) = state.unwritten.get(path) {
                    return (known == stamp).then_some(*hash);
                }
                let (size, s, ns, inode, hash) = table.as_ref()?.get(path).ok()??.value();
                let known = Stamp { size_bytes: size, modified_s: s, modified_ns: ns, inode };
                (known == *stamp).then(|| ContentHash::from_bytes(hash))
            })
            .collect()
    }

    /// Remembers a hash, to be written with the next [`Self::write`]. True when it is time for that.
    pub(super) fn note(&self, path: &Path, stamp: Stamp, hash: ContentHash) -> bool {
        let mut state = self.lock();
        if let Some(path) = path.to_str().filter(|_| !state.is_broken) {
            state.unwritten.insert(path.into(), (stamp, hash));
        }
        state.unwritten.len() >= UNWRITTEN_MAX
    }

    /// Writes what was noted, in one transaction. A failure is logged and costs reading those files again.
    pub(super) fn write(&self) {
        let mut state = self.lock();
        if state.unwritten.is_empty() {
            return;
        }
        self.open(&mut state);
        let rows = std::mem::take(&mut state.unwritten);
        let Some(db) = &state.db else { return };
        let written = (|| -> Result<(), redb::Error> {
            let change = db.begin_write()?;
            {
                let mut table = change.open_table(HASHES)?;
                for (path, (stamp, hash)) in &rows {
                    let Stamp { size_bytes, modified_s, modified_ns, inode } = *stamp;
                    table.insert(
                        path.as_str(),
                        (size_bytes, modified_s, modified_ns, inode, *hash.as_bytes()),
                    )?;
                }
            }
            Ok(change.commit()?)
        })();
        match written {
            Ok(()) => debug!(files = rows.len(), "hashes kept"),
            Err(error) => warn!(%error, file = %self.file.display(), "hashes could not be kept"),
        }
    }

    /// Drops rows of files that are gone, when they outnumber those that are there.
    pub(super) fn prune(&self, files: u64, mut is_there: impl FnMut(&str) -> bool) {
        let state = self.lock();
        let Some(db) = &state.db else { return };
        let pruned = (|| -> Result<(), redb::Error> {
            let rows = db.begin_read()?.open_table(HASHES)?.len()?;
            if rows > 2 * files + STALE_ROWS {
                let change = db.begin_write()?;
                change.open_table(HASHES)?.retain(|path, _| is_there(path))?;
                change.commit()?;
            }
            Ok(())
        })();
        if let Err(error) = pruned {
            debug!(%error, "kept hashes could not be pruned");
        }
    }

    /// Writes the rest and closes the file, so that a next start in this process can open it.
    pub(super) fn close(&self) {
        self.write();
        self.lock().db = None;
    }

    fn open(&self, state: &mut State) {
        if state.db.is_some() || state.is_broken {
            return;
        }
        let open = || Database::builder().set_cache_size(CACHE_BYTES).create(&self.file);
        let db = match open() {
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(DatabaseError::DatabaseAlreadyOpen),
            Err(error) => {
                warn!(%error, file = %self.file.display(), "kept hashes cannot be read; files are hashed again");
                let _ = fs::remove_file(&self.file);
                open()
            }
            opened => opened,
        };
        match db {
            Ok(db) => state.db = Some(db),
            Err(error) => {
                warn!(%error, file = %self.file.display(), "hashes are not kept across restarts");
                state.is_broken = true;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(size_bytes: u64) -> Stamp {
        Stamp { size_bytes, modified_s: 1, modified_ns: 2, inode: 3 }
    }

    #[test]
    fn a_hash_holds_for_its_stamp_only_and_across_openings() {
        let data = tempfile::tempdir().unwrap();
        let (path, hash) = (Path::new("/share/a"), ContentHash::from_bytes([7; 32]));
        let known = Known::new(data.path());
        known.note(path, stamp(1), hash);
        assert_eq!(known.look_up([(path, &stamp(1))].into_iter()), [Some(hash)]);
        known.close();
        let known = Known::new(data.path());
        assert_eq!(known.look_up([(path, &stamp(1)), (path, &stamp(2))].into_iter()), [Some(hash), None]);
    }

    #[test]
    fn a_broken_file_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("index.redb"), "not a database").unwrap();
        let (path, hash) = (Path::new("/share/a"), ContentHash::from_bytes([7; 32]));
        let known = Known::new(data.path());
        assert_eq!(known.look_up([(path, &stamp(1))].into_iter()), [None]);
        known.note(path, stamp(1), hash);
        known.close();
        assert_eq!(Known::new(data.path()).look_up([(path, &stamp(1))].into_iter()), [Some(hash)]);
    }
}
