//! Live changes: which paths the system says were touched. Only hints, gathered under a bound; what is there is looked up
//! afterwards, and more hints than the bound become one walk of everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use notify_debouncer_full::{
    DebounceEventResult, Debouncer, NoCache, new_debouncer_opt,
    notify::{
        Config, Event, EventHandler, EventKind, RecommendedWatcher, RecursiveMode, Result as NotifyResult,
        Watcher, WatcherKind,
    },
};
use tokio::sync::Notify;
use tracing::{debug, warn};

/// Events of one path within this time count once. Changes are to be seen within 2 s, so there is room for a slow machine.
const DEBOUNCE: Duration = Duration::from_millis(400);
/// How often the debouncer looks; its idle cost.
const TICK: Duration = Duration::from_millis(200);
/// Opened files are looked away from for so long, so that they are heard of in one go: each would cost the thread a wake and
/// two reads, more than reading a small file does. The system keeps 16,384 events meanwhile, or tells that it did not.
const NAP: Duration = Duration::from_millis(20);
/// And for at least so long events are taken as they come.
const AWAKE: Duration = Duration::from_millis(2);
/// Touched paths that wait; beyond them everything is walked.
const TOUCHED_MAX: usize = 10_000;

/// What the keeper is to do next. Wishes of one kind made before it gets to them are one.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    state: Mutex<Wish>,
    made: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Number of the last full walk that was asked for; walks are numbered from 1.
    pub(super) walk_all: u64,
    /// Shares to walk.
    pub(super) walk: BTreeSet<String>,
    /// Paths on disk to look at.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Shares came or went.
    pub(super) has_new_shares: bool,
}

impl Wishes {
    pub(super) fn make<T>(&self, wish: impl FnOnce(&mut Wish) -> T) -> T {
        let made = wish(&mut self.lock());
        self.made.notify_one();
        made
    }

    /// All of them; the number of the last full walk stays.
    pub(super) fn take(&self) -> Wish {
        let mut state = self.lock();
        let walk_all = state.walk_all;
        std::mem::replace(&mut *state, Wish { walk_all, ..Wish::default() })
    }

    /// Nothing is wished but walks up to this number.
    pub(super) fn is_idle(&self, walked: u64) -> bool {
        let wish = self.lock();
        wish.walk_all <= walked && wish.walk.is_empty() && wish.touched.is_empty() && !wish.has_new_shares
    }

    /// The touched paths only.
    pub(super) fn take_touched(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.lock().touched)
    }

    /// Completes after a wish was made. Nothing is lost when it is dropped.
    pub(super) async fn made(&self) {
        self.made.notified().await;
    }

    fn touch(&self, result: DebounceEventResult) {
        let events = match result {
            Ok(events) => events,
            Err(errors) => {
                debug!(?errors, "watching failed; walking instead");
                self.make(|wish| wish.walk_all += 1);
                return;
            }
        };
        let is_overflow = events.iter().any(|event| event.need_rescan());
        let mut paths = events.into_iter().flat_map(|event| event.event.paths).peekable();
        if !is_overflow && paths.peek().is_none() {
            return;
        }
        self.make(|wish| {
            wish.touched.extend(paths);
            if is_overflow || wish.touched.len() > TOUCHED_MAX {
                wish.touched.clear();
                wish.walk_all += 1;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Wish> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The watched folders.
pub(super) struct Watch {
    debouncer: Option<Debouncer<Deaf, NoCache>>,
    /// With device and inode: a folder that was replaced has to be watched anew.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    wishes: Arc<Wishes>,
    /// Some folder could not be watched.
    pub(super) is_blind: bool,
}

impl Watch {
    pub(super) fn new(wishes: Arc<Wishes>) -> Self {
        Self { debouncer: None, watched: BTreeMap::new(), wishes, is_blind: false }
    }

    /// Watches these folders and no others. True when one is watched that was not before.
    pub(super) fn follow(&mut self, folders: &[PathBuf]) -> bool {
        let identity = |folder: &Path| folder.metadata().ok().map(|data| (data.dev(), data.ino()));
        let gone: Vec<PathBuf> = self
            .watched
            .iter()
            .filter(|(folder, known)| !folders.contains(folder) || identity(folder) != Some(**known))
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in gone {
            self.watched.remove(&folder);
            if let Some(debouncer) = &mut self.debouncer {
                // Fails when the folder itself is gone, and its watch with it.
                let _ = debouncer.unwatch(&folder);
            }
        }
        let mut is_new = false;
        self.is_blind = false;
        for folder in folders {
            let Some(identity) = identity(folder) else { continue };
            if self.watched.contains_key(folder) {
                continue;
            }
            match self.watch(folder) {
                Ok(()) => {
                    self.watched.insert(folder.clone(), identity);
                    is_new = true;
                }
                Err(error) => {
                    warn!(folder = %folder.display(), %error,
                        "changes are not seen at once; on Linux, raise fs.inotify.max_user_watches");
                    self.is_blind = true;
                }
            }
        }
        is_new
    }

    fn watch(&mut self, folder: &Path) -> Result<(), notify_debouncer_full::notify::Error> {
        if self.debouncer.is_none() {
            let wishes = Arc::clone(&self.wishes);
            self.debouncer = Some(new_debouncer_opt(
                DEBOUNCE,
                Some(TICK),
                move |result: DebounceEventResult| wishes.touch(result),
                NoCache,
                // A link in a share would lead the watch out of it.
                Config::default().with_follow_symlinks(false),
            )?);
        }
        let Some(debouncer) = &mut self.debouncer else { return Ok(()) };
        debouncer.watch(folder, RecursiveMode::Recursive)
    }
}

/// A watcher that does not hear of files which are only opened and read, as every upload does.
#[derive(Debug)]
struct Deaf(RecommendedWatcher);

struct Hearing<F> {
    handler: F,
    woke: Instant,
}

impl<F: EventHandler> EventHandler for Hearing<F> {
    fn handle_event(&mut self, event: NotifyResult<Event>) {
        if !matches!(&event, Ok(event) if matches!(event.kind, EventKind::Access(_))) {
            return self.handler.handle_event(event);
        }
        if self.woke.elapsed() > AWAKE {
            std::thread::sleep(NAP);
            self.woke = Instant::now();
        }
    }
}

impl Watcher for Deaf {
    fn new<F: EventHandler>(handler: F, config: Config) -> NotifyResult<Self> {
        RecommendedWatcher::new(Hearing { handler, woke: Instant::now() }, config).map(Self)
    }

    fn watch(&mut self, path: &Path, mode: RecursiveMode) -> NotifyResult<()> {
        self.0.watch(path, mode)
    }

    fn unwatch(&mut self, path: &Path) -> NotifyResult<()> {
        self.0.unwatch(path)
    }

    fn kind() -> WatcherKind {
        RecommendedWatcher::kind()
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("watched", &self.watched).finish_non_exhaustive()
    }
}
