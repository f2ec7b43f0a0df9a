//! When a heartbeat that a search waits for is sent.

use std::time::Instant;

use tokio::{
    sync::watch::{self, error::RecvError},
    time::sleep_until,
};

/// Completes when another one is wanted and may be sent. It may be dropped and asked again: nothing is lost by that.
pub(super) async fn until_wanted(
    wanted: &mut watch::Receiver<u64>,
    not_before: Option<Instant>,
) -> Result<(), RecvError> {
    // A timer rounds up to the next millisecond, which one that is due need not wait for.
    if let Some(not_before) = not_before.map(tokio::time::Instant::from_std)
        && not_before > tokio::time::Instant::now()
    {
        sleep_until(not_before).await;
    }
    // Last, since it forgets that there was a change.
    wanted.changed().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::protocol::confirm::Confirms;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_without_end_share_a_hundred_a_second() {
        let (asks, mut wanted) = watch::channel(0);
        let (mut confirms, mut sent, begun) = (Confirms::default(), 0, Instant::now());
        while begun.elapsed() < Duration::from_secs(1) {
            asks.send_modify(|sequence| *sequence += 1);
            let due = until_wanted(&mut wanted, confirms.not_before());
            // Something else happens in the session meanwhile.
            if timeout(Duration::from_millis(3), due).await.is_ok() {
                sent += 1;
                confirms.on_sent(Instant::now().into_std());
            }
        }
        assert!((80..=101).contains(&sent), "{sent}");
    }
}
