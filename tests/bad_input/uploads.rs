//! Pushes that lie: about sizes, bytes, files and who sends them.

use floodplain::wire::pb::{self, send_request::Message as Say};
use prost::Message;
use tonic::Code::{self, DataLoss, InvalidArgument};

use super::{
    Case, Network, check,
    raw::{End, framed},
};

pub(crate) const SEND: &str = "/floodplain.v1.PeerService/Send";

pub(crate) fn say(message: Say) -> Vec<u8> {
    framed(&pb::SendRequest { message: Some(message) }.encode_to_vec())
}

pub(crate) fn offer(name: &str, content: &[u8]) -> pb::SendOffer {
    pb::SendOffer {
        sender_id: vec![8; 32].into(),
        sender_name: "mallory".into(),
        name: name.into(),
        size_bytes: content.len() as u64,
        content_hash: blake3::hash(content).as_bytes().to_vec().into(),
        files: None,
    }
}

fn data(bytes: &[u8]) -> Vec<u8> {
    say(Say::Data(bytes.to_vec().into()))
}

fn send(what: &'static str, messages: &[Vec<u8>], code: Code) -> Case {
    Case::raw(what, SEND, messages.concat(), End::Grpc(code))
}

fn files() -> Vec<Case> {
    let ten = || say(Say::Offer(offer("ten.txt", b"0123456789")));
    let offered = |change: &dyn Fn(&mut pb::SendOffer)| {
        let mut offer = offer("ten.txt", b"0123456789");
        change(&mut offer);
        say(Say::Offer(offer))
    };
    vec![
        send("bytes before an offer", &[data(b"x")], InvalidArgument),
        send("a message of nothing", &[framed(&[])], InvalidArgument),
        send("no message", &[], InvalidArgument),
        send(
            "a sender of 31 bytes",
            &[offered(&|offer| offer.sender_id = vec![8; 31].into())],
            InvalidArgument,
        ),
        send(
            "a sender that steers a terminal",
            &[offered(&|offer| offer.sender_name = "\u{1b}]52;c;eA==\u{7}".into())],
            InvalidArgument,
        ),
        send(
            "a sender without a name",
            &[offered(&|offer| offer.sender_name = String::new())],
            InvalidArgument,
        ),
        send(
            "a hash of 31 bytes",
            &[offered(&|offer| offer.content_hash = vec![8; 31].into())],
            InvalidArgument,
        ),
        send("2^64 - 1 bytes", &[offered(&|offer| offer.size_bytes = u64::MAX)], Code::ResourceExhausted),
        send("2^63 bytes", &[offered(&|offer| offer.size_bytes = 1 << 63)], Code::ResourceExhausted),
        send("100001 files", &[offered(&|offer| offer.files = Some(100_001))], InvalidArgument),
        send("a byte too few", &[ten(), data(b"012345678")], DataLoss),
        send("no bytes", &[ten()], DataLoss),
        send("a byte too many", &[ten(), data(b"0123456789x")], DataLoss),
        send("more behind the end", &[ten(), data(b"0123456789"), data(b"x")], DataLoss),
        send("other bytes", &[ten(), data(b"9876543210")], DataLoss),
        send("no data in a message", &[ten(), data(b"")], InvalidArgument),
        send("a chunk of 512 KiB and a byte", &[ten(), data(&vec![0; (512 << 10) + 1])], InvalidArgument),
        send("a chunk of 1 MiB", &[ten(), data(&vec![0; 1 << 20])], Code::OutOfRange),
        send("another offer", &[ten(), ten()], InvalidArgument),
        send(
            "files of a folder for a file",
            &[ten(), say(Say::Pack(pb::SendPack::default()))],
            InvalidArgument,
        ),
        send("garbage behind an offer", &[ten(), framed(&[0xff; 20])], Code::Internal),
        send(
            "a folder of which nobody knows the files",
            &[offered(&|offer| offer.files = Some(0))],
            DataLoss,
        ),
    ]
}

fn file(path: &str, content: &[u8]) -> pb::SendFile {
    pb::SendFile {
        path: path.into(),
        size_bytes: content.len() as u64,
        content_hash: blake3::hash(content).as_bytes().to_vec().into(),
        data: content.to_vec().into(),
    }
}

/// A push of a folder whose offer fits its files, but for what is wrong with them.
pub(crate) fn folder(paths: &[&str]) -> Vec<Vec<u8>> {
    packed(paths.iter().map(|path| file(path, b"x")).collect())
}

fn packed(files: Vec<pb::SendFile>) -> Vec<Vec<u8>> {
    let count = Some(u32::try_from(files.len()).unwrap());
    let size_bytes = files.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add);
    let offer = pb::SendOffer { files: count, size_bytes, ..offer("folder", b"") };
    vec![say(Say::Offer(offer)), say(Say::Pack(pb::SendPack { files }))]
}

fn folders() -> Vec<Case> {
    let mut cases = vec![
        send("files that are not those of the offer", &folder(&["a", "b"]), DataLoss),
        send(
            "an empty pack",
            &[folder(&["a"])[0].clone(), say(Say::Pack(pb::SendPack::default()))],
            InvalidArgument,
        ),
        send(
            "more files than were offered",
            &[folder(&["a"])[0].clone(), folder(&["a", "b"])[1].clone()],
            DataLoss,
        ),
        send(
            "fewer files than were offered",
            &[folder(&["a", "b"])[0].clone(), folder(&["a"])[1].clone()],
            DataLoss,
        ),
        send("data of no file", &[folder(&["a"])[0].clone(), data(b"x")], InvalidArgument),
        send(
            "a file that is cut off by the next",
            &packed(vec![pb::SendFile { size_bytes: 5, ..file("a", b"x") }, file("b", b"y")]),
            DataLoss,
        ),
        send(
            "more bytes than the file has",
            &packed(vec![pb::SendFile { size_bytes: 1, ..file("a", b"xyz") }]),
            InvalidArgument,
        ),
        send(
            "a file of other bytes",
            &packed(vec![pb::SendFile { content_hash: vec![1; 32].into(), ..file("a", b"x") }]),
            DataLoss,
        ),
        send(
            "a file without a hash",
            &packed(vec![pb::SendFile { content_hash: vec![].into(), ..file("a", b"x") }]),
            InvalidArgument,
        ),
        send(
            "sizes that wrap",
            &packed(vec![
                pb::SendFile { size_bytes: u64::MAX, ..file("a", b"x") },
                pb::SendFile { size_bytes: 2, ..file("b", b"y") },
            ]),
            Code::ResourceExhausted,
        ),
    ];
    let clashes: [&[&str]; 10] = [
        &["a", "a"],
        &["A", "a"],
        &["stra\u{df}e", "STRASSE"],
        &["e\u{301}", "\u{e9}"],
        &["\u{c9}", "e\u{301}"],
        &["a", "a/b"],
        &["A/b", "a"],
        &["d/x", "D/X"],
        &["\u{212b}", "\u{e5}"],
        &["\u{fb01}n", "FIN"],
    ];
    for paths in clashes {
        cases.push(send("two names that are one on some system", &folder(paths), InvalidArgument));
    }
    for path in [
        "", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/./b", "a\\..\\b", "C:/a", "a/CON/b", "a/b.",
        "a/b:c", "a\0b",
    ] {
        cases.push(send("a path that is none everywhere", &folder(&[path]), InvalidArgument));
    }
    cases
}

#[tokio::test]
async fn a_push_that_lies_leaves_nothing_but_its_status() {
    let network = Network::start().await;
    check(&network.to_peer().await, files()).await;
    check(&network.to_peer().await, folders()).await;
    network.is_unharmed().await;
    let inbox = network.inbox();
    assert!(inbox.is_empty(), "{inbox:?}");
    // The same bytes without a lie are taken.
    let honest = [say(Say::Offer(offer("ten.txt", b"0123456789"))), data(b"0123456789")];
    check(&network.to_peer().await, vec![send("an honest push", &honest, Code::Ok)]).await;
    assert_eq!(network.inbox(), ["ten.txt"]);
}
