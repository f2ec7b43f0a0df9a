//! Secrets are in no log, however much is logged: the credential of a peer, its lease, the keys of what it put.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "support/network.rs"]
mod support;

use std::{
    fs,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use floodplain::protocol::action::{PutAsk, PutContent, TransferState};
use futures::StreamExt;
use support::{network, soon};

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

/// All the ways in which logs show bytes. Eight of them are enough to tell one secret from chance.
fn shown(secret: &[u8]) -> [String; 3] {
    let hex: Vec<String> = secret[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers: Vec<String> = secret[..8].iter().map(u8::to_string).collect();
    [hex.concat(), numbers.join(", "), secret[..8].escape_ascii().to_string()]
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[tokio::test]
async fn no_secret_is_logged_when_everything_is() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_env_filter("trace").with_writer(move || writer.clone()).init();
    let (registry, peers) = network(1, 3).await;
    let ask = PutAsk { content: PutContent::Text("a note".into()), name: None, replicas: 1 };
    let mut events = peers[0].handle.put(ask).await.unwrap();
    let mut is_known = false;
    while let Some(event) = soon("an event of the put", events.next()).await {
        // Nobody has room for it: it was tried all the same, with its key.
        is_known |= event.is_ok_and(|transfer| transfer.state != TransferState::Waiting);
    }
    peers[1].search("report").await;

    let mut secrets = Vec::new();
    for peer in &peers {
        let identity = fs::read_to_string(peer.settings.data.join("identity")).unwrap();
        secrets.push(("a credential", from_hex(&identity)));
        for put in fs::read_dir(peer.settings.data.join("puts")).unwrap() {
            let text = fs::read_to_string(put.unwrap().path()).unwrap();
            let put: serde_json::Value = serde_json::from_str(&text).unwrap();
            secrets.push(("a key of a put", from_hex(put["key"].as_str().unwrap())));
        }
    }
    let data = registry.settings.data.clone();
    let kept = registry.stop().await;
    let snapshot = fs::read(data.join("registry.snapshot")).unwrap();
    let saved = floodplain::registry::store::encode::decode(&snapshot).unwrap();
    secrets.extend(saved.peers.iter().map(|peer| ("a lease", from_hex(&peer.lease.reveal()))));
    assert!(secrets.len() >= 6 && is_known, "{} secrets", secrets.len());
    drop(kept);

    let text = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(text.contains("TRACE") && text.contains("joined the network"), "{} bytes of log", text.len());
    for (what, secret) in &secrets {
        for shown in shown(secret) {
            assert!(!text.contains(&shown), "{what} is in the log");
        }
    }
}
