//! Who fetches in these tests: the library's download into a folder of its own, with short waits for holders.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use floodplain::{
    net::{Identity, Security, Transport, throttle::Throttle},
    peer::{
        channels::Channels,
        download::{DownloadAsk, Downloader, Finder, Source},
        handle::Events,
        transfers::Transfers,
    },
    protocol::{
        action::{ActionError, Transfer, TransferControl, TransferState, Which},
        plan::{FileName, Patience},
    },
    shutdown::Shutdown,
};
use futures::{FutureExt, StreamExt};

use super::{
    holder::{Does, Holder},
    peer::ended,
};

/// Long enough for a busy machine, short enough for a test.
pub(crate) const PATIENCE: Patience = Patience {
    stall: Duration::from_secs(2),
    proof: Duration::from_secs(2),
    look: Duration::from_millis(200),
};

/// Bytes that differ from place to place, and from one seed to another.
pub(crate) fn content(size: usize, seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&size.to_le_bytes()).update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// Honest ones, as fast as a disk and no faster.
pub(crate) async fn honest<const N: usize>(names: [&str; N], bytes: &[u8]) -> [Holder; N] {
    let starting = names.map(|name| Holder::start(name, bytes, Does::Honest));
    let started = futures::future::join_all(starting).await;
    let started: Vec<Holder> = started.into_iter().map(|holder| holder.takes_micros(1000)).collect();
    started.try_into().unwrap_or_else(|_| unreachable!("as many as names"))
}

/// Holders that a search would find now.
#[derive(Clone, Default)]
pub(crate) struct Found(Arc<Mutex<Vec<Source>>>);

impl Found {
    pub(crate) fn are(&self, holders: &[&Holder]) {
        *self.0.lock().expect("not poisoned") = holders.iter().map(|holder| holder.source()).collect();
    }

    pub(crate) fn finder(&self) -> Finder {
        let found = self.0.clone();
        Finder::new(move || {
            let found = found.lock().expect("not poisoned").clone();
            async move { found }.boxed()
        })
    }
}

pub(crate) struct Fetcher {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) transfers: Transfers,
    pub(crate) shutdown: Shutdown,
    downloader: Downloader,
}

impl Fetcher {
    pub(crate) fn new() -> Self {
        Self::waiting(PATIENCE)
    }

    pub(crate) fn waiting(patience: Patience) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
        let (transfers, shutdown) = (Transfers::new(64), Shutdown::new());
        let channels = Channels::new(transport);
        let downloader = Downloader::new(channels, transfers.clone(), shutdown.clone(), Throttle::default())
            .with_patience(patience);
        Self { folder, transfers, shutdown, downloader }
    }

    /// Begins to fetch that content as `f`.
    pub(crate) fn begin(
        &self,
        what: FileName,
        holders: &[&Holder],
        finder: Option<Finder>,
    ) -> Events<Transfer> {
        let ask = DownloadAsk {
            what,
            sources: holders.iter().map(|holder| holder.source()).collect(),
            destination: self.folder.path().into(),
            name: Some("f".into()),
            finder,
        };
        self.downloader.start(ask).expect("starts")
    }

    /// Fetches what the first one has. At no moment is anything else under the file's name.
    pub(crate) async fn get(&self, holders: &[&Holder], bytes: &[u8]) -> Result<Transfer, ActionError> {
        let events = self.begin(holders[0].file(), holders, None);
        self.arrives(events, bytes).await
    }

    /// As [`Self::get`], what has begun.
    pub(crate) async fn arrives(
        &self,
        events: Events<Transfer>,
        bytes: &[u8],
    ) -> Result<Transfer, ActionError> {
        let file = self.folder.path().join("f");
        let right = bytes.to_vec();
        let checked = events.inspect(move |_| {
            if let Ok(there) = fs::read(&file) {
                assert!(there == right, "wrong bytes are under the name of the file");
            }
        });
        let got = ended(checked.boxed()).await?;
        assert_eq!(got.state, TransferState::Done);
        assert!(fs::read(got.path.as_ref().expect("published")).expect("reads") == bytes);
        assert_eq!(self.names(), ["f"], "nothing else is left");
        assert_eq!((got.done_bytes, got.size_bytes), (bytes.len() as u64, bytes.len() as u64));
        Ok(got)
    }

    /// What lies in its folder, parts included.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("reads");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let names = self.names().into_iter().filter(|name| name.ends_with(".fp-part"));
        names.map(|name| self.folder.path().join(name)).collect()
    }

    pub(crate) async fn control(&self, control: TransferControl) {
        self.transfers.control(Which::One(1), control).await.expect("runs");
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}
