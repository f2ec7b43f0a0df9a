//! Made-up words that can be spoken, as long as those of file names: the more often a word is used the shorter it is.

use std::{collections::HashSet, ops::Range};

use rand::{RngExt, rngs::SmallRng};

use super::random::normal;

// The first of each are drawn most often, as in English, so that many words begin alike.
const ONSETS: [&str; 34] = [
    "r", "c", "s", "t", "p", "m", "d", "l", "b", "f", "n", "pr", "st", "h", "g", "tr", "v", "w", "k", "j",
    "br", "gr", "cr", "ch", "sh", "cl", "pl", "fl", "sp", "dr", "bl", "str", "th", "z",
];
const VOWELS: [&str; 12] = ["e", "a", "i", "o", "u", "ea", "io", "ou", "ai", "ee", "oo", "y"];
const CODAS: [&str; 12] = ["", "", "n", "r", "s", "l", "t", "m", "nt", "st", "ck", "nd"];
const LENGTHS: std::ops::RangeInclusive<f64> = 3.0..=15.0;

/// Distinct words by rank of use.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    words: Vec<String>,
    /// Ranks in the order of the alphabet.
    sorted: Vec<u32>,
}

impl Vocabulary {
    pub fn new(size: usize, rng: &mut SmallRng) -> Self {
        let mut words: Vec<String> = Vec::with_capacity(size);
        let mut known = HashSet::with_capacity(size);
        while words.len() < size {
            // 4.7 letters for the commonest words, 8.6 at rank 20,000: Zipf's law of abbreviation, as long as English words.
            let mean = 4.5 + 0.95 * (words.len() as f64 + 2.0).log10();
            let length = (mean + 2.0 * normal(rng)).clamp(*LENGTHS.start(), *LENGTHS.end()).round();
            let word = word(length as usize, rng);
            if known.insert(word.clone()) {
                words.push(word);
            }
        }
        let mut sorted: Vec<u32> = (0..size as u32).collect();
        sorted.sort_unstable_by_key(|rank| &words[*rank as usize]);
        Self { words, sorted }
    }

    pub fn word(&self, rank: u32) -> &str {
        &self.words[rank as usize]
    }

    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Ranks of the words that begin so.
    pub fn beginning(&self, prefix: &str) -> &[u32] {
        let range: Range<usize> = {
            let word = |rank: &u32| self.words[*rank as usize].as_str();
            let begin = self.sorted.partition_point(|rank| word(rank) < prefix);
            let length = self.sorted[begin..].partition_point(|rank| word(rank).starts_with(prefix));
            begin..begin + length
        };
        &self.sorted[range]
    }
}

fn word(length: usize, rng: &mut SmallRng) -> String {
    let mut word = String::new();
    while word.len() < length {
        word.push_str(pick(&ONSETS, rng));
        word.push_str(pick(&VOWELS, rng));
        word.push_str(pick(&CODAS, rng));
    }
    word.truncate(length);
    word
}

fn pick<'a>(from: &[&'a str], rng: &mut SmallRng) -> &'a str {
    let at = from.len() as f64 * rng.random::<f64>().powf(1.6);
    from[(at as usize).min(from.len() - 1)]
}
