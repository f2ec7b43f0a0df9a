//! Filters of other shapes than the protocol's, to compare them with it.
//!
//! Invariant: at [`Shape::PROTOCOL`] a filter is that of `protocol::summary`, bit for bit (asserted in `tests/simulation.rs`).

use floodplain::protocol::summary::Density;

use super::world::World;

/// What is put into a filter of words and of pairs of words that are in one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Beginnings of words that are in it, in characters, rising.
    pub beginnings: &'static [usize],
    /// The whole words are in it as well; when not, only those that are shorter than every beginning.
    pub has_whole_words: bool,
    /// Words of a pair are known by this much of them; no pairs without.
    pub pair_chars: Option<usize>,
    /// Bits and hashes for each key.
    pub density: Density,
}

/// As the protocol has it: 31 bits of a hash, and the highest bit for pairs.
type Key = u32;
const PAIR: Key = 1 << 31;

fn hash(kind: u8, text: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[kind]).update(text.as_bytes());
    let hash = hasher.finalize();
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

fn splitmix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fingerprint(hash: u64) -> Key {
    (hash >> 33) as Key
}

fn pair(one: u64, other: u64) -> Key {
    fingerprint(splitmix(one.wrapping_add(other))) | PAIR
}

/// Bits for each key, with the number of hashes that Bloom (1970) has for it: `bits * ln 2`.
pub const fn density(single_bits: usize, pair_bits: usize) -> Density {
    const fn hashes(bits: usize) -> u32 {
        let rounded = (bits as u32 * 693 + 500) / 1000;
        if rounded == 0 { 1 } else { rounded }
    }
    Density {
        single_bits,
        single_hashes: hashes(single_bits),
        pair_bits,
        pair_hashes: hashes(pair_bits),
        max_bytes: usize::MAX,
        is_of_gateways: false,
    }
}

impl Shape {
    pub const PROTOCOL: Self =
        Self { beginnings: &[3, 6], has_whole_words: false, pair_chars: Some(4), density: Density::PEER };

    pub fn name(&self) -> String {
        let beginnings: Vec<String> = self.beginnings.iter().map(ToString::to_string).collect();
        let beginnings = beginnings.join(", ");
        let words = match (beginnings.is_empty(), self.has_whole_words) {
            (true, _) => "whole words".into(),
            (false, true) => format!("whole words, beginnings of {beginnings}"),
            (false, false) => format!("beginnings of {beginnings}"),
        };
        match self.pair_chars {
            Some(chars) => format!("{words}; pairs by {chars}"),
            None => words,
        }
    }

    /// What each word of a world puts in, and what pairs it with others.
    pub fn vocabulary(&self, world: &World) -> Vec<WordKeys> {
        world.vocabulary.words().map(|word| self.word(word)).collect()
    }

    fn word(&self, word: &str) -> WordKeys {
        let is_short = self.beginnings.first().is_none_or(|chars| word.len() < *chars);
        let whole = (self.has_whole_words || is_short).then(|| fingerprint(hash(b'w', word)));
        let chars = self.pair_chars.unwrap_or(0);
        WordKeys {
            singles: whole.into_iter().chain(self.beginnings_of(word)).collect(),
            beginnings: self.beginnings_of(word).collect(),
            pairing: word.get(..chars).map_or_else(|| hash(b'w', word), |text| hash(b'p', text)),
            may_pair_as_beginning: word.len() >= chars,
        }
    }

    fn beginnings_of(&self, word: &str) -> impl Iterator<Item = Key> {
        self.beginnings
            .iter()
            .filter_map(|chars| word.get(..*chars))
            .map(|text| fingerprint(hash(b'p', text)))
    }

    /// What all words of a query need, the last one by its beginning.
    pub fn probe(&self, keys: &[WordKeys], words: &[u32]) -> Vec<Key> {
        let Some((last, head)) = words.split_last() else { return Vec::new() };
        let (last, head) = (&keys[*last as usize], head.iter().map(|word| &keys[*word as usize]));
        let mut probe: Vec<Key> = head.clone().flat_map(|word| &word.singles).copied().collect();
        probe.extend(&last.beginnings);
        let last = last.may_pair_as_beginning.then_some(last.pairing);
        self.add_pairs(head.map(|word| word.pairing).chain(last), &mut probe);
        probe
    }

    /// A filter over names.
    pub fn filter<'a>(&self, keys: &[WordKeys], names: impl IntoIterator<Item = &'a [u32]>) -> Filter {
        let mut all = Vec::new();
        for name in names {
            let words = || name.iter().map(|word| &keys[*word as usize]);
            all.extend(words().flat_map(|word| &word.singles));
            self.add_pairs(words().map(|word| word.pairing), &mut all);
        }
        all.sort_unstable();
        all.dedup();
        Filter::new(&all, self.density)
    }

    fn add_pairs(&self, pairing: impl Iterator<Item = u64>, keys: &mut Vec<Key>) {
        if self.pair_chars.is_none() {
            return;
        }
        let mut pairing: Vec<u64> = pairing.collect();
        pairing.sort_unstable();
        pairing.dedup();
        for (place, word) in pairing.iter().enumerate() {
            keys.extend(pairing[place + 1..].iter().map(|other| pair(*word, *other)));
        }
    }
}

/// The keys of one word.
#[derive(Debug, Clone)]
pub struct WordKeys {
    singles: Vec<Key>,
    beginnings: Vec<Key>,
    pairing: u64,
    may_pair_as_beginning: bool,
}

/// A Bloom filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<u64>,
    density: Density,
}

impl Filter {
    fn new(keys: &[Key], density: Density) -> Self {
        let (singles, pairs) = keys.split_at(keys.partition_point(|key| *key < PAIR));
        let bits = singles.len() * density.single_bits + pairs.len() * density.pair_bits;
        let mut filter = Self { blocks: vec![0; size_class(bits.div_ceil(64))], density };
        for key in keys {
            for place in filter.places(*key) {
                filter.blocks[(place / 64) as usize] |= 1 << (place % 64);
            }
        }
        filter
    }

    fn may_hold(&self, key: Key) -> bool {
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
        let hashes = if key >= PAIR { self.density.pair_hashes } else { self.density.single_hashes };
        let bits = self.blocks.len() as u64 * 64;
        let first = splitmix(u64::from(key));
        let step = splitmix(first) | 1;
        (0..u64::from(hashes)).map(move |turn| {
            let hash = first.wrapping_add(step.wrapping_mul(turn));
            ((u128::from(hash) * u128::from(bits)) >> 64) as u64
        })
    }
}

/// As the protocol rounds lengths up, to one of eight an octave.
fn size_class(blocks: usize) -> usize {
    let step = (blocks.max(8).next_power_of_two() / 16).max(1);
    blocks.max(1).next_multiple_of(step)
}
