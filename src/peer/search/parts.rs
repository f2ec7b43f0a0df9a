//! What a query that runs needs of its peer.
//!
//! Invariant: whoever goes away gives its turn at the index back no sooner than its search of it ends.

use std::{sync::Arc, time::Instant};

use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;

use super::{
    super::{activity::Activities, links::Links, upload::Uploads},
    turns::{Line, Turns},
};
use crate::{
    index::Index,
    protocol::{action::FileInfo, query::Query},
    shutdown::Shutdown,
};

/// Names that are searched without leaving the thread: the broadest query over so many takes about 1 ms, and the way to
/// another thread and back 20 us.
const INLINE_FILES: u64 = 5_000;

/// What a query needs of its peer.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) index: Index,
    pub(super) links: Arc<Links>,
    pub(super) turns: Arc<Turns>,
    pub(super) uploads: Uploads,
    pub(super) activities: Activities,
    pub(super) shutdown: Shutdown,
}

impl Parts {
    /// Searches the index when it is this sender's turn; a large one on the blocking pool, so that a broad query does not
    /// hold up the others.
    pub(super) async fn look_up(
        self,
        line: Option<Arc<Line>>,
        query: Arc<Query>,
        most: usize,
    ) -> Vec<FileInfo> {
        let turn = self.turns.take(line.as_deref()).await;
        let index = self.index;
        if index.state().files <= INLINE_FILES {
            return index.search(&query, most);
        }
        // When this is dropped, since nobody listens any more, a search that runs ends soon and one that waits never begins.
        let wanted = Arc::new(());
        let seen = Arc::downgrade(&wanted);
        let search = move || {
            // Who goes away meanwhile gives the turn back no sooner.
            let (_turn, begun) = (turn, Instant::now());
            let files = index.search_while(&query, most, || seen.strong_count() > 0);
            if let Some(line) = line {
                line.charge(begun.elapsed(), Instant::now());
            }
            files
        };
        let files = AbortOnDropHandle::new(self.shutdown.spawn_blocking(search)).await;
        drop(wanted);
        files.unwrap_or_default()
    }
}

/// The own hits; `None` when they are not there in time, and then nobody goes on looking for them.
pub(super) async fn in_time(
    own: impl Future<Output = Vec<FileInfo>>,
    deadline: Instant,
) -> Option<Vec<FileInfo>> {
    timeout_at(deadline.into(), own).await.ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_index_that_does_not_answer_is_waited_for_until_the_deadline_and_no_longer() {
        let (begun, second) = (tokio::time::Instant::now(), Duration::from_secs(1));
        assert!(in_time(std::future::pending(), (begun + second).into_std()).await.is_none());
        assert!(begun.elapsed() < second + Duration::from_millis(10));
        assert!(in_time(async { Vec::new() }, Instant::now() + second).await.is_some());
    }
}
