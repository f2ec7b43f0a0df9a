//! Zones whose peers come, go, fill up and go away for good: as many replicas as are wanted, whenever that can be.

use std::time::Duration;

use floodplain::protocol::action::{Connection, ErrorKind, PutAsk, PutContent, Target, TransferState};
use futures::FutureExt as _;

use floodplain::wire::pb::{self, replica_service_client::ReplicaServiceClient};

use crate::{
    support::{TestPeer, put, soon},
    zone::{hash, holders, put_text, ranked, replica, take, try_put, unput, until, zone},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_of_replicas_up_to_the_zone_is_made_and_more_are_told_honestly() {
    let (_registry, peers) = zone(&[1 << 20; 6]).await;
    for wanted in 1..=8 {
        let text = format!("kept {wanted} times");
        let ended = put_text(&peers[0], &text, wanted).await.expect("kept");
        assert_eq!(ended.state, TransferState::Done);
        let there = holders(&peers, text.as_bytes()).len();
        assert_eq!((ended.sources.len(), there), (wanted.min(6), wanted.min(6)), "{wanted} wanted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_full_since_the_last_roster_is_passed_over_for_the_next() {
    // Each takes one text only, and every roster says that each has room.
    let (_registry, peers) = zone(&[20; 5]).await;
    let mut taken = Vec::new();
    for number in 0..5 {
        let text = format!("twelve bytes {number}");
        let full = taken.clone();
        let next = ranked(&peers, text.as_bytes()).into_iter().find(|name| !full.contains(name));
        let ended = put_text(&peers[0], &text, 1).await.expect("kept");
        assert_eq!(ended.sources, [next.expect("one has room")]);
        taken.extend(ended.sources);
    }
    let refused = put_text(&peers[0], "twelve bytes 5", 1).await.expect_err("all are full");
    assert_eq!(refused.kind, ErrorKind::Refused);
    assert!(refused.message.contains("no room: 6 bytes are left"), "{refused:?}");
    unput(&peers[0], "twelve bytes 0.txt").await.expect("its own");
    // The rosters may still say that it is full.
    let ended = put_text(&peers[0], "twelve bytes 5", 1).await.expect("one has room again");
    assert_eq!(ended.sources, taken[..1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_leave_one_after_the_other_hand_over_and_the_last_has_it() {
    let (_registry, mut peers) = zone(&[1 << 20; 5]).await;
    let content = b"passed on and on";
    put_text(&peers[0], "passed on and on", 2).await.expect("kept");
    while peers.len() > 2 {
        let best = ranked(&peers, content).remove(0);
        let leaving = take(&mut peers, &best);
        assert!(soon("the leave", leaving.peer.leave()).await);
        assert_eq!(holders(&peers, content).len(), 2, "{best} left");
        let size = u32::try_from(peers.len()).expect("few");
        for peer in &peers {
            peer.until_zone_has(size).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leave_whose_caller_goes_away_is_done_to_its_end() {
    let (_registry, peers) = zone(&[1 << 20; 3]).await;
    let content = b"left half way";
    put_text(&peers[0], "left half way", 1).await.expect("kept");
    let best = ranked(&peers, content).remove(0);
    let leaving = peers.iter().find(|peer| peer.name == best).expect("it is one of them");
    assert!(leaving.handle.set_connected(false).now_or_never().is_none(), "it hands over first");
    let mut state = leaving.handle.status().await.expect("runs").connection;
    let left = async {
        while state != Connection::Disconnected {
            tokio::task::yield_now().await;
            state = leaving.handle.status().await.expect("runs").connection;
        }
    };
    soon("the leave", left).await;
    assert!(holders(&peers, content).iter().any(|name| *name != best), "it was handed over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_holders_but_one_are_killed_and_the_zone_makes_it_up_without_a_surplus() {
    let (_registry, mut peers) = zone(&[1 << 20; 7]).await;
    let content = b"killed and made up";
    put_text(&peers[0], "killed and made up", 3).await.expect("kept");
    let best = ranked(&peers, content);
    for name in &best[..2] {
        drop(take(&mut peers, name).kill().await);
    }
    // Two round trips after the repair nothing may move any more.
    until("the repair", || holders(&peers, content).len() >= 3).await;
    for peer in &peers {
        peer.until_zone_has(5).await;
    }
    until("the best to have it, and nobody else", || {
        let mut best = ranked(&peers, content);
        best.truncate(3);
        let mut there = holders(&peers, content);
        there.sort_unstable();
        best.sort_unstable();
        there == best
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_repair_one_file_never_make_one_too_many() {
    let (_registry, mut peers) = zone(&[1 << 20; 7]).await;
    let content = b"repaired once";
    put_text(&peers[0], "repaired once", 3).await.expect("kept");
    let third = ranked(&peers, content).remove(2);
    drop(take(&mut peers, &third).kill().await);
    // Both others see that one is missing; one of them repairs.
    let mut most = 0;
    let mut look = tokio::time::interval(Duration::from_millis(5));
    soon("the repair and what follows", async {
        let mut after = 0;
        while after < 200 {
            look.tick().await;
            let there = holders(&peers, content).len();
            most = most.max(there);
            after += usize::from(there >= 3);
        }
    })
    .await;
    assert_eq!(most, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_owner_is_left_to_tell_one_who_was_away_of_the_release() {
    let (_registry, mut peers) = zone(&[1 << 20; 3]).await;
    let content = b"released while all were away";
    let owner = ranked(&peers, content).pop().expect("three");
    let owner = take(&mut peers, &owner);
    put_text(&owner, "released while all were away", 2).await.expect("kept");
    let mut away = Vec::new();
    for peer in peers {
        away.push(peer.kill().await);
    }
    let told = unput(&owner, &hash(content).to_string()).await.expect("its own");
    assert_eq!(told.released_by, Vec::<String>::new());
    for (settings, folder) in away {
        let back = TestPeer::start_with(settings, folder).await;
        until("the late release", || replica(&back, content).is_none()).await;
        drop(back.kill().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_text_and_a_file_of_three_pieces_are_kept_and_had_again() {
    let (_registry, peers) = zone(&[16 << 20; 4]).await;
    let ended = put_text(&peers[0], "", 2).await.expect("kept");
    assert_eq!((ended.size_bytes, ended.sources.len(), &*ended.name), (0, 2, "text.txt"));
    let pieces: Vec<u8> = (0..(2u32 << 20) + 9).map(|at| (at / 251).to_le_bytes()[0] ^ 3).collect();
    let path = peers[0].folder.path().join("three pieces.bin");
    put(&path, &pieces);
    let ask = PutAsk { content: PutContent::Path(path), name: None, replicas: 2 };
    assert_eq!(try_put(&peers[0], ask).await.expect("kept").sources.len(), 2);
    let to = tempfile::tempdir().expect("a folder");
    for content in [&pieces[..], b""] {
        assert_eq!(holders(&peers, content).len(), 2);
        let got = peers[0].get(Target::Hash(hash(content)), to.path()).await;
        assert_eq!(got.state, TransferState::Done);
        assert!(std::fs::read(got.path.expect("published")).expect("reads") == content);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_refused_in_plain_words_and_leaves_nothing() {
    let (_registry, peers) = zone(&[1 << 20; 2]).await;
    for (what, words) in [("docs", "is not a regular file"), ("nowhere", "No such file")] {
        let path = peers[0].folder.path().join(what);
        let ask = PutAsk { content: PutContent::Path(path), name: None, replicas: 1 };
        let refused = try_put(&peers[0], ask).await.expect_err("no file");
        assert!(refused.message.contains(words), "{refused:?}");
    }
    assert_eq!(std::fs::read_dir(peers[0].settings.data.join("puts")).expect("reads").count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_puts_of_one_content_at_once_have_one_key_and_one_replica() {
    let (_registry, peers) = zone(&[16 << 20; 4]).await;
    let content: Vec<u8> = (0..4u32 << 20).map(|at| (at / 13).to_le_bytes()[0]).collect();
    let path = peers[0].folder.path().join("put twice.bin");
    put(&path, &content);
    let ask = PutAsk { content: PutContent::Path(path), name: None, replicas: 1 };
    let (one, two) = tokio::join!(try_put(&peers[0], ask.clone()), try_put(&peers[0], ask));
    let best = &ranked(&peers, &content)[..1];
    assert_eq!((&*one.expect("kept").sources, &*two.expect("kept").sources), (best, best));
    assert_eq!(holders(&peers, &content), best);
    let gone = unput(&peers[0], "put twice.bin").await.expect("its own");
    assert_eq!((&*gone.released_by, holders(&peers, &content).len()), (best, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_ask_one_keeper_at_once_share_its_pull() {
    let (_registry, peers) = zone(&[0, 16 << 20]).await;
    let content: Vec<u8> = (0..8u32 << 20).map(|at| (at / 13).to_le_bytes()[0]).collect();
    put(&peers[0].share().join("asked twice.bin"), &content);
    soon("the scan", peers[0].handle.rescan()).await.expect("scans");
    peers[0].peer.until_hashed().await;
    let owner = peers[0].peer.view().now().me.id;
    let ask = pb::KeepRequest {
        content_hash: hash(&content).as_bytes().to_vec().into(),
        size_bytes: content.len() as u64,
        name: "asked twice.bin".into(),
        replicas: 1,
        owner_tag: vec![1; 32].into(),
        owner_id: owner.as_bytes().to_vec().into(),
        source_id: owner.as_bytes().to_vec().into(),
    };
    let address = format!("http://{}", peers[1].peer.address());
    let keep = async || {
        let mut client = ReplicaServiceClient::connect(address.clone()).await.expect("connects");
        let mut answers = client.keep(ask.clone()).await.expect("answers").into_inner();
        let mut said = 0;
        while soon("the keeper's word", answers.message()).await.expect("no refusal").is_some() {
            said += 1;
        }
        said
    };
    assert_eq!(tokio::join!(keep(), keep()), (2, 2), "each hears of the beginning and of the end");
    assert_eq!(holders(&peers, &content), ["peer1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_was_full_when_it_joined_is_asked_again_when_it_has_room() {
    let (_registry, mut peers) = zone(&[0, 20]).await;
    put_text(&peers[0], "twelve bytes 0", 1).await.expect("kept");
    let (settings, folder) = take(&mut peers, "peer1").kill().await;
    let back = TestPeer::start_with(settings, folder).await;
    let is_full = |now: &floodplain::peer::Knowledge| {
        now.roster.iter().flat_map(|roster| roster.members()).any(|member| member.room_bytes == 6)
    };
    soon("the roster", peers[0].peer.view().until(is_full)).await;
    unput(&peers[0], "twelve bytes 0.txt").await.expect("its own");
    let kept = put_text(&peers[0], "twelve bytes 1", 1).await.expect("it has room");
    assert_eq!(kept.sources, [back.name]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_put_makes_no_copy_beside_those_of_the_first() {
    let (_registry, mut peers) = zone(&[1 << 20; 5]).await;
    let content = b"put once more";
    let best = ranked(&peers, content).remove(0);
    let away = take(&mut peers, &best);
    let (settings, folder) = away.kill().await;
    for peer in &peers {
        peer.until_zone_has(4).await;
    }
    let first = put_text(&peers[0], "put once more", 2).await.expect("kept").sources;
    peers.push(TestPeer::start_with(settings, folder).await);
    for peer in &peers {
        peer.until_zone_has(5).await;
    }
    let mut second = put_text(&peers[0], "put once more", 2).await.expect("kept").sources;
    second.sort_by_key(|name| first.iter().position(|had| had == name));
    assert_eq!((second, holders(&peers, content).len()), (first, 2));
    let other = put_text(&peers[1], "put once more", 1).await.expect_err("it has an owner");
    assert_eq!(other.kind, ErrorKind::Refused);
}
