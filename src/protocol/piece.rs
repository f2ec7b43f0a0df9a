//! The piece tree under a content hash: every aligned piece of a file can be checked alone, against values that are
//! themselves checked against the hash before any of them is believed.
//!
//! The values are the chaining values of BLAKE3 subtrees (`blake3::hazmat`), so that the root stays the plain BLAKE3 of
//! the file. Invariant: a [`Tree`] exists only when its values merge to the root it was made for. The root binds the
//! bytes but not what a holder says of their number: a wrong size with the right number of pieces makes a tree too,
//! and is found out by the last piece, which nobody can bring then.

pub mod set;

use std::{ops::Range, sync::Arc};

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::id::ContentHash;

/// Smallest piece: what a bad one costs, and the most that each stream fetches twice after a crash. 32 KiB of values a
/// GiB.
pub const MIN_PIECE_BYTES: u64 = 1 << 20;
/// Most pieces of a file, so that its values fit one message of 512 KiB; above 16 GiB pieces grow instead.
pub const MAX_PIECES: u32 = 16_384;
/// Size of one value in bytes.
pub const VALUE_BYTES: usize = 32;

/// How a file is cut into pieces; decided by its size alone, so that both ends agree without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    size_bytes: u64,
    piece_bytes: u64,
}

impl Layout {
    /// For a file of that size.
    pub fn of(size_bytes: u64) -> Self {
        // A power of two, as subtrees have; 2^63 pieces of one file are beyond any size.
        let least = size_bytes.div_ceil(u64::from(MAX_PIECES));
        let piece_bytes = least.checked_next_power_of_two().unwrap_or(1 << 63).max(MIN_PIECE_BYTES);
        Self { size_bytes, piece_bytes }
    }

    /// Of the file.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Of every piece but the last.
    pub fn piece_bytes(&self) -> u64 {
        self.piece_bytes
    }

    /// How many there are; an empty file has none.
    pub fn pieces(&self) -> u32 {
        u32::try_from(self.size_bytes.div_ceil(self.piece_bytes)).expect("at most MAX_PIECES")
    }

    /// The bytes of a piece; empty behind the last one.
    pub fn range(&self, piece: u32) -> Range<u64> {
        let offset = u64::from(piece).saturating_mul(self.piece_bytes).min(self.size_bytes);
        offset..offset.saturating_add(self.piece_bytes).min(self.size_bytes)
    }

    /// The bytes of consecutive pieces.
    pub fn bytes_of(&self, pieces: Range<u32>) -> Range<u64> {
        if pieces.is_empty() {
            let at = self.range(pieces.start).start;
            return at..at;
        }
        self.range(pieces.start).start..self.range(pieces.end - 1).end
    }

    /// The piece that holds a byte of the file.
    pub fn piece_at(&self, offset: u64) -> u32 {
        u32::try_from(offset / self.piece_bytes).unwrap_or(u32::MAX)
    }

    /// Whether values are needed beside the root: a single piece is checked against the root itself.
    pub fn has_values(&self) -> bool {
        self.pieces() > 1
    }

    /// Bytes of all values of such a file.
    pub fn values_bytes(&self) -> usize {
        if self.has_values() { self.pieces() as usize * VALUE_BYTES } else { 0 }
    }
}

/// Why values are not those of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WrongTree {
    /// Too few, too many, or a piece of a value.
    #[error("the piece values are {found} bytes long, not {expected}")]
    Length {
        /// In bytes.
        expected: usize,
        /// In bytes.
        found: usize,
    },
    /// They belong to another content.
    #[error("the piece values are not those of the content hash")]
    Root,
}

/// The values of a file's pieces, known to be those of its hash; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: ContentHash,
    layout: Layout,
    /// None when there is one piece or no piece.
    values: Arc<[ChainingValue]>,
}

impl Tree {
    /// From values that somebody told.
    ///
    /// # Errors
    /// When they do not merge to `root`.
    pub fn from_values(root: ContentHash, size_bytes: u64, values: &[u8]) -> Result<Self, WrongTree> {
        let layout = Layout::of(size_bytes);
        let (expected, found) = (layout.values_bytes(), values.len());
        if expected != found {
            return Err(WrongTree::Length { expected, found });
        }
        let (values, _) = values.as_chunks::<VALUE_BYTES>();
        if !values.is_empty() && merged(values) != root {
            return Err(WrongTree::Root);
        }
        Ok(Self { root, layout, values: values.into() })
    }

    /// The content hash.
    pub fn root(&self) -> ContentHash {
        self.root
    }

    /// How the file is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// As they are told to others; empty when the root says it all.
    pub fn values(&self) -> Vec<u8> {
        self.values.concat()
    }
}

/// The check of one piece, fed with its bytes in order.
#[derive(Debug)]
pub struct PieceCheck {
    tree: Tree,
    piece: u32,
    hasher: blake3::Hasher,
    left: u64,
}

impl PieceCheck {
    /// Before its first byte. A piece behind the last is never right.
    pub fn new(tree: &Tree, piece: u32) -> Self {
        let range = tree.layout.range(piece);
        let mut hasher = blake3::Hasher::new();
        if tree.layout.has_values() && !range.is_empty() {
            hasher.set_input_offset(range.start);
        }
        Self { tree: tree.clone(), piece, hasher, left: range.end - range.start }
    }

    /// The next bytes. Those beyond the piece make it wrong.
    pub fn update(&mut self, bytes: &[u8]) {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                self.hasher.update(bytes);
            }
            // More than a subtree holds must never reach the hasher, which would panic.
            None => self.left = u64::MAX,
        }
    }

    /// Whether the piece is whole and right.
    pub fn is_right(&self) -> bool {
        if self.left != 0 {
            return false;
        }
        if !self.tree.layout.has_values() {
            return self.hasher.finalize() == *self.tree.root.as_bytes();
        }
        let value = self.tree.values.get(self.piece as usize);
        value.is_some_and(|value| self.hasher.finalize_non_root() == *value)
    }
}

/// Makes hash and tree of a file whose size is known, fed with its bytes in order. Fed with more or fewer bytes it gives
/// nothing.
#[derive(Debug)]
pub struct TreeHasher {
    layout: Layout,
    hasher: blake3::Hasher,
    values: Vec<ChainingValue>,
    reached: u64,
}

impl TreeHasher {
    /// Before the first byte.
    pub fn new(size_bytes: u64) -> Self {
        let layout = Layout::of(size_bytes);
        Self { layout, hasher: blake3::Hasher::new(), values: Vec::new(), reached: 0 }
    }

    /// The next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if self.reached.saturating_add(bytes.len() as u64) > self.layout.size_bytes {
            self.reached = u64::MAX;
            return;
        }
        if !self.layout.has_values() {
            self.hasher.update(bytes);
            self.reached += bytes.len() as u64;
            return;
        }
        while !bytes.is_empty() {
            let end = self.layout.range(self.layout.piece_at(self.reached)).end;
            let left = usize::try_from(end - self.reached).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(left.min(bytes.len()));
            self.hasher.update(now);
            self.reached += now.len() as u64;
            bytes = later;
            if self.reached == end {
                self.values.push(self.hasher.finalize_non_root());
                // A reset hasher would keep its offset.
                self.hasher = blake3::Hasher::new();
                if end < self.layout.size_bytes {
                    self.hasher.set_input_offset(end);
                }
            }
        }
    }

    /// The tree, when exactly as many bytes came as were said.
    pub fn finish(self) -> Option<Tree> {
        if self.reached != self.layout.size_bytes {
            return None;
        }
        let root = if self.values.is_empty() {
            ContentHash::from_bytes(*self.hasher.finalize().as_bytes())
        } else {
            merged(&self.values)
        };
        Some(Tree { root, layout: self.layout, values: self.values.into() })
    }
}

/// The root over two values or more.
fn merged(values: &[ChainingValue]) -> ContentHash {
    let (left, right) = halves(values);
    let root = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
    ContentHash::from_bytes(*root.as_bytes())
}

fn subtree(values: &[ChainingValue]) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values);
    merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// The left subtree holds the largest power of two of pieces that leaves one for the right (BLAKE3 paper, section 2.1).
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = MIN_PIECE_BYTES;

    fn content(size_bytes: u64) -> Vec<u8> {
        (0..size_bytes).map(|at| (at % 251).to_le_bytes()[0] ^ (at >> 20).to_le_bytes()[0]).collect()
    }

    fn tree_of(content: &[u8], cut: usize) -> Tree {
        let mut hasher = TreeHasher::new(content.len() as u64);
        content.chunks(cut).for_each(|bytes| hasher.update(bytes));
        hasher.finish().expect("all bytes came")
    }

    #[test]
    fn the_root_is_the_plain_hash_at_every_edge_of_a_piece() {
        for size in [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB - 1, 5 * MIB + 7] {
            let content = content(size);
            let tree = tree_of(&content, 300_001);
            assert_eq!(tree.root().as_bytes(), blake3::hash(&content).as_bytes(), "{size} bytes");
            assert_eq!(u64::from(tree.layout().pieces()), size.div_ceil(MIB));
            assert_eq!(Tree::from_values(tree.root(), size, &tree.values()), Ok(tree.clone()));
            for piece in 0..tree.layout().pieces() {
                let range = tree.layout().range(piece);
                let bytes = &content
                    [usize::try_from(range.start).expect("fits")..usize::try_from(range.end).expect("fits")];
                let mut check = PieceCheck::new(&tree, piece);
                bytes.chunks(70_000).for_each(|bytes| check.update(bytes));
                assert!(check.is_right(), "piece {piece} of {size} bytes");
                let mut wrong = PieceCheck::new(&tree, piece);
                let mut bent = bytes.to_vec();
                *bent.last_mut().expect("not empty") ^= 1;
                wrong.update(&bent);
                assert!(!wrong.is_right());
                let mut short = PieceCheck::new(&tree, piece);
                short.update(&bytes[1..]);
                assert!(!short.is_right());
                let mut long = PieceCheck::new(&tree, piece);
                long.update(bytes);
                long.update(&[0; 2048]);
                assert!(!long.is_right());
            }
        }
    }

    #[test]
    fn values_of_another_content_or_number_are_no_tree() {
        let tree = tree_of(&content(3 * MIB), 1 << 20);
        let mut values = tree.values();
        values[40] ^= 1;
        assert_eq!(Tree::from_values(tree.root(), 3 * MIB, &values), Err(WrongTree::Root));
        let short = &tree.values()[..64];
        assert_eq!(
            Tree::from_values(tree.root(), 3 * MIB, short),
            Err(WrongTree::Length { expected: 96, found: 64 })
        );
        assert!(Tree::from_values(tree.root(), 1, &[0; 32]).is_err());
    }

    #[test]
    fn a_wrong_size_is_found_out_by_the_last_piece() {
        let content = content(3 * MIB);
        let tree = tree_of(&content, 1 << 20);
        // As many pieces, and the values are right: only the last piece can tell.
        let lie = Tree::from_values(tree.root(), 3 * MIB - 5, &tree.values()).expect("merges to the root");
        let mut check = PieceCheck::new(&lie, 2);
        check.update(&content[2 << 20..(3 << 20) - 5]);
        assert!(!check.is_right());
    }

    #[test]
    fn a_piece_behind_the_last_is_never_right() {
        for size in [0, 5, MIB + 5] {
            let tree = tree_of(&content(size), 1 << 20);
            let piece = tree.layout().pieces() + 1;
            assert!(size == 0 || !PieceCheck::new(&tree, piece).is_right());
        }
    }

    #[test]
    fn pieces_grow_when_they_would_be_too_many() {
        assert_eq!(Layout::of(16 << 30).piece_bytes(), MIB);
        assert_eq!(Layout::of((16 << 30) + 1).piece_bytes(), 2 * MIB);
        assert!(Layout::of(u64::MAX).pieces() <= MAX_PIECES);
        let layout = Layout::of(2 * MIB + 5);
        assert_eq!((layout.range(2), layout.range(3)), (2 * MIB..2 * MIB + 5, 2 * MIB + 5..2 * MIB + 5));
        assert_eq!((layout.bytes_of(1..3), layout.bytes_of(1..1)), (MIB..2 * MIB + 5, MIB..MIB));
        assert_eq!(layout.piece_at(2 * MIB), 2);
    }

    #[test]
    fn too_many_or_too_few_bytes_make_no_tree() {
        let mut more = TreeHasher::new(10);
        more.update(&[0; 11]);
        assert!(more.finish().is_none());
        let mut fewer = TreeHasher::new(10);
        fewer.update(&[0; 9]);
        assert!(fewer.finish().is_none());
    }
}
