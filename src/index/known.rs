//! Hashes and trees across restarts: what was read once is not read again while its stamp is the same. Only a cache: without
//! it, or with a broken one, files are read again. Trees lie on disk alone, but for those not written yet.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition,
    TableError,
};
use tracing::{debug, warn};

use super::path::Stamp;
use crate::protocol::{
    id::ContentHash,
    piece::{Layout, Tree},
};

type Row = (u64, i64, u32, u64, i64, u32, [u8; 32]);
/// Path on disk to size, modification (s, ns), inode, change (s, ns) and hash.
const HASHES: TableDefinition<'_, &str, Row> = TableDefinition::new("hashes-2");
/// Without the change; what older versions left is dropped.
const OLD_HASHES: TableDefinition<'_, &str, (u64, i64, u32, u64, [u8; 32])> =
    TableDefinition::new("hashes-1");
/// Hash to the values of its pieces, for files that have more than one.
const TREES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("trees-1");
/// redb's own default is 1 GiB; a peer with an empty share aims at 15 MiB in all.
const CACHE_BYTES: usize = 4 << 20;
/// Hashes that wait to be written; reached, they are written at once.
const UNWRITTEN_MAX: usize = 4096;
/// Bytes of trees that wait to be written; those of 128 GiB of files.
const UNWRITTEN_TREE_BYTES: usize = 4 << 20;
/// Rows of files that are gone are kept for shares that come back, up to this many more than twice the files.
const STALE_ROWS: u64 = 10_000;
/// Trees without a row are left alone up to this many more than twice the large files.
const STALE_TREES: u64 = 256;

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
    unwritten_trees: HashMap<ContentHash, Vec<u8>>,
    unwritten_tree_bytes: usize,
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
        self.open_if_there(&mut state);
        let table = state.db.as_ref().and_then(|db| db.begin_read().ok()?.open_table(HASHES).ok());
        files
            .map(|(path, stamp)| {
                let path = path.to_str()?;
                if let Some((known, hash)) = state.unwritten.get(path) {
                    return (known == stamp).then_some(*hash);
                }
                let row = table.as_ref()?.get(path).ok()??.value();
                let known = Stamp {
                    size_bytes: row.0,
                    modified_s: row.1,
                    modified_ns: row.2,
                    inode: row.3,
                    changed_s: row.4,
                    changed_ns: row.5,
                };
                (known == *stamp).then(|| ContentHash::from_bytes(row.6))
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

    /// Remembers a tree as [`Self::note`] does a hash; one without values needs no remembering.
    pub(super) fn note_tree(&self, tree: &Tree) -> bool {
        if !tree.layout().has_values() {
            return false;
        }
        let mut state = self.lock();
        if !state.is_broken {
            let values = tree.values();
            state.unwritten_tree_bytes += values.len();
            if let Some(old) = state.unwritten_trees.insert(tree.root(), values) {
                state.unwritten_tree_bytes -= old.len();
            }
        }
        state.unwritten_tree_bytes >= UNWRITTEN_TREE_BYTES
    }

    /// The values of a content's pieces as they were kept, unchecked. Blocks on the disk.
    pub(super) fn tree(&self, hash: &ContentHash) -> Option<Vec<u8>> {
        let mut state = self.lock();
        self.open_if_there(&mut state);
        if let Some(values) = state.unwritten_trees.get(hash) {
            return Some(values.clone());
        }
        let table = state.db.as_ref()?.begin_read().ok()?.open_table(TREES).ok()?;
        Some(table.get(hash.as_bytes()).ok()??.value().to_vec())
    }

    /// Writes what was noted, in one transaction. A failure is logged and costs reading those files again.
    pub(super) fn write(&self) {
        let mut state = self.lock();
        if state.unwritten.is_empty() && state.unwritten_trees.is_empty() {
            return;
        }
        self.open(&mut state);
        let rows = std::mem::take(&mut state.unwritten);
        let trees = std::mem::take(&mut state.unwritten_trees);
        state.unwritten_tree_bytes = 0;
        let Some(db) = &state.db else { return };
        let written = (|| -> Result<(), redb::Error> {
            let change = db.begin_write()?;
            change.delete_table(OLD_HASHES)?;
            {
                let mut table = change.open_table(HASHES)?;
                for (path, (stamp, hash)) in &rows {
                    let Stamp { size_bytes, modified_s, modified_ns, inode, changed_s, changed_ns } = *stamp;
                    let hash = *hash.as_bytes();
                    let row = (size_bytes, modified_s, modified_ns, inode, changed_s, changed_ns, hash);
                    table.insert(path.as_str(), row)?;
                }
                let mut table = change.open_table(TREES)?;
                for (hash, values) in &trees {
                    table.insert(hash.as_bytes(), values.as_slice())?;
                }
            }
            Ok(change.commit()?)
        })();
        match written {
            Ok(()) => debug!(files = rows.len(), trees = trees.len(), "hashes kept"),
            Err(error) => warn!(%error, file = %self.file.display(), "hashes could not be kept"),
        }
    }

    /// Drops rows of files that are gone, when they outnumber those that are there, and trees that no row has the hash of,
    /// when they outnumber the rows.
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
            prune_trees(db)
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

    fn open_if_there(&self, state: &mut State) {
        if state.db.is_none() && self.file.exists() {
            self.open(state);
        }
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

fn prune_trees(db: &Database) -> Result<(), redb::Error> {
    let reading = db.begin_read()?;
    let trees = match reading.open_table(TREES) {
        Ok(table) => table.len()?,
        // A file of an older version, or no file had more than one piece.
        Err(TableError::TableDoesNotExist(_)) => 0,
        Err(error) => return Err(error.into()),
    };
    if trees <= STALE_TREES {
        return Ok(());
    }
    let mut hashes = HashSet::new();
    for row in reading.open_table(HASHES)?.iter()? {
        let (size_bytes, _, _, _, _, _, hash) = row?.1.value();
        if Layout::of(size_bytes).has_values() {
            hashes.insert(hash);
        }
    }
    if trees > 2 * hashes.len() as u64 + STALE_TREES {
        let change = db.begin_write()?;
        change.open_table(TREES)?.retain(|hash, _| hashes.contains(&hash))?;
        change.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::piece::{MIN_PIECE_BYTES, TreeHasher};

    fn stamp(size_bytes: u64) -> Stamp {
        Stamp { size_bytes, modified_s: 1, modified_ns: 2, inode: 3, changed_s: 4, changed_ns: 5 }
    }

    #[test]
    fn what_an_older_version_kept_is_dropped_and_nothing_is_believed_of_it() {
        let data = tempfile::tempdir().unwrap();
        let old = Database::create(data.path().join("index.redb")).unwrap();
        let change = old.begin_write().unwrap();
        change.open_table(OLD_HASHES).unwrap().insert("/share/a", (1, 1, 2, 3, [7; 32])).unwrap();
        change.commit().unwrap();
        drop(old);
        let (path, hash) = (Path::new("/share/a"), ContentHash::from_bytes([8; 32]));
        let known = Known::new(data.path());
        assert_eq!(known.look_up([(path, &stamp(1))].into_iter()), [None]);
        known.note(path, stamp(1), hash);
        known.write();
        let later = Stamp { changed_ns: 6, ..stamp(1) };
        assert_eq!(known.look_up([(path, &stamp(1)), (path, &later)].into_iter()), [Some(hash), None]);
        let left: Vec<_> = known
            .lock()
            .db
            .as_ref()
            .unwrap()
            .begin_read()
            .unwrap()
            .list_tables()
            .unwrap()
            .map(|table| redb::TableHandle::name(&table).to_owned())
            .collect();
        assert!(!left.contains(&"hashes-1".to_owned()), "{left:?}");
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

    fn tree(seed: u8) -> Tree {
        let mut hasher = TreeHasher::new(MIN_PIECE_BYTES + 1);
        hasher.update(&vec![seed; 1 + (1 << 20)]);
        hasher.finish().unwrap()
    }

    #[test]
    fn trees_are_kept_across_openings_and_pruned_with_their_hashes() {
        let data = tempfile::tempdir().unwrap();
        let known = Known::new(data.path());
        let kept = tree(0);
        known.note(Path::new("/share/a"), stamp(MIN_PIECE_BYTES + 1), kept.root());
        known.note_tree(&kept);
        assert_eq!(known.tree(&kept.root()), Some(kept.values()), "before it is written");
        known.close();
        let known = Known::new(data.path());
        assert_eq!(known.tree(&kept.root()), Some(kept.values()));
        let is_there = |_: &str| true;
        let gone = tree(1);
        known.note_tree(&gone);
        known.write();
        known.prune(1, is_there);
        assert_eq!(known.tree(&gone.root()), Some(gone.values()), "a few that are gone cost little");
        // Values of any kind do for what lies on disk.
        for number in 0..2 * STALE_TREES {
            let root = ContentHash::from_bytes(std::array::from_fn(|at| {
                (number >> (8 * (at % 8))).to_le_bytes()[0]
            }));
            known.lock().unwritten_trees.insert(root, vec![0; 64]);
        }
        known.write();
        known.prune(1, is_there);
        assert_eq!(known.tree(&gone.root()), None);
        assert_eq!(known.tree(&kept.root()), Some(kept.values()));
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
