//! Filters of other shapes than the protocol's, to compare them with it, and filters over pairs of words for other zones.
//!
//! Invariant: at [`Shape::PROTOCOL`] a filter is that of `protocol::summary`, bit for bit (asserted in `tests/simulation.rs`).

use std::collections::HashSet;

/// What is put into a filter of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// For each key.
    pub bits: usize,
    /// Beginnings of words that are in it, in characters, rising.
    pub beginnings: &'static [usize],
    /// The whole words are in it as well; when not, only those that are shorter than every beginning.
    pub has_whole_words: bool,
}

/// One thing that a filter can hold: a kind and BLAKE3 of the text, as in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64, u64);

impl Key {
    fn of(kind: u8, text: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]).update(text.as_bytes());
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        let (first, second) = bytes.split_at(8);
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        Self(number(first), number(second))
    }

    /// Of two keys in either order.
    pub fn pair(self, other: Self) -> Self {
        let (low, high) = (self.min(other), self.max(other));
        let mix = |a: u64, b: u64| {
            let product = u128::from(a ^ 0x9e37_79b9_7f4a_7c15) * u128::from(b | 1);
            (product as u64) ^ ((product >> 64) as u64)
        };
        Self(mix(low.0, high.1), mix(high.0, low.1))
    }
}

impl Shape {
    pub const PROTOCOL: Self = Self { bits: 7, beginnings: &[3, 5, 8], has_whole_words: true };

    pub fn name(&self) -> String {
        let beginnings: Vec<String> = self.beginnings.iter().map(ToString::to_string).collect();
        let beginnings = beginnings.join(", ");
        match (beginnings.is_empty(), self.has_whole_words) {
            (true, _) => "whole words".into(),
            (false, true) => format!("whole words, beginnings of {beginnings}"),
            (false, false) => format!("beginnings of {beginnings} alone"),
        }
    }

    /// `bits * ln 2`, as Bloom (1970) has it.
    fn hashes(&self) -> u64 {
        ((self.bits as f64 * std::f64::consts::LN_2).round() as u64).max(1)
    }

    /// What a word puts in.
    pub fn keys(&self, word: &str) -> impl Iterator<Item = Key> {
        let is_whole = self.has_whole_words || self.longest(word).is_none();
        let whole = is_whole.then(|| Key::of(b'w', word));
        let beginnings = self.beginnings.iter().filter_map(|chars| word.get(..*chars));
        whole.into_iter().chain(beginnings.map(|beginning| Key::of(b'p', beginning)))
    }

    fn longest<'a>(&self, word: &'a str) -> Option<&'a str> {
        self.beginnings.iter().rev().find_map(|chars| word.get(..*chars))
    }

    /// What a whole word of a query needs.
    pub fn whole(&self, word: &str) -> Key {
        match self.longest(word) {
            Some(longest) if !self.has_whole_words => Key::of(b'p', longest),
            _ => Key::of(b'w', word),
        }
    }

    /// What the last word of a query needs, by its beginning; nothing when it is too short to tell.
    pub fn last(&self, word: &str) -> Option<Key> {
        self.longest(word).map(|longest| Key::of(b'p', longest))
    }

    /// What all words of a query need.
    pub fn probe(&self, words: &[&str]) -> Vec<Key> {
        let Some((last, head)) = words.split_last() else { return Vec::new() };
        head.iter().map(|word| self.whole(word)).chain(self.last(last)).collect()
    }

    /// A filter over the words of a peer.
    pub fn filter<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Filter {
        Filter::new(words.into_iter().flat_map(|word| self.keys(word)), self)
    }
}

/// A Bloom filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<u64>,
    hashes: u64,
}

impl Filter {
    fn new(keys: impl IntoIterator<Item = Key>, shape: &Shape) -> Self {
        let keys: HashSet<Key> = keys.into_iter().collect();
        let blocks = size_class((keys.len() * shape.bits).div_ceil(64));
        let mut filter = Self { blocks: vec![0; blocks], hashes: shape.hashes() };
        for key in keys {
            for place in filter.places(key) {
                filter.blocks[(place / 64) as usize] |= 1 << (place % 64);
            }
        }
        filter
    }

    pub fn may_hold(&self, key: Key) -> bool {
        self.places(key).all(|place| self.blocks[(place / 64) as usize] & (1 << (place % 64)) != 0)
    }

    pub fn may_answer(&self, probe: &[Key]) -> bool {
        probe.iter().all(|key| self.may_hold(*key))
    }

    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * 8
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|block| block.to_le_bytes()).collect()
    }

    fn places(&self, key: Key) -> impl Iterator<Item = u64> + use<> {
        let bits = self.blocks.len() as u64 * 64;
        let step = key.1 | 1;
        (0..self.hashes).map(move |turn| {
            let hash = key.0.wrapping_add(step.wrapping_mul(turn));
            ((u128::from(hash) * u128::from(bits)) >> 64) as u64
        })
    }
}

/// As the protocol rounds lengths up, to one of eight an octave.
fn size_class(blocks: usize) -> usize {
    let step = (blocks.max(8).next_power_of_two() / 16).max(1);
    blocks.max(1).next_multiple_of(step)
}

/// A filter over the pairs of words that occur in one name: what a zone tells others.
#[derive(Debug, Clone)]
pub struct PairFilter {
    filter: Filter,
    keys: usize,
}

/// The keys of one word, for pairs: as a whole word of a query, and as the last one at each length.
#[derive(Debug, Clone)]
pub struct PairKeys {
    whole: Key,
    beginnings: Vec<Key>,
}

impl PairKeys {
    pub fn of(shape: &Shape, word: &str) -> Self {
        let whole = shape.whole(word);
        Self { whole, beginnings: shape.keys(word).filter(|key| *key != whole).collect() }
    }
}

impl PairFilter {
    /// Over names given as words' keys. A query has one last word, so that no pair of two beginnings is asked for.
    pub fn new<'a>(names: impl Iterator<Item = Vec<&'a PairKeys>>, shape: &Shape) -> Self {
        let mut keys = HashSet::new();
        for name in names {
            for (at, word) in name.iter().enumerate() {
                for other in &name[at + 1..] {
                    keys.insert(word.whole.pair(other.whole));
                    keys.extend(word.beginnings.iter().map(|key| key.pair(other.whole)));
                    keys.extend(other.beginnings.iter().map(|key| key.pair(word.whole)));
                }
            }
        }
        Self { keys: keys.len(), filter: Filter::new(keys, shape) }
    }

    /// The zone may have a name with all these words; true for one word, of which pairs say nothing.
    pub fn may_answer(&self, shape: &Shape, words: &[&str]) -> bool {
        let probe = shape.probe(words);
        let pairs = probe
            .iter()
            .enumerate()
            .flat_map(|(at, key)| probe[at + 1..].iter().map(move |other| key.pair(*other)));
        pairs.into_iter().all(|pair| self.filter.may_hold(pair))
    }

    pub fn size_bytes(&self) -> usize {
        self.filter.size_bytes()
    }

    /// Different pairs in it.
    pub fn keys(&self) -> usize {
        self.keys
    }
}
