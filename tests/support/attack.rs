//! What a hostile peer can do to a daemon at full rate, one kind after another, for as long as it is let.

// Shared as a module of each, beside `frames` and `raw`: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use floodplain::wire::pb;
use prost::Message;
use tokio::{sync::watch, task::JoinSet};

use super::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, Raw, SETTINGS, frame, head,
        literal,
    },
    raw::{Connection, framed},
};

const SEARCH: &str = "/floodplain.v1.PeerService/Search";
const BROWSE: &str = "/floodplain.v1.PeerService/Browse";
const SEND: &str = "/floodplain.v1.PeerService/Send";
const DOWNLOAD: &str = "/floodplain.v1.PeerService/Download";
/// Connections of one attack.
const CONNECTIONS: usize = 4;
/// Calls that each has open at once.
const AT_ONCE: usize = 64;
/// After a connection was cut; at once would only measure the system's handshakes.
const BACK_AFTER: Duration = Duration::from_millis(5);

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Small calls that are answered.
    Calls,
    /// Requests that are no protobuf.
    Garbage,
    /// Queries for a word of many files, by an id of its own each.
    Queries,
    /// Queries that are dropped as soon as they are sent.
    Resets,
    /// Headers that go on and on.
    Headers,
    /// Pings and settings.
    Pings,
    /// Downloads whose answers nobody takes.
    Windows,
    /// Pushes of 512 KiB of empty files.
    Pushes,
    /// Connections that say nothing.
    Silence,
}

impl Attack {
    pub const ALL: [Self; 9] = [
        Self::Calls,
        Self::Garbage,
        Self::Queries,
        Self::Resets,
        Self::Headers,
        Self::Pings,
        Self::Windows,
        Self::Pushes,
        Self::Silence,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Garbage => "garbage",
            Self::Queries => "queries",
            Self::Resets => "resets",
            Self::Headers => "endless headers",
            Self::Pings => "pings and settings",
            Self::Windows => "closed windows",
            Self::Pushes => "empty files",
            Self::Silence => "silence",
        }
    }
}

/// An attack that goes on until this is dropped.
pub struct Storm {
    tasks: JoinSet<()>,
    is_over: Arc<AtomicBool>,
    /// Calls or bursts of frames that were sent.
    pub sent: watch::Sender<u64>,
}

impl Storm {
    /// On that daemon, with this file to download.
    pub fn begin(attack: Attack, target: SocketAddr, file: &str) -> Self {
        let (mut tasks, is_over, sent) =
            (JoinSet::new(), Arc::<AtomicBool>::default(), watch::Sender::new(0));
        for _ in 0..CONNECTIONS {
            let (is_over, sent, file) = (is_over.clone(), sent.clone(), file.to_owned());
            tasks.spawn(async move {
                while !is_over.load(Relaxed) {
                    once(attack, target, &file, &is_over, &sent).await;
                    tokio::time::sleep(BACK_AFTER).await;
                }
            });
        }
        Self { tasks, is_over, sent }
    }

    /// Ends it and waits until it has.
    pub async fn end(mut self) {
        self.is_over.store(true, Relaxed);
        self.tasks.shutdown().await;
    }
}

/// One connection for as long as it lasts.
async fn once(
    attack: Attack,
    target: SocketAddr,
    file: &str,
    is_over: &AtomicBool,
    sent: &watch::Sender<u64>,
) {
    let call = |path: &'static str, body: fn() -> Vec<u8>| calls(target, path, body, is_over, sent);
    match attack {
        Attack::Calls => call(BROWSE, || framed(&pb::BrowseRequest::default().encode_to_vec())).await,
        Attack::Garbage => call(SEARCH, || framed(&[0xff; 4000])).await,
        Attack::Queries => call(SEARCH, || framed(&query().encode_to_vec())).await,
        Attack::Pushes => call(SEND, empty_files).await,
        Attack::Resets => {
            let mut stream = 1;
            let burst = move || {
                let query = framed(&query().encode_to_vec());
                (0..100)
                    .flat_map(|_| {
                        stream += 2;
                        let opened = frame(HEADERS, END_HEADERS, stream, &head(SEARCH));
                        let asked = frame(DATA, END_STREAM, stream, &query);
                        [opened, asked, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
                    })
                    .collect()
            };
            bursts(target, vec![], burst, is_over, sent).await;
        }
        Attack::Headers => {
            let more = frame(CONTINUATION, 0, 1, &literal("x-more", &"x".repeat(1000))).repeat(64);
            bursts(target, frame(HEADERS, 0, 1, &head(SEARCH)), move || more.clone(), is_over, sent).await;
        }
        Attack::Pings => {
            let both = [frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])]
                .concat()
                .repeat(500);
            bursts(target, vec![], move || both.clone(), is_over, sent).await;
        }
        Attack::Windows => {
            let file = Some(pb::download_request::File::Path(file.to_owned()));
            let ask = framed(&pb::DownloadRequest { file, ..Default::default() }.encode_to_vec());
            let mut raw = Raw::open(target, &[0, 4, 0, 0, 0, 0]).await;
            for at in 0..100 {
                let opened = frame(HEADERS, END_HEADERS, 2 * at + 1, &head(DOWNLOAD));
                raw.say(&[opened, frame(DATA, END_STREAM, 2 * at + 1, &ask)].concat()).await;
                sent.send_modify(|sent| *sent += 1);
            }
            raw.is_closed_within(Duration::from_secs(2)).await;
        }
        Attack::Silence => {
            let mut held = Vec::new();
            for _ in 0..50 {
                held.push(Raw::connect(target).await);
                sent.send_modify(|sent| *sent += 1);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
}

fn query() -> pb::SearchRequest {
    pb::SearchRequest {
        query_id: rand::random::<[u8; 16]>().to_vec().into(),
        text: "lecture".into(),
        ttl: 16,
        deadline: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        origin_id: vec![7; 32].into(),
        from_id: vec![7; 32].into(),
        ..Default::default()
    }
}

fn empty_files() -> Vec<u8> {
    // A pack (field 3) of files (field 1) of no bytes, written by hand: the attacker is to spend less than its target.
    let mut pack = vec![0x1a];
    prost::encoding::encode_varint(400_000, &mut pack);
    framed(&[pack, [0x0a, 0x00].repeat(200_000)].concat())
}

/// Calls as fast as they are answered.
async fn calls(
    target: SocketAddr,
    path: &str,
    body: fn() -> Vec<u8>,
    is_over: &AtomicBool,
    sent: &watch::Sender<u64>,
) {
    let connection = Connection::open(target).await;
    let callers = (0..AT_ONCE).map(|_| async {
        while !is_over.load(Relaxed) && connection.call(path, &[], body()).await != super::raw::End::Closed {
            sent.send_modify(|sent| *sent += 1);
        }
    });
    futures::future::join_all(callers).await;
}

/// Frames as fast as they are taken.
async fn bursts(
    target: SocketAddr,
    first: Vec<u8>,
    mut burst: impl FnMut() -> Vec<u8>,
    is_over: &AtomicBool,
    sent: &watch::Sender<u64>,
) {
    let mut raw = Raw::open(target, &[]).await;
    raw.say(&first).await;
    while !is_over.load(Relaxed) && raw.repeat(&burst(), 1).await > 0 {
        sent.send_modify(|sent| *sent += 1);
    }
}
