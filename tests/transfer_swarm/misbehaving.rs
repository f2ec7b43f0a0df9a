//! One holder of several does what a holder must not, or cannot help: the others bring the file, it costs little, and it
//! is left alone. Alone it is named, and nothing wrong is ever kept.

use floodplain::protocol::action::ErrorKind;

use super::{
    fetcher::{Fetcher, content, honest},
    holder::{Does, Holder, PIECE},
};

const SIZE: usize = 8 * PIECE + 7;

/// Beside three honest ones: asked first and asked last. It may be asked so often, and cost so many pieces.
async fn beside_honest(does: Does, asked: usize, pieces: u64) {
    let bytes = content(SIZE, 1);
    for is_first in [true, false] {
        let bad = Holder::start("eve", &bytes, does).await;
        let good = honest(["ana", "kim", "zoe"], &bytes).await;
        let mut holders: Vec<&Holder> = good.iter().collect();
        holders.insert(if is_first { 0 } else { 3 }, &bad);
        let fetcher = Fetcher::new();
        let got = fetcher.get(&holders, &bytes).await.expect("arrives");
        let requests = bad.asked();
        println!("{does:?} {is_first}: {} requests, from {:?}", requests.len(), got.sources);
        assert!((1..=asked).contains(&requests.len()), "{does:?}: {requests:?}");
        assert!(good.iter().all(|holder| got.sources.contains(&holder.name)), "{:?}", got.sources);
        // And one for an honest one that was not on a CPU for so long that another was asked as well.
        let most = SIZE as u64 + (pieces + 1) * PIECE as u64;
        let down = fetcher.transfers.bytes_down();
        assert!(down <= most, "{does:?}: {down} bytes came, of {SIZE}");
        // What was on its way to a stream that was shortened meanwhile was sent too.
        let sent: u64 = good.iter().map(Holder::sent).sum();
        let on_their_way: usize = good.iter().map(|holder| holder.asked().len()).sum();
        let most = most + on_their_way as u64 * (512 << 10);
        assert!(sent <= most, "{does:?}: {sent} bytes were sent, of {SIZE}");
    }
}

macro_rules! beside_honest {
    ($($name:ident: $does:expr, $asked:expr, $pieces:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            beside_honest($does, $asked, $pieces).await;
        }
    )*};
}

beside_honest! {
    a_holder_of_wrong_bytes_is_asked_once_and_costs_a_piece: Does::WrongFrom(0), 1, 1;
    a_holder_whose_last_piece_is_wrong_costs_that_piece: Does::WrongFrom(8), 12, 1;
    one_that_ends_early_is_asked_three_times: Does::Short, 3, 3;
    one_that_sends_more_than_asked_costs_a_piece: Does::Long, 12, 1;
    one_that_never_stops_costs_a_piece: Does::Endless, 12, 1;
    one_that_says_nothing_without_end_is_left: Does::Babble, 3, 1;
    a_silent_one_is_left: Does::Silent, 3, 1;
    one_that_sends_no_byte_is_left: Does::Mute, 3, 1;
    a_slow_one_beside_fast_ones_is_left: Does::Slow(500), 3, 3;
    one_without_a_slot_is_asked_now_and_then: Does::Full, 30, 0;
    one_that_queues_for_ever_is_not_waited_for: Does::Queues, 3, 0;
    one_whose_connection_breaks_is_asked_three_times: Does::Dies, 3, 3;
    one_that_tells_another_size_is_asked_once: Does::WrongSize, 2, 1;
    one_that_tells_wrong_values_is_asked_once_for_them: Does::WrongTree, 12, 0;
    one_that_tells_another_hash_is_asked_once: Does::WrongHash, 1, 0;
    one_whose_bytes_lie_elsewhere_is_asked_once: Does::WrongOffset, 1, 0;
    one_whose_file_changes_is_asked_once: Does::Changes, 1, 1;
    one_that_has_no_such_file_is_asked_once: Does::Gone, 1, 0;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_liars_among_four_cost_a_piece_each() {
    let bytes = content(SIZE, 2);
    let [ana, kim] = honest(["ana", "kim"], &bytes).await;
    let eve = Holder::start("eve", &bytes, Does::WrongFrom(3)).await;
    let mal = Holder::start("mal", &bytes, Does::WrongFrom(0)).await;
    let fetcher = Fetcher::new();
    let got = fetcher.get(&[&eve, &ana, &mal, &kim], &bytes).await.expect("arrives");
    assert!(!got.sources.contains(&mal.name), "{:?}", got.sources);
    let down = fetcher.transfers.bytes_down();
    assert!(down <= (SIZE + 2 * PIECE) as u64, "{down}");
}

/// Alone: what is said, of which kind, and nothing is left.
async fn alone(does: Does, kind: ErrorKind, says: &str) {
    let bytes = content(2 * PIECE + 7, 3);
    let eve = Holder::start("eve", &bytes, does).await;
    let fetcher = Fetcher::new();
    let error = fetcher.get(&[&eve], &bytes).await.expect_err("cannot arrive");
    assert_eq!(error.kind, kind, "{does:?}: {error}");
    assert!(error.message.contains("eve") && error.message.contains(says), "{does:?}: {error}");
    assert!(fetcher.names().iter().all(|name| name.ends_with(".fp-part")), "{does:?}: {:?}", fetcher.names());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_holder_that_cannot_bring_the_file_is_named_with_what_it_did() {
    use ErrorKind::{Failed, Mismatch, NotFound, TimedOut, Unreachable};
    tokio::join!(
        alone(Does::WrongFrom(0), Mismatch, "do not match its hash"),
        alone(Does::WrongFrom(2), Mismatch, "do not match its hash"),
        alone(Does::Short, Failed, "ended too early"),
        alone(Does::Long, Failed, "lie elsewhere"),
        alone(Does::Endless, Failed, "lie elsewhere"),
        alone(Does::Babble, TimedOut, "less than 1 KiB/s"),
        alone(Does::Silent, TimedOut, "did not answer"),
        alone(Does::Mute, TimedOut, "less than 1 KiB/s"),
        alone(Does::Dies, Unreachable, ""),
        alone(Does::WrongSize, Mismatch, "do not match its hash"),
        alone(Does::WrongTree, Mismatch, "do not match its hash"),
        alone(Does::WrongHash, Mismatch, "another content"),
        alone(Does::WrongOffset, Failed, "lie elsewhere"),
        alone(Does::Changes, Failed, "changed while it was read"),
        alone(Does::Gone, NotFound, "no such file"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_lie_all_are_named_and_nothing_is_kept() {
    let bytes = content(SIZE, 4);
    let mut liars = Vec::new();
    for (name, does) in [
        ("eve", Does::WrongFrom(0)),
        ("mal", Does::WrongTree),
        ("bob", Does::WrongSize),
        ("sue", Does::WrongFrom(8)),
    ] {
        liars.push(Holder::start(name, &bytes, does).await);
    }
    let fetcher = Fetcher::new();
    let liars: Vec<&Holder> = liars.iter().collect();
    let error = fetcher.get(&liars, &bytes).await.expect_err("a lie");
    assert_eq!(error.kind, ErrorKind::Mismatch);
    assert!(liars.iter().all(|liar| error.message.contains(&liar.name)), "{error}");
    assert!(fetcher.names().is_empty(), "{:?}", fetcher.names());
}
