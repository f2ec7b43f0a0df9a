//! `get`, `send`, `transfers`: files on their way, followed to their end. Dropping a verb half way cancels its transfers.

use std::{
    io,
    path::{self, Path, PathBuf},
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    args::{ByteRange, GetArgs, Recipients, SendArgs, TransferAction},
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
    progress::Progress,
};
use crate::{
    console::view::controlled,
    peer::{Handle, handle::Events},
    protocol::{
        action::{
            ActionError, Direction, ErrorKind, GetAsk, ReadAsk, ReadEvent, SendAsk, Transfer,
            TransferControl, TransferState,
        },
        name::Printable,
    },
};

/// Files sent at once by one command; the peer's own slots bound what really runs.
const SENDS_AT_ONCE: usize = 8;
/// Most pairs of file and receiver in one command; a guess that nobody types by mistake.
const MAX_SENDS: usize = 100_000;

/// Downloads one file, or queues it and tells its number.
pub async fn get(peer: &Handle, out: &mut Output, args: &GetArgs) -> Ended {
    if args.output.as_deref() == Some(Path::new("-")) {
        if args.detach {
            return Err(Failure::usage("--detach has no stdout to write to; name a file or a folder"));
        }
        return get_to_stdout(peer, out, args).await;
    }
    if args.range.is_some() {
        return Err(Failure::usage("--range needs `-o -`: a part of a file goes to stdout only"));
    }
    let destination = args.output.as_deref().map(destination).transpose()?;
    let mut events = peer.get(ask(args, destination)).await?;
    if args.detach {
        let queued =
            events.try_next().await?.ok_or_else(|| Failure::failed("the peer did not say its number"))?;
        if out.style.json {
            out.json(&json::Transfer::listed(&queued))?;
        } else {
            out.line(queued.id)?;
            let name = Printable(&queued.name);
            out.note(format_args!("{name} is queued; see `floodplain transfers`"));
        }
        return Ok(Exit::Done);
    }
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

fn ask(args: &GetArgs, destination: Option<PathBuf>) -> GetAsk {
    GetAsk { target: args.target.clone(), destination, priority: args.priority, is_detached: args.detach }
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

/// Bytes go to stdout in order and while they arrive; each was checked before.
async fn get_to_stdout(peer: &Handle, out: &mut Output, args: &GetArgs) -> Ended {
    let ByteRange { offset, length } = args.range.unwrap_or_default();
    let mut events = peer.read(ReadAsk { target: args.target.clone(), offset, length }).await?;
    while let Some(event) = events.try_next().await? {
        if let ReadEvent::Data(bytes) = event {
            out.bytes_apart(bytes).await?;
        }
    }
    Ok(Exit::Done)
}

/// Follows one transfer to its end; one that did not succeed is an error.
pub(super) async fn follow(
    mut events: Events<Transfer>,
    progress: &mut Progress,
) -> Result<Transfer, ActionError> {
    // Without it the bar follows the window at the next byte.
    let mut resizes = signal(SignalKind::window_change()).ok();
    let next_size = async |resizes: &mut Option<Signal>| match resizes {
        Some(resizes) => resizes.recv().await,
        None => std::future::pending().await,
    };
    loop {
        let transfer = tokio::select! {
            event = events.try_next() => match event? {
                Some(transfer) => transfer,
                None => break,
            },
            _ = next_size(&mut resizes) => {
                progress.resized();
                continue;
            }
        };
        progress.show(&transfer);
        match transfer.state {
            TransferState::Done => return Ok(transfer),
            TransferState::Failed(error) => return Err(error),
            TransferState::Cancelled => {
                return Err(ActionError::new(ErrorKind::Cancelled, "the transfer was cancelled"));
            }
            TransferState::Waiting
            | TransferState::Paused
            | TransferState::Running
            | TransferState::Verifying => {}
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
            let metadata = absolute.metadata()?;
            let can_go = metadata.is_file() || metadata.is_dir();
            if can_go { Ok(absolute) } else { Err(io::Error::other("is neither a file nor a folder")) }
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
    let is_single = files.len() * receivers.len() == 1;
    // Several bars would fight for one line.
    style.draws_progress &= is_single;
    let mut ended = stream::iter(asks)
        .map(|ask| async move {
            let sent = match peer.send(ask.clone()).await {
                Ok(events) if is_single => follow(events, &mut Progress::new(style)).await,
                Ok(events) => follow(events, &mut Progress::to(style, &ask.peer)).await,
                Err(error) => Err(error),
            };
            (ask, sent)
        })
        .buffer_unordered(SENDS_AT_ONCE);
    let (mut sent_count, mut first_failure) = (0, None);
    while let Some((ask, sent)) = ended.next().await {
        match sent {
            Ok(transfer) if style.json => out.json(&json::Transfer::from(&transfer))?,
            Ok(transfer) => {
                let (name, to) = (Printable(&transfer.name), Printable(&ask.peer));
                out.note(format_args!("{name} to {to}: done, {}", size(transfer.size_bytes)));
            }
            Err(error) if is_single => return Err(error.into()),
            Err(error) => {
                tell(out, &ask, &error)?;
                first_failure.get_or_insert(error.kind);
                continue;
            }
        }
        sent_count += 1;
    }
    Ok(match first_failure {
        None => Exit::Done,
        Some(kind) if sent_count == 0 => kind.into(),
        Some(_) => Exit::TimedOut,
    })
}

/// Which of several sends failed, and why.
fn tell(out: &mut Output, ask: &SendAsk, error: &ActionError) -> Result<(), Failure> {
    let path = ask.path.to_string_lossy();
    let message = format!("{path} to {}: {}", ask.peer, error.message);
    let error = ActionError { message, ..error.clone() };
    if out.style.json {
        return out.json(&json::Error::of_send(&error, &ask.peer, &path));
    }
    out.error(&error);
    Ok(())
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

/// Lists transfers, or does something to one or all.
pub async fn transfers(peer: &Handle, out: &mut Output, action: Option<&TransferAction>) -> Ended {
    let (which, control) = match action {
        None | Some(TransferAction::Ls) => return list(peer, out).await,
        Some(TransferAction::Pause { which }) => (*which, TransferControl::Pause),
        Some(TransferAction::Resume { which }) => (*which, TransferControl::Resume),
        Some(TransferAction::Retry { which }) => (*which, TransferControl::Retry),
        Some(TransferAction::Cancel { which }) => (*which, TransferControl::Cancel),
        Some(TransferAction::Priority { which, priority }) => (*which, TransferControl::Priority(*priority)),
    };
    let count = peer.control_transfers(which, control).await?;
    if out.style.json {
        out.json(&json::Controlled { count })?;
    } else {
        out.note(controlled(which, control, count));
    }
    Ok(Exit::Done)
}

async fn list(peer: &Handle, out: &mut Output) -> Ended {
    let transfers = peer.transfers().await?;
    if out.style.json {
        transfers.iter().try_for_each(|transfer| out.json(&json::Transfer::listed(transfer)))?;
        return Ok(Exit::Done);
    }
    let is_rich = out.style.is_rich;
    let rows = transfers.iter().map(|transfer| {
        let show = |bytes: u64| if is_rich { size(bytes) } else { bytes.to_string() };
        let (state, hint) = match &transfer.state {
            TransferState::Failed(error) => (format!("failed: {error}"), error.hint.clone()),
            state => (state.name().to_owned(), String::new()),
        };
        let speed = match transfer.bytes_per_second {
            0 => String::new(),
            speed if is_rich => format!("{}/s", size(speed)),
            speed => speed.to_string(),
        };
        let eta = transfer.eta().map(|eta| {
            if is_rich { humantime::format_duration(eta).to_string() } else { eta.as_secs().to_string() }
        });
        // Columns are added at the end: scripts cut by number.
        [
            transfer.id.to_string(),
            transfer.direction.name().to_owned(),
            show(transfer.done_bytes),
            show(transfer.size_bytes),
            transfer.name.clone(),
            transfer.sources.join(", "),
            state,
            transfer.percent().map(|percent| percent.to_string()).unwrap_or_default(),
            speed,
            eta.unwrap_or_default(),
            if transfer.direction == Direction::Download { transfer.priority.name() } else { "" }.to_owned(),
            transfer.queue_position.map(|position| position.to_string()).unwrap_or_default(),
            hint,
            transfer.note.clone(),
        ]
    });
    let heads = [
        "id",
        "direction",
        "done",
        "size",
        "name",
        "peers",
        "state",
        "%",
        "speed",
        "eta",
        "priority",
        "queue",
        "hint",
        "note",
    ];
    out.table(heads, rows)?;
    Ok(Exit::Done)
}
