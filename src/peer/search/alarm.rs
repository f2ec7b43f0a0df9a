//! A timer that is set for earlier times again and again, and seldom runs out.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// When the relay is to be asked again. It is set anew for an earlier time only: each setting takes the lock of all timers
/// and may wake a thread, and nearly every query ends before any of them. One that comes early is set again then.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until that time. May be dropped, and asked for another time.
    pub(super) async fn come(&mut self, wake: Instant) {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(wake)));
        if wake < sleep.deadline() {
            sleep.as_mut().reset(wake);
        }
        loop {
            sleep.as_mut().await;
            if sleep.deadline() >= wake {
                return;
            }
            sleep.as_mut().reset(wake);
        }
    }
}
