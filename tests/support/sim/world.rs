//! A made-up world: peers with named documents, some their own and some shared, and queries for them with the true answers.
//!
//! Invariant: the answers are those of `protocol::query`, all words and the last one by its beginning; found here through
//! lists by word instead of by reading every name.

use std::collections::{BTreeMap, BTreeSet};

use floodplain::protocol::{
    query::Query,
    summary::{KeysOf, OwnKeys, Probe, Summary},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    random::{Zipf, normal},
    vocabulary::Vocabulary,
};

/// What a world is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// Different words in all names.
    pub words: usize,
    /// Of the words' popularity.
    pub word_exponent: f64,
    /// Files of a peer: median, and standard deviation of their logarithm.
    pub files_median: f64,
    pub files_deviation: f64,
    /// Portion of a peer's files that others may have as well.
    pub shared: f64,
    /// Documents that are shared, for each peer in the world, and the exponent of their popularity.
    pub shared_per_peer: f64,
    pub shared_exponent: f64,
    /// How users choose words out of a name.
    pub choice: Choice,
}

/// Which words of a name users type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Any.
    Any,
    /// Any, but not the commonest one of the name.
    NotTheCommonest,
}

/// People who work on documents of their own.
pub const TEAM: Profile = Profile {
    words: 20_000,
    word_exponent: 0.8,
    files_median: 502.0,
    files_deviation: 1.0,
    shared: 0.1,
    shared_per_peer: 20.0,
    shared_exponent: 0.9,
    choice: Choice::NotTheCommonest,
};

/// Words in a name: uniformly so many.
pub const NAME_WORDS: std::ops::RangeInclusive<usize> = 3..=6;
const FEWEST_FILES: f64 = 10.0;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// So many words of the name of a document that someone has.
    Words(usize),
    /// Two words that are in names, but never in one.
    Miss,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Words(1), Kind::Words(2), Kind::Words(3), Kind::Miss];

    pub fn name(self) -> String {
        match self {
            Self::Words(1) => "1 word".into(),
            Self::Words(count) => format!("{count} words"),
            Self::Miss => "miss".into(),
        }
    }
}

/// A query with its true answer.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Ranks, in the order typed.
    pub words: Vec<u32>,
    pub probe: Probe,
    /// Who has which documents that match.
    pub files: BTreeMap<usize, Vec<u64>>,
}

pub struct World {
    pub profile: Profile,
    pub vocabulary: Vocabulary,
    /// Ranks of the words of each document, rising.
    names: Vec<Box<[u32]>>,
    /// Documents of each peer.
    peers: Vec<Vec<u32>>,
    /// Who has each document.
    holders: Vec<Vec<u32>>,
    /// Documents by word.
    by_word: Vec<Vec<u32>>,
    /// Documents of all peers together, each copy for itself.
    copies: usize,
}

impl World {
    pub fn new(profile: Profile, peers: usize, seed: u64) -> Self {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let vocabulary = Vocabulary::new(profile.words, rng);
        let zipf = Zipf::new(profile.words, profile.word_exponent);
        let shared_documents = (profile.shared_per_peer * peers as f64).ceil() as usize;
        let popularity = Zipf::new(shared_documents, profile.shared_exponent);
        let mut names: Vec<Box<[u32]>> = (0..shared_documents).map(|_| name(&zipf, rng)).collect();
        let mut all = Vec::with_capacity(peers);
        for _ in 0..peers {
            let count = file_count(&profile, rng);
            let shared = (profile.shared * count as f64).round() as usize;
            let mut files: BTreeSet<u32> = BTreeSet::new();
            for _ in 0..shared {
                files.insert(popularity.draw(rng) as u32);
            }
            while files.len() < count {
                files.insert(names.len() as u32);
                names.push(name(&zipf, rng));
            }
            all.push(files.into_iter().collect::<Vec<u32>>());
        }
        let mut holders = vec![Vec::new(); names.len()];
        for (peer, files) in all.iter().enumerate() {
            for file in files {
                holders[*file as usize].push(peer as u32);
            }
        }
        let mut by_word = vec![Vec::new(); profile.words];
        for (file, words) in names.iter().enumerate() {
            for word in words {
                by_word[*word as usize].push(file as u32);
            }
        }
        let copies = all.iter().map(Vec::len).sum();
        Self { profile, vocabulary, names, peers: all, holders, by_word, copies }
    }

    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    pub fn files(&self, peer: usize) -> usize {
        self.peers[peer].len()
    }

    /// Names of a peer's documents, as ranks of words.
    pub fn names(&self, peer: usize) -> impl Iterator<Item = &[u32]> {
        self.peers[peer].iter().map(|file| &*self.names[*file as usize])
    }

    /// Different words of a peer.
    pub fn count_words(&self, peer: usize) -> usize {
        self.names(peer).flatten().collect::<BTreeSet<_>>().len()
    }

    /// `None` when they are too many.
    pub fn keys(&self, peer: usize) -> Option<OwnKeys> {
        let mut keys = KeysOf::default();
        for name in self.names(peer) {
            keys.add(name.iter().map(|rank| self.vocabulary.word(*rank)));
        }
        keys.finish()
    }

    pub fn summary(&self, peer: usize) -> Option<Summary> {
        self.keys(peer).as_ref().map(Summary::of)
    }

    /// A query of a kind, for what someone has; the copies of documents are equally likely.
    pub fn ask(&self, kind: Kind, rng: &mut SmallRng) -> Asked {
        loop {
            let words = match kind {
                Kind::Words(count) => self.pick(count, rng),
                Kind::Miss => [self.pick(1, rng), self.pick(1, rng)].concat(),
            };
            if words.iter().collect::<BTreeSet<_>>().len() < words.len() {
                continue;
            }
            let asked = self.asked(words);
            if kind != Kind::Miss || asked.files.is_empty() {
                return asked;
            }
        }
    }

    fn pick(&self, count: usize, rng: &mut SmallRng) -> Vec<u32> {
        let mut at = rng.random_range(0..self.copies);
        let file = self.peers.iter().find_map(|files| {
            let file = files.get(at).copied();
            at = at.saturating_sub(files.len());
            file
        });
        let mut words = self.names[file.expect("there are so many copies") as usize].to_vec();
        if self.profile.choice == Choice::NotTheCommonest && words.len() > count {
            // Ranks rise: the first is the commonest.
            words.remove(0);
        }
        let mut picked = Vec::with_capacity(count);
        while picked.len() < count {
            picked.push(words.swap_remove(rng.random_range(0..words.len())));
        }
        picked
    }

    fn asked(&self, words: Vec<u32>) -> Asked {
        let text: Vec<&str> = words.iter().map(|rank| self.vocabulary.word(*rank)).collect();
        let query = Query::parse(&text.join(" ")).expect("words are a query");
        let (last, head) = words.split_last().expect("a query has a word");
        let endings = self.vocabulary.beginning(self.vocabulary.word(*last));
        let rarest = head.iter().min_by_key(|word| self.by_word[**word as usize].len());
        let candidates: BTreeSet<u32> = match rarest {
            Some(word) => self.by_word[*word as usize].iter().copied().collect(),
            None => endings.iter().flat_map(|word| &self.by_word[*word as usize]).copied().collect(),
        };
        let mut files: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for file in candidates {
            let name = &self.names[file as usize];
            let has = |word: &u32| name.binary_search(word).is_ok();
            if head.iter().all(has) && endings.iter().any(has) {
                for holder in &self.holders[file as usize] {
                    files.entry(*holder as usize).or_default().push(u64::from(file));
                }
            }
        }
        Asked { probe: Probe::of(&query), words, files }
    }
}

/// Files of one peer.
pub fn file_count(profile: &Profile, rng: &mut SmallRng) -> usize {
    let count = profile.files_median * (profile.files_deviation * normal(rng)).exp();
    count.max(FEWEST_FILES).round() as usize
}

/// Different words of one name, by rank.
pub fn name(zipf: &Zipf, rng: &mut SmallRng) -> Box<[u32]> {
    let count = rng.random_range(NAME_WORDS);
    let mut words = BTreeSet::new();
    while words.len() < count {
        words.insert(zipf.draw(rng) as u32);
    }
    words.into_iter().collect()
}
