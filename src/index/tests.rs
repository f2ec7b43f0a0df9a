use std::{
    fs,
    io::Read,
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::protocol::{piece::TreeHasher, query::matches};

/// For what is to happen by itself, on a machine with other things to do; far less than the time between two walks, so that
/// a change that is seen within it was seen live.
const LONG: Duration = Duration::from_secs(60);

struct Peer {
    index: Index,
    shutdown: Shutdown,
    dir: TempDir,
}

impl Peer {
    fn open_in(dir: TempDir) -> Self {
        let shutdown = Shutdown::new();
        let settings =
            IndexSettings { shares: vec![dir.path().join("share")], data: dir.path().join("data") };
        Self { index: Index::open(settings, &shutdown).unwrap(), shutdown, dir }
    }

    async fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(&dir.path().join("share").join(path), text);
        }
        let peer = Self::open_in(dir);
        tokio::time::timeout(LONG, peer.index.until_hashed()).await.unwrap();
        peer
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join("share").join(inside)
    }

    fn paths(&self, query: &str) -> Vec<String> {
        let found = self.index.search(&Query::parse(query).unwrap(), 1000);
        found.into_iter().map(|file| file.path).collect()
    }

    async fn within(&self, time: Duration, is_so: impl Fn(&Index) -> bool) -> bool {
        let mut changes = self.index.changes();
        let wait = async {
            while !is_so(&self.index) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(time, wait).await.is_ok()
    }

    /// Does something of which the keeper hears afterwards only, however long it takes: who takes a wish waits for who makes
    /// one.
    fn unseen<T>(&self, act: impl FnOnce() -> T) -> T {
        self.index.inner.wishes.make(|_| act())
    }

    async fn stop(self) -> TempDir {
        assert!(self.shutdown.drain(LONG).await, "the index did not stop");
        self.dir
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn hash(text: &str) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(text.as_bytes()).as_bytes())
}

fn has(index: &Index, path: &str, content: &str) -> bool {
    index.find_path(path).is_some_and(|file| file.hash == Some(hash(content)))
}

#[tokio::test]
async fn files_are_found_by_word_path_and_content() {
    let peer =
        Peer::with(&[("Docs/Annual Report.pdf", "one"), ("copy.pdf", "one"), ("other.txt", "two")]).await;
    assert_eq!(peer.paths("annual rep"), ["share/Docs/Annual Report.pdf"]);
    assert_eq!(peer.paths("ext:pdf"), ["share/copy.pdf", "share/Docs/Annual Report.pdf"]);
    assert_eq!(peer.index.find_hash(&hash("two")).unwrap().path, "share/other.txt");
    assert_eq!(peer.paths(&format!("hash:{}", hash("one"))).len(), 2);
    assert!(
        peer.index.find_path("share/Docs").is_none() && peer.index.find_path("share\0other.txt").is_none()
    );
    fs::remove_file(peer.path("copy.pdf")).unwrap();
    assert!(peer.within(LONG, |index| index.find_path("share/copy.pdf").is_none()).await);
    assert_eq!(peer.index.find_hash(&hash("one")).unwrap().path, "share/Docs/Annual Report.pdf");
    peer.stop().await;
}

#[tokio::test]
async fn names_are_found_before_their_hash_is_known() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("share/large.bin"), "");
    // 256 GiB of hole: takes minutes to read.
    fs::File::options()
        .write(true)
        .open(dir.path().join("share/large.bin"))
        .unwrap()
        .set_len(256 << 30)
        .unwrap();
    let peer = Peer::open_in(dir);
    tokio::time::timeout(LONG, peer.index.until_ready()).await.unwrap();
    assert_eq!(peer.paths("large"), ["share/large.bin"]);
    assert_eq!(peer.index.find_path("share/large.bin").unwrap().hash, None);
    assert_eq!(peer.index.state().hashed_files, 0);
    // And the stop does not wait for it.
    peer.stop().await;
}

#[tokio::test]
async fn adding_changing_and_deleting_are_seen_live() {
    let peer = Peer::with(&[("a.txt", "first")]).await;
    write(&peer.path("new/b.txt"), "b");
    assert!(peer.within(LONG, |index| has(index, "share/new/b.txt", "b")).await, "added");
    write(&peer.path("a.txt"), "second");
    assert!(peer.within(LONG, |index| has(index, "share/a.txt", "second")).await, "changed");
    assert!(peer.index.find_hash(&hash("first")).is_none());
    fs::remove_dir_all(peer.path("new")).unwrap();
    assert!(peer.within(LONG, |index| index.find_path("share/new/b.txt").is_none()).await, "deleted");
    assert!(peer.paths("b").is_empty());
    assert_eq!(peer.index.state(), IndexState { files: 1, bytes: 6, hashed_files: 1, is_scanning: false });
    peer.stop().await;
}

#[tokio::test]
async fn a_change_that_leaves_size_and_modification_as_they_were_is_noticed() {
    let peer = Peer::with(&[("a.txt", "first")]).await;
    let modified = fs::metadata(peer.path("a.txt")).unwrap().modified().unwrap();
    peer.unseen(|| {
        write(&peer.path("a.txt"), "FIRST");
        fs::File::options().write(true).open(peer.path("a.txt")).unwrap().set_modified(modified).unwrap();
    });
    assert!(peer.within(LONG, |index| has(index, "share/a.txt", "FIRST")).await);
    assert!(peer.index.find_hash(&hash("first")).is_none());
    peer.stop().await;
}

#[tokio::test]
async fn renamed_files_and_moved_folders_keep_their_hashes() {
    let peer = Peer::with(&[("a.txt", "a"), ("old/deep/b.txt", "b")]).await;
    let read = peer.index.files_read();
    fs::rename(peer.path("a.txt"), peer.path("c.txt")).unwrap();
    fs::rename(peer.path("old"), peer.path("new")).unwrap();
    let is_moved = |index: &Index| has(index, "share/c.txt", "a") && has(index, "share/new/deep/b.txt", "b");
    assert!(peer.within(LONG, is_moved).await);
    assert!(peer.within(LONG, |index| index.state().files == 2).await);
    assert_eq!(peer.index.files_read(), read);
    // Changes in the moved folder are seen as well.
    write(&peer.path("new/deep/c.txt"), "c");
    assert!(peer.within(LONG, |index| has(index, "share/new/deep/c.txt", "c")).await);
    peer.stop().await;
}

#[tokio::test]
async fn a_restart_reads_no_file_again() {
    let peer = Peer::with(&[("a.txt", "a"), ("b/c.txt", "c")]).await;
    assert_eq!(peer.index.files_read(), 2);
    let dir = peer.stop().await;
    write(&dir.path().join("share/b/c.txt"), "changed");
    let peer = Peer::open_in(dir);
    tokio::time::timeout(LONG, peer.index.until_hashed()).await.unwrap();
    assert!(has(&peer.index, "share/a.txt", "a") && has(&peer.index, "share/b/c.txt", "changed"));
    assert_eq!(peer.index.files_read(), 1);
    peer.stop().await;
}

#[tokio::test]
async fn nothing_but_regular_files_beneath_the_share_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    write(&dir.path().join("secret.txt"), "S");
    write(&share.join("sub/ok.txt"), "ok");
    write(&share.join(".hidden/x.txt"), "h");
    write(&share.join(".part-1"), "p");
    symlink("../secret.txt", share.join("link.txt")).unwrap();
    symlink("..", share.join("up")).unwrap();
    symlink("/dev/zero", share.join("zero")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, share.join("fifo"), fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let peer = Peer::open_in(dir);
    tokio::time::timeout(LONG, peer.index.until_hashed()).await.unwrap();
    assert_eq!(peer.paths("share"), ["share/sub/ok.txt"]);
    for path in [
        "share/../secret.txt",
        "share/link.txt",
        "share/up/secret.txt",
        "share/fifo",
        "share/zero",
        "share/sub",
        "share/.part-1",
        "/etc/passwd",
        "share/sub/../sub/ok.txt",
        "../secret.txt",
        "",
        "share",
    ] {
        assert!(matches!(peer.index.open_file(path), Err(IndexError::NotFound { .. })), "{path}");
    }
    let mut text = String::new();
    let mut open = peer.index.open_file("share/sub/ok.txt").unwrap();
    open.file.read_to_string(&mut text).unwrap();
    assert!(text == "ok" && open.is_unchanged().unwrap());
    peer.stop().await;
}

#[tokio::test]
async fn a_folder_swapped_for_a_link_after_indexing_is_refused() {
    let peer = Peer::with(&[("sub/a.txt", "ok")]).await;
    fs::rename(peer.path("sub"), peer.dir.path().join("away")).unwrap();
    // To the very same file: nothing but the link gives it away.
    symlink("../away", peer.path("sub")).unwrap();
    assert!(matches!(
        peer.index.open_file("share/sub/a.txt"),
        Err(IndexError::Changed { .. } | IndexError::NotFound { .. })
    ));
    assert!(peer.within(LONG, |index| index.state().files == 0).await);
    peer.stop().await;
}

#[tokio::test]
async fn a_file_that_changed_is_not_what_the_index_tells() {
    let peer = Peer::with(&[("a.txt", "first")]).await;
    let open = peer.index.open_file("share/a.txt").unwrap();
    assert!(open.is_unchanged().unwrap());
    // A stopped index does not follow.
    let index = peer.index.clone();
    let dir = peer.stop().await;
    write(&dir.path().join("share/a.txt"), "longer than first");
    assert!(!open.is_unchanged().unwrap());
    assert!(matches!(index.open_file("share/a.txt"), Err(IndexError::Changed { .. })));
}

#[tokio::test]
async fn composed_and_decomposed_names_are_one_name_on_the_network() {
    let peer = Peer::with(&[("e\u{301}te\u{301}.txt", "nfd"), ("caf\u{e9}/x.txt", "nfc")]).await;
    assert_eq!(peer.paths("ete"), ["share/été.txt"]);
    assert!(peer.index.open_file("share/été.txt").is_ok());
    assert!(peer.index.open_file("share/café/x.txt").is_ok());
    // The other form of the same name does not push the first one out.
    write(&peer.path("été.txt"), "twin");
    peer.index.rescan().await;
    assert!(has(&peer.index, "share/été.txt", "nfd"));
    peer.stop().await;
}

#[tokio::test]
async fn names_that_are_not_utf8_are_passed_over() {
    use std::os::unix::ffi::OsStrExt;
    let peer = Peer::with(&[("good.txt", "g")]).await;
    fs::write(peer.path("").join(std::ffi::OsStr::from_bytes(b"bad\xff.txt")), "b").unwrap();
    assert_eq!(peer.index.rescan().await.files, 1);
    peer.stop().await;
}

#[tokio::test]
async fn a_published_download_is_found_at_once_with_its_hash() {
    let peer = Peer::with(&[]).await;
    peer.unseen(|| {
        write(&peer.path("got.txt"), "g");
        peer.index.note_file(&peer.path("got.txt"), hash("g"));
    });
    assert!(has(&peer.index, "share/got.txt", "g"));
    write(&peer.dir.path().join("elsewhere.txt"), "e");
    peer.index.note_file(&peer.dir.path().join("elsewhere.txt"), hash("e"));
    assert_eq!((peer.index.rescan().await.files, peer.index.files_read()), (1, 0));
    peer.stop().await;
}

#[tokio::test]
async fn a_large_file_has_its_tree_with_its_hash_and_after_a_restart() {
    let content = "flood".repeat(600_000);
    let peer = Peer::with(&[("large.bin", &content), ("small.txt", "s")]).await;
    let tree = peer.index.tree(&hash(&content)).expect("made with the hash");
    assert_eq!((tree.root(), tree.layout().pieces()), (hash(&content), 3));
    assert_eq!(peer.index.tree(&hash("s")).expect("the hash says it all").values(), Vec::<u8>::new());
    assert_eq!(peer.index.tree(&hash("nowhere")), None);
    let peer = Peer::open_in(peer.stop().await);
    peer.index.until_hashed().await;
    assert_eq!((peer.index.tree(&hash(&content)), peer.index.files_read()), (Some(tree), 0));
}

#[tokio::test]
async fn a_tree_that_is_not_kept_is_made_when_it_is_asked_for_and_one_that_is_noted_is_not() {
    let peer = Peer::with(&[]).await;
    for (name, is_noted) in [("a.bin", false), ("b.bin", true)] {
        let content = name.repeat(600_000);
        let root = hash(&content);
        let mut hasher = TreeHasher::new(content.len() as u64);
        hasher.update(content.as_bytes());
        let tree = hasher.finish().unwrap();
        peer.unseen(|| {
            write(&peer.path(name), &content);
            if is_noted {
                peer.index.note_tree(&tree);
            }
            peer.index.note_file(&peer.path(name), root);
        });
        let read = peer.index.files_read();
        let first = peer.index.tree(&root);
        assert_eq!(first.is_some(), is_noted);
        let mut look = tokio::time::interval(Duration::from_millis(2));
        let made = async {
            while peer.index.tree(&root) != Some(tree.clone()) {
                look.tick().await;
            }
        };
        tokio::time::timeout(LONG, made).await.expect("made in the background");
        assert_eq!(peer.index.files_read() - read, u64::from(!is_noted));
    }
}

#[tokio::test]
async fn shares_come_and_go_and_are_remembered() {
    let peer = Peer::with(&[("a.txt", "a")]).await;
    let other = peer.dir.path().join("other/share");
    write(&other.join("b.txt"), "b");
    assert_eq!(peer.index.add_share(&other).unwrap().name, "share-2");
    assert!(peer.within(LONG, |index| has(index, "share-2/b.txt", "b")).await);
    write(&other.join("c.txt"), "c");
    assert!(peer.within(LONG, |index| has(index, "share-2/c.txt", "c")).await, "the new share is watched");
    fs::create_dir(peer.dir.path().join("data/keys")).unwrap();
    for refused in ["/", "share", "share/..", "other", "data", "data/keys", "missing", "other/share/b.txt"] {
        let folder = peer.dir.path().join(refused);
        assert!(matches!(peer.index.add_share(&folder), Err(IndexError::ShareRefused { .. })), "{refused}");
    }
    peer.index.remove_share("share").unwrap();
    assert!(peer.index.find_path("share/a.txt").is_none());
    assert!(matches!(peer.index.remove_share("share"), Err(IndexError::NoShare { .. })));
    let peer = Peer::open_in(peer.stop().await);
    tokio::time::timeout(LONG, peer.index.until_hashed()).await.unwrap();
    let names: Vec<_> = peer.index.shares().into_iter().map(|share| (share.name, share.files)).collect();
    assert_eq!(names, [("share-2".to_owned(), 2)]);
    assert_eq!(peer.index.add_share(peer.path("")).unwrap().name, "share");
    assert!(peer.within(LONG, |index| has(index, "share/a.txt", "a")).await);
    peer.stop().await;
}

#[tokio::test]
async fn a_share_that_vanishes_says_so_and_comes_back() {
    let peer = Peer::with(&[("a.txt", "a")]).await;
    fs::rename(peer.path(""), peer.dir.path().join("away")).unwrap();
    peer.index.rescan().await;
    assert!(peer.index.shares()[0].problem.is_some() && peer.index.state().files == 0);
    fs::rename(peer.dir.path().join("away"), peer.path("")).unwrap();
    peer.index.rescan().await;
    assert_eq!((peer.index.shares()[0].problem.clone(), peer.index.state().files), (None, 1));
    write(&peer.path("b.txt"), "b");
    assert!(peer.within(LONG, |index| has(index, "share/b.txt", "b")).await, "it is watched again");
    peer.stop().await;
}

#[tokio::test]
async fn the_data_folder_is_never_offered() {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    write(&dir.path().join("share/data/secret.txt"), "S");
    let shares = vec![dir.path().join("share")];
    let index =
        Index::open(IndexSettings { shares: shares.clone(), data: shares[0].join("data") }, &shutdown)
            .unwrap();
    index.until_ready().await;
    assert_eq!(index.state().files, 0);
    assert!(shutdown.drain(LONG).await);
    let overlapping = vec![dir.path().join("share"), dir.path().join("share/sub")];
    assert!(
        Index::open(IndexSettings { shares: overlapping, data: dir.path().join("d") }, &Shutdown::new())
            .is_err()
    );
}

#[tokio::test]
async fn folders_are_told_in_pages_folders_first() {
    let peer = Peer::with(&[
        ("b.txt", "1"),
        ("a/x.txt", "2"),
        ("a b/y.txt", "3"),
        ("a.txt", "4"),
        ("a/z/w.txt", "5"),
    ])
    .await;
    let page = |path: &str, size, token| peer.index.browse(path, &PageAsk { size, token });
    assert_eq!(page("", 0, None).unwrap().folders, ["share"]);
    let all = page("share", 0, None).unwrap();
    assert_eq!(all.folders, ["a", "a b"]);
    assert_eq!(all.files.iter().map(FileInfo::name).collect::<Vec<_>>(), ["a.txt", "b.txt"]);
    for size in 1..6 {
        let (mut told, mut token) = (Vec::new(), None);
        loop {
            let page = page("share", size, token).unwrap();
            assert!(page.folders.len() + page.files.len() <= size);
            told.extend(page.folders);
            told.extend(page.files.iter().map(|file| file.name().to_owned()));
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(told, ["a", "a b", "a.txt", "b.txt"], "pages of {size}");
    }
    assert_eq!(page("share/a", 0, None).unwrap().folders, ["z"]);
    assert!(matches!(page("share/none", 0, None), Err(IndexError::NotFound { .. })));
    assert!(matches!(page("share", 0, Some("é".into())), Err(IndexError::BadPage)));
    peer.stop().await;
}

#[test]
fn a_full_table_refuses_new_files_and_keeps_the_old() {
    let mut files = Files::new(1);
    assert!(
        put(&mut files, "s/a", 1, None)
            && !put(&mut files, "s/b", 1, None)
            && put(&mut files, "s/a", 2, None)
    );
    assert_eq!(files.totals().bytes, 2);
}

#[test]
fn slots_are_used_again_and_stale_lists_find_nothing() {
    let mut files = Files::new(MAX_FILES);
    for round in 0..4 {
        for number in 0..1500 {
            assert!(put(&mut files, &format!("s/round{round} n{number}"), 1, None));
        }
        for number in 0..1500 {
            assert!(files.remove(&format!("s\0round{round} n{number}")));
        }
    }
    assert!(put(&mut files, "s/last n7", 1, None));
    assert!(files.entries.len() < 4000, "{}", files.entries.len());
    let found = search::search(|| &files, &Query::parse("n7").unwrap(), 10, || true);
    assert_eq!(found.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["s/last n7"]);
}

#[test]
fn better_names_come_first() {
    let mut files = Files::new(MAX_FILES);
    let best_first =
        ["s/report.pdf", "s/report 2024.pdf", "s/my report.pdf", "s/report/x.pdf", "s/long/report/x.pdf"];
    for path in best_first.iter().rev() {
        put(&mut files, path, 1, None);
    }
    let found = |limit| search::search(|| &files, &Query::parse("report").unwrap(), limit, || true);
    assert_eq!(found(10).iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), best_first);
    assert_eq!(found(2), found(10)[..2]);
    assert!(found(0).is_empty());
}

#[test]
fn a_search_that_nobody_wants_any_more_looks_at_no_more_files() {
    let mut files = Files::new(MAX_FILES);
    for number in 0..10 {
        put(&mut files, &format!("s/report {number}.pdf"), 1, None);
    }
    for query in ["report", "ext:pdf", "size:<1M"] {
        let looks = std::cell::Cell::new(0);
        let is_wanted = || looks.replace(looks.get() + 1) < 3;
        let found = search::search(|| &files, &Query::parse(query).unwrap(), 10, is_wanted);
        assert!(found.is_empty());
        assert_eq!(looks.get(), 4, "{query}: three files, and the one that is not looked at");
    }
}

#[test]
fn a_file_that_is_being_read_is_given_to_no_other_reader_but_when_it_changed() {
    let mut files = Files::new(MAX_FILES);
    let found = |modified_s| {
        let stamp = Stamp { size_bytes: 1, modified_s, ..Stamp::default() };
        files::Found { key: "s\0a".to_owned(), on_disk: None, stamp }
    };
    assert!(files.put(found(0), None, 1));
    let files::Next::File { id, path, stamp, .. } = files.next_to_hash(SystemTime::now()) else { panic!() };
    // A second walk comes by.
    files.see(&found(0), 2);
    files.put(found(0), None, 2);
    assert!(matches!(files.next_to_hash(SystemTime::now()), files::Next::Nothing));
    files.put(found(1), None, 3);
    assert!(matches!(files.next_to_hash(SystemTime::now()), files::Next::File { .. }));
    assert!(!files.set_hash(id, &path, stamp, hash("old")), "it is not told what it was");
    assert!(!files.is_hashed(), "the other is still read");
    assert!(files.set_hash(id, &path, found(1).stamp, hash("new")) && files.is_hashed());
    // Once it is known, whoever was slower than its reader takes nothing away.
    files.put(found(1), None, 4);
    assert_eq!(files.by_path("s/a").unwrap().hash, Some(hash("new")));
}

#[test]
fn files_that_come_back_take_their_slots_in_rising_order() {
    let mut files = Files::new(MAX_FILES);
    let put_all = |files: &mut Files, share: &str, count: usize| {
        for number in 0..count {
            assert!(put(files, &format!("{share}/{number:05}.jpg"), 0, None));
        }
    };
    let slots = |files: &Files, share: &str| -> Vec<u32> {
        let from = format!("{share}\0");
        let keys = files.keys_from(std::ops::Bound::Included(&from));
        keys.take_while(|(key, _)| key.starts_with(&from)).map(|(_, id)| id).collect()
    };
    put_all(&mut files, "a", 3_000);
    put_all(&mut files, "b", 3_000);
    for number in 0..3_000 {
        assert!(files.remove(&format!("a\0{number:05}.jpg")));
    }
    put_all(&mut files, "a", 3_000);
    assert_eq!(slots(&files, "a"), (0..3_000).collect::<Vec<_>>(), "each would move all before it");
    assert_eq!(files.tokens.list("jpg").len(), 6_000);
    assert!(files.tokens.list("jpg").is_sorted());
    for share in ["a", "b"] {
        for number in 0..3_000 {
            assert!(files.remove(&format!("{share}\0{number:05}.jpg")));
        }
    }
    assert!(files.entries.is_empty() && files.tokens.list("jpg").is_empty(), "nothing is left of them");
    put_all(&mut files, "b", 3_000);
    assert_eq!(slots(&files, "b"), (0..3_000).collect::<Vec<_>>());
}

#[test]
fn a_file_that_stays_where_it_is_gets_no_hash_of_one_that_was_renamed() {
    let mut files = Files::new(MAX_FILES);
    let found = |key: &str, changed_s| {
        let stamp = Stamp { size_bytes: 1, inode: 5, changed_s, ..Stamp::default() };
        files::Found { key: key.to_owned(), on_disk: None, stamp }
    };
    files.put(found("s\0a", 1), Some(hash("old")), 1);
    assert!(files.remove("s\0a"));
    files.put(found("s\0b", 2), None, 2);
    assert_eq!(files.by_path("s/b").unwrap().hash, Some(hash("old")), "a rename changes no content");
    files.put(found("s\0b", 3), None, 3);
    assert_eq!(files.by_path("s/b").unwrap().hash, None, "written, with its modification put back");
}

/// Last changed as many days after 1970 began as it has bytes.
fn put(files: &mut Files, path: &str, size_bytes: u64, hash: Option<ContentHash>) -> bool {
    let modified_s = i64::try_from(size_bytes * 86_400).unwrap();
    let stamp = Stamp { size_bytes, modified_s, ..Stamp::default() };
    files.put(files::Found { key: path.replace('/', "\0"), on_disk: None, stamp }, hash, 0)
}

proptest! {
    #[test]
    fn the_index_finds_what_the_reference_finds(
        changes in proptest::collection::vec(
            ("(share|m)/([aA]b|é|x)?(/| )?[abé会x]{1,3}[ ._-]?[ab0]{0,2}(\\.pdf|\\.mkv|\\.tar\\.gz)?", 0u64..4, any::<bool>()), 0..30),
        query in prop_oneof![
            "(-)?[abéx会0]{1,2}( [-\"]?[abé]{1,2}\"?)?( ext:(pdf|gz|tar.gz))?( size:[<>]?[0-3])?",
            "(type:video|size:>1|ext:pdf|hash:0{64}|hash:1{64})( -[abx])?( [ab])?",
            "(-)?(newer|older):1970-01-0[1-5](T12:00:00Z)?( newer:1970-01-02)?( [ab])?",
        ],
    ) {
        let Ok(query) = Query::parse(&query) else { return Ok(()) };
        let mut files = Files::new(MAX_FILES);
        let mut reference = std::collections::BTreeMap::new();
        for (path, size, is_removal) in changes {
            let hash = (size % 2 == 0).then(|| ContentHash::from_bytes([u8::try_from(size).unwrap() / 2 * 17; 32]));
            if is_removal && reference.remove(&path).is_some() {
                prop_assert!(files.remove(&path.replace('/', "\0")));
            } else {
                put(&mut files, &path, size, hash);
                // The table knows the hash of a stamp it has seen.
                let hash = files.by_path(&path).unwrap().hash;
                reference.insert(path, (size, hash));
            }
        }
        let mut found: Vec<String> = search::search(|| &files, &query, 1000, || true).into_iter().map(|file| file.path).collect();
        found.sort();
        let expected: Vec<String> = reference
            .into_iter()
            .filter(|(path, (size, hash))| {
                let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(size * 86_400);
                matches(&query, path, *size, modified, hash.as_ref())
            })
            .map(|(path, _)| path)
            .collect();
        prop_assert_eq!(found, expected);
    }
}
