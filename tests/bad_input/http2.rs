//! HTTP/2 that is broken, and HTTP/2 that is abused: connections end, daemons do not, and other connections are served.

use std::{net::SocketAddr, time::Duration};

use floodplain::wire::pb::{self, download_request::File};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::{
    MOST_LEFT_KIB, Network, SHARED_BYTES,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY, PUSH_PROMISE,
        RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame, head, literal, text,
    },
    raw::{End, framed},
    status_kib,
};

const BROWSE: &str = "/floodplain.v1.PeerService/Browse";
const SESSION: &str = "/floodplain.v1.RegistryService/Session";
const SEARCH: &str = "/floodplain.v1.PeerService/Search";
const DOWNLOAD: &str = "/floodplain.v1.PeerService/Download";
/// For a daemon to close a connection of which it has heard what is enough; a busy machine takes its time.
const SOON: Duration = Duration::from_secs(20);
/// What one connection may add while it is at it: its windows and frames, and what the allocator takes for them.
const MOST_ADDED_KIB: u64 = 48 << 10;

/// Breaks of the protocol after a good beginning; each ends the connection.
fn breaks() -> Vec<(&'static str, Vec<u8>)> {
    let opened = frame(HEADERS, END_HEADERS, 1, &head(BROWSE));
    let after = |bytes: Vec<u8>| [opened.clone(), bytes].concat();
    vec![
        (
            "a frame larger than any",
            [&[0xff, 0xff, 0xff, DATA, 0][..], &1_u32.to_be_bytes(), &[0; 64]].concat(),
        ),
        ("headers larger than a frame may be", frame(HEADERS, END_HEADERS, 1, &vec![0; 300 << 10])),
        ("data of no stream", frame(DATA, 0, 0, b"x")),
        ("data of a stream that is not there", frame(DATA, 0, 9, b"x")),
        ("headers of no stream", frame(HEADERS, END_HEADERS, 0, &head(BROWSE))),
        ("a stream with an even number", frame(HEADERS, END_HEADERS, 2, &head(BROWSE))),
        ("a reset of a stream that is not there", frame(RST_STREAM, 0, 7, &[0; 4])),
        ("a reset of no stream", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("a reset of three bytes", after(frame(RST_STREAM, 0, 1, &[0; 3]))),
        ("a promise", after(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]))),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("a word with the settings' acknowledgement", frame(SETTINGS, 1, 0, &[0; 6])),
        ("a window of 4 GiB for each stream", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("frames of a byte", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8])),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window that grows too far", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]).repeat(2)),
        ("a window of five bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 5])),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &head(BROWSE))),
        (
            "another frame in the midst of headers",
            [frame(HEADERS, 0, 1, &head(BROWSE)), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (
            "headers that go on in another stream",
            [frame(HEADERS, 0, 1, &head(BROWSE)), frame(CONTINUATION, END_HEADERS, 3, &[])].concat(),
        ),
        ("headers that no table explains", frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0x7f])),
        ("a table larger than was allowed", frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0xff, 0x7f])),
        ("a header that is cut off", frame(HEADERS, END_HEADERS, 1, &[0, 100, b'x'])),
        ("padding longer than its frame", after(frame(DATA, 8, 1, &[200, 0]))),
        (
            "a smaller stream after a larger",
            [frame(HEADERS, END_HEADERS, 5, &head(BROWSE)), frame(HEADERS, END_HEADERS, 3, &head(BROWSE))]
                .concat(),
        ),
    ]
}

#[tokio::test]
async fn whoever_breaks_the_protocol_is_cut_off_and_nobody_else() {
    let network = Network::start().await;
    let strangers: [(&str, Vec<u8>); 6] = [
        ("HTTP/1.1", b"GET / HTTP/1.1\r\nHost: peer\r\n\r\n".to_vec()),
        ("TLS", [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].into_iter().chain([7; 60]).collect()),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n\r\n\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("half of the preface, then something else", [&PREFACE[..12], &[b'x'; 24]].concat()),
        ("the preface, then no settings", [PREFACE, &[0xff; 64]].concat()),
    ];
    for address in [network.peer(), network.registry()] {
        for (what, bytes) in &strangers {
            let mut raw = Raw::connect(address).await;
            raw.say(bytes).await;
            assert!(raw.is_closed_within(SOON).await, "{what}");
        }
        for (what, bytes) in breaks() {
            let mut raw = Raw::open(address, &[]).await;
            raw.say(&bytes).await;
            assert!(raw.is_closed_within(SOON).await, "{what}");
        }
    }
    network.is_unharmed().await;
}

/// How a flood is to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Cut off.
    Cut,
    /// Borne for as long as it lasts, or cut off: it costs its sender as much as the daemon.
    Either,
}

struct Flood {
    what: &'static str,
    first: Vec<u8>,
    /// Each once, one after the other: streams have numbers.
    then: Box<dyn Fn(u32) -> Vec<u8>>,
    times: u32,
    fate: Fate,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn floods(path: &'static str) -> Vec<Flood> {
    let opened = move || frame(HEADERS, END_HEADERS, 1, &head(path));
    let each = |bytes: Vec<u8>| -> Box<dyn Fn(u32) -> Vec<u8>> { Box::new(move |_| bytes.clone()) };
    // A literal that goes into the table (section 6.2.1), which the next headers name again and again.
    let bomb = [vec![0x40], text("x-bomb"), text(&"x".repeat(3000)), vec![0xbe; 4000]].concat();
    vec![
        Flood {
            what: "streams that are reset as soon as they are open",
            first: vec![],
            then: Box::new(move |at| {
                let stream = 2 * at + 1;
                let headers = frame(HEADERS, END_HEADERS, stream, &head(path));
                [headers, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
            }),
            times: 20_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "streams that this side has to reset",
            first: vec![],
            then: Box::new(move |at| {
                let stream = 2 * at + 1;
                let headers = frame(HEADERS, END_HEADERS, stream, &head(path));
                [headers, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
            }),
            times: 20_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "headers that go on and on",
            first: frame(HEADERS, 0, 1, &head(path)),
            then: each(frame(CONTINUATION, 0, 1, &literal("x-more", &"x".repeat(1000)))),
            times: 20_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "continuations of nothing",
            first: frame(HEADERS, 0, 1, &head(path)),
            then: each(frame(CONTINUATION, 0, 1, &[])),
            times: 100_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "a small frame that becomes 12 MB of headers",
            first: vec![],
            then: Box::new(move |at| {
                frame(HEADERS, END_HEADERS, 2 * at + 1, &[head(path), bomb.clone()].concat())
            }),
            times: 200,
            fate: Fate::Either,
        },
        Flood {
            what: "data of no bytes",
            first: opened(),
            then: each(frame(DATA, 0, 1, &[])),
            times: 300_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "data of padding alone",
            first: opened(),
            then: each(frame(DATA, 8, 1, &[[200].to_vec(), vec![0; 200]].concat())),
            times: 50_000,
            fate: Fate::Either,
        },
        Flood {
            what: "data of a byte",
            first: opened(),
            then: each(frame(DATA, 0, 1, &[0])),
            times: 300_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "settings",
            first: vec![],
            then: each(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
            times: 200_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "pings",
            first: vec![],
            then: each(frame(PING, 0, 0, &[7; 8])),
            times: 200_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "answers to pings that nobody sent",
            first: vec![],
            then: each(frame(PING, 1, 0, &[7; 8])),
            times: 200_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "windows that grow by a byte",
            first: opened(),
            then: each(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
            times: 200_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "priorities",
            first: vec![],
            then: Box::new(|at| frame(PRIORITY, 0, 2 * at + 1, &[0, 0, 0, 0, 1])),
            times: 200_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "frames of an unknown kind",
            first: vec![],
            then: each(frame(0xbb, 0xff, 3, &[7; 100])),
            times: 100_000,
            fate: Fate::Cut,
        },
        Flood {
            what: "farewells",
            first: vec![],
            then: each(frame(GOAWAY, 0, 0, &[0; 8])),
            times: 100_000,
            fate: Fate::Either,
        },
        Flood {
            what: "streams that are opened and left",
            first: vec![],
            then: Box::new(move |at| frame(HEADERS, END_HEADERS, 2 * at + 1, &head(path))),
            times: 20_000,
            fate: Fate::Either,
        },
    ]
}

async fn floods_of(network: &Network, address: SocketAddr, pid: u32, path: &'static str) {
    let rest = status_kib(pid, "VmRSS");
    for flood in floods(path) {
        let Flood { what, first, then, times, fate } = flood;
        let mut raw = Raw::open(address, &[]).await;
        raw.say(&first).await;
        let bytes: Vec<u8> = (0..times.min(1000)).flat_map(&then).collect();
        // Streams cannot be repeated, the rest can.
        let is_numbered = then(0) != then(1);
        if is_numbered {
            for from in (0..times).step_by(1000) {
                let bytes: Vec<u8> = (from..times.min(from + 1000)).flat_map(&then).collect();
                if raw.repeat(&bytes, 1).await == 0 {
                    break;
                }
            }
        } else {
            raw.repeat(&bytes, times.div_ceil(1000) as usize).await;
        }
        let now = status_kib(pid, "VmRSS");
        assert!(now < rest + MOST_ADDED_KIB, "{what}: from {rest} to {now} KiB");
        if fate == Fate::Cut {
            assert!(raw.is_closed_within(SOON).await, "{what} is not cut off");
        }
        drop(raw);
        network.serves_honest_callers().await;
    }
}

#[tokio::test]
async fn floods_of_frames_take_neither_memory_nor_others_service_at_a_peer() {
    let network = Network::start().await;
    floods_of(&network, network.peer(), network.peer.pid(), SEARCH).await;
    network.is_unharmed().await;
}

#[tokio::test]
async fn floods_of_frames_take_neither_memory_nor_others_service_at_a_registry() {
    let network = Network::start().await;
    floods_of(&network, network.registry(), network.registry.pid(), SESSION).await;
    network.is_unharmed().await;
}

#[tokio::test]
async fn windows_that_are_never_opened_hold_no_more_than_a_bound() {
    let network = Network::start().await;
    let rest = status_kib(network.peer.pid(), "VmRSS");
    let file = Some(File::Path("share/film.mkv".into()));
    let ask = framed(&pb::DownloadRequest { file, ..Default::default() }.encode_to_vec());
    let mut held = Vec::new();
    for _ in 0..4 {
        // No byte of an answer fits.
        let mut raw = Raw::open(network.peer(), &[0, 4, 0, 0, 0, 0]).await;
        for at in 0..50 {
            raw.say(&frame(HEADERS, END_HEADERS, 2 * at + 1, &head(DOWNLOAD))).await;
            raw.say(&frame(DATA, END_STREAM, 2 * at + 1, &ask)).await;
        }
        held.push(raw);
    }
    network.serves_honest_callers().await;
    let now = status_kib(network.peer.pid(), "VmRSS");
    // 200 times the file would be 600 MiB.
    assert!(
        200 * SHARED_BYTES as u64 / 1024 > 10 * MOST_ADDED_KIB && now < rest + MOST_ADDED_KIB,
        "from {rest} to {now}"
    );
    drop(held);
    network.is_unharmed().await;
}

#[tokio::test]
async fn bodies_that_nobody_wants_hold_no_more_than_a_bound() {
    let network = Network::start().await;
    let (mut held, rest) = (Vec::new(), network.memory_kib());
    for (address, path) in [(network.peer(), SEARCH), (network.registry(), SESSION)] {
        for _ in 0..8 {
            let mut raw = Raw::open(address, &[]).await;
            for stream in [1, 3] {
                raw.say(&frame(HEADERS, END_HEADERS, stream, &head(path))).await;
                // The frame of gRPC says 15 KiB, of which all but the last byte come.
                let body = [&[0, 0, 0, 60, 0][..], &vec![0; 15 * 1024]].concat();
                raw.say(&frame(DATA, 0, stream, &body)).await;
            }
            held.push(raw);
        }
    }
    network.serves_honest_callers().await;
    let now = network.memory_kib();
    assert!(now.iter().zip(rest).all(|(now, rest)| *now < rest + MOST_LEFT_KIB), "from {rest:?} to {now:?}");
    drop(held);
    network.is_unharmed().await;
}

#[tokio::test]
async fn whoever_is_silent_or_slow_at_the_beginning_is_cut_off() {
    let network = Network::start().await;
    let mut slow = Raw::connect(network.peer()).await;
    let dripping = async {
        for byte in PREFACE {
            if slow.write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let mut buffer = [0; 64];
        while matches!(slow.read.read(&mut buffer).await, Ok(1..)) {}
    };
    let mut silent: Vec<Raw> = Vec::new();
    for _ in 0..100 {
        silent.push(Raw::connect(network.peer()).await);
    }
    network.serves_honest_callers().await;
    let all = async {
        for raw in &mut silent {
            assert!(raw.is_closed_within(SOON).await);
        }
    };
    tokio::time::timeout(SOON, futures::future::join(dripping, all)).await.expect("they are cut off");
    network.is_unharmed().await;
}

#[tokio::test]
async fn more_calls_at_once_than_a_connection_may_have_are_refused_and_the_rest_is_served() {
    let network = Network::start().await;
    let connection = network.to_registry().await;
    let zones = pb::ListZonesRequest::default();
    let calls = (0..2000).map(|_| connection.ask("/floodplain.v1.RegistryService/ListZones", &zones));
    let ends = futures::future::join_all(calls).await;
    let served = ends.iter().filter(|end| **end == End::Grpc(Code::Ok)).count();
    let refused = |end: &&End| matches!(end, End::Grpc(Code::ResourceExhausted | Code::Unavailable));
    assert!(
        served >= 384 && served + ends.iter().filter(refused).count() == ends.len(),
        "{served}: {:?}",
        &ends[..9]
    );
    network.is_unharmed().await;
}
