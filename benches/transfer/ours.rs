//! This program's own upload and download, as processes that the benchmark starts.

use std::{
    fs,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use floodplain::{
    net::{Identity, Security, Transport, throttle::Throttle},
    peer::{
        channels::Channels,
        download::{DownloadAsk, Downloader, Source},
        transfers::Transfers,
        upload::{FastDownload, Uploads},
    },
    protocol::{
        action::{FileInfo, TransferState},
        bucket::RateLimits,
        id::{ContentHash, PeerId},
        piece::{Tree, TreeHasher},
        plan::FileName,
    },
    shutdown::Shutdown,
    store::read::{FileSource, SourceError, SourceFile},
};
use futures::{StreamExt, future::try_join_all};
use tonic::service::Routes;

use crate::{
    rivals::Server,
    stand_in::{Answers, StandIn},
};

/// As many as a peer has unless told otherwise.
const UPLOAD_SLOTS: usize = 8;

struct OneFile(PathBuf, Tree);

impl FileSource for OneFile {
    fn open(&self, what: &FileName) -> Result<SourceFile, SourceError> {
        if *what != FileName::Hash(self.1.root()) {
            return Err(SourceError::NotFound);
        }
        let file = fs::File::open(&self.0)?;
        let metadata = file.metadata()?;
        let info = FileInfo {
            hash: Some(self.1.root()),
            path: "share/copy".into(),
            size_bytes: metadata.len(),
            modified: metadata.modified()?,
        };
        SourceFile::new(file, info)
    }

    fn tree(&self, hash: &ContentHash) -> Option<Tree> {
        (*hash == self.1.root()).then(|| self.1.clone())
    }
}

/// As the index makes it, before anything is measured.
fn tree_of(file: &Path) -> Result<Tree> {
    let (mut file, mut buffer) = (fs::File::open(file)?, vec![0; 256 << 10]);
    let mut hasher = TreeHasher::new(file.metadata()?.len());
    loop {
        match file.read(&mut buffer)? {
            0 => return hasher.finish().context("the file changed"),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Stands behind the fast path for the methods that the benchmark does not call.
struct Rest;

impl Answers for Rest {}

fn transport() -> Transport {
    Transport::new(Identity::ephemeral(), Security::PlaintextLoopback)
}

/// A process that shares the file.
pub(crate) fn start(file: &Path, hash: ContentHash) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").arg(file).arg(hash.to_string());
    Server::start(command, |line| Some(line.to_owned()))
}

/// One process that downloads the file once into each of these folders.
pub(crate) fn get(server: &Server, hash: ContentHash, folders: &[PathBuf]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["get", &server.told, &hash.to_string()]).args(folders);
    Ok(command)
}

/// Prints its address, then serves until it is killed.
pub(crate) async fn serve(file: PathBuf, hash: ContentHash) -> Result<()> {
    let shutdown = Shutdown::new();
    let transfers = Transfers::new(1);
    let tree = tree_of(&file)?;
    ensure!(tree.root() == hash, "the file has another content");
    let source = Arc::new(OneFile(file, tree));
    let uploads = Uploads::new(source, UPLOAD_SLOTS, RateLimits::default(), transfers, shutdown.clone());
    let routes = Routes::new(FastDownload::new(uploads, StandIn::service(Rest)));
    let transport = transport();
    let listener = transport.listen("127.0.0.1:0".parse()?).await?;
    println!("{}", listener.address());
    transport.serve(listener, routes, None, &shutdown).await
}

/// Downloads into all the folders at once.
pub(crate) async fn fetch(address: SocketAddr, hash: ContentHash, folders: Vec<PathBuf>) -> Result<()> {
    let shutdown = Shutdown::new();
    let transfers = Transfers::new(folders.len());
    let channels = Channels::new(transport());
    let downloader = Downloader::new(channels, transfers, shutdown.clone(), Throttle::default());
    try_join_all(folders.into_iter().map(|folder| fetch_one(&downloader, address, hash, folder))).await?;
    drop(shutdown);
    Ok(())
}

async fn fetch_one(
    downloader: &Downloader,
    address: SocketAddr,
    hash: ContentHash,
    folder: PathBuf,
) -> Result<()> {
    let source = Source { peer_id: PeerId::from_bytes([1; 32]), name: "bench".into(), address };
    let ask = DownloadAsk {
        what: FileName::Hash(hash),
        sources: vec![source],
        destination: folder,
        name: None,
        finder: None,
    };
    let mut events = downloader.start(ask)?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let transfer = last.context("no event")?;
    ensure!(transfer.state == TransferState::Done, "{:?}", transfer.state);
    Ok(())
}
