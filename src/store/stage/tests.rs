use super::*;

fn file(path: &str, content: &[u8]) -> ManifestFile {
    let hash = ContentHash::from_bytes(*blake3::hash(content).as_bytes());
    ManifestFile { path: path.into(), size_bytes: content.len() as u64, hash: Some(hash) }
}

fn manifest() -> Manifest {
    Manifest::new(vec![file("a.txt", b"aaa"), file("deep/er/b.txt", b"bb"), file("empty", b"")])
        .expect("a manifest")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("reads")
        .map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_stage_is_found_again_and_only_what_is_right_counts() {
    let home = tempfile::tempdir().expect("a folder");
    let manifest = manifest();
    let open = || Stage::open(home.path(), "docs", &manifest.id()).expect("opens");
    let mut stage = open();
    assert_eq!(stage.present(&manifest, || true).expect("reads"), [false; 3]);
    stage.put("a.txt", b"aaa").expect("puts");
    stage.put("deep/er/b.txt", b"xx").expect("puts");
    fs::write(stage.path().join("deep/stranger"), b"s").expect("writes");
    fs::write(stage.path().join("deep/.b.0.fp-part"), b"s").expect("writes");
    std::os::unix::fs::symlink("/etc/passwd", stage.path().join("empty")).expect("links");
    assert!(Stage::open(home.path(), "docs", &manifest.id()).is_err(), "one transfer at a time");
    drop(stage);

    let mut stage = open();
    assert_eq!(stage.present(&manifest, || true).expect("reads"), [true, false, false]);
    assert_eq!(names(&stage.path().join("deep")), [".b.0.fp-part", "er"]);
    assert!(matches!(stage.present(&manifest, || false), Err(StoreError::Stopped)));
    stage.put("deep/er/b.txt", b"bb").expect("puts");
    stage.put("empty", b"").expect("puts");
    fs::create_dir(home.path().join("docs")).expect("makes");
    let inode = stage.inode().expect("looks");
    assert_eq!(published_as(&home.path().join("docs"), inode), None);
    let published = stage.publish(&manifest, &home.path().join("docs")).expect("publishes");
    assert_eq!(published, home.path().join("docs (1)"));
    assert_eq!(published_as(&home.path().join("docs"), inode), Some(published.clone()));
    assert_eq!(names(home.path()), ["docs", "docs (1)"]);
    assert_eq!(names(&published), ["a.txt", "deep", "empty"]);
    assert_eq!(names(&published.join("deep")), ["er"], "no part is published");
    assert_eq!(fs::read(published.join("deep/er/b.txt")).expect("reads"), b"bb");
}

#[test]
fn only_a_lock_of_another_says_that_a_stage_is_filled() {
    assert!(is_held(Err(Errno::WOULDBLOCK)));
    for no_locks_here in [Errno::NOTSUP, Errno::NOSYS, Errno::NOLCK, Errno::INVAL, Errno::IO] {
        assert!(!is_held(Err(no_locks_here)), "{no_locks_here}");
    }
    assert!(!is_held(Ok(())));
}

#[test]
fn links_in_a_stage_lead_nowhere() {
    let home = tempfile::tempdir().expect("a folder");
    let outside = home.path().join("outside");
    fs::create_dir(&outside).expect("makes");
    fs::write(outside.join("precious"), b"precious").expect("writes");
    let manifest = manifest();
    let mut stage = Stage::open(home.path(), "docs", &manifest.id()).expect("opens");
    std::os::unix::fs::symlink(&outside, stage.path().join("deep")).expect("links");
    std::os::unix::fs::symlink(outside.join("precious"), stage.path().join("a.txt")).expect("links");
    assert!(stage.put("deep/er/b.txt", b"bb").is_err());
    assert!(stage.place("deep/x").is_err());
    stage.put("a.txt", b"aaa").expect("takes the place of the link");
    assert_eq!(names(&outside), ["precious"]);
    assert_eq!(fs::read(outside.join("precious")).expect("reads"), b"precious");
    stage.discard();
    assert_eq!(names(home.path()), ["outside"]);
    assert_eq!(names(&outside), ["precious"]);
}

#[test]
fn a_file_that_is_missing_stops_publishing() {
    let home = tempfile::tempdir().expect("a folder");
    let manifest = manifest();
    let mut stage = Stage::open(home.path(), "docs", &manifest.id()).expect("opens");
    stage.put("a.txt", b"aaa").expect("puts");
    assert!(stage.publish(&manifest, &home.path().join("docs")).is_err());
    assert!(!home.path().join("docs").exists());
}

#[test]
fn a_pushed_stage_goes_when_it_is_dropped_or_its_process_was_killed() {
    let home = tempfile::tempdir().expect("a folder");
    let mut stage = Stage::for_push(home.path(), &"é".repeat(200)).expect("opens");
    stage.put("a/b", b"b").expect("puts");
    let left = home.path().join(".docs.0123456789abcdef.pushed.fp-part");
    fs::create_dir_all(left.join("x")).expect("makes");
    drop(stage);
    let mut resumable = Stage::open(home.path(), "docs", &manifest().id()).expect("opens");
    resumable.create("x").expect("creates");
    drop(resumable);
    assert_eq!(names(home.path()).len(), 2);
    assert_eq!(sweep_pushed(home.path(), SystemTime::UNIX_EPOCH).expect("reads"), 0);
    let later = SystemTime::now() + std::time::Duration::from_secs(5);
    assert_eq!(sweep_pushed(home.path(), later).expect("reads"), 1);
    assert_eq!(names(home.path()).len(), 1);
}

#[test]
fn a_stage_is_swept_when_it_is_old_free_and_nobodys() {
    let home = tempfile::tempdir().expect("a folder");
    let open = |name: &str| Stage::open(home.path(), name, &manifest().id()).expect("opens");
    for name in ["dead", "kept"] {
        open(name).put("deep/x", b"x").expect("puts");
    }
    let busy = open("busy");
    fs::create_dir(home.path().join("visible.fp-part")).expect("makes");
    let outside = home.path().join("outside");
    fs::create_dir(&outside).expect("makes");
    std::os::unix::fs::symlink(&outside, home.path().join(".link.0.fp-part")).expect("links");
    fs::write(home.path().join(".file.0.fp-part"), b"a part of a file").expect("writes");
    let kept = Stage::path_in(home.path(), "kept", &manifest().id());
    let sweep =
        |started| sweep_stages(home.path(), started, |name| home.path().join(name) == kept).expect("reads");
    assert_eq!(sweep(SystemTime::UNIX_EPOCH), 0);
    let later = SystemTime::now() + std::time::Duration::from_secs(5);
    assert_eq!(sweep(later), 1);
    assert!(!remove(&Stage::path_in(home.path(), "dead", &manifest().id())).expect("is gone"));
    assert!(!remove(busy.path()).expect("is busy") && busy.path().exists());
    assert!(!remove(&home.path().join(".link.0.fp-part")).expect("is a link") && outside.exists());
    assert_eq!(names(home.path()).len(), 6);
    assert!(remove(&kept).expect("removes") && !kept.exists());
}
