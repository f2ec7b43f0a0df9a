//! The channel for look-ups, kept from one to the next: at a registry of many peers each such channel is a connection more.
//!
//! Invariant: one that was not used for [`IDLE`] is closed, calls that still run over it aside.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use crate::shutdown::Shutdown;

/// A guess: whoever looks things up by hand does it again within that.
const IDLE: Duration = Duration::from_secs(60);

/// A channel, or none for now.
#[derive(Debug)]
pub(super) struct Kept {
    open: Slot,
    shutdown: Shutdown,
}

// Held across a dial: whoever comes meanwhile wants the same channel.
type Slot = Arc<Mutex<Option<Open>>>;

#[derive(Debug)]
struct Open {
    channel: Channel,
    used_at: Instant,
    _closing: AbortOnDropHandle<Option<()>>,
}

impl Kept {
    /// None yet.
    pub(super) fn new(shutdown: Shutdown) -> Self {
        Self { open: Slot::default(), shutdown }
    }

    /// The one that is there, or that is dialed.
    ///
    /// # Errors
    /// Those of the dial.
    pub(super) async fn get<E>(&self, dial: impl Future<Output = Result<Channel, E>>) -> Result<Channel, E> {
        let mut slot = self.open.lock().await;
        if let Some(open) = &mut *slot {
            open.used_at = Instant::now();
            return Ok(open.channel.clone());
        }
        let channel = dial.await?;
        let closing = self.shutdown.spawn("idle look-ups", close_when_idle(Arc::downgrade(&self.open)));
        *slot = Some(Open {
            channel: channel.clone(),
            used_at: Instant::now(),
            _closing: AbortOnDropHandle::new(closing),
        });
        Ok(channel)
    }

    /// The next call dials anew.
    pub(super) async fn close(&self) {
        self.open.lock().await.take();
    }
}

async fn close_when_idle(slot: Weak<Mutex<Option<Open>>>) {
    while let Some(slot) = slot.upgrade() {
        let left = {
            let mut slot = slot.lock().await;
            let Some(open) = &*slot else { return };
            let left = IDLE.saturating_sub(open.used_at.elapsed());
            if left.is_zero() {
                *slot = None;
                return;
            }
            left
        };
        drop(slot);
        sleep(left).await;
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tonic::transport::Endpoint;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_is_not_used_for_a_minute_is_closed_and_one_that_is_used_is_kept() {
        let kept = Kept::new(Shutdown::new());
        let dial = async || Ok::<_, Infallible>(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
        let second = Duration::from_secs(1);
        let nearly = IDLE.checked_sub(second).expect("a minute is longer");
        for _ in 0..3 {
            let Ok(_) = kept.get(dial()).await;
            sleep(nearly).await;
            assert!(kept.open.lock().await.is_some());
        }
        sleep(2 * second).await;
        assert!(kept.open.lock().await.is_none());
        let Ok(_) = kept.get(dial()).await;
        kept.close().await;
        let Ok(_) = kept.get(dial()).await;
        sleep(nearly).await;
        assert!(kept.open.lock().await.is_some(), "the one that was closed before takes nothing with it");
    }
}
