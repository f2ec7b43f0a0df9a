//! Where bytes are written: by the task that has them while the disk takes them at once, as they are in that
//! processor's cache, which is worth a third of a download's CPU time.
//!
//! Invariant: never more than one worker of the runtime is at the disk, and never the only one, so that a disk that
//! hangs leaves somebody to go on.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// A write into the system's cache takes 0.1 ms, and some more when the processor is busy: what takes longer waited for
/// the disk, and the rest of the file is left to threads that may wait.
pub(super) const SLOW_WRITE: Duration = Duration::from_millis(50);

/// Held by the worker of the runtime that writes just now.
static AT_THE_DISK: Mutex<()> = Mutex::new(());

/// Whether this runtime has a worker to spare.
pub(super) fn has_workers() -> bool {
    let runtime = Handle::current();
    runtime.runtime_flavor() == RuntimeFlavor::MultiThread && runtime.metrics().num_workers() > 1
}

/// The turn of this worker, unless another one is at the disk.
pub(super) fn at_the_disk() -> Option<MutexGuard<'static, ()>> {
    AT_THE_DISK.try_lock().ok()
}
