//! The offered folders by what they are for: one of them takes new files, another is not to be taken away.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{download::store_error, handle::Outcome};
use crate::{
    index::Index,
    protocol::{
        action::{ActionError, ErrorKind, ShareFileAsk, ShareInfo, ShareKind, SharedFile},
        name::{Printable, portable_name},
    },
    shutdown::Shutdown,
    store::adopt::{Adopted, adopt},
};

/// The shares of a peer, each with what it is for; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Offered {
    index: Index,
    downloads: PathBuf,
    replicas: PathBuf,
    inbox: PathBuf,
    /// One file at a time is given its name.
    // A std lock: held on blocking threads alone.
    taking: Arc<Mutex<()>>,
}

impl Offered {
    /// Over the index that offers them, with the folders that have a purpose of their own. Blocks on the disk.
    pub(super) fn new(index: Index, downloads: &Path, replicas: &Path, inbox: &Path) -> Self {
        // Shares are told without links.
        let real = |folder: &Path| {
            folder.canonicalize().or_else(|_| std::path::absolute(folder)).unwrap_or_else(|_| folder.into())
        };
        Self {
            index,
            downloads: real(downloads),
            replicas: real(replicas),
            inbox: real(inbox),
            taking: Arc::default(),
        }
    }

    /// All of them, in order of their adding.
    pub(super) fn list(&self) -> Vec<ShareInfo> {
        self.index.shares().into_iter().map(|share| self.told(share)).collect()
    }

    /// Offers another folder. Blocks on the disk.
    pub(super) fn add(&self, folder: &Path) -> Outcome<ShareInfo> {
        Ok(self.told(self.index.add_share(folder)?))
    }

    /// Stops offering a folder. Blocks on the disk.
    pub(super) fn remove(&self, name: &str) -> Outcome<()> {
        if self.list().iter().any(|share| share.name == name && !share.kind.is_removable()) {
            let message = format!("`{}` is what this peer keeps for the network", Printable(name));
            return Err(ActionError::new(ErrorKind::Refused, message)
                .hint("FLOODPLAIN_REPLICA_SPACE=0 lets it take no more"));
        }
        Ok(self.index.remove_share(name)?)
    }

    fn told(&self, share: ShareInfo) -> ShareInfo {
        let kind = match &share.folder {
            folder if *folder == self.replicas => ShareKind::Replicas,
            folder if *folder == self.downloads => ShareKind::Downloads,
            folder if *folder == self.inbox => ShareKind::Inbox,
            _ => ShareKind::Folder,
        };
        ShareInfo { kind, ..share }
    }

    /// Moves the file into the first share that is not the folder of what is kept for the network; one of that name and
    /// content that is there already is left as the only one. After an error, and at a stop, it stays where it was.
    pub(super) async fn take(&self, ask: ShareFileAsk, shutdown: &Shutdown) -> Outcome<SharedFile> {
        let name = portable_name(&ask.name).map_err(|error| {
            ActionError::new(ErrorKind::Usage, format!("`{}`: {error}", Printable(&ask.name)))
        })?;
        let is_for_files = |share: &ShareInfo| share.problem.is_none() && share.kind != ShareKind::Replicas;
        let share = self.list().into_iter().find(is_for_files).ok_or_else(|| {
            ActionError::new(ErrorKind::Refused, "this peer offers no folder that a file could go into")
                .hint("offer one with `floodplain share add`")
        })?;
        if name.starts_with('.') {
            let message = format!("`{}` is a hidden name, which is not shared", Printable(&name));
            return Err(
                ActionError::new(ErrorKind::Usage, message).hint("choose a name that begins with no dot")
            );
        }
        let destination = share.folder.join(&name);
        let (index, turns, stop) = (self.index.clone(), self.taking.clone(), shutdown.clone());
        let taking = shutdown.spawn_blocking(move || {
            let adopted = adopt(&ask.path, &destination, &turns, || !stop.is_stopping())?;
            index.note_file(&adopted.path, adopted.hash);
            Ok(adopted)
        });
        let failed = |_| ActionError::new(ErrorKind::Failed, "the file could not be taken over");
        let Adopted { path, hash, size_bytes, was_there } =
            taking.await.map_err(failed)?.map_err(|error| store_error(&error))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("{}/{name}", share.name);
        Ok(SharedFile { path, share: share.name, hash, size_bytes, was_there })
    }
}
