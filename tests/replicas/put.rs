//! What a put and its end leave where.

use floodplain::{
    protocol::{
        action::{ErrorKind, PutAsk, PutContent, Target, TransferState},
        id::PeerId,
    },
    wire::pb::{self, replica_service_client::ReplicaServiceClient},
};
use tonic::Code;

use crate::{
    support::{TestPeer, put, soon},
    zone::{hash, holders, put_text, ranked, replica, take, try_put, unput, until, zone},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_lies_with_the_best_scoring_peers_and_is_found_by_search() {
    let (_registry, peers) = zone(&[1 << 30; 5]).await;
    let content: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7).to_le_bytes()[0]).collect();
    let path = peers[0].folder.path().join("outside every share.bin");
    put(&path, &content);
    let ask = PutAsk { content: PutContent::Path(path.clone()), name: Some("kept.bin".into()), replicas: 2 };
    let ended = try_put(&peers[0], ask).await.expect("kept");
    assert_eq!(
        (ended.hash, ended.size_bytes, ended.done_bytes),
        (Some(hash(&content)), 3_000_000, 3_000_000)
    );
    let best = &ranked(&peers, &content)[..2];
    let mut told = ended.sources.clone();
    let mut there = holders(&peers, &content);
    told.sort();
    there.sort_unstable();
    let mut best: Vec<&str> = best.iter().map(String::as_str).collect();
    best.sort_unstable();
    assert_eq!((told.iter().map(String::as_str).collect::<Vec<_>>(), there), (best.clone(), best));
    std::fs::remove_file(path).expect("removes");
    let (hits, _) = peers[3].search("kept ext:bin").await;
    assert_eq!((hits.len(), hits[0].holders.len(), hits[0].file.hash), (1, 2, Some(hash(&content))));
    let to = tempfile::tempdir().expect("a folder");
    let got = peers[3].get(Target::Hash(hash(&content)), to.path()).await;
    assert_eq!(got.state, TransferState::Done);
    assert!(std::fs::read(got.path.expect("published")).expect("reads") == content);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_kept_and_only_its_owner_takes_it_back() {
    let (_registry, peers) = zone(&[1 << 20; 4]).await;
    let text = "meet at noon, by the river";
    let ended = put_text(&peers[1], text, 2).await.expect("kept");
    assert_eq!(ended.name, "meet at noon, by the river.txt");
    let stranger = unput(&peers[2], &hash(text.as_bytes()).to_string()).await.expect_err("not its own");
    assert_eq!(stranger.kind, ErrorKind::Refused);
    let second = put_text(&peers[2], text, 2).await.expect_err("another owner");
    assert_eq!(second.kind, ErrorKind::Refused);
    assert_eq!(holders(&peers, text.as_bytes()).len(), 2);
    let gone = unput(&peers[1], "meet at noon, by the river.txt").await.expect("its own");
    assert_eq!((gone.released_by.len(), gone.unreachable.len()), (2, 0));
    assert!(holders(&peers, text.as_bytes()).is_empty());
    soon("the index to follow", async { while !peers[3].search("noon river").await.0.is_empty() {} }).await;
    assert_eq!(
        unput(&peers[1], &hash(text.as_bytes()).to_string()).await.expect_err("gone").kind,
        ErrorKind::Refused
    );
    put_text(&peers[2], text, 2).await.expect("now it may be another's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_is_made_up_for_and_its_return_leaves_as_many_as_wanted() {
    let (_registry, mut peers) = zone(&[1 << 20; 5]).await;
    let content = b"a file that outlives its holders";
    let text = std::str::from_utf8(content).expect("text");
    put_text(&peers[0], text, 2).await.expect("kept");
    let best = ranked(&peers, content).remove(0);
    let killed = take(&mut peers, &best);
    let (settings, folder) = killed.kill().await;
    until("the repair", || holders(&peers, content).len() == 2).await;
    let back = TestPeer::start_with(settings, folder).await;
    assert!(replica(&back, content).is_some(), "a restart keeps what is kept");
    peers.push(back);
    until("the surplus to go", || holders(&peers, content).len() == 2).await;
    let best = &ranked(&peers, content)[..2];
    assert!(holders(&peers, content).iter().all(|name| best.iter().any(|best| best == name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_hands_over_first() {
    let (_registry, mut peers) = zone(&[1 << 20; 4]).await;
    let content = b"handed over";
    put_text(&peers[0], "handed over", 1).await.expect("kept");
    let best = ranked(&peers, content).remove(0);
    let leaving = take(&mut peers, &best);
    soon("the leave", leaving.peer.leave()).await;
    assert_eq!(holders(&peers, content), [ranked(&peers, content)[0].as_str()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_room_is_passed_over_and_too_few_are_told() {
    let (_registry, mut peers) = zone(&[0, 10, 1 << 20, 10]).await;
    let ended = put_text(&peers[0], "longer than ten bytes", 2).await.expect("kept in part");
    assert_eq!(ended.sources, ["peer2"]);
    drop(take(&mut peers, "peer2").kill().await);
    for peer in &peers {
        peer.until_zone_has(3).await;
    }
    let refused = put_text(&peers[0], "another that is too long", 1).await.expect_err("no room");
    assert_eq!(refused.kind, ErrorKind::Refused);
    assert!(holders(&peers, b"another that is too long").is_empty());
    let puts = std::fs::read_dir(peers[0].settings.data.join("puts")).expect("reads").count();
    assert_eq!(puts, 1, "nothing is left of the one that failed");
    let small = put_text(&peers[0], "ten bytes.", 2).await.expect("fits");
    assert_eq!(small.sources.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_needs_no_registry() {
    let (registry, peers) = zone(&[1 << 20; 3]).await;
    let _kept = registry.stop().await;
    let ended = put_text(&peers[0], "by the last roster", 2).await.expect("kept");
    assert_eq!(ended.sources.len(), 2);
    assert_eq!(holders(&peers, b"by the last roster").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_was_away_does_not_bring_back_what_was_taken_back() {
    let (_registry, mut peers) = zone(&[1 << 20; 4]).await;
    let content = b"taken back meanwhile";
    let owner = ranked(&peers, content).pop().expect("four");
    let owner = peers.iter().position(|peer| peer.name == owner).expect("there");
    put_text(&peers[owner], "taken back meanwhile", 2).await.expect("kept");
    let owner = peers[owner].name.clone();
    let best = ranked(&peers, content).remove(0);
    let away = take(&mut peers, &best);
    let (settings, folder) = away.kill().await;
    for peer in &peers {
        peer.until_zone_has(3).await;
    }
    let at = peers.iter().position(|peer| peer.name == owner).expect("there");
    unput(&peers[at], &hash(content).to_string()).await.expect("its own");
    let back = TestPeer::start_with(settings, folder).await;
    until("the late release", || replica(&back, content).is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_believes_no_source_no_key_and_no_size_that_it_cannot_check() {
    let (_registry, peers) = zone(&[1 << 20; 3]).await;
    let content = b"what a stranger wants kept or gone";
    put_text(&peers[0], std::str::from_utf8(content).expect("text"), 1).await.expect("kept");
    let best = ranked(&peers, content).remove(0);
    let holder = peers.iter().find(|peer| peer.name == best).expect("there");
    let other = peers.iter().find(|peer| peer.name != best).expect("there");
    let client = |peer: &TestPeer| ReplicaServiceClient::connect(format!("http://{}", peer.peer.address()));
    let stranger = pb::ReleaseRequest {
        content_hash: hash(content).as_bytes().to_vec().into(),
        owner_key: vec![9; 32].into(),
    };
    let refused = client(holder).await.expect("connects").release(stranger).await.expect_err("not the key");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let ask = |source: PeerId, size_bytes| pb::KeepRequest {
        content_hash: hash(content).as_bytes().to_vec().into(),
        size_bytes,
        name: "x".into(),
        replicas: 1,
        owner_tag: vec![1; 32].into(),
        owner_id: vec![2; 32].into(),
        source_id: source.as_bytes().to_vec().into(),
    };
    let right = holder.peer.view().now().me.id;
    for (source, size, code) in [
        (PeerId::from_bytes([7; 32]), content.len() as u64, Code::FailedPrecondition),
        (right, 3, Code::Aborted),
        (right, 1 << 40, Code::ResourceExhausted),
    ] {
        let mut answers = client(other)
            .await
            .expect("connects")
            .keep(ask(source, size))
            .await
            .expect("answers")
            .into_inner();
        let refused = soon("the refusal", async {
            loop {
                if let Err(status) = answers.message().await.map(|said| said.expect("no end without a word"))
                {
                    return status;
                }
            }
        });
        assert_eq!(refused.await.code(), code);
    }
    assert_eq!(holders(&peers, content), [best.as_str()]);
    let left = std::fs::read_dir(other.folder.path().join("replicas/.incoming")).expect("reads").count();
    assert_eq!(left, 0);
}
