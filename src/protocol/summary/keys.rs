//! The keys of a peer's paths: what its summary, and that of its whole zone, are filters over.
//!
//! Invariant: for every path that was given, the keys hold all that [`super::Probe`] asks of a query that the path answers;
//! when they cannot, because they would be too many, they say so by [`Keys::has_pairs`] or are not made at all.

/// Number of the scheme of keys in a peer's summary on the wire: others are not understood, and whoever uses one is always
/// asked.
pub const SHAPE: u32 = 2;
/// The same of the keys that gateways are given, and of the filters that they make of them.
pub const GATEWAY_SHAPE: u32 = 3;
/// Most keys of one peer's summary.
pub const MAX_KEYS: usize = 1 << 20;
/// Most keys of one peer that its gateways are given: 8 MiB.
pub const MAX_GATEWAY_KEYS: usize = 1 << 21;
/// Pairs that are looked at for one peer before it goes on without: 3 s of work, as measured in deep source trees. Deep folders
/// have the same pairs again and again.
const MAX_PAIRS_SEEN: u64 = 200_000_000;
/// The last word of a query may be the beginning of a longer one: a word is known by its beginnings of these lengths, in
/// characters. One that is shorter than all of them is known as it is, and so are longer ones with digits, which often differ
/// in their last one only.
const BEGINNINGS: [usize; 2] = [3, 6];
/// Words of a pair are known by this much of them: in the summary, whose bytes every member holds,
const SUMMARY_PAIR_CHARS: [usize; 1] = [4];
/// and in the keys that gateways are given. The short one tells of last words that are short or not typed to their end, the
/// long one tells apart what begins alike.
const GATEWAY_PAIR_CHARS: [usize; 2] = [3, 5];
/// Set in the keys of pairs, so that they come behind all others.
const PAIR: u32 = 1 << 31;
/// Words of the path before that are remembered.
const MAX_BEFORE: usize = 64;
/// Pairs of words that came lately, by the low bits of what they are known by. Files of a folder have most of theirs in common.
const LATELY: usize = 1 << 14;

/// Keys that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not keys: they must be at most {MAX_GATEWAY_KEYS}, rising, and without pairs where there are said to be none"
)]
pub struct NotKeys;

/// The keys of one peer, for its summary or for gateways: fingerprints, rising, of beginnings of words and of pairs of words that
/// are in one path. Two things have one key about once in 2,000 at a million keys, which costs a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    keys: Box<[u32]>,
    has_pairs: bool,
}

impl Keys {
    /// As they came over the wire.
    ///
    /// # Errors
    /// Too many, not rising, or pairs that should not be there.
    pub fn from_sorted(keys: Vec<u32>, has_pairs: bool) -> Result<Self, NotKeys> {
        let is_rising = keys.is_sorted_by(|left, right| left < right);
        let is_meant = has_pairs || !keys.last().is_some_and(|key| is_pair(*key));
        if keys.len() > MAX_GATEWAY_KEYS || !is_rising || !is_meant {
            return Err(NotKeys);
        }
        Ok(Self { keys: keys.into(), has_pairs })
    }

    /// All of them, rising.
    pub fn as_slice(&self) -> &[u32] {
        &self.keys
    }

    /// The pairs of every path are among them; when not, nothing can be told of pairs.
    pub fn has_pairs(&self) -> bool {
        self.has_pairs
    }

    /// It is one of them.
    pub(super) fn has(&self, key: u32) -> bool {
        self.keys.binary_search(&key).is_ok()
    }
}

/// All that is told of one peer's paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnKeys {
    /// What its summary is made of.
    pub summary: Keys,
    /// What the gateways of its zone are given.
    pub gateway: Keys,
}

/// Makes the keys of a peer, one path after the other.
#[derive(Debug)]
pub struct KeysOf {
    summary: Gathered,
    gateway: Gathered,
    pairs_seen: u64,
    lately: Box<[u64]>,
    /// The words of the path before, with what pairs each: paths that come together begin alike.
    before: Vec<(String, Pairing)>,
    /// What pairs the words of the path at hand.
    pairing: Vec<Pairing>,
}

/// What pairs one word with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pairing {
    /// The word itself.
    word: u64,
    summary: [u64; SUMMARY_PAIR_CHARS.len()],
    gateway: [u64; GATEWAY_PAIR_CHARS.len()],
}

impl Pairing {
    fn of(word: &str) -> Self {
        let by = |chars| pairing_hash(word, chars);
        Self {
            word: hash(b'w', word),
            summary: SUMMARY_PAIR_CHARS.map(by),
            gateway: GATEWAY_PAIR_CHARS.map(by),
        }
    }
}

impl Default for KeysOf {
    fn default() -> Self {
        Self::with_most(MAX_KEYS, MAX_GATEWAY_KEYS)
    }
}

impl KeysOf {
    fn with_most(summary: usize, gateway: usize) -> Self {
        Self {
            summary: Gathered::with_most(summary),
            gateway: Gathered::with_most(gateway),
            pairs_seen: 0,
            lately: vec![0; LATELY].into(),
            before: Vec::new(),
            pairing: Vec::new(),
        }
    }

    /// Takes in one path, as its folded words.
    pub fn add<'a>(&mut self, words: impl IntoIterator<Item = &'a str>) {
        let mut pairing = std::mem::take(&mut self.pairing);
        pairing.clear();
        for (place, word) in words.into_iter().enumerate() {
            pairing.push(self.add_word(place, word));
        }
        pairing.sort_unstable();
        pairing.dedup();
        for (place, word) in pairing.iter().enumerate() {
            if !self.summary.has_pairs && !self.gateway.has_pairs {
                break;
            }
            let others = &pairing[place + 1..];
            for other in others {
                self.add_pair(word, other);
            }
            self.pairs_seen += others.len() as u64;
            if self.pairs_seen > MAX_PAIRS_SEEN {
                self.summary.drop_pairs();
                self.gateway.drop_pairs();
            }
        }
        self.pairing = pairing;
    }

    /// What pairs it.
    fn add_word(&mut self, place: usize, word: &str) -> Pairing {
        if let Some((_, pairing)) = self.before.get(place).filter(|(before, _)| before == word) {
            return *pairing;
        }
        for key in singles(word) {
            self.summary.push(key);
            self.gateway.push(key);
        }
        let pairing = Pairing::of(word);
        match self.before.get_mut(place) {
            Some((before, of)) => {
                before.clear();
                before.push_str(word);
                *of = pairing;
            }
            None if place < MAX_BEFORE => self.before.push((word.to_owned(), pairing)),
            None => {}
        }
        pairing
    }

    fn add_pair(&mut self, one: &Pairing, other: &Pairing) {
        // The same words again have the same keys, so one look does for all of them. 64 bits of BLAKE3: of 200 million pairs two
        // are taken for one once in 10^11 peers.
        let words = splitmix(one.word.wrapping_add(other.word));
        let slot = usize::try_from(words % LATELY as u64).expect("below the number of slots");
        let lately = &mut self.lately[slot];
        // The places are 0 at first, so that 0 is never taken for what came.
        if *lately == words && words != 0 {
            return;
        }
        *lately = words;
        // Words that begin alike are no pair, since a query cannot tell whether they are two.
        for (one, other) in one.summary.iter().zip(&other.summary).filter(|(one, other)| one != other) {
            self.summary.push(pair(*one, *other));
        }
        for (one, other) in one.gateway.iter().zip(&other.gateway).filter(|(one, other)| one != other) {
            self.gateway.push(pair(*one, *other));
        }
    }

    /// The keys of all paths; `None` when those of words alone are too many.
    pub fn finish(self) -> Option<OwnKeys> {
        Some(OwnKeys { summary: self.summary.finish()?, gateway: self.gateway.finish()? })
    }
}

/// Keys in any order on their way to [`Keys`]: without pairs when they are too many, and none when they are still. Twice
/// the most are held.
#[derive(Debug)]
pub(super) struct Gathered {
    keys: Vec<u32>,
    /// The first so many are sorted and distinct.
    tidied: usize,
    most: usize,
    is_whole: bool,
    has_pairs: bool,
}

impl Gathered {
    pub(super) fn with_most(most: usize) -> Self {
        Self { keys: Vec::new(), tidied: 0, most, is_whole: true, has_pairs: true }
    }

    /// Takes in another peer's.
    pub(super) fn extend(&mut self, keys: &Keys) {
        if !keys.has_pairs {
            self.drop_pairs();
        }
        keys.keys.iter().for_each(|key| self.push(*key));
    }

    fn push(&mut self, key: u32) {
        if !self.is_whole || is_pair(key) && !self.has_pairs {
            return;
        }
        self.keys.push(key);
        if self.keys.len() - self.tidied > self.most {
            self.tidy();
        }
    }

    fn drop_pairs(&mut self) {
        self.has_pairs = false;
        self.keys.retain(|key| !is_pair(*key));
        self.tidied = 0;
    }

    fn tidy(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        if self.keys.len() > self.most && self.has_pairs {
            self.drop_pairs();
        }
        if self.keys.len() > self.most {
            self.is_whole = false;
            self.keys = Vec::new();
        }
        self.tidied = self.keys.len();
    }

    pub(super) fn finish(mut self) -> Option<Keys> {
        self.tidy();
        self.is_whole.then_some(Keys { keys: self.keys.into(), has_pairs: self.has_pairs })
    }
}

/// It is the key of a pair.
pub(super) fn is_pair(key: u32) -> bool {
    key >= PAIR
}

/// The keys of a word alone.
pub(super) fn singles(word: &str) -> impl Iterator<Item = u32> {
    let is_short = word.chars().count() < BEGINNINGS[0];
    let is_numbered = word.len() > BEGINNINGS[0] && word.bytes().any(|byte| byte.is_ascii_digit());
    let whole = (is_short || is_numbered).then(|| single(hash(b'w', word)));
    whole.into_iter().chain(beginnings(word))
}

/// The keys of the beginnings of a word, or of what may be one itself; none for one that is too short.
pub(super) fn beginnings(word: &str) -> impl Iterator<Item = u32> {
    BEGINNINGS.iter().map_while(|chars| beginning(word, *chars)).map(|text| single(hash(b'p', text)))
}

/// What a pair is asked for by, in a summary and in the keys of gateways.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairedBy(&'static [usize]);

impl PairedBy {
    pub(super) const SUMMARY: Self = Self(&SUMMARY_PAIR_CHARS);
    pub(super) const GATEWAY: Self = Self(&GATEWAY_PAIR_CHARS);

    /// The pairs of these words and of what may be the beginnings of others: of each two of them, or of each and `with`.
    pub(super) fn pairs(self, whole: &[&str], beginnings: &[&str], with: Option<&str>) -> Vec<u32> {
        let mut pairs = Vec::new();
        for chars in self.0 {
            let mut pairing: Vec<u64> = whole.iter().map(|word| pairing_hash(word, *chars)).collect();
            pairing.extend(beginnings.iter().filter_map(|word| pairing_hash_of_beginning(word, *chars)));
            // Two that begin alike may be one word of the path.
            pairing.sort_unstable();
            pairing.dedup();
            if let Some(with) = with {
                let own = pairing_hash(with, *chars);
                let others = pairing.iter().filter(|other| **other != own);
                pairs.extend(others.map(|other| pair(own, *other)));
                continue;
            }
            for (place, word) in pairing.iter().enumerate() {
                pairs.extend(pairing[place + 1..].iter().map(|other| pair(*word, *other)));
            }
        }
        pairs
    }
}

/// What pairs a word with others, by so many characters.
fn pairing_hash(word: &str, chars: usize) -> u64 {
    pairing_hash_of_beginning(word, chars).unwrap_or_else(|| hash(b'w', word))
}

/// The same, of what may be the beginning of a longer word; `None` when it is too short to tell.
fn pairing_hash_of_beginning(word: &str, chars: usize) -> Option<u64> {
    beginning(word, chars).map(|text| hash(b'p', text))
}

/// The key of two words in either order, made of what pairs each.
fn pair(one: u64, other: u64) -> u32 {
    fingerprint(splitmix(one.wrapping_add(other))) | PAIR
}

fn single(hash: u64) -> u32 {
    fingerprint(hash)
}

/// 31 bits.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 33) as u32
}

/// BLAKE3, since every version of every peer has to come to the same.
fn hash(kind: u8, text: &str) -> u64 {
    // Beginnings are a few characters, and whole words are shorter still.
    let mut bytes = [0; 64];
    let length = text.len() + 1;
    let hash = match bytes.get_mut(..length) {
        Some(short) => {
            short[0] = kind;
            short[1..].copy_from_slice(text.as_bytes());
            blake3::hash(short)
        }
        None => blake3::hash(&[&[kind], text.as_bytes()].concat()),
    };
    let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_le_bytes(*first)
}

/// One step of `SplitMix64` (Steele, Lea and Flood, 2014): every bit of the sum in every bit of the result.
pub(super) fn splitmix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The first so many characters, when there are so many.
fn beginning(word: &str, chars: usize) -> Option<&str> {
    match word.char_indices().nth(chars) {
        Some((end, _)) => Some(&word[..end]),
        None => (word.chars().count() == chars).then_some(word),
    }
}

#[cfg(test)]
mod tests;
