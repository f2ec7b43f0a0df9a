//! `put` and `unput`: the network keeps a content, and gives it up again. Dropping a put half way takes it back.

use std::{
    fs::File,
    io::{self, Read, Write},
    path,
};

use super::{
    args::PutArgs,
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
    progress::Progress,
    transfer::follow,
};
use crate::{
    peer::Handle,
    protocol::{
        action::{PageAsk, PutAsk, PutContent, PutInfo},
        name::Printable,
    },
    wire::control::MAX_TEXT_BYTES,
};

/// Rows asked for at once.
const PAGE_SIZE: usize = 1000;
/// Pages after which a list is cut: a peer that never ends would be followed for ever.
const MAX_PAGES: usize = 1000;

/// Has the network keep a file, what comes in on stdin, or a text. Fewer holders than asked for is partial.
pub async fn put(peer: &Handle, out: &mut Output, args: &PutArgs) -> Ended {
    // What comes in on stdin lies here until it is kept.
    let (content, stdin_name, _file) = match (&args.path, &args.text) {
        (_, Some(text)) => (PutContent::Text(text.clone()), None, None),
        (Some(path), None) if path.as_os_str() != "-" => {
            let absolute = path::absolute(path).and_then(|absolute| {
                if absolute.metadata()?.is_file() {
                    Ok(absolute)
                } else {
                    Err(io::Error::other("is not a file"))
                }
            });
            let absolute =
                absolute.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
            (PutContent::Path(absolute), None, None)
        }
        _ => {
            let (content, file) = from_stdin().await?;
            let name = file.is_some().then(|| "stdin".to_owned());
            (content, name, file)
        }
    };
    let ask = PutAsk { content, name: args.name.clone().or(stdin_name), replicas: args.replicas.into() };
    let events = peer.put(ask).await?;
    let transfer = follow(events, &mut Progress::new(out.style)).await?;
    let (kept, wanted) = (transfer.sources.len(), usize::from(args.replicas));
    if out.style.json {
        out.json(&json::Transfer::from(&transfer))?;
    } else {
        if let Some(hash) = transfer.hash {
            out.line(hash)?;
        }
        let (name, holders) = (Printable(&transfer.name), transfer.sources.join(", "));
        let bytes = size(transfer.size_bytes);
        out.note(format_args!("{name}, {bytes}, kept by {}", Printable(&holders)));
    }
    if kept < wanted {
        out.note(format_args!("{kept} of {wanted} replicas; more are made when other peers have room"));
        return Ok(Exit::TimedOut);
    }
    Ok(Exit::Done)
}

/// A short text as such, anything else in a file of its own. The file's path stays on this side of the threads that read:
/// an interrupt leaves those where they are, and drops this.
async fn from_stdin() -> Result<(PutContent, Option<tempfile::TempPath>), Failure> {
    let head = reading(|| {
        let mut head = Vec::new();
        io::stdin().lock().take(MAX_TEXT_BYTES as u64 + 1).read_to_end(&mut head)?;
        Ok(head)
    });
    let mut head = head.await?;
    if head.len() <= MAX_TEXT_BYTES {
        match String::from_utf8(head) {
            Ok(text) => return Ok((PutContent::Text(text), None)),
            Err(error) => head = error.into_bytes(),
        }
    }
    let spool = tempfile::Builder::new().prefix("floodplain-put-").tempfile();
    let spool =
        spool.map_err(|error| Failure::failed(format!("could not make a file for stdin: {error}")))?;
    let (file, path) = spool.into_parts();
    reading(move || spooled(file, &head)).await?;
    Ok((PutContent::Path(path.to_path_buf()), Some(path)))
}

/// Lists what this peer put and did not take back, all of its pages.
pub async fn puts(peer: &Handle, out: &mut Output) -> Ended {
    let (mut token, mut shown) = (None, 0);
    for _ in 0..MAX_PAGES {
        let page = peer.puts(PageAsk { size: PAGE_SIZE, token }).await?;
        if out.style.json {
            page.rows.iter().try_for_each(|put| out.json(&json::put(put)))?;
        } else {
            let is_rich = out.style.is_rich;
            let rows: Vec<_> = page.rows.iter().map(|put| row(put, is_rich)).collect();
            if shown == 0 {
                out.table(["name", "size", "kept", "wanted", "by", "hash"], rows)?;
            } else {
                out.rows(rows)?;
            }
        }
        shown += page.rows.len();
        token = page.next;
        if token.is_none() {
            return Ok(Exit::Done);
        }
    }
    out.note(format_args!("the list does not end; cut after {shown}"));
    Ok(Exit::TimedOut)
}

fn row(put: &PutInfo, is_rich: bool) -> [String; 6] {
    let bytes = if is_rich { size(put.size_bytes) } else { put.size_bytes.to_string() };
    let kept = put.keepers.as_ref().map_or_else(|| "?".to_owned(), |keepers| keepers.len().to_string());
    let by = put.keepers.as_deref().unwrap_or_default().join(", ");
    [put.name.clone(), bytes, kept, put.replicas.to_string(), by, put.hash.to_string()]
}

fn spooled(mut file: File, head: &[u8]) -> io::Result<()> {
    file.write_all(head)?;
    io::copy(&mut io::stdin().lock(), &mut file).map(drop)
}

async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let read = tokio::task::spawn_blocking(read).await;
    let read = read.map_err(|_| Failure::failed("reading stdin failed"))?;
    read.map_err(|error| Failure::failed(format!("could not read stdin: {error}")))
}

/// Takes back what this peer put. Peers that could not be asked make it partial.
pub async fn unput(peer: &Handle, out: &mut Output, target: &str) -> Ended {
    let unput = peer.unput(target.to_owned()).await?;
    if out.style.json {
        out.json(&json::unput(unput.clone()))?;
    } else {
        out.line(unput.hash)?;
        let name = Printable(&unput.name);
        let by = unput.released_by.join(", ");
        out.note(format_args!("{name} is taken back from {}", if by.is_empty() { "nobody" } else { &by }));
    }
    if unput.unreachable.is_empty() {
        return Ok(Exit::Done);
    }
    let missing = unput.unreachable.join(", ");
    out.note(format_args!(
        "could not be asked: {}; a copy there goes when they are back",
        Printable(&missing)
    ));
    Ok(Exit::TimedOut)
}
