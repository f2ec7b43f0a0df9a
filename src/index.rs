//! What this peer shares, and how a name is found in it: an index of names and hashes that follows the shared folders.
//!
//! Invariant: everything here is told by network path (`<share>/<path>`) and opened through the index only, beneath its
//! share, without following links. A file's hash is told only while its stamp is the one that was hashed.

mod browse;
mod content;
mod files;
mod hash;
mod keep;
mod keys;
mod known;
mod near;
mod path;
mod scan;
mod search;
mod shares;
mod tokens;
mod tree;
mod watch;

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use anyhow::Context;
use tokio::sync::{Notify, watch as channel};

pub use self::path::Stamp;
use self::{
    files::{Files, MAX_FILES},
    known::Known,
    shares::{Share, Shares},
    watch::Wishes,
};
use crate::{
    protocol::{
        action::{ActionError, ErrorKind, FileInfo, FolderPage, IndexState, PageAsk, ShareInfo, ShareKind},
        id::ContentHash,
        query::Query,
        summary::OwnKeys,
    },
    shutdown::Shutdown,
};

/// What an index runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexSettings {
    /// The folders it offers; missing ones are made.
    pub shares: Vec<PathBuf>,
    /// Where hashes and added shares are kept; made when missing. Never offered, even where it lies in a share.
    pub data: PathBuf,
}

/// Why the index says no.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// No such file or folder in the index.
    #[error("{path} is not shared here")]
    NotFound {
        /// Network path.
        path: String,
    },
    /// The file on disk is not the one in the index any more; the index will follow within seconds.
    #[error("{path} has changed on disk; try again in a moment")]
    Changed {
        /// Network path.
        path: String,
    },
    /// A page token that no page gave out.
    #[error("the page token is not one of this listing; begin with the first page")]
    BadPage,
    /// A folder that is not to be offered.
    #[error("the folder {folder} cannot be shared: {problem}", folder = folder.display())]
    ShareRefused {
        /// As given.
        folder: PathBuf,
        /// Why.
        problem: String,
    },
    /// No share of that name.
    #[error("there is no share named `{name}`")]
    NoShare {
        /// As given.
        name: String,
    },
    /// The system said no.
    #[error("{path}: {source}")]
    Io {
        /// To what.
        path: String,
        /// Its answer.
        source: io::Error,
    },
}

impl From<IndexError> for ActionError {
    fn from(error: IndexError) -> Self {
        let kind = match &error {
            IndexError::NotFound { .. } | IndexError::NoShare { .. } => ErrorKind::NotFound,
            IndexError::BadPage => ErrorKind::Usage,
            IndexError::ShareRefused { .. } => ErrorKind::Refused,
            IndexError::Changed { .. } | IndexError::Io { .. } => ErrorKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// A shared file, opened for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// At its beginning. It is not in any async runtime's hands: read it on a blocking thread.
    pub file: File,
    /// What the index says of it.
    pub info: FileInfo,
    /// Its state when it was opened.
    pub stamp: Stamp,
}

impl OpenFile {
    /// Nobody has changed the file since it was opened: what was read so far is what the index tells.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(path::stamp_of(&self.file)? == self.stamp)
    }
}

/// The index of one peer; cheap to clone.
#[derive(Debug, Clone)]
pub struct Index {
    inner: Arc<Inner>,
}

/// Locks are held for microseconds to a few milliseconds, never across an await; whoever holds `files` may take `shares`,
/// never the reverse.
#[derive(Debug)]
struct Inner {
    files: RwLock<Files>,
    shares: RwLock<Shares>,
    known: Known,
    wanted_trees: tree::Wanted,
    data: PathBuf,
    wishes: Arc<Wishes>,
    hash_wanted: [Notify; hash::READERS],
    /// Rises with every change.
    generation: channel::Sender<u64>,
    /// Number of the last complete full walk.
    walked: AtomicU64,
    walks: AtomicU32,
    is_scanning: AtomicBool,
    /// The keeper has taken a wish that it has not fulfilled.
    is_busy: AtomicBool,
    is_stopped: AtomicBool,
    files_read: AtomicU64,
}

impl Index {
    /// Opens the index and returns at once; the shares are walked in the background, until `shutdown`. Call it inside a Tokio
    /// runtime.
    ///
    /// # Errors
    /// When the data folder cannot be made, the kept list of shares cannot be read, or two configured shares overlap.
    pub fn open(settings: IndexSettings, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let IndexSettings { shares, data } = settings;
        std::fs::create_dir_all(&data)
            .and_then(|()| std::fs::canonicalize(&data))
            .with_context(|| format!("the data folder {} cannot be made", data.display()))
            .and_then(|data| {
                let inner = Arc::new(Inner {
                    files: RwLock::new(Files::new(MAX_FILES)),
                    shares: RwLock::new(Shares::open(&shares, &data)?),
                    known: Known::new(&data),
                    wanted_trees: tree::Wanted::default(),
                    data,
                    wishes: Arc::default(),
                    hash_wanted: Default::default(),
                    generation: channel::Sender::new(0),
                    walked: AtomicU64::new(0),
                    walks: AtomicU32::new(0),
                    is_scanning: AtomicBool::new(true),
                    is_busy: AtomicBool::new(true),
                    is_stopped: AtomicBool::new(false),
                    files_read: AtomicU64::new(0),
                });
                inner.wishes.make(|wish| wish.walk_all = 1);
                shutdown.spawn_draining("index", keep::run(Arc::clone(&inner), shutdown.clone()));
                Ok(Self { inner })
            })
    }

    /// The files that answer a query, best first, at most `limit`. Blocks: some 25 ms for a query that many thousand
    /// files match, but holds up no change and no other query for as long. [`Query::peer`] is the caller's to look at.
    pub fn search(&self, query: &Query, limit: usize) -> Vec<FileInfo> {
        self.search_while(query, limit, || true)
    }

    /// The same, given up when it is not wanted any more: nothing is returned then.
    pub fn search_while(&self, query: &Query, limit: usize, is_wanted: impl Fn() -> bool) -> Vec<FileInfo> {
        search::search(|| self.inner.files(), query, limit, is_wanted)
    }

    /// The words of a query that no file has, each with the known words nearest to it. Blocks: 180 ms for a
    /// million words and one that is looked for, and no longer for more.
    pub fn near_words(&self, query: &Query) -> BTreeMap<String, Vec<String>> {
        near::near(&self.inner, query)
    }

    /// A file with that content.
    pub fn find_hash(&self, hash: &ContentHash) -> Option<FileInfo> {
        let files = self.inner.files();
        files.by_hash(hash).find_map(|id| files.entry(id)).map(files::Entry::info)
    }

    /// The files with that content, at most `limit`.
    pub fn find_all(&self, hash: &ContentHash, limit: usize) -> Vec<FileInfo> {
        let files = self.inner.files();
        let found = files.by_hash(hash).filter_map(|id| files.entry(id)).map(files::Entry::info);
        found.take(limit).collect()
    }

    /// The file at that network path.
    pub fn find_path(&self, path: &str) -> Option<FileInfo> {
        self.inner.files().by_path(path).map(files::Entry::info)
    }

    /// One page of a folder, folders first; the empty path lists the shares. A folder without any file is not there.
    pub fn browse(&self, path: &str, page: &PageAsk) -> Result<FolderPage, IndexError> {
        let shares: Vec<String> = self.inner.share_list().into_iter().map(|share| share.name).collect();
        browse::browse(&self.inner.files(), &shares, path, page)
    }

    /// Every file below a folder, however deep, in order of path with `/` before every other character: at most `most` files
    /// and about `most_bytes` as they travel, but one at least. The second value, when there is one, is the token of the
    /// next page.
    pub fn list_files(
        &self,
        path: &str,
        token: Option<&str>,
        (most, most_bytes): (usize, usize),
    ) -> Result<(Vec<FileInfo>, Option<String>), IndexError> {
        let shares: Vec<String> = self.inner.share_list().into_iter().map(|share| share.name).collect();
        browse::below_folder(&self.inner.files(), &shares, path, token, (most, most_bytes))
    }

    /// Opens an indexed file beneath its share. Blocks on the disk.
    pub fn open_file(&self, path: &str) -> Result<OpenFile, IndexError> {
        let not_found = || IndexError::NotFound { path: path.into() };
        let (info, stamp, share, inside) = {
            let files = self.inner.files();
            let entry = files.by_path(path).ok_or_else(not_found)?;
            let (share, inside) = entry.place();
            (entry.info(), entry.stamp, share.to_owned(), inside)
        };
        let folder = self.inner.folder_of(&share).ok_or_else(not_found)?;
        match path::open_regular(&folder, &inside) {
            Ok((file, found)) if found == stamp => Ok(OpenFile { file, info, stamp }),
            other => {
                // Whatever is there now, it is not what the index tells: have it looked at.
                self.inner.wishes.make(|wish| wish.touched.insert(folder.join(&inside)));
                match other {
                    Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                        Err(IndexError::Io { path: path.into(), source })
                    }
                    _ => Err(IndexError::Changed { path: path.into() }),
                }
            }
        }
    }

    /// As [`Self::open_file`], when that needs no disk; never waits. `None` says nothing.
    pub fn open_cached(&self, path: &str) -> Option<OpenFile> {
        let (info, stamp, share, inside) = {
            let files = self.inner.files();
            let entry = files.by_path(path)?;
            let (share, inside) = entry.place();
            (entry.info(), entry.stamp, share.to_owned(), inside)
        };
        let (file, found) = path::open_cached(&self.inner.folder_of(&share)?, &inside)?;
        (found == stamp).then_some(OpenFile { file, info, stamp })
    }

    /// What it holds.
    pub fn state(&self) -> IndexState {
        let totals = self.inner.files().totals();
        IndexState {
            files: totals.files,
            bytes: totals.bytes,
            hashed_files: totals.hashed,
            is_scanning: self.inner.is_scanning.load(Ordering::Acquire),
        }
    }

    /// The offered folders, in order of their adding.
    pub fn shares(&self) -> Vec<ShareInfo> {
        self.inner.share_list().into_iter().map(|share| self.inner.share_info(share)).collect()
    }

    /// Offers another folder, from now on and after a restart; its files are found as the walk goes on. Blocks on the disk.
    pub fn add_share(&self, folder: impl AsRef<Path>) -> Result<ShareInfo, IndexError> {
        let share = self.inner.shares_mut().add(folder.as_ref())?;
        self.inner.set_scanning(true);
        self.inner.wishes.make(|wish| {
            wish.has_new_shares = true;
            wish.walk.insert(share.name.clone())
        });
        Ok(self.inner.share_info(share))
    }

    /// Stops offering a folder, now and after a restart; its files stay on disk. Blocks on the disk.
    pub fn remove_share(&self, name: &str) -> Result<(), IndexError> {
        let share = self.inner.shares_mut().remove(name)?;
        // Nothing of it enters the table once it is out of the list, so that this is all of it.
        scan::remove_below(&self.inner, &share.name, u32::MAX, &Shutdown::new());
        self.inner.wishes.make(|wish| wish.has_new_shares = true);
        self.inner.has_changed();
        Ok(())
    }

    /// Walks all shares; completes when names are as the folders are. The walk goes on when this is dropped.
    pub async fn rescan(&self) -> IndexState {
        let number = self.inner.wishes.make(|wish| {
            wish.walk_all += 1;
            wish.walk_all
        });
        self.until(|inner| inner.walked.load(Ordering::Acquire) >= number).await;
        self.state()
    }

    /// Completes when the first walk is done, or the index has stopped.
    pub async fn until_ready(&self) {
        self.until(|inner| inner.walked.load(Ordering::Acquire) > 0).await;
    }

    /// Completes when the first walk is done and no file waits for its hash, or the index has stopped.
    pub async fn until_hashed(&self) {
        self.until(|inner| {
            // In this order: the keeper is busy before it takes a wish.
            let walked = inner.walked.load(Ordering::Acquire);
            walked > 0
                && inner.wishes.is_idle(walked)
                && !inner.is_busy.load(Ordering::Acquire)
                && inner.files().is_hashed()
        })
        .await;
    }

    /// A number that rises with every path that is new. Paths that went make none.
    pub fn paths_came(&self) -> u64 {
        self.inner.files().came()
    }

    /// The keys of all paths, and [`Self::paths_came`] when they began to be made; `None` when they are too many. Blocks for a
    /// second or so where there are a million paths, but lets changes in meanwhile.
    pub fn keys(&self) -> (u64, Option<OwnKeys>) {
        keys::keys(&self.inner)
    }

    /// A number that rises with every change: to wait for one.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// Files that were read to learn their hash since the index was opened.
    pub fn files_read(&self) -> u64 {
        self.inner.files_read.load(Ordering::Relaxed)
    }

    /// Tells of a file that was just published with known content: in a share, it is found at once. A tree of it that is at
    /// hand goes to [`Self::note_tree`] before. Blocks on the disk.
    pub fn note_file(&self, on_disk: &Path, hash: ContentHash) {
        let (Some(parent), Some(name)) = (on_disk.parent(), on_disk.file_name()) else { return };
        let Ok(on_disk) = std::fs::canonicalize(parent).map(|parent| parent.join(name)) else { return };
        let shares = self.inner.share_list();
        let Some(share) = shares.iter().find(|share| on_disk.starts_with(&share.folder)) else { return };
        let Some(inside) = on_disk.strip_prefix(&share.folder).ok().and_then(Path::to_str) else { return };
        let is_hidden = inside.split('/').any(|segment| segment.starts_with('.'));
        if is_hidden || on_disk.starts_with(&self.inner.data) {
            return;
        }
        let path::Lies::File(stamp) = path::look(&share.folder, inside) else { return };
        let Some(found) = scan::found_at(share, &on_disk, stamp) else { return };
        let is_full = self.inner.known.note(&on_disk, stamp, hash);
        // Newer than any walk that runs now, which may have passed its folder already.
        let walk = self.inner.walks.fetch_add(1, Ordering::Relaxed) + 1;
        let mut files = self.inner.files_mut();
        if self.inner.has_share(share) {
            files.put(found, Some(hash), walk);
        }
        drop(files);
        if is_full {
            self.inner.known.write();
        }
        self.inner.has_changed();
        self.inner.want_hashes();
    }

    async fn until(&self, is_so: impl Fn(&Inner) -> bool) {
        let mut changes = self.changes();
        while !is_so(&self.inner) && !self.inner.is_stopped.load(Ordering::Acquire) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Inner {
    // Poisoned locks are taken: every change of the table leaves it whole, whatever happens after it.
    fn files(&self) -> RwLockReadGuard<'_, Files> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn files_mut(&self) -> RwLockWriteGuard<'_, Files> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shares_mut(&self) -> RwLockWriteGuard<'_, Shares> {
        self.shares.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn share_list(&self) -> Vec<Share> {
        self.shares.read().unwrap_or_else(PoisonError::into_inner).list.clone()
    }

    fn with_share<T>(&self, name: &str, then: impl FnOnce(&Share) -> T) -> Option<T> {
        let shares = self.shares.read().unwrap_or_else(PoisonError::into_inner);
        shares.list.iter().find(|share| share.name == name).map(then)
    }

    fn folder_of(&self, share: &str) -> Option<PathBuf> {
        self.with_share(share, |share| share.folder.clone())
    }

    /// This very share is still offered.
    fn has_share(&self, share: &Share) -> bool {
        self.with_share(&share.name, |current| current.folder == share.folder).unwrap_or(false)
    }

    fn share_info(&self, share: Share) -> ShareInfo {
        let totals = self.files().share(&share.name);
        let Share { name, folder, problem } = share;
        // An index knows folders; what one is for, who opened it knows.
        let kind = ShareKind::Folder;
        ShareInfo { name, kind, folder, files: totals.files, bytes: totals.bytes, problem }
    }

    fn set_problem(&self, share: &Share, problem: Option<String>) {
        let mut shares = self.shares_mut();
        let current = shares.list.iter_mut().find(|current| current.name == share.name);
        if let Some(current) = current.filter(|current| current.problem != problem) {
            if let Some(problem) = &problem {
                tracing::warn!(share = share.name, folder = %share.folder.display(), problem, "share in trouble");
            }
            current.problem = problem;
        }
    }

    /// A path on disk belongs to a file of the table.
    fn is_on_disk_path_indexed(&self, shares: &[Share], on_disk: &str) -> bool {
        let on_disk = Path::new(on_disk);
        shares.iter().find(|share| on_disk.starts_with(&share.folder)).is_some_and(|share| {
            let inside = on_disk.strip_prefix(&share.folder).ok().and_then(Path::to_str).unwrap_or_default();
            self.files().by_path(&format!("{}/{}", share.name, path::to_network(inside).0)).is_some()
        })
    }

    fn set_scanning(&self, is_scanning: bool) {
        self.is_scanning.store(is_scanning, Ordering::Release);
        self.has_changed();
    }

    fn has_changed(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn want_hashes(&self) {
        self.hash_wanted.iter().for_each(Notify::notify_one);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
