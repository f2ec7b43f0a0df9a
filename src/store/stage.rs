//! A folder that is being gathered: hidden beside its destination until every file of it is there, then published in one
//! step.
//!
//! Invariant: nothing is written outside the stage, whatever links lie in it; publishing never replaces anything, and what
//! is published is on disk. One transfer has a stage at a time. Everything here blocks.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rand::RngExt;
use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, mkdirat, open, openat, unlinkat},
    io::Errno,
};

use super::{PART_SUFFIX, StoreError, check_space, publish::cut, verify::hash_file};
use crate::protocol::{
    id::ContentHash,
    manifest::{Manifest, ManifestFile},
    name::MAX_NAME_BYTES,
};

/// Ends the names of stages that a restart cannot go on with: what others push.
const PUSHED_SUFFIX: &str = ".pushed.fp-part";
/// `name (1)` to `name (9999)` are tried when a name is taken.
const MAX_NUMBER: u32 = 9999;
/// What a file takes on disk beside its bytes: an inode and the rest of its last block. A guess on the safe side.
pub(crate) const FILE_OVERHEAD_BYTES: usize = 4096;
/// A stage that is being removed may get a last file of a write that was given up.
const REMOVE_TRIES: u32 = 3;

/// A folder being gathered. Dropping it leaves it for another try unless it is empty or was opened with
/// [`Stage::for_push`].
#[derive(Debug)]
pub struct Stage {
    path: PathBuf,
    root: OwnedFd,
    /// The folder that was used last: files come folder by folder.
    last: Option<(String, OwnedFd)>,
    is_kept: bool,
    is_published: bool,
}

impl Stage {
    /// The stage of that id in `parent`, which is made when it is missing: found again, or new.
    ///
    /// # Errors
    /// Another transfer fills it, or the system refuses.
    pub fn open(parent: &Path, name: &str, id: &ContentHash) -> Result<Self, StoreError> {
        Self::at(parent, Self::path_in(parent, name, id))
    }

    /// Where the stage of that id lies: hidden, recognised by its ending, the same after a restart.
    pub fn path_in(parent: &Path, name: &str, id: &ContentHash) -> PathBuf {
        hidden_in(parent, name, cut(&id.to_string(), 16), PART_SUFFIX)
    }

    /// A new stage in `parent`, which goes when it is dropped unpublished.
    ///
    /// # Errors
    /// The system refuses.
    pub fn for_push(parent: &Path, name: &str) -> Result<Self, StoreError> {
        let random: u64 = rand::rng().random();
        let path = hidden_in(parent, name, &format!("{random:016x}"), PUSHED_SUFFIX);
        let mut stage = Self::at(parent, path)?;
        stage.is_kept = false;
        Ok(stage)
    }

    fn at(parent: &Path, path: PathBuf) -> Result<Self, StoreError> {
        fs::create_dir_all(parent).map_err(StoreError::io("make the folder", parent))?;
        match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(StoreError::io("make the folder", &path)(error.into())),
        }
        let root = open(&path, OFlags::RDONLY | FOLDER, Mode::empty());
        let root = root.map_err(|error| StoreError::io("open", &path)(error.into()))?;
        if is_held(flock(&root, FlockOperation::NonBlockingLockExclusive)) {
            let busy =
                io::Error::new(io::ErrorKind::ResourceBusy, "another transfer of this folder fills it");
            return Err(StoreError::io("use", &path)(busy));
        }
        Ok(Self { path, root, last: None, is_kept: true, is_published: false })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// By which it is known again when it has its name; see [`published_as`].
    ///
    /// # Errors
    /// The system refuses.
    pub fn inode(&self) -> Result<u64, StoreError> {
        let stat = rustix::fs::fstat(&self.root);
        stat.map(|stat| stat.st_ino).map_err(|error| StoreError::io("look at", &self.path)(error.into()))
    }

    /// Reads what is there already: true for each file of the manifest that is right. Whatever else lies here is removed,
    /// but for part files with which a download may go on. `go_on` is asked again and again.
    ///
    /// # Errors
    /// The system refuses, or [`StoreError::Stopped`] when `go_on` said no.
    pub fn present(&self, manifest: &Manifest, go_on: impl Fn() -> bool) -> Result<Vec<bool>, StoreError> {
        let wanted: HashMap<&str, usize> =
            manifest.files().iter().enumerate().map(|(at, file)| (file.path.as_str(), at)).collect();
        let mut is_present = vec![false; manifest.files().len()];
        self.walk(&go_on, |relative, path| {
            let Some(&at) = wanted.get(relative) else { return is_part(relative) };
            is_present[at] = is_right(path, &manifest.files()[at], &go_on);
            is_present[at]
        })?;
        Ok(is_present)
    }

    /// Refuses what would leave too little space, for these files.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`].
    pub fn check_space(&self, files: usize, size_bytes: u64) -> Result<(), StoreError> {
        check_space(&self.path, size_bytes.saturating_add((files * FILE_OVERHEAD_BYTES) as u64))
    }

    /// A new file at that path of a manifest, with its folders.
    ///
    /// # Errors
    /// The system refuses.
    pub fn create(&mut self, relative: &str) -> Result<File, StoreError> {
        let (folder, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        let at = self.path.join(relative);
        let folder = self.folder(folder)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || openat(folder, name, flags, Mode::from_raw_mode(0o666));
        let created = match create() {
            // What an earlier try left half written.
            Err(Errno::EXIST) => unlinkat(folder, name, AtFlags::empty()).and_then(|()| create()),
            created => created,
        };
        created.map(File::from).map_err(|error| StoreError::io("create", &at)(error.into()))
    }

    /// A whole file at that path of a manifest.
    ///
    /// # Errors
    /// The system refuses.
    pub fn put(&mut self, relative: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut file = self.create(relative)?;
        file.write_all(bytes).map_err(|error| StoreError::io("write", &self.path.join(relative))(error))
    }

    /// Makes room for a file that somebody else writes to that path: its folders are there, and nothing has its name.
    /// Gives the path on disk.
    ///
    /// # Errors
    /// The system refuses.
    pub fn place(&mut self, relative: &str) -> Result<PathBuf, StoreError> {
        let (folder, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        let at = self.path.join(relative);
        match unlinkat(self.folder(folder)?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(at),
            Err(error) => Err(StoreError::io("remove", &at)(error.into())),
        }
    }

    /// Brings everything to disk and gives it its name, or `name (1)` and so on when that is taken. What does not belong
    /// to the manifest is removed before. Gives the path.
    ///
    /// # Errors
    /// The system refuses. The stage is removed when it could not be brought to disk, and left otherwise.
    pub fn publish(mut self, manifest: &Manifest, destination: &Path) -> Result<PathBuf, StoreError> {
        self.last = None;
        let wanted: std::collections::HashSet<&str> =
            manifest.files().iter().map(|file| file.path.as_str()).collect();
        let mut found = 0;
        self.walk(&|| true, |relative, _| {
            let is_wanted = wanted.contains(relative);
            found += usize::from(is_wanted);
            is_wanted
        })?;
        if found != wanted.len() {
            let gone = io::Error::new(io::ErrorKind::NotFound, "some of its files were removed meanwhile");
            return Err(StoreError::io("publish", &self.path)(gone));
        }
        if let Err(error) = rustix::fs::syncfs(&self.root) {
            // What the system did not bring to disk once it may forget: nothing of it is to be trusted.
            self.is_kept = false;
            return Err(StoreError::io("bring to disk", &self.path)(error.into()));
        }
        for number in 0..=MAX_NUMBER {
            let published = numbered(destination, number);
            match rename_without_replacing(&self.path, &published) {
                Ok(()) => {
                    self.is_published = true;
                    let folder = published.parent().unwrap_or(Path::new("/"));
                    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
                        tracing::warn!(folder = %folder.display(), %error, "could not bring a folder to disk");
                    }
                    return Ok(published);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("publish", &published)(error)),
            }
        }
        Err(StoreError::NamesTaken(destination.to_path_buf()))
    }

    /// Removes it.
    pub fn discard(mut self) {
        self.is_kept = false;
    }

    /// The folder at that path below the stage; made where it is missing, no link followed.
    fn folder(&mut self, relative: &str) -> Result<&OwnedFd, StoreError> {
        if relative.is_empty() {
            return Ok(&self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != relative) {
            let mut folder: Option<OwnedFd> = None;
            for segment in relative.split('/') {
                let above = folder.as_ref().unwrap_or(&self.root);
                let open_it = || openat(above, segment, OFlags::PATH | FOLDER, Mode::empty());
                let opened = match open_it() {
                    Err(Errno::NOENT) => match mkdirat(above, segment, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => open_it(),
                        Err(error) => Err(error),
                    },
                    opened => opened,
                };
                let at = || self.path.join(relative);
                folder =
                    Some(opened.map_err(|error| StoreError::io("make the folder", &at())(error.into()))?);
            }
            self.last = folder.map(|folder| (relative.to_owned(), folder));
        }
        Ok(self.last.as_ref().map_or(&self.root, |(_, folder)| folder))
    }

    /// Shows every regular file to `keeps` and removes those that it does not keep, and all that is neither file nor
    /// folder.
    fn walk(
        &self,
        go_on: &impl Fn() -> bool,
        mut keeps: impl FnMut(&str, &Path) -> bool,
    ) -> Result<(), StoreError> {
        let mut folders = vec![(self.path.clone(), String::new())];
        while let Some((folder, below)) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(StoreError::io("read", &folder))? {
                if !go_on() {
                    return Err(StoreError::Stopped);
                }
                let entry = entry.map_err(StoreError::io("read", &folder))?;
                let kind = entry.file_type().map_err(StoreError::io("read", &folder))?;
                let path = entry.path();
                let name = entry.file_name();
                let relative = name.to_str().map(|name| format!("{below}{name}"));
                match relative {
                    Some(relative) if kind.is_dir() => folders.push((path, relative + "/")),
                    Some(relative) if kind.is_file() && keeps(&relative, &path) => {}
                    _ => {
                        let removed =
                            if kind.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                        removed.map_err(StoreError::io("remove", &path))?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.is_published {
            return;
        }
        if self.is_kept {
            // What never began is worth nothing: this removes an empty folder only.
            let _ = fs::remove_dir(&self.path);
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            // Links in it were removed, not followed.
            tracing::warn!(path = %self.path.display(), %error, "could not remove a folder's stage");
        }
    }
}

/// What the stage of that inode is called, when a process was killed right after it had published it there.
pub fn published_as(destination: &Path, inode: u64) -> Option<PathBuf> {
    (0..=MAX_NUMBER).map(|number| numbered(destination, number)).find(|path| {
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.ino() == inode)
    })
}

/// Removes a stage that nothing goes on with. False when there is none, or a transfer fills it.
///
/// # Errors
/// The system refuses.
pub fn remove(stage: &Path) -> Result<bool, StoreError> {
    let root = match open(stage, OFlags::RDONLY | FOLDER, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(error) => return Err(StoreError::io("open", stage)(error.into())),
    };
    if is_held(flock(&root, FlockOperation::NonBlockingLockExclusive)) {
        return Ok(false);
    }
    // Links in it are removed, not followed. A write that was just given up may still end meanwhile.
    let mut tries = 1;
    loop {
        match fs::remove_dir_all(stage) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < REMOVE_TRIES => {
                tries += 1;
            }
            Err(error) => return Err(StoreError::io("remove", stage)(error)),
        }
    }
}

/// Removes the stages right in this folder that `is_kept` says no to, by their names, that were begun before `started` and
/// that no transfer fills. How many they were. A folder that is not there has none.
///
/// # Errors
/// The folder cannot be read.
pub fn sweep_stages(folder: &Path, started: SystemTime, is_kept: impl Fn(&str) -> bool) -> io::Result<usize> {
    let is_dead =
        |name: &str| name.ends_with(PART_SUFFIX) && !name.ends_with(PUSHED_SUFFIX) && !is_kept(name);
    sweep(folder, started, is_dead, |stage| {
        remove(stage).unwrap_or_else(|error| {
            tracing::warn!(path = %stage.display(), %error, "could not remove a dead stage");
            false
        })
    })
}

/// Removes what a killed process left of folders that others pushed into `inbox`, when it was begun before `started`.
/// How many they were. A folder that is not there has none.
///
/// # Errors
/// The inbox cannot be read.
pub fn sweep_pushed(inbox: &Path, started: SystemTime) -> io::Result<usize> {
    sweep(inbox, started, |name| name.ends_with(PUSHED_SUFFIX), |stage| fs::remove_dir_all(stage).is_ok())
}

fn sweep(
    folder: &Path,
    started: SystemTime,
    is_dead: impl Fn(&str) -> bool,
    remove: impl Fn(&Path) -> bool,
) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut swept = 0;
    for entry in entries {
        let entry = entry?;
        let is_dead = entry.file_name().to_str().is_some_and(|name| name.starts_with('.') && is_dead(name));
        // Of the entry itself: links are neither followed nor removed.
        let Ok(metadata) = entry.metadata() else { continue };
        let is_old = metadata.is_dir() && metadata.modified().is_ok_and(|written| written < started);
        swept += usize::from(is_dead && is_old && remove(&entry.path()));
    }
    Ok(swept)
}

/// Another transfer has the lock. File systems without locks go without: each file is checked before it has its name.
fn is_held(locked: Result<(), Errno>) -> bool {
    locked == Err(Errno::WOULDBLOCK)
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn is_part(relative: &str) -> bool {
    let name = relative.rsplit('/').next().unwrap_or(relative);
    name.starts_with('.') && name.ends_with(PART_SUFFIX)
}

/// What has no hash cannot be told to be right.
fn is_right(path: &Path, file: &ManifestFile, go_on: &impl Fn() -> bool) -> bool {
    let Some(hash) = file.hash else { return false };
    let Ok(opened) =
        open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    else {
        return false;
    };
    let opened = File::from(opened);
    // A file with another name elsewhere could be changed through that.
    let is_ours = opened.metadata().is_ok_and(|metadata| {
        metadata.is_file() && metadata.nlink() == 1 && metadata.len() == file.size_bytes
    });
    is_ours && hash_file(&opened, |_| go_on()).is_ok_and(|(found, _)| found == hash)
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag: an empty folder of our own is all that this can replace.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::create_dir(to)?;
            fs::rename(from, to).inspect_err(|_| drop(fs::remove_dir(to)))
        }
        renamed => Ok(renamed?),
    }
}

fn hidden_in(parent: &Path, name: &str, digits: &str, suffix: &str) -> PathBuf {
    let tail = format!(".{digits}{suffix}");
    parent.join(format!(".{}{tail}", cut(name, MAX_NAME_BYTES - 1 - tail.len())))
}

/// `name (2)`; 0 is the name itself.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let tail = format!(" ({number})");
    path.with_file_name(format!("{}{tail}", cut(&name, MAX_NAME_BYTES - tail.len())))
}

#[cfg(test)]
mod tests;
