//! Holders that turn up, go and come back, and a person who pauses, goes on or gives up, while several bring the file.

use std::time::Duration;

use floodplain::protocol::action::{TransferControl, TransferState};

use super::{
    fetcher::{Fetcher, Found, content, honest},
    holder::{Does, Holder, PIECE},
    until,
};

const SIZE: usize = 16 * PIECE + 7;

/// For each [`super::holder::CHUNK`], so that a file takes some seconds from one alone: time enough for what happens
/// meanwhile, on a machine with other things to do.
const SLOW_DISK_MICROS: u64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_a_search_finds_meanwhile_brings_its_part() {
    let bytes = content(SIZE, 1);
    let ana = Holder::start("ana", &bytes, Does::Honest).await.takes_micros(SLOW_DISK_MICROS);
    let kim = Holder::start("kim", &bytes, Does::Honest).await.takes_micros(1000);
    let (fetcher, found) = (Fetcher::new(), Found::default());
    let mut events = fetcher.begin(ana.file(), &[&ana], Some(found.finder()));
    until(&mut events, |event| event.done_bytes > PIECE as u64).await;
    assert!(kim.asked().is_empty());
    found.are(&[&ana, &kim]);
    let got = fetcher.arrives(events, &bytes).await.expect("arrives");
    assert_eq!(got.sources, ["ana", "kim"]);
    let first = &kim.asked()[0];
    assert!(first.length > 2 * PIECE as u64, "it takes over a large part at once: {first:?}");
    assert!(kim.sent() > SIZE as u64 / 2, "the faster one brings more: {}", kim.sent());
    assert!(fetcher.transfers.bytes_down() <= (SIZE + PIECE) as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_was_down_is_used_again_once_it_is_back() {
    let bytes = content(SIZE, 2);
    let ana = Holder::start("ana", &bytes, Does::Honest).await.takes_micros(SLOW_DISK_MICROS);
    let kim = Holder::start("kim", &bytes, Does::Honest).await.takes_micros(SLOW_DISK_MICROS);
    let (fetcher, found) = (Fetcher::new(), Found::default());
    found.are(&[&ana, &kim]);
    let mut events = fetcher.begin(ana.file(), &[&ana, &kim], Some(found.finder()));
    until(&mut events, |_| kim.sent() > PIECE as u64 / 2).await;
    kim.goes_down();
    let before = kim.asked().len();
    // Its tries are used up by then.
    until(&mut events, |event| event.done_bytes > 6 * PIECE as u64).await;
    kim.comes_back();
    fetcher.arrives(events, &bytes).await.expect("arrives");
    assert!(kim.asked().len() > before, "asked again");
    let down = fetcher.transfers.bytes_down();
    assert!(down <= (SIZE + 2 * PIECE) as u64, "{down}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_holder_that_goes_and_comes_back_costs_one_piece() {
    let bytes = content(SIZE, 3);
    let ana = Holder::start("ana", &bytes, Does::Honest).await.takes_micros(SLOW_DISK_MICROS / 2);
    let (fetcher, found) = (Fetcher::new(), Found::default());
    let mut events = fetcher.begin(ana.file(), &[&ana], Some(found.finder()));
    until(&mut events, |event| event.done_bytes > 5 * PIECE as u64).await;
    ana.goes_down();
    let is_waiting = |event: &floodplain::protocol::action::Transfer| event.state == TransferState::Waiting;
    until(&mut events, is_waiting).await;
    // Until its tries are used up as well: a search finds it then.
    tokio::time::timeout(Duration::from_secs(60), async {
        while fetcher.transfers.list()[0].state != TransferState::Waiting || ana.refused() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("tries again");
    ana.comes_back();
    found.are(&[&ana]);
    fetcher.arrives(events, &bytes).await.expect("arrives");
    let down = fetcher.transfers.bytes_down();
    assert!(down <= (SIZE + PIECE) as u64, "{down}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_keeps_the_part_and_costs_at_most_a_piece_a_stream() {
    let bytes = content(SIZE, 4);
    let [ana, kim, zoe] = honest(["ana", "kim", "zoe"], &bytes).await;
    let [ana, kim, zoe] = [ana, kim, zoe].map(|holder| holder.takes_micros(SLOW_DISK_MICROS));
    let fetcher = Fetcher::new();
    let mut events = fetcher.begin(ana.file(), &[&ana, &kim, &zoe], None);
    let mut pauses = 0;
    for pieces in [4, 8, 12] {
        until(&mut events, |event| event.done_bytes > pieces * PIECE as u64).await;
        fetcher.control(TransferControl::Pause).await;
        let now =
            until(&mut events, |event| event.state == TransferState::Paused || event.state.is_final()).await;
        if now.state != TransferState::Paused {
            break;
        }
        pauses += 1;
        assert_eq!((fetcher.parts().len(), fetcher.names().len()), (1, 1), "the part alone is there");
        let down = fetcher.transfers.bytes_down();
        tokio::task::yield_now().await;
        assert_eq!(fetcher.transfers.bytes_down(), down, "nothing comes meanwhile");
        fetcher.control(TransferControl::Resume).await;
    }
    fetcher.arrives(events, &bytes).await.expect("arrives");
    assert!(pauses >= 2, "{pauses}");
    let twice = fetcher.transfers.bytes_down() - SIZE as u64;
    assert!(twice <= pauses * 3 * PIECE as u64, "{twice} bytes came twice in {pauses} pauses");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_middle_leaves_nothing_running_or_paused() {
    let bytes = content(SIZE, 5);
    let [ana, kim] = honest(["ana", "kim"], &bytes).await;
    let [ana, kim] = [ana, kim].map(|holder| holder.takes_micros(SLOW_DISK_MICROS));
    for is_paused in [false, true] {
        let fetcher = Fetcher::new();
        let mut events = fetcher.begin(ana.file(), &[&ana, &kim], None);
        until(&mut events, |event| event.done_bytes > 4 * PIECE as u64).await;
        assert_eq!(fetcher.parts().len(), 1);
        if is_paused {
            fetcher.control(TransferControl::Pause).await;
            until(&mut events, |event| event.state == TransferState::Paused).await;
            assert_eq!(fetcher.parts().len(), 1);
        }
        fetcher.control(TransferControl::Cancel).await;
        let last = until(&mut events, |event| event.state.is_final()).await;
        assert_eq!(last.state, TransferState::Cancelled);
        assert!(fetcher.names().is_empty(), "{:?}", fetcher.names());
    }
}
