//! What this peer keeps for the network: the contents as ordinary files of a share, and beside them, in the data folder,
//! one small file each that says whose they are.
//!
//! Invariant: a content bears its name in the share only when it is verified and its record is on disk; a record whose
//! content is gone is dropped when it is noticed. What is kept and what is on its way is never more than the quota.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{MIN_FREE_BYTES, StoreError, free_bytes};
use crate::protocol::id::{ContentHash, OwnerKey, OwnerTag, PeerId};

mod incoming;
mod record;
mod scrub;

pub(super) use self::record::{replace, sweep_new, temporary};
pub use self::scrub::{Scrubbed, ToScrub};

/// Most replicas of one peer; one more is refused. Checks of so many take 256 calls a peer.
pub const MAX_KEPT: usize = 65_536;
/// Contents on their way at once; one more is refused.
pub const MAX_PULLS: usize = 8;
/// Releases that are remembered; the oldest are forgotten.
pub const MAX_RELEASED: usize = 4096;
/// `name (1)` and so on, up to this.
const MAX_NUMBER: u32 = 1000;

/// One content kept for the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Which.
    pub hash: ContentHash,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Name that its owner gave it; portable.
    pub name: String,
    /// Replicas wanted in the zone.
    pub replicas: usize,
    /// Who knows the key of this may release it.
    pub owner_tag: OwnerTag,
    /// Who put it.
    pub owner: PeerId,
}

impl Replica {
    /// What the bytes of its record say; `None` when they are none.
    pub fn from_record(bytes: &[u8]) -> Option<Self> {
        record::from_json(bytes).map(|kept| kept.replica)
    }
}

/// Why a content is not kept here. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The quota or the disk has no room for it.
    #[error("no room: {room_bytes} bytes are left for the network")]
    NoRoom {
        /// What is left.
        room_bytes: u64,
    },
    /// It is on its way here already, from the same owner; see [`Replicas::pull_ended`].
    #[error("the content is on its way already")]
    Coming,
    /// Too many are kept or on their way.
    #[error("too many contents are kept here or on their way")]
    Busy,
    /// Another owner put the same content.
    #[error("the content is kept for another owner already")]
    OtherOwner,
    /// Its owner took it back.
    #[error("the content was released by its owner")]
    Released,
}

/// The key is not the owner's. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not the owner's")]
pub struct WrongKey;

/// What follows from a request to keep.
#[derive(Debug)]
pub enum Admitted {
    /// It is kept already.
    Kept,
    /// There is room.
    Pull(Reservation),
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replicas(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    records: PathBuf,
    quota_bytes: u64,
    // A std lock: held for look-ups, and while a record is written or removed, so that records and map agree.
    state: Mutex<State>,
    // A std lock: held for a look-up, and while a few bytes are written at the ends of a round.
    scrub: Mutex<scrub::Cursor>,
    pulls_ended: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<ContentHash, Kept>,
    pulled: HashMap<ContentHash, Pulled>,
    released: VecDeque<(ContentHash, OwnerKey)>,
}

/// A content on its way.
#[derive(Debug, Clone, Copy)]
struct Pulled {
    size_bytes: u64,
    owner_tag: OwnerTag,
}

/// What lies where a content is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Content,
    AnotherSize,
    Nothing,
    /// A disk that fails says nothing about what is on it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    replica: Replica,
    /// Name in the folder.
    file: String,
}

impl Replicas {
    /// With what an earlier run kept: records without their content are dropped, and what was on its way is removed. The
    /// folder is made when there is room to give. Blocks on the disk.
    ///
    /// # Errors
    /// A folder cannot be made or read.
    pub fn open(folder: PathBuf, data: &Path, quota_bytes: u64) -> Result<Self, StoreError> {
        let records = data.join("replicas");
        fs::create_dir_all(&records).map_err(StoreError::io("make", &records))?;
        sweep_new(&records)?;
        incoming::empty(&folder, quota_bytes > 0)?;
        let released = record::read_released(&records)?;
        let kept = record::read_all(&records)?;
        let scrub = Mutex::new(scrub::Cursor::open(&records)?);
        let state = Mutex::new(State { kept, pulled: HashMap::new(), released });
        let this = Self(Arc::new(Inner {
            folder,
            records,
            quota_bytes,
            state,
            scrub,
            pulls_ended: watch::Sender::new(()),
        }));
        this.mend();
        Ok(this)
    }

    /// The folder of the share.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// The folder is offered: there is room to give, or something is still kept.
    pub fn is_offered(&self) -> bool {
        self.0.quota_bytes > 0 || !self.lock().kept.is_empty()
    }

    /// Bytes that could still be kept: what the quota leaves, and the disk.
    pub fn room_bytes(&self) -> u64 {
        self.room(&self.lock())
    }

    /// Contents that are kept, and their bytes.
    pub fn kept(&self) -> (u64, u64) {
        let state = self.lock();
        let sizes = state.kept.values().map(|kept| kept.replica.size_bytes);
        sizes.fold((0, 0), |(contents, bytes), size| (contents + 1, bytes + size))
    }

    /// Bytes that it may keep.
    pub fn quota_bytes(&self) -> u64 {
        self.0.quota_bytes
    }

    /// Everything that is kept, in order of the hashes.
    pub fn list(&self) -> Vec<Replica> {
        self.lock().kept.values().map(|kept| kept.replica.clone()).collect()
    }

    /// The replica of that content.
    pub fn get(&self, hash: &ContentHash) -> Option<Replica> {
        self.lock().kept.get(hash).map(|kept| kept.replica.clone())
    }

    /// The key that released that content here, if it was.
    pub fn released(&self, hash: &ContentHash) -> Option<OwnerKey> {
        self.lock().released.iter().rev().find(|(released, _)| released == hash).map(|(_, key)| *key)
    }

    /// Sets room aside for a content, until the reservation is kept or dropped.
    ///
    /// # Errors
    /// As [`Refusal`] says.
    pub fn admit(&self, replica: Replica) -> Result<Admitted, Refusal> {
        let mut state = self.lock();
        if let Some(kept) = state.kept.get(&replica.hash) {
            let is_same = kept.replica.owner_tag == replica.owner_tag;
            return if is_same { Ok(Admitted::Kept) } else { Err(Refusal::OtherOwner) };
        }
        if state.is_released(&replica) {
            return Err(Refusal::Released);
        }
        if let Some(pulled) = state.pulled.get(&replica.hash) {
            let is_same = pulled.owner_tag == replica.owner_tag;
            return Err(if is_same { Refusal::Coming } else { Refusal::OtherOwner });
        }
        if state.pulled.len() >= MAX_PULLS || state.kept.len() >= MAX_KEPT {
            return Err(Refusal::Busy);
        }
        let room_bytes = self.room(&state);
        if self.0.quota_bytes == 0 || replica.size_bytes > room_bytes {
            return Err(Refusal::NoRoom { room_bytes });
        }
        let pulled = Pulled { size_bytes: replica.size_bytes, owner_tag: replica.owner_tag };
        state.pulled.insert(replica.hash, pulled);
        Ok(Admitted::Pull(Reservation { replicas: self.clone(), replica }))
    }

    /// Completes when one of those that were on their way when this was called has come, or has failed to.
    pub fn pull_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.0.pulls_ended.subscribe();
        async move {
            // The sender lives as long as this store; its end is an end as well.
            let _ = ended.changed().await;
        }
    }

    /// Gives a copy up, without a word of its owner. Blocks on the disk.
    pub fn give_up(&self, hash: &ContentHash) {
        let mut state = self.lock();
        self.remove(&mut state, hash);
    }

    /// Takes back what is kept or on its way, and remembers the release where there was something to take back. True when
    /// there was. Blocks on the disk.
    ///
    /// # Errors
    /// The key is not the owner's.
    pub fn release(&self, hash: &ContentHash, key: OwnerKey) -> Result<bool, WrongKey> {
        let mut state = self.lock();
        let kept = state.kept.get(hash).map(|kept| kept.replica.owner_tag);
        // What is on its way is not kept when it has come.
        let pulled = || state.pulled.get(hash).map(|pulled| pulled.owner_tag);
        let Some(owner_tag) = kept.or_else(pulled) else { return Ok(false) };
        if owner_tag != key.tag() {
            return Err(WrongKey);
        }
        self.remember(&mut state, *hash, key);
        self.remove(&mut state, hash);
        Ok(true)
    }

    /// Remembers a release of this peer's own, whether or not it keeps the content. Blocks on the disk.
    pub fn bury(&self, hash: ContentHash, key: OwnerKey) {
        self.remember(&mut self.lock(), hash, key);
    }

    /// Drops the records whose content is gone or has another size; what has is set aside. What the disk does not let be
    /// looked at is left to the next time. How many they were. Blocks on the disk.
    pub fn mend(&self) -> usize {
        let kept: Vec<Kept> = self.lock().kept.values().cloned().collect();
        let look = |kept: &Kept| match fs::symlink_metadata(self.0.folder.join(&kept.file)) {
            Ok(found) if !found.is_file() => Found::Nothing,
            Ok(found) if found.len() == kept.replica.size_bytes => Found::Content,
            Ok(_) => Found::AnotherSize,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) => {
                tracing::warn!(file = kept.file, %error, "a replica could not be looked at");
                Found::Unknown
            }
        };
        let is_lost = |found| matches!(found, Found::Nothing | Found::AnotherSize);
        let mut lost = 0;
        for kept in kept.iter().filter(|kept| is_lost(look(kept))) {
            let mut state = self.lock();
            // Unless it was given up and kept anew between the two looks.
            if state.kept.get(&kept.replica.hash) != Some(kept) {
                continue;
            }
            match look(kept) {
                Found::Content | Found::Unknown => continue,
                Found::AnotherSize => self.set_aside(kept),
                Found::Nothing => {
                    tracing::warn!(file = kept.file, hash = %kept.replica.hash, "a replica is gone from its folder");
                }
            }
            record::remove(&self.0.records, &kept.replica.hash);
            state.kept.remove(&kept.replica.hash);
            lost += 1;
        }
        lost
    }

    fn room(&self, state: &State) -> u64 {
        let kept: u64 = state.kept.values().map(|kept| kept.replica.size_bytes).sum();
        let pulled: u64 = state.pulled.values().map(|pulled| pulled.size_bytes).sum();
        let taken = kept.saturating_add(pulled);
        let left = self.0.quota_bytes.saturating_sub(taken);
        if left == 0 {
            return 0;
        }
        let free = free_bytes(&self.0.folder).unwrap_or(0);
        left.min(free.saturating_sub(MIN_FREE_BYTES).saturating_sub(pulled))
    }

    fn remember(&self, state: &mut State, hash: ContentHash, key: OwnerKey) {
        if state.released.contains(&(hash, key)) {
            return;
        }
        if state.released.len() == MAX_RELEASED {
            state.released.pop_front();
        }
        state.released.push_back((hash, key));
        if let Err(error) = record::write_released(&self.0.records, &state.released) {
            tracing::warn!(%error, "could not keep a release; it is forgotten at the next start");
        }
    }

    /// The record goes first: a content without one is an ordinary file, one with it would be brought back.
    fn remove(&self, state: &mut State, hash: &ContentHash) {
        let Some(kept) = state.kept.remove(hash) else { return };
        record::remove(&self.0.records, hash);
        let path = self.0.folder.join(&kept.file);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "could not remove a replica");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_released(&self, replica: &Replica) -> bool {
        let is_of_it =
            |(hash, key): &(ContentHash, OwnerKey)| *hash == replica.hash && key.tag() == replica.owner_tag;
        self.released.iter().any(is_of_it)
    }
}

/// Room set aside for a content on its way; freed when dropped.
#[derive(Debug)]
pub struct Reservation {
    replicas: Replicas,
    replica: Replica,
}

impl Reservation {
    /// Where the content is to be downloaded to. Whatever lies there is removed with the reservation.
    pub fn incoming(&self) -> PathBuf {
        incoming::path(&self.replicas.0.folder, &self.replica.hash)
    }

    /// Publishes the verified content under its name, or `name (1)` where that is taken. Blocks on the disk.
    ///
    /// # Errors
    /// The content has another size, its owner took it back meanwhile, or the disk fails; nothing is kept then.
    pub fn keep(self, content: &Path) -> Result<PathBuf, StoreError> {
        let inner = &self.replicas.0;
        let found = fs::symlink_metadata(content).map_err(StoreError::io("look at", content))?;
        if found.len() != self.replica.size_bytes {
            let error =
                io::Error::other(format!("it has {} bytes, not {}", found.len(), self.replica.size_bytes));
            return Err(StoreError::io("keep", content)(error));
        }
        let mut state = self.replicas.lock();
        if state.is_released(&self.replica) {
            let error = io::Error::other("its owner took it back meanwhile");
            return Err(StoreError::io("keep", content)(error));
        }
        for number in 0..=MAX_NUMBER {
            let file = numbered(&self.replica.name, number);
            let path = inner.folder.join(&file);
            if path.symlink_metadata().is_ok() {
                continue;
            }
            let kept = Kept { replica: self.replica.clone(), file };
            if let Err(error) = record::write(&inner.records, &kept) {
                // It may be there, only not for certain.
                record::remove(&inner.records, &self.replica.hash);
                return Err(error);
            }
            match rename_without_replacing(content, &path) {
                Ok(()) => {
                    if let Err(error) = fs::File::open(&inner.folder).and_then(|folder| folder.sync_all()) {
                        tracing::warn!(folder = %inner.folder.display(), %error, "could not bring a folder to disk");
                    }
                    state.kept.insert(self.replica.hash, kept);
                    return Ok(path);
                }
                Err(error) => {
                    record::remove(&inner.records, &self.replica.hash);
                    if error.kind() != io::ErrorKind::AlreadyExists {
                        return Err(StoreError::io("publish", &path)(error));
                    }
                }
            }
        }
        Err(StoreError::NamesTaken(inner.folder.join(&self.replica.name)))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        incoming::remove(&self.replicas.0.folder, &self.replica.hash);
        self.replicas.lock().pulled.remove(&self.replica.hash);
        self.replicas.0.pulls_ended.send_replace(());
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::{
        fs::{AtFlags, CWD, RenameFlags},
        io::Errno,
    };
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag: a link does not replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// `name (2).ext`; 0 is the name itself.
fn numbered(name: &str, number: u32) -> String {
    use crate::protocol::name::MAX_NAME_BYTES;
    if number == 0 {
        return name.to_owned();
    }
    let (stem, tail) = match name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()) {
        Some((stem, extension)) => (stem, format!(" ({number}).{extension}")),
        None => (name, format!(" ({number})")),
    };
    let most = MAX_NAME_BYTES.saturating_sub(tail.len()).min(stem.len());
    let end = (0..=most).rev().find(|end| stem.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{tail}", &stem[..end])
}

#[cfg(test)]
mod tests;
