//! The pulls of a keeper beside what its person fetches.

use floodplain::protocol::{
    action::{GetAsk, PutAsk, PutContent, Target, TransferControl, Which},
    bucket::RateLimits,
    zone::Layout,
};
use futures::StreamExt;

use crate::{
    support::{TestPeer, TestRegistry, put, soon},
    zone::{holders, keeper, put_text, try_put, until},
};

const MIB: usize = 1 << 20;

/// An owner that keeps nothing, and a keeper that fetches one file at a time, slowly.
async fn owner_and_keeper(bytes_per_second: u64) -> (TestRegistry, TestPeer, TestPeer) {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 3 }).await;
    let owner = keeper(&registry, "owner", 0).await;
    put(&owner.share().join("long.bin"), &vec![7; 16 * MIB]);
    soon("the scan", owner.handle.rescan()).await.expect("scans");
    owner.peer.until_hashed().await;
    let slow = TestPeer::start_changed(registry.address, "slow", &[], |settings| {
        settings.replica_space = 1 << 30;
        settings.download_slots = 1;
        settings.download_limits = RateLimits { whole: bytes_per_second, per_peer: 0 };
    })
    .await;
    for peer in [&owner, &slow] {
        peer.until_zone_has(2).await;
    }
    (registry, owner, slow)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_needs_no_download_slot_of_the_keepers_person() {
    let (_registry, owner, slow) = owner_and_keeper(MIB as u64).await;
    let to = tempfile::tempdir().expect("a folder");
    let target = Target::Hash(crate::zone::hash(&vec![7; 16 * MIB]));
    let mut own = slow.handle.get(GetAsk::new(target, Some(to.path().into()))).await.expect("begins");
    soon("the person's own download to run", async {
        while own.next().await.expect("goes on").expect("no error").done_bytes == 0 {}
    })
    .await;
    let ended = put_text(&owner, "small", 1).await.expect("kept");
    assert_eq!(ended.sources, ["slow"]);
    let own = own.next().await.expect("goes on").expect("no error");
    assert!(own.done_bytes < own.size_bytes, "the put was to end first: {own:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_all_transfers_holds_no_pull_and_does_not_list_it() {
    let (_registry, owner, slow) = owner_and_keeper(2 * MIB as u64).await;
    let content = vec![9; 4 * MIB];
    let path = owner.folder.path().join("pulled.bin");
    put(&path, &content);
    let ask = PutAsk { content: PutContent::Path(path), name: None, replicas: 1 };
    let incoming = slow.folder.path().join("replicas/.incoming");
    let meanwhile = async {
        until("the pull to begin", || std::fs::read_dir(&incoming).is_ok_and(|found| found.count() > 0))
            .await;
        let paused = slow.handle.control_transfers(Which::All, TransferControl::Pause).await;
        (paused.expect("answers"), slow.handle.transfers().await.expect("answers"))
    };
    let (ended, (paused, listed)) = tokio::join!(try_put(&owner, ask), meanwhile);
    assert_eq!((paused, listed), (0, vec![]));
    ended.expect("kept");
    assert_eq!(std::fs::read_dir(incoming).expect("reads").count(), 0);
    assert_eq!(holders(&[slow], &content), ["slow"]);
}
