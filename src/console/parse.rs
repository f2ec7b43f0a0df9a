//! One typed line to one command. Pure and total: any text is a command or a one-line complaint, and only a quit word
//! quits.

mod argument;

pub use argument::{number, peer_path, search, split, target, which};

use argument::{is_number, zone_number};

use crate::protocol::{
    action::{Answer, PeerPath, Priority, SearchAsk, Target, TransferControl, Which},
    id::ZoneId,
    saved::is_name,
};

/// Longest line that is looked at; a longer one is dropped with a message.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// How much of an unknown word a complaint repeats.
const MAX_ECHO_CHARS: usize = 40;

/// What a line asks for. Missing arguments are `None` or empty: the console asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// An empty line: the menu again.
    Menu,
    /// All commands.
    Help,
    /// The end.
    Quit,
    /// Whichever of the two is not the case.
    Toggle,
    /// Joins the network or leaves it.
    SetConnected(bool),
    /// A file to another peer.
    Upload {
        /// Path as typed.
        file: Option<String>,
        /// Receiver.
        peer: Option<String>,
    },
    /// A file that the network is to keep.
    Put {
        /// Path as typed.
        file: Option<String>,
        /// Replicas.
        replicas: Option<u64>,
    },
    /// What this peer put.
    Puts,
    /// What is to be taken back: a hash or a name.
    Unput(Option<String>),
    /// Files to this peer.
    Download {
        /// What; none yet when empty.
        targets: Vec<Target>,
        /// Path as typed.
        destination: Option<String>,
        /// Its place among the downloads that wait.
        priority: Priority,
    },
    /// Own attributes.
    Status,
    /// A search; asked for when `None`.
    Search(Option<SearchAsk>),
    /// A search to save and to run.
    Save {
        /// What it is to be called.
        name: String,
        /// What and how far.
        ask: SearchAsk,
    },
    /// The saved searches.
    SavedSearches,
    /// One of them, asked now.
    RunSaved(Option<String>),
    /// One of them, to be asked no more.
    RemoveSaved(Option<String>),
    /// Zones and all peers.
    Network,
    /// Peers, all or of one zone.
    Peers(Option<ZoneId>),
    /// Zones.
    Zones,
    /// A folder of a peer's shares.
    Browse(Option<PeerPath>),
    /// The list.
    Transfers,
    /// One or all of them to be paused, resumed, cancelled, retried or reordered.
    Control(Option<Which>, TransferControl),
    /// The list.
    Shares,
    /// Path as typed.
    AddShare(Option<String>),
    /// Name of a share.
    RemoveShare(Option<String>),
    /// Walks the shares again.
    Rescan,
    /// The offers.
    Inbox,
    /// An answer to one of them.
    Answer(Option<u64>, Answer),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Toggle,
    Connect,
    Disconnect,
    Upload,
    Put,
    Puts,
    Unput,
    Download,
    Status,
    Search,
    Save,
    Saved,
    Network,
    Peers,
    Zones,
    Browse,
    Transfers,
    Pause,
    Resume,
    Retry,
    Priority,
    Cancel,
    Shares,
    Rescan,
    Inbox,
    Accept,
    Decline,
    Trust,
    Help,
    Menu,
    Quit,
}

/// The menu's numbers; shorter forms of words are found by [`verb`].
const NUMBERS: [(&str, Verb); 10] = [
    ("1", Verb::Toggle),
    ("2", Verb::Upload),
    ("3", Verb::Download),
    ("4", Verb::Status),
    ("5", Verb::Search),
    ("6", Verb::Network),
    ("7", Verb::Transfers),
    ("8", Verb::Shares),
    ("9", Verb::Inbox),
    ("0", Verb::Quit),
];

/// Quit words stand whole, so that no slip of a finger ends the console.
const WHOLE: [(&str, Verb); 6] = [
    ("quit", Verb::Quit),
    ("exit", Verb::Quit),
    ("q", Verb::Quit),
    ("?", Verb::Help),
    // As on the command line; words of their own, so that `sea` goes on to mean `search`, and `pu` to mean `put`.
    ("searches", Verb::Saved),
    ("puts", Verb::Puts),
];

const WORDS: [(&str, Verb); 35] = [
    ("accept", Verb::Accept),
    ("attributes", Verb::Status),
    ("browse", Verb::Browse),
    ("cancel", Verb::Cancel),
    ("connect", Verb::Connect),
    ("decline", Verb::Decline),
    ("disconnect", Verb::Disconnect),
    ("download", Verb::Download),
    ("find", Verb::Search),
    ("get", Verb::Download),
    ("help", Verb::Help),
    ("inbox", Verb::Inbox),
    ("join", Verb::Connect),
    ("leave", Verb::Disconnect),
    ("menu", Verb::Menu),
    ("network", Verb::Network),
    ("pause", Verb::Pause),
    ("peers", Verb::Peers),
    ("print", Verb::Status),
    ("priority", Verb::Priority),
    ("put", Verb::Put),
    ("rescan", Verb::Rescan),
    ("resume", Verb::Resume),
    ("retry", Verb::Retry),
    ("save", Verb::Save),
    ("saved", Verb::Saved),
    ("search", Verb::Search),
    ("send", Verb::Upload),
    ("shares", Verb::Shares),
    ("status", Verb::Status),
    ("transfers", Verb::Transfers),
    ("trust", Verb::Trust),
    ("unput", Verb::Unput),
    ("upload", Verb::Upload),
    ("zones", Verb::Zones),
];

/// Every word that begins a command, for completion.
pub fn words() -> impl Iterator<Item = &'static str> {
    WORDS.iter().map(|(word, _)| *word).chain(["puts", "quit"])
}

/// What the line asks for, or one line that says why it asks for nothing.
pub fn parse(line: &str) -> Result<Command, String> {
    if line.len() > MAX_LINE_BYTES {
        return Err(format!("the line is longer than {MAX_LINE_BYTES} bytes and was dropped"));
    }
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    if word.is_empty() {
        return Ok(Command::Menu);
    }
    let (verb, rest) = (verb(word)?, rest.trim());
    if verb == Verb::Search {
        return search(rest).map(Command::Search);
    }
    if verb == Verb::Save {
        return save(rest);
    }
    let args = split(rest)?;
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    command(verb, &args)
}

fn command(verb: Verb, args: &[&str]) -> Result<Command, String> {
    let none = |command| match args {
        [] => Ok(command),
        _ => Err("this command takes nothing after it; `help` shows how it is written".to_owned()),
    };
    match verb {
        Verb::Toggle => none(Command::Toggle),
        Verb::Connect => none(Command::SetConnected(true)),
        Verb::Disconnect => none(Command::SetConnected(false)),
        Verb::Status => none(Command::Status),
        Verb::Zones => none(Command::Zones),
        Verb::Puts => none(Command::Puts),
        Verb::Rescan => none(Command::Rescan),
        Verb::Help => none(Command::Help),
        Verb::Menu => none(Command::Menu),
        Verb::Quit => none(Command::Quit),
        Verb::Search => search(&args.join(" ")).map(Command::Search),
        Verb::Save => save(&args.join(" ")),
        Verb::Saved => saved(args),
        Verb::Upload => match args {
            [] => Ok(Command::Upload { file: None, peer: None }),
            [file] => Ok(Command::Upload { file: owned(file), peer: None }),
            [file, peer] | [file, "to", peer] => Ok(Command::Upload { file: owned(file), peer: owned(peer) }),
            _ => Err("write `send FILE PEER`; put a file name with spaces in quotes".into()),
        },
        Verb::Put => match args {
            [] => Ok(Command::Put { file: None, replicas: None }),
            [file] => Ok(Command::Put { file: owned(file), replicas: None }),
            [file, copies] => Ok(Command::Put { file: owned(file), replicas: Some(number(copies)?) }),
            _ => Err("write `put FILE [COPIES]`; put a file name with spaces in quotes".into()),
        },
        Verb::Unput => match args {
            [] => Ok(Command::Unput(None)),
            [what] => Ok(Command::Unput(owned(what))),
            _ => Err("write `unput NAME`; put a name with spaces in quotes".into()),
        },
        Verb::Download => download(args),
        Verb::Peers => match args {
            [] => Ok(Command::Peers(None)),
            [zone] => zone_number(zone).map(|zone| Command::Peers(Some(zone))),
            _ => Err("write `peers` or `peers ZONE`".into()),
        },
        Verb::Network => match args {
            [] => Ok(Command::Network),
            [zone] if is_number(zone) => zone_number(zone).map(|zone| Command::Peers(Some(zone))),
            _ => command(Verb::Browse, args),
        },
        Verb::Browse => match args {
            [] => Ok(Command::Browse(None)),
            [place] => peer_path(place).map(|path| Command::Browse(Some(path))),
            _ => Err("write `browse PEER` or `browse PEER:FOLDER`; put a name with spaces in quotes".into()),
        },
        Verb::Transfers => match args {
            [] => Ok(Command::Transfers),
            ["pause", rest @ ..] => command(Verb::Pause, rest),
            ["resume", rest @ ..] => command(Verb::Resume, rest),
            ["retry", rest @ ..] => command(Verb::Retry, rest),
            ["cancel", rest @ ..] => command(Verb::Cancel, rest),
            ["priority", rest @ ..] => command(Verb::Priority, rest),
            _ => Err("write `transfers`, or `pause`, `resume`, `retry`, `cancel` with NUMBER or `all`, or `priority NUMBER high`".into()),
        },
        Verb::Pause => control(args, "pause", TransferControl::Pause),
        Verb::Resume => control(args, "resume", TransferControl::Resume),
        Verb::Retry => control(args, "retry", TransferControl::Retry),
        Verb::Cancel => control(args, "cancel", TransferControl::Cancel),
        Verb::Priority => {
            let usage = || "write `priority NUMBER high`, `normal` or `low`; `all` for all of them".to_owned();
            let [rest @ .., name] = args else { return Err(usage()) };
            let priority = Priority::from_name(name).ok_or_else(usage)?;
            let which = match rest {
                [] => None,
                [text] => Some(which(text).map_err(|_| usage())?),
                _ => return Err(usage()),
            };
            Ok(Command::Control(which, TransferControl::Priority(priority)))
        }
        Verb::Shares => match args {
            [] => Ok(Command::Shares),
            ["rescan"] => Ok(Command::Rescan),
            ["add"] => Ok(Command::AddShare(None)),
            ["add", folder] => Ok(Command::AddShare(owned(folder))),
            ["rm" | "remove"] => Ok(Command::RemoveShare(None)),
            ["rm" | "remove", name] => Ok(Command::RemoveShare(owned(name))),
            _ => Err("write `shares`, `shares add FOLDER`, `shares rm NAME` or `rescan`".into()),
        },
        Verb::Inbox => match args {
            [] => Ok(Command::Inbox),
            ["accept", rest @ ..] => command(Verb::Accept, rest),
            ["decline", rest @ ..] => command(Verb::Decline, rest),
            ["trust", rest @ ..] => command(Verb::Trust, rest),
            _ => Err("write `inbox`, `accept NUMBER`, `decline NUMBER` or `trust NUMBER`".into()),
        },
        Verb::Accept => Ok(Command::Answer(optional_number(args, "accept NUMBER")?, Answer::Accept)),
        Verb::Trust => Ok(Command::Answer(optional_number(args, "trust NUMBER")?, Answer::Trust)),
        Verb::Decline => {
            let (number, reason) = args.split_at(args.len().min(1));
            let number = optional_number(number, "decline NUMBER [REASON]")?;
            Ok(Command::Answer(number, Answer::Decline(reason.join(" "))))
        }
    }
}

fn save(rest: &str) -> Result<Command, String> {
    let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match search(text)? {
        Some(ask) if is_name(name) => Ok(Command::Save { name: name.into(), ask }),
        _ => Err("write `save NAME WORDS`; a name has letters, digits, `-`, `_` and `.`".into()),
    }
}

fn saved(args: &[&str]) -> Result<Command, String> {
    match args {
        [] | ["ls"] => Ok(Command::SavedSearches),
        ["run"] => Ok(Command::RunSaved(None)),
        ["run", name] => Ok(Command::RunSaved(owned(name))),
        ["rm" | "remove"] => Ok(Command::RemoveSaved(None)),
        ["rm" | "remove", name] => Ok(Command::RemoveSaved(owned(name))),
        _ => Err("write `saved`, `saved run NAME` or `saved rm NAME`".into()),
    }
}

fn verb(word: &str) -> Result<Verb, String> {
    let word = word.to_lowercase();
    let whole = NUMBERS.iter().chain(&WHOLE).chain(&WORDS).find(|(known, _)| *known == word);
    if let Some((_, verb)) = whole {
        return Ok(*verb);
    }
    let matching: Vec<_> = WORDS.iter().filter(|(known, _)| known.starts_with(&word)).collect();
    match matching.as_slice() {
        [] => Err(unknown(&word)),
        [(_, first), others @ ..] if others.iter().all(|(_, other)| other == first) => Ok(*first),
        several => {
            let words: Vec<_> = several.iter().map(|(word, _)| *word).collect();
            Err(format!("`{word}` may be {}; write more of it", words.join(" or ")))
        }
    }
}

fn unknown(word: &str) -> String {
    let shown: String = word.chars().take(MAX_ECHO_CHARS).collect();
    let near = words().find(|known| strsim::osa_distance(known, &shown) <= 2).filter(|_| shown.len() > 3);
    match near {
        Some(near) => format!("there is no command `{shown}`; did you mean `{near}`?"),
        None => format!("there is no command `{shown}`; an empty line shows the menu, `help` all commands"),
    }
}

/// What to download and where to: hit numbers, hashes or `PEER:PATH`. The last argument is the destination when `to` stands
/// before it, or when it is none of these; and a last `PEER:PATH` is, when all before it are numbers or hashes, since a folder
/// may be called so. `--priority high` may come before them.
fn download(args: &[&str]) -> Result<Command, String> {
    let (args, priority) = match args {
        ["--priority", name, rest @ ..] => {
            let priority = Priority::from_name(name).ok_or("write `--priority` with high, normal or low")?;
            (rest, priority)
        }
        _ => (args, Priority::Normal),
    };
    let mut targets = vec![];
    for (at, arg) in args.iter().enumerate() {
        let is_last = at + 1 == args.len();
        let is_behind_to = at > 1 && args[at - 1] == "to";
        let has_paths = targets.iter().any(|target| matches!(target, Target::Path(_)));
        match target(arg) {
            found
                if is_last
                    && at > 0
                    && match found {
                        Ok(Target::Path(_)) => is_behind_to || !has_paths,
                        Ok(_) => is_behind_to,
                        Err(_) => true,
                    } =>
            {
                return Ok(Command::Download { targets, destination: owned(arg), priority });
            }
            Ok(target) => targets.push(target),
            Err(_) if *arg == "to" && at > 0 => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(Command::Download { targets, destination: None, priority })
}

fn control(args: &[&str], word: &str, control: TransferControl) -> Result<Command, String> {
    let which = match args {
        [] => None,
        [text] => Some(which(text).map_err(|_| format!("write `{word} NUMBER` or `{word} all`"))?),
        _ => return Err(format!("write `{word} NUMBER` or `{word} all`")),
    };
    Ok(Command::Control(which, control))
}

fn optional_number(args: &[&str], usage: &str) -> Result<Option<u64>, String> {
    match args {
        [] => Ok(None),
        [text] => number(text).map(Some).map_err(|_| format!("write `{usage}`")),
        _ => Err(format!("write `{usage}`")),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "an argument that is there")]
fn owned(text: &&str) -> Option<String> {
    Some((*text).to_owned())
}

#[cfg(test)]
mod tests;
