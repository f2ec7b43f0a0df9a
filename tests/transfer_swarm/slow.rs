//! Less than 1 KiB/s: a holder that is left for a better one, and kept when there is none.

use std::time::Duration;

use floodplain::protocol::plan::{FileName, Patience};

use super::{
    fetcher::{Fetcher, PATIENCE, content},
    holder::{Does, Holder, PIECE},
};

/// Below the rule, by little.
const SLOW: Does = Does::Slow(900);

/// Who loses patience some times while the slow end of one answer comes.
fn fetcher() -> Fetcher {
    Fetcher::waiting(Patience { stall: Duration::from_millis(500), ..PATIENCE })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_slow_holder_is_asked_once_for_each_thing_and_kept_to_the_end() {
    for (size, asked) in [(1000, 1), (2 * PIECE + PIECE / 2, 3)] {
        let bytes = content(size, 1);
        let ana = Holder::start("ana", &bytes, SLOW).await;
        let fetcher = fetcher();
        fetcher.get(&[&ana], &bytes).await.expect("arrives");
        assert_eq!(ana.asked().len(), asked, "{size}: {:?}", ana.asked());
        assert_eq!((ana.sent(), fetcher.transfers.bytes_down()), (size as u64, size as u64));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_slow_holder_that_is_hashing_is_kept_to_the_end() {
    let bytes = content(3000, 2);
    let ana = Holder::start("ana", &bytes, SLOW).await.while_hashing();
    let fetcher = fetcher();
    let events = fetcher.begin(FileName::Path("share/f".into()), &[&ana], None);
    fetcher.arrives(events, &bytes).await.expect("arrives");
    assert!(ana.asked().len() <= 2, "{:?}", ana.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_slow_holders_are_not_both_given_up() {
    let bytes = content(3 * PIECE, 3);
    let ana = Holder::start("ana", &bytes, SLOW).await;
    let eve = Holder::start("eve", &bytes, SLOW).await;
    fetcher().get(&[&ana, &eve], &bytes).await.expect("arrives");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_holder_is_kept_when_the_others_bring_nothing() {
    let bytes = content(3 * PIECE, 4);
    let ana = Holder::start("ana", &bytes, SLOW).await;
    let mut holders = vec![ana.clone()];
    for (name, does) in [("eve", Does::Full), ("kim", Does::Queues), ("zoe", Does::Mute)] {
        holders.push(Holder::start(name, &bytes, does).await);
    }
    let holders: Vec<&Holder> = holders.iter().collect();
    let got = fetcher().get(&holders, &bytes).await.expect("arrives");
    assert_eq!(got.sources, ["ana"]);
    assert!(ana.asked().len() <= 6, "{:?}", ana.asked());
}
