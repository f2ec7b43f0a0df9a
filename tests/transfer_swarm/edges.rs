//! Files of every edge of a piece, from one, two and four holders; sources that change; equal names.

use std::fs;

use floodplain::protocol::action::{ErrorKind, TransferState};

use super::{
    fetcher::{Fetcher, content, honest},
    holder::{Does, Holder, PIECE},
    peer::ended,
};

#[tokio::test(flavor = "multi_thread")]
async fn every_edge_of_a_piece_arrives_from_one_two_and_four_holders() {
    for size in [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE + 1] {
        let bytes = content(size, 1);
        let all = honest(["ana", "kim", "zoe", "eve"], &bytes).await;
        for count in [1, 2, 4] {
            let holders: Vec<&Holder> = all.iter().take(count).collect();
            let fetcher = Fetcher::new();
            fetcher.get(&holders, &bytes).await.expect("arrives");
            let down = fetcher.transfers.bytes_down();
            assert_eq!(down, size as u64, "{size} bytes of {count} holders: nothing came twice");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_while_it_is_read_is_replaced_by_one_that_does_not() {
    let bytes = content(9 * PIECE, 2);
    let [ana, kim] = honest(["ana", "kim"], &bytes).await;
    // It is believed at first: what proves the size is right.
    kim.now_does(|asked| if asked.number < 2 { Does::Honest } else { Does::Changes });
    let fetcher = Fetcher::new();
    fetcher.get(&[&kim, &ana], &bytes).await.expect("arrives");
    assert_eq!(kim.asked().len(), 3, "never asked again");
    assert!(fetcher.transfers.bytes_down() <= 10 * PIECE as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_all_change_are_a_clear_error_and_no_file() {
    let bytes = content(9 * PIECE, 3);
    let holders = honest(["ana", "kim", "zoe"], &bytes).await;
    // The first one only after it has proved the size.
    for (at, holder) in holders.iter().enumerate() {
        holder.now_does(move |asked| if at == 0 && asked.number < 2 { Does::Honest } else { Does::Changes });
    }
    let fetcher = Fetcher::new();
    let error = fetcher.get(&[&holders[0], &holders[1], &holders[2]], &bytes).await.expect_err("changed");
    assert_eq!(error.kind, ErrorKind::Failed);
    assert!(holders.iter().all(|holder| error.message.contains(&holder.name)), "{error}");
    assert!(error.message.contains("the file changed"), "{error}");
    assert_eq!(fetcher.names().len(), fetcher.parts().len(), "what came right may stay for the next time");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_of_one_name_from_two_holders_both_arrive() {
    let contents = [content(3 * PIECE + 1, 4), content(3 * PIECE + 1, 5)];
    let [ana] = honest(["ana"], &contents[0]).await;
    let [kim] = honest(["kim"], &contents[1]).await;
    let fetcher = Fetcher::new();
    // Each is told of both, and one of them has another file of that name.
    let (one, other) = tokio::join!(
        ended(fetcher.begin(ana.file(), &[&ana, &kim], None)),
        ended(fetcher.begin(kim.file(), &[&ana, &kim], None)),
    );
    assert_eq!(fetcher.names(), ["f", "f (1)"]);
    for (got, bytes, from) in [(one, &contents[0], "ana"), (other, &contents[1], "kim")] {
        let got = got.expect("arrives");
        assert_eq!((got.state, &got.sources[..]), (TransferState::Done, &[from.to_owned()][..]));
        assert!(fs::read(got.path.expect("published")).expect("reads") == *bytes);
    }
}
