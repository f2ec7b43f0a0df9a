//! A holder that lists what it likes and gives what it likes, and a sender that pushes what it likes.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use floodplain::{
    net::{Identity, Security, Transport, throttle::Throttle},
    peer::{
        channels::Channels,
        download::Source,
        folder::{FolderAsk, FolderGetter},
        handle::Events,
        transfers::Transfers,
    },
    protocol::{
        action::{ActionError, ErrorKind, Transfer, TransferState},
        id::{ContentHash, PeerId},
        manifest::{Manifest, ManifestFile},
    },
    shutdown::Shutdown,
    wire::pb::{self, peer_service_client::PeerServiceClient},
};
use futures::StreamExt;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    stand_in::{Answer, Answers, Replies, StandIn},
    support::soon,
};

const PAGE: usize = 4000;

fn hash_of(content: &[u8]) -> Vec<u8> {
    blake3::hash(content).as_bytes().to_vec()
}

#[derive(Debug, Default)]
struct State {
    listed: Mutex<Vec<pb::FileEntry>>,
    contents: HashMap<String, Vec<u8>>,
    asked: Mutex<Vec<String>>,
    ends_after: AtomicUsize,
    hangs_after: AtomicUsize,
    busy_calls: AtomicUsize,
}

/// The holder of a share named `docs`.
pub(crate) struct Holder {
    address: SocketAddr,
    state: Arc<State>,
    shutdown: Shutdown,
}

impl Holder {
    pub(crate) async fn start(files: &[(&str, &[u8])]) -> Self {
        let entry = |(path, content): &(&str, &[u8])| pb::FileEntry {
            path: format!("docs/{path}"),
            size_bytes: content.len() as u64,
            content_hash: hash_of(content).into(),
            modify_time: Some(prost_types::Timestamp::default()),
        };
        let contents = files.iter().map(|(path, content)| (format!("docs/{path}"), content.to_vec()));
        let state = Arc::new(State {
            listed: Mutex::new(files.iter().map(entry).collect()),
            contents: contents.collect(),
            ends_after: AtomicUsize::new(usize::MAX),
            hangs_after: AtomicUsize::new(usize::MAX),
            ..State::default()
        });
        let address = StandIn::serve(Served(state.clone())).await;
        Self { address, state, shutdown: Shutdown::new() }
    }

    /// Changes what is listed; what is given stays.
    pub(crate) fn list(&mut self, change: impl Fn(&mut pb::FileEntry)) {
        self.state.listed.lock().expect("not poisoned").iter_mut().for_each(change);
    }

    /// Breaks a call after so many files.
    pub(crate) fn end_after(&self, files: usize) {
        self.state.ends_after.store(files, SeqCst);
    }

    /// Gives no more after so many files, and does not say so.
    pub(crate) fn hang_after(&self, files: usize) {
        self.state.hangs_after.store(files, SeqCst);
    }

    /// Refuses so many calls for want of a slot.
    pub(crate) fn be_busy(&self, calls: usize) {
        self.state.busy_calls.store(calls, SeqCst);
    }

    /// Paths that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.asked.lock().expect("not poisoned").clone()
    }

    /// Begins to fetch its share into this folder.
    pub(crate) async fn begin(&self, to: &Path) -> Events<Transfer> {
        let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
        let folders = FolderGetter::new(
            Channels::new(transport),
            Transfers::new(2),
            Throttle::default(),
            self.shutdown.clone(),
        );
        let peer_id = PeerId::from_bytes([9; 32]);
        let source = Source { peer_id, name: "liar".into(), address: self.address };
        match folders.look(&source, "docs").await {
            Ok(Some(first)) => {
                let ask = FolderAsk { source, path: "docs".into(), destination: to.into() };
                folders.start(ask, first).expect("room")
            }
            Ok(None) => panic!("it has a folder"),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn end(&self, to: &Path) -> Result<Transfer, ActionError> {
        let mut events = self.begin(to).await;
        let mut last = None;
        while let Some(event) = soon("an event", events.next()).await {
            last = Some(event?);
        }
        Ok(last.expect("an event"))
    }

    /// Fetches its share into this folder.
    pub(crate) async fn get(&self, to: &Path) -> Transfer {
        self.end(to).await.expect("begins")
    }

    /// Fetches its share, which has to fail.
    pub(crate) async fn refuses(&self, to: &Path) -> (ErrorKind, String) {
        match self.end(to).await.map(|transfer| transfer.state) {
            Err(error) | Ok(TransferState::Failed(error)) => (error.kind, error.message),
            Ok(other) => panic!("it did not fail but is {other:?}"),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

struct Served(Arc<State>);

#[tonic::async_trait]
impl Answers for Served {
    async fn list_files(&self, request: Request<pb::ListFilesRequest>) -> Answer<pb::ListFilesResponse> {
        let begin: usize = request.into_inner().page_token.parse().unwrap_or(0);
        let listed = self.0.listed.lock().expect("not poisoned");
        let end = listed.len().min(begin + PAGE);
        let next_page_token = if end < listed.len() { end.to_string() } else { String::new() };
        Ok(Response::new(pb::ListFilesResponse { files: listed[begin..end].to_vec(), next_page_token }))
    }

    async fn download_many(
        &self,
        request: Request<Streaming<pb::DownloadManyRequest>>,
    ) -> Answer<Replies<pb::DownloadManyResponse>> {
        let state = self.0.clone();
        let is_busy = |calls: usize| calls.checked_sub(1);
        if state.busy_calls.fetch_update(SeqCst, SeqCst, is_busy).is_ok() {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
            return Err(Status::with_error_details(Code::ResourceExhausted, "too many wait", details));
        }
        let paths = request.into_inner().flat_map(|request| {
            futures::stream::iter(request.map_or_else(|_| Vec::new(), |request| request.paths))
        });
        let answers = paths.enumerate().then(move |(at, path)| {
            let state = state.clone();
            async move {
                if at >= state.hangs_after.load(SeqCst) {
                    std::future::pending::<()>().await;
                }
                if at >= state.ends_after.load(SeqCst) {
                    return Err(Status::permission_denied("that was enough"));
                }
                let data = state.contents[&path].clone();
                let file = pb::FileEntry {
                    path: path.clone(),
                    size_bytes: data.len() as u64,
                    content_hash: hash_of(&data).into(),
                    modify_time: Some(prost_types::Timestamp::default()),
                };
                state.asked.lock().expect("not poisoned").push(path);
                let item = pb::DownloadedFile { file: Some(file), error: None, data: data.into() };
                Ok(pb::DownloadManyResponse { items: vec![item], queue_position: 0 })
            }
        });
        Ok(Response::new(answers.boxed()))
    }
}

/// Pushes a folder named `pushed` by hand.
pub(crate) struct Push {
    address: SocketAddr,
    /// What is wrong with the offer.
    pub(crate) change: fn(&mut pb::SendOffer),
    /// Sends other bytes than the hashes say.
    pub(crate) spoils: bool,
}

impl Push {
    pub(crate) fn to(address: SocketAddr) -> Self {
        Self { address, change: |_| {}, spoils: false }
    }

    /// The name that it has in the inbox.
    pub(crate) async fn files(&self, files: &[(&str, &[u8])]) -> Result<String, Code> {
        use pb::send_request::Message;
        let hash = |content: &[u8]| ContentHash::from_bytes(*blake3::hash(content).as_bytes());
        let listed = files.iter().map(|(path, content)| ManifestFile {
            path: (*path).into(),
            size_bytes: content.len() as u64,
            hash: Some(hash(content)),
        });
        let id = Manifest::new(listed.collect()).map_or(vec![3; 32], |made| made.id().as_bytes().to_vec());
        let mut offer = pb::SendOffer {
            sender_id: vec![5; 32].into(),
            sender_name: "mallory".into(),
            name: "pushed".into(),
            size_bytes: files.iter().map(|(_, content)| content.len() as u64).sum(),
            content_hash: id.into(),
            files: Some(u32::try_from(files.len()).expect("few")),
        };
        (self.change)(&mut offer);
        let file = |(path, content): &(&str, &[u8])| {
            let mut data = content.to_vec();
            for byte in &mut data {
                *byte ^= u8::from(self.spoils);
            }
            pb::SendFile {
                path: (*path).into(),
                size_bytes: content.len() as u64,
                content_hash: hash_of(content).into(),
                data: data.into(),
            }
        };
        let pack = pb::SendPack { files: files.iter().map(file).collect() };
        let messages = [Message::Offer(offer), Message::Pack(pack)];
        let requests = messages.map(|message| pb::SendRequest { message: Some(message) });
        let mut client =
            PeerServiceClient::connect(format!("http://{}", self.address)).await.expect("connects");
        let failed = |status: Status| status.code();
        let requests = futures::stream::iter(requests);
        let mut answers = client.send(requests).await.map_err(failed)?.into_inner();
        loop {
            use pb::send_response::Message;
            match soon("an answer", answers.message()).await.map_err(failed)?.expect("an end").message {
                Some(Message::Done(done)) => return Ok(done.name),
                Some(Message::Accepted(_)) => {}
                None => panic!("an empty answer"),
            }
        }
    }
}
