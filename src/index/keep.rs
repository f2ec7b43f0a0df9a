//! The one task that changes the table after folders: full walks, touched paths, shares that come and go. One at a time, so
//! that the last look at a path always wins.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Inner, hash, scan,
    shares::Share,
    watch::{Watch, Wish},
};
use crate::shutdown::Shutdown;

/// The safety net under the live changes.
const WALK_EVERY: Duration = Duration::from_secs(600);
/// Where folders cannot be watched, walking is all there is.
const WALK_BLIND_EVERY: Duration = Duration::from_secs(60);
/// A walk takes at most this part of the time: 1 %.
const WALK_REST: u32 = 100;
/// How often a share that cannot be read is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Keeper {
    inner: Arc<Inner>,
    watch: Watch,
    shutdown: Shutdown,
    last_walk: Instant,
    walk_took: Duration,
}

/// Keeps the table until the stop is told, then writes what is known and closes the file.
pub(super) async fn run(inner: Arc<Inner>, shutdown: Shutdown) {
    let readers: Vec<_> = (0..hash::READERS)
        .map(|reader| {
            shutdown.spawn_draining("hash", hash::run(Arc::clone(&inner), reader, shutdown.clone()))
        })
        .collect();
    let watch = Watch::new(Arc::clone(&inner.wishes));
    let mut keeper = Keeper {
        inner: Arc::clone(&inner),
        watch,
        shutdown: shutdown.clone(),
        last_walk: Instant::now(),
        walk_took: Duration::ZERO,
    };
    while !shutdown.is_stopping() {
        let worked = shutdown.spawn_blocking(move || {
            keeper.work();
            keeper
        });
        keeper = match worked.await {
            Ok(keeper) => keeper,
            Err(error) => {
                tracing::error!(%error, "the index stopped following the shares; restart the peer");
                break;
            }
        };
        tokio::select! {
            () = shutdown.stopping() => {}
            () = inner.wishes.made() => {}
            () = tokio::time::sleep(keeper.next_look()) => keeper.look_again(),
        }
    }
    shutdown.stopping().await;
    for reader in readers {
        let _ = reader.await;
    }
    let closing = Arc::clone(&inner);
    let _ = shutdown.spawn_blocking(move || closing.known.close()).await;
    inner.is_stopped.store(true, Ordering::Release);
    inner.has_changed();
}

impl Keeper {
    /// Does what is wished, until nothing is.
    fn work(&mut self) {
        self.inner.is_busy.store(true, Ordering::Release);
        loop {
            let wish = self.inner.wishes.take();
            let walks_all = wish.walk_all > self.inner.walked.load(Ordering::Acquire);
            if self.shutdown.is_stopping()
                || !walks_all && wish.walk.is_empty() && wish.touched.is_empty() && !wish.has_new_shares
            {
                self.inner.is_busy.store(false, Ordering::Release);
                self.inner.has_changed();
                return;
            }
            self.fulfill(wish, walks_all);
        }
    }

    fn fulfill(&mut self, wish: Wish, walks_all: bool) {
        let (inner, shutdown) = (Arc::clone(&self.inner), self.shutdown.clone());
        let shares = inner.share_list();
        let mut walked: Vec<&Share> =
            shares.iter().filter(|share| walks_all || wish.walk.contains(&share.name)).collect();
        if walked.is_empty() && !walks_all {
            // Folders of shares that are gone are not to be watched.
            if wish.has_new_shares {
                self.watch.follow(&folders(&shares));
            }
            scan::look_at(&inner, &shares, wish.touched, &shutdown);
            if !wish.walk.is_empty() {
                // Shares that were taken away before they were walked.
                inner.set_scanning(false);
            }
            inner.want_hashes();
            return;
        }
        inner.set_scanning(true);
        let begun = Instant::now();
        walked.dedup_by(|left, right| left.name == right.name);
        self.walk(&shares, &walked);
        scan::look_at(&inner, &shares, wish.touched, &shutdown);
        if shutdown.is_stopping() {
            return;
        }
        if walks_all {
            let is_there = |path: &str| inner.is_on_disk_path_indexed(&shares, path);
            inner.known.prune(inner.files().totals().files, is_there);
            (self.last_walk, self.walk_took) = (Instant::now(), begun.elapsed());
            inner.walked.store(wish.walk_all, Ordering::Release);
            inner.has_changed();
        }
        inner.want_hashes();
        // Names are wanted sooner than watches, of which each folder costs one. What changed in between is seen by a
        // second walk, which comes after the watch, so that nothing falls between.
        if self.watch.follow(&folders(&shares)) {
            self.walk(&shares, &walked);
        }
        inner.set_scanning(false);
        inner.want_hashes();
    }

    fn walk(&self, shares: &[Share], walked: &[&Share]) {
        let (inner, shutdown) = (&self.inner, &self.shutdown);
        for share in walked {
            scan::walk_share(inner, share, shutdown, &mut || {
                let touched = inner.wishes.take_touched();
                if !touched.is_empty() {
                    scan::look_at(inner, shares, touched, shutdown);
                }
            });
        }
    }

    fn next_look(&self) -> Duration {
        let every = if self.watch.is_blind { WALK_BLIND_EVERY } else { WALK_EVERY };
        let due = every.max(self.walk_took * WALK_REST).saturating_sub(self.last_walk.elapsed());
        let is_troubled = self.inner.share_list().iter().any(|share| share.problem.is_some());
        if is_troubled { due.min(LOOK_EVERY) } else { due }
    }

    /// The time of [`Self::next_look`] has come.
    fn look_again(&self) {
        let every = if self.watch.is_blind { WALK_BLIND_EVERY } else { WALK_EVERY };
        let is_due = self.last_walk.elapsed() >= every.max(self.walk_took * WALK_REST);
        let shares = self.inner.share_list();
        self.inner.wishes.make(|wish| {
            if is_due {
                wish.walk_all += 1;
            }
            let back =
                shares.into_iter().filter(|share| share.problem.is_some() && share.folder.read_dir().is_ok());
            wish.walk.extend(back.map(|share| share.name));
        });
    }
}

fn folders(shares: &[Share]) -> Vec<std::path::PathBuf> {
    shares.iter().map(|share| share.folder.clone()).collect()
}
