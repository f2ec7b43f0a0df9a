//! What Tab offers: commands, then peers, hit numbers, shared names or files on disk, whichever the command takes.

use std::sync::{Arc, Mutex, PoisonError};

use rustyline::{
    Context, Helper,
    completion::{Completer, FilenameCompleter, Pair},
    highlight::Highlighter,
    hint::Hinter,
    validate::Validator,
};

use super::parse;
use crate::protocol::name::Printable;

/// Names remembered of each kind; more are not offered.
const MAX_NAMES: usize = 1000;

/// What was seen and can be named. The lock is held for a copy or a look-up only.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    peers: Vec<String>,
    shares: Vec<String>,
    /// `PEER:PATH`.
    places: Vec<String>,
    hits: Vec<(u32, String)>,
}

impl Names {
    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_peers(&self, peers: impl Iterator<Item = String>) {
        self.with(|seen| seen.peers = peers.take(MAX_NAMES).collect());
    }

    pub(super) fn set_shares(&self, shares: impl Iterator<Item = String>) {
        self.with(|seen| seen.shares = shares.take(MAX_NAMES).collect());
    }

    /// A new search: its hits are numbered anew.
    pub(super) fn clear_hits(&self) {
        self.with(|seen| seen.hits.clear());
    }

    pub(super) fn add_hit(&self, number: u32, name: &str) {
        self.with(|seen| {
            if seen.hits.len() < MAX_NAMES && !seen.hits.iter().any(|(known, _)| *known == number) {
                seen.hits.push((number, name.into()));
            }
        });
    }

    pub(super) fn add_place(&self, place: String) {
        self.with(|seen| {
            // A place with blanks would have to be quoted to be one argument; one that has to be escaped would reach the
            // terminal as it is, since what is offered is what is typed.
            let is_word = !place.contains(char::is_whitespace) && Printable(&place).to_string() == place;
            if is_word && seen.places.len() < MAX_NAMES && !seen.places.contains(&place) {
                seen.places.push(place);
            }
        });
    }
}

/// The helper of the line editor.
pub(super) struct Completion {
    names: Names,
    files: FilenameCompleter,
}

impl Completion {
    pub(super) fn new(names: Names) -> Self {
        Self { names, files: FilenameCompleter::new() }
    }
}

/// What the word at the cursor may be.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Peer,
    Place,
    Downloadable,
    Share,
    File,
    Nothing,
}

fn kind(before: &[&str]) -> Kind {
    let (Some(word), given) = (before.first(), before.len() - before.len().min(1)) else {
        return Kind::Command;
    };
    // The command alone tells what follows; its own arguments need not be whole yet.
    match (parse::parse(word), given, before.get(1)) {
        (Ok(parse::Command::Download { .. }), 0, _) => Kind::Downloadable,
        (Ok(parse::Command::Upload { .. } | parse::Command::Put { .. }), 0, _)
        | (Ok(parse::Command::Download { .. }), _, _)
        | (Ok(parse::Command::Shares), 1, Some(&"add")) => Kind::File,
        (Ok(parse::Command::Upload { .. }), _, _) => Kind::Peer,
        (Ok(parse::Command::Browse(_) | parse::Command::Network), 0, _) => Kind::Place,
        (Ok(parse::Command::Shares), 1, Some(&("rm" | "remove"))) => Kind::Share,
        _ => Kind::Nothing,
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..pos).unwrap_or(line);
        let start = typed.rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let word = &typed[start..];
        let before: Vec<&str> = typed[..start].split_whitespace().collect();
        let plain = |candidates: Vec<String>| {
            let matching = candidates.into_iter().filter(|candidate| candidate.starts_with(word));
            matching.map(|candidate| Pair { display: candidate.clone(), replacement: candidate }).collect()
        };
        let names = |names: &[String], end: &str| names.iter().map(|name| format!("{name}{end}")).collect();
        let candidates = match kind(&before) {
            Kind::File => {
                let (start, mut pairs) = self.files.complete_path(line, pos)?;
                pairs.retain(|pair| Printable(&pair.display).to_string() == pair.display);
                return Ok((start, pairs));
            }
            Kind::Command => plain(parse::words().map(Into::into).collect()),
            Kind::Peer => plain(self.names.with(|seen| names(&seen.peers, ""))),
            Kind::Share => plain(self.names.with(|seen| names(&seen.shares, ""))),
            Kind::Place => {
                self.names.with(|seen| plain([names(&seen.peers, ":"), names(&seen.places, "")].concat()))
            }
            Kind::Downloadable => self.names.with(|seen| {
                let hits = seen.hits.iter().filter(|(number, _)| number.to_string().starts_with(word));
                let mut pairs: Vec<Pair> = hits
                    .map(|(number, name)| Pair {
                        display: format!("{number} {}", Printable(name)),
                        replacement: number.to_string(),
                    })
                    .collect();
                pairs.extend::<Vec<Pair>>(plain(names(&seen.places, "")));
                pairs
            }),
            Kind::Nothing => vec![],
        };
        Ok((start, candidates))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Hinter for Completion {
    type Hint = String;
}

#[cfg(test)]
mod tests {
    use rustyline::history::DefaultHistory;

    use super::*;

    fn offered(line: &str) -> Vec<String> {
        let names = Names::default();
        names.set_peers(["ana", "ben"].map(String::from).into_iter());
        names.set_shares(["docs".to_owned()].into_iter());
        names.add_hit(1, "report.pdf");
        names.add_hit(12, "b\u{1b}[2J");
        names.add_place("ana:docs/report.pdf".into());
        names.add_place("ana:docs/\u{1b}[2J".into());
        let history = DefaultHistory::new();
        let completion = Completion::new(names);
        let Ok((start, pairs)) = completion.complete(line, line.len(), &Context::new(&history)) else {
            return vec![];
        };
        assert!(pairs.iter().all(|pair| !pair.display.contains('\u{1b}')));
        pairs.iter().map(|pair| format!("{}{}", &line[..start], pair.replacement)).collect()
    }

    #[test]
    fn each_command_is_offered_what_it_takes() {
        assert_eq!(offered("sea"), ["search"]);
        assert_eq!(offered("up"), ["upload"]);
        assert_eq!(offered("get 1"), ["get 1", "get 12"]);
        assert_eq!(offered("3 an"), ["3 ana:docs/report.pdf"]);
        assert_eq!(offered("browse a"), ["browse ana:", "browse ana:docs/report.pdf"]);
        assert_eq!(offered("send /etc/hostn"), ["send /etc/hostname"]);
        assert_eq!(offered("send x b"), ["send x ben"]);
        assert_eq!(offered("8 rm "), ["8 rm docs"]);
        assert_eq!(offered("status "), Vec::<String>::new());
        assert_eq!(offered("search a"), Vec::<String>::new());
    }
}
