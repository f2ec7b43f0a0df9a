//! A peer of transfers alone: a real folder behind the library's upload, download, send and receive, on port 0.

use std::{
    collections::HashMap,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use floodplain::{
    net::{
        Identity, Security, Transport,
        caller::{Caller, KnownPeers},
        throttle::Throttle,
    },
    peer::{
        channels::Channels,
        download::{DownloadAsk, Downloader, Source},
        handle::Events,
        receive::{Receiver, Responses},
        send::{PushAsk, Sender},
        transfers::Transfers,
        upload::{FastDownload, Uploads},
    },
    protocol::{
        action::{AcceptPolicy, ActionError, FileInfo, Transfer, TransferState},
        bucket::RateLimits,
        id::{ContentHash, PeerId},
        piece::{Tree, TreeHasher},
        plan::FileName,
        roster::Member,
    },
    shutdown::Shutdown,
    store::{
        inbox::Inbox,
        read::{FileSource, SourceError, SourceFile},
    },
    wire::pb,
};
use futures::StreamExt;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::stand_in::{Answer, Replies, StandIn};

/// What a holder may do wrong, switched on by a test.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Serves the content of `damaged` under every hash, as if it were right.
    pub(crate) lies: AtomicBool,
    /// Breaks its connections after so many chunks; 0 never.
    pub(crate) dies_after_chunks: AtomicUsize,
    /// Takes calls and never answers.
    pub(crate) is_silent: AtomicBool,
    /// Appends to the file after so many chunks; 0 never.
    pub(crate) changes_after_chunks: AtomicUsize,
    /// Milliseconds before each chunk.
    pub(crate) chunk_takes_ms: AtomicUsize,
    /// Spoils the bytes from this place of a file on; 0 none.
    pub(crate) spoils_from: AtomicUsize,
    /// Files open, and every read of them fails.
    pub(crate) has_broken_disk: AtomicBool,
}

/// A folder as the index would have it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    by_hash: Mutex<HashMap<ContentHash, PathBuf>>,
    trees: Mutex<HashMap<ContentHash, Tree>>,
    faults: Arc<Faults>,
}

impl Folder {
    fn add(&self, name: &str, content: &[u8]) -> ContentHash {
        let path = self.path.join(name);
        fs::write(&path, content).expect("writes");
        let hash = ContentHash::from_bytes(*blake3::hash(content).as_bytes());
        self.by_hash.lock().expect("not poisoned").insert(hash, path);
        let mut hasher = TreeHasher::new(content.len() as u64);
        hasher.update(content);
        self.trees.lock().expect("not poisoned").insert(hash, hasher.finish().expect("the whole content"));
        hash
    }
}

impl FileSource for Folder {
    fn open(&self, what: &FileName) -> Result<SourceFile, SourceError> {
        let by_hash = self.by_hash.lock().expect("not poisoned");
        let (path, hash) = match what {
            FileName::Hash(hash) if self.faults.lies.load(SeqCst) => (self.path.join("damaged"), Some(*hash)),
            FileName::Hash(hash) => (by_hash.get(hash).cloned().ok_or(SourceError::NotFound)?, Some(*hash)),
            FileName::Path(path) => {
                let path = self.path.join(path.strip_prefix("share/").ok_or(SourceError::NotFound)?);
                (path, None)
            }
        };
        // Reading what is open for writing only fails as reading from a broken disk does.
        let is_broken = self.faults.has_broken_disk.load(SeqCst);
        let file = File::options().read(!is_broken).write(is_broken).open(&path);
        let file = file.map_err(|_| SourceError::NotFound)?;
        let metadata = file.metadata()?;
        let info = FileInfo {
            hash,
            path: format!("share/{}", path.file_name().expect("named").to_string_lossy()),
            size_bytes: metadata.len(),
            modified: metadata.modified()?,
        };
        SourceFile::new(file, info)
    }

    fn tree(&self, hash: &ContentHash) -> Option<Tree> {
        self.trees.lock().expect("not poisoned").get(hash).cloned()
    }
}

/// What the registry would tell of other peers.
#[derive(Debug, Default)]
pub(crate) struct Known(Mutex<HashMap<PeerId, Member>>);

impl Known {
    pub(crate) fn add(&self, id: PeerId, name: &str, address: SocketAddr) {
        let name = name.parse().expect("a peer name");
        let member = Member {
            id,
            name,
            address,
            incarnation: 1,
            shared_files: 0,
            room_bytes: 0,
            summary: floodplain::protocol::roster::Stamp::default(),
        };
        self.0.lock().expect("not poisoned").insert(id, member);
    }
}

impl KnownPeers for Known {
    fn known(&self, id: &PeerId) -> Option<Member> {
        self.0.lock().expect("not poisoned").get(id).cloned()
    }
}

/// The generated service over the library's parts.
pub(crate) struct Service {
    uploads: Uploads,
    receiver: Receiver,
    faults: Arc<Faults>,
    folder: Arc<Folder>,
}

#[tonic::async_trait]
impl crate::stand_in::Answers for Service {
    async fn browse(&self, _: Request<pb::BrowseRequest>) -> Answer<pb::BrowseResponse> {
        Ok(Response::new(pb::BrowseResponse { folders: vec!["passed through".into()], ..Default::default() }))
    }

    async fn download(&self, request: Request<pb::DownloadRequest>) -> Answer<Replies<pb::DownloadResponse>> {
        if self.faults.is_silent.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let caller = Caller::of(request.extensions());
        let request = request.into_inner();
        let faults = self.faults.clone();
        let stream = self.uploads.stream(request, caller).await?;
        let stream = stream.then(move |message| {
            let faults = faults.clone();
            async move {
                let mut message = message?;
                if message.data.is_empty() {
                    return Ok(message);
                }
                let pause = faults.chunk_takes_ms.load(SeqCst);
                if pause > 0 {
                    tokio::time::sleep(Duration::from_millis(pause as u64)).await;
                }
                let spoils_from = faults.spoils_from.load(SeqCst);
                if spoils_from > 0 && message.offset >= spoils_from as u64 {
                    message.data = message.data.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into();
                }
                Ok(message)
            }
        });
        let stream = stream.boxed();
        let dies_after = self.faults.dies_after_chunks.load(SeqCst);
        if dies_after > 0 {
            let cut = futures::stream::iter([Err(Status::unavailable("killed"))]);
            return Ok(Response::new(stream.take(1 + dies_after).chain(cut).boxed()));
        }
        let changes_after = self.faults.changes_after_chunks.load(SeqCst);
        let (folder, mut chunks) = (self.folder.clone(), 0);
        Ok(Response::new(
            stream
                .inspect(move |_| {
                    chunks += 1;
                    if chunks == changes_after {
                        for path in folder.by_hash.lock().expect("not poisoned").values() {
                            let file = File::options().write(true).open(path).expect("opens");
                            file.set_len(file.metadata().expect("metadata").len() + 1).expect("grows");
                        }
                    }
                })
                .boxed(),
        ))
    }

    async fn download_many(
        &self,
        request: Request<Streaming<pb::DownloadManyRequest>>,
    ) -> Answer<Replies<pb::DownloadManyResponse>> {
        let caller = Caller::of(request.extensions());
        self.uploads.many(request.into_inner(), caller).map(Response::new)
    }

    async fn send(&self, request: Request<Streaming<pb::SendRequest>>) -> Answer<Responses> {
        if self.faults.is_silent.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        let caller = Caller::of(request.extensions());
        self.receiver.serve(request.into_inner(), caller).map(Response::new)
    }
}

pub(crate) struct TestPeer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) home: tempfile::TempDir,
    pub(crate) faults: Arc<Faults>,
    pub(crate) folder: Arc<Folder>,
    pub(crate) inbox: Inbox,
    pub(crate) known: Arc<Known>,
    pub(crate) receiver: Receiver,
    pub(crate) transfers: Transfers,
    pub(crate) downloader: Downloader,
    pub(crate) sender: Sender,
    pub(crate) shutdown: Shutdown,
}

/// How `Download` is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// By the hand-framed body.
    Fast,
    /// By generated code.
    Generated,
}

impl TestPeer {
    pub(crate) async fn start(name: &'static str, answers: Answers) -> Self {
        Self::start_with(name, answers, 8).await
    }

    pub(crate) async fn start_with(name: &'static str, answers: Answers, slots: usize) -> Self {
        Self::start_limited(name, answers, slots, RateLimits::default()).await
    }

    pub(crate) async fn start_limited(
        name: &'static str,
        answers: Answers,
        slots: usize,
        limits: RateLimits,
    ) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let share = home.path().join("share");
        fs::create_dir(&share).expect("makes");
        let shutdown = Shutdown::new();
        let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
        let id = transport.identity().id();
        let transfers = Transfers::new(4);
        let faults = Arc::<Faults>::default();
        let folder = Arc::new(Folder {
            path: share,
            by_hash: Mutex::default(),
            trees: Mutex::default(),
            faults: faults.clone(),
        });
        let inbox = Inbox::open(home.path().join("inbox"), home.path(), AcceptPolicy::Ask).expect("opens");
        let uploads = Uploads::new(folder.clone(), slots, limits, transfers.clone(), shutdown.clone());
        let known = Arc::<Known>::default();
        let receiver = Receiver::new(inbox.clone(), known.clone(), transfers.clone(), shutdown.clone());
        let service = Service {
            uploads: uploads.clone(),
            receiver: receiver.clone(),
            faults: faults.clone(),
            folder: folder.clone(),
        };
        let generated = StandIn::service(service);
        let routes = match answers {
            Answers::Fast => Routes::new(FastDownload::new(uploads, generated)),
            Answers::Generated => Routes::new(generated),
        };
        let listener = transport.listen("127.0.0.1:0".parse().expect("valid")).await.expect("listens");
        let address = listener.address();
        shutdown.spawn_draining("serve", transport.serve(listener, routes, None, &shutdown));
        let channels = Channels::new(transport);
        let downloader =
            Downloader::new(channels.clone(), transfers.clone(), shutdown.clone(), Throttle::new(limits));
        let sender = Sender::new(id, channels, transfers.clone(), shutdown.clone());
        Self {
            name,
            address,
            home,
            faults,
            folder,
            inbox,
            known,
            receiver,
            transfers,
            downloader,
            sender,
            shutdown,
        }
    }

    /// Takes files of that peer without asking.
    pub(crate) fn trusts(&self, other: &TestPeer) {
        self.known.add(other.sender.id(), other.name, other.address);
        self.inbox.trust(other.sender.id()).expect("keeps");
    }

    /// Shares a file.
    pub(crate) fn share(&self, name: &str, content: &[u8]) -> ContentHash {
        self.folder.add(name, content)
    }

    pub(crate) fn share_path(&self, name: &str) -> PathBuf {
        self.home.path().join("share").join(name)
    }

    pub(crate) fn source(&self) -> Source {
        Source { peer_id: PeerId::from_bytes([9; 32]), name: self.name.into(), address: self.address }
    }

    /// Downloads into `got` and waits for the end.
    pub(crate) async fn get(&self, what: FileName, from: &[&TestPeer]) -> Result<Transfer, ActionError> {
        let sources = from.iter().map(|peer| peer.source()).collect();
        let destination = self.home.path().join("got");
        fs::create_dir_all(&destination).expect("makes");
        ended(self.downloader.start(DownloadAsk { what, sources, destination, name: None, finder: None })?)
            .await
    }

    /// Starts a push to another peer.
    pub(crate) fn push(&self, path: &Path, to: &TestPeer) -> Events<Transfer> {
        let ask = PushAsk {
            path: path.into(),
            hash: None,
            sender: self.name.parse().expect("a peer name"),
            receiver: to.name.into(),
            to: to.source().to(),
        };
        self.sender.start(ask).expect("room")
    }

    /// What lies in a folder of its home, parts included.
    pub(crate) fn names_in(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.home.path().join(folder)) else { return Vec::new() };
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The first offer that waits, as soon as there is one.
    pub(crate) async fn first_offer(&self) -> u64 {
        let mut look = tokio::time::interval(Duration::from_millis(2));
        loop {
            look.tick().await;
            if let Some(offer) = self.inbox.info().offers.first() {
                return offer.id;
            }
        }
    }
}

impl Drop for TestPeer {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

/// The last event.
pub(crate) async fn ended(mut events: Events<Transfer>) -> Result<Transfer, ActionError> {
    let end = async {
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event?);
        }
        Ok::<_, ActionError>(last.expect("at least one event"))
    };
    let transfer = tokio::time::timeout(Duration::from_secs(60), end).await.expect("ends in time")?;
    match transfer.state {
        TransferState::Failed(error) => Err(error),
        _ => Ok(transfer),
    }
}
