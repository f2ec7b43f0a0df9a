//! What a peer tells its zone of the words that it can answer: a Bloom filter over them and over the pairs of words that are
//! in one path, so that a query is spared for those who cannot have a hit. Gnutella called it the query routing table.
//!
//! Invariant: [`Summary::may_answer`] is false only for a peer none of whose files [`super::query::matches`] the query. It
//! may be true for a peer that has nothing.

pub mod book;
mod keys;
pub mod zone;

use keys::{Gathered, PairedBy, beginnings, is_pair, singles, splitmix};

pub use self::keys::{GATEWAY_SHAPE, Keys, KeysOf, MAX_GATEWAY_KEYS, MAX_KEYS, NotKeys, OwnKeys, SHAPE};
use super::{
    id::{PeerId, PeerName},
    query::{Query, is_peer},
    text::words,
};

/// Largest summary of one peer.
pub const MAX_BYTES: usize = Density::PEER.max_bytes;
const BLOCK_BYTES: usize = 8;
/// Most blocks in one change; when more differ the whole filter is shorter.
const MAX_CHANGE: usize = MAX_BYTES / BLOCK_BYTES / 2;

/// How much of a filter each key gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Density {
    /// Bits for each key of a word, and how many of all bits it sets.
    pub single_bits: usize,
    /// See above.
    pub single_hashes: u32,
    /// Bits for each key of a pair, and how many of all bits it sets.
    pub pair_bits: usize,
    /// See above.
    pub pair_hashes: u32,
    /// The largest filter.
    pub max_bytes: usize,
    /// Its pairs are those that gateways are given, not those of summaries.
    pub is_of_gateways: bool,
}

impl Density {
    /// Of a peer's summary: what is claimed in vain costs one message.
    pub const PEER: Self = Self {
        single_bits: 6,
        single_hashes: 4,
        pair_bits: 2,
        pair_hashes: 2,
        max_bytes: 1 << 20,
        is_of_gateways: false,
    };
    /// Of the filter of a zone: what is claimed in vain costs one message too, to the gateway, which knows better.
    pub const ZONE: Self = Self {
        single_bits: 7,
        single_hashes: 5,
        pair_bits: 7,
        pair_hashes: 5,
        max_bytes: 4 << 20,
        is_of_gateways: true,
    };

    /// Keys for which there is room, of whatever kind.
    const fn most_keys(&self) -> usize {
        let bits = if self.single_bits > self.pair_bits { self.single_bits } else { self.pair_bits };
        self.max_bytes * 8 / bits
    }
}

const _: () = assert!(Density::PEER.most_keys() >= MAX_KEYS, "a peer's keys always fit its summary");

/// What a filter has to hold for a query to have a hit; made once per query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Probe {
    /// All of these.
    all: Needed,
    /// One of these, unless there are none.
    any: Vec<Needed>,
    /// The peer that is meant.
    peer: Option<String>,
}

/// Keys that are there together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Needed {
    singles: Vec<u32>,
    /// As summaries have them.
    pairs: Vec<u32>,
    /// As gateways are given them.
    gateway_pairs: Vec<u32>,
}

impl Needed {
    fn pairs(&self, is_of_gateways: bool) -> &[u32] {
        if is_of_gateways { &self.gateway_pairs } else { &self.pairs }
    }
}

impl Probe {
    /// Of a query. What says nothing of words (a size, a hash, a negation, one or two letters) is passed over.
    pub fn of(query: &Query) -> Self {
        let mut all = Needed::default();
        let (mut whole, mut open) = (Vec::new(), Vec::new());
        for phrase in query.phrases() {
            let (last, head) = phrase.words().split_last().expect("a phrase has a word");
            whole.extend(head.iter().map(String::as_str));
            if phrase.is_prefix() {
                open.push(last.as_str());
            } else {
                whole.push(last.as_str());
            }
        }
        all.singles.extend(whole.iter().flat_map(|word| singles(word)));
        all.singles.extend(open.iter().flat_map(|word| beginnings(word)));
        all.pairs = PairedBy::SUMMARY.pairs(&whole, &open, None);
        all.gateway_pairs = PairedBy::GATEWAY.pairs(&whole, &open, None);
        let alternative = |extension: &String| {
            let word = words(extension).last()?;
            Some(Needed {
                singles: singles(word).collect(),
                pairs: PairedBy::SUMMARY.pairs(&whole, &open, Some(word)),
                gateway_pairs: PairedBy::GATEWAY.pairs(&whole, &open, Some(word)),
            })
        };
        // One without a word could be anyone's.
        let any = query.extensions().iter().map(alternative).collect::<Option<_>>().unwrap_or_default();
        Self { all, any, peer: query.peer().map(str::to_owned) }
    }

    /// All that is needed is there, by this rule.
    fn is_held(&self, holds: impl Fn(&Needed) -> bool) -> bool {
        holds(&self.all) && (self.any.is_empty() || self.any.iter().any(holds))
    }

    /// Tells nobody apart: everyone has to be asked.
    pub fn is_blind(&self) -> bool {
        self.all.singles.is_empty() && self.any.is_empty() && self.peer.is_none()
    }

    /// The query is not for another peer only.
    pub fn may_mean(&self, id: &PeerId, name: &PeerName) -> bool {
        self.peer.as_ref().is_none_or(|peer| is_peer(peer, id, name))
    }
}

/// A Bloom filter over the keys of a peer, or of the peers of a zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Summary {
    blocks: Box<[u64]>,
    has_pairs: bool,
    density: Density,
}

impl std::fmt::Debug for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held: u32 = self.blocks.iter().map(|block| block.count_ones()).sum();
        write!(f, "Summary({held} of {} bits, pairs: {})", self.blocks.len() * 64, self.has_pairs)
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
#[error("not a summary: it must be whole blocks of 8 bytes, not too many, and changes must lie inside it")]
pub struct NotASummary;

impl Summary {
    /// Over the keys of a peer that are for it.
    pub fn of(keys: &OwnKeys) -> Self {
        Self::over(&keys.summary, Density::PEER)
    }

    /// Over the keys of many peers that gateways were given: without pairs when one of them has none or all are too many, `None` when they are too many
    /// even so.
    pub fn of_all<'a>(all: impl IntoIterator<Item = &'a Keys>, density: Density) -> Option<Self> {
        let mut gathered = Gathered::with_most(density.most_keys());
        all.into_iter().for_each(|keys| gathered.extend(keys));
        Some(Self::over(&gathered.finish()?, density))
    }

    fn over(keys: &Keys, density: Density) -> Self {
        let (singles, pairs) =
            keys.as_slice().split_at(keys.as_slice().partition_point(|key| !is_pair(*key)));
        let bits = singles.len() * density.single_bits + pairs.len() * density.pair_bits;
        let blocks = size_class(bits.div_ceil(64)).min(density.max_bytes / BLOCK_BYTES);
        let mut summary = Self { blocks: vec![0; blocks].into(), has_pairs: keys.has_pairs(), density };
        for key in keys.as_slice() {
            for place in summary.places(*key) {
                summary.blocks[block_of(place)] |= 1 << (place % 64);
            }
        }
        summary
    }

    /// As it came over the wire, in little-endian blocks.
    ///
    /// # Errors
    /// Too long, empty or no whole blocks.
    pub fn from_bytes(bytes: &[u8], has_pairs: bool, density: Density) -> Result<Self, NotASummary> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_BYTES>();
        if !rest.is_empty() || blocks.is_empty() || bytes.len() > density.max_bytes {
            return Err(NotASummary);
        }
        let blocks = blocks.iter().map(|block| u64::from_le_bytes(*block)).collect();
        Ok(Self { blocks, has_pairs, density })
    }

    /// For the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.blocks.iter().flat_map(|block| block.to_le_bytes()).collect()
    }

    /// Bytes of memory and of wire.
    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// It tells of pairs of words too.
    pub fn has_pairs(&self) -> bool {
        self.has_pairs
    }

    /// The peer, or one of the peers, may have a hit; when not, there is none.
    pub fn may_answer(&self, probe: &Probe) -> bool {
        probe.is_held(|needed| self.may_hold_all(needed))
    }

    /// How to come from this one to a newer one; `None` when the newer one as a whole is shorter.
    pub fn change_to(&self, newer: &Self) -> Option<Change> {
        if (self.blocks.len(), self.has_pairs) != (newer.blocks.len(), newer.has_pairs) {
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

    fn may_hold_all(&self, needed: &Needed) -> bool {
        let pairs = if self.has_pairs { needed.pairs(self.density.is_of_gateways) } else { &[] };
        needed.singles.iter().chain(pairs).all(|key| self.may_hold(*key))
    }

    fn may_hold(&self, key: u32) -> bool {
        self.places(key).all(|place| self.blocks[block_of(place)] & (1 << (place % 64)) != 0)
    }

    /// By double hashing (Kirsch and Mitzenmacher, 2006).
    fn places(&self, key: u32) -> impl Iterator<Item = u64> + use<> {
        let Density { single_hashes, pair_hashes, .. } = self.density;
        let hashes = if is_pair(key) { pair_hashes } else { single_hashes };
        let bits = self.bits();
        let first = splitmix(u64::from(key));
        let step = splitmix(first) | 1;
        (0..u64::from(hashes)).map(move |turn| {
            let hash = first.wrapping_add(step.wrapping_mul(turn));
            // The high half of the product: as even as a remainder, and no division.
            ((u128::from(hash) * u128::from(bits)) >> 64) as u64
        })
    }

    fn bits(&self) -> u64 {
        self.blocks.len() as u64 * 64
    }
}

impl Keys {
    /// The same of the keys that gateways are given, without a filter's errors.
    pub fn may_answer(&self, probe: &Probe) -> bool {
        probe.is_held(|needed| {
            let pairs = if self.has_pairs() { &needed.gateway_pairs[..] } else { &[] };
            needed.singles.iter().chain(pairs).all(|key| self.has(*key))
        })
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
