//! What is read when, and what becomes of what is wrong.

use super::{
    super::tests::{keep, open},
    *,
};

fn damaged(home: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(home.join("replicas/.damaged")) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn everything_is_read_once_a_day_and_at_once_after_an_unclean_end() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    for content in [&b"one"[..], b"two", b"three"] {
        keep(&replicas, content, "note");
    }
    let round = |replicas: &Replicas, now| {
        let mut read = Vec::new();
        while let ToScrub::Read(hash) = replicas.to_scrub(now) {
            assert_eq!(replicas.scrub(&hash, |_| true), Scrubbed::Right);
            read.push(hash);
        }
        read
    };
    let all: Vec<_> = replicas.list().iter().map(|replica| replica.hash).collect();
    let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
    assert_eq!(round(&replicas, now), [], "it was just pulled");
    assert_eq!(round(&replicas, now + day), all);
    assert_eq!(round(&replicas, now + day), []);
    assert_eq!(round(&replicas, now - day), all, "the clock was set back");
    replicas.close();
    let replicas = open(home.path(), 100);
    assert_eq!(round(&replicas, now - day), []);
    drop(replicas);
    let replicas = open(home.path(), 100);
    assert_eq!(round(&replicas, now), all, "it was not closed");
    let first = replicas.to_scrub(now + 2 * day);
    assert_eq!(first, ToScrub::Read(all[0]));
    assert_eq!(replicas.scrub(&all[0], |_| false), Scrubbed::Unread);
    assert_eq!(replicas.to_scrub(now + 2 * day), ToScrub::Read(all[0]));
    assert_eq!(replicas.scrub(&all[0], |_| true), Scrubbed::Right);
    replicas.close();
    let replicas = open(home.path(), 100);
    assert_eq!(replicas.to_scrub(now + 2 * day), ToScrub::Read(all[1]), "goes on where it ended");
}

#[test]
fn what_is_wrong_is_set_aside_and_not_kept_any_more() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let path = keep(&replicas, b"right", "note.txt");
    let hash = replicas.list()[0].hash;
    fs::write(&path, b"wrong").expect("writes");
    assert_eq!(replicas.mend(), 0, "its size is right");
    assert!(matches!(replicas.scrub(&hash, |_| true), Scrubbed::Wrong(found) if found.hash == hash));
    assert!(replicas.list().is_empty() && !path.exists());
    assert_eq!(damaged(home.path()), ["note.txt"]);
    assert_eq!(fs::read(home.path().join("replicas/.damaged/note.txt")).expect("reads"), b"wrong");
    assert!(open(home.path(), 100).list().is_empty());
    keep(&replicas, b"right", "note.txt");
    fs::write(&path, b"longer than it was").expect("writes");
    assert_eq!(replicas.mend(), 1);
    assert_eq!(damaged(home.path()), ["note (1).txt", "note.txt"]);
}

#[test]
fn what_is_set_aside_is_bounded_and_the_oldest_goes() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 1000);
    for number in 0..MAX_DAMAGED + 2 {
        let path = keep(&replicas, format!("right {number:02}").as_bytes(), &format!("{number:02}"));
        fs::write(&path, b"wrong 00").expect("writes");
        let hash = replicas.list()[0].hash;
        assert!(matches!(replicas.scrub(&hash, |_| true), Scrubbed::Wrong(_)));
    }
    let names = damaged(home.path());
    assert_eq!((names.len(), &*names[0]), (MAX_DAMAGED, "02"));
}
