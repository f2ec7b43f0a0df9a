//! Which pieces of a file: a bit a piece, so that the largest file takes 2 KiB. A piece beyond the number that the set was
//! made for is never in it.

use std::ops::Range;

/// A set of piece numbers below a fixed bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PieceSet {
    words: Box<[u64]>,
    pieces: u32,
    len: u32,
}

impl PieceSet {
    /// Empty, for a file of so many pieces.
    pub fn new(pieces: u32) -> Self {
        Self { words: vec![0; pieces.div_ceil(u64::BITS) as usize].into(), pieces, len: 0 }
    }

    /// True when it was not in it, and is now.
    pub fn insert(&mut self, piece: u32) -> bool {
        let is_new = piece < self.pieces && !self.contains(piece);
        if is_new {
            self.words[word(piece)] |= bit(piece);
            self.len += 1;
        }
        is_new
    }

    /// True when it was in it.
    pub fn remove(&mut self, piece: u32) -> bool {
        let was_in = self.contains(piece);
        if was_in {
            self.words[word(piece)] &= !bit(piece);
            self.len -= 1;
        }
        was_in
    }

    /// Whether it is in it.
    pub fn contains(&self, piece: u32) -> bool {
        piece < self.pieces && self.words[word(piece)] & bit(piece) != 0
    }

    /// How many are in it.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// None is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All are in it; so are those of a file without pieces.
    pub fn is_full(&self) -> bool {
        self.len == self.pieces
    }

    /// The bound that it was made with.
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Longest runs of pieces that are in it, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.runs(true)
    }

    /// Longest runs of pieces that are not in it, in order.
    pub fn gaps(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.runs(false)
    }

    fn runs(&self, is_in: bool) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = (at..self.pieces).find(|&piece| self.contains(piece) == is_in)?;
            let end = (start..self.pieces).find(|&piece| self.contains(piece) != is_in);
            at = end.unwrap_or(self.pieces);
            Some(start..at)
        })
    }
}

fn word(piece: u32) -> usize {
    (piece / u64::BITS) as usize
}

fn bit(piece: u32) -> u64 {
    1 << (piece % u64::BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_set_of_numbers_would_hold(
            pieces in 0u32..200,
            changes in prop::collection::vec((0u32..210, any::<bool>()), 0..300),
        ) {
            let (mut set, mut plain) = (PieceSet::new(pieces), BTreeSet::new());
            for (piece, is_in) in changes {
                if is_in {
                    prop_assert_eq!(set.insert(piece), piece < pieces && plain.insert(piece));
                } else {
                    prop_assert_eq!(set.remove(piece), plain.remove(&piece));
                }
            }
            prop_assert_eq!(set.len() as usize, plain.len());
            prop_assert_eq!(set.is_full(), plain.len() == pieces as usize);
            prop_assert_eq!(set.is_empty(), plain.is_empty());
            prop_assert!(set.ranges().flatten().eq(plain.iter().copied()));
            prop_assert!(set.gaps().flatten().eq((0..pieces).filter(|piece| !plain.contains(piece))));
            prop_assert!(set.ranges().zip(set.ranges().skip(1)).all(|(one, next)| one.end < next.start));
        }
    }
}
