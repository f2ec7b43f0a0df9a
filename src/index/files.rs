//! The table of files: what is known of each, by path, by hash and by word. Every view agrees with every other whenever the
//! table is not being changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime},
};

use lru::LruCache;

use super::{
    path::Stamp,
    tokens::{FileId, Tokens},
};
use crate::protocol::{
    action::FileInfo,
    id::ContentHash,
    text::{fold, words},
};

/// Most files of one peer; those beyond are not offered and the share says so. At about 350 B each, 1.8 GB.
pub(super) const MAX_FILES: usize = 5_000_000;
/// Hashes of files that just disappeared, so that a renamed one is not read again; the oldest are dropped.
const MOVED_HASHES: usize = 10_000;
/// Slots of removed files are used again once they are this many and a quarter of all.
const COMPACT_AT: usize = 1_000;
/// A file is read once it has rested this long, longer than a tick of the coarsest clock that stamps files: what is
/// written within one tick of the stamp would not change it.
const REST: Duration = Duration::from_millis(50);
/// Larger files that are still being written would be read again and again.
const REST_LARGE: Duration = Duration::from_secs(2);
const LARGE_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(super) struct Entry {
    /// Path with NUL between segments, so that a folder's files lie together in order.
    key: Arc<str>,
    /// Path inside the share on disk, where it is not the key's.
    pub(super) on_disk: Option<Box<str>>,
    pub(super) stamp: Stamp,
    pub(super) hash: Option<ContentHash>,
    /// The last walk that saw it.
    walk: u32,
}

impl Entry {
    pub(super) fn path(&self) -> String {
        self.key.replace('\0', "/")
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn shared_key(&self) -> Arc<str> {
        Arc::clone(&self.key)
    }

    /// The share's name, and the path inside it on disk.
    pub(super) fn place(&self) -> (&str, String) {
        let (share, inside) = self.key.split_once('\0').unwrap_or((&self.key, ""));
        (share, self.on_disk.as_ref().map_or_else(|| inside.replace('\0', "/"), ToString::to_string))
    }

    pub(super) fn info(&self) -> FileInfo {
        FileInfo {
            hash: self.hash,
            path: self.path(),
            size_bytes: self.stamp.size_bytes,
            modified: self.stamp.modified(),
        }
    }
}

/// Files and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) hashed: u64,
}

/// What a walk found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) on_disk: Option<Box<str>>,
    pub(super) stamp: Stamp,
}

/// How a found file stands to the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Known,
    New,
    /// Another file on disk has the same path in NFC.
    Taken,
}

/// What to hash next.
#[derive(Debug)]
pub(super) enum Next {
    File {
        id: FileId,
        path: String,
        share: String,
        inside: String,
        stamp: Stamp,
    },
    /// All that wait are too young.
    Rest(Duration),
    Nothing,
}

#[derive(Debug)]
pub(super) struct Files {
    pub(super) entries: Vec<Option<Entry>>,
    pub(super) tokens: Tokens,
    by_key: BTreeMap<Arc<str>, FileId>,
    /// By the beginning of the hash, which tells nearly all apart: a file takes 16 B here, not 36.
    by_hash: BTreeSet<(u64, FileId)>,
    /// Files without a hash that nobody reads yet, smallest first.
    waiting: BTreeSet<(u64, FileId)>,
    /// Those that were given out to be read, as they were then; one for each reader at most.
    reading: Vec<(FileId, Stamp)>,
    free: Vec<FileId>,
    removed: usize,
    /// By what a rename leaves as it was.
    moved: LruCache<Stamp, ContentHash>,
    by_share: HashMap<String, Totals>,
    bound: usize,
    /// How often a path came that was not there.
    came: u64,
}

impl Files {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            entries: Vec::new(),
            tokens: Tokens::default(),
            by_key: BTreeMap::new(),
            by_hash: BTreeSet::new(),
            waiting: BTreeSet::new(),
            reading: Vec::new(),
            free: Vec::new(),
            removed: 0,
            // Without a capacity of its own: that would be allocated at once.
            moved: LruCache::unbounded(),
            by_share: HashMap::new(),
            bound,
            came: 0,
        }
    }

    /// Rises with every path that was not there before.
    pub(super) fn came(&self) -> u64 {
        self.came
    }

    pub(super) fn entry(&self, id: FileId) -> Option<&Entry> {
        self.entries.get(id as usize)?.as_ref()
    }

    pub(super) fn by_path(&self, path: &str) -> Option<&Entry> {
        if path.contains('\0') {
            return None;
        }
        self.entry(*self.by_key.get(path.replace('/', "\0").as_str())?)
    }

    pub(super) fn by_key(&self, key: &str) -> Option<&Entry> {
        self.entry(*self.by_key.get(key)?)
    }

    /// The files with that content, in order of their slots.
    pub(super) fn by_hash(&self, hash: &ContentHash) -> impl Iterator<Item = FileId> + use<'_> {
        let (start, hash) = (start_of(hash), *hash);
        let same_start = self.by_hash.range((start, 0)..=(start, FileId::MAX)).map(|(_, id)| *id);
        same_start.filter(move |id| self.entry(*id).is_some_and(|entry| entry.hash == Some(hash)))
    }

    pub(super) fn share(&self, name: &str) -> Totals {
        self.by_share.get(name).copied().unwrap_or_default()
    }

    pub(super) fn totals(&self) -> Totals {
        self.by_share.values().fold(Totals::default(), |sum, share| Totals {
            files: sum.files + share.files,
            bytes: sum.bytes + share.bytes,
            hashed: sum.hashed + share.hashed,
        })
    }

    /// No file waits to be read or is being read.
    pub(super) fn is_hashed(&self) -> bool {
        self.waiting.is_empty() && self.reading.is_empty()
    }

    /// The keys from `from` on, in order.
    pub(super) fn keys_from<'a>(&'a self, from: Bound<&'a str>) -> impl Iterator<Item = (&'a str, FileId)> {
        self.by_key.range::<str, _>((from, Bound::Unbounded)).map(|(key, id)| (&**key, *id))
    }

    /// Marks a found file as seen by this walk, when nothing about it is new.
    pub(super) fn see(&mut self, found: &Found, walk: u32) -> Standing {
        let Some(id) = self.by_key.get(found.key.as_str()).copied() else { return Standing::New };
        let Some(entry) = self.entries[id as usize].as_mut() else { return Standing::New };
        if entry.on_disk != found.on_disk {
            return Standing::Taken;
        }
        if entry.stamp != found.stamp {
            return Standing::New;
        }
        entry.walk = entry.walk.max(walk);
        if entry.hash.is_none() && !self.reading.contains(&(id, found.stamp)) {
            self.waiting.insert((found.stamp.size_bytes, id));
        }
        Standing::Known
    }

    /// Adds a file, or what is new of it. False when the table is full.
    pub(super) fn put(&mut self, found: Found, hash: Option<ContentHash>, walk: u32) -> bool {
        let has_room = self.put_one(found, hash, walk);
        self.tokens.settle();
        has_room
    }

    /// As [`Self::put`], for many at once. How many found no place.
    pub(super) fn put_all(
        &mut self,
        found: impl IntoIterator<Item = (Found, Option<ContentHash>)>,
        walk: u32,
    ) -> u64 {
        let found = found.into_iter();
        let over = found.map(|(found, hash)| u64::from(!self.put_one(found, hash, walk))).sum();
        self.tokens.settle();
        over
    }

    fn put_one(&mut self, found: Found, hash: Option<ContentHash>, walk: u32) -> bool {
        // A file that stays where it is was not renamed, and what is new of it says that it was written.
        let is_new = !self.by_key.contains_key(found.key.as_str());
        let moved = || self.moved.peek(&found.stamp.but_changed()).copied().filter(|_| is_new);
        let hash = hash.or_else(moved);
        let id = match self.by_key.get(found.key.as_str()).copied() {
            // Somebody was faster, and knows no less.
            Some(_) if hash.is_none() && self.see(&found, walk) == Standing::Known => return true,
            Some(id) => {
                self.forget_content(id);
                id
            }
            None if self.by_key.len() >= self.bound => return false,
            None => self.insert_key(&found.key),
        };
        let key = self
            .by_key
            .get_key_value(found.key.as_str())
            .map(|(key, _)| key.clone())
            .expect("just put there");
        let totals = self.by_share.entry(share_of(&key).to_owned()).or_default();
        totals.files += 1;
        totals.bytes += found.stamp.size_bytes;
        totals.hashed += u64::from(hash.is_some());
        match hash {
            Some(hash) => self.by_hash.insert((start_of(&hash), id)),
            None => self.waiting.insert((found.stamp.size_bytes, id)),
        };
        self.entries[id as usize] =
            Some(Entry { key, on_disk: found.on_disk, stamp: found.stamp, hash, walk });
        true
    }

    fn insert_key(&mut self, key: &str) -> FileId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            FileId::try_from(self.entries.len() - 1).expect("MAX_FILES and a quarter fit 32 bits")
        });
        self.by_key.insert(key.into(), id);
        self.came += 1;
        for word in words(&fold(key)) {
            self.tokens.add(word, id);
        }
        id
    }

    /// Takes an entry's size and hash out of every sum and view; the path stays.
    fn forget_content(&mut self, id: FileId) {
        let Some(entry) = self.entries[id as usize].take() else { return };
        self.waiting.remove(&(entry.stamp.size_bytes, id));
        if let Some(hash) = entry.hash {
            self.by_hash.remove(&(start_of(&hash), id));
            self.moved.put(entry.stamp.but_changed(), hash);
            if self.moved.len() > MOVED_HASHES {
                self.moved.pop_lru();
            }
        }
        let share = share_of(&entry.key);
        if let Some(totals) = self.by_share.get_mut(share) {
            totals.files -= 1;
            totals.bytes -= entry.stamp.size_bytes;
            totals.hashed -= u64::from(entry.hash.is_some());
            if totals.files == 0 {
                self.by_share.remove(share);
            }
        }
    }

    /// Removes one file. False when it is not there.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some(id) = self.by_key.remove(key) else { return false };
        self.forget_content(id);
        self.removed += 1;
        let is_much = self.removed >= COMPACT_AT && self.removed * 4 >= self.entries.len();
        if is_much || self.by_key.is_empty() {
            self.compact();
        }
        true
    }

    /// Makes the slots of removed files free, the first of them on top: lists of words are in order of the slots, and a slot
    /// before those that are there already would move them all, for every word of every file.
    fn compact(&mut self) {
        self.removed = 0;
        if self.by_key.is_empty() {
            self.entries = Vec::new();
            self.tokens = Tokens::default();
            self.free = Vec::new();
            return;
        }
        let entries = &self.entries;
        self.tokens.retain(|id| entries[id as usize].is_some());
        let slots = entries.iter().enumerate().rev().filter(|(_, entry)| entry.is_none());
        self.free = slots.filter_map(|(slot, _)| FileId::try_from(slot).ok()).collect();
    }

    /// Looks at `most` files from the key `from` on, before the key `before`, and removes those that no walk since `walk` has
    /// seen. How many they were, and where to go on.
    pub(super) fn remove_unseen(
        &mut self,
        from: &str,
        before: &str,
        walk: u32,
        most: usize,
    ) -> (usize, Option<Arc<str>>) {
        let mut range = self.by_key.range::<str, _>((Bound::Included(from), Bound::Excluded(before)));
        let unseen: Vec<Arc<str>> = range
            .by_ref()
            .take(most)
            .filter(|(_, id)| self.entry(**id).is_none_or(|entry| entry.walk < walk))
            .map(|(key, _)| key.clone())
            .collect();
        let next = range.next().map(|(key, _)| key.clone());
        (unseen.iter().filter(|key| self.remove(key)).count(), next)
    }

    /// The next file to read. Whoever gets one calls [`Self::set_hash`] or [`Self::give_up`].
    pub(super) fn next_to_hash(&mut self, now: SystemTime) -> Next {
        let mut rest = None::<Duration>;
        let mut chosen = None;
        for (size, id) in &self.waiting {
            let Some(entry) = self.entry(*id) else { continue };
            let due = if *size >= LARGE_BYTES { REST_LARGE } else { REST };
            // A stamp in the future says nothing about rest.
            let left_of = |due: Duration, at| due.saturating_sub(now.duration_since(at).unwrap_or(due));
            // Whoever puts the modification back may still be at it.
            let left = left_of(due, entry.stamp.modified()).max(left_of(REST, entry.stamp.changed()));
            if left.is_zero() {
                chosen = Some((*size, *id));
                break;
            }
            rest = Some(rest.map_or(left, |rest| rest.min(left)));
        }
        let Some((size, id)) = chosen else { return rest.map_or(Next::Nothing, Next::Rest) };
        self.waiting.remove(&(size, id));
        let entry = self.entry(id).expect("it was just looked at");
        let (share, inside) = entry.place();
        let (path, share, stamp) = (entry.path(), share.into(), entry.stamp);
        self.reading.push((id, stamp));
        Next::File { id, path, share, inside, stamp }
    }

    /// The file was read. False when it is not the one that was given out any more.
    pub(super) fn set_hash(&mut self, id: FileId, path: &str, stamp: Stamp, hash: ContentHash) -> bool {
        self.was_read(id, stamp);
        let Some(Some(entry)) = self.entries.get_mut(id as usize) else { return false };
        if entry.stamp != stamp || entry.hash.is_some() || entry.path() != path {
            return false;
        }
        entry.hash = Some(hash);
        self.waiting.remove(&(stamp.size_bytes, id));
        self.by_hash.insert((start_of(&hash), id));
        if let Some(totals) = self.by_share.get_mut(share_of(&entry.key)) {
            totals.hashed += 1;
        }
        true
    }

    /// The file could not be read, or changed meanwhile; the next walk or event brings it back.
    pub(super) fn give_up(&mut self, id: FileId, stamp: Stamp) {
        self.was_read(id, stamp);
    }

    fn was_read(&mut self, id: FileId, stamp: Stamp) {
        if let Some(at) = self.reading.iter().position(|given| *given == (id, stamp)) {
            self.reading.swap_remove(at);
        }
    }
}

fn start_of(hash: &ContentHash) -> u64 {
    let start = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*start)
}

fn share_of(key: &str) -> &str {
    key.split('\0').next().unwrap_or(key)
}

/// First key below a folder, and the first behind them all.
pub(super) fn below(folder: &str) -> (String, String) {
    (format!("{folder}\0"), format!("{folder}\u{1}"))
}
