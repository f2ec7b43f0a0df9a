//! The owner's side: has the best-scoring members of the zone keep a content, and takes it back.
//!
//! Invariant: a put that ends without a keeper leaves nothing behind, neither here nor with those who were asked.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use futures::{StreamExt, stream, stream::FuturesUnordered};
use tonic::{Code, Status};

use super::Keeping;
use crate::{
    peer::{
        handle::{Events, Outcome},
        transfers::Ticket,
    },
    protocol::{
        action::{ActionError, Direction, ErrorKind, PutAsk, PutContent, Transfer, TransferState, Unput},
        id::{ContentHash, OwnerKey, PeerId},
        name::{Printable, portable_name, to_portable_name},
        placement,
        roster::Member,
    },
    store::{puts::Put, verify::hash_file},
    wire::replica::{KeepAsk, Released},
};

/// Members that are asked to keep one content.
pub(super) const MAX_ASKED: usize = 32;
/// How long a put, or a list of them, waits to hear who keeps its content already.
pub(super) const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// Members that are asked to release at once.
const RELEASES_AT_ONCE: usize = 8;
/// Refusals that are told of.
const MAX_REASONS: usize = 4;
/// Bytes of a text that make its name, when none is given.
const TEXT_NAME_BYTES: usize = 40;

/// What is put, ready to be pulled.
#[derive(Debug)]
struct Content {
    path: PathBuf,
    hash: ContentHash,
    size_bytes: u64,
    /// Holds the text of a put, until it ends.
    _text: Option<tempfile::TempPath>,
}

impl Keeping {
    /// Starts a put. The events end with a final state, the names of the holders in `sources`; dropping them takes it back.
    ///
    /// # Errors
    /// `Usage` for a name that is not portable, `Refused` when too many transfers run.
    pub(in crate::peer) fn put(&self, ask: PutAsk) -> Outcome<Events<Transfer>> {
        let name = match (&ask.name, &ask.content) {
            (Some(name), _) => portable_name(name).map_err(|error| {
                ActionError::new(ErrorKind::Usage, format!("`{}`: {error}", Printable(name)))
            })?,
            (None, PutContent::Text(text)) => as_text_name(text),
            (None, PutContent::Path(path)) => {
                let Some(name) = path.file_name() else {
                    let error = format!("{} has no file name", path.display());
                    return Err(ActionError::new(ErrorKind::Usage, error));
                };
                to_portable_name(&name.to_string_lossy())
            }
        };
        let ticket = self.0.transfers.begin(Direction::Put, &name, 0, Vec::new())?;
        let events = ticket.events();
        let this = self.clone();
        drop(self.0.shutdown.spawn("put", async move {
            let ended = this.run_put(ask, name, &ticket).await;
            match ended {
                Ok(()) => ticket.finish(TransferState::Done),
                Err(error) if error.kind == ErrorKind::Cancelled => ticket.finish(TransferState::Cancelled),
                Err(error) => ticket.finish(TransferState::Failed(error)),
            }
        }));
        Ok(events)
    }

    async fn run_put(&self, ask: PutAsk, name: String, ticket: &Ticket) -> Outcome<()> {
        let content = self.read_in(ask.content, ticket).await?;
        ticket.update(|transfer| {
            transfer.size_bytes = content.size_bytes;
            transfer.hash = Some(content.hash);
        });
        let _turn = tokio::select! {
            turn = self.0.turns.wait(content.hash) => turn,
            () = ticket.cancelled() => return Err(ActionError::new(ErrorKind::Cancelled, "cancelled")),
        };
        let knowledge = self.0.view.now();
        let Some(roster) = knowledge.roster.clone() else {
            return Err(ActionError::new(ErrorKind::Unreachable, "this peer is in no zone")
                .hint("connect first, or wait until the registry answers"));
        };
        let me = knowledge.me.id;
        let has_room = |member: &Member| {
            if member.id == me {
                let store = &self.0.store;
                return store.room_bytes() >= content.size_bytes.max(1) || store.get(&content.hash).is_some();
            }
            member.room_bytes >= content.size_bytes.max(1)
        };
        let mut candidates: Vec<Member> = roster.members().to_vec();
        placement::rank(&content.hash, &mut candidates, |member| member.id);
        // What the roster says may be as old as its last snapshot: who had no room then is asked last.
        candidates.sort_by_key(|member| !has_room(member));
        candidates.truncate(MAX_ASKED);
        // Who keeps it already goes on to: a second put makes no copies beside those of the first.
        let keepers = self.keepers_among(&candidates, content.hash).await;
        candidates.sort_by_key(|member| !keepers.contains(&member.id));
        let (put, is_new) = self.own(&content, &name, ask.replicas).await?;
        let _offered = self.0.staged.offer(content.hash, content.path.clone());
        let keep = KeepAsk {
            hash: content.hash,
            size_bytes: content.size_bytes,
            name: put.name.clone(),
            replicas: ask.replicas,
            owner_tag: put.key.tag(),
            owner: me,
            source: me,
        };
        ticket.enter(TransferState::Running);
        let (mut holders, mut asked) = (Vec::new(), Vec::new());
        let placed = tokio::select! {
            placed = self.place(&keep, &candidates, &mut holders, &mut asked, ticket) => placed,
            () = ticket.cancelled() => Err(ActionError::new(ErrorKind::Cancelled, "cancelled")),
        };
        let ended = match placed {
            Ok(refusals) if holders.is_empty() => Err(no_room(&name, content.size_bytes, &refusals)),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if ended.is_err() && is_new {
            self.take_back_from(&asked, Released { hash: put.hash, key: put.key }).await;
            self.forget(put.hash).await;
        }
        ended
    }

    /// Those of the candidates that tell in time that they keep it, for whomever.
    async fn keepers_among(&self, candidates: &[Member], hash: ContentHash) -> HashSet<PeerId> {
        let others = candidates.iter().filter(|member| member.id != self.0.view.now().me.id).cloned();
        let checks = others.collect::<Vec<_>>().into_iter().map(|member| async move {
            let answer = self.check(&member, &[hash]).await;
            answer.is_some_and(|answer| answer.kept.contains(&hash)).then_some(member.id)
        });
        let told =
            stream::iter(checks).buffer_unordered(MAX_ASKED).take_until(tokio::time::sleep(LOOK_TIMEOUT));
        let mut keepers: HashSet<PeerId> = told.filter_map(std::future::ready).collect().await;
        if self.0.store.get(&hash).is_some() {
            keepers.insert(self.0.view.now().me.id);
        }
        keepers
    }

    /// Asks one candidate after the other until enough keep the content. Why the others do not.
    async fn place(
        &self,
        keep: &KeepAsk,
        candidates: &[Member],
        holders: &mut Vec<String>,
        asked: &mut Vec<Member>,
        ticket: &Ticket,
    ) -> Outcome<Vec<(String, Status)>> {
        let (mut refusals, mut left, mut running) = (Vec::new(), candidates.iter(), FuturesUnordered::new());
        loop {
            while holders.len() + running.len() < keep.replicas
                && let Some(member) = left.next()
            {
                asked.push(member.clone());
                running.push(async move { (member, self.have_kept(member, keep).await) });
            }
            let Some((member, kept)) = running.next().await else { return Ok(refusals) };
            match kept {
                Ok(()) => {
                    holders.push(member.name.to_string());
                    let done = keep.size_bytes / keep.replicas as u64 * holders.len() as u64;
                    let done = if holders.len() == keep.replicas { keep.size_bytes } else { done };
                    ticket.update(|transfer| {
                        transfer.sources.clone_from(holders);
                        transfer.done_bytes = done;
                    });
                }
                Err(status) if status.code() == Code::AlreadyExists => {
                    let message = format!("{} keeps this content for another owner already", member.name);
                    let hint = format!("it can be had by `floodplain get {}`", keep.hash);
                    return Err(ActionError::new(ErrorKind::Refused, message).hint(hint));
                }
                Err(status) => refusals.push((member.name.to_string(), status)),
            }
        }
    }

    /// Takes back what this peer put, from everyone in the zone.
    ///
    /// # Errors
    /// `Refused` when this peer did not put it, `Usage` when the name fits several.
    pub(in crate::peer) async fn unput(&self, what: &str) -> Outcome<Unput> {
        let (puts, text) = (self.0.puts.clone(), what.to_owned());
        let looking = self.0.shutdown.spawn_blocking(move || match text.parse::<ContentHash>() {
            Ok(hash) => puts.get(&hash).into_iter().collect(),
            Err(_) => puts.named(&text),
        });
        let mut found = looking.await.unwrap_or_default();
        let put = match (found.pop(), found.is_empty()) {
            (Some(put), true) => put,
            (Some(_), false) => {
                let message = format!("this peer put several contents named `{}`", Printable(what));
                return Err(ActionError::new(ErrorKind::Usage, message).hint("name one by its hash"));
            }
            (None, _) => {
                let message = format!("this peer did not put `{}`", Printable(what));
                return Err(ActionError::new(ErrorKind::Refused, message)
                    .hint("only the peer that put a content can take it back"));
            }
        };
        let Some(_turn) = self.0.turns.take(put.hash) else {
            let message = format!("a put of `{}` is running", Printable(&put.name));
            return Err(ActionError::new(ErrorKind::Refused, message).hint("cancel it, or wait for its end"));
        };
        let released = Released { hash: put.hash, key: put.key };
        let now = self.0.view.now();
        let mut members: Vec<Member> =
            now.roster.as_ref().map(|roster| roster.members().to_vec()).unwrap_or_default();
        if !members.iter().any(|member| member.id == now.me.id) {
            members.push(now.me.clone());
        }
        let (released_by, unreachable) = self.take_back_from(&members, released).await;
        let store = self.0.store.clone();
        let burying = self.0.shutdown.spawn_blocking(move || store.bury(released.hash, released.key));
        // Without it only a holder that was away might bring the content back.
        let _ = burying.await;
        self.forget(put.hash).await;
        Ok(Unput { hash: put.hash, name: put.name, released_by, unreachable })
    }

    /// Names of those who kept it, and of those who did not answer.
    async fn take_back_from(&self, members: &[Member], released: Released) -> (Vec<String>, Vec<String>) {
        let mut answers = stream::iter(members.to_vec())
            .map(|member| async move { (self.take_back(&member, released).await, member) })
            .buffer_unordered(RELEASES_AT_ONCE);
        let (mut released_by, mut unreachable) = (Vec::new(), Vec::new());
        while let Some((answer, member)) = answers.next().await {
            match answer {
                Ok(true) => released_by.push(member.name.to_string()),
                // Kept for another owner under another key: not this put's.
                Ok(false) => {}
                Err(status) if status.code() == Code::PermissionDenied => {}
                Err(_) => unreachable.push(member.name.to_string()),
            }
        }
        released_by.sort();
        unreachable.sort();
        (released_by, unreachable)
    }

    async fn forget(&self, hash: ContentHash) {
        let puts = self.0.puts.clone();
        let _ = self.0.shutdown.spawn_blocking(move || puts.forget(&hash)).await;
    }

    /// The record of this put; that of an earlier put of the content stays, so that its key goes on to open. True when new.
    async fn own(&self, content: &Content, name: &str, replicas: usize) -> Outcome<(Put, bool)> {
        let (puts, hash, name) = (self.0.puts.clone(), content.hash, name.to_owned());
        let (size_bytes, put_time) = (content.size_bytes, Some(SystemTime::now()));
        let keeping = self.0.shutdown.spawn_blocking(move || {
            if let Some(earlier) = puts.get(&hash) {
                let put = Put { size_bytes, replicas, ..earlier.clone() };
                if put != earlier
                    && let Err(error) = puts.write(&put)
                {
                    tracing::warn!(%hash, %error, "could not keep how many replicas of a put are wanted");
                }
                return Ok((put, false));
            }
            let key = OwnerKey::random(&mut rand::rng());
            let put = Put { hash, name, size_bytes, replicas, put_time, key };
            puts.keep(&put).map(|()| (put, true))
        });
        match keeping.await {
            Ok(kept) => kept.map_err(|error| ActionError::new(ErrorKind::Failed, error.to_string())),
            Err(_) => Err(ActionError::new(ErrorKind::Failed, "keeping the key failed")),
        }
    }

    /// Learns the content's hash; a text becomes a file until the put ends.
    async fn read_in(&self, content: PutContent, ticket: &Ticket) -> Outcome<Content> {
        let (stop, cancel, puts) = (self.0.shutdown.clone(), ticket.cancel_token(), self.0.puts.clone());
        let reading = self.0.shutdown.spawn_blocking(move || {
            let (path, text) = match content {
                PutContent::Path(path) => (path, None),
                PutContent::Text(text) => {
                    let kept = puts.keep_text(&text).map_err(|error| {
                        ActionError::new(
                            ErrorKind::Failed,
                            format!("could not keep the text to put: {error}"),
                        )
                    })?;
                    (kept.to_path_buf(), Some(kept))
                }
            };
            let file = open(&path).map_err(|error| unreadable(&path, &error))?;
            let goes_on = |_| !stop.is_stopping() && !cancel.is_cancelled();
            let (hash, size_bytes) = hash_file(&file, goes_on).map_err(|error| {
                if cancel.is_cancelled() || stop.is_stopping() {
                    return ActionError::new(ErrorKind::Cancelled, "cancelled");
                }
                unreadable(&path, &error)
            })?;
            Ok(Content { path, hash, size_bytes, _text: text })
        });
        match reading.await {
            Ok(read) => read,
            Err(_) => Err(ActionError::new(ErrorKind::Failed, "reading the file failed")),
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    // Without NONBLOCK opening a FIFO would wait for its writer.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> ActionError {
    let kind = if path.exists() { ErrorKind::Failed } else { ErrorKind::NotFound };
    ActionError::new(kind, format!("could not put {}: {error}", path.display()))
}

fn no_room(name: &str, size_bytes: u64, refusals: &[(String, Status)]) -> ActionError {
    let mut message = format!("nobody in the zone can keep {name} ({size_bytes} bytes)");
    let reasons = refusals.iter().take(MAX_REASONS).map(|(peer, status)| {
        let said: String = status.message().chars().take(200).collect();
        format!("{peer}: {}", Printable(&said))
    });
    let reasons = reasons.collect::<Vec<_>>().join("; ");
    if !reasons.is_empty() {
        message = format!("{message}: {reasons}");
    }
    ActionError::new(ErrorKind::Refused, message)
        .hint("raise FLOODPLAIN_REPLICA_SPACE at some peers, or make room on their disks")
}

/// A file name out of the beginning of a text.
fn as_text_name(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let end = (0..=TEXT_NAME_BYTES.min(line.len())).rev().find(|end| line.is_char_boundary(*end));
    let stem = line[..end.unwrap_or(0)].trim();
    to_portable_name(&format!("{}.txt", if stem.is_empty() { "text" } else { stem }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_named_by_its_beginning() {
        assert_eq!(as_text_name("  meet at noon\nthen lunch"), "meet at noon.txt");
        assert_eq!(as_text_name(""), "text.txt");
        assert_eq!(as_text_name("a/b: c?"), "a_b_ c_.txt");
        assert!(as_text_name(&"é".repeat(100)).len() < 50);
    }
}
