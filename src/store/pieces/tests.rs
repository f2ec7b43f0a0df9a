use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    time::Duration,
};

use blake3::hazmat::{ChainingValue, Mode, merge_subtrees_non_root, merge_subtrees_root};
use tempfile::TempDir;

use super::*;
use crate::{protocol::piece::TreeHasher, store::inline::SLOW_WRITE};

const MIB: usize = 1 << 20;
/// Every edge of a piece.
const SIZES: [usize; 8] = [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB - 1, 5 * MIB + 7];

/// Something done to a part.
type Edit<'a> = &'a dyn Fn(&mut Vec<u8>);

struct Case {
    folder: TempDir,
    content: Bytes,
    tree: Tree,
    shutdown: Shutdown,
}

impl Case {
    fn new(size: usize) -> Self {
        let content: Vec<u8> =
            (0..size).map(|at| (at % 251 + 1).to_le_bytes()[0] ^ (at >> 20).to_le_bytes()[0]).collect();
        let mut hasher = TreeHasher::new(size as u64);
        hasher.update(&content);
        let tree = hasher.finish().expect("all bytes came");
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, content: content.into(), tree, shutdown: Shutdown::new() }
    }

    fn part(&self) -> PathBuf {
        part_path(self.folder.path(), &self.tree.root(), "film.mkv")
    }

    fn destination(&self) -> PathBuf {
        self.folder.path().join("film.mkv")
    }

    fn piece(&self, piece: u32) -> Bytes {
        let range = self.tree.layout().range(piece);
        self.content.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
    }

    async fn open(&self) -> (PieceFile, Vec<u32>) {
        let (part, there) = self.try_open().await.expect("opens");
        (part, there.ranges().flatten().collect())
    }

    async fn try_open(&self) -> Result<(PieceFile, PieceSet), StoreError> {
        PieceFile::open(self.part(), self.tree.clone(), &self.shutdown).await
    }

    async fn write(&self, part: &PieceFile, piece: u32) {
        let mut writer = part.writer(self.tree.layout().range(piece).start);
        let checked = writer.write(self.piece(piece)).await.expect("writes");
        assert_eq!(checked, [Checked { piece, is_right: true }]);
    }

    /// Brings what is missing and publishes.
    async fn finish(&self, part: PieceFile, there: &[u32]) {
        for piece in (0..self.tree.layout().pieces()).filter(|piece| !there.contains(piece)) {
            self.write(&part, piece).await;
        }
        assert_eq!(part.publish(&self.destination()).await.expect("publishes"), self.destination());
        assert!(fs::read(self.destination()).expect("reads") == self.content);
        assert_eq!(self.names(), ["film.mkv"]);
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn files_of_every_size() -> impl Iterator<Item = Case> {
    SIZES.into_iter().map(Case::new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_any_size_is_published_exact_whichever_way_it_comes() {
    for case in files_of_every_size() {
        for (frame, is_inline) in [(16_384, true), (300_001, false), (2 * MIB + 1, true)] {
            let (part, there) = case.open().await;
            assert!(there.is_empty());
            part.0.may_write_here.store(is_inline, Ordering::Relaxed);
            let mut writer = part.writer(0);
            let mut checked = Vec::new();
            for at in (0..case.content.len()).step_by(frame) {
                let bytes = case.content.slice(at..(at + frame).min(case.content.len()));
                checked.extend(writer.write(bytes).await.expect("writes"));
            }
            let pieces = 0..case.tree.layout().pieces();
            assert!(checked.into_iter().eq(pieces.map(|piece| Checked { piece, is_right: true })));
            assert_eq!(writer.offset(), case.content.len() as u64);
            drop(writer);
            case.finish(part, &(0..case.tree.layout().pieces()).collect::<Vec<_>>()).await;
            fs::remove_file(case.destination()).expect("removes");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_writers_fill_one_file() {
    let case = Case::new(24 * MIB + 5);
    let (part, _) = case.open().await;
    let mut writers = tokio::task::JoinSet::new();
    for stream in 0..8 {
        let (mut writer, content) = (part.writer(stream * 3 * MIB as u64), case.content.clone());
        let start = usize::try_from(stream).unwrap() * 3 * MIB;
        let end = if stream == 7 { content.len() } else { start + 3 * MIB };
        writers.spawn(async move {
            let mut right = 0;
            for at in (start..end).step_by(70_000) {
                let checked = writer.write(content.slice(at..(at + 70_000).min(end))).await.expect("writes");
                right += checked.into_iter().filter(|checked| checked.is_right).count();
            }
            right
        });
    }
    assert_eq!(writers.join_all().await.into_iter().sum::<usize>(), 25);
    case.finish(part, &(0..25).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn an_interrupted_file_is_gone_on_with_from_what_is_whole() {
    for case in files_of_every_size().filter(|case| case.content.len() > MIB) {
        let last = case.tree.layout().pieces() - 1;
        let (part, _) = case.open().await;
        case.write(&part, last).await;
        let mut torn = part.writer(0);
        let piece = case.piece(0);
        assert_eq!(torn.write(piece.slice(..piece.len() - 1)).await.expect("writes"), []);
        drop((part, torn));
        let (part, there) = case.open().await;
        assert_eq!(there, [last], "{} bytes", case.content.len());
        case.finish(part, &there).await;
    }
}

#[tokio::test]
async fn a_part_of_a_few_pieces_far_apart_is_mostly_hole() {
    let case = Case::new(40 * MIB);
    let (part, _) = case.open().await;
    for piece in [3, 17, 39] {
        case.write(&part, piece).await;
    }
    drop(part);
    let (part, there) = case.open().await;
    assert_eq!(there, [3, 17, 39]);
    case.finish(part, &there).await;
}

#[tokio::test]
async fn what_somebody_did_to_a_part_costs_the_pieces_it_hit() {
    for case in files_of_every_size() {
        let pieces = case.tree.layout().pieces();
        let whole = |_: &mut Vec<u8>| {};
        let longer = |bytes: &mut Vec<u8>| bytes.extend_from_slice(&vec![7; 3 * MIB]);
        let shorter = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len().saturating_sub(1));
        let first = |bytes: &mut Vec<u8>| bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        let last = |bytes: &mut Vec<u8>| bytes.iter_mut().rev().take(1).for_each(|byte| *byte ^= 0x80);
        let shifted = |bytes: &mut Vec<u8>| bytes.insert(0, 0);
        let zeroed = |bytes: &mut Vec<u8>| bytes.fill(0);
        let empty = |bytes: &mut Vec<u8>| bytes.clear();
        let all: Vec<u32> = (0..pieces).collect();
        let without_first = all.get(1..).unwrap_or_default().to_vec();
        let without_last = all[..all.len().saturating_sub(1)].to_vec();
        let edits: [(Edit<'_>, &[u32]); 8] = [
            (&whole, &all),
            (&longer, &all),
            (&shorter, &without_last),
            (&first, &without_first),
            (&last, &without_last),
            (&shifted, &[]),
            (&zeroed, &[]),
            (&empty, &[]),
        ];
        for (number, (edit, expected)) in edits.into_iter().enumerate() {
            let mut bytes = case.content.to_vec();
            edit(&mut bytes);
            fs::write(case.part(), &bytes).expect("writes");
            let (part, there) = case.open().await;
            assert_eq!(there, expected, "edit {number} of {} bytes", case.content.len());
            case.finish(part, &there).await;
            fs::remove_file(case.destination()).expect("removes");
        }
    }
}

#[tokio::test]
async fn the_part_of_another_content_is_worth_nothing() {
    let case = Case::new(3 * MIB);
    let other = Case::new(3 * MIB + 1);
    fs::write(case.part(), &other.content[5..]).expect("writes");
    let (part, there) = case.open().await;
    assert!(there.is_empty());
    assert_eq!(fs::metadata(case.part()).expect("is there").len(), 0);
    case.finish(part, &there).await;
}

#[tokio::test]
async fn what_is_no_part_of_ours_is_replaced_and_never_written_to() {
    for kind in ["link", "dead link", "loop", "other name", "pipe", "not to be written"] {
        let case = Case::new(2 * MIB);
        let outside = case.folder.path().join("precious");
        fs::write(&outside, &case.content).expect("writes");
        match kind {
            "link" => symlink(&outside, case.part()).expect("links"),
            "dead link" => symlink("nowhere", case.part()).expect("links"),
            "loop" => symlink(case.part(), case.part()).expect("links"),
            "other name" => fs::hard_link(&outside, case.part()).expect("links"),
            "pipe" => rustix::fs::mknodat(
                rustix::fs::CWD,
                case.part(),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .expect("makes"),
            _ => {
                fs::write(case.part(), b"read only").expect("writes");
                fs::set_permissions(case.part(), fs::Permissions::from_mode(0o444)).expect("sets");
            }
        }
        let (part, there) = case.open().await;
        assert!(there.is_empty(), "{kind}");
        for piece in 0..2 {
            let mut writer = part.writer(piece * MIB as u64);
            let wrong = writer.write(vec![1; MIB].into()).await.expect("writes");
            assert!(!wrong[0].is_right, "{kind}");
        }
        assert!(fs::read(&outside).expect("reads") == case.content, "{kind}");
        assert!(!case.folder.path().join("nowhere").exists());
        fs::remove_file(&outside).expect("removes");
        case.finish(part, &there).await;
    }
}

#[tokio::test]
async fn a_folder_in_the_place_of_the_part_is_named() {
    let case = Case::new(1);
    fs::create_dir(case.part()).expect("makes");
    let error = case.try_open().await.expect_err("a folder").to_string();
    assert!(error.contains(".film.mkv."), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_piece_is_told_and_may_come_again_and_a_right_one_stays() {
    let case = Case::new(2 * MIB);
    let (part, _) = case.open().await;
    let mut bent = case.piece(1).to_vec();
    bent[MIB - 1] ^= 1;
    let mut writer = part.writer(MIB as u64);
    let checked = writer.write(bent.clone().into()).await.expect("writes");
    assert_eq!(checked, [Checked { piece: 1, is_right: false }]);
    assert!(matches!(
        part.clone().publish(&case.destination()).await,
        Err(StoreError::Incomplete { missing: 2, .. })
    ));
    drop((part, writer));

    let (part, there) = case.open().await;
    assert!(there.is_empty());
    case.write(&part, 1).await;
    for is_inline in [true, false] {
        part.0.may_write_here.store(is_inline, Ordering::Relaxed);
        let checked = part.writer(MIB as u64).write(bent.clone().into()).await.expect("passes over");
        assert_eq!(checked, [Checked { piece: 1, is_right: true }]);
    }
    case.finish(part, &[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_is_called_right_only_when_the_file_holds_it_whoever_wrote_to_it_meanwhile() {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};
    const STEP: usize = MIB / 4;
    let (mut right, mut wrong) = (0, 0);
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let case = Case::new(2 * MIB);
        let (part, _) = case.open().await;
        let writers = rng.random_range(1..=2);
        let mut ways: Vec<_> = (0..writers)
            .map(|_| (part.writer((MIB + STEP * rng.random_range(0..2)) as u64), rng.random_ratio(1, 3)))
            .collect();
        while !ways.is_empty() {
            let at = rng.random_range(0..ways.len());
            let (writer, is_bent) = &mut ways[at];
            let from = usize::try_from(writer.offset()).unwrap();
            let mut bytes = case.content.slice(from..from + STEP).to_vec();
            if *is_bent {
                bytes[rng.random_range(0..STEP)] ^= 1;
            }
            for checked in writer.write(bytes.into()).await.expect("writes") {
                let holds = fs::read(part.path()).expect("reads")[MIB..] == case.content[MIB..];
                assert_eq!(checked, Checked { piece: 1, is_right: holds }, "seed {seed}");
                *if holds { &mut right } else { &mut wrong } += 1;
            }
            if from + STEP == 2 * MIB {
                ways.remove(at);
            }
        }
    }
    assert!(right > 0 && wrong > 0, "{right} right, {wrong} wrong");
}

#[tokio::test]
async fn bytes_behind_the_end_go_nowhere() {
    let case = Case::new(MIB + 1);
    let (part, _) = case.open().await;
    let mut writer = part.writer(MIB as u64);
    let checked = writer.write(Bytes::from([&case.piece(1)[..], b"more"].concat())).await.expect("writes");
    assert_eq!(checked, [Checked { piece: 1, is_right: true }]);
    assert_eq!(writer.write("and more".into()).await.expect("passes over"), []);
    assert_eq!(part.writer(u64::MAX).write("far".into()).await.expect("passes over"), []);
    assert_eq!(fs::metadata(part.path()).expect("is there").len(), MIB as u64 + 1);
    case.finish(part, &[1]).await;
}

#[tokio::test]
async fn nothing_is_written_to_a_published_file() {
    for is_inline in [true, false] {
        let case = Case::new(MIB);
        let (part, _) = case.open().await;
        part.0.may_write_here.store(is_inline, Ordering::Relaxed);
        let mut late = part.writer(0);
        case.finish(part, &[]).await;
        assert!(matches!(late.write("late".into()).await, Err(StoreError::Stopped)));
        assert!(fs::read(case.destination()).expect("reads") == case.content);
    }
}

#[tokio::test]
async fn two_transfers_of_one_content_have_a_part_each() {
    let case = Case::new(MIB + 1);
    let (one, _) = case.open().await;
    let (two, there) = case.open().await;
    assert!(there.is_empty());
    assert!(two.path().to_string_lossy().ends_with(".2.fp-part"), "{}", two.path().display());
    case.write(&one, 1).await;
    for piece in 0..2 {
        case.write(&two, piece).await;
    }
    let published = two.publish(&case.destination()).await.expect("publishes");
    assert_eq!(published, case.destination());
    case.write(&one, 0).await;
    let published = one.publish(&case.destination()).await.expect("publishes");
    assert_eq!(published, case.folder.path().join("film (1).mkv"));
    assert!(fs::read(published).expect("reads") == case.content);
    assert_eq!(case.names(), ["film (1).mkv", "film.mkv"]);
}

#[tokio::test]
async fn a_discarded_part_is_gone_and_a_dropped_one_stays() {
    let case = Case::new(MIB + 1);
    let (part, _) = case.open().await;
    case.write(&part, 0).await;
    drop(part);
    let (part, there) = case.open().await;
    assert_eq!(there, [0]);
    let mut late = part.writer(MIB as u64);
    part.discard().await;
    assert!(case.names().is_empty());
    assert!(late.write("x".into()).await.is_err());
}

#[tokio::test]
async fn a_part_that_was_taken_away_is_not_published() {
    let case = Case::new(1);
    for is_replaced in [false, true] {
        let (part, _) = case.open().await;
        case.write(&part, 0).await;
        fs::remove_file(part.path()).expect("removes");
        if is_replaced {
            fs::write(part.path(), b"foreign").expect("writes");
        }
        let refused = part.publish(&case.destination()).await;
        assert!(matches!(refused, Err(StoreError::Lost(_))), "{refused:?}");
        assert!(!case.destination().exists());
    }
    let (part, _) = case.open().await;
    fs::remove_file(part.path()).expect("removes");
    fs::write(part.path(), b"foreign").expect("writes");
    let foreign = part.path().to_path_buf();
    part.discard().await;
    assert_eq!(fs::read(foreign).expect("is there"), b"foreign");
}

#[tokio::test]
async fn a_hash_of_something_is_no_empty_file() {
    let case = Case::new(0);
    let lie = Tree::from_values(ContentHash::from_bytes([7; 32]), 0, &[]).expect("has no values");
    let refused = PieceFile::open(case.part(), lie, &case.shutdown).await;
    assert!(matches!(refused, Err(StoreError::Mismatch { .. })), "{refused:?}");
    assert!(case.names().is_empty());
}

#[tokio::test]
async fn what_cannot_fit_is_refused_and_leaves_what_is_there() {
    fn halves(values: &[ChainingValue]) -> (ChainingValue, ChainingValue) {
        let (left, right) = values.split_at(values.len() / 2);
        (subtree(left), subtree(right))
    }
    fn subtree(values: &[ChainingValue]) -> ChainingValue {
        if let [value] = values {
            return *value;
        }
        let (left, right) = halves(values);
        merge_subtrees_non_root(&left, &right, Mode::Hash)
    }
    let case = Case::new(1);
    let values = vec![[5; 32]; 16_384];
    let (left, right) = halves(&values);
    let root = ContentHash::from_bytes(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes());
    let huge = Tree::from_values(root, 1 << 60, &values.concat()).expect("merges");
    let refused = PieceFile::open(case.part(), huge, &case.shutdown).await;
    assert!(matches!(refused, Err(StoreError::NoSpace { .. })), "{refused:?}");
    assert!(case.names().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_ends_writing_and_opening_and_keeps_the_part() {
    let case = Case::new(MIB + 1);
    let (part, _) = case.open().await;
    case.write(&part, 0).await;
    let mut writer = part.writer(MIB as u64);
    case.shutdown.stop();
    assert!(matches!(writer.write("x".into()).await, Err(StoreError::Stopped)));
    drop((part, writer));
    let refused = case.try_open().await;
    assert!(matches!(refused, Err(StoreError::Stopped)), "{refused:?}");
    assert_eq!(case.names().len(), 1);
    assert_eq!(fs::read(case.part()).expect("reads").len(), MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_takes_a_few_threads_and_no_worker() {
    let case = Case::new(MIB + 1);
    let (part, _) = case.open().await;
    // As a write that hangs holds it; all that follows waits behind it.
    let hang = part.clone();
    let (told, is_hanging) = std::sync::mpsc::channel();
    let (release, until) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _stripe = hang.0.stripe(0).lock().expect("not poisoned");
        told.send(()).expect("is heard");
        until.recv().expect("is told");
    });
    is_hanging.recv().expect("hangs");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..3 * MAX_THREADS {
        let (mut writer, piece) = (part.writer(0), case.piece(0));
        writers.spawn(async move { writer.write(piece).await.map(|checked| checked.len()) });
    }
    while part.0.threads.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    // Both workers still run tasks, and other pieces are written.
    tokio::spawn(async {}).await.expect("runs");
    part.0.may_write_here.store(true, Ordering::Relaxed);
    // Another test may be at the disk just now.
    let written = loop {
        match part.0.write_here(MIB as u64, &case.piece(1)) {
            Some(written) => break written.expect("writes"),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!(written, Some(Checked { piece: 1, is_right: true }));
    release.send(()).expect("is heard");
    thread.join().expect("ends");
    for written in writers.join_all().await {
        assert_eq!(written.expect("writes"), 1);
    }
    case.finish(part, &[0, 1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_bytes_of_a_dropped_writer_are_not_written() {
    let case = Case::new(MIB);
    let (part, _) = case.open().await;
    part.0.may_write_here.store(false, Ordering::Relaxed);
    let hang = part.clone();
    let (told, is_hanging) = std::sync::mpsc::channel();
    let (release, until) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        let _stripe = hang.0.stripe(0).lock().expect("not poisoned");
        told.send(()).expect("is heard");
        until.recv().expect("is told");
    });
    is_hanging.recv().expect("hangs");
    let mut writer = part.writer(0);
    let late = tokio::spawn(async move { writer.write("late".into()).await });
    while part.0.threads.available_permits() == MAX_THREADS {
        tokio::task::yield_now().await;
    }
    late.abort();
    assert!(late.await.expect_err("was dropped").is_cancelled());
    release.send(()).expect("is heard");
    thread.join().expect("ends");
    let all = u32::try_from(MAX_THREADS).expect("few");
    drop(part.0.threads.acquire_many(all).await.expect("never closed"));
    assert_eq!(fs::metadata(part.path()).expect("is there").len(), 0);
    case.finish(part, &[]).await;
}

#[tokio::test]
async fn the_only_worker_of_a_runtime_does_not_wait_for_the_disk() {
    let case = Case::new(1);
    let (part, _) = case.open().await;
    assert!(part.0.write_here(0, &case.content).is_none());
    case.finish(part, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_and_a_large_piece_are_left_to_threads() {
    let case = Case::new(3);
    let (part, _) = case.open().await;
    // Another test may be at the disk just now.
    let written = async {
        while part.0.write_here(0, &case.content[..1]).is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), written).await.expect("writes here");
    part.0.timed(|| std::thread::sleep(SLOW_WRITE));
    assert!(part.0.write_here(1, &case.content[1..2]).is_none());
    case.finish(part, &[]).await;
}

#[test]
fn the_name_of_a_part_is_the_same_every_time_and_never_too_long() {
    let (folder, hash) = (Path::new("/d"), ContentHash::from_bytes([0xab; 32]));
    assert_eq!(part_path(folder, &hash, "a.txt"), Path::new("/d/.a.txt.abababababababab.fp-part"));
    for name in ["ä".repeat(200), "..".into(), String::new(), "../../x".into(), "a\0b".into()] {
        let path = part_path(folder, &hash, &name);
        assert_eq!(path.parent(), Some(folder), "{name}");
        let part = path.file_name().expect("has a name").to_string_lossy().into_owned();
        assert!(part.len() <= MAX_NAME_BYTES - NUMBER_BYTES && part.starts_with('.'), "{part}");
        assert!(part.ends_with(".abababababababab.fp-part"), "{part}");
    }
}

#[tokio::test]
async fn a_part_that_somebody_edits_after_its_check_is_not_published_and_costs_what_was_edited() {
    // Looked through by one thread, and by several.
    for size in [3 * MIB + 7, 20 * MIB] {
        let case = Case::new(size);
        let (part, _) = case.open().await;
        let pieces = case.tree.layout().pieces();
        case.write(&part, 0).await;
        let other = fs::File::options().write(true).open(part.path()).expect("opens");
        other.write_all_at(b"edited", 17).expect("writes");
        for piece in 1..pieces {
            case.write(&part, piece).await;
        }
        let refused = part.publish(&case.destination()).await;
        assert!(matches!(refused, Err(StoreError::Changed(_))), "{refused:?}");
        assert!(!case.destination().exists());
        let (part, there) = case.open().await;
        assert_eq!(there, (1..pieces).collect::<Vec<_>>());
        case.finish(part, &there).await;
    }
}

#[tokio::test]
async fn a_part_that_got_another_name_is_not_published() {
    let case = Case::new(MIB);
    let (part, _) = case.open().await;
    case.write(&part, 0).await;
    let other = case.folder.path().join("other");
    fs::hard_link(part.path(), &other).expect("links");
    let refused = part.publish(&case.destination()).await;
    assert!(matches!(refused, Err(StoreError::Changed(_))), "{refused:?}");
    let (part, there) = case.open().await;
    assert!(there.is_empty());
    fs::remove_file(other).expect("removes");
    case.finish(part, &there).await;
}

#[test]
fn a_look_tells_of_every_write() {
    let file = tempfile::NamedTempFile::new().expect("makes");
    fs::write(file.path(), b"some").expect("writes");
    let look = proof::Look::at(file.as_file()).expect("looks");
    assert!(look.is_still_so(file.as_file()));
    let then = file.as_file().metadata().expect("looks").modified().expect("has a time");
    file.as_file().write_all_at(b"S", 0).expect("writes");
    file.as_file().set_modified(then).expect("sets back");
    assert!(!look.is_still_so(file.as_file()), "its time was set back, and still");
}

#[tokio::test]
async fn a_part_begins_with_what_its_seed_has() {
    for size in [1, MIB, 20 * MIB + 7] {
        let case = Case::new(size);
        let elsewhere = tempfile::tempdir().expect("a folder");
        let open = |seed| PieceFile::open_with(case.part(), case.tree.clone(), Some(seed), &case.shutdown);
        let all: Vec<u32> = (0..case.tree.layout().pieces()).collect();
        let whole = elsewhere.path().join("whole");
        fs::write(&whole, &case.content).expect("writes");
        let (part, there) = open(Seed::File(whole.clone())).await.expect("opens");
        assert_eq!(there.ranges().flatten().collect::<Vec<_>>(), all);
        case.finish(part, &all).await;
        assert!(fs::read(&whole).expect("stays") == case.content);
        fs::remove_file(case.destination()).expect("removes");

        let left = elsewhere.path().join(".left.fp-part");
        let mut edited = case.content.to_vec();
        edited[0] ^= 1;
        fs::write(&left, &edited).expect("writes");
        let (part, there) = open(Seed::Part(left.clone())).await.expect("opens");
        assert_eq!(
            there.ranges().flatten().collect::<Vec<_>>(),
            all[1..],
            "what is wrong of it is not believed"
        );
        assert!(!left.exists(), "it was moved");
        case.finish(part, &all[1..]).await;
        fs::remove_file(case.destination()).expect("removes");

        for seed in [Seed::File(left.clone()), Seed::Part(left)] {
            let (part, there) = open(seed).await.expect("goes on without");
            assert!(there.is_empty());
            part.discard().await;
        }
        assert!(case.names().is_empty());
    }
}

#[tokio::test]
async fn of_two_parts_the_fuller_one_is_gone_on_with() {
    for is_fuller in [true, false] {
        let case = Case::new(5 * MIB);
        let left = case.folder.path().join(".left.fp-part");
        let (own, seed) = if is_fuller { (1, 4) } else { (3, 2) };
        fs::write(case.part(), &case.content[..own * MIB]).expect("writes");
        fs::write(&left, &case.content[..seed * MIB]).expect("writes");
        let opening = PieceFile::open_with(
            case.part(),
            case.tree.clone(),
            Some(Seed::Part(left.clone())),
            &case.shutdown,
        );
        let (part, there) = opening.await.expect("opens");
        let there: Vec<u32> = there.ranges().flatten().collect();
        assert_eq!(there.len(), own.max(seed));
        assert!(!left.exists());
        case.finish(part, &there).await;
    }
}

#[tokio::test]
async fn a_part_that_another_transfer_has_is_neither_taken_over_nor_removed() {
    let (case, other) = (Case::new(2 * MIB), Case::new(2 * MIB));
    let (live, _) = other.open().await;
    other.write(&live, 0).await;
    fs::create_dir_all(case.folder.path()).expect("is there");
    fs::write(case.part(), b"own").expect("writes");
    let seed = Seed::Part(live.path().to_path_buf());
    let (part, there) = PieceFile::open_with(case.part(), case.tree.clone(), Some(seed), &case.shutdown)
        .await
        .expect("opens");
    assert!(there.is_empty() && live.path().exists());
    remove_parts(live.path());
    assert!(is_taken(live.path()) && live.path().exists());
    other.finish(live, &[0]).await;
    drop(part);
    fs::write(case.part().with_file_name(".film.mkv.0000000000000000.2.fp-part"), b"x").expect("writes");
    assert!(!is_taken(&case.part()));
    remove_parts(&case.part());
    assert_eq!(case.names(), [".film.mkv.0000000000000000.2.fp-part"], "that of another content stays");
}
