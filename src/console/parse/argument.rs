//! One argument of a command: a search, a place, a number, a quoted word. Pure and total, as all that parses a line.

use crate::protocol::{
    action::{PeerPath, Scope, SearchAsk, Target, Which},
    id::{ContentHash, ZoneId},
};

/// The rest of a line as a search, with `--all` and `--ttl N` before the words. Quotes stay: they mean a phrase.
pub fn search(text: &str) -> Result<Option<SearchAsk>, String> {
    let mut ask = SearchAsk::default();
    let mut text = text.trim();
    while text.starts_with("--") {
        let (option, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        text = rest.trim_start();
        match option {
            "--all" => ask.scope = Scope::All,
            "--ttl" => {
                let (ttl, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
                let ttl = ttl.parse().ok().filter(|ttl| (1..=32).contains(ttl));
                ask.ttl = Some(ttl.ok_or("write `--ttl` with a number from 1 to 32")?);
                text = rest.trim_start();
            }
            _ => return Err("a search takes the options `--all` and `--ttl N` only".into()),
        }
    }
    text.clone_into(&mut ask.text);
    Ok(Some(ask).filter(|ask| !ask.text.is_empty()))
}

/// One thing to download.
pub fn target(text: &str) -> Result<Target, String> {
    if is_number(text) && text.len() < 2 * ContentHash::SIZE {
        return match text.parse() {
            Ok(number) if number > 0 => Ok(Target::Hit(number)),
            _ => Err("hits are numbered from 1".into()),
        };
    }
    if let Ok(hash) = text.parse() {
        return Ok(Target::Hash(hash));
    }
    match peer_path(text) {
        Ok(path) if !path.path.is_empty() => Ok(Target::Path(path)),
        _ => Err("name a hit by its number, a content hash of 64 digits, or PEER:PATH".into()),
    }
}

/// `PEER` or `PEER:PATH`.
pub fn peer_path(text: &str) -> Result<PeerPath, String> {
    let (peer, path) = text.split_once(':').unwrap_or((text, ""));
    if peer.is_empty() {
        return Err("name a peer: `ana` or `ana:docs`".into());
    }
    Ok(PeerPath { peer: peer.into(), path: path.trim_matches('/').into() })
}

/// A number from 1.
pub fn number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) if number > 0 && is_number(text) => Ok(number),
        _ => Err("give its number, from 1".into()),
    }
}

/// A transfer's number, or all of them.
pub fn which(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    number(text).map(Which::One).map_err(|_| "give its number, from 1, or `all`".into())
}

/// A zone's number.
pub(super) fn zone_number(text: &str) -> Result<ZoneId, String> {
    text.parse().ok().and_then(ZoneId::new).ok_or_else(|| "zones are numbered from 1".into())
}

pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Splits at blanks as a shell does: single and double quotes, and a backslash before a blank, a quote or a backslash.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut part, mut quote) = (vec![], None::<String>, None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                part.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => parts.extend(part.take()),
            ('\\', None | Some('"')) => {
                let escaped = chars.next_if(|next| next.is_whitespace() || matches!(next, '"' | '\'' | '\\'));
                part.get_or_insert_default().push(escaped.unwrap_or(c));
            }
            (c, _) => part.get_or_insert_default().push(c),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a {quote} is open and never closed"));
    }
    parts.extend(part);
    Ok(parts)
}
