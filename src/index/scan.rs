//! Bringing the table in line with the folders: whole shares, single folders, single paths. Whatever is found is looked at
//! before it enters, and what a walk did not see leaves.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use ignore::WalkBuilder;
use tracing::warn;

use super::{
    Inner,
    files::{Found, Standing, below},
    path::{self, Lies, Stamp},
    shares::Share,
};
use crate::{protocol::name::MAX_PATH_BYTES, shutdown::Shutdown};

/// Files that enter the table under one lock: searches wait about a millisecond.
const BATCH: usize = 256;
/// Files that are looked at for leaving under one lock.
const SWEEP: usize = 1024;

/// Names that a walk could not take over.
#[derive(Debug, Default)]
struct Skipped {
    not_utf8: u64,
    too_long: u64,
    taken: u64,
    unreadable: u64,
    over_bound: u64,
}

/// Walks a share from its root. Between two batches `pause` may look after other things.
pub(super) fn walk_share(inner: &Inner, share: &Share, shutdown: &Shutdown, pause: &mut dyn FnMut()) {
    let readable = std::fs::read_dir(&share.folder).map(|_| ());
    let problem = match readable {
        Ok(()) => {
            let skipped = walk(inner, share, "", shutdown, pause);
            (skipped.over_bound > 0)
                .then(|| format!("{} files are not offered: this peer's index is full", skipped.over_bound))
        }
        Err(error) => {
            remove_below(inner, &share.name, u32::MAX, shutdown);
            Some(format!("it cannot be read: {error}"))
        }
    };
    inner.set_problem(share, problem);
}

fn walk(inner: &Inner, share: &Share, inside: &str, shutdown: &Shutdown, pause: &mut dyn FnMut()) -> Skipped {
    let number = inner.next_walk();
    let (mut skipped, mut batch) = (Skipped::default(), Vec::new());
    let root = if inside.is_empty() { share.folder.clone() } else { share.folder.join(inside) };
    let data = inner.data.clone();
    let entries = WalkBuilder::new(root)
        .standard_filters(false)
        .hidden(true)
        .follow_links(false)
        // The data folder holds secrets, wherever it lies.
        .filter_entry(move |entry| entry.path() != data)
        .build();
    for entry in entries {
        if shutdown.is_stopping() {
            return skipped;
        }
        let Ok(entry) = entry else {
            skipped.unreadable += 1;
            continue;
        };
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        match found(share, entry.path(), Stamp::of(&metadata), &mut skipped) {
            Some(found) => batch.push(found),
            None => continue,
        }
        if batch.len() >= BATCH {
            if !inner.has_share(share) {
                return skipped;
            }
            enter(inner, share, std::mem::take(&mut batch), number, &mut skipped);
            pause();
        }
    }
    enter(inner, share, batch, number, &mut skipped);
    let folder = if inside.is_empty() { share.name.clone() } else { key_of(share, inside) };
    remove_below(inner, &folder, number, shutdown);
    if skipped.not_utf8 + skipped.too_long + skipped.taken + skipped.unreadable > 0 {
        warn!(share = share.name, ?skipped, "some files are not offered");
    }
    skipped
}

/// Looks at single paths that were touched: those that are gone first, so that a renamed file keeps its hash.
pub(super) fn look_at(inner: &Inner, shares: &[Share], touched: BTreeSet<PathBuf>, shutdown: &Shutdown) {
    let number = inner.next_walk();
    let (mut files, mut folders, mut gone) =
        (Vec::new(), Vec::<(&Share, PathBuf, String)>::new(), Vec::new());
    for on_disk in touched {
        let Some(share) = shares.iter().find(|share| on_disk.starts_with(&share.folder)) else { continue };
        let Some(inside) = on_disk.strip_prefix(&share.folder).ok().and_then(Path::to_str) else { continue };
        if inside.is_empty() {
            inner.wishes.make(|wish| wish.walk.insert(share.name.clone()));
            continue;
        }
        let is_hidden = inside.split('/').any(|segment| segment.starts_with('.'));
        if is_hidden || on_disk.starts_with(&inner.data) {
            continue;
        }
        match path::look(&share.folder, inside) {
            Lies::File(stamp) => files.push((share, on_disk, stamp)),
            Lies::Folder => {
                gone.push((share, inside.to_owned(), false));
                // In order of paths, so that the folder around it came before.
                if !folders.last().is_some_and(|(_, outer, _)| on_disk.starts_with(outer)) {
                    let inside = inside.to_owned();
                    folders.push((share, on_disk, inside));
                }
            }
            Lies::Nothing => gone.push((share, inside.to_owned(), true)),
        }
    }
    for (share, inside, is_folder_gone) in gone {
        let key = key_of(share, &inside);
        let mut table = inner.files_mut();
        if table.by_key(&key).is_some_and(|entry| entry.place().1 == inside) {
            table.remove(&key);
        }
        drop(table);
        if is_folder_gone {
            remove_below(inner, &key, u32::MAX, shutdown);
        }
    }
    let mut skipped = Skipped::default();
    for (share, on_disk, stamp) in files {
        if let Some(found) = found(share, &on_disk, stamp, &mut skipped) {
            remove_below(inner, &found.key, u32::MAX, shutdown);
            enter(inner, share, vec![found], number, &mut skipped);
        }
    }
    for (share, _, inside) in folders {
        walk(inner, share, &inside, shutdown, &mut || {});
    }
    inner.has_changed();
}

/// One file that is known to be there, as it lies on disk.
pub(super) fn found_at(share: &Share, on_disk: &Path, stamp: Stamp) -> Option<Found> {
    found(share, on_disk, stamp, &mut Skipped::default())
}

fn found(share: &Share, on_disk: &Path, stamp: Stamp, skipped: &mut Skipped) -> Option<Found> {
    let Some(inside) = on_disk.strip_prefix(&share.folder).ok().and_then(Path::to_str) else {
        skipped.not_utf8 += 1;
        return None;
    };
    let (network, on_disk) = path::to_network(inside);
    if share.name.len() + 1 + network.len() > MAX_PATH_BYTES {
        skipped.too_long += 1;
        return None;
    }
    Some(Found { key: format!("{}\0{}", share.name, network.replace('/', "\0")), on_disk, stamp })
}

fn enter(inner: &Inner, share: &Share, mut batch: Vec<Found>, walk: u32, skipped: &mut Skipped) {
    let mut taken = Vec::new();
    {
        let mut files = inner.files_mut();
        batch.retain(|found| match files.see(found, walk) {
            Standing::Known => false,
            Standing::New => true,
            Standing::Taken => {
                taken.push(found.clone());
                false
            }
        });
    }
    for found in taken {
        let holder = inner.files().by_key(&found.key).map(|entry| entry.place().1);
        // Two names that differ in their normal form only: the one that came first keeps the path while it is there.
        if holder.is_some_and(|inside| matches!(path::look(&share.folder, &inside), Lies::File(_))) {
            skipped.taken += 1;
        } else {
            batch.push(found);
        }
    }
    if batch.is_empty() {
        return;
    }
    let on_disk: Vec<PathBuf> = batch
        .iter()
        .map(|found| {
            let inside = found.key.split_once('\0').map_or("", |(_, inside)| inside).replace('\0', "/");
            share.folder.join(found.on_disk.as_deref().unwrap_or(&inside))
        })
        .collect();
    let hashes =
        inner.known.look_up(on_disk.iter().zip(&batch).map(|(path, found)| (path.as_path(), &found.stamp)));
    {
        let mut files = inner.files_mut();
        if !inner.has_share(share) {
            return;
        }
        skipped.over_bound += files.put_all(batch.into_iter().zip(hashes), walk);
    }
    inner.has_changed();
    // A walk tells the readers at its end: they would take the time that the names need.
    if !inner.is_scanning.load(Ordering::Acquire) {
        inner.want_hashes();
    }
}

/// Removes what no walk since `walk` saw, in steps that let searches in between. `u32::MAX` removes everything.
pub(super) fn remove_below(inner: &Inner, folder_key: &str, walk: u32, shutdown: &Shutdown) {
    let (from, before) = below(folder_key);
    let (mut removed, mut from) = (0, Some(Arc::from(from)));
    while let Some(key) = from.take().filter(|_| !shutdown.is_stopping()) {
        let (count, next) = inner.files_mut().remove_unseen(&key, &before, walk, SWEEP);
        removed += count;
        from = next;
    }
    if removed > 0 {
        inner.has_changed();
    }
}

fn key_of(share: &Share, inside: &str) -> String {
    format!("{}\0{}", share.name, path::to_network(inside).0.replace('/', "\0"))
}

impl Inner {
    fn next_walk(&self) -> u32 {
        self.walks.fetch_add(1, Ordering::Relaxed) + 1
    }
}
