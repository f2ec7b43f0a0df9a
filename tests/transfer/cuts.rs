//! A link that is cut again and again: the download goes on at the pace of the link, from the byte where it was cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use floodplain::{
    peer::download::{DownloadAsk, Source},
    protocol::{action::TransferState, plan::FileName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    content,
    peer::{Answers, TestPeer, ended},
};

/// What passes before a link is cut: more than the first piece of a file, which proves what it is, and less than two.
const CUT_AFTER_BYTES: usize = (1 << 20) + (600 << 10);

/// A way to that address on which every connection is cut after so many bytes of answers. Counts them.
async fn bad_link(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let (address, cuts) = (listener.local_addr().expect("bound"), Arc::<AtomicUsize>::default());
    let counted = cuts.clone();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            let cuts = counted.clone();
            tokio::spawn(async move {
                let holder = TcpStream::connect(to).await.expect("connects");
                let ((mut from, mut back), (mut answers, mut asks)) =
                    (caller.into_split(), holder.into_split());
                tokio::select! {
                    _ = tokio::io::copy(&mut from, &mut asks) => {}
                    _ = async {
                        let (mut left, mut buffer) = (CUT_AFTER_BYTES, vec![0; 64 << 10]);
                        while left > 0 {
                            let most = left.min(buffer.len());
                            let came = answers.read(&mut buffer[..most]).await?;
                            if came == 0 {
                                return Ok(());
                            }
                            back.write_all(&buffer[..came]).await?;
                            left -= came;
                        }
                        cuts.fetch_add(1, SeqCst);
                        Ok::<_, std::io::Error>(())
                    } => {}
                }
            });
        }
    });
    (address, cuts)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_link_is_cut_every_moment_goes_on_at_once_each_time() {
    let (ana, ben) =
        (TestPeer::start("ana", Answers::Fast).await, TestPeer::start("ben", Answers::Fast).await);
    let bytes = content(12 << 20);
    let hash = ana.share("f", &bytes);
    let (address, cuts) = bad_link(ana.address).await;
    let sources = vec![Source { address, ..ana.source() }];
    let destination = ben.home.path().join("got");
    std::fs::create_dir_all(&destination).expect("makes");
    let began = Instant::now();
    let ask = DownloadAsk { what: FileName::Hash(hash), sources, destination, name: None, finder: None };
    let got = ended(ben.downloader.start(ask).expect("starts")).await.expect("arrives over all its cuts");
    let (took, cuts) = (began.elapsed(), cuts.load(SeqCst));
    assert_eq!(got.state, TransferState::Done);
    assert!(std::fs::read(got.path.expect("published")).expect("reads") == bytes);
    println!("{cuts} cuts, {took:?}, {} bytes sent", ana.transfers.bytes_up());
    assert!(cuts > 5, "{cuts} cuts are no bad link");
    // A quarter of a second for each cut, and as much for the bytes.
    assert!(
        took < Duration::from_millis(500) * u32::try_from(cuts).expect("few"),
        "{cuts} cuts took {took:?}"
    );
    assert!(ana.transfers.bytes_up() < 20 << 20, "what came before a cut came once more");
}
