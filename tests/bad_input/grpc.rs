//! What is no message of gRPC or of protobuf, or is one of a size that nobody needs.

use std::time::{Duration, Instant};

use floodplain::wire::pb;
use prost::Message;
use tonic::Code;

use super::{
    BORNE, Case, Network, check,
    fields::query,
    raw::{End, framed},
    status_kib, uploads,
};

const SEARCH: &str = "/floodplain.v1.PeerService/Search";
const BROWSE: &str = "/floodplain.v1.PeerService/Browse";
const DOWNLOAD: &str = "/floodplain.v1.PeerService/Download";
const SEND: &str = "/floodplain.v1.PeerService/Send";
const MANY: &str = "/floodplain.v1.PeerService/DownloadMany";
const CHECK: &str = "/floodplain.v1.ReplicaService/CheckReplicas";
const REGISTER: &str = "/floodplain.v1.RegistryService/Register";
const LIST_ZONES: &str = "/floodplain.v1.RegistryService/ListZones";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn status(code: Code) -> End {
    End::Grpc(code)
}

/// The field of that number with these bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut message);
    [message, bytes.to_vec()].concat()
}

fn garbage() -> Vec<Vec<u8>> {
    let deep = (0..200).fold(Vec::new(), |inner, _| field(7, &inner));
    vec![
        b"garbage that is no protobuf".to_vec(),
        vec![0xff; 64],
        // A varint that never ends, field number 0, a length beyond the message, a wire type that does not exist.
        vec![0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        vec![0x00, 0x00],
        vec![0x0a, 0x7f, 0x01],
        vec![0x0f, 0x00],
        // A group that never ends, and one in another for as long as there is room.
        vec![0x0b],
        [0x1b].repeat(4000),
        // A claim in a claim.
        [deep, vec![0xff]].concat(),
        // A length of 2^64 - 1.
        vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    ]
}

fn messages() -> Vec<Case> {
    let mut cases = Vec::new();
    for method in [SEARCH, BROWSE] {
        for body in garbage() {
            cases.push(Case::raw("garbage in a frame", method, framed(&body), status(Code::Internal)));
        }
        cases.extend([
            Case::raw("no message", method, vec![], status(Code::Internal)),
            Case::raw("a frame that is cut off", method, vec![0, 0, 0], status(Code::Internal)),
            Case::raw("less than the frame says", method, vec![0, 0, 0, 0, 9, 1], status(Code::Internal)),
            Case::raw("a frame of 4 GiB", method, vec![0, 0xff, 0xff, 0xff, 0xff], status(Code::OutOfRange)),
            Case::raw("a flag that is not defined", method, vec![2, 0, 0, 0, 0], status(Code::Internal)),
            Case::raw("compressed, and nobody said how", method, vec![1, 0, 0, 0, 0], status(Code::Internal)),
            Case::raw("one byte too many", method, framed(&vec![0; 17 * 1024 + 1]), status(Code::OutOfRange)),
            Case::raw("4 MiB of zeros", method, framed(&vec![0; 4 << 20]), status(Code::OutOfRange)),
            Case::raw(
                "text that is not UTF-8",
                method,
                framed(&field(if method == SEARCH { 2 } else { 1 }, &[0xc3, 0x28])),
                status(Code::Internal),
            ),
            Case::raw(
                "a number for a text",
                method,
                framed(&[if method == SEARCH { 0x10 } else { 0x08 }, 1]),
                status(Code::Internal),
            ),
        ]);
    }
    for method in [DOWNLOAD, SEND, MANY] {
        // The download's request is read by hand.
        let code = if method == DOWNLOAD { Code::InvalidArgument } else { Code::Internal };
        cases.push(Case::raw("garbage in a frame", method, framed(&[0xff; 32]), status(code)));
        cases.push(Case::raw("a flag that is not defined", method, vec![9, 0, 0, 0, 0], status(code)));
        let code = if method == DOWNLOAD { Code::InvalidArgument } else { Code::OutOfRange };
        cases.push(Case::raw("4 MiB of zeros", method, framed(&vec![0; 4 << 20]), status(code)));
    }
    let valid = framed(&query("report").encode_to_vec());
    let empty = framed(&pb::BrowseRequest::default().encode_to_vec());
    cases.extend([
        Case::raw("gzip", SEARCH, vec![1, 0, 0, 0, 0], status(Code::Unimplemented))
            .with(&[("grpc-encoding", "gzip")]),
        Case::raw("zstd", SEARCH, valid.clone(), status(Code::Unimplemented))
            .with(&[("grpc-encoding", "zstd")]),
        Case::raw("an encoding of its own", SEARCH, valid.clone(), status(Code::Unimplemented))
            .with(&[("grpc-encoding", "\"")]),
        Case::raw("gzip", DOWNLOAD, valid.clone(), status(Code::Unimplemented))
            .with(&[("grpc-encoding", "gzip")]),
        Case::raw("JSON", BROWSE, b"{}".to_vec(), End::Http(415))
            .with(&[("content-type", "application/json")]),
        Case::raw("no type", BROWSE, empty.clone(), End::Http(415)).with(&[("content-type", "")]),
        Case::raw("a GET", BROWSE, vec![], End::Http(405)).with(&[(":method", "GET")]),
        Case::raw("a DELETE", BROWSE, vec![], End::Http(405)).with(&[(":method", "DELETE")]),
        Case::raw(
            "a method that is not there",
            "/floodplain.v1.PeerService/Format",
            empty.clone(),
            status(Code::Unimplemented),
        ),
        Case::raw(
            "a service that is not there",
            "/floodplain.v1.Nothing/Browse",
            empty.clone(),
            status(Code::Unimplemented),
        ),
        Case::raw(
            "the control service over the network",
            "/floodplain.v1.ControlService/Status",
            empty.clone(),
            status(Code::Unimplemented),
        ),
        Case::raw("no method", "/", empty.clone(), status(Code::Unimplemented)),
        Case::raw("a path that goes up", "/../../etc/passwd", empty.clone(), status(Code::Unimplemented)),
        Case::raw("time that is over", BROWSE, empty.clone(), status(Code::DeadlineExceeded))
            .with(&[("grpc-timeout", "0n")]),
        Case::raw("a deadline that is none", BROWSE, empty.clone(), status(Code::Ok))
            .with(&[("grpc-timeout", "soon")]),
        Case::raw("a deadline beyond time", BROWSE, empty.clone(), status(Code::Ok))
            .with(&[("grpc-timeout", "99999999H")]),
        Case::raw("metadata that is not base64", BROWSE, empty.clone(), status(Code::Ok))
            .with(&[("x-bin", "?!")]),
        Case::raw("two messages where one is meant", BROWSE, empty.repeat(2), status(Code::Ok)),
        Case::raw("4 MiB for a health check", HEALTH, framed(&vec![0; 4 << 20]), status(Code::OutOfRange)),
        // Reflection tells nothing of what it could not read: it ends without an answer.
        Case::raw("4 MiB for reflection", REFLECTION, framed(&vec![0; 4 << 20]), status(Code::Ok)),
        Case::raw("gRPC for the web", BROWSE, empty.clone(), End::Http(415))
            .with(&[("content-type", "application/grpc-web")]),
        Case::raw("a form", BROWSE, empty.clone(), End::Http(415))
            .with(&[("content-type", "application/x-www-form-urlencoded")]),
        Case::raw("the health of nothing", HEALTH, framed(&field(1, b"nothing")), status(Code::NotFound)),
    ]);
    cases
}

/// Of a folder of one file.
fn folder_offer() -> Vec<u8> {
    let offer = pb::SendOffer { files: Some(1), ..uploads::offer("folder", b"x") };
    uploads::say(pb::send_request::Message::Offer(offer))
}

/// Items of no bytes, each of which takes a hundred in memory.
fn amplifiers() -> Vec<Case> {
    let empty = |count: usize| [0x0a, 0x00].repeat(count);
    vec![
        Case::raw("16 KiB of empty paths", MANY, framed(&empty(8000)), status(Code::InvalidArgument)),
        Case::raw("16 KiB of empty hashes", CHECK, framed(&empty(8000)), status(Code::InvalidArgument)),
        Case::raw(
            "512 KiB of empty files",
            SEND,
            framed(&field(3, &empty(256 << 10))),
            status(Code::OutOfRange),
        ),
        Case::raw(
            "16 KiB of empty files",
            SEND,
            framed(&field(3, &empty(8000))),
            status(Code::InvalidArgument),
        ),
        Case::raw(
            "512 KiB of empty files behind an offer",
            SEND,
            [folder_offer(), framed(&field(3, &empty(256 << 10)))].concat(),
            status(Code::InvalidArgument),
        ),
        Case::raw("4 MiB of empty files", SEND, framed(&field(3, &empty(2 << 20))), status(Code::OutOfRange)),
        Case::raw(
            "512 KiB of empty packs",
            SEND,
            framed(&[0x1a, 0x00].repeat(256 << 10)),
            status(Code::OutOfRange),
        ),
        Case::raw(
            "16 KiB of claims, one in place of the other",
            SEARCH,
            framed(&[0x3a, 0x00].repeat(8000)),
            status(Code::InvalidArgument),
        ),
    ]
}

#[tokio::test]
async fn what_is_no_request_ends_with_its_status() {
    let network = Network::start().await;
    let peer = network.to_peer().await;
    check(&peer, messages()).await;
    let registry = network.to_registry().await;
    let big = framed(&vec![0; (16 << 10) + 1]);
    let mut cases = vec![Case::raw("one byte too many", REGISTER, big, status(Code::OutOfRange))];
    for body in garbage() {
        cases.push(Case::raw("garbage", REGISTER, framed(&body), status(Code::Internal)));
        cases.push(Case::raw("garbage", LIST_ZONES, framed(&body), status(Code::Internal)));
    }
    check(&registry, cases).await;
    network.is_unharmed().await;
}

#[tokio::test]
async fn empty_items_take_no_more_memory_than_their_bytes() {
    let network = Network::start().await;
    let before = status_kib(network.peer.pid(), "VmHWM");
    for _ in 0..10 {
        let peer = network.to_peer().await;
        check(&peer, amplifiers()).await;
    }
    // 32 at once: as objects, their 512 KiB would be 25 MiB each.
    let peer = network.to_peer().await;
    let all = (0..32).map(|_| {
        let pack = framed(&field(3, &[0x0a, 0x00].repeat(256 << 10)));
        peer.call(SEND, &[], [folder_offer(), pack].concat())
    });
    for end in futures::future::join_all(all).await {
        assert!(matches!(end, End::Grpc(Code::InvalidArgument | Code::ResourceExhausted)), "{end:?}");
    }
    let most = status_kib(network.peer.pid(), "VmHWM");
    assert!(most < before + (96 << 10), "from {before} to {most} KiB");
    network.is_unharmed().await;
}

#[tokio::test]
async fn who_sends_nonsense_is_not_read_for_a_while_and_others_are() {
    let network = Network::start().await;
    let (hostile, honest) = (network.to_peer().await, network.to_peer().await);
    let browse = pb::BrowseRequest::default();
    for _ in 0..=BORNE {
        assert_eq!(hostile.call(SEARCH, &[], framed(&[0xff; 64])).await, status(Code::Internal));
    }
    let began = Instant::now();
    let (after, others) = tokio::join!(
        async {
            let end = hostile.ask(BROWSE, &browse).await;
            (end, began.elapsed())
        },
        async {
            for _ in 0..=BORNE {
                assert_eq!(honest.ask(BROWSE, &browse).await, status(Code::Ok));
            }
            began.elapsed()
        }
    );
    assert_eq!(after.0, status(Code::Ok), "it is heard again");
    assert!(after.1 > Duration::from_millis(150) && others < after.1, "{others:?}, {:?}", after.1);
    network.is_unharmed().await;
}
