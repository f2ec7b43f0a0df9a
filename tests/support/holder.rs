//! A stand-in for a holder of one file: real gRPC on a real port, and every request for bytes answered as a script says,
//! counted.

use std::{
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use floodplain::{
    peer::download::Source,
    protocol::{
        id::{ContentHash, PeerId},
        piece::TreeHasher,
        plan::FileName,
    },
    wire::pb,
};
use futures::{StreamExt, stream};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::stand_in::{Answer, Answers, Replies, StandIn};

/// Of a message with bytes.
pub(crate) const CHUNK: usize = 64 << 10;
/// Of the file: all contents here are small.
pub(crate) const PIECE: usize = 1 << 20;

/// So many bytes are slow: of a whole piece nobody could wait for the end.
const SLOW_BYTES: usize = 1200;

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Honest,
    /// Has other bytes from that piece on.
    WrongFrom(u32),
    /// Ends half way, with a good status.
    Short,
    /// Sends a chunk more than was asked for.
    Long,
    /// Sends what was asked for, and never stops.
    Endless,
    /// Tells the file, and then sends messages without bytes for ever.
    Babble,
    /// Takes the call and answers nothing.
    Silent,
    /// Tells the file and sends no byte of it.
    Mute,
    /// Bytes a second, at the end of what was asked for.
    Slow(u64),
    /// All slots are taken, whenever it is asked.
    Full,
    /// A place in its queue, for ever.
    Queues,
    /// Its connections break half way.
    Dies,
    /// A byte more than the file has.
    WrongSize,
    /// Values that are not those of the file.
    WrongTree,
    /// Has other content under that hash, and says so.
    WrongHash,
    /// Bytes one place further than where they belong.
    WrongOffset,
    /// Its file changes half way.
    Changes,
    /// Has no such file.
    Gone,
}

/// A request for bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// How many came before it.
    pub(crate) number: usize,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) with_tree: bool,
    /// Bytes that were handed to the network in answer to it.
    pub(crate) sent: u64,
}

type Script = Box<dyn Fn(&Asked) -> Does + Send + Sync>;

struct State {
    content: Bytes,
    hash: ContentHash,
    values: Bytes,
    script: Mutex<Script>,
    asked: Mutex<Vec<Asked>>,
    connections: Mutex<Vec<TcpStream>>,
    is_down: AtomicBool,
    refused: AtomicUsize,
    is_hashing: AtomicBool,
    micros_per_chunk: AtomicU64,
}

#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) name: String,
    address: SocketAddr,
    state: Arc<State>,
}

impl Holder {
    /// Has that content, and does the same whenever it is asked.
    pub(crate) async fn start(name: &str, content: &[u8], does: Does) -> Self {
        let mut hasher = TreeHasher::new(content.len() as u64);
        hasher.update(content);
        let tree = hasher.finish().expect("the whole content");
        let state = Arc::new(State {
            content: Bytes::copy_from_slice(content),
            hash: tree.root(),
            values: tree.values().into(),
            script: Mutex::new(Box::new(move |_| does)),
            asked: Mutex::default(),
            connections: Mutex::default(),
            is_down: AtomicBool::default(),
            refused: AtomicUsize::default(),
            is_hashing: AtomicBool::default(),
            micros_per_chunk: AtomicU64::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let taking = state.clone();
        let incoming = TcpListenerStream::new(listener).filter_map(move |connection| {
            let taken = connection.and_then(|connection| taking.take(connection));
            async { taken.ok().map(Ok::<_, std::io::Error>) }
        });
        let service = StandIn::service(Scripted(state.clone()));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(async move { server.serve_with_incoming(incoming.boxed()).await });
        Self { name: name.into(), address, state }
    }

    /// From now on.
    pub(crate) fn now_does(&self, script: impl Fn(&Asked) -> Does + Send + Sync + 'static) {
        *self.state.script.lock().expect("not poisoned") = Box::new(script);
    }

    /// Takes so long for each [`CHUNK`], that it is served over a network rather than out of memory.
    pub(crate) fn takes_micros(self, micros: u64) -> Self {
        self.state.micros_per_chunk.store(micros, SeqCst);
        self
    }

    /// Does not know its hash yet.
    pub(crate) fn while_hashing(self) -> Self {
        self.state.is_hashing.store(true, SeqCst);
        self
    }

    /// Breaks all connections and takes no more.
    pub(crate) fn goes_down(&self) {
        self.state.is_down.store(true, SeqCst);
        self.state.cut();
    }

    pub(crate) fn comes_back(&self) {
        self.state.is_down.store(false, SeqCst);
    }

    pub(crate) fn source(&self) -> Source {
        let peer_id = PeerId::from_bytes(*blake3::hash(self.name.as_bytes()).as_bytes());
        Source { peer_id, name: self.name.clone(), address: self.address }
    }

    pub(crate) fn file(&self) -> FileName {
        FileName::Hash(self.state.hash)
    }

    /// Connections that it did not take while it was down.
    pub(crate) fn refused(&self) -> usize {
        self.state.refused.load(SeqCst)
    }

    /// In order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().expect("not poisoned").clone()
    }

    /// Bytes that it handed to the network.
    pub(crate) fn sent(&self) -> u64 {
        self.asked().iter().map(|asked| asked.sent).sum()
    }
}

impl State {
    fn take(&self, connection: tokio::net::TcpStream) -> std::io::Result<tokio::net::TcpStream> {
        connection.set_zero_linger()?;
        if self.is_down.load(SeqCst) {
            self.refused.fetch_add(1, SeqCst);
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let connection = connection.into_std()?;
        self.connections.lock().expect("not poisoned").push(connection.try_clone()?);
        tokio::net::TcpStream::from_std(connection)
    }

    fn cut(&self) {
        for connection in self.connections.lock().expect("not poisoned").drain(..) {
            // Fails for one that has ended by itself.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    fn entry(&self, does: Does) -> pb::FileEntry {
        let hash = match does {
            _ if self.is_hashing.load(SeqCst) => Vec::new(),
            Does::WrongHash => vec![7; 32],
            _ => self.hash.as_bytes().to_vec(),
        };
        pb::FileEntry {
            path: "share/f".into(),
            size_bytes: self.content.len() as u64 + u64::from(does == Does::WrongSize),
            content_hash: hash.into(),
            modify_time: Some(prost_types::Timestamp::default()),
        }
    }

    /// The bytes that were asked for, as far as they are.
    fn bytes(&self, asked: &Asked, does: Does) -> Bytes {
        let mut content = self.content.clone();
        if does == Does::WrongSize {
            content = [&content[..], b"!"].concat().into();
        }
        let len = content.len();
        let start = usize::try_from(asked.offset).expect("fits").min(len);
        let end = match asked.length {
            0 => len,
            length => start.saturating_add(usize::try_from(length).expect("fits")).min(len),
        };
        content.slice(start..end)
    }
}

/// A part of an answer.
enum Part {
    Message(pb::DownloadResponse),
    Wait(Duration),
    Cut,
    Forever,
}

fn data(offset: usize, data: Bytes) -> Part {
    Part::Message(pb::DownloadResponse { offset: offset as u64, data, ..Default::default() })
}

fn chunks(offset: usize, bytes: Bytes, chunk: usize) -> impl Iterator<Item = (usize, Bytes)> {
    let len = bytes.len();
    (0..len).step_by(chunk).map(move |at| (offset + at, bytes.slice(at..(at + chunk).min(len))))
}

fn spoiled(bytes: &[u8]) -> Bytes {
    bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>().into()
}

type Parts = Box<dyn Iterator<Item = Result<Part, Status>> + Send>;

/// Tells the file, and then that.
fn parts(state: &State, asked: &Asked, does: Does) -> Parts {
    let mut tree = if asked.with_tree { state.values.clone() } else { Bytes::new() };
    if does == Does::WrongTree {
        tree = spoiled(&tree);
    }
    let file = pb::DownloadResponse { file: Some(state.entry(does)), tree, ..Default::default() };
    let offset = usize::try_from(asked.offset).expect("fits");
    let bytes = state.bytes(asked, does);
    let end = offset + bytes.len();
    let half = bytes.slice(..bytes.len() / 2);
    let right = |bytes| chunks(offset, bytes, CHUNK).map(|(at, bytes)| data(at, bytes));
    let zeros = move |at: usize| data(end + at * CHUNK, vec![0; CHUNK].into());
    let rest: Box<dyn Iterator<Item = Part> + Send> = match does {
        Does::WrongFrom(piece) => Box::new(chunks(offset, bytes, CHUNK).map(move |(at, bytes)| {
            data(at, if at >= piece as usize * PIECE { spoiled(&bytes) } else { bytes })
        })),
        Does::Short | Does::Changes => Box::new(right(half)),
        Does::Dies => Box::new(right(half).chain([Part::Cut])),
        Does::Long => Box::new(right(bytes).chain([zeros(0)])),
        Does::Endless => Box::new(right(bytes).chain((0..).map(zeros))),
        Does::Babble => {
            let nothing = move |_| data(offset, Bytes::new());
            let wait = || Part::Wait(Duration::from_micros(500));
            Box::new((0..).map(nothing).flat_map(move |nothing| [nothing, wait()]))
        }
        Does::Mute => Box::new([Part::Forever].into_iter()),
        Does::Slow(rate) => {
            let few = (usize::try_from(rate).expect("fits") / 16).max(1);
            let wait = || Part::Wait(Duration::from_millis(1000 / 16));
            let fast = bytes.len().saturating_sub(SLOW_BYTES);
            let slow = chunks(offset + fast, bytes.slice(fast..), few);
            Box::new(
                right(bytes.slice(..fast)).chain(slow.flat_map(move |(at, few)| [wait(), data(at, few)])),
            )
        }
        Does::WrongOffset => Box::new(chunks(offset + 1, bytes, CHUNK).map(|(at, bytes)| data(at, bytes))),
        _ => Box::new(right(bytes)),
    };
    let changed = (does == Does::Changes).then(|| Err(Status::aborted("the file changed while it was read")));
    Box::new([Part::Message(file)].into_iter().chain(rest).map(Ok).chain(changed))
}

struct Scripted(Arc<State>);

#[tonic::async_trait]
impl Answers for Scripted {
    async fn download(&self, request: Request<pb::DownloadRequest>) -> Answer<Replies<pb::DownloadResponse>> {
        let pb::DownloadRequest { file, offset, length, with_tree, .. } = request.into_inner();
        let state = self.0.clone();
        let (asked, does) = {
            let mut all = state.asked.lock().expect("not poisoned");
            let asked = Asked { number: all.len(), offset, length, with_tree, sent: 0 };
            all.push(asked.clone());
            (asked.clone(), state.script.lock().expect("not poisoned")(&asked))
        };
        let is_it = match &file {
            Some(pb::download_request::File::ContentHash(hash)) => hash[..] == state.hash.as_bytes()[..],
            Some(pb::download_request::File::Path(path)) => path == "share/f",
            None => false,
        };
        if !is_it || does == Does::Gone {
            return Err(Status::not_found("no such file"));
        }
        let parts: Parts = match does {
            Does::Silent => std::future::pending().await,
            Does::Full => return Err(Status::resource_exhausted("all upload slots are taken")),
            Does::Queues => {
                let place = pb::DownloadResponse { queue_position: 3, ..Default::default() };
                let wait = || Part::Wait(Duration::from_millis(100));
                Box::new((0..).flat_map(move |_| [Ok(Part::Message(place.clone())), Ok(wait())]))
            }
            does => parts(&state, &asked, does),
        };
        let number = asked.number;
        let messages = stream::iter(parts).filter_map(move |part| {
            let state = state.clone();
            async move {
                match part {
                    Ok(Part::Message(message)) => {
                        let bytes = message.data.len() as u64;
                        let micros = state.micros_per_chunk.load(SeqCst) * bytes / CHUNK as u64;
                        if micros > 0 {
                            tokio::time::sleep(Duration::from_micros(micros)).await;
                        }
                        state.asked.lock().expect("not poisoned")[number].sent += bytes;
                        Some(Ok(message))
                    }
                    Ok(Part::Wait(wait)) => {
                        tokio::time::sleep(wait).await;
                        None
                    }
                    Ok(Part::Cut) => {
                        state.cut();
                        std::future::pending().await
                    }
                    Ok(Part::Forever) => std::future::pending().await,
                    Err(status) => Some(Err(status)),
                }
            }
        });
        Ok(Response::new(messages.boxed()))
    }
}
