use std::{fs, path::Path, time::SystemTime};

use super::*;

const HEADROOM: usize = 4;

fn open(path: &Path) -> SourceFile {
    let file = File::open(path).expect("opens");
    let size_bytes = file.metadata().expect("metadata").len();
    let info = FileInfo { hash: None, path: "s/f".into(), size_bytes, modified: SystemTime::UNIX_EPOCH };
    SourceFile::new(file, info).expect("a regular file")
}

fn start(source: SourceFile, range: Range, chunk_bytes: usize) -> Chunks {
    let pool = Pool::new(HEADROOM + 64, 8);
    chunks(source, range, (&pool, HEADROOM, chunk_bytes), READ_AHEAD_CHUNKS, (), &Shutdown::new())
}

async fn collect(mut chunks: Chunks) -> Result<Vec<u8>, SourceError> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk?;
        all.extend_from_slice(&chunk.buffer.as_ref()[HEADROOM..HEADROOM + chunk.payload_bytes]);
    }
    Ok(all)
}

#[tokio::test]
async fn a_range_is_read_in_chunks_and_ends_where_it_should() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    let content: Vec<u8> = (0..1000u32).map(|i| (i % 251) as u8).collect();
    fs::write(&path, &content).expect("writes");
    for (offset, length, chunk_bytes) in
        [(0, None, 64), (999, None, 7), (10, Some(100), 1000), (1000, None, 9)]
    {
        let at = usize::try_from(offset).expect("small");
        let range = Range::within(1000, offset, length).expect("within");
        let read = collect(start(open(&path), range, chunk_bytes)).await.expect("reads");
        let whole: Vec<u8> = content.iter().copied().skip(at).take(read.len()).collect();
        assert_eq!((read.len() as u64, read), (range.end - range.offset, whole));
    }
    assert!(matches!(Range::within(1000, 1001, None), Err(SourceError::OutOfRange { size_bytes: 1000 })));
}

#[tokio::test]
async fn a_file_that_shrinks_or_changes_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    for content in [&b"short"[..], &[1; 1000]] {
        fs::write(&path, [0; 1000]).expect("writes");
        let source = open(&path);
        fs::write(&path, content).expect("changes");
        // The clock of the file system may stand still for some milliseconds.
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))
            .expect("sets");
        let read = collect(start(source, Range { offset: 0, end: 1000 }, 64)).await;
        assert!(matches!(read, Err(SourceError::Changed)), "{read:?}");
    }
}

#[tokio::test]
async fn only_regular_files_of_the_known_size_are_sources() {
    let folder = tempfile::tempdir().expect("a folder");
    let info = FileInfo { hash: None, path: "s".into(), size_bytes: 1, modified: SystemTime::UNIX_EPOCH };
    let of = |path: &Path| SourceFile::new(File::open(path).expect("opens"), info.clone());
    assert!(matches!(of(folder.path()), Err(SourceError::NotFound)));
    let path = folder.path().join("f");
    fs::write(&path, b"two").expect("writes");
    assert!(matches!(of(&path), Err(SourceError::Changed)));
}

#[tokio::test]
async fn what_is_held_is_let_go_when_the_fetcher_leaves() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    fs::write(&path, [0; 10_000]).expect("writes");
    let (held, is_free) = tokio::sync::oneshot::channel::<()>();
    let pool = Pool::new(HEADROOM + 64, 8);
    let range = Range { offset: 0, end: 10_000 };
    let mut chunks =
        chunks(open(&path), range, (&pool, HEADROOM, 64), READ_AHEAD_CHUNKS, held, &Shutdown::new());
    assert!(chunks.recv().await.is_some());
    drop(chunks);
    assert!(is_free.await.is_err(), "dropped");
}

/// The clock is turned by hand, and now and then before the reader's thread has begun to wait: hence the many chunks.
#[tokio::test(start_paused = true)]
async fn a_chunk_now_and_then_does_not_hold_a_slot() {
    const CHUNKS: u32 = 10_000;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("f");
    let size_bytes = u64::from(CHUNKS) * 64;
    File::create(&path).expect("creates").set_len(size_bytes).expect("grows");
    let mut chunks = start(open(&path), Range::within(size_bytes, 0, None).expect("within"), 64);
    let mut taken = 0;
    while chunks.recv().await.is_some() {
        taken += 1;
        assert!(taken < CHUNKS - 100, "the slot is held");
        // Until the reader has read on, or has given up.
        while chunks.len() < READ_AHEAD_CHUNKS && !chunks.is_closed() {
            tokio::task::yield_now().await;
            std::thread::yield_now();
        }
        tokio::time::advance(STALL_TIMEOUT / 2).await;
        tokio::task::yield_now().await;
    }
}
