//! What a stranger or a hostile peer may send to real daemons, and how each of it ends: with its status, and with the daemon
//! alive, honest callers served and the memory back.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod fields;
#[path = "../support/frames.rs"]
mod frames;
mod grpc;
mod http2;
mod names;
#[path = "../support/processes.rs"]
mod processes;
#[path = "../support/raw.rs"]
mod raw;
mod replies;
#[path = "../support/stand_in.rs"]
mod stand_in;
mod uploads;

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use floodplain::wire::pb;
use processes::{Daemon, PATIENCE, home, logged};
use prost::Message;
use raw::{Connection, End};
use tempfile::TempDir;
use tonic::Code;

/// A group may leave so much behind: the allocator's arenas, tables that grew, a debug build.
const MOST_LEFT_KIB: u64 = 24 << 10;

/// The size of the file that the peer shares.
const SHARED_BYTES: usize = 3 << 20;

/// A registry and a peer, each a process.
struct Network {
    folder: TempDir,
    registry: Daemon,
    peer: Daemon,
    /// Before anything bad: the registry's and the peer's memory.
    rest_kib: [u64; 2],
}

impl Network {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
        let at = folder.path().join("ana");
        let at = home(
            &at,
            &registry.address,
            "FLOODPLAIN_ACCEPT=all\nFLOODPLAIN_INBOX=inbox\nFLOODPLAIN_REPLICA_SPACE=64MiB\n",
        );
        fs::write(at.join("share/report.txt"), "the report\n").unwrap();
        fs::write(at.join("share/film.mkv"), vec![7; SHARED_BYTES]).unwrap();
        let peer = Daemon::start(&at, &["peer", "--name", "ana"]);
        let mut network = Self { folder, registry, peer, rest_kib: [0; 2] };
        let began = Instant::now();
        while !network.finds_the_report().await {
            assert!(began.elapsed() < PATIENCE, "{}", network.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for _ in 0..20 {
            network.serves_honest_callers().await;
        }
        network.rest_kib = network.memory_kib();
        network
    }

    fn peer(&self) -> SocketAddr {
        self.peer.address.parse().unwrap()
    }

    fn registry(&self) -> SocketAddr {
        self.registry.address.parse().unwrap()
    }

    async fn to_peer(&self) -> Connection {
        Connection::open(self.peer()).await
    }

    async fn to_registry(&self) -> Connection {
        Connection::open(self.registry()).await
    }

    fn logs(&self) -> String {
        format!("{}\n{}", logged(&self.folder.path().join("hub")), logged(&self.folder.path().join("ana")))
    }

    /// Names in the peer's inbox, in order; what is unfinished among them.
    fn inbox(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("ana/inbox")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn memory_kib(&self) -> [u64; 2] {
        [&self.registry, &self.peer].map(|daemon| status_kib(daemon.pid(), "VmRSS"))
    }

    /// By the peer itself and by its index.
    async fn finds_the_report(&self) -> bool {
        let connection = self.to_peer().await;
        connection.ask("/floodplain.v1.PeerService/Search", &fields::query("report")).await
            == End::Grpc(Code::Ok)
    }

    async fn serves_honest_callers(&self) {
        let peer = self.to_peer().await;
        let browse = pb::BrowseRequest { path: "share".into(), ..Default::default() };
        assert_eq!(peer.ask("/floodplain.v1.PeerService/Browse", &browse).await, End::Grpc(Code::Ok));
        assert!(self.finds_the_report().await, "{}", self.logs());
        let registry = self.to_registry().await;
        let zones = pb::ListZonesRequest::default();
        assert_eq!(
            registry.ask("/floodplain.v1.RegistryService/ListZones", &zones).await,
            End::Grpc(Code::Ok)
        );
    }

    /// Ends a group: both live, serve, have given the memory back, and said nothing of a fault of their own.
    async fn is_unharmed(&self) {
        self.serves_honest_callers().await;
        let began = Instant::now();
        loop {
            let now = self.memory_kib();
            if now.iter().zip(self.rest_kib).all(|(now, rest)| *now <= rest + MOST_LEFT_KIB) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "KiB at rest {:?}, now {now:?}", self.rest_kib);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let logs = self.logs();
        assert!(!logs.contains("panicked") && !logs.contains("fault of this program"), "{logs}");
    }
}

/// A line of `/proc/<pid>/status` in KiB: the process is there.
fn status_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon lives");
    let line = status.lines().find(|line| line.starts_with(field)).expect("a line");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One call of a table: what it is, its method, its body, how it ends.
struct Case {
    what: String,
    path: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: Vec<u8>,
    end: End,
}

impl Case {
    fn raw(what: impl Into<String>, path: &'static str, body: Vec<u8>, end: End) -> Self {
        Self { what: what.into(), path, headers: &[], body, end }
    }

    fn ask(what: impl Into<String>, path: &'static str, message: &impl Message, code: Code) -> Self {
        Self::raw(what, path, raw::framed(&message.encode_to_vec()), End::Grpc(code))
    }

    fn with(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }
}

/// Who sends more nonsense than this on one connection is not read for a while.
const BORNE: usize = 15;

/// Runs a table on that connection, and on others like it, which it must not break; all that ended otherwise is told at once.
async fn check(connection: &Connection, cases: Vec<Case>) -> usize {
    let (count, mut wrong, mut next) = (cases.len(), Vec::new(), None);
    for (number, case) in cases.into_iter().enumerate() {
        if number > 0 && number % BORNE == 0 {
            next = Some(Connection::open(connection.address).await);
        }
        let connection = next.as_ref().unwrap_or(connection);
        let end = connection.call(case.path, case.headers, case.body).await;
        if end != case.end {
            wrong.push(format!("{} {}: {end:?}, not {:?}", case.path, case.what, case.end));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    count
}
