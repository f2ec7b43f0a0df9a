//! The index at a size that no peer is likely to pass: each step in a process of its own that runs the index alone, over
//! files that are made once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant, UNIX_EPOCH},
};

use floodplain::{index::Index, protocol::query::Query, shutdown::Shutdown};

use super::{
    cpu_time,
    names::{Names, queries},
    open, rate, status_kib,
};

/// Times that each text is asked.
const ROUNDS: usize = 10;
/// Files told, as many as a peer sends for one query by default.
const TOLD: usize = 100;

/// Makes the files and starts a process for each step. In `kept` they stay, and are used again by the next call.
pub(crate) fn all(count: usize, kept: Option<PathBuf>) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = kept.unwrap_or_else(|| temporary.path().into());
    let share = dir.join("share");
    if !share.exists() {
        let begun = Instant::now();
        make(&share, count)?;
        println!("{count} files made in {:.0?}", begun.elapsed());
    }
    let _ = fs::remove_dir_all(dir.join("data"));
    for step in ["first", "again"] {
        let mut child = Command::new(std::env::current_exe()?);
        let status = child.args(["step", step]).arg(&dir).arg(count.to_string()).status()?;
        anyhow::ensure!(status.success(), "the step {step} failed: {status}");
    }
    Ok(())
}

fn make(share: &Path, count: usize) -> anyhow::Result<()> {
    let names = Names::new();
    let mut last = String::new();
    for number in 0..count {
        let file = names.file(number);
        let folder = share.join(&file.folder);
        if file.folder != last {
            fs::create_dir_all(&folder)?;
            last.clone_from(&file.folder);
        }
        // Holes have a size and take no memory.
        let made = fs::File::create(folder.join(&file.file))?;
        made.set_len(file.size_bytes)?;
        made.set_modified(UNIX_EPOCH + Duration::from_secs(file.modified_s))?;
    }
    Ok(())
}

/// One step, in the process that was started for it.
pub(crate) async fn step(step: &str, dir: &Path, count: usize) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let (begun, cpu) = (Instant::now(), cpu_time());
    let index = open(dir, &shutdown)?;
    index.until_ready().await;
    let took = begun.elapsed();
    println!(
        "{step}: names searchable after {took:.2?}, {:.0} a second, {:?} CPU; RSS {} MiB, at most {} MiB",
        rate(count, took),
        cpu_time().saturating_sub(cpu),
        status_kib("VmRSS:") / 1024,
        status_kib("VmHWM:") / 1024
    );
    index.until_hashed().await;
    println!(
        "{step}: whole after {:.2?}, {:?} CPU, {} files read; RSS {} MiB, at most {} MiB; {} files",
        begun.elapsed(),
        cpu_time().saturating_sub(cpu),
        index.files_read(),
        status_kib("VmRSS:") / 1024,
        status_kib("VmHWM:") / 1024,
        index.state().files
    );
    if step == "again" {
        asked(&index, count)?;
        beside(&index, dir)?;
    }
    shutdown.drain(Duration::from_secs(60)).await;
    Ok(())
}

/// Each kind of query with nothing beside it.
fn asked(index: &Index, count: usize) -> anyhow::Result<()> {
    println!(
        "{:28} {:>5} {:>10} {:>10} {:>10} {:>10}",
        "CPU time of", "told", "p50", "p99", "max", "(elapsed)"
    );
    for (kind, texts) in queries(&Names::new(), count) {
        let texts: Vec<Query> = texts.iter().map(|text| Query::parse(text)).collect::<Result<_, _>>()?;
        repeated(kind, &texts, |query| index.search(query, TOLD).len())?;
    }
    for text in ["documnet", "bifudo kezzzo", "qqqqqqqqqqqq"] {
        let query = Query::parse(text)?;
        repeated(&format!("near words: {text}"), &[query], |query| index.near_words(query).len())?;
    }
    repeated("keys of the summary", &[()], |()| usize::from(index.keys().1.is_some()))
}

/// Does a thing with each of several texts by turns, and prints what it costs. CPU time tells the same on a machine that has
/// other things to do; what elapses at most is beside it.
fn repeated<T>(what: &str, texts: &[T], mut once: impl FnMut(&T) -> usize) -> anyhow::Result<()> {
    let (mut times, mut told, mut longest) = (Vec::new(), 0, Duration::ZERO);
    for _ in 0..ROUNDS {
        for text in texts {
            let (begun, cpu) = (Instant::now(), thread_time()?);
            told += once(text);
            times.push(thread_time()?.saturating_sub(cpu));
            longest = longest.max(begun.elapsed());
        }
    }
    let told = told / times.len();
    let [p50, p99, max] = parts(times);
    println!("{what:28} {told:5} {p50:>10.1?} {p99:>10.1?} {max:>10.1?} {longest:>10.1?}");
    Ok(())
}

fn thread_time() -> anyhow::Result<Duration> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// How long a query of one file takes while others ask broad ones, and files come and go: what any lock costs it.
fn beside(index: &Index, dir: &Path) -> anyhow::Result<()> {
    let query = Query::parse("zebra")?;
    for (what, text) in
        [("nothing", ""), ("broad queries", "b"), ("negations", "bado -bado2"), ("rare sizes", "size:>70k")]
    {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| -> anyhow::Result<()> {
            if !text.is_empty() {
                let broad = Query::parse(text)?;
                let is_over = &is_over;
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        index.search(&broad, TOLD);
                    }
                });
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let _ = fs::write(dir.join("share/zebra.txt"), "z");
                        std::thread::sleep(Duration::from_millis(700));
                        let _ = fs::remove_file(dir.join("share/zebra.txt"));
                        std::thread::sleep(Duration::from_millis(700));
                    }
                });
            }
            let (mut times, first) = (Vec::new(), Instant::now());
            while first.elapsed() < Duration::from_secs(6) {
                let begun = Instant::now();
                index.search(&query, TOLD);
                times.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            is_over.store(true, Ordering::Relaxed);
            let [p50, p99, max] = parts(times);
            println!("elapsed, of a rare word beside {what}: p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// The middle, the hundredth part from above, and the longest.
fn parts(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort_unstable();
    [50, 99, 100].map(|part| times[(times.len() * part / 100).min(times.len() - 1)])
}
