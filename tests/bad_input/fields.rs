//! Requests that are well formed and mean nothing good: one field of each is out of its bounds.

use std::collections::BTreeSet;

use floodplain::wire::pb::{self, download_request::File};
use prost_types::Duration;
use tonic::Code::{self, InvalidArgument, NotFound};

use super::{Case, Network, check};

const SEARCH: &str = "/floodplain.v1.PeerService/Search";
const BROWSE: &str = "/floodplain.v1.PeerService/Browse";
const DOWNLOAD: &str = "/floodplain.v1.PeerService/Download";
const LIST_FILES: &str = "/floodplain.v1.PeerService/ListFiles";
const MANY: &str = "/floodplain.v1.PeerService/DownloadMany";
const WATCH: &str = "/floodplain.v1.PeerService/WatchZone";
const KEEP: &str = "/floodplain.v1.ReplicaService/Keep";
const CHECK: &str = "/floodplain.v1.ReplicaService/CheckReplicas";
const RELEASE: &str = "/floodplain.v1.ReplicaService/Release";
const REGISTER: &str = "/floodplain.v1.RegistryService/Register";
const HEARTBEAT: &str = "/floodplain.v1.RegistryService/Heartbeat";
const UNREGISTER: &str = "/floodplain.v1.RegistryService/Unregister";
const SESSION: &str = "/floodplain.v1.RegistryService/Session";

/// A query that is served.
pub(crate) fn query(text: &str) -> pb::SearchRequest {
    pb::SearchRequest {
        query_id: rand::random::<[u8; 16]>().to_vec().into(),
        text: text.into(),
        ttl: 1,
        deadline: Some(Duration { seconds: 5, nanos: 0 }),
        origin_id: vec![9; 32].into(),
        from_id: vec![9; 32].into(),
        ..Default::default()
    }
}

fn searches() -> Vec<Case> {
    let bad = |what, change: &dyn Fn(&mut pb::SearchRequest)| {
        let mut query = query("report");
        change(&mut query);
        Case::ask(what, SEARCH, &query, InvalidArgument)
    };
    let id = |length: usize| vec![1; length].into();
    let mut cases = vec![
        bad("no query id", &|query| query.query_id = id(0)),
        bad("a query id of 15 bytes", &|query| query.query_id = id(15)),
        bad("a query id of 17 bytes", &|query| query.query_id = id(17)),
        bad("an origin of 31 bytes", &|query| query.origin_id = id(31)),
        bad("an origin of 16 KiB", &|query| query.origin_id = id(16_000)),
        bad("no sender", &|query| query.from_id = id(0)),
        bad("a sender of 33 bytes", &|query| query.from_id = id(33)),
        bad("a claim of 31 bytes", &|query| query.claim = Some(pb::Claim { before_id: id(31) })),
        bad("an empty claim", &|query| query.claim = Some(pb::Claim::default())),
        bad("ttl 33", &|query| query.ttl = 33),
        bad("ttl 256, one more than a byte holds", &|query| query.ttl = 256),
        bad("ttl 2^32 - 1", &|query| query.ttl = u32::MAX),
        bad("hops 2^32 - 1", &|query| query.hops = u32::MAX),
        bad("ttl and hops above their sum", &|query| (query.ttl, query.hops) = (17, 16)),
        bad("hops alone above their sum", &|query| (query.ttl, query.hops) = (0, 33)),
        bad("no deadline", &|query| query.deadline = None),
        bad("a deadline of nothing", &|query| query.deadline = Some(Duration::default())),
        bad("a deadline before now", &|query| query.deadline = Some(Duration { seconds: -1, nanos: 0 })),
        bad("a deadline of 61 s", &|query| query.deadline = Some(Duration { seconds: 61, nanos: 0 })),
        bad("a deadline beyond time", &|query| {
            query.deadline = Some(Duration { seconds: i64::MAX, nanos: i32::MAX });
        }),
        bad("a deadline of nanoseconds below zero", &|query| {
            query.deadline = Some(Duration { seconds: 1, nanos: -1 });
        }),
        bad("a deadline of the least numbers", &|query| {
            query.deadline = Some(Duration { seconds: i64::MIN, nanos: i32::MIN });
        }),
        bad("a reach that is not defined", &|query| query.reach = 7),
        bad("a reach below zero", &|query| query.reach = -1),
        bad("a whole zone that is not named", &|query| query.reach = pb::Reach::WholeZone.into()),
        bad("a zone for a query inside", &|query| query.zone_id = 1),
        bad("a claim for a gateway", &|query| {
            query.reach = pb::Reach::OtherZones.into();
            query.claim = Some(pb::Claim { before_id: id(32) });
        }),
    ];
    let mut elsewhere = query("report");
    (elsewhere.reach, elsewhere.zone_id) = (pb::Reach::WholeZone.into(), 9999);
    cases.push(Case::ask("the gateway of another zone", SEARCH, &elsewhere, Code::FailedPrecondition));
    let long =
        ["x".repeat(513), "\"".repeat(513), "é".repeat(257), "a ".repeat(256) + "b", "x".repeat(16_000)];
    let texts = [
        "",
        " ",
        "\t\n",
        "\"",
        "\"open",
        "a \"b",
        "-",
        "\"\"",
        "size:",
        "size:>",
        "size:>many",
        "size:>99999999999999999999T",
        "size:<-1",
        "type:",
        "type:nothing",
        "newer:",
        "newer:never",
        "older:99999999999y",
        "hash:",
        "hash:xyz",
        "ext:",
        "peer:",
        "-size:>x",
        "colour:red \"",
    ];
    let texts = texts.into_iter().map(String::from).chain(long);
    // Deep: one quote after another, each opening what the one before closed.
    let deep = ["\"".repeat(511), "-\"".repeat(255) + "x", "(".repeat(511) + "\""];
    for text in texts.chain(deep) {
        let what = format!("the text {text:?}, which is no query");
        cases.push(Case::ask(what, SEARCH, &query(&text), InvalidArgument));
    }
    cases
}

fn folders() -> Vec<Case> {
    let browse = |path: &str, page_size, page_token: &str| pb::BrowseRequest {
        path: path.into(),
        page_size,
        page_token: page_token.into(),
    };
    let list = |path: &str, page_size, page_token: String| pb::ListFilesRequest {
        path: path.into(),
        page_size,
        page_token,
    };
    let mut cases = vec![
        Case::ask("1001 entries", BROWSE, &browse("share", 1001, ""), InvalidArgument),
        Case::ask("2^32 - 1 entries", BROWSE, &browse("share", u32::MAX, ""), InvalidArgument),
        Case::ask("a long token", BROWSE, &browse("share", 1, &"t".repeat(9000)), InvalidArgument),
        Case::ask("a token of another make", BROWSE, &browse("share", 1, "nonsense"), InvalidArgument),
        Case::ask("10001 files", LIST_FILES, &list("share", 10_001, String::new()), InvalidArgument),
        Case::ask("a long token", LIST_FILES, &list("share", 1, "t".repeat(9000)), InvalidArgument),
        Case::ask("no folder", LIST_FILES, &list("share/nothing", 0, String::new()), NotFound),
    ];
    for path in ["nothing", "share/nothing"] {
        cases.push(Case::ask("no folder", BROWSE, &browse(path, 0, ""), NotFound));
    }
    for path in ["..", "../..", "share/..", "share/../../etc", "/etc", "share//", "share/\0"] {
        cases.push(Case::ask(
            "a path that leaves its share",
            LIST_FILES,
            &list(path, 0, String::new()),
            InvalidArgument,
        ));
    }
    cases
}

fn files() -> Vec<Case> {
    let by = |file: File| pb::DownloadRequest { file: Some(file), ..Default::default() };
    let path = |path: &str| by(File::Path(path.into()));
    let report = || path("share/report.txt");
    let many =
        |paths: &[&str]| pb::DownloadManyRequest { paths: paths.iter().map(|&path| path.into()).collect() };
    let mut cases = vec![
        Case::ask("no file", DOWNLOAD, &pb::DownloadRequest::default(), InvalidArgument),
        Case::ask(
            "a hash of 31 bytes",
            DOWNLOAD,
            &by(File::ContentHash(vec![1; 31].into())),
            InvalidArgument,
        ),
        Case::ask("a hash of nothing", DOWNLOAD, &by(File::ContentHash(vec![1; 32].into())), NotFound),
        Case::ask("a path of nothing", DOWNLOAD, &path("share/nothing"), NotFound),
        Case::ask("the share itself", DOWNLOAD, &path("share"), NotFound),
        Case::ask("a path of 4097 bytes", DOWNLOAD, &path(&"x".repeat(4097)), InvalidArgument),
        Case::ask(
            "an offset behind the end",
            DOWNLOAD,
            &pb::DownloadRequest { offset: 12, ..report() },
            Code::OutOfRange,
        ),
        Case::ask(
            "the largest offset",
            DOWNLOAD,
            &pb::DownloadRequest { offset: u64::MAX, ..report() },
            Code::OutOfRange,
        ),
        Case::ask(
            "a range beyond all numbers",
            DOWNLOAD,
            &pb::DownloadRequest { offset: u64::MAX, length: 1, ..report() },
            InvalidArgument,
        ),
        Case::ask(
            "two numbers that wrap",
            DOWNLOAD,
            &pb::DownloadRequest { offset: 2, length: u64::MAX - 1, ..report() },
            InvalidArgument,
        ),
        Case::ask(
            "chunks of a byte",
            DOWNLOAD,
            &pb::DownloadRequest { chunk_bytes: 1, ..report() },
            InvalidArgument,
        ),
        Case::ask(
            "chunks of 4 GiB",
            DOWNLOAD,
            &pb::DownloadRequest { chunk_bytes: u32::MAX, ..report() },
            InvalidArgument,
        ),
        Case::ask("no paths", MANY, &many(&[]), InvalidArgument),
        Case::ask("65 paths", MANY, &many(&["share/report.txt"; 65]), InvalidArgument),
        Case::ask(
            "paths of 16 KiB",
            MANY,
            &many(&[vec!["x".repeat(4096).as_str(); 4], vec!["x"]].concat()),
            InvalidArgument,
        ),
        Case::ask("a path that leaves its share", MANY, &many(&["share/../../x"]), InvalidArgument),
    ];
    for escape in [
        "..",
        "/etc/passwd",
        "share/../../../etc/passwd",
        "share/./report.txt",
        "share//report.txt",
        "share/report.txt\0",
        "share/",
    ] {
        cases.push(Case::ask("a path that leaves its share", DOWNLOAD, &path(escape), InvalidArgument));
    }
    cases
}

fn replicas() -> Vec<Case> {
    let keep = pb::KeepRequest {
        content_hash: vec![1; 32].into(),
        size_bytes: 10,
        name: "report.txt".into(),
        replicas: 1,
        owner_tag: vec![2; 32].into(),
        owner_id: vec![3; 32].into(),
        source_id: vec![4; 32].into(),
    };
    let bad = |what, change: &dyn Fn(&mut pb::KeepRequest)| {
        let mut keep = keep.clone();
        change(&mut keep);
        Case::ask(what, KEEP, &keep, InvalidArgument)
    };
    let id = |length: usize| vec![1; length].into();
    vec![
        bad("a hash of 31 bytes", &|keep| keep.content_hash = id(31)),
        bad("an owner's tag of 33 bytes", &|keep| keep.owner_tag = id(33)),
        bad("no owner", &|keep| keep.owner_id = id(0)),
        bad("no source", &|keep| keep.source_id = id(0)),
        bad("no replicas", &|keep| keep.replicas = 0),
        bad("17 replicas", &|keep| keep.replicas = 17),
        bad("a name that leaves its folder", &|keep| keep.name = "../pwned".into()),
        bad("a name for a device", &|keep| keep.name = "NUL.txt".into()),
        Case::ask("a source that nobody knows", KEEP, &keep, Code::FailedPrecondition),
        Case::ask(
            "257 hashes",
            CHECK,
            &pb::CheckReplicasRequest { content_hashes: vec![id(32); 257] },
            InvalidArgument,
        ),
        Case::ask(
            "a hash of 31 bytes",
            CHECK,
            &pb::CheckReplicasRequest { content_hashes: vec![id(31)] },
            InvalidArgument,
        ),
        Case::ask(
            "a key of 31 bytes",
            RELEASE,
            &pb::ReleaseRequest { content_hash: id(32), owner_key: id(31) },
            InvalidArgument,
        ),
        Case::ask("no zone", WATCH, &pb::WatchZoneRequest { zone_id: 0 }, InvalidArgument),
        Case::ask(
            "another zone",
            WATCH,
            &pb::WatchZoneRequest { zone_id: u32::MAX },
            Code::FailedPrecondition,
        ),
    ]
}

fn registration() -> pb::RegisterRequest {
    let credential = [5; 32];
    let peer = pb::Peer {
        peer_id: blake3::hash(&credential).as_bytes().to_vec().into(),
        name: "mallory".into(),
        address: "127.0.0.1:1".into(),
        incarnation: 1,
        ..Default::default()
    };
    pb::RegisterRequest { peer: Some(peer), credential: credential.to_vec().into(), host_id: String::new() }
}

fn registrations() -> Vec<Case> {
    let bad = |what, code, change: &dyn Fn(&mut pb::RegisterRequest, &mut pb::Peer)| {
        let mut request = registration();
        let mut peer = request.peer.take().unwrap();
        change(&mut request, &mut peer);
        request.peer = Some(peer);
        Case::ask(what, REGISTER, &request, code)
    };
    let mut cases = vec![
        Case::ask("nobody", REGISTER, &pb::RegisterRequest { peer: None, ..registration() }, InvalidArgument),
        bad("an id of 31 bytes", InvalidArgument, &|_, peer| peer.peer_id = vec![1; 31].into()),
        bad("the id of another", Code::PermissionDenied, &|_, peer| peer.peer_id = vec![1; 32].into()),
        bad("the credential of another", Code::PermissionDenied, &|request, _| {
            request.credential = vec![6; 32].into();
        }),
        bad("no credential", InvalidArgument, &|request, _| request.credential = vec![].into()),
        bad("a credential of 33 bytes", InvalidArgument, &|request, _| {
            request.credential = vec![5; 33].into();
        }),
        bad("the name of another", Code::AlreadyExists, &|_, peer| peer.name = "ana".into()),
        bad("a machine of 65 bytes", InvalidArgument, &|request, _| request.host_id = "h".repeat(65)),
    ];
    let addresses = [
        "",
        "x",
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.1:80",
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "239.255.255.255:1",
        "255.255.255.255:1",
        "169.254.1.1:1",
        "[fe80::1]:1",
        "[fe80::1%1]:1",
        "[ff02::1]:1",
        "[::1]:0",
        "[::ffff:0.0.0.0]:1",
        "[::ffff:224.0.0.1]:1",
        "[::ffff:169.254.1.1]:1",
        "[::ffff:255.255.255.255]:1",
        "http://10.0.0.1:1",
        "10.0.0.1:1/x",
        "user@10.0.0.1:1",
        " 10.0.0.1:1",
        "10.0.0.1:1\n",
        "0x7f.0.0.1:1",
        "2130706433:1",
        "10.0.0.1:1 10.0.0.2:1",
    ];
    for address in addresses {
        cases.push(bad("an address that nobody can dial", InvalidArgument, &|_, peer| {
            peer.address = address.into();
        }));
    }
    for name in [
        "",
        " ",
        "a b",
        "a/b",
        "..",
        "\u{1b}[2J",
        "ana\0",
        "ana\n",
        "аna",
        "é",
        "a\u{202e}b",
        &"x".repeat(64),
        &"x".repeat(9000),
    ] {
        cases.push(bad("a peer's name that is none", InvalidArgument, &|_, peer| peer.name = name.into()));
    }
    cases
}

fn leases() -> Vec<Case> {
    use pb::session_request::Message;
    let beat = |lease: usize| pb::HeartbeatRequest { lease_id: vec![1; lease].into(), ..Default::default() };
    let leave = |lease: usize| pb::UnregisterRequest { lease_id: vec![1; lease].into() };
    let say = |message| pb::SessionRequest { message };
    let list = |page_size, page_token: &str| pb::ListPeersRequest {
        zone_id: 0,
        page_size,
        page_token: page_token.into(),
    };
    vec![
        Case::ask("a lease of 15 bytes", HEARTBEAT, &beat(15), InvalidArgument),
        Case::ask("no lease", HEARTBEAT, &beat(0), InvalidArgument),
        Case::ask("the lease of nobody", HEARTBEAT, &beat(16), NotFound),
        Case::ask("a lease of 17 bytes", UNREGISTER, &leave(17), InvalidArgument),
        // Leaving is idempotent; the peer is still there, as the end of the group tells.
        Case::ask("the lease of nobody", UNREGISTER, &leave(16), Code::Ok),
        Case::ask("an empty beginning", SESSION, &say(None), InvalidArgument),
        Case::ask("a heartbeat first", SESSION, &say(Some(Message::Heartbeat(beat(16)))), InvalidArgument),
        Case::ask("a leave first", SESSION, &say(Some(Message::Leave(leave(16)))), InvalidArgument),
        Case::ask(
            "a snapshot first",
            SESSION,
            &say(Some(Message::Snapshot(pb::SnapshotRequest {}))),
            InvalidArgument,
        ),
        Case::ask("1001 peers", "/floodplain.v1.RegistryService/ListPeers", &list(1001, ""), InvalidArgument),
        Case::ask(
            "a token of another make",
            "/floodplain.v1.RegistryService/ListPeers",
            &list(1, "nonsense"),
            InvalidArgument,
        ),
        Case::ask(
            "a token of another make",
            "/floodplain.v1.RegistryService/ListZones",
            &pb::ListZonesRequest { page_size: 1, page_token: "-1".into() },
            InvalidArgument,
        ),
        Case::ask(
            "2^32 - 1 zones",
            "/floodplain.v1.RegistryService/ListZones",
            &pb::ListZonesRequest { page_size: u32::MAX, ..Default::default() },
            InvalidArgument,
        ),
    ]
}

#[tokio::test]
async fn each_field_out_of_its_bounds_is_refused_by_its_status() {
    let network = Network::start().await;
    let (peer, registry) = (network.to_peer().await, network.to_registry().await);
    let to_peer: Vec<Case> = [searches(), folders(), files(), replicas()].into_iter().flatten().collect();
    let to_registry: Vec<Case> = [registrations(), leases()].into_iter().flatten().collect();
    let methods: BTreeSet<_> = to_peer.iter().chain(&to_registry).map(|case| case.path).collect();
    let count = check(&peer, to_peer).await + check(&registry, to_registry).await;
    assert!(count >= 100 && methods.len() >= 12, "{count} cases of {} methods", methods.len());
    network.is_unharmed().await;
}
