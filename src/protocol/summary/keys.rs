//! The keys of a peer's paths: what its summary, and that of its whole zone, are filters over.
//!
//! Invariant: for every path that was given, the keys hold all that [`super::Probe`] asks of a query that the path answers;
//! when they cannot, because they would be too many, they say so by [`Keys::has_pairs`] or are not made at all.

/// Number of this scheme of keys on the wire: others are not understood, and whoever uses one is always asked.
pub const SHAPE: u32 = 2;
/// Most keys of one peer: 4 MiB.
pub const MAX_KEYS: usize = 1 << 20;
/// Pairs that are looked at for one peer before it goes on without: 3 s of work, as measured in deep source trees. Deep folders
/// have the same pairs again and again.
const MAX_PAIRS_SEEN: u64 = 200_000_000;
/// The last word of a query may be the beginning of a longer one: a word is known by its beginnings of these lengths, in
/// characters. One that is shorter than all of them is known as it is.
const BEGINNINGS: [usize; 2] = [3, 6];
/// Words of a pair are known by this much of them.
const PAIR_CHARS: usize = 4;
/// Set in the keys of pairs, so that they come behind all others.
const PAIR: u32 = 1 << 31;
/// Words of the path before that are remembered.
const MAX_BEFORE: usize = 64;
/// Pairs that came lately, by the low bits of their key. Files of a folder have most of theirs in common.
const LATELY: usize = 1 << 14;

/// Keys that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not keys: they must be at most {MAX_KEYS}, rising, and without pairs where there are said to be none"
)]
pub struct NotKeys;

/// The keys of one peer: fingerprints, rising, of beginnings of words and of pairs of words that are in one path. Two things
/// have one key about once in 2,000 at a million keys, which costs a message.
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
        if keys.len() > MAX_KEYS || !is_rising || !is_meant {
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
}

/// Makes the keys of a peer, one path after the other.
#[derive(Debug)]
pub struct KeysOf {
    keys: Gathered,
    pairs_seen: u64,
    lately: Box<[u32]>,
    /// The words of the path before, with what pairs each: paths that come together begin alike.
    before: Vec<(String, u64)>,
    /// What pairs the words of the path at hand.
    pairing: Vec<u64>,
}

impl Default for KeysOf {
    fn default() -> Self {
        Self::with_most(MAX_KEYS)
    }
}

impl KeysOf {
    fn with_most(most: usize) -> Self {
        Self {
            keys: Gathered::with_most(most),
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
            if !self.keys.has_pairs {
                break;
            }
            let others = &pairing[place + 1..];
            others.iter().for_each(|other| self.push(pair(*word, *other)));
            self.pairs_seen += others.len() as u64;
            if self.pairs_seen > MAX_PAIRS_SEEN {
                self.keys.drop_pairs();
            }
        }
        self.pairing = pairing;
    }

    /// What pairs it.
    fn add_word(&mut self, place: usize, word: &str) -> u64 {
        if let Some((_, hash)) = self.before.get(place).filter(|(before, _)| before == word) {
            return *hash;
        }
        singles(word).for_each(|key| self.push(key));
        let hash = pairing_hash(word);
        match self.before.get_mut(place) {
            Some((before, of)) => {
                before.clear();
                before.push_str(word);
                *of = hash;
            }
            None if place < MAX_BEFORE => self.before.push((word.to_owned(), hash)),
            None => {}
        }
        hash
    }

    fn push(&mut self, key: u32) {
        let lately = &mut self.lately[key as usize % LATELY];
        // The places are 0 at first, so that a key of 0 is never taken for one that came.
        if *lately != key || key == 0 {
            *lately = key;
            self.keys.push(key);
        }
    }

    /// The keys of all paths; `None` when those of words alone are too many.
    pub fn finish(self) -> Option<Keys> {
        self.keys.finish()
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
        // The stable sort merges what is sorted already.
        self.keys.sort();
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
    let is_short = beginning(word, BEGINNINGS[0]).is_none();
    let whole = is_short.then(|| whole(word));
    whole.into_iter().chain(beginnings(word))
}

/// The keys of the beginnings of a word, or of what may be one itself; none for one that is too short.
pub(super) fn beginnings(word: &str) -> impl Iterator<Item = u32> {
    BEGINNINGS.iter().map_while(|chars| beginning(word, *chars)).map(|text| single(hash(b'p', text)))
}

fn whole(word: &str) -> u32 {
    single(hash(b'w', word))
}

/// What pairs a word with others.
pub(super) fn pairing_hash(word: &str) -> u64 {
    pairing_hash_of_beginning(word).unwrap_or_else(|| hash(b'w', word))
}

/// The same, of what may be the beginning of a longer word; `None` when it is too short to tell.
pub(super) fn pairing_hash_of_beginning(word: &str) -> Option<u64> {
    beginning(word, PAIR_CHARS).map(|text| hash(b'p', text))
}

/// The key of two words in either order, made of what pairs each.
pub(super) fn pair(one: u64, other: u64) -> u32 {
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

/// One step of SplitMix64 (Steele, Lea and Flood, 2014): every bit of the sum in every bit of the result.
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
mod tests {
    use super::*;

    fn keys(paths: &[&[&str]], most: usize) -> Option<Keys> {
        let mut keys = KeysOf::with_most(most);
        for path in paths {
            keys.add(path.iter().copied());
        }
        keys.finish()
    }

    fn count(keys: &Keys) -> (usize, usize) {
        let pairs = keys.as_slice().iter().filter(|key| is_pair(**key)).count();
        (keys.as_slice().len() - pairs, pairs)
    }

    #[test]
    fn words_give_their_beginnings_and_paths_their_pairs() {
        // pdf; annual: ann annual; report: rep report; v2; and pairs of four, three new with the other path's.
        let one = keys(&[&["annual", "report", "v2", "pdf"]], MAX_KEYS).expect("few");
        assert_eq!((count(&one), one.has_pairs()), ((6, 6), true));
        let both = keys(&[&["annual", "report", "v2", "pdf"], &["annuals", "pdf", "pdf"]], MAX_KEYS);
        assert_eq!(count(&both.expect("few")), (6, 6), "alike in the characters that count");
        let order = keys(&[&["pdf", "v2", "report", "annual", "pdf"]], MAX_KEYS).expect("few");
        assert_eq!(order, one);
        assert_eq!(keys(&[], MAX_KEYS).map(|keys| (count(&keys), keys.has_pairs())), Some(((0, 0), true)));
    }

    #[test]
    fn too_many_pairs_are_left_out_and_too_many_words_give_none() {
        let words: Vec<String> = (0..100_u32).map(|word| format!("{word:02}")).collect();
        let path: Vec<&str> = words.iter().map(String::as_str).collect();
        let keys = |most| keys(&[&path, &["aa", "bb"]], most);
        assert_eq!(count(&keys(5_100).expect("enough room")), (102, 4_951));
        let without = keys(5_000).expect("room for words");
        assert_eq!((count(&without), without.has_pairs()), ((102, 0), false));
        assert_eq!(keys(101), None);
        // However the memory is tidied on the way: more paths than fit untidied.
        let mut many = KeysOf::with_most(1_000);
        for number in 0..200_000_u32 {
            many.add([format!("{:03}", number % 900).as_str(), format!("{:02}", number % 97).as_str()]);
            assert!(many.keys.keys.len() <= 2_001);
        }
        let many = many.finish().expect("997 words");
        assert_eq!((count(&many), many.has_pairs()), ((997, 0), false));
    }

    #[test]
    fn endless_pairs_end() {
        let mut keys = KeysOf { pairs_seen: MAX_PAIRS_SEEN - 1, ..KeysOf::default() };
        keys.add(["aa", "bb"]);
        assert!(keys.keys.has_pairs);
        keys.add(["aa", "bb"]);
        let keys = keys.finish().expect("two words");
        assert_eq!((count(&keys), keys.has_pairs()), ((2, 0), false));
    }

    #[test]
    fn keys_of_others_are_checked() {
        assert_eq!(Keys::from_sorted(vec![1, 1], true), Err(NotKeys));
        assert_eq!(Keys::from_sorted(vec![2, 1], true), Err(NotKeys));
        assert_eq!(Keys::from_sorted(vec![1, PAIR], false), Err(NotKeys));
        assert_eq!(Keys::from_sorted((0..=MAX_KEYS as u32).collect(), true), Err(NotKeys));
        let made = keys(&[&["annual", "report"]], MAX_KEYS).expect("few");
        assert_eq!(Keys::from_sorted(made.as_slice().to_vec(), true), Ok(made));
        assert!(Keys::from_sorted(vec![1, PAIR], true).is_ok());
    }

    #[test]
    fn the_scheme_is_the_one_that_others_have() {
        // Anything else here is another `SHAPE`.
        assert_eq!(hash(b'p', "annual"), 6_452_907_164_090_716_460);
        assert_eq!(pair(1, 2), 2_391_116_402);
    }
}
