//! The query language: what a text asks for, and which files answer it. The semantics are here alone; the index is only
//! a faster way to the same answer.

mod fit;
mod kind;
mod parse;
mod suggest;
mod time;

use std::{ops::RangeInclusive, time::SystemTime};

pub use self::{
    fit::{Fit, Fitting},
    kind::FileKind,
    suggest::{MAX_SUGGESTIONS, Nearest, respelled},
};
use super::{
    id::{ContentHash, PeerId, PeerName},
    text::{fold_into, words},
};

/// Longest query text in bytes, as the protocol has it.
pub const MAX_QUERY_BYTES: usize = 512;
/// Fewest digits of an id that name a peer.
pub const MIN_ID_DIGITS: usize = 8;
/// Most terms in one query: more than anyone types, few enough that none is slow.
pub const MAX_TERMS: usize = 32;

/// Why a text is not a query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nothing but spaces.
    #[error("the query is empty: type a word of the file's name")]
    Empty,
    /// Over [`MAX_QUERY_BYTES`].
    #[error("the query has {0} bytes: use at most {MAX_QUERY_BYTES}")]
    TooLong(usize),
    /// Over [`MAX_TERMS`].
    #[error("the query has too many terms: use at most {MAX_TERMS}")]
    TooManyTerms,
    /// A phrase that does not end.
    #[error("a quote is not closed: add another `\"` at the end of the phrase")]
    OpenQuote,
    /// Only punctuation.
    #[error("the query holds no letter or digit: type a word of the file's name")]
    NoWord,
    /// Only negations.
    #[error(
        "the query only says what not to find, and nearly every file would match: add a word, `ext:` or `type:`"
    )]
    OnlyNegations,
    /// A filter that does not exist, but nearly does.
    #[error(
        "there is no filter `{given}:`: did you mean `{nearest}:`? Put the words in quotes to search for them"
    )]
    UnknownFilter {
        /// As typed.
        given: String,
        /// The one that it looks like.
        nearest: &'static str,
    },
    /// A filter's value that makes no sense.
    #[error("`{filter}:{value}` cannot be used: {help}")]
    BadValue {
        /// The filter.
        filter: &'static str,
        /// As typed, at most 64 characters of it.
        value: String,
        /// What would do.
        help: &'static str,
    },
}

/// Folded words that follow each other in a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    words: Vec<String>,
    is_prefix: bool,
}

impl Phrase {
    /// The words, folded, at least one.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The last word may be the beginning of a longer one.
    pub fn is_prefix(&self) -> bool {
        self.is_prefix
    }

    /// The words follow each other somewhere in `text`, which is the words of a folded path.
    pub fn is_in(&self, text: &[&str]) -> bool {
        text.windows(self.words.len()).any(|window| {
            let (last, head) = self.words.split_last().expect("a phrase has a word");
            let (last_there, head_there) = window.split_last().expect("as long as the phrase");
            head == head_there
                && if self.is_prefix { last_there.starts_with(last) } else { last_there == last }
        })
    }
}

/// What a text asks for. Made by [`Query::parse`] only, so that every bound holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    text: String,
    phrases: Vec<Phrase>,
    not_phrases: Vec<Phrase>,
    extensions: Vec<String>,
    not_extensions: Vec<String>,
    sizes: Vec<RangeInclusive<u64>>,
    not_sizes: Vec<RangeInclusive<u64>>,
    /// Last changed at this time or after it.
    not_before: Option<SystemTime>,
    /// Last changed before this time.
    before: Option<SystemTime>,
    peer: Option<String>,
    hash: Option<ContentHash>,
}

impl Query {
    /// Reads a query text. Never panics, whatever the text.
    ///
    /// Words must all match, the last one by its beginning; `"..."` is an exact phrase; `-` before a word, a phrase, `ext:`,
    /// `type:`, `size:`, `newer:` or `older:` means not. `ext:` and `type:` given together or more than once widen each other;
    /// every `size:`, `newer:` and `older:` must hold. Case and accents do not matter. Punctuation alone is passed over.
    ///
    /// This is the query on its way: a span of time such as `newer:7d` is refused, since peers' clocks differ.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parse::parse(text)
    }

    /// As [`Query::parse`], of a text as it is typed at `now`: spans of time become times, in [`Query::text`] too.
    pub fn asked_at(text: &str, now: SystemTime) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(QueryError::TooLong(text.len()));
        }
        parse::parse(&parse::anchored(text, now))
    }

    /// The text it was made of, without spaces around.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Words and phrases that must all be in the path.
    pub fn phrases(&self) -> &[Phrase] {
        &self.phrases
    }

    /// Words that must not be in the path. Those of longer phrases may be.
    pub fn not_words(&self) -> impl Iterator<Item = &str> {
        self.not_phrases.iter().filter_map(|phrase| match &phrase.words[..] {
            [word] if !phrase.is_prefix => Some(word.as_str()),
            _ => None,
        })
    }

    /// Extensions of which the file must have one, folded, without the dot; empty when any will do.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// The peer that is meant, as typed: a name in any case, or the beginning of an id. [`matches()`] does not look at it.
    pub fn peer(&self) -> Option<&str> {
        self.peer.as_deref()
    }

    /// The content that is meant.
    pub fn hash(&self) -> Option<ContentHash> {
        self.hash
    }

    /// The size is within what the query allows.
    pub fn allows_size(&self, size_bytes: u64) -> bool {
        self.sizes.iter().all(|range| range.contains(&size_bytes))
            && !self.not_sizes.iter().any(|range| range.contains(&size_bytes))
    }

    /// The time of the last change is one that the query allows.
    pub fn allows_time(&self, modified: SystemTime) -> bool {
        self.not_before.is_none_or(|least| modified >= least)
            && self.before.is_none_or(|above| modified < above)
    }

    /// The path, folded, and its words are what the query asks for.
    pub fn allows_path(&self, folded_path: &str, path_words: &[&str]) -> bool {
        let name = folded_path.rsplit('/').next().unwrap_or(folded_path);
        let has = |extension: &String| {
            name.strip_suffix(extension.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|stem| !stem.is_empty())
        };
        (self.extensions.is_empty() || self.extensions.iter().any(has))
            && !self.not_extensions.iter().any(has)
            && self.phrases.iter().all(|phrase| phrase.is_in(path_words))
            && !self.not_phrases.iter().any(|phrase| phrase.is_in(path_words))
    }
}

/// A [`Query::peer`] means this peer.
pub fn is_peer(asked: &str, id: &PeerId, name: &PeerName) -> bool {
    let is_id = asked.len() >= MIN_ID_DIGITS && id.to_string().starts_with(&asked.to_ascii_lowercase());
    is_id || asked.eq_ignore_ascii_case(name.as_str())
}

/// The file answers the query. The reference that any index has to agree with; `hash` is `None` while it is not known.
pub fn matches(
    query: &Query,
    path: &str,
    size_bytes: u64,
    modified: SystemTime,
    hash: Option<&ContentHash>,
) -> bool {
    if query.hash.is_some() && query.hash.as_ref() != hash
        || !query.allows_size(size_bytes)
        || !query.allows_time(modified)
    {
        return false;
    }
    let mut folded = String::new();
    fold_into(path, &mut folded);
    let path_words: Vec<&str> = words(&folded).collect();
    query.allows_path(&folded, &path_words)
}

#[cfg(test)]
mod tests;
