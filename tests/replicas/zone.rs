//! A zone of keepers, and what is asked of it.

use std::{path::PathBuf, time::Duration};

use floodplain::protocol::{
    action::{ActionError, Direction, PutAsk, PutContent, Transfer, TransferState, Unput},
    id::{ContentHash, PeerId},
    placement,
    zone::Layout,
};
use futures::StreamExt;

use crate::support::{TestPeer, TestRegistry, soon};

pub(crate) const GRACE: Duration = Duration::from_millis(300);

pub(crate) fn hash(content: &[u8]) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(content).as_bytes())
}

pub(crate) async fn keeper(registry: &TestRegistry, name: &str, space: u64) -> TestPeer {
    TestPeer::start_changed(registry.address, name, &[], |settings| {
        settings.replica_space = space;
        settings.replica_grace = GRACE;
    })
    .await
}

/// Peers of one zone, each with so much space for the network.
pub(crate) async fn zone(spaces: &[u64]) -> (TestRegistry, Vec<TestPeer>) {
    let size = u32::try_from(spaces.len()).expect("few");
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: size + 1 }).await;
    let mut peers = Vec::new();
    for (number, space) in spaces.iter().enumerate() {
        peers.push(keeper(&registry, &format!("peer{number}"), *space).await);
    }
    for peer in &peers {
        peer.until_zone_has(size).await;
    }
    (registry, peers)
}

/// Where a peer has the content among its replicas.
pub(crate) fn replica(peer: &TestPeer, content: &[u8]) -> Option<PathBuf> {
    let folder = std::fs::read_dir(peer.folder.path().join("replicas")).ok()?;
    folder
        .flatten()
        .map(|entry| entry.path())
        .find(|path| std::fs::read(path).is_ok_and(|read| read == content))
}

pub(crate) fn holders<'a>(peers: &'a [TestPeer], content: &[u8]) -> Vec<&'a str> {
    peers.iter().filter(|peer| replica(peer, content).is_some()).map(|peer| &*peer.name).collect()
}

/// Looks until it is so; there is nothing to be told by when another peer has dropped a file.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    soon(what, async {
        while !is_so() {
            look.tick().await;
        }
    })
    .await;
}

pub(crate) async fn try_put(peer: &TestPeer, ask: PutAsk) -> Result<Transfer, ActionError> {
    let mut events = peer.handle.put(ask).await?;
    let mut last = None;
    while let Some(event) = soon("a put's event", events.next()).await {
        last = Some(event?);
    }
    let transfer = last.expect("at least one event");
    assert_eq!(transfer.direction, Direction::Put);
    match transfer.state {
        TransferState::Failed(error) => Err(error),
        TransferState::Done => Ok(transfer),
        other => panic!("ended as {other:?}"),
    }
}

pub(crate) async fn put_text(peer: &TestPeer, text: &str, replicas: usize) -> Result<Transfer, ActionError> {
    let ask = PutAsk { content: PutContent::Text(text.into()), name: None, replicas };
    try_put(peer, ask).await
}

pub(crate) async fn unput(peer: &TestPeer, what: &str) -> Result<Unput, ActionError> {
    soon("the release", peer.handle.unput(what.into())).await
}

pub(crate) fn ranked(peers: &[TestPeer], content: &[u8]) -> Vec<String> {
    let mut ids: Vec<(PeerId, String)> =
        peers.iter().map(|peer| (peer.peer.view().now().me.id, peer.name.clone())).collect();
    placement::rank(&hash(content), &mut ids, |(id, _)| *id);
    ids.into_iter().map(|(_, name)| name).collect()
}

pub(crate) fn take(peers: &mut Vec<TestPeer>, name: &str) -> TestPeer {
    let at = peers.iter().position(|peer| peer.name == name).expect("a peer of that name");
    peers.remove(at)
}
