//! What the index costs: names a second, bytes hashed a second with and without their trees, CPU, memory and query times at
//! 100,000 files.
//!
//! `cargo bench --bench index [-- FILES]`, and `cargo bench --bench index -- million [FILES [FOLDER]]` for 1,000,000 names; the
//! files are made under `TMPDIR`, so set that to `/dev/shm` to leave the disk out, or in FOLDER, where they stay.

#[path = "index/million.rs"]
mod million;
#[path = "index/names.rs"]
mod names;

use std::{
    fs,
    io::Read,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use floodplain::{
    index::{Index, IndexSettings},
    protocol::{piece::TreeHasher, query::Query},
    shutdown::Shutdown,
};

const WORDS: [&str; 32] = [
    "annual", "report", "budget", "invoice", "photo", "holiday", "lecture", "notes", "draft", "final",
    "garden", "river", "flood", "plain", "meeting", "minutes", "summer", "winter", "music", "video",
    "thesis", "chapter", "design", "network", "letter", "contract", "recipe", "travel", "family", "archive",
    "backup", "sketch",
];
const EXTENSIONS: [&str; 8] = ["pdf", "txt", "jpg", "mp3", "mkv", "zip", "rs", "docx"];

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match args[..] {
        ["million"] => million::all(1_000_000, None),
        ["million", files] => million::all(files.parse()?, None),
        ["million", files, folder] => million::all(files.parse()?, Some(folder.into())),
        ["step", step, folder, files] => {
            runtime.block_on(million::step(step, Path::new(folder), files.parse()?))
        }
        _ => runtime.block_on(async {
            empty().await?;
            many(args.first().map_or(Ok(100_000), |files| files.parse())?).await?;
            large().await
        }),
    }
}

async fn empty() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let shutdown = Shutdown::new();
    let begun = Instant::now();
    let index = open(dir.path(), &shutdown)?;
    let opened = begun.elapsed();
    index.until_ready().await;
    println!("empty share: open {opened:?}, ready {:?}, RSS {} KiB", begun.elapsed(), rss_kib());
    let cpu = cpu_time();
    tokio::time::sleep(Duration::from_secs(5)).await;
    println!("idle CPU: {:?} in 5 s", cpu_time().saturating_sub(cpu));
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}

async fn many(count: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for number in 0..count {
        let word = |shift: usize| WORDS[(number.wrapping_mul(2_654_435_761) >> shift) % WORDS.len()];
        let folder = dir.path().join("share").join(word(3)).join((number / 1000).to_string());
        fs::create_dir_all(&folder)?;
        let extension = EXTENSIONS[number % EXTENSIONS.len()];
        fs::write(
            folder.join(format!("{} {} {number:06}.{extension}", word(13), word(18))),
            number.to_string(),
        )?;
    }
    let shutdown = Shutdown::new();
    let before = rss_kib();
    let (begun, cpu) = (Instant::now(), cpu_time());
    let index = open(dir.path(), &shutdown)?;
    index.until_ready().await;
    let scanned = begun.elapsed();
    println!(
        "{count} files: names in {scanned:?}, {:.0} names/s, {:?} CPU, RSS {} KiB (+{})",
        rate(count, scanned),
        cpu_time().saturating_sub(cpu),
        rss_kib(),
        rss_kib() - before
    );
    index.until_hashed().await;
    println!(
        "hashed in {:?}, {:.0} files/s, {:?} CPU, RSS {} KiB",
        begun.elapsed(),
        rate(count, begun.elapsed()),
        cpu_time().saturating_sub(cpu),
        rss_kib()
    );

    for text in [
        "annual report",
        "annual rep ext:pdf",
        "\"flood plain\"",
        "012345",
        "0123",
        "nowhere",
        "budget -draft",
        "ext:pdf",
        "type:video size:>4",
        "a",
        "size:>4",
    ] {
        let query = Query::parse(text)?;
        let mut times: Vec<Duration> = Vec::new();
        let mut found = 0;
        for _ in 0..200 {
            let begun = Instant::now();
            found = index.search(&query, 100).len();
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!("{text:24} {found:4} told   p50 {:>10.1?}   p99 {:>10.1?}", times[100], times[198]);
    }

    let mut changes = index.changes();
    let begun = Instant::now();
    fs::write(dir.path().join("share/one more zebra.txt"), "zebra")?;
    while index.find_path("share/one more zebra.txt").is_none() {
        changes.changed().await?;
    }
    println!("one new file among them: found after {:?}", begun.elapsed());
    let (begun, cpu) = (Instant::now(), cpu_time());
    index.rescan().await;
    println!("full walk without changes: {:?}, {:?} CPU", begun.elapsed(), cpu_time().saturating_sub(cpu));
    shutdown.drain(Duration::from_secs(10)).await;
    drop(index);

    let shutdown = Shutdown::new();
    let (begun, cpu) = (Instant::now(), cpu_time());
    let index = open(dir.path(), &shutdown)?;
    index.until_hashed().await;
    println!(
        "restart: names and hashes in {:?}, {:?} CPU, {} files read",
        begun.elapsed(),
        cpu_time().saturating_sub(cpu),
        index.files_read()
    );
    shutdown.drain(Duration::from_secs(10)).await;
    Ok(())
}

async fn large() -> anyhow::Result<()> {
    const BYTES: usize = 1 << 30;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("share/large.bin");
    fs::create_dir_all(dir.path().join("share"))?;
    fs::write(&path, vec![7; BYTES])?;
    // The index waits for fresh files to rest; this one has.
    fs::File::options().write(true).open(&path)?.set_modified(SystemTime::now() - Duration::from_secs(60))?;
    let shutdown = Shutdown::new();
    let (begun, cpu) = (Instant::now(), cpu_time());
    let index = open(dir.path(), &shutdown)?;
    index.until_hashed().await;
    let (took, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
    println!("1 GiB hashed in {took:?}, {:.0} MB/s, {cpu:?} CPU", rate(BYTES, took) / 1e6);
    shutdown.drain(Duration::from_secs(5)).await;
    tokio::task::block_in_place(|| hashers(&path, BYTES))
}

/// What the tree costs: a file read and hashed with and without it, in turns.
fn hashers(path: &Path, bytes: usize) -> anyhow::Result<()> {
    const ROUNDS: usize = 9;
    let mut buffer = vec![0; 256 << 10];
    let (mut plain, mut with_tree, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let mut hasher = blake3::Hasher::new();
        read_all(path, &mut buffer, |bytes| {
            hasher.update(bytes);
        })?;
        let root = hasher.finalize();
        plain.push(begun.elapsed());
        let begun = Instant::now();
        let mut hasher = TreeHasher::new(bytes as u64);
        read_all(path, &mut buffer, |bytes| hasher.update(bytes))?;
        let tree = hasher.finish().ok_or_else(|| anyhow::anyhow!("another size"))?;
        with_tree.push(begun.elapsed());
        anyhow::ensure!(tree.root().as_bytes() == root.as_bytes(), "another hash");
        ratios.push(with_tree[ratios.len()].as_secs_f64() / plain[ratios.len()].as_secs_f64());
    }
    plain.sort_unstable();
    with_tree.sort_unstable();
    ratios.sort_by(f64::total_cmp);
    println!(
        "1 GiB read and hashed by one thread: {:.0} MB/s, with its tree {:.0} MB/s; it takes {:.3} times as long",
        rate(bytes, plain[ROUNDS / 2]) / 1e6,
        rate(bytes, with_tree[ROUNDS / 2]) / 1e6,
        ratios[ROUNDS / 2]
    );
    Ok(())
}

fn read_all(path: &Path, buffer: &mut [u8], mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let mut file = fs::File::open(path)?;
    loop {
        match file.read(buffer)? {
            0 => return Ok(()),
            read => take(&buffer[..read]),
        }
    }
}

fn open(dir: &Path, shutdown: &Shutdown) -> anyhow::Result<Index> {
    Index::open(IndexSettings { shares: vec![dir.join("share")], data: dir.join("data") }, shutdown)
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^53
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Resident memory; 0 where the system does not tell it so.
fn rss_kib() -> i64 {
    status_kib("VmRSS:")
}

/// A line of `/proc/self/status`; 0 where the system has none.
fn status_kib(line: &str) -> i64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|told| told.strip_prefix(line));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// CPU time of this process, user and system, in the clock ticks of `/proc` (10 ms).
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}
