//! The list of offered folders: which may be offered, under which name, and what of it is kept across restarts.
//! No two of them overlap, and none has the name of another.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::IndexError;
use crate::protocol::name::to_portable_name;

/// Most shares of one peer; more are refused. A guess: people offer a handful.
const MAX_SHARES: usize = 256;

/// One offered folder.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) name: String,
    /// Absolute; without links if it existed when it was added.
    pub(super) folder: PathBuf,
    pub(super) problem: Option<String>,
}

/// What was changed at run time, kept in the data folder.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    added: Vec<KeptShare>,
    /// Folders of the settings that were taken away.
    removed: Vec<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptShare {
    name: String,
    folder: PathBuf,
}

#[derive(Debug)]
pub(super) struct Shares {
    pub(super) list: Vec<Share>,
    kept: Kept,
    configured: Vec<PathBuf>,
    file: PathBuf,
    data: PathBuf,
}

impl Shares {
    /// Those of the settings and those added at run time, without those taken away at run time. Missing folders of the
    /// settings are made.
    pub(super) fn open(configured: &[PathBuf], data: &Path) -> anyhow::Result<Self> {
        let file = data.join("shares.json");
        let kept = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                anyhow::anyhow!(
                    "the list of shares in {} cannot be read ({error}): repair or delete it",
                    file.display()
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => anyhow::bail!("the list of shares in {} cannot be read: {error}", file.display()),
        };
        let mut shares = Self { list: Vec::new(), kept, configured: Vec::new(), file, data: data.into() };
        for folder in configured {
            if !folder.exists() {
                match fs::create_dir_all(folder) {
                    Ok(()) => info!(folder = %folder.display(), "made the shared folder"),
                    Err(error) => {
                        warn!(folder = %folder.display(), %error, "the shared folder cannot be made");
                    }
                }
            }
            let folder = resolve(folder)?;
            shares.configured.push(folder.clone());
            if shares.kept.removed.contains(&folder) {
                info!(folder = %folder.display(), "not offered: it was removed from the shares; add it to offer it again");
                continue;
            }
            shares.check(&folder)?;
            let name = shares.free_name(&folder);
            shares.list.push(Share { name, folder, problem: None });
        }
        for index in 0..shares.kept.added.len() {
            let KeptShare { name, folder } = &shares.kept.added[index];
            let (name, folder) = (name.clone(), folder.clone());
            if let Err(error) = shares.check(&folder) {
                warn!(%error, "a share added earlier is not offered");
                continue;
            }
            let is_taken = shares.list.iter().any(|share| share.name == name);
            let name =
                if is_taken || to_portable_name(&name) != name { shares.free_name(&folder) } else { name };
            shares.list.push(Share { name, folder, problem: None });
        }
        Ok(shares)
    }

    /// Offers a folder from now on and after a restart. Nothing has changed after an error.
    pub(super) fn add(&mut self, folder: &Path) -> Result<Share, IndexError> {
        let refuse = |problem: String| IndexError::ShareRefused { folder: folder.into(), problem };
        let real =
            fs::canonicalize(folder).map_err(|error| refuse(format!("it cannot be found: {error}")))?;
        fs::read_dir(&real).map_err(|error| refuse(format!("it cannot be read as a folder: {error}")))?;
        if real.to_str().is_none() {
            return Err(refuse("its path is not UTF-8".into()));
        }
        self.check(&real)?;
        let share = Share { name: self.free_name(&real), folder: real.clone(), problem: None };
        let was_removed = self.kept.removed.iter().position(|removed| *removed == real);
        if let Some(place) = was_removed {
            self.kept.removed.remove(place);
        }
        let is_added = !self.configured.contains(&real);
        if is_added {
            self.kept.added.push(KeptShare { name: share.name.clone(), folder: real.clone() });
        }
        if let Err(error) = self.save() {
            if is_added {
                self.kept.added.pop();
            }
            if was_removed.is_some() {
                self.kept.removed.push(real);
            }
            return Err(error);
        }
        self.list.push(share.clone());
        Ok(share)
    }

    /// Offers a folder no more, now and after a restart. Nothing has changed after an error.
    pub(super) fn remove(&mut self, name: &str) -> Result<Share, IndexError> {
        let place = self.list.iter().position(|share| share.name == name);
        let place = place.ok_or_else(|| IndexError::NoShare { name: name.into() })?;
        let folder = &self.list[place].folder;
        let added = self.kept.added.iter().position(|kept| kept.folder == *folder);
        let added = added.map(|place| self.kept.added.remove(place));
        let is_configured = self.configured.contains(folder);
        if is_configured {
            self.kept.removed.push(folder.clone());
        }
        if let Err(error) = self.save() {
            self.kept.added.extend(added);
            if is_configured {
                self.kept.removed.pop();
            }
            return Err(error);
        }
        Ok(self.list.remove(place))
    }

    fn check(&self, folder: &Path) -> Result<(), IndexError> {
        let refuse = |problem: String| Err(IndexError::ShareRefused { folder: folder.into(), problem });
        if folder.parent().is_none() {
            return refuse("it is the root of the whole system; offer a folder in it".into());
        }
        if folder.starts_with(&self.data) {
            return refuse("it is, or lies in, the data folder, which holds this peer's secrets".into());
        }
        if self.list.len() >= MAX_SHARES {
            return refuse(format!("there are {MAX_SHARES} shares already"));
        }
        for other in &self.list {
            if folder == other.folder {
                return refuse(format!("it is offered already, as `{}`", other.name));
            }
            if folder.starts_with(&other.folder) || other.folder.starts_with(folder) {
                return refuse(format!(
                    "it overlaps the share `{}` ({})",
                    other.name,
                    other.folder.display()
                ));
            }
        }
        Ok(())
    }

    /// The folder's own name, with `-2` and so on where that is taken.
    fn free_name(&self, folder: &Path) -> String {
        let name = folder
            .file_name()
            .map_or_else(|| "share".into(), |name| to_portable_name(&name.to_string_lossy()));
        let is_free = |name: &String| !self.list.iter().any(|share| share.name == *name);
        let others = (2..=MAX_SHARES + 1).map(|number| format!("{name}-{number}"));
        std::iter::once(name.clone()).chain(others).find(is_free).expect("there are more names than shares")
    }

    /// Replaces the file as a whole, so that a crash leaves the former list or this one.
    fn save(&self) -> Result<(), IndexError> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.data)?;
            serde_json::to_writer_pretty(&mut file, &self.kept)?;
            file.flush()?;
            file.as_file().sync_all()?;
            file.persist(&self.file)?;
            fs::File::open(&self.data)?.sync_all()
        };
        write().map_err(|source| IndexError::Io { path: self.file.display().to_string(), source })
    }
}

/// Without links where it exists, else absolute.
fn resolve(folder: &Path) -> anyhow::Result<PathBuf> {
    fs::canonicalize(folder)
        .or_else(|_| std::path::absolute(folder))
        .map_err(|error| anyhow::anyhow!("the share {} is not a path: {error}", folder.display()))
}
