//! A list that is longer than its place on the screen: which row is chosen, and which rows are shown around it.
//!
//! Invariant: what is chosen and shown is inside the list, however the list and the window change.

use std::ops::Range;

/// The chosen row of a list. It keeps to its item while rows come and go, and to its place when the item is gone.
#[derive(Debug, Clone)]
pub struct Cursor<K> {
    /// `None` is the first row, whatever stands there.
    key: Option<K>,
    row: usize,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self { key: None, row: 0 }
    }
}

impl<K: PartialEq + Clone> Cursor<K> {
    /// The chosen row.
    pub fn row(&self) -> usize {
        self.row
    }

    /// The list changed.
    pub fn settle<'a>(&mut self, keys: impl ExactSizeIterator<Item = &'a K> + Clone)
    where
        K: 'a,
    {
        let Some(key) = &self.key else { return self.row = 0 };
        match keys.clone().position(|other| other == key) {
            Some(row) => self.row = row,
            None => self.choose(self.row, keys),
        }
    }

    /// That row, or the last one.
    pub fn choose<'a>(&mut self, row: usize, mut keys: impl ExactSizeIterator<Item = &'a K>)
    where
        K: 'a,
    {
        self.row = row.min(keys.len().saturating_sub(1));
        // The first row is where new ones come: it is not left by itself.
        self.key = if self.row == 0 { None } else { keys.nth(self.row).cloned() };
    }
}

/// The rows to be shown where there is room for so many: the chosen one in their midst, unless an end of the list is near.
pub fn window(rows: usize, room: usize, chosen: usize) -> Range<usize> {
    let start = chosen.saturating_sub(room / 2).min(rows.saturating_sub(room));
    start..(start + room).min(rows)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_keeps_to_its_item_then_to_its_place_and_stays_first_at_the_top() {
        let mut cursor = Cursor::default();
        cursor.choose(2, [1, 2, 3, 4].iter());
        cursor.settle([9, 1, 2, 3, 4].iter());
        assert_eq!(cursor.row(), 3, "with its item");
        cursor.settle([9, 1, 2, 4].iter());
        assert_eq!(cursor.row(), 3, "in its place");
        cursor.settle([9, 1].iter());
        assert_eq!(cursor.row(), 1, "inside");
        cursor.settle([].iter());
        assert_eq!(cursor.row(), 0);
        cursor.choose(0, [5, 6].iter());
        cursor.settle([7, 5, 6].iter());
        assert_eq!(cursor.row(), 0, "what is new is seen");
    }

    proptest! {
        #[test]
        fn the_chosen_row_is_shown_and_no_place_is_left_empty(rows in 0usize..300, room in 0usize..60, chosen in 0usize..300) {
            let shown = window(rows, room, chosen);
            prop_assert_eq!(shown.len(), room.min(rows));
            prop_assert!(shown.end <= rows);
            if chosen < rows && room > 0 {
                prop_assert!(shown.contains(&chosen));
            }
        }
    }
}
