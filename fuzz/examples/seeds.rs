//! Writes an honest input or two for every target into `corpus/`: what a fuzzer begins with. Run it after a message gets a
//! field: `cargo run --example seeds`.

use std::{fs, path::Path};

use floodplain::{
    protocol::{
        id::{PeerId, ZoneId},
        summary::{KeysOf, Summary},
        trust::{
            PublicKey,
            invite::{Invite, Token},
        },
    },
    registry::{
        state::{Saved, SavedPeer},
        store::encode::encode,
    },
    wire::{
        common::to_peer,
        control, pb, summary,
        transfer::frame::{HEADROOM, frame, write_header},
        zone_filter,
    },
};
use prost::Message;

const FIVE_SECONDS: prost_types::Duration = prost_types::Duration { seconds: 5, nanos: 1 };
const NOW: prost_types::Timestamp = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 7 };

fn id(number: u8, size: usize) -> bytes::Bytes {
    vec![number; size].into()
}

fn peer(number: u8) -> pb::Peer {
    pb::Peer {
        peer_id: id(number, 32),
        name: format!("peer-{number}"),
        address: format!("10.0.0.{number}:7001"),
        zone_id: 3,
        incarnation: 1_700_000_000_000,
        shared_files: 12,
        room_bytes: 1 << 30,
        summary_version: 5,
        is_summary_settled: true,
    }
}

fn file(path: &str) -> pb::FileEntry {
    pb::FileEntry { content_hash: id(9, 32), path: path.into(), size_bytes: 3, modify_time: Some(NOW) }
}

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        assert!(floodplain_fuzz::target(target).is_some(), "{target}");
        let folder = folder.join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), bytes).expect("written");
    };
    macro_rules! seeds {
        ($($target:literal: $($message:expr),+;)+) => {$(
            for (number, message) in [$($message.encode_to_vec()),+].iter().enumerate() {
                seed($target, &format!("honest-{number}"), message);
            }
        )+};
    }
    peers(&seed);
    let member = |number| floodplain::wire::common::member(&peer(number)).expect("a member").0;
    let roster = pb::RosterSnapshot { zone_id: 3, revision: 9, members: vec![peer(1), peer(2)] };
    let gateways = pb::Gateways {
        zones: vec![pb::ZoneGateways { zone_id: 4, gateways: vec![peer(4), peer(5)] }],
        is_whole: true,
    };
    let granted = pb::RegisterResponse {
        lease_id: id(7, 16),
        lease_ttl: Some(FIVE_SECONDS),
        heartbeat_interval: Some(FIVE_SECONDS),
        roster: Some(roster.clone()),
        neighbors: Some(pb::Neighbors { peer_ids: vec![id(2, 32)] }),
        gateways: vec![peer(1)],
    };
    let renewed =
        pb::HeartbeatResponse { zone_id: 3, revision: 9, lease_ttl: Some(FIVE_SECONDS), sequence: 4 };
    let down = |message| pb::SessionResponse { message: Some(message) };
    let denied = pb::DenyList { version: 3, peer_ids: vec![id(1, 32), id(2, 32)] };
    use pb::session_response::Message as Down;
    let key = PublicKey::from_bytes([3; 32]);
    seeds! {
        "register_request": pb::RegisterRequest {
            peer: Some(peer(1)), credential: id(1, 32), host_id: "machine".into(), ..Default::default()
        };
        "register_response": granted;
        "heartbeat_request": pb::HeartbeatRequest {
            lease_id: id(7, 16), shared_files: 3, room_bytes: 4, summary_version: 5, is_summary_settled: true, sequence: 6,
            ..Default::default()
        };
        "heartbeat_response": renewed;
        "session_response": down(Down::Welcome(granted.clone())), down(Down::Ack(renewed)), down(Down::Snapshot(roster)),
            down(Down::Delta(pb::RosterDelta {
                zone_id: 3, from_revision: 1, to_revision: 2, joined: vec![peer(3)], left: vec![id(1, 32)],
            })),
            down(Down::News(pb::RosterNews {
                zone_id: 3,
                members: vec![pb::MemberNews { peer_id: id(1, 32), shared_files: 7, ..Default::default() }],
            })),
            down(Down::Neighbors(pb::Neighbors { peer_ids: vec![id(2, 32)] })), down(Down::Gateways(gateways)),
            down(Down::Denied(denied.clone())), down(Down::RenewalDue(pb::RenewalDue {}));
        "list_pages": pb::ListZonesRequest { page_size: 10, page_token: "7".into() },
            pb::ListPeersRequest { zone_id: 0, page_size: 10, page_token: "7/ana".into() };
        "listed_zone": pb::Zone { zone_id: 3, peers: 9, revision: 1, gateways: vec!["ana".into(), "ben".into()] };
        "listed_peer": peer(3), pb::Peer { address: "[::ffff:10.1.2.3]:7".into(), ..peer(4) };
        "enroll_request": pb::EnrollRequest {
            token: id(1, 16), public_key: key.to_der().to_vec().into(), proof: id(4, 64), name: "ana".into(),
        };
        "credentials": pb::EnrollResponse {
            credentials: Some(pb::Credentials {
                certificate: id(5, 40), authorities: vec![id(3, 32)], network_id: id(6, 10), not_after: Some(NOW),
            }),
            ..Default::default()
        };
        "deny_list": denied;
    }
    faces(&seed);
    for (name, text) in [
        ("name", "e\u{301}té #1 %20.pdf"),
        ("name", "folder/NUL.txt"),
        ("name", "com¹"),
        ("manifest", "a b/é #1.txt\n.hidden\na b/c/d"),
        ("manifest", "Docs/a\ndocs/b\nstraße\nSTRASSE"),
        ("query", "annual \"exact phrase\" -draft ext:pdf,docx size:>1M type:document peer:ana"),
        (
            "query",
            "newer:2024-01-31 -older:7d hash:0909090909090909090909090909090909090909090909090909090909090909",
        ),
        ("query_match", "annual rep ext:pdf -draft\nshare/reports/Annual Report v2.pdf"),
        ("query_match", "\"été à\" 東京\nshare/Ete a 東京.txt"),
        ("address", "10.0.0.1:7001"),
        ("address", "[2001:db8::1]:7001"),
        ("address", "[::ffff:0.0.0.0]:7001"),
        ("shown", "a\u{1b}[2Jb\u{202e}\u{9b}\u{1b}]52;c;eA==\u{7}"),
        ("summary", "share/reports/Annual Report v2.pdf\nshare/東京/été.txt\nx"),
        (
            "job",
            r#"{"id":7,"hash":"0909090909090909090909090909090909090909090909090909090909090909","destination":"/d","priority":"normal","state":"failed","error":{"kind":"failed","message":"m","hint":""}}"#,
        ),
        (
            "job",
            r#"{"id":8,"peer":"0909090909090909090909090909090909090909090909090909090909090909","path":"s/f","destination":"/d","is_folder":true,"is_tree":true,"stage_inode":3,"priority":"high","state":"queued"}"#,
        ),
        (
            "saved_search",
            r#"{"name":"a","text":"word","scope":"all","has_begun":true,"known":["0303030303030303"],"untold":[{"hash":"0909090909090909090909090909090909090909090909090909090909090909","path":"s/f","size_bytes":3,"modified_s":5,"peers":["ana"],"found_s":6}],"dropped":1}"#,
        ),
        (
            "put",
            r#"{"hash":"0909090909090909090909090909090909090909090909090909090909090909","name":"note","key":"0808080808080808080808080808080808080808080808080808080808080808"}"#,
        ),
        (
            "replica",
            r#"{"hash":"0909090909090909090909090909090909090909090909090909090909090909","size_bytes":3,"name":"note","file":"note (1)","replicas":2,"owner_tag":"0808080808080808080808080808080808080808080808080808080808080808","owner":"0707070707070707070707070707070707070707070707070707070707070707"}"#,
        ),
    ] {
        seed(name, &format!("text-{}", text.len()), text.as_bytes());
    }
    let invite =
        Invite { registry: "lab.example:7000".into(), authority: key, token: Token::from_bytes([9; 16]) };
    seed("invite", "whole", invite.to_string().as_bytes());
    seed("invite", "key", key.to_string().as_bytes());
    seed("invite", "id", PeerId::from_bytes([7; 32]).to_string().as_bytes());
    let zone = ZoneId::new(3).expect("not 0");
    let saved = |number: u8| SavedPeer {
        member: member(number),
        zone,
        lease: floodplain::protocol::id::LeaseId::from_bytes([number; 16]),
        locality: floodplain::protocol::zone::Locality::from_parts((u64::from(number), 2)),
        is_gateway: number == 1,
    };
    let file = encode(&Saved { epoch: 7, peers: vec![saved(1), saved(2)] });
    let header = file.iter().position(|byte| *byte == b'\n').expect("a line") + 1 + 32;
    seed("snapshot", "two-peers", &file[header..]);
    // The ends of what a number may be, at which the library's own conversions overflow.
    for (number, seconds, nanos) in [(0, i64::MIN, i32::MIN), (1, i64::MAX, i32::MAX), (2, i64::MIN, -1)] {
        let time = prost_types::Timestamp { seconds, nanos };
        let file = pb::FileEntry { path: "a".into(), modify_time: Some(time), ..Default::default() };
        let page = pb::BrowseResponse { files: vec![file], ..Default::default() };
        seed("browse_response", &format!("time-{number}"), &page.encode_to_vec());
        let deadline = Some(prost_types::Duration { seconds, nanos });
        let search = pb::SearchRequest { deadline, ..Default::default() };
        seed("search_request", &format!("span-{number}"), &search.encode_to_vec());
    }
    // What a peer is told as is what it was told as.
    assert_eq!(to_peer(&member(1), Some(zone)), peer(1));
    for (name, target) in floodplain_fuzz::targets() {
        for seed in fs::read_dir(folder.join(name)).expect("each has seeds") {
            target(&fs::read(seed.expect("an entry").path()).expect("a seed"));
        }
    }
}

fn peers(seed: &dyn Fn(&str, &str, &[u8])) {
    macro_rules! seeds {
        ($($target:literal: $($message:expr),+;)+) => {$(
            for (number, message) in [$($message.encode_to_vec()),+].iter().enumerate() {
                seed($target, &format!("honest-{number}"), message);
            }
        )+};
    }
    let search = pb::SearchRequest {
        query_id: id(1, 16),
        text: "annual report".into(),
        ttl: 7,
        hops: 1,
        deadline: Some(FIVE_SECONDS),
        roster_revision: 9,
        claim: Some(pb::Claim { before_id: id(2, 32) }),
        want: 10,
        origin_id: id(3, 32),
        from_id: id(4, 32),
        ..Default::default()
    };
    let hits = pb::Hits {
        peer_id: id(1, 32),
        peer_name: "ana".into(),
        zone_id: 3,
        hops: 2,
        queue_place: 1,
        files: vec![file("share/a.txt"), file("share/b/c.txt")],
    };
    let done = pb::SearchDone {
        answered: vec![1, 2],
        unreachable: vec![3],
        ruled_out: vec![4],
        zones: vec![pb::ZoneReport { zone_id: 3, listed: 9, answered: 2, ruled_out: 3, unreachable: 1 }],
        duplicates: 1,
        messages: 2,
        truncated: true,
    };
    let found = |message| pb::SearchResponse { message: Some(message) };
    use pb::search_response::Message as Found;
    let mut words = KeysOf::default();
    words.add(["annual", "report", "v2"]);
    let words = words.finish().expect("few words");
    let whole = summary::Told::Whole(Summary::of(&words));
    let change =
        summary::Told::Change(floodplain::protocol::summary::Change { blocks: vec![(0, 7), (5, u64::MAX)] });
    use floodplain::protocol::summary::zone::News;
    let blocks = floodplain::protocol::summary::Change { blocks: vec![(0, 7), (1, 9)] };
    let apart = floodplain::protocol::summary::Change { blocks: vec![(0, 7), (3, 9)] };
    let news: Vec<Vec<u8>> = [
        News::Begin { blocks: 4, has_pairs: true },
        News::Blocks(blocks),
        News::Blocks(apart),
        News::Settled { version: 1, listed: 3 },
        News::Unsettled,
    ]
    .into_iter()
    .map(|news| zone_filter::to_news(news).encode_to_vec())
    .collect();
    for (number, news) in news.iter().enumerate() {
        seed("watch_zone_response", &format!("honest-{number}"), news);
    }
    let told: Vec<u8> = news
        .iter()
        .flat_map(|news| [&[u8::try_from(news.len() + 1).expect("short"), 2], &news[..]].concat())
        .collect();
    seed("zone_filter", "begun-and-settled", &told);
    let keys: Vec<u8> = words.as_slice().iter().flat_map(|key| key.to_le_bytes()).collect();
    seed("keys", "words", &keys);
    let change_of: Vec<u8> =
        [&[2][..], &[7; 16], &[0, 0, 1, 2, 3, 4, 5, 6, 7, 8], &[1, 0, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    seed("summary_change", "two-blocks", &change_of);
    let keep = pb::KeepRequest {
        content_hash: id(1, 32),
        size_bytes: 7,
        name: "note.txt".into(),
        replicas: 2,
        owner_tag: id(2, 32),
        owner_id: id(3, 32),
        source_id: id(4, 32),
    };
    let release = pb::ReleaseRequest { content_hash: id(1, 32), owner_key: id(2, 32) };
    let response = pb::DownloadResponse {
        file: Some(file("share/a.txt")),
        tree: id(8, 64),
        data: bytes::Bytes::from_static(b"abc"),
        ..Default::default()
    };
    let queued = pb::DownloadResponse { queue_position: 3, ..Default::default() };
    let mut headroom = [0; HEADROOM];
    let start = write_header(&mut headroom, 300, 3);
    let stream = [&[4][..], &frame(&queued), &frame(&response), &headroom[start..], b"abc"].concat();
    seed("download_response", "queued-file-data", &stream);
    seed(
        "download_response",
        "file",
        &[&[4][..], &frame(&pb::DownloadResponse { data: Default::default(), ..response })].concat(),
    );
    seed("download_header", "payload", b"\x07\0\0\0\0\0\0\0abc");
    let by_path = pb::DownloadRequest {
        file: Some(pb::download_request::File::Path("share/a.txt".into())),
        offset: 7,
        length: 9,
        chunk_bytes: 16384,
        with_tree: true,
    };
    seed("download_request", "framed", &frame(&by_path));
    let hashed = blake3::hash(b"piece");
    seed("piece_values", "one", &[&5_u64.to_le_bytes()[..], hashed.as_bytes(), b""].concat());
    let mut hasher = floodplain::protocol::piece::TreeHasher::new((1 << 20) + 1);
    (0..=1 << 10).for_each(|at| hasher.update(if at < 1 << 10 { &[0; 1024] } else { &[0] }));
    let tree = hasher.finish().expect("as many bytes as were said");
    seed(
        "piece_values",
        "two",
        &[&((1_u64 << 20) + 1).to_le_bytes()[..], tree.root().as_bytes(), &tree.values()].concat(),
    );
    let page = pb::ListFilesResponse { files: vec![file("share/folder/a")], next_page_token: "t".into() };
    seed("list_files_response", "page", &[&[12][..], &page.encode_to_vec()].concat());
    let pack_file =
        pb::SendFile { path: "a/b".into(), size_bytes: 3, content_hash: id(1, 32), data: b"abc"[..].into() };
    let small =
        pb::DownloadedFile { file: Some(file("share/a")), data: b"abc"[..].into(), ..Default::default() };
    let none = pb::DownloadedFile {
        error: Some(pb::DownloadError { code: 5, message: "gone".into() }),
        ..Default::default()
    };
    seeds! {
        "search_request": search, pb::SearchRequest { claim: None, reach: pb::Reach::WholeZone.into(), zone_id: 3, ..search.clone() };
        "search_response": found(Found::Hits(hits)), found(Found::Done(done));
        "browse_request": pb::BrowseRequest { path: "share/a".into(), page_size: 5, page_token: "t".into() };
        "browse_response": pb::BrowseResponse {
            folders: vec!["a".into()], files: vec![file("share/a")], next_page_token: "t".into(),
        };
        "list_files_request": pb::ListFilesRequest { path: "share/a".into(), page_size: 5, page_token: "t".into() };
        "get_summary_response": summary::to_summary(3, &whole), summary::to_summary(4, &change);
        "get_keys_response": zone_filter::to_keys(3, Some(&words)), zone_filter::to_keys(3, None);
        "watch_zone_request": pb::WatchZoneRequest { zone_id: 3 };
        "keep_request": keep;
        "keep_response": pb::KeepResponse { message: Some(pb::keep_response::Message::Done(pb::KeepDone {})) };
        "check_replicas_request": pb::CheckReplicasRequest { content_hashes: vec![id(1, 32), id(2, 32)] };
        "check_replicas_response": pb::CheckReplicasResponse {
            kept: vec![id(1, 32)], released: vec![release.clone()], room_bytes: Some(7),
        };
        "release_request": release;
        "download_request": by_path;
        "download_many_request": pb::DownloadManyRequest { paths: vec!["share/a".into(), "share/b/c".into()] };
        "download_many_response": pb::DownloadManyResponse { items: vec![small, none], ..Default::default() };
        "send_offer": pb::SendOffer {
            sender_id: id(1, 32), sender_name: "ana".into(), name: "report.pdf".into(), size_bytes: 3,
            content_hash: id(2, 32), files: Some(3),
        };
        "send_pack": pb::SendPack { files: vec![pack_file] };
    }
}

fn faces(seed: &dyn Fn(&str, &str, &[u8])) {
    macro_rules! seeds {
        ($($target:literal: $($message:expr),+;)+) => {$(
            for (number, message) in [$($message.encode_to_vec()),+].iter().enumerate() {
                seed($target, &format!("honest-{number}"), message);
            }
        )+};
    }
    let place = || Some(pb::PeerPath { peer: "ana".into(), path: "share/a".into() });
    let hit = pb::Hit {
        number: 1,
        file: Some(file("share/a.txt")),
        have: true,
        holders: vec![pb::Holder {
            peer_id: id(1, 32),
            peer_name: "ana".into(),
            zone_id: 3,
            hops: 2,
            path: "share/a.txt".into(),
            queue_place: 1,
        }],
        fit: 1,
    };
    let coverage = pb::Coverage {
        answered: 3,
        asked: 4,
        zones: vec![pb::ZoneCoverage { zone_id: 3, answered: 3, asked: 4, ..Default::default() }],
        suggestions: vec!["report".into()],
        ..Default::default()
    };
    let event = |message| pb::StartSearchResponse { message: Some(message) };
    use pb::start_search_response::Message as Event;
    let transfer = pb::Transfer {
        id: 1,
        direction: pb::Direction::Download.into(),
        state: pb::TransferState::Failed.into(),
        name: "a.txt".into(),
        path: "/d/a.txt".into(),
        content_hash: id(1, 32),
        size_bytes: 7,
        done_bytes: 3,
        sources: vec!["ana".into()],
        error: "m".into(),
        hint: "h".into(),
        error_kind: "mismatch".into(),
        note: "n".into(),
        queue_position: 2,
        ..Default::default()
    };
    let status = pb::GetStatusResponse {
        self_: Some(peer(1)),
        connection: "connected".into(),
        registry: "lab:7000".into(),
        zone_peers: 9,
        roster_revision: 3,
        neighbors: vec!["ben".into()],
        index: Some(pb::IndexState { files: 3, bytes: 4, hashed_files: 2, is_scanning: true }),
        counters: Some(pb::Counters::default()),
        uptime: Some(FIVE_SECONDS),
        version: "0.1.0".into(),
    };
    let share =
        pb::Share { name: "share".into(), folder: "/share".into(), files: 3, bytes: 4, problem: "p".into() };
    let offer = pb::Offer {
        id: 1,
        sender_name: "ana".into(),
        sender_id: id(1, 32),
        name: "a.txt".into(),
        size_bytes: 7,
        files: Some(3),
        is_confirmed: true,
    };
    let new_hit = pb::NewHit {
        search: "a".into(),
        file: Some(file("share/a.txt")),
        peer_names: vec!["ana".into()],
        find_time: Some(NOW),
    };
    seeds! {
        "control_search": pb::StartSearchRequest {
            text: "annual".into(), scope: pb::Scope::All.into(), ttl: Some(7), wait: Some(FIVE_SECONDS), want: 3,
        };
        "control_get": pb::StartGetRequest {
            target: Some(pb::start_get_request::Target::Path(place().expect("there"))), destination: "/d".into(),
            ..Default::default()
        };
        "control_read": pb::StartReadRequest {
            target: Some(pb::start_read_request::Target::ContentHash(id(1, 32))), offset: 3, length: Some(4),
        };
        "control_transfers": pb::ControlTransfersRequest {
            which: Some(pb::control_transfers_request::Which::Id(3)), control: pb::TransferControl::Priority.into(),
            priority: pb::Priority::High.into(),
        };
        "control_put": pb::StartPutRequest {
            content: Some(pb::start_put_request::Content::Text("t".into())), name: "n".into(), replicas: 2,
        };
        "control_saved": pb::SaveSearchRequest { name: "a".into(), text: "w".into(), scope: 1 }, new_hit,
            pb::SavedSearch { name: "a".into(), text: "w".into(), known_hits: 3, last_run: Some(NOW), ..Default::default() },
            pb::TakeNewHitsRequest { wait: Some(FIVE_SECONDS) };
        "control_other_asks": pb::StartSendRequest { path: "/a".into(), peer: "ana".into() },
            pb::BrowsePeerRequest { path: place(), page_size: 3, page_token: "t".into() },
            pb::AnswerOfferRequest { id: 1, answer: pb::Answer::Decline.into(), reason: "r".into() };
        "control_search_event": event(Event::Hit(hit)), event(Event::Done(coverage));
        "control_transfer": pb::GetTransfersResponse { transfers: vec![transfer], ..Default::default() };
        "control_inbox": pb::GetInboxResponse { offers: vec![offer], folder: "/i".into(), policy: "ask".into() };
        "control_status": status;
        "control_other_answers": pb::BrowsePeerResponse {
                folders: vec!["a".into()], files: vec![file("share/a")], next_page_token: "t".into(),
            },
            pb::GetPeersResponse { peers: vec![peer(1)], is_stale: true },
            pb::GetZonesResponse {
                zones: vec![pb::ZoneSummary { zone_id: 3, peers: 4, gateways: vec!["ana".into()] }], is_stale: true,
            },
            share,
            pb::UnputResponse { content_hash: id(1, 32), name: "n".into(), released_by: vec!["ana".into()], ..Default::default() };
    }
    let error = floodplain::protocol::action::ActionError::new(
        floodplain::protocol::action::ErrorKind::Mismatch,
        "the content differs",
    );
    let status = control::to_status(&error.hint("try again"));
    let text = vec![b' '; status.details().len()];
    seed("control_error", "mismatch", &[&[15][..], status.details(), &text].concat());
}
