//! What an earlier run left on disk: opened where it goes on, removed where it does not.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use anyhow::{Context, Result};

use super::{
    folder::Place,
    origin::Origin,
    replicas::replicas_beside,
    saved::SavedSearches,
    transfers::{Revived, Transfers},
    view::View,
};
use crate::{
    config::PeerSettings,
    protocol::action::Transfer,
    shutdown::Shutdown,
    store::{
        puts::Puts,
        replica::Replicas,
        searches::Searches,
        stage::{sweep_pushed, sweep_stages},
        sweep::sweep_parts,
    },
};

/// The transfers, and the downloads that an earlier run left; what else it left in these folders is removed.
pub(super) async fn open_transfers(
    settings: &PeerSettings,
    downloads: &Path,
    started: SystemTime,
    shutdown: &Shutdown,
) -> Result<(Transfers, Revived)> {
    let (transfers, revived) = Transfers::open(settings.download_slots, &settings.data, shutdown)
        .context("could not read the kept downloads")?;
    let mut folders = vec![settings.inbox.clone(), downloads.to_path_buf()];
    // Files that are shared by their bytes go into the first.
    folders.extend(settings.shares.first().cloned());
    sweep(folders, started, kept_parts(&transfers.list()), shutdown).await;
    let places = transfers.kept().iter().filter_map(Place::of_job).collect();
    sweep_folders(downloads.to_path_buf(), started, places, shutdown).await;
    Ok((transfers, revived))
}

/// Which part files downloads go on with, by what their names hold.
#[derive(Debug, Default)]
struct KeptParts {
    /// First digits of content hashes, between dots.
    hashes: Vec<String>,
    /// Beginnings of the names of files whose hash was not known when they were kept.
    names: Vec<String>,
}

impl KeptParts {
    fn has(&self, part: &str) -> bool {
        self.hashes.iter().any(|hash| part.contains(hash))
            || self.names.iter().any(|name| part.starts_with(name))
    }
}

fn kept_parts(downloads: &[Transfer]) -> KeptParts {
    let mut kept = KeptParts::default();
    for download in downloads {
        match download.hash {
            Some(hash) => kept.hashes.push(format!(".{:.16}.", hash.to_string())),
            // A name may be cut in that of its part.
            None => kept.names.push(format!(".{:.100}", download.name)),
        }
    }
    kept
}

/// What this peer keeps for the network, and what it put there.
pub(super) async fn open_kept(settings: &PeerSettings, shutdown: &Shutdown) -> Result<(Replicas, Puts)> {
    let (folder, data) = (replicas_beside(&settings.inbox), settings.data.clone());
    let quota_bytes = settings.replica_space;
    let opening = shutdown.spawn_blocking(move || {
        let replicas = Replicas::open(folder, &data, quota_bytes)?;
        Ok::<_, anyhow::Error>((replicas, Puts::open(&data)?))
    });
    opening.await.context("opening the replicas failed")?.context("could not open the replicas")
}

/// The searches that its person saved.
pub(super) async fn open_saved(
    settings: &PeerSettings,
    origin: Arc<Origin>,
    view: View,
    shutdown: &Shutdown,
) -> Result<SavedSearches> {
    let data = settings.data.clone();
    let opening = shutdown.spawn_blocking(move || Searches::open(&data));
    let (store, kept) = opening
        .await
        .context("opening the saved searches failed")?
        .context("could not read the saved searches")?;
    Ok(SavedSearches::new(store, kept, origin, view, settings.saved_search_every))
}

/// Frees what transfers of a killed process left in the folders that this peer writes to by itself.
async fn sweep(folders: Vec<PathBuf>, started: SystemTime, kept: KeptParts, shutdown: &Shutdown) {
    let sweeping = shutdown.spawn_blocking(move || {
        for folder in folders {
            if let Err(error) = sweep_pushed(&folder, started) {
                tracing::warn!(folder = %folder.display(), %error, "could not look for dead stages");
            }
            match sweep_parts(&folder, started, |name| kept.has(name)) {
                Ok(swept) if swept.files == 0 => {}
                Ok(swept) => tracing::info!(
                    folder = %folder.display(),
                    files = swept.files,
                    freed_bytes = swept.bytes,
                    "removed part files of an earlier run"
                ),
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "could not look for dead part files");
                }
            }
        }
    });
    // A panic in it leaves only the parts behind.
    let _ = sweeping.await;
}

/// Frees what folders left that are not kept any more, where folders are put by themselves.
async fn sweep_folders(downloads: PathBuf, started: SystemTime, kept: Vec<Place>, shutdown: &Shutdown) {
    let sweeping = shutdown.spawn_blocking(move || {
        let kept: HashSet<PathBuf> = kept.iter().map(Place::stage).collect();
        match sweep_stages(&downloads, started, |name| kept.contains(&downloads.join(name))) {
            Ok(0) => {}
            Ok(stages) => tracing::info!(stages, "removed folders that an earlier run left unfinished"),
            Err(error) => {
                tracing::warn!(folder = %downloads.display(), %error, "could not look for dead stages");
            }
        }
    });
    // A panic in it leaves only the stages behind.
    let _ = sweeping.await;
}
