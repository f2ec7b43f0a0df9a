//! Folders between peers: real daemons, real files; and holders and senders that lie.

#[path = "folders/liar.rs"]
mod liar;
#[path = "support/stand_in.rs"]
mod stand_in;
#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use floodplain::{
    protocol::{
        action::{AcceptPolicy, Answer, ErrorKind, GetAsk, PeerPath, Target, Transfer, TransferState},
        zone::Layout,
    },
    wire::pb::{self, peer_service_client::PeerServiceClient},
};
use futures::StreamExt;
use liar::{Holder, Push};
use support::{TestPeer, TestRegistry, put, soon};
use tonic::Code;

/// Every file below a folder with its content, hidden ones too.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut tree = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("reads") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let relative = path.strip_prefix(folder).expect("below").to_string_lossy().into_owned();
                tree.insert(relative, fs::read(&path).expect("reads"));
            }
        }
    }
    tree
}

fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Small and large files, empty ones, deep ones, and names that need care.
fn plant(folder: &Path) {
    for number in 0..300 {
        put(&folder.join(format!("many/{number:03}.txt")), format!("file {number}\n").as_bytes());
    }
    put(&folder.join("empty"), b"");
    put(&folder.join("a b/é #1 %20 😀.txt"), "ünïcödé".as_bytes());
    put(&folder.join(format!("{}/deep.txt", "d/".repeat(60).trim_end_matches('/'))), b"deep");
    put(&folder.join("just small.bin"), &vec![7; 256 << 10]);
    put(&folder.join("large.bin"), &vec![8; (256 << 10) + 1]);
    put(&folder.join("sub/larger.bin"), &vec![9; (2 << 20) + 5]);
}

fn path(peer: &str, path: &str) -> Target {
    Target::Path(PeerPath { peer: peer.into(), path: path.into() })
}

fn failure(transfer: &Transfer) -> (ErrorKind, &str) {
    match &transfer.state {
        TransferState::Failed(error) => (error.kind, &error.message),
        other => panic!("it did not fail but is {other:?}"),
    }
}

async fn pair(accept: AcceptPolicy) -> (TestRegistry, TestPeer, TestPeer) {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 6 }).await;
    let ana = TestPeer::start(registry.address, "ana", &[]).await;
    let ben = TestPeer::start(registry.address, "ben", &[]).await;
    let (mut settings, folder) = ben.kill().await;
    settings.accept = accept;
    settings.name = "bea".parse().expect("a name");
    let bea = TestPeer::start_with(settings, folder).await;
    (registry, ana, bea)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_arrives_byte_for_byte_as_one_transfer() {
    let (_registry, ana, bea) = pair(AcceptPolicy::All).await;
    let source = ana.share().join("project");
    plant(&source);
    ana.handle.rescan().await.expect("scans");
    soon("hashes", ana.peer.until_hashed()).await;
    let to = bea.folder.path().join("got");
    fs::create_dir(&to).expect("makes");
    let got = bea.get(path("ana", "docs/project"), &to).await;
    assert_eq!(got.state, TransferState::Done, "{got:?}");
    assert_eq!(got.path, Some(to.join("project")));
    let expected = tree(&source);
    assert!(tree(&to.join("project")) == expected);
    let bytes: u64 = expected.values().map(|content| content.len() as u64).sum();
    assert_eq!((got.size_bytes, got.done_bytes, got.name.as_str()), (bytes, bytes, "project"));
    assert_eq!(got.sources, ["ana"]);
    assert_eq!(bea.handle.transfers().await.expect("lists").len(), 1, "one transfer for the whole folder");

    // A second one takes nothing's place, a named destination is the folder itself, and a share is a folder too.
    let again = bea.get(path("ana", "docs/project"), &to).await;
    assert_eq!(again.path, Some(to.join("project (1)")));
    let named = bea.get(path("ana", "docs/project/sub"), &to.join("named")).await;
    assert_eq!(named.path, Some(to.join("named")));
    assert_eq!(tree(&to.join("named")).keys().collect::<Vec<_>>(), ["larger.bin"]);
    assert_eq!(names(&to), ["named", "project", "project (1)"], "no stage is left");
    let share = bea.get(path("ana", "docs"), &to).await;
    assert_eq!(share.path, Some(to.join("docs")));
    // A single file is a file as ever, and what is not there is told.
    let file = bea.get(path("ana", "docs/project/empty"), &to).await;
    assert_eq!(file.path, Some(to.join("empty")));
    assert_eq!(failure(&bea.get(path("ana", "docs/nothing"), &to).await).0, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_paged_in_order_and_bounded() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 6 }).await;
    let ana =
        TestPeer::start(registry.address, "ana", &[("a/b/c", b"1"), ("a/b-c", b"22"), ("a/x", b"")]).await;
    let url = format!("http://{}", ana.peer.address());
    let mut client = PeerServiceClient::connect(url).await.expect("connects");
    let (mut told, mut token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListFilesRequest { path: "docs/a".into(), page_size: 1, page_token: token };
        let page = client.list_files(request).await.expect("lists").into_inner();
        assert_eq!(page.files.len(), 1);
        told.extend(page.files.into_iter().map(|file| file.path));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(told, ["docs/a/b/c", "docs/a/b-c", "docs/a/x"]);
    for (path, page_token, code) in [
        ("docs/none", "", Code::NotFound),
        ("docs/a/x", "", Code::NotFound),
        ("", "", Code::InvalidArgument),
        ("docs/../x", "", Code::InvalidArgument),
        ("docs/a", "other/b", Code::InvalidArgument),
    ] {
        let request = pb::ListFilesRequest { path: path.into(), page_size: 0, page_token: page_token.into() };
        assert_eq!(
            client.list_files(request).await.expect_err("refused").code(),
            code,
            "{path} {page_token}"
        );
    }
    let paths = ["docs/a/b-c", "docs/a/none", "docs/a/b/c"].map(String::from).to_vec();
    let asks = futures::stream::iter([pb::DownloadManyRequest { paths }]);
    let mut answers = client.download_many(asks).await.expect("answers").into_inner();
    let items = answers.message().await.expect("ok").expect("one message").items;
    assert_eq!(items.iter().map(|item| &item.data[..]).collect::<Vec<_>>(), [&b"22"[..], b"", b"1"]);
    assert_eq!(items[1].error.as_ref().map(|error| error.code), Some(5));
    assert!(answers.message().await.expect("ended well").is_none());
    let too_many = futures::stream::iter([pb::DownloadManyRequest { paths: vec!["docs/a/x".into(); 65] }]);
    let mut answers = client.download_many(too_many).await.expect("answers").into_inner();
    assert_eq!(answers.message().await.expect_err("refused").code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clash_is_told_with_both_names_before_the_first_byte() {
    let holder = Holder::start(&[("README", b"1"), ("readme", b"2"), ("other", b"3")]).await;
    let home = tempfile::tempdir().expect("a folder");
    let (kind, message) = holder.refuses(home.path()).await;
    assert_eq!(kind, ErrorKind::Refused);
    assert!(message.contains("`README`") && message.contains("`readme`"), "{message}");
    assert!(holder.asked().is_empty() && names(home.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_list_is_refused_and_leaves_nothing() {
    for bad in ["../pwned", "/etc/pwned", "a/../../pwned", "nul", "a/CON.txt", "x\u{202e}gpj.exe", "a\\..\\b"]
    {
        let holder = Holder::start(&[("good", b"1"), (bad, b"2")]).await;
        let home = tempfile::tempdir().expect("a folder");
        let (kind, message) = holder.refuses(home.path()).await;
        assert_eq!(kind, ErrorKind::Refused, "{bad:?}: {message}");
        assert!(holder.asked().is_empty() && names(home.path()).is_empty(), "{bad:?}");
    }
    let paths: Vec<String> = (0..100_001).map(|number| number.to_string()).collect();
    let files: Vec<(&str, &[u8])> = paths.iter().map(|path| (path.as_str(), &b""[..])).collect();
    let home = tempfile::tempdir().expect("a folder");
    let holder = Holder::start(&files).await;
    let (kind, message) = holder.refuses(home.path()).await;
    assert_eq!(kind, ErrorKind::Refused);
    assert!(message.contains("more than 100000 files"), "{message}");
    // More than any disk has.
    let mut holder = Holder::start(&[("a", b"1")]).await;
    holder.list(|file| file.size_bytes = 1 << 62);
    assert_eq!(holder.refuses(home.path()).await.0, ErrorKind::Failed);
    assert!(holder.asked().is_empty());
    assert!(names(home.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lying_sizes_and_hashes_fail_the_folder_and_what_is_right_is_kept() {
    let mut holder = Holder::start(&[("a", b"right"), ("b", b"wrong"), ("c", b"12345")]).await;
    holder.list(|file| match &file.path[..] {
        "docs/b" => file.content_hash = vec![7; 32].into(),
        "docs/c" => file.size_bytes = 4,
        _ => {}
    });
    let home = tempfile::tempdir().expect("a folder");
    let (kind, message) = holder.refuses(home.path()).await;
    assert_eq!(kind, ErrorKind::Mismatch);
    assert!(message.starts_with("2 of 3 files of docs did not come") && message.contains("b: "), "{message}");
    let stage = &names(home.path())[..];
    assert!(
        matches!(stage, [stage] if stage.starts_with(".docs.") && stage.ends_with(".fp-part")),
        "{stage:?}"
    );
    assert_eq!(names(&home.path().join(&stage[0])), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_folder_goes_on_with_what_is_missing_or_wrong() {
    let contents: Vec<(String, Vec<u8>)> =
        (0..40).map(|number| (format!("f{number:02}"), vec![number; 100])).collect();
    let files: Vec<(&str, &[u8])> = contents.iter().map(|(path, bytes)| (&path[..], &bytes[..])).collect();
    let holder = Holder::start(&files).await;
    holder.end_after(25);
    let home = tempfile::tempdir().expect("a folder");
    assert!(holder.refuses(home.path()).await.1.starts_with("15 of 40 files"));
    let stage = home.path().join(&names(home.path())[0]);
    assert_eq!(names(&stage).len(), 25);
    fs::write(stage.join("f03"), vec![99; 100]).expect("spoils one");
    fs::write(stage.join("stranger"), b"not of this folder").expect("writes");
    let before = holder.asked().len();
    holder.end_after(usize::MAX);
    let got = holder.get(home.path()).await;
    assert_eq!(got.state, TransferState::Done, "{got:?}");
    let mut again: Vec<String> = holder.asked().split_off(before);
    again.sort();
    let mut expected = vec!["docs/f03".to_owned()];
    expected.extend((25..40).map(|number| format!("docs/f{number:02}")));
    assert_eq!(again, expected, "only what is missing or wrong");
    let expected: BTreeMap<String, Vec<u8>> = contents.into_iter().collect();
    assert!(tree(&home.path().join("docs")) == expected);
    assert_eq!(names(home.path()), ["docs"]);
    assert_eq!((got.done_bytes, got.size_bytes), (4000, 4000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_holder_is_asked_until_it_has_time() {
    let holder = Holder::start(&[("a", b"1"), ("b", b"2")]).await;
    holder.be_busy(100);
    let home = tempfile::tempdir().expect("a folder");
    assert_eq!(holder.get(home.path()).await.state, TransferState::Done);
    assert_eq!(names(&home.path().join("docs")), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_waits_its_turn_where_all_slots_are_taken_and_comes_whole() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 6 }).await;
    let one_slot = |settings: &mut floodplain::config::PeerSettings| settings.upload_slots = 1;
    let ana = TestPeer::start_changed(registry.address, "ana", &[], one_slot).await;
    let bea = TestPeer::start(registry.address, "bea", &[]).await;
    let source = ana.share().join("project");
    plant(&source);
    put(&ana.share().join("film"), &vec![1; 8 << 20]);
    ana.handle.rescan().await.expect("scans");
    soon("hashes", ana.peer.until_hashed()).await;
    let url = format!("http://{}", ana.peer.address());
    let mut client = PeerServiceClient::connect(url).await.expect("connects");
    let film = pb::download_request::File::Path("docs/film".into());
    let request = pb::DownloadRequest { file: Some(film), ..Default::default() };
    let mut film = client.download(request).await.expect("answers").into_inner();
    assert!(film.message().await.expect("no error").expect("a message").file.is_some(), "has the slot");

    let ask = GetAsk::new(path("ana", "docs/project"), Some(bea.folder.path().into()));
    let mut events = bea.handle.get(ask).await.expect("begins");
    let mut notes = Vec::new();
    let mut film = Some(film);
    let mut last = None;
    while let Some(event) = soon("an event", events.next()).await {
        let event = event.expect("no error");
        // Small files and large ones are asked for side by side: whichever is first has the first place.
        let has_place = event.note.starts_with("place ") && event.note.ends_with(" in ana's queue");
        if has_place && event.state == TransferState::Waiting {
            drop(film.take());
        }
        notes.push(event.note.clone());
        last = Some(event);
    }
    assert!(film.is_none(), "it waited: {notes:?}");
    let last = last.expect("an event");
    assert_eq!((last.state, last.done_bytes), (TransferState::Done, last.size_bytes));
    assert!(tree(&bea.folder.path().join("project")) == tree(&source));
}

/// A holder that is asked for a tree for the first time makes it; what is fetched before comes from one holder.
async fn until_it_has_the_tree(peer: &TestPeer, path: &str) {
    let url = format!("http://{}", peer.peer.address());
    let mut client = PeerServiceClient::connect(url).await.expect("connects");
    loop {
        let file = Some(pb::download_request::File::Path(path.into()));
        let request = pb::DownloadRequest { file, length: 1, with_tree: true, ..Default::default() };
        let mut answer = client.download(request).await.expect("answers").into_inner();
        while let Some(message) = answer.message().await.expect("no error") {
            if !message.tree.is_empty() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_of_a_folder_comes_from_all_who_have_it() {
    let film: Vec<u8> =
        (0..24_u32 << 20).map(|at| u8::try_from((at ^ (at >> 11)) & 255).expect("a byte")).collect();
    let files: [(&str, &[u8]); 2] = [("project/film", &film), ("project/note", b"small")];
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 6 }).await;
    let slowly = |settings: &mut floodplain::config::PeerSettings| settings.upload_limits.whole = 4 << 20;
    let ana = TestPeer::start_changed(registry.address, "ana", &files, slowly).await;
    let cid = TestPeer::start_changed(registry.address, "cid", &[("other/name", &film)], slowly).await;
    let bea = TestPeer::start(registry.address, "bea", &[]).await;
    for (peer, path) in [(&ana, "docs/project/film"), (&cid, "docs/other/name")] {
        soon("hashes", peer.peer.until_hashed()).await;
        soon("the values of the pieces", until_it_has_the_tree(peer, path)).await;
    }
    bea.until_zone_has(3).await;
    let got = bea.get(path("ana", "docs/project"), bea.folder.path()).await;
    assert_eq!(got.state, TransferState::Done, "{got:?}");
    assert_eq!(got.sources, ["ana", "cid"]);
    assert!(fs::read(bea.folder.path().join("project/film")).expect("reads") == film);
    let given = cid.handle.status().await.expect("tells").counters.bytes_up;
    assert!(given > 4 << 20, "cid gave {given} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_folder_leaves_nothing() {
    let holder = Holder::start(&[("a", b"1"), ("b", b"2")]).await;
    holder.hang_after(1);
    let home = tempfile::tempdir().expect("a folder");
    let events = holder.begin(home.path()).await;
    soon("the first file", async {
        while names(home.path()).first().is_none_or(|stage| names(&home.path().join(stage)).is_empty()) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(events);
    soon("the stage to go", async {
        while !names(home.path()).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_folder_arrives_whole_where_everyone_may_send() {
    let (_registry, ana, bea) = pair(AcceptPolicy::All).await;
    let source = ana.folder.path().join("to send");
    plant(&source);
    put(&source.join(".hidden/file"), b"hidden");
    std::os::unix::fs::symlink("/etc/passwd", source.join("link")).expect("links");
    for expected in ["to send", "to send (1)"] {
        let sent = ana.send(&source, "bea").await;
        assert_eq!(sent.state, TransferState::Done, "{sent:?}");
        assert_eq!(sent.done_bytes, sent.size_bytes);
        let mut expected_tree = tree(&source);
        expected_tree.remove("link");
        assert!(tree(&bea.settings.inbox.join(expected)) == expected_tree);
    }
    let empty = ana.folder.path().join("empty folder");
    fs::create_dir(&empty).expect("makes");
    assert_eq!(ana.send(&empty, "bea").await.state, TransferState::Done);
    assert!(tree(&bea.settings.inbox.join("empty folder")).is_empty());
    assert_eq!(names(&bea.settings.inbox), ["empty folder", "to send", "to send (1)"]);
    put(&ana.folder.path().join("clash/A"), b"1");
    put(&ana.folder.path().join("clash/a"), b"2");
    let clash = ana.send(&ana.folder.path().join("clash"), "bea").await;
    let (kind, message) = failure(&clash);
    assert_eq!(kind, ErrorKind::Refused);
    assert!(message.contains("`A` and `a`"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_asked_about_once_with_its_number_of_files() {
    let (_registry, ana, bea) = pair(AcceptPolicy::Ask).await;
    let source = ana.folder.path().join("photos");
    put(&source.join("1.jpg"), b"one");
    put(&source.join("more/2.jpg"), b"two");
    for answer in [Answer::Decline("no room".into()), Answer::Accept] {
        let sending = ana.send(&source, "bea");
        let answering = async {
            loop {
                if let Some(offer) = bea.handle.inbox().await.expect("lists").offers.first() {
                    assert_eq!((offer.files, offer.size_bytes, &offer.name[..]), (Some(2), 6, "photos"));
                    assert_eq!(offer.shown_name(), "photos/ (2 files)");
                    bea.handle.answer_offer(offer.id, answer.clone()).await.expect("answers");
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let (sent, ()) = tokio::join!(sending, answering);
        if answer == Answer::Accept {
            assert_eq!(sent.state, TransferState::Done);
            assert_eq!(tree(&bea.settings.inbox.join("photos")).len(), 2);
        } else {
            assert_eq!(failure(&sent).0, ErrorKind::Refused);
            assert!(names(&bea.settings.inbox).is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_takes_nothing_takes_no_folder() {
    let (_registry, ana, bea) = pair(AcceptPolicy::None).await;
    let source = ana.folder.path().join("photos");
    put(&source.join("1.jpg"), b"one");
    assert_eq!(failure(&ana.send(&source, "bea").await).0, ErrorKind::Refused);
    assert!(names(&bea.settings.inbox).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_push_is_refused_and_leaves_nothing() {
    let (_registry, _ana, bea) = pair(AcceptPolicy::All).await;
    let push = Push::to(bea.peer.address());
    for bad in ["../pwned", "/pwned", "a/../../pwned", "nul", "", "a//b", "A", ".x.fp-part"] {
        let code = push.files(&[("a", b"1"), (bad, b"2")]).await.expect_err("refused");
        assert_eq!(code, Code::InvalidArgument, "{bad:?}");
    }
    let mut offer = Push::to(bea.peer.address());
    offer.change = |offer| offer.size_bytes = 1;
    assert_eq!(offer.files(&[("a", b"12")]).await, Err(Code::DataLoss));
    offer.change = |offer| offer.size_bytes = 3;
    assert_eq!(offer.files(&[("a", b"12")]).await, Err(Code::DataLoss));
    offer.change = |offer| offer.files = Some(1);
    assert_eq!(offer.files(&[("a", b"12"), ("b", b"")]).await, Err(Code::DataLoss));
    offer.change = |offer| offer.files = Some(3);
    assert_eq!(offer.files(&[("a", b"12"), ("b", b"")]).await, Err(Code::DataLoss));
    offer.change = |offer| offer.files = Some(100_001);
    assert_eq!(offer.files(&[("a", b"12")]).await, Err(Code::InvalidArgument));
    offer.change = |offer| offer.content_hash = vec![1; 32].into();
    assert_eq!(offer.files(&[("a", b"12")]).await, Err(Code::DataLoss));
    offer.change = |_| {};
    offer.spoils = true;
    assert_eq!(offer.files(&[("a", b"12")]).await, Err(Code::DataLoss));
    assert_eq!(names(&bea.settings.inbox), Vec::<String>::new());
    let outside: Vec<PathBuf> =
        ["pwned", "../pwned"].iter().map(|name| bea.folder.path().join(name)).collect();
    assert!(outside.iter().all(|path| !path.exists()) && !Path::new("/pwned").exists());
    assert_eq!(push.files(&[("a", b"1"), ("b/c", b"")]).await, Ok("pushed".into()));
    assert_eq!(tree(&bea.settings.inbox.join("pushed")).len(), 2);
}
