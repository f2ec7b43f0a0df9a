//! Owned tasks that end: every task of a daemon is spawned here, hears the stop, and is waited for.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFuture, WaitForCancellationFutureOwned},
    task::TaskTracker,
};
use tracing::Instrument;

/// What the runtime needs of a task is compiled once for each output, not once for each place that spawns.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A family of tasks with one stop; cheap to clone. Children stop with their parent, not the reverse.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// With no task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A family that stops with this one and is waited for by it, and that can be stopped alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tasks: self.tasks.clone() }
    }

    /// Spawns a task under a span of that name. It is dropped at its next await when the stop comes.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn_boxed(name, Box::pin(future))
    }

    fn spawn_boxed<T: Send + 'static>(&self, name: &'static str, future: Boxed<T>) -> JoinHandle<Option<T>> {
        let token = self.token.clone();
        let stoppable = async move { token.run_until_cancelled(future).await };
        self.tasks.spawn(stoppable.instrument(tracing::debug_span!("task", name)))
    }

    /// Spawns a task that watches for the stop itself, because it has something to finish.
    pub fn spawn_draining<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.drain_boxed(name, Box::pin(future))
    }

    fn drain_boxed<T: Send + 'static>(&self, name: &'static str, future: Boxed<T>) -> JoinHandle<T> {
        self.tasks.spawn(future.instrument(tracing::debug_span!("task", name)))
    }

    /// Spawns blocking work, which is waited for and has to look at [`Self::is_stopping`] itself.
    pub fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        self.tasks.spawn_blocking(work)
    }

    /// Tells every task to stop. Returns at once.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// The stop was told.
    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Completes when the stop is told.
    pub fn stopping(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// As [`Self::stopping`], for keeps.
    pub fn stopping_owned(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// Stops and waits for every task, at most `grace`. False when some were still running then.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.stop();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

/// Completes at SIGTERM or SIGINT.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn drain_waits_for_tasks_and_says_which_way_it_ended() {
        let shutdown = Shutdown::new();
        shutdown.spawn("endless", std::future::pending::<()>());
        assert!(shutdown.drain(Duration::from_secs(1)).await);

        let shutdown = Shutdown::new();
        let child = shutdown.child();
        child.spawn_draining("stubborn", std::future::pending::<()>());
        assert!(!shutdown.drain(Duration::from_secs(1)).await);
        assert!(child.is_stopping());
    }
}
