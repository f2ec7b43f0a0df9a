//! Pushes a folder: its list is made and hashed first, then its files go in packs, many small ones a message.
//!
//! Invariant: what is offered is what the list says; a file that changes while it is sent is found out by the receiver.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use bytes::{Bytes, BytesMut};
use ignore::WalkBuilder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{QUEUE_CHUNKS, Request};
use crate::{
    protocol::{
        action::{ActionError, ErrorKind},
        manifest::{MAX_MANIFEST_FILES, Manifest, ManifestFile},
        name::to_portable_name,
    },
    shutdown::Shutdown,
    store::{PART_SUFFIX, verify::hash_file},
    wire::{
        folder::{ENTRY_BYTES, MAX_PACK_FILES, PACK_BYTES, to_sent_file},
        pb,
        transfer::DEFAULT_CHUNK_BYTES,
    },
};

/// The next message, and how many bytes of files it has.
pub(super) type Message = Result<(pb::SendRequest, u64), ActionError>;

/// A folder of this machine, listed and hashed.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) manifest: Manifest,
    /// Where each file of the manifest lies.
    places: Vec<PathBuf>,
}

impl Folder {
    /// Lists and hashes the regular files below `root`; links are passed over, and so is what has no content: FIFOs,
    /// devices, empty folders. Blocks.
    pub(super) fn read(root: &Path, go_on: impl Fn() -> bool) -> Result<Self, ActionError> {
        let stopped = || ActionError::new(ErrorKind::Cancelled, "the transfer was stopped");
        let mut found = Vec::new();
        for entry in WalkBuilder::new(root).standard_filters(false).follow_links(false).build() {
            if !go_on() {
                return Err(stopped());
            }
            let entry = entry.map_err(|error| {
                ActionError::new(ErrorKind::Failed, format!("could not read {}: {error}", root.display()))
            })?;
            let is_part = {
                let name = entry.file_name().to_string_lossy();
                name.starts_with('.') && name.ends_with(PART_SUFFIX)
            };
            if is_part || !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            if found.len() == MAX_MANIFEST_FILES {
                let message = format!("{} has more than {MAX_MANIFEST_FILES} files", root.display());
                return Err(ActionError::new(ErrorKind::Refused, message).hint("send its folders one by one"));
            }
            let below = entry.path().strip_prefix(root).unwrap_or(entry.path());
            let segments = below.iter().map(|segment| to_portable_name(&segment.to_string_lossy()));
            found.push((segments.collect::<Vec<_>>().join("/"), entry.into_path()));
        }
        // As the manifest orders them, so that places and files go together.
        found.sort();
        let mut files = Vec::with_capacity(found.len());
        for (path, place) in &found {
            let hashed = open(place).and_then(|file| hash_file(&file, |_| go_on()));
            let (hash, size_bytes) = hashed.map_err(|error| match error.kind() {
                io::ErrorKind::Interrupted => stopped(),
                _ => unreadable(place, &error),
            })?;
            files.push(ManifestFile { path: path.clone(), size_bytes, hash: Some(hash) });
        }
        let manifest = Manifest::new(files).map_err(|invalid| {
            let message = format!("could not send {}: {invalid}", root.display());
            ActionError::new(ErrorKind::Refused, message).hint("rename one of them, and send again")
        })?;
        Ok(Self { manifest, places: found.into_iter().map(|(_, place)| place).collect() })
    }

    /// All files as messages, read on a thread of the blocking pool; closed after the last or after an error.
    pub(super) fn messages(self, cancel: CancellationToken, shutdown: &Shutdown) -> mpsc::Receiver<Message> {
        let (sender, messages) = mpsc::channel(QUEUE_CHUNKS);
        let stop = shutdown.clone();
        drop(shutdown.spawn_blocking(move || {
            let go_on = || !cancel.is_cancelled() && !stop.is_stopping();
            let mut packer = Packer { sender, files: Vec::new(), bytes: 0, payload_bytes: 0, go_on };
            if let Err(Some(error)) = packer.send_all(&self) {
                // Nobody is left to tell when the push has ended.
                let _ = packer.sender.blocking_send(Err(error));
            }
        }));
        messages
    }
}

/// Gathers files into messages.
struct Packer<G> {
    sender: mpsc::Sender<Message>,
    files: Vec<pb::SendFile>,
    bytes: usize,
    payload_bytes: u64,
    go_on: G,
}

impl<G: Fn() -> bool> Packer<G> {
    /// `None` as an error when the push is over.
    fn send_all(&mut self, folder: &Folder) -> Result<(), Option<ActionError>> {
        for (file, place) in folder.manifest.files().iter().zip(&folder.places) {
            let failed = |error: io::Error| Some(unreadable(place, &error));
            let mut source = open(place).map_err(failed)?;
            let mut left = file.size_bytes;
            let first = read(&mut source, &mut left, PACK_BYTES).map_err(failed)?;
            let size = first.len() + file.path.len() + ENTRY_BYTES;
            if self.bytes + size > PACK_BYTES || self.files.len() == MAX_PACK_FILES {
                self.flush()?;
            }
            self.bytes += size;
            self.payload_bytes += first.len() as u64;
            self.files.push(to_sent_file(file, first));
            if left > 0 {
                // What follows belongs to the last file of a pack.
                self.flush()?;
            }
            while left > 0 {
                let data = read(&mut source, &mut left, DEFAULT_CHUNK_BYTES).map_err(failed)?;
                let bytes = data.len() as u64;
                self.send(Request::Data(data), bytes)?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Option<ActionError>> {
        if self.files.is_empty() {
            return Ok(());
        }
        let files = std::mem::take(&mut self.files);
        let bytes = std::mem::take(&mut self.payload_bytes);
        self.bytes = 0;
        self.send(Request::Pack(pb::SendPack { files }), bytes)
    }

    fn send(&mut self, message: Request, bytes: u64) -> Result<(), Option<ActionError>> {
        let message = pb::SendRequest { message: Some(message) };
        if !(self.go_on)() {
            return Err(None);
        }
        self.sender.blocking_send(Ok((message, bytes))).map_err(|_| None)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// The next bytes of a file of which so many are left.
fn read(source: &mut File, left: &mut u64, most: usize) -> io::Result<Bytes> {
    let size = usize::try_from(*left).map_or(most, |left| left.min(most));
    let mut data = BytesMut::zeroed(size);
    source.read_exact(&mut data)?;
    *left -= size as u64;
    Ok(data.freeze())
}

fn unreadable(path: &Path, error: &io::Error) -> ActionError {
    let cause = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it changed while it was sent".to_owned(),
        _ => error.to_string(),
    };
    ActionError::new(ErrorKind::Failed, format!("could not send {}: {cause}", path.display()))
}
