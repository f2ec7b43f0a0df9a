//! Values to lines of text. Pure and free of any terminal's state, so that the command line shows the same; every text
//! that came from others goes through [`Printable`], and no line holds a line break or an escape.

use std::time::Duration;

use bytesize::ByteSize;
use comfy_table::{Table, presets};

use crate::protocol::{
    action::{
        ActionError, Coverage, Direction, FileInfo, FolderPage, Hit, InboxInfo, IndexState, Listing, NewHit,
        Offer, PeerInfo, PutPage, SavedSearch, ShareInfo, Status, Transfer, TransferControl, TransferState,
        Unput, Which, ZoneInfo,
    },
    hits::in_order,
    id::ZoneId,
    name::Printable,
};

/// How many digits of a content hash lists show; the whole is needed to name one.
const SHORT_HASH_DIGITS: usize = 12;
/// Names longer than this are cut in progress lines, which must fit one row.
const MAX_PROGRESS_NAME_CHARS: usize = 30;
/// Hits named by number at the end of a search.
const MAX_BEST: usize = 10;
/// A row of 80, without the mark that it is cut and without the last column, after which some terminals break.
const MAX_ROW_CHARS: usize = 78;

/// What happened; what to do.
pub fn error(error: &ActionError) -> String {
    match error.hint.as_str() {
        "" => format!("error: {}", Printable(&error.message)),
        hint => format!("error: {}; {}", Printable(&error.message), Printable(hint)),
    }
}

/// One found content with its holders.
pub fn hit(hit: &Hit) -> String {
    let have = if hit.have { ", which this peer has too" } else { "" };
    format!(
        "[{}] {}  {}  from {}{have}",
        hit.number,
        Printable(hit.file.name()),
        size(hit.file.size_bytes),
        hit.places(),
    )
}

/// How a search ended.
pub fn coverage(coverage: &Coverage, hits: usize) -> String {
    match hits {
        0 if coverage.is_complete() => format!("nothing found: {coverage}"),
        0 => format!("nothing found so far: {coverage}; not everyone was heard"),
        1 => format!("1 hit: {coverage}"),
        _ => format!("{hits} hits: {coverage}"),
    }
}

/// The numbers of hits, best first, when that is another order than that of their numbers.
pub fn best_first<'a>(hits: impl IntoIterator<Item = &'a Hit>) -> Option<String> {
    let numbers: Vec<u32> = in_order(hits).into_iter().map(|hit| hit.number).collect();
    let shown: Vec<String> = numbers.iter().take(MAX_BEST).map(ToString::to_string).collect();
    (!numbers.is_sorted()).then(|| format!("best first: {}", shown.join(" ")))
}

/// What a person may do with the hits; nothing when there is none that this peer has not.
pub fn next_step<'a>(hits: impl IntoIterator<Item = &'a Hit>) -> Option<String> {
    let best = in_order(hits).into_iter().find(|hit| !hit.have)?;
    Some(format!("`get {}` downloads {}", best.number, Printable(best.file.name())))
}

/// What a search that found nothing may have meant.
pub fn suggestions(text: &str, coverage: &Coverage) -> Option<String> {
    let quoted: Vec<String> =
        coverage.suggestions.iter().map(|text| format!("\"{}\"", Printable(text))).collect();
    let meant = match quoted.split_last()? {
        (last, []) => last.clone(),
        (last, others) => format!("{} or {last}", others.join(", ")),
    };
    Some(format!("no hit for \"{}\"; did you mean {meant}?", Printable(text)))
}

/// Saved searches, one a row.
pub fn saved_searches(searches: &[SavedSearch]) -> Vec<String> {
    let rows = searches.iter().map(|search| {
        let problem = search.problem.as_deref().unwrap_or_default();
        [
            search.name.clone(),
            Printable(&search.text).to_string(),
            search.scope.name().into(),
            search.known_hits.to_string(),
            search.new_hits.to_string(),
            Printable(problem).to_string(),
        ]
    });
    table(
        ["name", "query", "zones", "known", "new", ""],
        rows,
        "no saved searches; `save NAME WORDS` saves one",
    )
}

/// What a saved search has just found.
pub fn new_hit(hit: &NewHit) -> String {
    format!(
        "{}: {}  {}  from {}: `get {}`",
        Printable(&hit.search),
        Printable(hit.file.name()),
        size(hit.file.size_bytes),
        Printable(&hit.peers.join(", ")),
        hit.file.hash.map(|hash| hash.to_string()).unwrap_or_default(),
    )
}

/// The peer's own state, one attribute a line.
pub fn status(status: &Status) -> Vec<String> {
    let (me, counters) = (&status.me, &status.counters);
    let neighbors = match status.neighbors.as_slice() {
        [] => "none".to_owned(),
        names => names.iter().map(|name| Printable(name).to_string()).collect::<Vec<_>>().join(", "),
    };
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime.as_secs()));
    let rows = [
        ("name", me.name.to_string()),
        ("id", me.id.to_string()),
        ("IP", me.address.ip().to_string()),
        ("port", me.address.port().to_string()),
        ("connection", format!("{} (registry {})", status.connection.name(), Printable(&status.registry))),
        ("zone", format!("{} ({} peers)", zone(me.zone), status.zone_peers)),
        ("neighbors", neighbors),
        ("shared files", index(&status.index)),
        ("searches", counters.searches.to_string()),
        ("queries answered", counters.queries_answered.to_string()),
        ("duplicates dropped", counters.duplicates_dropped.to_string()),
        ("bytes up", size(counters.bytes_up)),
        ("bytes down", size(counters.bytes_down)),
        ("up for", uptime.to_string()),
        ("version", Printable(&status.version).to_string()),
    ];
    rows.into_iter().map(|(name, value)| format!("{name:<19}{value}")).collect()
}

/// What an index holds.
pub fn index(index: &IndexState) -> String {
    let mut text = format!("{} ({})", index.files, size(index.bytes));
    if index.hashed_files < index.files {
        text.push_str(", ");
        text.push_str(&index.hashed_files.to_string());
        text.push_str(" of them hashed");
    }
    if index.is_scanning {
        text += ", scanning";
    }
    text
}

/// Peers, one a row.
pub fn peers(listing: &Listing<PeerInfo>) -> Vec<String> {
    let rows = listing.rows.iter().map(|peer| {
        [peer.name.to_string(), zone(peer.zone), peer.address.to_string(), peer.shared_files.to_string()]
    });
    let mut lines = table(["peer", "zone", "address", "files"], rows, "no peers");
    stale(listing.is_stale, &mut lines);
    lines
}

/// Zones, one a row.
pub fn zones(listing: &Listing<ZoneInfo>) -> Vec<String> {
    let rows = listing.rows.iter().map(|zone| {
        let gateways: Vec<_> = zone.gateways.iter().map(|name| Printable(name).to_string()).collect();
        [zone.zone.to_string(), zone.peers.to_string(), gateways.join(", ")]
    });
    let mut lines = table(["zone", "peers", "gateway peers"], rows, "no zones");
    stale(listing.is_stale, &mut lines);
    lines
}

fn stale(is_stale: bool, lines: &mut Vec<String>) {
    if is_stale {
        lines.push("the registry cannot be asked now: this is from the last roster".into());
    }
}

/// One page of a folder: sub-folders end in a slash.
pub fn folder(page: &FolderPage) -> Vec<String> {
    let folders =
        page.folders.iter().map(|name| [format!("{}/", Printable(name)), String::new(), String::new()]);
    let files = page
        .files
        .iter()
        .map(|file| [Printable(file.name()).to_string(), size(file.size_bytes), short_hash(file)]);
    table(["name", "size", "content"], folders.chain(files), "an empty folder")
}

fn short_hash(file: &FileInfo) -> String {
    match file.hash {
        Some(hash) => hash.to_string().chars().take(SHORT_HASH_DIGITS).collect(),
        None => "being hashed".into(),
    }
}

/// Transfers, one a row.
pub fn transfers(transfers: &[Transfer]) -> Vec<String> {
    let rows = transfers.iter().map(|transfer| {
        let percent = transfer.percent().map(|percent| format!(", {percent} %")).unwrap_or_default();
        let bytes = format!("{} of {}{percent}", size(transfer.done_bytes), size(transfer.size_bytes));
        let is_download = transfer.direction == Direction::Download;
        [
            transfer.id.to_string(),
            transfer.direction.name().into(),
            Printable(&transfer.name).to_string(),
            bytes,
            pace(transfer).join(", "),
            if is_download { transfer.priority.name().into() } else { String::new() },
            state(transfer),
            sources(transfer),
        ]
    });
    table(
        ["number", "way", "file", "bytes", "speed", "priority", "state", "with"],
        rows,
        "no transfers; `get WHAT` starts one",
    )
}

/// What was done to one transfer or to all, and to how many.
pub fn controlled(which: Which, control: TransferControl, count: u32) -> String {
    let (done, already) = match control {
        TransferControl::Pause => ("paused".to_owned(), "was paused already".to_owned()),
        TransferControl::Resume => ("resumed".into(), "was not paused".into()),
        TransferControl::Cancel => ("cancelled".into(), "had ended already".into()),
        TransferControl::Retry => ("tried again".into(), "was tried again already".into()),
        TransferControl::Priority(priority) => {
            let name = priority.name();
            (format!("of {name} priority now"), format!("was of {name} priority already"))
        }
    };
    match which {
        Which::One(id) if count > 0 => format!("transfer {id} is {done}"),
        Which::One(id) => format!("transfer {id} {already}"),
        Which::All => format!("transfers {done}: {count}"),
    }
}

/// How fast it is and how long it still takes, as far as that is known.
pub fn pace(transfer: &Transfer) -> Vec<String> {
    let speed = Some(transfer.bytes_per_second).filter(|speed| *speed > 0);
    let speed = speed.map(|speed| format!("{}/s", size(speed)));
    let left = transfer.eta().map(|eta| format!("{} left", humantime::format_duration(eta)));
    speed.into_iter().chain(left).collect()
}

/// Where it stands, and what there is to say of that.
pub fn state(transfer: &Transfer) -> String {
    let said = word(transfer);
    let why = match &transfer.state {
        TransferState::Failed(error) if error.hint.is_empty() => error.message.clone(),
        TransferState::Failed(error) => format!("{}; {}", error.message, error.hint),
        _ => transfer.note.clone(),
    };
    if why.is_empty() { said } else { format!("{said}: {}", Printable(&why)) }
}

/// Where it stands, and its place when it waits for a slot of this peer.
pub fn word(transfer: &Transfer) -> String {
    let state = transfer.state.name();
    transfer.queue_position.map_or_else(|| state.to_owned(), |place| format!("{state}, place {place}"))
}

fn sources(transfer: &Transfer) -> String {
    transfer.sources.iter().map(|name| Printable(name).to_string()).collect::<Vec<_>>().join(", ")
}

/// A transfer as it goes, in one row of a terminal; what there is to say of its state comes last and is cut.
pub fn progress(transfer: &Transfer) -> String {
    let name = cut(Printable(&transfer.name).to_string(), MAX_PROGRESS_NAME_CHARS);
    let mut parts = vec![format!("#{} {name}: {}", transfer.id, word(transfer))];
    if transfer.state != TransferState::Waiting {
        let percent = transfer.percent().unwrap_or(0);
        parts.push(format!("{percent} % of {}", size(transfer.size_bytes)));
        parts.extend(pace(transfer));
    }
    let line = parts.join(", ");
    let note = Printable(&transfer.note);
    cut(if transfer.note.is_empty() { line } else { format!("{line}: {note}") }, MAX_ROW_CHARS)
}

/// Whether it tells something else than before: another state, or another reason. A place that moves up in a queue and
/// seconds that pass are the same reason.
pub fn is_news(before: &Transfer, now: &Transfer) -> bool {
    let reason = |transfer: &Transfer| transfer.note.replace(|c: char| c.is_ascii_digit(), "");
    before.state != now.state || reason(before) != reason(now)
}

fn cut(mut text: String, max_chars: usize) -> String {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// How a transfer ended.
pub fn ended(transfer: &Transfer) -> String {
    let (id, name) = (transfer.id, Printable(&transfer.name));
    match &transfer.state {
        TransferState::Done => {
            let way = match transfer.direction {
                Direction::Send => "to",
                Direction::Put => "kept by",
                _ => "from",
            };
            let sources = Some(sources(transfer)).filter(|sources| !sources.is_empty());
            let sources = sources.map(|sources| format!(" {way} {sources}")).unwrap_or_default();
            let path = transfer
                .path
                .as_ref()
                .map(|path| format!(", saved as {}", Printable(&path.to_string_lossy())));
            let path = path.unwrap_or_default();
            format!("#{id} {name}: done, {}{sources}{path}", size(transfer.size_bytes))
        }
        TransferState::Failed(problem) => format!("#{id} {name}: {}", error(problem)),
        _ => format!("#{id} {name}: {}", state(transfer)),
    }
}

/// What this peer put, one a row.
pub fn puts(page: &PutPage) -> Vec<String> {
    let rows = page.rows.iter().map(|put| {
        let by = put.keepers.as_deref().unwrap_or_default().join(", ");
        let kept = put.keepers.as_ref().map_or_else(|| "?".to_owned(), |keepers| keepers.len().to_string());
        [
            Printable(&put.name).to_string(),
            size(put.size_bytes),
            format!("{kept} of {}", put.replicas),
            Printable(&by).to_string(),
        ]
    });
    let mut lines =
        table(["put", "size", "copies", "kept by"], rows, "nothing put; `put FILE` has the network keep one");
    if page.next.is_some() {
        lines.push(format!("the first {}; `floodplain puts` lists all", page.rows.len()));
    }
    lines
}

/// What was taken back, and from whom.
pub fn unput(unput: &Unput) -> Vec<String> {
    let names = |names: &[String]| match names {
        [] => "nobody".to_owned(),
        names => Printable(&names.join(", ")).to_string(),
    };
    let mut lines =
        vec![format!("{} is taken back from {}", Printable(&unput.name), names(&unput.released_by))];
    if !unput.unreachable.is_empty() {
        let unreachable = names(&unput.unreachable);
        lines.push(format!("could not be asked: {unreachable}; a copy there goes when they are back"));
    }
    lines
}

/// Shares, one a row.
pub fn shares(shares: &[ShareInfo]) -> Vec<String> {
    let rows = shares.iter().map(|share| {
        let problem = share.problem.as_ref().map(|problem| Printable(problem).to_string());
        [
            Printable(&share.name).to_string(),
            share.kind.name().to_owned(),
            share.files.to_string(),
            size(share.bytes),
            Printable(&share.folder.to_string_lossy()).to_string(),
            problem.unwrap_or_default(),
        ]
    });
    table(["share", "kind", "files", "size", "folder", ""], rows, "no shares; `shares add FOLDER` offers one")
}

/// The inbox with its waiting offers.
pub fn inbox(inbox: &InboxInfo) -> Vec<String> {
    let rows = inbox.offers.iter().map(|offer| {
        let name = Printable(&offer.shown_name()).to_string();
        [offer.id.to_string(), offer.shown_sender(), size(offer.size_bytes), name]
    });
    let mut lines = table(["number", "from", "size", "file"], rows, "no offers wait");
    let folder = inbox.folder.to_string_lossy();
    lines.push(format!("files arrive in {}; accept policy: {}", Printable(&folder), inbox.policy.name()));
    lines
}

/// An offer that has just come.
pub fn offer(offer: &Offer) -> String {
    let (id, sender) = (offer.id, offer.shown_sender());
    let shown = offer.shown_name();
    let (name, size) = (Printable(&shown), size(offer.size_bytes));
    format!("{sender} offers {name} ({size}): `accept {id}`, `decline {id}` or `trust {id}`")
}

/// A number of bytes, in binary units.
pub fn size(bytes: u64) -> String {
    ByteSize::b(bytes).to_string()
}

fn zone(zone: Option<ZoneId>) -> String {
    zone.map_or_else(|| "none".into(), |zone| zone.to_string())
}

fn table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    when_empty: &str,
) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    if table.row_count() == 0 {
        return vec![when_empty.into()];
    }
    table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests;
