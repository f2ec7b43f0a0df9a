//! Brings the kept downloads to disk, off the tasks that change them.
//!
//! Invariant: of each job the last state is written, in the end; what waits to be written is bounded by the jobs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use crate::{
    shutdown::Shutdown,
    store::jobs::{Job, Jobs},
};

/// Numbers of what is not kept, uploads above all, are written no oftener: they only keep numbers from meaning two things.
const NUMBER_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct Dirty {
    /// `None` forgets.
    jobs: BTreeMap<u64, Option<Job>>,
    last_id: Option<u64>,
    /// Changes so far.
    asked: u64,
}

#[derive(Debug)]
pub(super) struct Saver {
    // A std lock: held to note one change.
    dirty: Mutex<Dirty>,
    wake: Notify,
    wake_for_number: Notify,
    written: watch::Sender<u64>,
}

impl Saver {
    /// Writes until the stop, and then what is left.
    pub(super) fn start(jobs: Jobs, shutdown: &Shutdown) -> Arc<Self> {
        let this = Arc::new(Self {
            dirty: Mutex::default(),
            wake: Notify::new(),
            wake_for_number: Notify::new(),
            written: watch::Sender::new(0),
        });
        let (saver, stop, jobs) = (Arc::clone(&this), shutdown.clone(), Arc::new(jobs));
        drop(shutdown.spawn_draining("save transfers", async move {
            while !stop.is_stopping() {
                let number = async {
                    saver.wake_for_number.notified().await;
                    tokio::time::sleep(NUMBER_EVERY).await;
                };
                tokio::select! {
                    () = saver.wake.notified() => {}
                    () = number => {}
                    () = stop.stopping() => {}
                }
                // What changes while this writes becomes one write of each job.
                saver.write(&jobs).await;
            }
            saver.write(&jobs).await;
            // Nobody waits for what is never written.
            saver.written.send_replace(u64::MAX);
        }));
        this
    }

    async fn write(&self, jobs: &Arc<Jobs>) {
        let dirty = {
            let mut dirty = self.lock();
            let asked = dirty.asked;
            std::mem::replace(&mut *dirty, Dirty { asked, ..Dirty::default() })
        };
        let (asked, jobs) = (dirty.asked, Arc::clone(jobs));
        let done = tokio::task::spawn_blocking(move || {
            for (id, job) in &dirty.jobs {
                let written = job.as_ref().map_or_else(|| jobs.forget(*id), |job| jobs.keep(job));
                if let Err(error) = written {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(id, %error, cause, "a restart may not know how this transfer stands");
                }
            }
            if let Some(Err(error)) = dirty.last_id.map(|id| jobs.keep_last_id(id)) {
                tracing::debug!(%error, "a restart may number transfers as they were numbered before");
            }
        });
        if done.await.is_err() {
            tracing::warn!("writing the kept downloads failed");
        }
        self.written.send_replace(asked);
    }

    /// Notes how a job stands, `None` when it is to be forgotten.
    pub(super) fn save(&self, id: u64, job: Option<Job>) {
        let mut dirty = self.lock();
        dirty.jobs.insert(id, job);
        dirty.asked += 1;
        self.wake.notify_one();
    }

    /// Notes a number that was given. They rise.
    pub(super) fn note_id(&self, id: u64) {
        let mut dirty = self.lock();
        dirty.last_id = Some(id);
        self.wake_for_number.notify_one();
    }

    /// Waits until all jobs that were noted so far are written.
    pub(super) async fn saved(&self) {
        let asked = self.lock().asked;
        let _ = self.written.subscribe().wait_for(|written| *written >= asked).await;
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
