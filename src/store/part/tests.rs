use std::fs;

use super::*;
use crate::store::PART_SUFFIX;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_part_is_hidden_until_it_is_published_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let destination = folder.path().join("new/report.pdf");
    let mut part = PartFile::create(destination.clone(), 6, &Shutdown::new()).await.expect("creates");
    part.write("junk".into()).await.expect("writes");
    part.restart().await.expect("restarts");
    part.write("abc".into()).await.expect("writes");
    part.write("def".into()).await.expect("writes");
    let sum = part.sum().await.expect("sums");
    assert_eq!(sum.size_bytes, 6);
    assert_eq!(sum.hash.as_bytes(), blake3::hash(b"abcdef").as_bytes());
    let hidden = names(&folder.path().join("new"));
    assert!(hidden.len() == 1 && hidden[0].starts_with(".report.pdf.") && hidden[0].ends_with(PART_SUFFIX));
    assert_eq!(part.publish().await.expect("publishes"), destination);
    assert_eq!(fs::read(&destination).expect("reads"), b"abcdef");
    assert_eq!(names(&folder.path().join("new")), ["report.pdf"]);
}

#[tokio::test]
async fn a_part_that_is_being_written_is_no_dead_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let destination = folder.path().join("a.txt");
    let mut part = PartFile::create(destination.clone(), 3, &Shutdown::new()).await.expect("creates");
    part.write("abc".into()).await.expect("writes");
    part.sum().await.expect("written");
    crate::store::sweep::remove_parts_called(folder.path(), "a.txt", |_| false);
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let swept = crate::store::sweep::sweep_parts(folder.path(), later, |_| false).expect("reads");
    assert_eq!((swept.files, names(folder.path()).len()), (0, 1));
    assert_eq!(part.publish().await.expect("publishes"), destination);
    assert_eq!(fs::read(&destination).expect("reads"), b"abc");
}

#[tokio::test]
async fn a_taken_name_gets_a_number_and_nothing_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = format!("{}.txt", "ä".repeat(125));
    for name in ["a.tar.gz", "plain", ".hidden", &long] {
        for round in 0..3 {
            let mut part =
                PartFile::create(folder.path().join(name), 1, &Shutdown::new()).await.expect("creates");
            part.write(round.to_string().into()).await.expect("writes");
            part.publish().await.expect("publishes");
        }
    }
    let cut = "ä".repeat(123);
    let mut expected: Vec<String> = [
        "a.tar.gz",
        "a.tar (1).gz",
        "a.tar (2).gz",
        "plain",
        "plain (1)",
        "plain (2)",
        ".hidden",
        ".hidden (1)",
        ".hidden (2)",
        &long,
        &format!("{cut} (1).txt"),
        &format!("{cut} (2).txt"),
    ]
    .map(String::from)
    .into();
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    assert_eq!(fs::read(folder.path().join("plain")).expect("reads"), b"0");
}

#[tokio::test]
async fn a_dropped_or_discarded_part_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let shutdown = Shutdown::new();
    let mut part = PartFile::create(folder.path().join("a"), 0, &shutdown).await.expect("creates");
    part.write("abc".into()).await.expect("writes");
    part.discard().await;
    assert!(names(folder.path()).is_empty());
    drop(PartFile::create(folder.path().join("b"), 0, &shutdown).await.expect("creates"));
    assert!(shutdown.drain(std::time::Duration::from_secs(5)).await);
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn what_cannot_fit_is_refused_before_the_first_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = PartFile::create(folder.path().join("a"), u64::MAX, &Shutdown::new()).await;
    assert!(matches!(refused, Err(StoreError::NoSpace { .. })), "{refused:?}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), b"").expect("writes");
    let refused = PartFile::create(folder.path().join("file/a"), 0, &Shutdown::new()).await;
    let error = refused.expect_err("not a folder").to_string();
    assert!(error.contains("file"), "{error}");
}

/// Takes turns between the two ways to write, whatever the disk of the machine does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_keep_their_order_whoever_writes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut part = PartFile::create(folder.path().join("a"), 0, &Shutdown::new()).await.expect("creates");
    assert!(part.may_write_here);
    let mut expected = Vec::new();
    for round in 0..600_u32 {
        if round == 100 {
            expected.clear();
            part.restart().await.expect("restarts");
        }
        let bytes = round.to_le_bytes().repeat(1 + round as usize % 2000);
        expected.extend_from_slice(&bytes);
        part.may_write_here = round % 3 != 0;
        part.write(bytes.into()).await.expect("writes");
    }
    let sum = part.sum().await.expect("sums");
    assert_eq!(sum.size_bytes, expected.len() as u64);
    assert_eq!(sum.hash.as_bytes(), blake3::hash(&expected).as_bytes());
    part.may_write_here = true;
    part.write("end".into()).await.expect("writes");
    expected.extend_from_slice(b"end");
    let path = part.publish().await.expect("publishes");
    assert!(fs::read(path).expect("reads") == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_after_the_stop_and_nothing_is_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let shutdown = Shutdown::new();
    let mut part = PartFile::create(folder.path().join("a"), 0, &shutdown).await.expect("creates");
    part.write("abc".into()).await.expect("writes");
    shutdown.stop();
    let stopped = loop {
        if let Err(error) = part.write("def".into()).await {
            break error;
        }
    };
    assert!(matches!(stopped, StoreError::Stopped), "{stopped}");
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn the_only_worker_of_a_runtime_is_not_lent_to_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut part = PartFile::create(folder.path().join("a"), 0, &Shutdown::new()).await.expect("creates");
    assert!(part.write_here(b"abc").is_none());
    part.write("abc".into()).await.expect("writes");
    assert_eq!(part.sum().await.expect("sums").size_bytes, 3);
}
