//! `get`, `send`, `transfers`: files on their way, followed to their end. Dropping a verb half way cancels its transfers.

use std::{
    fs::File,
    io::{self, Read},
    path::{self, Path, PathBuf},
};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    args::{GetArgs, Recipients, SendArgs, TransferAction},
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
    progress::Progress,
    share::done,
};
use crate::{
    peer::{Handle, handle::Events},
    protocol::{
        action::{ActionError, ErrorKind, GetAsk, SendAsk, Target, Transfer, TransferState},
        name::Printable,
    },
};

/// Files sent at once by one command; the peer's own slots bound what really runs.
const SENDS_AT_ONCE: usize = 8;
/// Most pairs of file and receiver in one command; a guess that nobody types by mistake.
const MAX_SENDS: usize = 100_000;

/// Downloads one file.
pub async fn get(peer: &Handle, out: &mut Output, args: &GetArgs) -> Ended {
    if args.output.as_deref() == Some(Path::new("-")) {
        return get_to_stdout(peer, out, args.target.clone()).await;
    }
    let destination = args.output.as_deref().map(destination).transpose()?;
    let events = peer.get(GetAsk { target: args.target.clone(), destination }).await?;
    let transfer = follow(events, &mut Progress::new(out.style)).await?;
    if out.style.json {
        out.json(&json::Transfer::from(&transfer))?;
    } else if let Some(path) = &transfer.path {
        out.line(Printable(&path.to_string_lossy()))?;
        out.note(format_args!(
            "{} from {}",
            size(transfer.size_bytes),
            Printable(&transfer.sources.join(", "))
        ));
    }
    Ok(Exit::Done)
}

/// An absolute path; one that ends in a separator must be a folder that exists.
fn destination(path: &Path) -> Result<PathBuf, Failure> {
    let absolute =
        path::absolute(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") && !absolute.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder; make it first", path.display())));
    }
    Ok(absolute)
}

/// Only verified bytes go to stdout: the file is downloaded whole first.
async fn get_to_stdout(peer: &Handle, out: &mut Output, target: Target) -> Ended {
    /// One read; as much as a pipe usually takes.
    const CHUNK_BYTES: usize = 64 * 1024;
    let folder = tempfile::Builder::new()
        .prefix("floodplain-get-")
        .tempdir()
        .map_err(|error| Failure::failed(format!("could not make a temporary folder: {error}")))?;
    let events = peer.get(GetAsk { target, destination: Some(folder.path().to_owned()) }).await?;
    let transfer = follow(events, &mut Progress::new(out.style)).await?;
    let read = |error: io::Error| Failure::failed(format!("could not read the downloaded file: {error}"));
    let path = transfer.path.ok_or_else(|| Failure::failed("the peer did not say where the file is"))?;
    let (mut file, mut chunk) = (File::open(path).map_err(read)?, vec![0; CHUNK_BYTES]);
    loop {
        match file.read(&mut chunk).map_err(read)? {
            0 => return Ok(Exit::Done),
            length => out.bytes(&chunk[..length])?,
        }
        // Gives an interrupt its turn between two chunks.
        tokio::task::yield_now().await;
    }
}

/// Follows one transfer to its end; one that did not succeed is an error.
pub(super) async fn follow(
    mut events: Events<Transfer>,
    progress: &mut Progress,
) -> Result<Transfer, ActionError> {
    while let Some(transfer) = events.try_next().await? {
        progress.show(&transfer);
        match transfer.state {
            TransferState::Done => return Ok(transfer),
            TransferState::Failed(error) => return Err(error),
            TransferState::Cancelled => {
                return Err(ActionError::new(ErrorKind::Cancelled, "the transfer was cancelled"));
            }
            TransferState::Waiting | TransferState::Running | TransferState::Verifying => {}
        }
    }
    Err(ActionError::new(ErrorKind::Unreachable, "the peer ended the transfer without saying how")
        .hint("is it still running? see `floodplain status`"))
}

/// Sends every file to every receiver. Each pair ends with a line of its own; some done and some not is partial.
pub async fn send(peer: &Handle, out: &mut Output, args: &SendArgs, is_yes: bool) -> Ended {
    let mut files = Vec::new();
    for path in &args.paths {
        let absolute = path::absolute(path).and_then(|absolute| {
            if absolute.metadata()?.is_file() { Ok(absolute) } else { Err(io::Error::other("is not a file")) }
        });
        files.push(absolute.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?);
    }
    let receivers = receivers(peer, &args.to).await?;
    if files.len().saturating_mul(receivers.len()) > MAX_SENDS {
        return Err(Failure::usage(format!("more than {MAX_SENDS} transfers in one command")));
    }
    if args.to == Recipients::All || matches!(args.to, Recipients::Zone(_)) {
        out.confirm(&format!("Send {} file(s) to {} peer(s)?", files.len(), receivers.len()), is_yes).await?;
    }
    let asks = receivers.iter().flat_map(|receiver| {
        files.iter().map(move |path| SendAsk { path: path.clone(), peer: receiver.clone() })
    });
    let mut style = out.style;
    // Several bars would fight for one line.
    style.draws_progress &= files.len() * receivers.len() == 1;
    let mut ended = stream::iter(asks)
        .map(|ask| async move {
            let sent = match peer.send(ask.clone()).await {
                Ok(events) => follow(events, &mut Progress::new(style)).await,
                Err(error) => Err(error),
            };
            (ask, sent)
        })
        .buffer_unordered(SENDS_AT_ONCE);
    let (mut sent_count, mut failures) = (0, Vec::new());
    while let Some((ask, sent)) = ended.next().await {
        match sent {
            Ok(transfer) if style.json => out.json(&json::Transfer::from(&transfer))?,
            Ok(transfer) => {
                let (name, to) = (Printable(&transfer.name), Printable(&ask.peer));
                out.note(format_args!("{name} to {to}: done, {}", size(transfer.size_bytes)));
            }
            Err(error) => {
                failures.push((ask, error));
                continue;
            }
        }
        sent_count += 1;
    }
    drop(ended);
    report(out, sent_count, failures)
}

fn report(out: &mut Output, sent_count: usize, mut failures: Vec<(SendAsk, ActionError)>) -> Ended {
    if failures.len() == 1 && sent_count == 0 {
        return Err(failures.remove(0).1.into());
    }
    for (ask, error) in &failures {
        let message = format!("{} to {}: {}", ask.path.display(), ask.peer, error.message);
        out.error(&ActionError { message, ..error.clone() });
    }
    Ok(match failures.first() {
        None => Exit::Done,
        Some((_, error)) if sent_count == 0 => error.kind.into(),
        Some(_) => Exit::TimedOut,
    })
}

/// Everyone who is meant, this peer left out.
async fn receivers(peer: &Handle, to: &Recipients) -> Result<Vec<String>, Failure> {
    let zone = match to {
        Recipients::Peer(name) => return Ok(vec![name.clone()]),
        Recipients::Zone(zone) => Some(*zone),
        Recipients::All => None,
    };
    let me = peer.status().await?.me.id;
    let listing = peer.peers(zone).await?;
    let others: Vec<_> =
        listing.rows.iter().filter(|row| row.id != me).map(|row| row.name.to_string()).collect();
    if others.is_empty() {
        return Err(ActionError::new(ErrorKind::NotFound, "there is nobody else to send to").into());
    }
    Ok(others)
}

/// Lists or cancels transfers.
pub async fn transfers(peer: &Handle, out: &mut Output, action: Option<&TransferAction>) -> Ended {
    if let Some(TransferAction::Cancel { id }) = action {
        peer.cancel_transfer(*id).await?;
        done(out, format_args!("transfer {id} is cancelled"))?;
        return Ok(Exit::Done);
    }
    let transfers = peer.transfers().await?;
    if out.style.json {
        transfers.iter().try_for_each(|transfer| out.json(&json::Transfer::listed(transfer)))?;
        return Ok(Exit::Done);
    }
    let is_rich = out.style.is_rich;
    let rows = transfers.iter().map(|transfer| {
        let show = |bytes: u64| if is_rich { size(bytes) } else { bytes.to_string() };
        let state = match &transfer.state {
            TransferState::Failed(error) => format!("failed: {error}"),
            state => json::state(state).to_owned(),
        };
        [
            transfer.id.to_string(),
            json::direction(transfer.direction).to_owned(),
            show(transfer.done_bytes),
            show(transfer.size_bytes),
            transfer.name.clone(),
            transfer.sources.join(", "),
            state,
        ]
    });
    out.table(["id", "direction", "done", "size", "name", "peers", "state"], rows)?;
    Ok(Exit::Done)
}
