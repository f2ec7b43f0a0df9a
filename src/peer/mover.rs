//! What people do with files: get, send, the inbox. Finds out who has what, and leaves the moving to those who can.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use tokio::time::{Instant, sleep};

use super::{
    directory::Directory,
    download::{DownloadAsk, Downloader, Find, Finder, Source},
    folder::{FolderAsk, FolderGetter},
    handle::{Events, Outcome},
    origin::Origin,
    read::{ReadFrom, Reader},
    replicas::Staged,
    send::{PushAsk, Sender},
    transfers::{Revived, Ticket, Transfers},
    view::View,
};
use crate::{
    index::{Index, IndexError},
    protocol::{
        action::{
            ActionError, Answer, ErrorKind, FileInfo, GetAsk, Holder, InboxInfo, ReadAsk, ReadEvent, SendAsk,
            Target, Transfer, TransferControl, TransferState, Which,
        },
        id::{ContentHash, PeerId},
        piece::Tree,
        plan::FileName,
        roster::Member,
    },
    shutdown::Shutdown,
    store::{
        inbox::Inbox,
        jobs::{Job, JobState, JobTarget},
        read::{FileSource, SourceError, SourceFile},
    },
};

/// How long the holders of a content are looked for.
const FIND_TIMEOUT: Duration = Duration::from_secs(3);

/// Who was found to have a file is believed for so long; a download that waited longer asks again.
const FOUND_LASTS: Duration = Duration::from_secs(30);
/// How long after its own start a peer looks again for those who have what an earlier run did not finish: after a power
/// cut others may be back later.
const PATIENCE_AFTER_START: Duration = Duration::from_secs(120);
const FIND_AGAIN_EVERY: Duration = Duration::from_secs(2);

/// Copies of one content that are tried when some are just gone.
const MAX_COPIES: usize = 64;

/// Files of the index, as uploads read them.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Index, pub(super) Staged);

impl FileSource for Shared {
    fn open(&self, what: &FileName) -> Result<SourceFile, SourceError> {
        let hash = match what {
            FileName::Path(path) => return self.open_path(path),
            FileName::Hash(hash) => hash,
        };
        let mut failure = SourceError::NotFound;
        for copy in self.0.find_all(hash, MAX_COPIES) {
            match self.open_path(&copy.path) {
                // It may have been written anew between the two looks.
                Ok(source) if source.info().hash == Some(*hash) => return Ok(source),
                Ok(_) => failure = SourceError::Changed,
                Err(error) => failure = error,
            }
        }
        // What is being put may lie in no share.
        self.1.open(hash).map_err(|_| failure)
    }

    fn tree(&self, hash: &ContentHash) -> Option<Tree> {
        self.0.tree(hash)
    }
}

impl Shared {
    fn open_path(&self, path: &str) -> Result<SourceFile, SourceError> {
        let open = self.0.open_file(path).map_err(|error| match error {
            IndexError::NotFound { .. } => SourceError::NotFound,
            IndexError::Changed { .. } => SourceError::Changed,
            IndexError::Io { source, .. } => SourceError::Io(source),
            other => SourceError::Io(std::io::Error::other(other)),
        })?;
        SourceFile::new(open.file, open.info)
    }
}

/// Moves files for the person at this peer; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Mover {
    pub(super) view: View,
    pub(super) index: Index,
    pub(super) origin: Arc<Origin>,
    pub(super) directory: Arc<Directory>,
    pub(super) downloader: Downloader,
    pub(super) folders: FolderGetter,
    pub(super) reader: Reader,
    pub(super) sender: Sender,
    pub(super) transfers: Transfers,
    pub(super) inbox: Inbox,
    /// The folder of the downloads share.
    pub(super) downloads: PathBuf,
    /// Until then a download that goes on looks again when nobody has it.
    pub(super) patient_until: Instant,
    pub(super) shutdown: Shutdown,
}

impl Mover {
    pub(super) async fn get(&self, ask: GetAsk) -> Outcome<Events<Transfer>> {
        let (what, name, sources) = self.resolve(ask.target).await?;
        // Whoever cannot be asked cannot give a file either: that is told by the download.
        if let (FileName::Path(path), None) = (&what, &name)
            && let Ok(Some(first)) = self.folders.look(&sources[0], path).await
        {
            let destination = ask.destination.unwrap_or_else(|| self.downloads.clone());
            let folder = FolderAsk { source: sources[0].clone(), path: path.clone(), destination };
            return self.folders.start(folder, first);
        }
        let destination = if let Some(destination) = ask.destination {
            destination
        } else {
            self.refuse_what_is_here(&what)?;
            self.downloads.clone()
        };
        let job = Job {
            id: 0,
            what: match &what {
                FileName::Hash(hash) => JobTarget::Hash(*hash),
                FileName::Path(path) => JobTarget::Path { peer: sources[0].peer_id, path: path.clone() },
            },
            name: name.as_ref().map(|file: &FileInfo| file.name().to_owned()),
            // One look at the folder: answered from the kernel's cache.
            is_folder: destination.is_dir(),
            destination: destination.clone(),
            size_bytes: name.as_ref().map(|file| file.size_bytes),
            done_bytes: 0,
            priority: ask.priority,
            state: JobState::Queued,
        };
        let ticket = self.transfers.begin_download(job.clone())?;
        let events = if ask.is_detached { ticket.detached_events() } else { ticket.events() };
        let name = job.name.clone();
        let finder = Some(self.finder(&what, &sources));
        let ask = DownloadAsk { what, sources, destination, name, finder };
        self.run(job, ticket, Some(ask), false);
        // Whoever is told its number may rely on it.
        self.transfers.saved().await;
        Ok(events)
    }

    /// Reads without a copy: this peer's own file first, when it has it.
    pub(super) async fn read(&self, ask: ReadAsk) -> Outcome<Events<ReadEvent>> {
        let (what, _, mut sources) = self.resolve(ask.target).await?;
        let me = self.view.now().me.id;
        sources.sort_by_key(|source| source.peer_id != me);
        let ReadAsk { offset, length, .. } = ask;
        Ok(self.reader.start(ReadFrom { what, sources, offset, length }))
    }

    /// What is meant, what is known of it, and who has it: at least one.
    async fn resolve(&self, target: Target) -> Outcome<(FileName, Option<FileInfo>, Vec<Source>)> {
        let (what, file, sources) = match target {
            Target::Path(at) => {
                let member = self.directory.find(&at.peer).await?;
                if at.path.is_empty() {
                    return Err(ActionError::new(ErrorKind::Usage, format!("`{}:` names no file", at.peer))
                        .hint("list a peer's files with `floodplain browse PEER`"));
                }
                (FileName::Path(at.path), None, vec![source(&member)])
            }
            Target::Hash(hash) => self.by_hash(hash).await?,
            Target::Hit(number) => {
                let hit = self.origin.last_hit(number).ok_or_else(|| {
                    ActionError::new(ErrorKind::NotFound, format!("the last search has no hit {number}"))
                        .hint("search first; hits are numbered from 1")
                })?;
                let sources = self.sources(&hit.holders);
                match (hit.file.hash, hit.holders.first()) {
                    (Some(hash), _) => (FileName::Hash(hash), Some(hit.file), sources),
                    (None, Some(holder)) => (FileName::Path(holder.path.clone()), Some(hit.file), sources),
                    (None, None) => return Err(nobody_has_it()),
                }
            }
        };
        if sources.is_empty() {
            return Err(nobody_has_it());
        }
        Ok((what, file, sources))
    }

    /// Starts what an earlier run left, and what is tried again, until the stop.
    pub(super) fn start_revived(&self, mut revived: Revived) {
        let mut this = self.clone();
        this.patient_until = Instant::now() + PATIENCE_AFTER_START;
        drop(self.shutdown.spawn("revive transfers", async move {
            // Those of an earlier run are there already; what comes later is tried again.
            let mut left_over = revived.len();
            while let Some((job, ticket)) = revived.recv().await {
                this.run(job, ticket, None, left_over > 0);
                left_over = left_over.saturating_sub(1);
            }
        }));
    }

    /// Does a download in the background. `found` is who has the file as far as it is known already.
    fn run(&self, job: Job, ticket: Ticket, found: Option<DownloadAsk>, is_revived: bool) {
        let this = self.clone();
        let place = DownloadAsk {
            what: match &job.what {
                JobTarget::Hash(hash) => FileName::Hash(*hash),
                JobTarget::Path { path, .. } => FileName::Path(path.clone()),
            },
            sources: Vec::new(),
            destination: job.destination.clone(),
            name: job.name.clone(),
            finder: None,
        };
        let mut found = found.map(|ask| (ask, Instant::now()));
        let finder = self.clone();
        let find: Find = Box::new(move || {
            let fresh = found.take().filter(|(_, at)| at.elapsed() < FOUND_LASTS);
            match fresh {
                Some((ask, _)) => async { Ok(ask) }.boxed(),
                None => finder.clone().find_again(job.clone()).boxed(),
            }
        });
        drop(self.shutdown.spawn("download", async move {
            let ended = this.downloader.clone().run(ticket, place, find, is_revived).await;
            // Has a finished download found at once, so that others may get it from here.
            if let Transfer { state: TransferState::Done, path: Some(path), hash: Some(hash), .. } = ended {
                let index = this.index.clone();
                drop(this.shutdown.spawn_blocking(move || {
                    index.note_file(&path, hash);
                    // Asked for once, its tree is made: the next fetcher is to have it at once.
                    let _ = index.tree(&hash);
                }));
            }
        }));
    }

    /// Who has it now. Right after a start of the whole network others may come back later than this peer: a while is
    /// given to them.
    async fn find_again(self, job: Job) -> Outcome<DownloadAsk> {
        if job.is_folder && !job.destination.is_dir() {
            let folder = job.destination.display();
            let error = ActionError::new(ErrorKind::Failed, format!("the folder {folder} is gone"));
            return Err(error.hint("make it and retry, or cancel this one"));
        }
        // Nobody can be reached before, however long it takes.
        self.view.until(|now| now.roster.is_some()).await;
        loop {
            let found = match &job.what {
                JobTarget::Hash(hash) => self.by_hash(*hash).await,
                JobTarget::Path { peer, path } => {
                    let member = self.directory.find(&peer.to_string()).await;
                    member.map(|member| (FileName::Path(path.clone()), None, vec![source(&member)]))
                }
            };
            let error = match found {
                Ok((what, file, sources)) if !sources.is_empty() => {
                    let name = job.name.clone().or(file.map(|file| file.name().to_owned()));
                    let finder = Some(self.finder(&what, &sources));
                    return Ok(DownloadAsk { what, sources, destination: job.destination, name, finder });
                }
                Ok(_) => nobody_has_it(),
                Err(error) => error,
            };
            if Instant::now() >= self.patient_until {
                return Err(error);
            }
            sleep(FIND_AGAIN_EVERY).await;
        }
    }

    /// Holders that turn up while a download runs, or waits for them.
    fn finder(&self, what: &FileName, sources: &[Source]) -> Finder {
        let (this, what, known) = (self.clone(), what.clone(), sources.to_vec());
        Finder::new(move || {
            let (this, what, known) = (this.clone(), what.clone(), known.clone());
            async move {
                // What has no hash has no other holder; this one may come back.
                let FileName::Hash(hash) = what else { return known };
                match this.by_hash(hash).await {
                    Ok((_, _, sources)) => sources,
                    Err(error) => {
                        tracing::debug!(%error, "found no holder");
                        Vec::new()
                    }
                }
            }
            .boxed()
        })
    }

    pub(super) fn send(&self, ask: SendAsk, receiver: &Member) -> Outcome<Events<Transfer>> {
        let knowledge = self.view.now();
        if receiver.id == knowledge.me.id {
            return Err(ActionError::new(ErrorKind::Usage, "that is this peer itself"));
        }
        self.sender.start(PushAsk {
            path: ask.path,
            hash: None,
            sender: knowledge.me.name.clone(),
            receiver: receiver.name.to_string(),
            address: receiver.address,
        })
    }

    pub(super) fn transfers(&self) -> Vec<Transfer> {
        self.transfers.list()
    }

    pub(super) async fn control(&self, which: Which, control: TransferControl) -> Outcome<u32> {
        self.transfers.control(which, control).await
    }

    pub(super) fn inbox(&self) -> InboxInfo {
        self.inbox.info()
    }

    pub(super) fn answer(&self, id: u64, answer: Answer) -> Outcome<()> {
        self.inbox.answer(id, answer).map_err(|_| {
            ActionError::new(ErrorKind::NotFound, format!("no offer {id} waits for an answer"))
                .hint("it may have run out; the sender can offer again")
        })
    }

    async fn by_hash(&self, hash: ContentHash) -> Outcome<(FileName, Option<FileInfo>, Vec<Source>)> {
        let hit = self.origin.find_content(hash, FIND_TIMEOUT).await?.ok_or_else(nobody_has_it)?;
        let sources = self.sources(&hit.holders);
        Ok((FileName::Hash(hash), Some(hit.file), sources))
    }

    /// Where the holders are dialed: by the roster, never by what a hit says. Other peers first; a copy of this peer's own
    /// is the last resort, for someone who wants it in another place.
    fn sources(&self, holders: &[Holder]) -> Vec<Source> {
        let knowledge = self.view.now();
        let mut ids: Vec<PeerId> = holders.iter().map(|holder| holder.peer_id).collect();
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        ids.sort_by_key(|id| *id == knowledge.me.id);
        ids.iter().filter_map(|id| knowledge.member(id)).map(source).collect()
    }

    fn refuse_what_is_here(&self, what: &FileName) -> Outcome<()> {
        let FileName::Hash(hash) = what else { return Ok(()) };
        match self.index.find_hash(hash) {
            None => Ok(()),
            Some(file) => {
                Err(ActionError::new(ErrorKind::Refused, format!("this peer has it already: {}", file.path))
                    .hint("name a destination to get another copy"))
            }
        }
    }
}

fn source(member: &Member) -> Source {
    Source { peer_id: member.id, name: member.name.to_string(), address: member.address }
}

fn nobody_has_it() -> ActionError {
    ActionError::new(ErrorKind::NotFound, "nobody who can be reached has it").hint("search for it again")
}

/// The folder of the downloads share: beside the inbox, so that it is neither in the data folder nor in another share.
pub(super) fn downloads_beside(inbox: &Path) -> PathBuf {
    inbox.parent().unwrap_or(Path::new(".")).join("downloads")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexSettings;

    #[tokio::test]
    async fn a_content_opens_as_long_as_one_copy_is_there() {
        let home = tempfile::tempdir().expect("a folder");
        let share = home.path().join("docs");
        std::fs::create_dir(&share).expect("makes");
        for name in ["a", "b", "c"] {
            std::fs::write(share.join(name), b"equal").expect("writes");
        }
        let shutdown = Shutdown::new();
        let settings = IndexSettings { shares: vec![share], data: home.path().join("data") };
        let index = Index::open(settings, &shutdown).expect("opens");
        index.until_hashed().await;
        let hash = ContentHash::from_bytes(*blake3::hash(b"equal").as_bytes());
        let copies = index.find_all(&hash, MAX_COPIES);
        assert_eq!((copies.len(), index.find_all(&hash, 2).len()), (3, 2));
        let shared = Shared(index, Staged::default());
        for copy in copies {
            let open = shared.open(&FileName::Hash(hash)).expect("a copy is there");
            assert_eq!(open.info().hash, Some(hash));
            std::fs::remove_file(home.path().join(&copy.path)).expect("removes");
        }
        assert!(shared.open(&FileName::Hash(hash)).is_err());
        shutdown.drain(std::time::Duration::from_secs(5)).await;
    }
}
