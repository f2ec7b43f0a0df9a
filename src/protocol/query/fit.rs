//! How well a path answers a query: one scale, by which a peer chooses what it sends and the origin orders what it got.

use super::{Phrase, Query};
use crate::protocol::text::words;

/// How well a path answers; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fit {
    /// The query is the name, with or without the extension.
    Name,
    /// The name begins with the query.
    NameBegins,
    /// All words are in the name.
    InName,
    /// All words are in one folder's name.
    InSegment,
    /// They are scattered.
    Scattered,
}

impl Fit {
    /// From the best to the worst.
    pub const ALL: [Self; 5] = [Self::Name, Self::NameBegins, Self::InName, Self::InSegment, Self::Scattered];
}

/// Tells how well paths answer one query.
#[derive(Debug)]
pub struct Fitting<'a> {
    query: &'a Query,
    wanted: Vec<&'a str>,
}

impl<'a> Fitting<'a> {
    /// To that query.
    pub fn of(query: &'a Query) -> Self {
        let wanted = query.phrases().iter().flat_map(Phrase::words).map(String::as_str).collect();
        Self { query, wanted }
    }

    /// How well this folded path answers, if it does.
    pub fn fit(&self, folded_path: &str) -> Fit {
        let wanted = &self.wanted;
        let is_prefix = self.query.phrases().last().is_some_and(Phrase::is_prefix);
        let (above, name) = folded_path.rsplit_once('/').unwrap_or(("", folded_path));
        let name_words: Vec<&str> = words(name).collect();
        let in_stem = || words(name.rsplit_once('.').map_or(name, |(stem, _)| stem));
        if name_words == *wanted || in_stem().eq(wanted.iter().copied()) {
            return Fit::Name;
        }
        let is_beginning = name_words.len() >= wanted.len()
            && wanted.iter().zip(&name_words).enumerate().all(|(place, (word, there))| {
                word == there || is_prefix && place + 1 == wanted.len() && there.starts_with(*word)
            });
        let holds_all = |segment: &[&str]| self.query.phrases().iter().all(|phrase| phrase.is_in(segment));
        if is_beginning && !wanted.is_empty() {
            Fit::NameBegins
        } else if holds_all(&name_words) {
            Fit::InName
        } else if above.split('/').any(|segment| holds_all(&words(segment).collect::<Vec<_>>())) {
            Fit::InSegment
        } else {
            Fit::Scattered
        }
    }
}
