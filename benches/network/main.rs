//! What a network costs: the first hit of a search, a zone of 24 processes under rising load and against plain fan-out, a
//! deep search that is dropped, the registry, a daemon's start
//! and its rest, downloads from several holders and of small files, the memory of both ends of a download, searches under attack. Each figure is
//! taken from the daemons themselves, over real gRPC on loopback.
//!
//! `cargo bench --bench network [-- first-hit|load|fanout|tree|registry|start|holders|small|memory|storm|tls|hostile|shelter]`; without a name, all of them. CPU and
//! memory are read from `/proc`, so that this runs on Linux alone.

#![allow(clippy::cast_precision_loss)] // figures to read, not to reckon with

#[path = "../../tests/support/attack.rs"]
mod attack;
mod daemon;
mod fanout;
mod first_hit;
#[path = "../../tests/support/frames.rs"]
mod frames;
mod heap;
mod holders;
mod hostile;
mod load;
mod measure;
#[path = "../../tests/support/member.rs"]
mod member;
mod memory;
#[path = "../../tests/support/raw.rs"]
mod raw;
mod registry;
mod shelter;
mod small;
#[path = "../../tests/support/stand_in.rs"]
mod stand_in;
mod start;
mod storm;
mod tls;
mod tree;
#[path = "../../tests/support/tree.rs"]
mod tree_registry;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    figure: Option<Figure>,
    /// Given by cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Figure {
    /// Time to the first hit and to the end of a search, against a plain echo.
    FirstHit {
        /// Searches of each kind.
        #[arg(long, default_value_t = 4000)]
        samples: u32,
        /// Only this kind, and no times, for tools that count instructions or system calls.
        #[arg(long)]
        only: Option<first_hit::Kind>,
    },
    /// A zone of real processes under rising load.
    Load {
        /// Peers.
        #[arg(long, default_value_t = 24)]
        peers: usize,
        /// Seconds at each rate.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
    /// A zone of real processes against the same peers asked by one client, one after another and all at once.
    Fanout {
        /// Peers.
        #[arg(long, default_value_t = 24)]
        peers: usize,
        /// Rounds, each with every kind of query.
        #[arg(long, default_value_t = 15)]
        rounds: usize,
    },
    /// A search seven hops deep that is dropped, or not read.
    Tree {
        /// Files of each peer that answer.
        #[arg(long, default_value_t = 20_000)]
        files: u32,
        /// Searches that are dropped, at each of three moments.
        #[arg(long, default_value_t = 50)]
        rounds: usize,
        /// Where files lie.
        #[arg(long, default_value = "/dev/shm")]
        folder: PathBuf,
    },
    /// CPU and memory of a registry process.
    Registry {
        /// Peers that register by unary calls.
        #[arg(long, default_value_t = 10_000)]
        peers: u16,
    },
    /// From exec to having joined, then twenty seconds of rest.
    Start {
        /// Starts of each kind.
        #[arg(long, default_value_t = 21)]
        rounds: usize,
    },
    /// Downloads from several holders with limited lines, and one that is killed half way.
    Holders {
        /// Size of the file.
        #[arg(long, default_value_t = 512)]
        size_mib: u64,
        /// Downloads of each kind.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Where files lie.
        #[arg(long, default_value = "/dev/shm")]
        folder: PathBuf,
    },
    /// A file of 1 KiB over a warm link, against a plain call of that size.
    Small {
        /// Downloads of each kind.
        #[arg(long, default_value_t = 4000)]
        samples: u32,
        /// In memory.
        #[arg(long, default_value = "/dev/shm")]
        memory: PathBuf,
        /// On a disk.
        #[arg(long, default_value = ".")]
        disk: PathBuf,
    },
    /// Own searches while one neighbor asks as much as it can.
    Storm {
        /// Searches of each kind.
        #[arg(long, default_value_t = 1000)]
        samples: u32,
    },
    /// Connections and calls under mutual TLS, against plaintext.
    Tls {
        /// Rounds, each with 20 connections and 200 calls of either kind.
        #[arg(long, default_value_t = 50)]
        rounds: u32,
    },
    /// Honest searches beside each attack of a hostile peer, and the memory that it adds.
    Hostile {
        /// Searches with and without each attack.
        #[arg(long, default_value_t = 1000)]
        samples: u32,
        /// Milliseconds between two searches.
        #[arg(long, default_value_t = 5)]
        pause: u64,
        /// Beginnings of the names of attacks; all of them without.
        only: Vec<String>,
    },
    /// A unary call with and without the shelter of every call.
    Shelter {
        /// Calls of each kind.
        #[arg(long, default_value_t = 20_000)]
        samples: u32,
    },
    /// The most memory of both ends of a transfer; writes up to 8 GiB.
    Memory {
        /// Where files lie.
        #[arg(long, default_value = "/dev/shm")]
        folder: PathBuf,
    },
}

fn main() -> Result<()> {
    let args = Args::parse();
    let all = [
        Figure::FirstHit { samples: 4000, only: None },
        Figure::Load { peers: 24, seconds: 5 },
        Figure::Fanout { peers: 24, rounds: 15 },
        Figure::Tree { files: 20_000, rounds: 50, folder: "/dev/shm".into() },
        Figure::Registry { peers: 10_000 },
        Figure::Start { rounds: 21 },
        Figure::Holders { size_mib: 512, rounds: 5, folder: "/dev/shm".into() },
        Figure::Small { samples: 4000, memory: "/dev/shm".into(), disk: ".".into() },
        Figure::Memory { folder: "/dev/shm".into() },
        Figure::Storm { samples: 1000 },
        Figure::Tls { rounds: 50 },
        Figure::Hostile { samples: 1000, pause: 5, only: Vec::new() },
        Figure::Shelter { samples: 20_000 },
    ];
    let figures = args.figure.map_or_else(|| Vec::from(all), |figure| vec![figure]);
    // As many workers as a daemon has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for figure in figures {
        println!("load average at the start: {}", measure::load_average());
        // On a worker, as everything in a daemon runs.
        runtime.block_on(runtime.spawn(async move {
            match figure {
                Figure::FirstHit { samples, only: None } => first_hit::run(samples).await,
                Figure::FirstHit { samples, only: Some(kind) } => first_hit::run_one(samples, kind).await,
                Figure::Load { peers, seconds } => load::run(peers, seconds).await,
                Figure::Fanout { peers, rounds } => fanout::run(peers, rounds).await,
                Figure::Tree { files, rounds, folder } => tree::run(files, rounds, &folder).await,
                Figure::Registry { peers } => registry::run(peers).await,
                Figure::Start { rounds } => tokio::task::block_in_place(|| start::run(rounds)),
                Figure::Holders { size_mib, rounds, folder } => {
                    tokio::task::block_in_place(|| holders::run(size_mib, rounds, &folder))
                }
                Figure::Small { samples, memory, disk } => small::run(samples, &memory, &disk).await,
                Figure::Storm { samples } => storm::run(samples).await,
                Figure::Tls { rounds } => tls::run(rounds).await,
                Figure::Hostile { samples, pause, only } => {
                    hostile::run(samples, std::time::Duration::from_millis(pause), &only).await
                }
                Figure::Shelter { samples } => shelter::run(samples).await,
                Figure::Memory { folder } => tokio::task::block_in_place(|| memory::run(&folder)),
            }
        }))??;
        println!();
    }
    Ok(())
}
