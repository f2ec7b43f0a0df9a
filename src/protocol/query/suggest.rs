//! What a query that found nothing may have meant: known words that are few typing errors away from those that nobody has.
//!
//! Invariant: whatever is suggested is a query again, with the same filters and negations.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{MAX_QUERY_BYTES, parse};
use crate::protocol::text::{fold, words};

/// Most queries suggested.
pub const MAX_SUGGESTIONS: usize = 3;
/// Words of more characters are hashes and the like: nobody typed them.
const MAX_WORD_CHARS: usize = 32;
/// In shorter words nearly every other word is near.
const MIN_WORD_CHARS: usize = 3;
/// From this length on a word may have two typing errors.
const TWO_EDITS_CHARS: usize = 5;

/// The known words nearest to one that is not known.
#[derive(Debug)]
pub struct Nearest {
    wanted: Vec<char>,
    /// Which letters it has, as [`letters`] tells.
    letters: u64,
    most_edits: usize,
    /// Best first, at most [`MAX_SUGGESTIONS`].
    best: Vec<(usize, bool, Reverse<usize>, String)>,
}

impl Nearest {
    /// To a folded word; `None` for one that is too short or too long to be misspelt, and for a number.
    pub fn to(word: &str) -> Option<Self> {
        let wanted: Vec<char> = word.chars().take(MAX_WORD_CHARS + 1).collect();
        let is_number = wanted.iter().all(char::is_ascii_digit);
        if is_number || !(MIN_WORD_CHARS..=MAX_WORD_CHARS).contains(&wanted.len()) {
            return None;
        }
        let most_edits = if wanted.len() < TWO_EDITS_CHARS { 1 } else { 2 };
        Some(Self { letters: letters(word), wanted, most_edits, best: Vec::new() })
    }

    /// Looks at a known folded word; `files` tells how many have it, and is asked of near ones only. Fewest edits come
    /// first, then words with the same first letter, then those that most files have.
    pub fn consider(&mut self, word: &str, files: impl FnOnce() -> usize) {
        // An edit puts in one letter that was not there and takes out one that was, at most: most words fall to this.
        let there = letters(word);
        let others = (there & !self.letters).count_ones().max((self.letters & !there).count_ones());
        if others as usize > self.most_edits {
            return;
        }
        let Some(edits) = edits_within(&self.wanted, word, self.most_edits) else { return };
        let files = files();
        if files == 0 {
            return;
        }
        let begins_otherwise = word.chars().next() != self.wanted.first().copied();
        self.best.push((edits, begins_otherwise, Reverse(files), word.to_owned()));
        self.best.sort_unstable();
        self.best.truncate(MAX_SUGGESTIONS);
    }

    /// The nearest, best first.
    pub fn words(self) -> Vec<String> {
        self.best.into_iter().map(|(.., word)| word).collect()
    }
}

/// One bit a letter; several letters may have the same.
fn letters(word: &str) -> u64 {
    word.chars().fold(0, |letters, letter| letters | 1 << (u32::from(letter) % 64))
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbor to make one word of the other
/// (optimal string alignment); `None` above `most`. Allocates nothing: a miss compares with every word of an index.
fn edits_within(wanted: &[char], word: &str, most: usize) -> Option<usize> {
    const ROW: usize = MAX_WORD_CHARS + 1;
    // A character has at most four bytes, and a word no more characters than bytes.
    if word.len() + most < wanted.len() || word.len() > 4 * (wanted.len() + most) {
        return None;
    }
    let width = wanted.len();
    let (mut before_last, mut last, mut row) = ([0_usize; ROW], [0_usize; ROW], [0_usize; ROW]);
    for (at, cell) in last.iter_mut().enumerate() {
        *cell = at;
    }
    let mut previous = None;
    for (at, letter) in word.chars().enumerate() {
        if at >= width + most {
            return None;
        }
        row[0] = at + 1;
        let mut lowest = row[0];
        for place in 1..=width {
            let there = wanted[place - 1];
            let mut cost = (last[place] + 1).min(row[place - 1] + 1);
            cost = cost.min(last[place - 1] + usize::from(there != letter));
            if place > 1 && previous == Some(there) && wanted[place - 2] == letter {
                cost = cost.min(before_last[place - 2] + 1);
            }
            row[place] = cost;
            lowest = lowest.min(cost);
        }
        // No later row is below the least of two rows, and a swap reaches back over one only.
        if lowest > most && last[..=width].iter().all(|cost| *cost > most) {
            return None;
        }
        previous = Some(letter);
        (before_last, last) = (last, row);
    }
    Some(last[width]).filter(|edits| *edits <= most)
}

/// The query text with its unknown words replaced by what is near to them, best first, at most [`MAX_SUGGESTIONS`].
/// `near` has the folded words that are unknown, each with its nearest.
pub fn respelled(text: &str, near: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let Ok(terms) = parse::split(text) else { return Vec::new() };
    let most = near.values().map(Vec::len).max().unwrap_or(0).min(MAX_SUGGESTIONS);
    let mut texts: Vec<String> = Vec::new();
    for rank in 0..most {
        let terms: Vec<String> = terms.iter().map(|term| respell(term, near, rank)).collect();
        let text = terms.join(" ");
        if text.len() <= MAX_QUERY_BYTES && !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

fn respell(term: &parse::Term<'_>, near: &BTreeMap<String, Vec<String>>, rank: usize) -> String {
    let folded = fold(term.text);
    let words: Vec<&str> = words(&folded).collect();
    let is_word = !term.is_negated && matches!(parse::filter_of(term), Ok(None));
    if !is_word || !words.iter().any(|word| near.contains_key(*word)) {
        return term.raw.to_owned();
    }
    let spelled: Vec<&str> = words
        .into_iter()
        .map(|word| {
            let nearest = near.get(word).and_then(|words| words.get(rank).or(words.last()));
            nearest.map_or(word, String::as_str)
        })
        .collect();
    if term.is_quoted { format!("\"{}\"", spelled.join(" ")) } else { spelled.join("-") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::query::Query;

    fn near(word: &str, known: &[&str]) -> Vec<String> {
        let mut nearest = Nearest::to(word).expect("a word");
        for known in known {
            nearest.consider(known, || 1);
        }
        nearest.words()
    }

    #[test]
    fn fewest_edits_come_first_then_the_same_first_letter() {
        assert_eq!(near("bugdet", &["gadget", "budget", "report", "budge"]), ["budget", "budge"]);
        assert_eq!(near("cat", &["bat", "car", "dog", "cast"]), ["car", "cast", "bat"]);
        assert_eq!(near("annaul", &["annual", "manual"]), ["annual"]);
        let mut nearest = Nearest::to("repart").expect("a word");
        nearest.consider("report", || 1);
        nearest.consider("depart", || 0);
        nearest.consider("repast", || 5);
        assert_eq!(nearest.words(), ["repast", "report"]);
    }

    #[test]
    fn short_words_and_numbers_are_no_typing_errors() {
        for word in ["", "ab", "会", "2031", &"x".repeat(33)] {
            assert!(Nearest::to(word).is_none(), "{word}");
        }
    }

    #[test]
    fn what_is_suggested_keeps_the_rest_of_the_query() {
        let near = BTreeMap::from([
            ("bugdet".to_owned(), vec!["budget".to_owned(), "budge".to_owned()]),
            ("anual".to_owned(), vec!["annual".to_owned()]),
        ]);
        assert_eq!(respelled("Bugdet", &near), ["budget", "budge"]);
        assert_eq!(
            respelled("\"anual  bugdet\" ext:pdf -bugdet newer:7d", &near),
            ["\"annual budget\" ext:pdf -bugdet newer:7d", "\"annual budge\" ext:pdf -bugdet newer:7d"]
        );
        assert_eq!(respelled("bugdet_2024.xlsx report", &near)[0], "budget-2024-xlsx report");
        assert!(respelled("report", &BTreeMap::new()).is_empty());
    }

    proptest! {
        #[test]
        fn edits_are_those_of_the_reference(left in "[abcé]{1,8}", right in "[abcé]{0,9}", most in 0usize..4) {
            let wanted: Vec<char> = left.chars().collect();
            let expected = strsim::osa_distance(&left, &right);
            prop_assert_eq!(edits_within(&wanted, &right, most), (expected <= most).then_some(expected));
        }

        #[test]
        fn a_suggestion_is_a_query(text in "(-?\"?[ab会x]{1,4}[-.\"]?[ab]{0,3} ?|ext:pdf |size:>1 ){1,6}") {
            prop_assume!(Query::parse(&text).is_ok());
            let near = ["a", "b", "ab", "ax", "xb"].map(|word| (word.to_owned(), vec!["word".to_owned()]));
            for suggestion in respelled(&text, &BTreeMap::from(near)) {
                prop_assert!(Query::parse(&suggestion).is_ok(), "{}", suggestion);
            }
        }
    }
}
