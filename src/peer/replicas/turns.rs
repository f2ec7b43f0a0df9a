//! One put or end of a put of a content at a time: two at once would each make a key, and one of the keys would be lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use crate::protocol::id::ContentHash;

/// Cheap to clone. Bounded by the transfers that run.
#[derive(Debug, Clone, Default)]
pub(in crate::peer) struct Turns(
    // A std lock: held for a look-up.
    Arc<Mutex<HashMap<ContentHash, Arc<tokio::sync::Mutex<()>>>>>,
);

/// Until it is dropped nobody else has the turn of that content.
pub(super) type ContentTurn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for the turn of a content.
    pub(super) async fn wait(&self, hash: ContentHash) -> ContentTurn {
        self.of(hash).lock_owned().await
    }

    /// The turn of a content, if nobody has it.
    pub(super) fn take(&self, hash: ContentHash) -> Option<ContentTurn> {
        self.of(hash).try_lock_owned().ok()
    }

    fn of(&self, hash: ContentHash) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns: MutexGuard<'_, HashMap<_, Arc<_>>> =
            self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(hash).or_default().clone()
    }
}
