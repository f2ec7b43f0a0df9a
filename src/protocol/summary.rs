//! What a peer tells its zone of the words that it can answer: a Bloom filter over them, so that a query is spared for
//! those who cannot have a hit. Gnutella called it the query routing table.
//!
//! Invariant: [`Summary::may_answer`] is false only for a peer none of whose files [`super::query::matches`] the query. It
//! may be true for a peer that has nothing: about one time in thirty for one word, one in a thousand for two.

pub mod book;

use super::{
    query::{Phrase, Query},
    text::words,
};

/// Bits for each key. With [`HASHES`], 3.5 % of the keys that are not there seem to be; a second word in a query squares
/// that, and a peer that is asked in vain costs one message.
const BITS_PER_KEY: usize = 7;
/// `BITS_PER_KEY * ln 2`, as Bloom (1970) has it.
const HASHES: u64 = 5;
/// The last word of a query may be the beginning of a longer one: of each word its beginnings of these lengths are in the
/// filter as well, in characters. Shorter beginnings are asked of everyone.
const PREFIX_CHARS: [usize; 3] = [3, 5, 8];
/// Largest filter: 1.2 million keys, some 400,000 different words. Who has more tells none and is always asked.
pub const MAX_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 8;
/// Most blocks in one change; when more differ the whole filter is shorter.
const MAX_CHANGE: usize = MAX_BYTES / BLOCK_BYTES / 2;

/// One thing that a filter can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key(u64, u64);

impl Key {
    fn word(word: &str) -> Self {
        Self::of(b'w', word)
    }

    fn prefix(prefix: &str) -> Self {
        Self::of(b'p', prefix)
    }

    /// BLAKE3, since every version of every peer has to come to the same.
    fn of(kind: u8, text: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]).update(text.as_bytes());
        let mut hash = hasher.finalize_xof();
        let (mut first, mut second) = ([0; 8], [0; 8]);
        hash.fill(&mut first);
        hash.fill(&mut second);
        Self(u64::from_le_bytes(first), u64::from_le_bytes(second))
    }

    /// By double hashing (Kirsch and Mitzenmacher, 2006).
    fn places(self, bits: u64) -> impl Iterator<Item = u64> {
        let step = self.1 | 1;
        (0..HASHES).map(move |turn| {
            let hash = self.0.wrapping_add(step.wrapping_mul(turn));
            // The high half of the product: as even as a remainder, and no division.
            ((u128::from(hash) * u128::from(bits)) >> 64) as u64
        })
    }
}

/// The first so many characters, when there are so many.
fn beginning(word: &str, chars: usize) -> Option<&str> {
    match word.char_indices().nth(chars) {
        Some((end, _)) => Some(&word[..end]),
        None => (word.chars().count() == chars).then_some(word),
    }
}

/// What a filter has to hold for a query to have a hit; made once per query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probe {
    /// All of these.
    all: Vec<Key>,
    /// One of these, unless there are none.
    any: Vec<Key>,
}

impl Probe {
    /// Of a query. What says nothing of words (a size, a hash, a negation, one or two letters) is passed over.
    pub fn of(query: &Query) -> Self {
        let mut probe = Self::default();
        for phrase in query.phrases() {
            probe.add(phrase);
        }
        let extensions = query.extensions().iter().map(|extension| words(extension).last());
        // One without a word could be anyone's.
        probe.any = extensions.map(|word| word.map(Key::word)).collect::<Option<_>>().unwrap_or_default();
        probe
    }

    fn add(&mut self, phrase: &Phrase) {
        let (last, head) = phrase.words().split_last().expect("a phrase has a word");
        self.all.extend(head.iter().map(|word| Key::word(word)));
        if phrase.is_prefix() {
            let longest = PREFIX_CHARS.iter().rev().find_map(|chars| beginning(last, *chars));
            self.all.extend(longest.map(Key::prefix));
        } else {
            self.all.push(Key::word(last));
        }
    }

    /// Tells nobody apart: everyone has to be asked.
    pub fn is_blind(&self) -> bool {
        self.all.is_empty() && self.any.is_empty()
    }
}

/// A Bloom filter of a peer's words.
#[derive(Clone, PartialEq, Eq)]
pub struct Summary {
    blocks: Box<[u64]>,
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held: u32 = self.blocks.iter().map(|block| block.count_ones()).sum();
        write!(f, "Summary({held} of {} bits)", self.blocks.len() * 64)
    }
}

/// What became different between two filters of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Blocks of 64 bits with their new value, by place, rising.
    pub blocks: Vec<(u32, u64)>,
}

/// A filter or a change that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a summary: it must be 8 to {MAX_BYTES} bytes in blocks of 8, and changes must lie inside it")]
pub struct NotASummary;

impl Summary {
    /// Over the distinct folded words of all paths of a peer. `None` when they are too many for [`MAX_BYTES`].
    pub fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut keys = Vec::new();
        for word in words {
            keys.push(Key::word(word));
            keys.extend(PREFIX_CHARS.iter().filter_map(|chars| beginning(word, *chars)).map(Key::prefix));
        }
        keys.sort_unstable();
        keys.dedup();
        let blocks = size_class((keys.len() * BITS_PER_KEY).div_ceil(64));
        if blocks * BLOCK_BYTES > MAX_BYTES {
            return None;
        }
        let mut summary = Self { blocks: vec![0; blocks].into() };
        let bits = summary.bits();
        for place in keys.iter().flat_map(|key| key.places(bits)) {
            summary.blocks[block_of(place)] |= 1 << (place % 64);
        }
        Some(summary)
    }

    /// As it came over the wire, in little-endian blocks.
    ///
    /// # Errors
    /// Too long, empty or no whole blocks.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotASummary> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        if !rest.is_empty() || blocks.is_empty() || bytes.len() > MAX_BYTES {
            return Err(NotASummary);
        }
        Ok(Self { blocks: blocks.iter().map(|block| u64::from_le_bytes(*block)).collect() })
    }

    /// For the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|block| block.to_le_bytes()).collect()
    }

    /// Bytes of memory and of wire.
    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// The peer may have a hit; when not, it has none.
    pub fn may_answer(&self, probe: &Probe) -> bool {
        probe.all.iter().all(|key| self.may_hold(*key))
            && (probe.any.is_empty() || probe.any.iter().any(|key| self.may_hold(*key)))
    }

    /// How to come from this one to a newer one; `None` when the newer one as a whole is shorter.
    pub fn change_to(&self, newer: &Self) -> Option<Change> {
        if self.blocks.len() != newer.blocks.len() {
            return None;
        }
        let both = self.blocks.iter().zip(&newer.blocks).zip(0_u32..);
        let blocks: Vec<(u32, u64)> =
            both.filter(|((old, new), _)| old != new).map(|((_, new), place)| (place, *new)).collect();
        // A place takes up to four bytes more than a block alone.
        (blocks.len() * (BLOCK_BYTES + 4) < newer.size_bytes()).then_some(Change { blocks })
    }

    /// Takes a change in.
    ///
    /// # Errors
    /// It does not fit; the filter is unchanged then.
    pub fn apply(&mut self, change: &Change) -> Result<(), NotASummary> {
        let fits = |(place, _): &(u32, u64)| (*place as usize) < self.blocks.len();
        if change.blocks.len() > MAX_CHANGE || !change.blocks.iter().all(fits) {
            return Err(NotASummary);
        }
        for (place, block) in &change.blocks {
            self.blocks[*place as usize] = *block;
        }
        Ok(())
    }

    fn may_hold(&self, key: Key) -> bool {
        key.places(self.bits()).all(|place| self.blocks[block_of(place)] & (1 << (place % 64)) != 0)
    }

    fn bits(&self) -> u64 {
        self.blocks.len() as u64 * 64
    }
}

fn block_of(place: u64) -> usize {
    usize::try_from(place / 64).expect("less than the blocks there are")
}

/// Rounded up to one of eight lengths an octave: a few words more leave the length, so that a change can tell them.
fn size_class(blocks: usize) -> usize {
    let step = (blocks.max(8).next_power_of_two() / 16).max(1);
    blocks.max(1).next_multiple_of(step)
}

#[cfg(test)]
mod tests;
