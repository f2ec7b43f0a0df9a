//! How many hits a query still wants when some are enough. Many holders of one content are one hit.

use std::collections::HashSet;

use crate::protocol::{action::FileInfo, id::ContentHash};

/// Counts the contents that are still wanted. Many holders of one content are one hit.
#[derive(Debug)]
pub(super) struct Wanted {
    left: u32,
    seen: HashSet<ContentHash>,
}

impl Wanted {
    /// So many are.
    pub(super) fn new(want: u32) -> Self {
        Self { left: want, seen: HashSet::new() }
    }

    /// None is any more.
    pub(super) fn is_enough(&self) -> bool {
        self.left == 0
    }

    /// Passes what is wanted; at most `left` contents and everyone who has them.
    pub(super) fn is_wanted(&mut self, file: &FileInfo) -> bool {
        if file.hash.is_some_and(|hash| self.seen.contains(&hash)) {
            return true;
        }
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.seen.extend(file.hash);
        true
    }
}
