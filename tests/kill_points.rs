//! What a download leaves when the process is killed, or the disk fails, at any of its system calls: the file is whole
//! under its name or not there, and the next run ends it without fetching again what was written.
//!
//! Each run is a child of this binary under ptrace, with all its threads: killed before or after its Nth call that
//! changes the folder, in the middle of a write, or given an error in place of that call. By default every few calls are
//! taken; `FLOODPLAIN_EVERY_KILL_POINT=1` takes all.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "support/kill.rs"]
mod kill;

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Instant,
};

use bytes::Bytes;
use floodplain::{
    protocol::piece::{Tree, TreeHasher},
    shutdown::Shutdown,
    store::{
        StoreError,
        pieces::{PieceFile, part_path},
    },
};
use nix::{errno::Errno, libc};

use self::kill::{Act, Call, Traced};

/// Names the folder of a run to the child.
const FOLDER: &str = "FLOODPLAIN_KILL_POINTS";
/// Tells the child how much to write at a time.
const FRAME: &str = "FLOODPLAIN_KILL_POINTS_FRAME";
const SIZE_BYTES: usize = (5 << 20) + 7;
/// Of one write, so that there are more than 300 of them.
const FRAME_BYTES: usize = 16 << 10;
/// Where fewer points tell as much.
const LARGE_FRAME_BYTES: usize = 64 << 10;
const WRITERS: usize = 2;
/// Exit status of a child whose download failed, told on its standard output.
const FAILED: i32 = 3;

/// How a run ended.
#[derive(Debug)]
struct Ended {
    hit: Option<Call>,
    /// Bytes written so far of each piece.
    written: HashMap<usize, usize>,
    status: Option<i32>,
    told: String,
}

struct Run {
    folder: tempfile::TempDir,
}

impl Run {
    fn new(content: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("source"), content).expect("writes");
        Self { folder }
    }

    /// As a fetcher has it: the bytes from elsewhere, the values of the pieces, a folder to put the file in.
    fn given(folder: &Path) -> (Bytes, Tree, PathBuf) {
        let content = fs::read(folder.join("source")).expect("reads");
        let mut hasher = TreeHasher::new(content.len() as u64);
        hasher.update(&content);
        (content.into(), hasher.finish().expect("all bytes came"), folder.join("downloads/film.mkv"))
    }

    fn destination(&self) -> PathBuf {
        self.folder.path().join("downloads/film.mkv")
    }

    fn parts(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.folder.path().join("downloads")) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| *path != self.destination()).collect()
    }

    /// Runs a child and acts at its `number`th call, from 1. The child of 0 ends by itself.
    fn trace(&self, number: usize, act: Act, frame_bytes: usize) -> Ended {
        let mut command = kill::program(&std::env::current_exe().expect("has a path"));
        command.args(["--exact", "child", "--ignored", "--nocapture"]);
        command.env(FOLDER, self.folder.path()).env(FRAME, frame_bytes.to_string());
        let mut child = Traced::start(command, &[self.folder.path()], Some((number, act)));
        let mut told = String::new();
        child.stdout().read_to_string(&mut told).expect("reads");
        let kill::Ended { hit, done, status } = child.wait();
        let mut written: HashMap<usize, usize> = HashMap::new();
        for (call, bytes) in done {
            if call.number == libc::SYS_pwrite64
                && let Ok(bytes) = usize::try_from(bytes)
            {
                let piece = usize::try_from(call.offset >> 20).expect("fits");
                *written.entry(piece).or_default() += bytes;
            }
        }
        Ended { hit, written, status, told }
    }

    /// The next run, with nothing in its way. Gives the pieces that it fetched.
    fn finish(&self) -> HashSet<usize> {
        let (content, tree, destination) = Self::given(self.folder.path());
        let (path, fetched) = block_on(download(content, tree, destination, 1 << 20)).expect("downloads");
        assert_eq!(path, self.destination());
        fetched
    }

    fn is_exact(&self, content: &[u8]) -> bool {
        match fs::read(self.destination()) {
            Ok(found) => {
                assert!(found == content, "a wrong file is under its final name");
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                false
            }
        }
    }
}

/// What a fetcher does: asks for what is missing, over two streams. Gives the path and the pieces that were missing.
async fn download(
    content: Bytes,
    tree: Tree,
    destination: PathBuf,
    frame_bytes: usize,
) -> Result<(PathBuf, HashSet<usize>), StoreError> {
    let layout = tree.layout();
    let folder = destination.parent().expect("has one");
    let part = part_path(folder, &tree.root(), "film.mkv");
    let (part, there) = PieceFile::open(part, tree, &Shutdown::new()).await?;
    let missing: Vec<u32> = there.gaps().flatten().collect();
    let mut streams = tokio::task::JoinSet::new();
    for pieces in missing.chunks(missing.len().div_ceil(WRITERS).max(1)) {
        let (pieces, part, content) = (pieces.to_vec(), part.clone(), content.clone());
        streams.spawn(async move {
            for piece in pieces {
                let bytes = layout.range(piece);
                let mut writer = part.writer(bytes.start);
                let (start, end) = (usize::try_from(bytes.start), usize::try_from(bytes.end));
                let (start, end) = (start.expect("fits"), end.expect("fits"));
                let mut is_right = false;
                for at in (start..end).step_by(frame_bytes) {
                    let checked = writer.write(content.slice(at..(at + frame_bytes).min(end))).await?;
                    is_right |= checked.iter().any(|checked| checked.piece == piece && checked.is_right);
                }
                assert!(is_right, "piece {piece} is not what was written");
            }
            Ok::<_, StoreError>(())
        });
    }
    for stream in streams.join_all().await {
        stream?;
    }
    let path = part.publish(&destination).await?;
    Ok((path, missing.into_iter().map(|piece| piece as usize).collect()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("starts").block_on(future)
}

#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (content, tree, destination) = Run::given(Path::new(&folder));
    let frame_bytes = std::env::var(FRAME).expect("is set").parse().expect("a number");
    match block_on(download(content, tree, destination, frame_bytes)) {
        Ok(_) => std::process::exit(0),
        Err(error) => {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            println!("{error}: {source}");
            std::process::exit(FAILED);
        }
    }
}

fn content() -> Vec<u8> {
    (0..SIZE_BYTES as u64).map(|at| (at % 251 + 1).to_le_bytes()[0] ^ (at >> 20).to_le_bytes()[0]).collect()
}

/// Acts at every call, or with smaller frames at every few unless all are asked for, one run each, until a run ends
/// without it. Gives how many there were, give or take those few.
fn at_every_call(act: Act, frame_bytes: usize, check: impl Fn(&Run, &Ended)) -> usize {
    let (content, began) = (content(), Instant::now());
    let takes_all = std::env::var_os("FLOODPLAIN_EVERY_KILL_POINT").is_some_and(|value| value == "1");
    // Smaller frames make more points of one kind.
    let step = if takes_all { 1 } else { ((1 << 18) / frame_bytes).clamp(1, 4) };
    let first: usize = rand::random_range(1..=step);
    for number in (first..).step_by(step) {
        let run = Run::new(&content);
        let ended = run.trace(number, act, frame_bytes);
        let was_hit = ended.hit.is_some();
        if !was_hit {
            assert_eq!(ended.status, Some(0), "an undisturbed run fails: {}", ended.told);
            assert!(run.is_exact(&content));
            let elapsed = began.elapsed();
            println!("every {step}th of {} points of {act:?} from {first} on in {elapsed:?}", number - 1);
            return number - 1;
        }
        check(&run, &ended);
    }
    unreachable!("a run ends")
}

/// The next run must end it, and fetch no more than what was not whole.
fn after_a_kill(run: &Run, ended: &Ended) {
    let content = content_once();
    assert_eq!(ended.status, None, "it ended before the kill: {}", ended.told);
    if run.is_exact(content) {
        assert!(run.parts().is_empty(), "left {:?}", run.parts());
        return;
    }
    let fetched = run.finish();
    let again =
        fetched.iter().filter(|piece| ended.written.get(piece).is_some_and(|&bytes| bytes > 0)).count();
    assert!(again <= WRITERS, "fetched {again} pieces again: {ended:?}");
    for (piece, &bytes) in &ended.written {
        let is_whole = bytes == (SIZE_BYTES - (piece << 20)).min(1 << 20);
        assert!(!(is_whole && fetched.contains(piece)), "piece {piece} was whole: {ended:?}");
    }
    assert!(run.is_exact(content));
    assert!(run.parts().is_empty(), "left {:?}", run.parts());
}

fn content_once() -> &'static [u8] {
    static CONTENT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    CONTENT.get_or_init(content)
}

/// An error is told, and no wrong file is there.
fn after_an_error(run: &Run, ended: &Ended) {
    let Call { number: call, file, .. } = ended.hit.clone().expect("was hit");
    let is_exact = run.is_exact(content_once());
    match ended.status {
        Some(0) => assert!(is_exact, "success without a file: {ended:?}"),
        Some(FAILED) => {
            assert!(!is_exact, "a file in spite of the error: {ended:?}");
            assert!(ended.told.contains("downloads"), "does not say where it failed: {ended:?}");
            assert!(ended.told.contains("(os error "), "does not say why it failed: {ended:?}");
            let is_part = file.to_string_lossy().ends_with(".fp-part");
            if call == libc::SYS_fsync && is_part {
                assert!(ended.told.contains("removed"), "{ended:?}");
                assert!(run.parts().is_empty(), "trusts a part that did not reach the disk");
            } else if is_part && call != libc::SYS_openat {
                assert_eq!(run.parts().len(), 1, "nothing is left for a resume: {ended:?}");
            }
            run.finish();
            assert!(run.is_exact(content_once()));
        }
        _ => panic!("it crashed: {ended:?}"),
    }
    assert!(run.parts().is_empty(), "left {:?}", run.parts());
}

#[test]
fn a_kill_before_any_call_costs_a_piece_a_writer_at_most() {
    let points = at_every_call(Act::KillBefore, FRAME_BYTES, after_a_kill);
    assert!(points > 300, "only {points} points");
}

#[test]
fn a_kill_after_any_call_costs_a_piece_a_writer_at_most() {
    let points = at_every_call(Act::KillAfter, FRAME_BYTES, after_a_kill);
    assert!(points > 300, "only {points} points");
}

#[test]
fn a_kill_in_the_middle_of_any_write_costs_a_piece_a_writer_at_most() {
    let points = at_every_call(Act::KillTorn, LARGE_FRAME_BYTES, after_a_kill);
    assert!(points > 80, "only {points} points");
}

#[test]
fn a_full_disk_at_any_call_is_told_and_leaves_the_part() {
    at_every_call(Act::Fail(Errno::ENOSPC), LARGE_FRAME_BYTES, after_an_error);
}

#[test]
fn a_file_too_large_for_the_disk_is_told() {
    at_every_call(Act::Fail(Errno::EFBIG), 1 << 20, |run, ended| {
        let call = ended.hit.as_ref().expect("was hit").number;
        if [libc::SYS_pwrite64, libc::SYS_ftruncate].contains(&call) {
            assert!(ended.told.contains("cannot grow to 5242887 bytes"), "{ended:?}");
        }
        assert_ne!(ended.status, Some(101), "it crashed: {ended:?}");
        run.is_exact(content_once());
    });
}

#[test]
fn a_failing_disk_at_any_call_is_told_and_leaves_no_wrong_file() {
    at_every_call(Act::Fail(Errno::EIO), LARGE_FRAME_BYTES, after_an_error);
}
