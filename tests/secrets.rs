//! Secrets are in no log, however much is logged: the credential of a peer, its lease, the keys of what it put, its key,
//! the authority's, and what an invite lets in by.

#![allow(clippy::unwrap_used)]

#[path = "support/secrets.rs"]
mod secrets;
#[allow(dead_code)]
#[path = "support/network.rs"]
mod support;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use floodplain::{
    config::PeerSettings,
    protocol::{
        action::{PutAsk, PutContent, TransferState},
        zone::Layout,
    },
};
use futures::StreamExt;
use secrets::Secret;
use support::{TestPeer, TestRegistry, soon};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_when_everything_is() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_env_filter("trace").with_writer(move || writer.clone()).init();
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 3 }).await;
    let mut peers = Vec::new();
    for name in ["one", "two", "three"] {
        let room = |settings: &mut PeerSettings| settings.replica_space = 64 << 20;
        peers
            .push(TestPeer::start_changed(registry.address, name, &[("a report.txt", b"words")], room).await);
    }
    peers[0].until_zone_has(3).await;
    let ask = PutAsk { content: PutContent::Text("a note".into()), name: None, replicas: 1 };
    let mut events = peers[0].handle.put(ask).await.unwrap();
    let mut last = None;
    while let Some(event) = soon("an event of the put", events.next()).await {
        last = Some(event.unwrap().state);
    }
    assert_eq!(last, Some(TransferState::Done), "its key is kept");
    peers[1].search("report").await;

    let mut secrets: Vec<Secret> =
        peers.iter().flat_map(|peer| secrets::of_peer(&peer.settings.data)).collect();
    let data = registry.settings.data.clone();
    let _kept = registry.stop().await;
    secrets.extend(secrets::of_registry(&data));
    let count = |secrets: &[Secret], what: &str| secrets.iter().filter(|secret| secret.what == what).count();
    assert_eq!(["a credential", "a key of a put", "a lease"].map(|what| count(&secrets, what)), [3, 1, 3]);

    // A closed network.
    let registry = TestRegistry::start_closed(Layout::Elastic { min: 6, target: 16, max: 24 }).await;
    let (mut settings, folder) =
        TestPeer::settings(registry.address, "ana", &[("a report.txt", b"words")], |_| ());
    (settings.insecure_loopback, settings.invite) = (false, registry.invite.clone());
    let ana = TestPeer::start_with(settings, folder).await;
    ana.search("report").await;
    secrets.push(Secret::of_invite(&registry.invite.clone().expect("closed").to_string()));
    secrets.extend(secrets::of_peer(&ana.settings.data));
    drop(ana.kill().await);
    let data = registry.settings.data.clone();
    let _kept = registry.stop().await;
    secrets.extend(secrets::of_registry(&data));
    let kinds = ["the token of an invite", "a peer's key", "an authority's key", "a lease"];
    assert_eq!(kinds.map(|what| count(&secrets, what)), [1, 1, 1, 4]);

    let text = secrets::text(&log.0.lock().unwrap());
    let told = ["TRACE", "joined the network", "let a peer in"];
    assert!(told.iter().all(|told| text.contains(told)), "{} bytes of log", text.len());
    for secret in &secrets {
        assert!(!secret.is_in(&text), "{} is in the log", secret.what);
    }
}
