//! What the service manager is told: that the daemon is ready, what it does, that it lives, that it stops.
//!
//! Invariant: without `NOTIFY_SOCKET` in the environment nothing happens at all, and a manager that does not listen stops
//! no daemon.

use std::{future::Future, time::Duration};

use sd_notify::NotifyState;

use crate::shutdown::Shutdown;

/// Told while a daemon runs, so that its status line does not lie for long.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Speaks to the service manager of this process.
#[derive(Debug, Clone, Copy)]
pub struct Manager {
    watchdog: Option<Duration>,
    is_there: bool,
}

impl Manager {
    /// As the environment says. It is not removed there: what a daemon starts is nobody the manager would listen to.
    pub fn of_process() -> Self {
        let is_there = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = is_there.then(sd_notify::watchdog_enabled).flatten();
        Self { watchdog, is_there }
    }

    /// Starts to tell: `READY=1` when `ready` completes with true, then a status line, and a sign of life when asked for, as long
    /// as the runtime gets to it; `STOPPING=1` with the stop.
    pub fn start(
        self,
        shutdown: &Shutdown,
        ready: impl Future<Output = bool> + Send + 'static,
        status: impl Fn() -> String + Send + Sync + 'static,
    ) {
        if !self.is_there {
            return;
        }
        let stopping = shutdown.stopping_owned();
        shutdown.spawn_draining("manager", async move {
            tokio::pin!(stopping);
            tokio::select! {
                () = self.tell_all(ready, status) => {}
                () = &mut stopping => {}
            }
            stopping.await;
            tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        });
    }

    async fn tell_all(self, ready: impl Future<Output = bool>, status: impl Fn() -> String) {
        // A watchdog counts from the start of the process, joined or not.
        let signs = async {
            let Some(within) = self.watchdog else { return std::future::pending().await };
            // Half of the time, as the manager's documentation asks.
            let mut ticks = tokio::time::interval(within / 2);
            loop {
                ticks.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        };
        let words = async {
            tell(&[NotifyState::Status(&status())]);
            if !ready.await {
                return;
            }
            tell(&[NotifyState::Ready, NotifyState::Status(&status())]);
            let mut told = status();
            loop {
                tokio::time::sleep(STATUS_EVERY).await;
                let now = status();
                if now != told {
                    tell(&[NotifyState::Status(&now)]);
                    told = now;
                }
            }
        };
        tokio::join!(signs, words);
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager does not listen");
    }
}
