//! What an earlier run of a peer left of its downloads: a file that it had published, and parts that nobody goes on with.

#[path = "support/network.rs"]
#[allow(dead_code, reason = "shared with the other tests of networks")]
mod network;

use std::{fs, path::Path};

use floodplain::{
    protocol::{
        action::{GetAsk, PeerPath, Target, Transfer, TransferControl, TransferState, Which},
        id::ContentHash,
        zone::Layout,
    },
    store::pieces::part_path,
};

use network::{TestPeer, TestRegistry, soon};

const MIB: usize = 1 << 20;

fn content() -> Vec<u8> {
    (0..3 * MIB + 5).map(|at| (at % 251).to_le_bytes()[0]).collect()
}

fn hash_of(bytes: &[u8]) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// As the daemon keeps a download.
fn keep(data: &Path, id: u64, what: &str, name: &str, destination: &Path, state: &str) {
    let folder = data.join("transfers");
    fs::create_dir_all(&folder).expect("makes");
    let destination = destination.display();
    let error = r#""error":{"kind":"not_found","message":"nobody has it","hint":""}"#;
    let job = format!(
        r#"{{"id":{id},{what},"name":"{name}","destination":"{destination}","is_folder":true,"priority":"normal","state":"{state}",{error}}}"#
    );
    fs::write(folder.join(format!("{id}.json")), job).expect("writes");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("lists");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A search finds whom the roster names only once both have heard of each other.
async fn until_found(peer: &TestPeer) {
    let found = async { while peer.search("film").await.0.is_empty() {} };
    soon("the file to be found", found).await;
}

async fn until(peer: &TestPeer, id: u64, is_so: impl Fn(&Transfer) -> bool) -> Transfer {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    let found = async {
        loop {
            look.tick().await;
            let listed = peer.handle.transfers().await.expect("lists");
            if let Some(found) = listed.into_iter().find(|transfer| transfer.id == id && is_so(transfer)) {
                return found;
            }
        }
    };
    soon("a transfer", found).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_published_before_the_kill_is_done_and_a_deliberate_copy_is_still_made() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let bytes = content();
    let hash = hash_of(&bytes);
    let ana = TestPeer::start(registry.address, "ana", &[("film.bin", &bytes)]).await;
    soon("the hash", ana.peer.until_hashed()).await;
    let ben = TestPeer::start(registry.address, "ben", &[]).await;
    ben.until_zone_has(2).await;
    ana.until_zone_has(2).await;
    let got = ben.folder.path().join("got");
    fs::create_dir(&got).expect("makes");
    until_found(&ben).await;
    assert_eq!(ben.get(Target::Hash(hash), &got).await.state, TransferState::Done);
    let (settings, folder) = ben.kill().await;
    // Its name was taken when it was published, and it was ended before it could forget the job.
    fs::rename(got.join("film.bin"), got.join("film (1).bin")).expect("renames");
    fs::write(got.join("film.bin"), vec![7; bytes.len()]).expect("writes");
    let by_hash = format!(r#""hash":"{hash}","size_bytes":{}"#, bytes.len());
    let by_path =
        format!(r#""peer":"{}","path":"docs/film.bin""#, ana.handle.status().await.expect("tells").me.id);
    keep(&settings.data, 41, &by_hash, "film.bin", &got, "queued");
    keep(&settings.data, 42, &by_path, "film.bin", &got, "queued");
    let ben = TestPeer::start_with(settings, folder).await;
    ben.until_zone_has(2).await;
    ana.until_zone_has(2).await;
    for id in [41, 42] {
        let done = until(&ben, id, |transfer| transfer.state.is_final()).await;
        assert_eq!((done.state, done.path), (TransferState::Done, Some(got.join("film (1).bin"))), "{id}");
    }
    assert_eq!(names(&got), ["film (1).bin", "film.bin"]);
    // A little after it is told.
    let forgotten = async {
        while names(&ben.settings.data.join("transfers")) != ["last-id"] {
            tokio::task::yield_now().await;
        }
    };
    soon("the jobs to be forgotten", forgotten).await;

    until_found(&ben).await;
    assert_eq!(ben.get(Target::Hash(hash), &got).await.state, TransferState::Done);
    assert_eq!(names(&got), ["film (1).bin", "film (2).bin", "film.bin"], "asked for once more");
    let path = Target::Path(PeerPath { peer: "ana".into(), path: "docs/film.bin".into() });
    assert_eq!(ben.get(path, &got).await.state, TransferState::Done);
    assert_eq!(names(&got).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_downloads_that_are_forgotten_or_cancelled_are_removed() {
    const KEPT: u64 = 1024;
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let ana = TestPeer::start(registry.address, "ana", &[("small.txt", b"small")]).await;
    let ben = TestPeer::start(registry.address, "ben", &[]).await;
    ben.until_zone_has(2).await;
    ana.until_zone_has(2).await;
    let (settings, folder) = ben.kill().await;
    let downloads = folder.path().join("downloads");
    let got = folder.path().join("got");
    fs::create_dir_all(&downloads).expect("makes");
    fs::create_dir_all(&got).expect("makes");
    let hash_of_job = |id: u64| hash_of(&id.to_le_bytes());
    for id in 1..=KEPT {
        // The second one is known by its path alone.
        let what = match id {
            2 => format!(r#""peer":"{}","path":"docs/f2","size_bytes":6"#, "00".repeat(32)),
            _ => format!(r#""hash":"{}""#, hash_of_job(id)),
        };
        keep(&settings.data, id, &what, &format!("f{id}"), &got, "failed");
        if id <= 4 {
            let part = part_path(&got, &hash_of_job(id), &format!("f{id}"));
            fs::write(part.with_extension("2.fp-part"), b"another part of it").expect("writes");
            fs::write(part, b"a part").expect("writes");
        }
    }
    let dead = part_path(&downloads, &hash_of_job(KEPT + 1), "of no job");
    let kept = part_path(&downloads, &hash_of_job(3), "f3");
    for part in [&dead, &kept] {
        fs::write(part, b"a part").expect("writes");
    }
    let ben = TestPeer::start_with(settings, folder).await;
    ben.until_zone_has(2).await;
    ana.until_zone_has(2).await;
    assert!(!dead.exists() && kept.exists(), "swept at the start");

    let parts_of = |id: u64| names(&got).iter().filter(|name| name.starts_with(&format!(".f{id}."))).count();
    assert_eq!([1, 2, 3, 4].map(parts_of), [2; 4]);
    let small = Target::Path(PeerPath { peer: "ana".into(), path: "docs/small.txt".into() });
    assert_eq!(ben.get(small, &got).await.state, TransferState::Done);
    until(&ben, 1, |transfer| transfer.state == TransferState::Cancelled).await;
    assert_eq!(
        [1, 2, 3, 4].map(parts_of),
        [0, 2, 2, 2],
        "the oldest one is forgotten, and its parts with it"
    );
    for id in [2, 4] {
        ben.handle.control_transfers(Which::One(id), TransferControl::Cancel).await.expect("cancels");
        until(&ben, id, |transfer| transfer.state == TransferState::Cancelled).await;
    }
    assert_eq!([2, 3, 4].map(parts_of), [0, 2, 0]);
    let ask = GetAsk::new(Target::Hash(hash_of_job(3)), Some(got.clone()));
    assert!(ben.handle.get(ask).await.is_err(), "nobody has it");
    assert_eq!(parts_of(3), 2);
    drop(ana);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_downloads_of_one_content_the_first_goes_on_with_the_part_of_the_other() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let bytes = content();
    let hash = hash_of(&bytes);
    let ana = TestPeer::start(registry.address, "ana", &[("film.bin", &bytes)]).await;
    soon("the hash", ana.peer.until_hashed()).await;
    let ben = TestPeer::start(registry.address, "ben", &[]).await;
    let (settings, folder) = ben.kill().await;
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    for folder in [&first, &second] {
        fs::create_dir(folder).expect("makes");
    }
    fs::write(part_path(&second, &hash, "film.bin"), &bytes[..2 * MIB]).expect("writes");
    let what = format!(r#""hash":"{hash}","size_bytes":{}"#, bytes.len());
    keep(&settings.data, 41, &what, "film.bin", &first, "queued");
    keep(&settings.data, 42, &what, "film.bin", &second, "queued");
    let ben = TestPeer::start_with(settings, folder).await;
    for (id, folder) in [(41, &first), (42, &second)] {
        let done = until(&ben, id, |transfer| transfer.state.is_final()).await;
        assert_eq!(done.state, TransferState::Done, "{id}");
        assert_eq!(names(folder), ["film.bin"]);
        assert!(fs::read(folder.join("film.bin")).expect("reads") == bytes, "{id}");
    }
    // The first piece comes with the tree; the second is what the part spared.
    let down = ben.handle.status().await.expect("tells").counters.bytes_down;
    assert!(down < (5 * MIB / 2) as u64, "{down} bytes came");
}
