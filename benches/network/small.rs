//! How long a file of 1 KiB takes over a warm link, against a plain tonic call that brings as many bytes. All of it in one
//! process, taken in turns. A download is timed from its start to its final event: asked for, hashed, brought to disk, renamed
//! to a name that is new each time, and the folder brought to disk. A `get` also finds the holder and keeps its job.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use floodplain::{
    net::{Purpose, throttle::Throttle},
    peer::{
        Peer,
        channels::Channels,
        download::{DownloadAsk, Downloader, Source},
        handle::Events,
        transfers::Transfers,
    },
    protocol::{
        action::{GetAsk, PeerPath, Target, Transfer, TransferState},
        id::{ContentHash, PeerId},
        plan::FileName,
    },
    shutdown::Shutdown,
    wire::{
        pb::{self, peer_service_client::PeerServiceClient},
        transfer::to_download_request,
    },
};
use futures::StreamExt;
use tonic::transport::Channel;

use crate::{
    first_hit::{echo, transport, zone},
    measure::{Times, micros},
};

const FILE_BYTES: usize = 1024;
/// Rounds before anything is counted.
const WARM_UP: u32 = 100;
/// A disk takes milliseconds for what memory does in microseconds: it is asked in every so many-th round.
const DISK_EVERY: u32 = 10;

/// Copies are made in `memory` and, for one row, in `disk`.
pub(crate) async fn run(samples: u32, memory: &Path, disk: &Path) -> Result<()> {
    let (memory, disk) = (tempfile::tempdir_in(memory)?, tempfile::tempdir_in(disk)?);
    let shutdown = Shutdown::new();
    let pair = zone(&memory.path().join("pair"), 2, &shutdown).await?;
    let (hash, path) = share_one(&pair[1], &memory.path().join("pair/1/docs")).await?;
    let source =
        Source { peer_id: PeerId::from_bytes([1; 32]), name: "peer1".into(), address: pair[1].address() };
    let mut plain = echo(Vec::new(), &shutdown).await?;
    let mut straight = PeerServiceClient::new(transport().dial(source.to(), Purpose::Link).await?);
    let channels = Channels::new(transport());
    // Held: the link stays warm.
    let _link = channels.to(source.to())?;
    let downloader =
        Downloader::new(channels, Transfers::new(4), shutdown.clone(), Throttle::<SocketAddr>::default());
    let download = |to: PathBuf| {
        let ask = DownloadAsk {
            what: FileName::Hash(hash),
            sources: vec![source.clone()],
            destination: to,
            name: None,
            finder: None,
        };
        Ok(downloader.start(ask)?)
    };

    let mut rows: [(&str, Times); 6] = [
        ("plain tonic unary call", Times::default()),
        ("the holder's Download, called directly", Times::default()),
        ("download, to memory", Times::default()),
        ("`get` by path, to memory", Times::default()),
        ("`get` by hash, to memory", Times::default()),
        ("download, to disk", Times::default()),
    ];
    for round in 0..samples + WARM_UP {
        let to = |kind: &str| memory.path().join(format!("{kind}{round}"));
        let by_path = Target::Path(PeerPath { peer: "peer1".into(), path: path.clone() });
        let mut took = vec![unary(&mut plain).await?, stream(&mut straight, hash).await?];
        took.push(timed(async { download(to("download")) }).await?);
        took.push(timed(get(&pair[0], by_path, to("path"))).await?);
        took.push(timed(get(&pair[0], Target::Hash(hash), to("hash"))).await?);
        if round % DISK_EVERY == 0 {
            took.push(timed(async { download(disk.path().join(round.to_string())) }).await?);
        }
        if round >= WARM_UP {
            rows.iter_mut().zip(took).for_each(|((_, row), took)| row.push(took));
        }
    }
    println!(
        "a file of 1 KiB, one process, warm link; copies in memory and on the disk of {}",
        disk.path().display()
    );
    println!("{:40} {:>6} {:>9} {:>9} {:>11} {:>6}", "", "count", "p50 us", "p99 us", "/ call, p50", "p99");
    let call = [0.5, 0.99].map(|part| micros(rows[0].1.quantile(part)));
    for (what, row) in &mut rows {
        let [p50, p99] = [0.5, 0.99].map(|part| micros(row.quantile(part)));
        let (count, against) = (row.count(), [p50 / call[0], p99 / call[1]]);
        println!("{what:40} {count:6} {p50:9.0} {p99:9.0} {:11.2} {:6.2}", against[0], against[1]);
    }
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}

/// A file of 1 KiB among those of the peer: its hash, and its path.
async fn share_one(peer: &Peer, share: &Path) -> Result<(ContentHash, String)> {
    let content: Vec<u8> = b"0123456789abcdef".repeat(FILE_BYTES / 16);
    std::fs::write(share.join("small.bin"), &content)?;
    peer.handle().rescan().await?;
    peer.until_hashed().await;
    Ok((ContentHash::from_bytes(*blake3::hash(&content).as_bytes()), "docs/small.bin".into()))
}

/// One call that is answered with as many bytes.
async fn unary(client: &mut PeerServiceClient<Channel>) -> Result<Duration> {
    let ask = pb::ListFilesRequest { path: "docs/small.bin".into(), ..Default::default() };
    let begun = Instant::now();
    let answer = client.list_files(ask).await?.into_inner();
    let took = begun.elapsed();
    ensure!(answer.next_page_token.len() == FILE_BYTES, "an echo of another size");
    Ok(took)
}

/// One download without anything behind it: its bytes are dropped.
async fn stream(client: &mut PeerServiceClient<Channel>, hash: ContentHash) -> Result<Duration> {
    let ask = to_download_request(&FileName::Hash(hash), 0, 1 << 20, true);
    let begun = Instant::now();
    let mut answers = client.download(ask).await?.into_inner();
    let mut bytes = 0;
    while let Some(answer) = answers.message().await? {
        bytes += answer.data.len();
    }
    let took = begun.elapsed();
    ensure!(bytes == FILE_BYTES, "{bytes} bytes came");
    Ok(took)
}

async fn get(peer: &Peer, target: Target, to: PathBuf) -> Result<Events<Transfer>> {
    Ok(peer.handle().get(GetAsk::new(target, Some(to))).await?)
}

/// From the start to the final event.
async fn timed(start: impl Future<Output = Result<Events<Transfer>>>) -> Result<Duration> {
    let begun = Instant::now();
    let mut events = start.await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let took = begun.elapsed();
    let transfer = last.context("no event")?;
    ensure!(transfer.state == TransferState::Done, "{:?}", transfer.state);
    let path = transfer.path.context("no path")?;
    ensure!(std::fs::metadata(path)?.len() == FILE_BYTES as u64, "not whole");
    Ok(took)
}
