//! Where the authority is kept: one file, for its owner alone, replaced as a whole. It is either complete and unaltered, or
//! the registry does not start: a network founded anew in its place would let nobody in that was a member.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{book::Book, encode};
use crate::{net::secret_file, registry::store};

/// In the registry's data folder.
const FILE_NAME: &str = "authority";
/// The largest file read; 100,000 members need about 15 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// The file; nowhere when the registry keeps nothing.
#[derive(Debug, Clone)]
pub(super) struct File(Option<PathBuf>);

impl File {
    /// In a folder, which is made for its owner alone if it is not there.
    pub(super) fn at(data: &Path) -> Result<Self> {
        if data.as_os_str().is_empty() {
            return Ok(Self(None));
        }
        secret_file::make_folder(data)?;
        Ok(Self(Some(data.to_path_buf())))
    }

    /// In a folder as it is.
    pub(super) fn in_folder(data: &Path) -> Self {
        Self(Some(data.to_path_buf()))
    }

    /// What was kept; `None` when nothing was.
    pub(super) fn load(&self) -> Result<Option<Book>> {
        let Some(path) = self.0.as_ref().map(|folder| folder.join(FILE_NAME)) else { return Ok(None) };
        let context = || format!("could not read the network's authority {}", path.display());
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.with_context(context)?,
        };
        if metadata.permissions().mode() & 0o077 != 0 {
            bail!("{} can be read by others: run `chmod 600` on it", path.display());
        }
        if metadata.len() > MAX_FILE_BYTES {
            bail!("{} is too large to be a network's authority", path.display());
        }
        let book = encode::decode(&fs::read(&path).with_context(context)?);
        let book = book.map_err(|damage| {
            anyhow!(
                "{} is damaged: {damage}; restore it from a backup, or remove it to found a new network, into which every peer has to be invited anew",
                path.display()
            )
        })?;
        Ok(Some(book))
    }

    pub(super) fn save(&self, bytes: &[u8]) -> Result<()> {
        let Some(folder) = &self.0 else { return Ok(()) };
        store::write(folder, FILE_NAME, bytes)
            .with_context(|| format!("could not write to {}", folder.display()))
    }
}
