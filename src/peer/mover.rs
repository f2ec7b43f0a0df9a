//! What people do with files: get, send, the inbox. Finds out who has what, and leaves the moving to those who can.

mod run;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    directory::Directory,
    download::{DownloadAsk, Downloader, Source},
    folder::FolderGetter,
    handle::{Events, Outcome},
    origin::Origin,
    read::{ReadFrom, Reader},
    replicas::Staged,
    send::{PushAsk, Sender},
    transfers::Transfers,
    view::View,
};
use crate::{
    index::{Index, IndexError},
    protocol::{
        action::{
            ActionError, Answer, ErrorKind, FileInfo, GetAsk, HintCode, Holder, InboxInfo, ReadAsk,
            ReadEvent, Scope, SendAsk, Target, Transfer, TransferControl, Which,
        },
        id::{ContentHash, PeerId, ZoneId},
        piece::Tree,
        plan::FileName,
        roster::Member,
    },
    shutdown::Shutdown,
    store::{
        inbox::{AnswerError, Inbox},
        jobs::{Job, JobState, JobTarget},
        read::{FileSource, SourceError, SourceFile},
    },
};

/// How long the holders of a content are looked for.
const FIND_TIMEOUT: Duration = Duration::from_secs(3);

/// Zones whose holders of one content the registry is asked for; more holders make no download faster.
const MAX_ZONES_LISTED: usize = 4;

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

    fn open_cached(&self, what: &FileName) -> Option<SourceFile> {
        let open = match what {
            FileName::Path(path) => self.0.open_cached(path)?,
            FileName::Hash(hash) => {
                let open = self.0.open_cached(&self.0.find_hash(hash)?.path)?;
                // It may have been written anew between the two looks.
                (open.info.hash == Some(*hash)).then_some(open)?
            }
        };
        SourceFile::new(open.file, open.info).ok()
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
    /// Keeps a download of a file or a folder. Nobody is asked for it yet: that waits for a slot.
    pub(super) async fn get(&self, ask: GetAsk) -> Outcome<Events<Transfer>> {
        let (what, file, sources) = self.resolve(ask.target).await?;
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
            name: file.as_ref().map(|file: &FileInfo| file.name().to_owned()),
            // One look at the folder: answered from the kernel's cache.
            is_folder: destination.is_dir(),
            is_tree: false,
            stage_inode: None,
            destination: destination.clone(),
            size_bytes: file.as_ref().map(|file| file.size_bytes),
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
                        .hint_as(HintCode::BrowsePeer, "list a peer's files with `floodplain browse PEER`"));
                }
                (FileName::Path(at.path), None, vec![source(&member)])
            }
            Target::Hash(hash) => self.by_hash(hash).await?,
            Target::Hit(number) => {
                let hit = self.origin.last_hit(number).ok_or_else(|| {
                    ActionError::new(ErrorKind::NotFound, format!("the last search has no hit {number}"))
                        .hint("search first; hits are numbered from 1")
                })?;
                let sources = self.sources(&hit.holders).await;
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
            to: receiver.into(),
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
        self.inbox.answer(id, answer).map_err(|error| match error {
            AnswerError::NoSuchOffer(_) => {
                ActionError::new(ErrorKind::NotFound, format!("no offer {id} waits for an answer"))
                    .hint("it may have run out; the sender can offer again")
            }
            AnswerError::NotTrusted(ref cause) => {
                ActionError::new(ErrorKind::Failed, format!("{error}: {cause}"))
            }
        })
    }

    async fn by_hash(&self, hash: ContentHash) -> Outcome<(FileName, Option<FileInfo>, Vec<Source>)> {
        let mut hit = self.origin.find_content(hash, Scope::Mine, FIND_TIMEOUT).await?;
        if hit.is_none() {
            hit = self.origin.find_content(hash, Scope::All, FIND_TIMEOUT).await?;
        }
        let hit = hit.ok_or_else(nobody_has_it)?;
        let sources = self.sources(&hit.holders).await;
        Ok((FileName::Hash(hash), Some(hit.file), sources))
    }

    /// Where the holders are dialed: by the roster, never by what a hit says. Other peers first; a copy of this peer's own
    /// is the last resort, for someone who wants it in another place. When nobody else of the zone has it, holders of other
    /// zones are dialed where the registry says.
    async fn sources(&self, holders: &[Holder]) -> Vec<Source> {
        let knowledge = self.view.now();
        let me = knowledge.me.id;
        let mut ids: Vec<PeerId> = holders.iter().map(|holder| holder.peer_id).collect();
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(*id));
        ids.sort_by_key(|id| *id == me);
        let known: Vec<Source> = ids.iter().filter_map(|id| knowledge.member(id)).map(source).collect();
        if known.iter().any(|source| source.peer_id != me) {
            return known;
        }
        let mut sources = self.sources_beyond(holders).await;
        sources.extend(known);
        sources
    }

    async fn sources_beyond(&self, holders: &[Holder]) -> Vec<Source> {
        let mine = self.view.now().zone();
        let mut zones: Vec<ZoneId> = Vec::new();
        for zone in holders.iter().filter_map(|holder| holder.zone) {
            if Some(zone) != mine && zones.len() < MAX_ZONES_LISTED && !zones.contains(&zone) {
                zones.push(zone);
            }
        }
        let ids: HashSet<PeerId> = holders.iter().map(|holder| holder.peer_id).collect();
        let mut sources: Vec<Source> = Vec::new();
        for zone in zones {
            let listing = self.directory.peers(Some(zone)).await;
            if listing.is_stale {
                break;
            }
            let there = listing.rows.into_iter().filter(|peer| ids.contains(&peer.id));
            sources.extend(there.map(|peer| Source {
                peer_id: peer.id,
                name: peer.name.to_string(),
                address: peer.address,
            }));
        }
        sources
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
        shutdown.drain(std::time::Duration::from_secs(60)).await;
    }
}
