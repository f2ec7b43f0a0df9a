//! Query text to [`Query`]: every term is bounded and every refusal says what would do.

use std::{ops::RangeInclusive, time::SystemTime};

use bytesize::ByteSize;

use super::{FileKind, MAX_QUERY_BYTES, MAX_TERMS, Phrase, Query, QueryError, time::When};
use crate::protocol::text::{fold, words};

const FILTERS: [&str; 7] = ["ext", "size", "type", "newer", "older", "peer", "hash"];
/// Longest extension: `7z.001` and `tar.zst` are long ones.
const MAX_EXTENSION_BYTES: usize = 32;
/// As many bytes as a peer id has hexadecimal digits.
const MAX_PEER_BYTES: usize = 64;

/// One term as typed.
pub(super) struct Term<'a> {
    pub(super) is_negated: bool,
    pub(super) is_quoted: bool,
    /// Without the `-` and the quotes.
    pub(super) text: &'a str,
    /// With them.
    pub(super) raw: &'a str,
}

/// The text with every span of time turned into the time itself; anything that is no query is left for [`parse`].
pub(super) fn anchored(text: &str, now: SystemTime) -> String {
    let text = text.trim();
    let Ok(terms) = split(text) else { return text.into() };
    let mut has_span = false;
    let mut anchor = |term: &Term<'_>| {
        if let Ok(Some((filter @ ("newer" | "older"), value))) = filter_of(term)
            && let Some(when @ When::Ago(_)) = When::read(value)
        {
            has_span = true;
            let minus = if term.is_negated { "-" } else { "" };
            return format!("{minus}{filter}:{}", when.text(now));
        }
        term.raw.to_owned()
    };
    let terms: Vec<String> = terms.iter().map(&mut anchor).collect();
    if has_span { terms.join(" ") } else { text.into() }
}

pub(super) fn parse(text: &str) -> Result<Query, QueryError> {
    if text.len() > MAX_QUERY_BYTES {
        return Err(QueryError::TooLong(text.len()));
    }
    let text = text.trim();
    if text.is_empty() {
        return Err(QueryError::Empty);
    }
    let terms = split(text)?;
    if terms.len() > MAX_TERMS {
        return Err(QueryError::TooManyTerms);
    }
    let mut query = Query { text: text.into(), ..Query::default() };
    let mut last_word = None;
    for term in terms {
        if let Some((filter, value)) = filter_of(&term)? {
            add_filter(&mut query, filter, value, term.is_negated)?;
            continue;
        }
        let words: Vec<String> = words(&fold(term.text)).map(str::to_owned).collect();
        if words.is_empty() {
            continue;
        }
        let phrase = Phrase { words, is_prefix: false };
        if term.is_negated {
            query.not_phrases.push(phrase);
        } else {
            if !term.is_quoted {
                last_word = Some(query.phrases.len());
            }
            query.phrases.push(phrase);
        }
    }
    if let Some(last) = last_word {
        query.phrases[last].is_prefix = true;
    }
    let is_positive = !query.phrases.is_empty()
        || !query.extensions.is_empty()
        || !query.sizes.is_empty()
        || query.not_before.is_some()
        || query.before.is_some()
        || query.peer.is_some()
        || query.hash.is_some();
    let is_negative =
        !query.not_phrases.is_empty() || !query.not_extensions.is_empty() || !query.not_sizes.is_empty();
    match (is_positive, is_negative) {
        (true, _) => Ok(query),
        (false, true) => Err(QueryError::OnlyNegations),
        (false, false) => Err(QueryError::NoWord),
    }
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '“' | '”' | '„')
}

/// Terms between white space. A quote opens a phrase only where a term begins: `12" vinyl` is two words.
pub(super) fn split(text: &str) -> Result<Vec<Term<'_>>, QueryError> {
    let mut terms = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let negated = rest.strip_prefix('-');
        let (is_negated, body) = (negated.is_some(), negated.unwrap_or(rest));
        let is_quoted = body.starts_with(is_quote);
        let (term, after) = if is_quoted {
            skip_one(body).split_once(is_quote).ok_or(QueryError::OpenQuote)?
        } else {
            body.split_at(body.find(char::is_whitespace).unwrap_or(body.len()))
        };
        let raw = &rest[..rest.len() - after.len()];
        terms.push(Term { is_negated, is_quoted, text: term, raw });
        rest = after.trim_start();
    }
    Ok(terms)
}

/// Without the first character.
fn skip_one(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

/// The filter that an unquoted term names, with its value. A colon in other text means nothing.
pub(super) fn filter_of<'a>(term: &Term<'a>) -> Result<Option<(&'static str, &'a str)>, QueryError> {
    let Some((key, value)) = term.text.split_once(':').filter(|_| !term.is_quoted) else { return Ok(None) };
    let folded = fold(key);
    if let Some(filter) = FILTERS.into_iter().find(|filter| *filter == folded) {
        return Ok(Some((filter, value)));
    }
    // Three letters at least: drive letters and the like are no misspelt filters. Nor are `never:` and `folder:`, unless a
    // time comes after them.
    let is_near = |filter: &&str| {
        let is_meant = !matches!(*filter, "newer" | "older") || When::read(value).is_some();
        folded.len() > 2 && is_meant && strsim::osa_distance(filter, &folded) == 1
    };
    let nearest = FILTERS.into_iter().find(is_near);
    match nearest {
        Some(nearest) => Err(QueryError::UnknownFilter { given: clip(key), nearest }),
        None => Ok(None),
    }
}

fn add_filter(
    query: &mut Query,
    filter: &'static str,
    value: &str,
    is_negated: bool,
) -> Result<(), QueryError> {
    let bad = |help| QueryError::BadValue { filter, value: clip(value), help };
    match filter {
        "ext" => {
            let into = if is_negated { &mut query.not_extensions } else { &mut query.extensions };
            for extension in value.split(',') {
                let extension = fold(extension.trim_start_matches('.'));
                let is_usable = words(&extension).next().is_some()
                    && extension.len() <= MAX_EXTENSION_BYTES
                    && !extension.contains('/');
                if !is_usable {
                    return Err(bad("write an extension as in `ext:pdf` or `ext:jpg,png`"));
                }
                into.push(extension);
            }
        }
        "type" => {
            let into = if is_negated { &mut query.not_extensions } else { &mut query.extensions };
            for name in value.split(',') {
                let kind = FileKind::from_name(&fold(name)).ok_or_else(|| {
                    bad("the types are audio, video, image, document, archive, code and program")
                })?;
                into.extend(kind.extensions().iter().map(|extension| (*extension).to_owned()));
            }
        }
        "size" => {
            let range = size_range(value)
                .ok_or_else(|| bad("write a size as in `size:>1M`, `size:<=500K` or `size:1M..2G`"))?;
            if is_negated { query.not_sizes.push(range) } else { query.sizes.push(range) }
        }
        "newer" | "older" => match When::read(value) {
            // Not newer is older, to the second.
            Some(When::At(time)) if (filter == "newer") != is_negated => {
                query.not_before = query.not_before.max(Some(time));
            }
            Some(When::At(time)) => query.before = Some(query.before.map_or(time, |before| before.min(time))),
            Some(When::Ago(_)) => {
                return Err(bad("a span counts from the now of whoever asks: send the time itself"));
            }
            None => return Err(bad("write a span as in `newer:7d`, or a day as in `older:2026-01-31`")),
        },
        _ if is_negated => return Err(bad("this filter cannot be negated: leave the `-` away")),
        "peer" => {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if value.is_empty() || value.len() > MAX_PEER_BYTES || !value.chars().all(is_name) {
                return Err(bad("write a peer's name, or the beginning of its id, as in `peer:ana`"));
            }
            if query.peer.replace(value.into()).is_some_and(|before| !before.eq_ignore_ascii_case(value)) {
                return Err(bad("name one peer only"));
            }
        }
        _ => {
            let hash = value.parse().map_err(|_| bad("write the 64 hexadecimal digits of a content hash"))?;
            if query.hash.replace(hash).is_some_and(|before| before != hash) {
                return Err(bad("name one content only"));
            }
        }
    }
    Ok(())
}

/// `>1M`, `>=1M`, `<1M`, `<=1M`, `1M..2G`, `1M..`, `..2G`, `1234`. An empty range, as in `2G..1M`, is none.
fn size_range(value: &str) -> Option<RangeInclusive<u64>> {
    let bytes = |text: &str| {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit());
        text.parse::<ByteSize>().ok().filter(|_| is_number).map(|size| size.as_u64())
    };
    let range = if let Some(least) = value.strip_prefix(">=") {
        bytes(least)?..=u64::MAX
    } else if let Some(below) = value.strip_prefix('>') {
        bytes(below)?.checked_add(1)?..=u64::MAX
    } else if let Some(most) = value.strip_prefix("<=") {
        0..=bytes(most)?
    } else if let Some(above) = value.strip_prefix('<') {
        0..=bytes(above)?.checked_sub(1)?
    } else if let Some((least, most)) = value.split_once("..") {
        if least.is_empty() && most.is_empty() {
            return None;
        }
        let least = if least.is_empty() { 0 } else { bytes(least)? };
        let most = if most.is_empty() { u64::MAX } else { bytes(most)? };
        least..=most
    } else {
        let exact = bytes(value.strip_prefix('=').unwrap_or(value))?;
        exact..=exact
    };
    (!range.is_empty()).then_some(range)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
