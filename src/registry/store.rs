//! Where the registry's state outlives it: one snapshot file, replaced as a whole, that is either complete and
//! unaltered or not used at all.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use super::{session::Hub, state::Saved};
use crate::net::secret_file;

mod encode;
#[cfg(test)]
mod tests;

const FILE_NAME: &str = "registry.snapshot";

/// The largest snapshot read; 100,000 peers need about 20 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// A place for snapshots.
#[derive(Debug)]
pub(super) struct Store {
    folder: Option<PathBuf>,
    /// The generation of the last snapshot written. Held while writing, so that an older one never follows a newer one.
    written: Mutex<Option<u64>>,
}

impl Store {
    /// In a folder, which is made for its owner alone if it is not there; in memory only when the path is empty.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let folder = (!folder.as_os_str().is_empty()).then(|| folder.to_path_buf());
        if let Some(folder) = &folder {
            secret_file::make_folder(folder)?;
        }
        Ok(Self { folder, written: Mutex::new(None) })
    }

    /// The last snapshot and the epoch of this run, which is greater than that of any run before: one more than the
    /// snapshot's, and at least the seconds since 1970, for when the snapshot was lost. A damaged snapshot is set
    /// aside with a warning.
    ///
    /// # Errors
    /// When there is a snapshot that cannot be read or set aside.
    pub(super) fn load(&self) -> Result<(Saved, u32)> {
        let saved = match &self.folder {
            Some(folder) => read(&folder.join(FILE_NAME))?,
            None => Saved::default(),
        };
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let epoch = saved.epoch.saturating_add(1).max(u32::try_from(seconds).unwrap_or(0));
        Ok((saved, epoch))
    }

    /// Writes a snapshot if anything changed since the last one. A failure is logged, and tried again next time.
    pub(super) fn save(&self, hub: &Hub) {
        let Some(folder) = &self.folder else { return };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let due = hub
            .read(|state| (*written != Some(state.generation())).then(|| (state.generation(), state.save())));
        let Some((generation, saved)) = due else { return };
        match write(folder, FILE_NAME, &encode::encode(&saved)) {
            Ok(()) => *written = Some(generation),
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "could not write the snapshot; zones would be lost by a restart");
            }
        }
    }
}

fn read(path: &Path) -> Result<Saved> {
    let context = || format!("could not read the snapshot {}", path.display());
    let bytes = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        Ok(metadata) if metadata.len() > MAX_FILE_BYTES => Vec::new(),
        _ => fs::read(path).with_context(context)?,
    };
    match encode::decode(&bytes) {
        Ok(saved) => Ok(saved),
        Err(damage) => {
            let aside = path.with_extension("damaged");
            fs::rename(path, &aside).with_context(|| format!("could not set aside {}", path.display()))?;
            tracing::warn!(aside = %aside.display(), %damage, "the snapshot is damaged: set aside, started empty");
            Ok(Saved::default())
        }
    }
}

/// All or nothing: whoever reads sees the file before or the file after. It holds secrets, so it is for the owner alone,
/// as temporary files are.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name))?;
    File::open(folder)?.sync_all()
}
