//! Replicas that their disk does not give back as they were.

use std::{fs::File, path::Path};

use floodplain::protocol::action::{Target, TransferState};

use crate::{
    support::TestPeer,
    zone::{hash, holders, put_text, ranked, replica, take, until, zone},
};

/// As a failing disk does: other bytes, and the time of the last change stays.
fn rot(path: &Path, bytes: &[u8]) {
    let changed = path.metadata().and_then(|found| found.modified()).expect("there");
    std::fs::write(path, bytes).expect("writes");
    let file = File::options().write(true).open(path).expect("opens");
    file.set_modified(changed).expect("sets");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_rotted_is_set_aside_and_pulled_from_another_holder() {
    let (_registry, mut peers) = zone(&[1 << 20; 4]).await;
    let (content, wrong) = (b"as it was put", b"as it is now!");
    put_text(&peers[0], "as it was put", 2).await.expect("kept");
    let best = ranked(&peers, content).remove(0);
    let (settings, folder) = take(&mut peers, &best).kill().await;
    let path = std::fs::read_dir(folder.path().join("replicas")).expect("reads");
    let path = path.flatten().map(|entry| entry.path()).find(|path| path.is_file()).expect("kept");
    rot(&path, wrong);
    let back = TestPeer::start_with(settings, folder).await;
    until("the replica to be right again", || replica(&back, content).is_some()).await;
    let aside = std::fs::read_dir(path.with_file_name(".damaged")).expect("reads").flatten();
    let aside: Vec<_> = aside.map(|entry| std::fs::read(entry.path()).expect("reads")).collect();
    assert_eq!(aside, [wrong]);
    peers.push(back);
    assert_eq!(holders(&peers, content).len(), 2);
    let to = tempfile::tempdir().expect("a folder");
    let got = peers[0].get(Target::Hash(hash(content)), to.path()).await;
    assert_eq!(got.state, TransferState::Done);
}
