//! One file over loopback, between two processes: this program's own upload and download against other ways.
//!
//! `cargo bench --bench transfer [-- one|tls|many] [--rqbit PATH] [--sendme PATH]`. Rounds are interleaved, under each congestion
//! control that the machine lets one set; a row is the median. Every way writes to the same file system, into a folder of
//! its own in each round, and is timed from the start of its processes to their end. Ours checks BLAKE3 of every byte,
//! brings the file to disk and gives it its name as well.

mod measure;
#[path = "../../tests/support/member.rs"]
mod member;
mod ours;
mod rivals;
#[path = "../../tests/support/stand_in.rs"]
mod stand_in;

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap::{Parser, Subcommand};
use floodplain::{
    net::{PrivateKey, To},
    protocol::id::{ContentHash, PeerId},
};

use self::{
    measure::{Run, Way, timed},
    rivals::{Nginx, NginxTls, PlainCopy, Rival, Rqbit, Sendme, Server},
};

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Where file and copies lie.
    #[arg(long, global = true, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Congestion controls to measure under, with commas between.
    #[arg(long, global = true, value_delimiter = ',', default_value = "bbr,cubic")]
    congestion: Vec<String>,
    /// The binary of rqbit; left out without it.
    #[arg(long, global = true)]
    rqbit: Option<PathBuf>,
    /// The binary of sendme; left out without it.
    #[arg(long, global = true)]
    sendme: Option<PathBuf>,
    /// Given by cargo.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Role {
    /// A file fetched once at a time, by each way in turn; what is done without a word.
    One {
        /// Size of the file.
        #[arg(long, default_value_t = 1024)]
        size_mib: u64,
        /// Runs of each way.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// The slow ways run in one of so many rounds.
        #[arg(long, default_value_t = 3)]
        rivals_every: usize,
    },
    /// The same between members of a closed network, against nginx to curl over TLS 1.3.
    Tls {
        /// Size of the file.
        #[arg(long, default_value_t = 1024)]
        size_mib: u64,
        /// Runs of each way.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// The slow ways run in one of so many rounds.
        #[arg(long, default_value_t = 3)]
        rivals_every: usize,
    },
    /// Many fetchers of one server at once, ours against nginx with as many curls.
    Many {
        /// How many, with commas between.
        #[arg(long, value_delimiter = ',', default_value = "16,64")]
        fetchers: Vec<usize>,
        /// Size of the file.
        #[arg(long, default_value_t = 64)]
        size_mib: u64,
        /// Runs of each way.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Shares one file; prints its address.
    #[command(hide = true)]
    Serve {
        file: PathBuf,
        hash: ContentHash,
        #[arg(long)]
        authority: Option<PathBuf>,
    },
    /// Downloads it into each folder, all at once.
    #[command(hide = true)]
    Get {
        address: SocketAddr,
        peer: PeerId,
        hash: ContentHash,
        folders: Vec<PathBuf>,
        #[arg(long)]
        authority: Option<PathBuf>,
    },
    #[command(hide = true)]
    PlainServe { file: PathBuf },
    #[command(hide = true)]
    PlainGet { address: String, copy: PathBuf },
}

fn main() -> Result<()> {
    let args = Args::parse();
    // As many threads as a daemon has.
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match &args.role {
        Some(Role::Serve { file, hash, authority }) => {
            runtime()?.block_on(ours::serve(file.clone(), *hash, authority.as_deref()))
        }
        Some(Role::Get { address, peer, hash, folders, authority }) => {
            let from = To { address: *address, peer: *peer };
            runtime()?.block_on(ours::fetch(from, *hash, authority.as_deref(), folders.clone()))
        }
        Some(Role::PlainServe { file }) => rivals::plain_serve(file),
        Some(Role::PlainGet { address, copy }) => rivals::plain_get(address, copy),
        Some(Role::One { size_mib, rounds, rivals_every }) => one(&args, *size_mib, *rounds, *rivals_every),
        Some(Role::Tls { size_mib, rounds, rivals_every }) => tls(&args, *size_mib, *rounds, *rivals_every),
        Some(Role::Many { fetchers, size_mib, rounds }) => many(&args, fetchers, *size_mib, *rounds),
        None => one(&args, 1024, 9, 3),
    }
}

/// A folder with the file to share in a folder of its own.
struct Place {
    home: tempfile::TempDir,
    file: PathBuf,
    hash: ContentHash,
}

impl Place {
    fn make(folder: &Path, size_mib: u64) -> Result<Self> {
        let home = tempfile::tempdir_in(folder)?;
        let file = home.path().join("file");
        let hash = make_file(&file, size_mib << 20)?;
        Ok(Self { home, file, hash })
    }

    /// Our own download, of so many copies at once by each of so many processes.
    fn ours(&self, server: &Server, processes: usize, copies: usize) -> Result<Run> {
        self.ours_of(None, server, processes, copies)
    }

    /// As a new member of that authority's network.
    fn ours_of(
        &self,
        authority: Option<&Path>,
        server: &Server,
        processes: usize,
        copies: usize,
    ) -> Result<Run> {
        let folders = tempfile::tempdir_in(self.home.path())?;
        let fetchers = (0..processes).map(|process| {
            let into = (0..copies).map(|copy| folders.path().join(format!("{process}-{copy}")));
            let into: Vec<PathBuf> = into.collect();
            into.iter().try_for_each(fs::create_dir)?;
            ours::get(server, self.hash, authority, &into)
        });
        timed(server.pid(), &fetchers.collect::<Result<Vec<_>>>()?)
    }

    fn theirs(&self, rival: &dyn Rival, processes: usize) -> Result<Run> {
        let folders = tempfile::tempdir_in(self.home.path())?;
        let fetchers = (0..processes).map(|process| -> Result<Command> {
            let folder = folders.path().join(process.to_string());
            fs::create_dir(&folder)?;
            Ok(rival.get(&folder))
        });
        timed(rival.pid(), &fetchers.collect::<Result<Vec<_>>>()?)
    }
}

fn one(args: &Args, size_mib: u64, rounds: usize, rivals_every: usize) -> Result<()> {
    let place = Place::make(&args.folder, size_mib)?;
    under_each(args, |control| {
        let server = ours::start(&place.file, place.hash, None)?;
        let mut rivals: Vec<Box<dyn Rival>> = vec![
            Box::new(Nginx::start(place.home.path(), &place.file)?),
            Box::new(PlainCopy::start(&place.file)?),
        ];
        let fast = rivals.len();
        // They open the file they serve for writing, or link it; our server calls that a change.
        let file = &place.home.path().join("theirs");
        if args.rqbit.is_some() || args.sendme.is_some() {
            fs::copy(&place.file, file)?;
        }
        match &args.rqbit {
            Some(binary) => rivals.push(Box::new(Rqbit::start(binary, file)?)),
            None => println!("without rqbit: its binary was not told with --rqbit"),
        }
        match &args.sendme {
            Some(binary) => rivals.push(Box::new(Sendme::start(binary, place.home.path(), file)?)),
            None => println!("without sendme: its binary was not told with --sendme"),
        }
        let mut ways = vec![Way::new("floodplain")];
        ways.extend(rivals.iter().map(|rival| Way::new(rival.name())));
        // The first round warms all up.
        for round in 0..=rounds {
            let ours = place.ours(&server, 1, 1)?;
            let mut runs = vec![(0, ours)];
            for (at, rival) in rivals.iter().enumerate() {
                if at < fast || round % rivals_every == 0 {
                    runs.push((at + 1, place.theirs(rival.as_ref(), 1)?));
                }
            }
            if round > 0 {
                for (way, run) in runs {
                    ways[way].add(run, ours);
                }
            }
        }
        println!("{control}, {size_mib} MiB, {rounds} rounds, medians");
        measure::print(size_mib, &ways);
        Ok(())
    })
}

fn tls(args: &Args, size_mib: u64, rounds: usize, rivals_every: usize) -> Result<()> {
    let place = Place::make(&args.folder, size_mib)?;
    let authority = place.home.path().join("authority.pem");
    PrivateKey::load_or_create(&authority)?;
    under_each(args, |control| {
        let closed = ours::start(&place.file, place.hash, Some(&authority))?;
        let open = ours::start(&place.file, place.hash, None)?;
        let nginx = NginxTls::start(place.home.path(), &place.file)?;
        let theirs = &place.home.path().join("theirs");
        let sendme = match &args.sendme {
            Some(binary) => {
                fs::copy(&place.file, theirs)?;
                Some(Sendme::start(binary, place.home.path(), theirs)?)
            }
            None => None,
        };
        let mut ways = vec![
            Way::new("floodplain, mutual TLS"),
            Way::new("floodplain, plaintext"),
            Way::new(nginx.name()),
        ];
        ways.extend(sendme.iter().map(|rival| Way::new(rival.name())));
        // The first round warms all up.
        for round in 0..=rounds {
            let ours = place.ours_of(Some(&authority), &closed, 1, 1)?;
            let mut runs = vec![ours, place.ours(&open, 1, 1)?, place.theirs(&nginx, 1)?];
            if let Some(sendme) = sendme.as_ref().filter(|_| round % rivals_every == 0) {
                runs.push(place.theirs(sendme, 1)?);
            }
            if round > 0 {
                ways.iter_mut().zip(runs).for_each(|(way, run)| way.add(run, ours));
            }
        }
        println!("{control}, {size_mib} MiB, {rounds} rounds, medians");
        measure::print(size_mib, &ways);
        Ok(())
    })
}

fn many(args: &Args, fetchers: &[usize], size_mib: u64, rounds: usize) -> Result<()> {
    let place = Place::make(&args.folder, size_mib)?;
    under_each(args, |control| {
        for &fetchers in fetchers {
            let server = ours::start(&place.file, place.hash, None)?;
            let alone = ours::start(&place.file, place.hash, None)?;
            let nginx = Nginx::start(place.home.path(), &place.file)?;
            let mut ways = [
                Way::new(format!("floodplain, {fetchers} processes")),
                Way::new(format!("floodplain, 1 process, {fetchers} downloads")),
                Way::new(format!("nginx, {fetchers} curls")),
            ];
            for round in 0..=rounds {
                let runs = [
                    place.ours(&server, fetchers, 1)?,
                    place.ours(&alone, 1, fetchers)?,
                    place.theirs(&nginx, fetchers)?,
                ];
                if round > 0 {
                    ways.iter_mut().zip(runs).for_each(|(way, run)| way.add(run, runs[0]));
                }
            }
            println!(
                "{control}, {fetchers} times {size_mib} MiB at once, {rounds} rounds, medians of the sum"
            );
            measure::print(size_mib * fetchers as u64, &ways);
        }
        Ok(())
    })
}

/// Under each congestion control; the machine's own is put back at the end, or there is nothing to choose.
fn under_each(args: &Args, mut measure: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let before = fs::read_to_string(CONGESTION).unwrap_or_default();
    let before = before.trim();
    println!("load average: {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let mut measured = Ok(());
    for control in &args.congestion {
        if fs::write(CONGESTION, control).is_err() {
            println!("{control} cannot be set here; running as {before}");
            return measure(before);
        }
        measured = measure(control);
        if measured.is_err() {
            break;
        }
    }
    let _ = fs::write(CONGESTION, before);
    measured
}

fn make_file(path: &Path, size_bytes: u64) -> Result<ContentHash> {
    let mut file = fs::File::create(path)?;
    let mut random = blake3::Hasher::new().finalize_xof();
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    for _ in 0..size_bytes >> 20 {
        random.fill(&mut chunk);
        hasher.update(&chunk);
        file.write_all(&chunk)?;
    }
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}
