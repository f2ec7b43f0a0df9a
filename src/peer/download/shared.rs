//! Downloads of one content that run in this process at once: one of them fetches, the others follow it.
//!
//! Invariant: of one content at most one of them fetches. Whichever way it ends, the others hear of it: they copy what it
//! published, or the first of them fetches on with the part that it gave up. Downloads of other processes are not known
//! here; their parts are locked, and each has its own.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::OptionFuture};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Finder, Source};
use crate::{
    peer::transfers::{Interrupt, Ticket},
    protocol::{
        id::ContentHash,
        piece::{Tree, TreeHasher},
        plan::holders::MAX_HOLDERS,
    },
    shutdown::Shutdown,
};

/// Downloads of one content that share the fetching; one more fetches by itself.
const MAX_SHARING: usize = 64;
/// One that has not found out by then what to fetch is no more waited for. A guess: ten round trips of a slow network.
const PATIENCE: Duration = Duration::from_secs(1);
/// Read at a time for a tree.
const READ_BYTES: usize = 256 << 10;

/// What is being downloaded; cheap to clone. Has an entry for as long as one download takes part in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents(Arc<Mutex<HashMap<ContentHash, Content>>>);

#[derive(Debug)]
struct Content {
    members: usize,
    fetching: Option<Weak<Ticket>>,
    /// It knows what to fetch, and from whom.
    is_under_way: bool,
    /// Rises with every end of the one that fetched.
    ends: watch::Sender<u64>,
    /// Proved by the first that opened it, and what its holder called it.
    known: Option<(Tree, String)>,
    published: Option<PathBuf>,
    /// Left by one that gave up.
    part: Option<PathBuf>,
    /// Who has it, as those that follow know.
    offered: Vec<Source>,
}

/// One download in its content, once that is known; dropped, it takes no part any more.
#[derive(Debug)]
pub(super) struct Sharing {
    contents: Contents,
    hash: Option<ContentHash>,
    /// How many had fetched before this one did.
    turn: Option<u64>,
}

/// A whole file that another download has just published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) path: PathBuf,
    pub(super) tree: Tree,
    pub(super) name: String,
}

/// What one that was cancelled leaves.
#[derive(Debug)]
pub(super) enum Left {
    Nothing,
    /// A part that others go on with.
    ForOthers,
    /// A part that nobody goes on with.
    Part(PathBuf),
}

/// How following ended.
#[derive(Debug)]
pub(super) enum Followed {
    Interrupted(Interrupt),
    /// The other one fetches no more.
    Ended,
}

impl Contents {
    fn lock(&self) -> MutexGuard<'_, HashMap<ContentHash, Content>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sharing {
    pub(super) fn new(contents: &Contents) -> Self {
        Self { contents: contents.clone(), hash: None, turn: None }
    }

    /// Takes part in that content, in place of another one.
    pub(super) fn join(&mut self, hash: ContentHash) {
        if self.hash == Some(hash) {
            return;
        }
        let _ = self.part_from();
        let mut contents = self.contents.lock();
        let content = contents.entry(hash).or_insert_with(|| Content {
            members: 0,
            fetching: None,
            is_under_way: false,
            ends: watch::Sender::new(0),
            known: None,
            published: None,
            part: None,
            offered: Vec::new(),
        });
        if content.members < MAX_SHARING {
            content.members += 1;
            self.hash = Some(hash);
        }
    }

    /// True when this one is to fetch; else another does, and is told these holders too.
    pub(super) fn may_fetch(&mut self, ticket: &Arc<Ticket>, sources: &[Source]) -> bool {
        let mut contents = self.contents.lock();
        let Some(content) = self.hash.and_then(|hash| contents.get_mut(&hash)) else { return true };
        let ends = Some(*content.ends.borrow());
        if self.turn == ends || content.fetching.is_none() {
            content.fetching = Some(Arc::downgrade(ticket));
            self.turn = ends;
            return true;
        }
        for source in sources {
            if content.offered.len() < MAX_HOLDERS && !content.offered.contains(source) {
                content.offered.push(source.clone());
            }
        }
        false
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.look(|content| Some(*content.ends.borrow()) == self.turn).unwrap_or(false)
    }

    pub(super) fn has_others(&self) -> bool {
        self.look(|content| content.members > 1).unwrap_or(false)
    }

    /// What the one that fetched first found out.
    pub(super) fn known(&self) -> Option<(Tree, String)> {
        self.look(|content| content.known.clone()).flatten()
    }

    /// For those that come after.
    pub(super) fn know(&self, tree: &Tree, name: &str) {
        self.look(|content| content.known = Some((tree.clone(), name.to_owned())));
    }

    /// Keeps the others from trying themselves.
    pub(super) fn is_under_way(&self) {
        self.look(|content| content.is_under_way = true);
    }

    /// The part of one that gave up, for the one that fetches on.
    pub(super) fn take_part(&self) -> Option<PathBuf> {
        self.look(|content| content.part.take()).flatten()
    }

    pub(super) fn has_published(&self) -> bool {
        self.look(|content| content.published.is_some()).unwrap_or(false)
    }

    /// What another one published, if it is still there.
    pub(super) async fn published(&self, shutdown: &Shutdown) -> Option<Published> {
        let (path, known) =
            self.look(|content| content.published.clone().zip(Some(content.known.clone()))).flatten()?;
        let hash = self.hash?;
        let looked_at = path.clone();
        let looking = shutdown.spawn_blocking(move || {
            if let Some((tree, name)) = known {
                let size_bytes = std::fs::symlink_metadata(&looked_at)?.len();
                return Ok((size_bytes == tree.layout().size_bytes()).then_some((tree, name)));
            }
            // It came from holders without a tree.
            let name = looked_at.file_name().unwrap_or_default().to_string_lossy().into_owned();
            io::Result::Ok(tree_of(&looked_at)?.filter(|tree| tree.root() == hash).map(|tree| (tree, name)))
        });
        let Ok(Ok(Some((tree, name)))) = looking.await else {
            self.forget_published();
            return None;
        };
        self.know(&tree, &name);
        Some(Published { path, tree, name })
    }

    /// It is not what it was said to be, or not any more.
    pub(super) fn forget_published(&self) {
        self.look(|content| content.published = None);
    }

    /// Tells the others what came of fetching.
    pub(super) fn end(&mut self, published: Option<&Path>, part: Option<PathBuf>) {
        let Some(turn) = self.turn.take() else { return };
        self.look(|content| {
            if *content.ends.borrow() != turn {
                return;
            }
            (content.fetching, content.is_under_way) = (None, false);
            content.published = published.map(Path::to_path_buf).or(content.published.take());
            content.part = part;
            content.ends.send_modify(|ends| *ends += 1);
        });
    }

    /// With the holders that those that follow know of.
    pub(super) fn finder(&self, own: Finder) -> Finder {
        let (contents, hash, is_of_folder) = (self.contents.clone(), self.hash, own.is_of_folder);
        let all = Finder::new(move || {
            let (contents, finding) = (contents.clone(), own.find());
            async move {
                let mut found = finding.await;
                let contents = contents.lock();
                if let Some(content) = hash.and_then(|hash| contents.get(&hash)) {
                    found.extend(content.offered.iter().cloned());
                }
                found
            }
            .boxed()
        });
        Finder { is_of_folder, ..all }
    }

    /// Shows what the one that fetches has, until it does so no more.
    pub(super) async fn follow(&self, ticket: &Ticket) -> Followed {
        let found = self.look(|content| content.fetching.clone().zip(Some(content.ends.subscribe())));
        let Some((fetching, mut ends)) = found.flatten() else { return Followed::Ended };
        let (patient_until, mut is_patient) = (Instant::now() + PATIENCE, true);
        let mut events = fetching.upgrade().map(|fetching| fetching.detached_events());
        loop {
            tokio::select! {
                biased;
                interrupt = ticket.interrupted() => return Followed::Interrupted(interrupt),
                // The entry is there for as long as this one takes part.
                _ = ends.changed() => return Followed::Ended,
                // Its holders may be silent, and those of this one not.
                () = sleep_until(patient_until), if is_patient => {
                    is_patient = false;
                    let turn = *ends.borrow();
                    self.look(|content| {
                        if *content.ends.borrow() == turn && !content.is_under_way {
                            content.fetching = None;
                            content.ends.send_modify(|ends| *ends += 1);
                        }
                    });
                }
                Some(event) = OptionFuture::from(events.as_mut().map(StreamExt::next)) => match event {
                    Some(Ok(transfer)) => ticket.follow(&transfer),
                    _ => events = None,
                },
            }
        }
    }

    fn look<T>(&self, look: impl FnOnce(&mut Content) -> T) -> Option<T> {
        let hash = self.hash?;
        self.contents.lock().get_mut(&hash).map(look)
    }

    /// Takes no part any more, as it was cancelled.
    pub(super) fn leave(mut self) -> Left {
        self.part_from()
    }

    fn part_from(&mut self) -> Left {
        self.end(None, None);
        let Some(hash) = self.hash.take() else { return Left::Nothing };
        let mut contents = self.contents.lock();
        let Entry::Occupied(mut content) = contents.entry(hash) else { return Left::Nothing };
        content.get_mut().members -= 1;
        let is_last = content.get().members == 0;
        match if is_last { content.remove().part } else { content.get().part.clone() } {
            Some(part) if is_last => Left::Part(part),
            Some(_) => Left::ForOthers,
            None => Left::Nothing,
        }
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        let _ = self.part_from();
    }
}

/// `None` when it changed meanwhile.
fn tree_of(path: &Path) -> io::Result<Option<Tree>> {
    let mut file = File::open(path)?;
    let size_bytes = file.metadata()?.len();
    let mut hasher = TreeHasher::new(size_bytes);
    let (mut buffer, mut total) = (vec![0; READ_BYTES], 0);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        total += read as u64;
        if total > size_bytes {
            return Ok(None);
        }
        hasher.update(&buffer[..read]);
    }
}
