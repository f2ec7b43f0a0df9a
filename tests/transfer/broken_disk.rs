//! A holder whose disk fails: whoever asks it often has done nothing wrong.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use floodplain::wire::pb;
use futures::TryStreamExt;
use tonic::Code;

use crate::{
    content, generated_client,
    peer::{Answers, TestPeer},
};

/// More than a caller may send of what makes no sense.
const OFTEN: usize = 40;
/// A fetcher that is muted waits at least 250 ms, and then longer.
const SOON: Duration = Duration::from_millis(200);

async fn ask(peer: &TestPeer, request: &pb::DownloadRequest, code: Code) {
    let mut client = generated_client(peer).await;
    for _ in 0..OFTEN {
        let began = Instant::now();
        let told = match client.download(request.clone()).await {
            Ok(answers) => answers.into_inner().try_for_each(|_| async { Ok(()) }).await,
            Err(status) => Err(status),
        };
        let status = told.expect_err("it cannot be had");
        assert_eq!(status.code(), code, "{status:?}");
        let is_ours = |name: &str| name.contains("floodplain");
        assert!(!status.metadata().keys().any(|key| is_ours(&format!("{key:?}"))), "{:?}", status.metadata());
        assert!(began.elapsed() < SOON, "a call was held back for {:?}", began.elapsed());
        let began = Instant::now();
        let passed = client.browse(pb::BrowseRequest::default()).await.expect("is answered").into_inner();
        assert_eq!(passed.folders, ["passed through"]);
        assert!(began.elapsed() < SOON, "another call was held back for {:?}", began.elapsed());
    }
}

fn download(hash: floodplain::protocol::id::ContentHash, offset: u64) -> pb::DownloadRequest {
    let file = pb::download_request::File::ContentHash(hash.as_bytes().to_vec().into());
    pb::DownloadRequest { file: Some(file), offset, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_disk_of_a_holder_is_not_counted_against_its_fetcher() {
    for answers in [Answers::Fast, Answers::Generated] {
        let ana = TestPeer::start("ana", answers).await;
        // One that is read with the opening, and one that is read behind the first message.
        for size in [1000, 4 << 20] {
            let hash = ana.share(&format!("{size}.bin"), &content(size));
            ana.faults.has_broken_disk.store(true, SeqCst);
            ask(&ana, &download(hash, 0), Code::Internal).await;
            ana.faults.has_broken_disk.store(false, SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_became_shorter_is_not_counted_against_its_fetcher() {
    let ana = TestPeer::start("ana", Answers::Fast).await;
    let hash = ana.share("f", &content(1000));
    ask(&ana, &download(hash, 2000), Code::OutOfRange).await;
}
