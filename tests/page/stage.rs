//! A network of daemons, and the page of one of them.

use std::{fs, path::PathBuf};

use crate::browser::Browser;
use crate::daemons::{Daemon, Daemons};

/// A registry and peers, each with its gateway on a port of its own.
pub(crate) struct Stage {
    pub(crate) daemons: Daemons,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { daemons: Daemons::new() }
    }

    /// Starts a peer; shares are made before.
    pub(crate) fn peer(&self, name: &str, settings: &[&str]) -> Daemon {
        let mut all = vec!["HTTP_LISTEN=127.0.0.1:0"];
        all.extend(settings);
        self.daemons.peer(name, &all)
    }

    /// A file in a peer's share.
    pub(crate) fn share(&self, peer: &str, name: &str, bytes: &[u8]) {
        let path = self.daemons.at(peer).join("share").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn at(&self, peer: &str) -> PathBuf {
        self.daemons.at(peer)
    }

    /// Where its gateway listens.
    pub(crate) fn address(&self, peer: &str) -> String {
        fs::read_to_string(self.at(peer).join("data/gateway/address")).unwrap().trim_end().to_owned()
    }

    pub(crate) fn page(&self, peer: &str, view: &str) -> String {
        format!("http://{}/#/{view}", self.address(peer))
    }

    /// A link that opens its page once, as `floodplain web` prints it.
    pub(crate) fn link(&self, peer: &str) -> String {
        let printed = self.daemons.ok(peer, "web");
        printed.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned()
    }

    /// A browser in which the page of that peer is open and knows its peer.
    pub(crate) async fn browser(&self, peer: &str) -> Browser {
        let browser = Browser::start().await;
        browser.open(&self.link(peer)).await;
        browser.until("document.querySelector('#connection')?.dataset.state === 'connected'").await;
        browser
    }

    /// Waits until that many peers are in the peer's zone.
    pub(crate) fn zone_has(&self, peer: &str, peers: u32) {
        self.daemons.until(peer, "--json status", &format!("\"zone_peers\":{peers}"));
    }
}

/// Bytes that no two calls with different seeds have in common.
pub(crate) fn noise(seed: u8, size_bytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; size_bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}
