//! Takes the bytes of a new file into the first share, so that it is found at once.

use std::path::PathBuf;

use super::{download::store_error, handle::Outcome};
use crate::{
    index::Index,
    protocol::{
        action::{ActionError, ErrorKind, ShareFileAsk, SharedFile},
        name::{Printable, portable_name},
    },
    shutdown::Shutdown,
    store::adopt::{Adopted, adopt},
};

/// Moves the file into the first share that is not the folder of what is kept for the network. After an error, and at a stop,
/// it stays where it was.
pub(super) async fn share_file(
    index: Index,
    kept: PathBuf,
    ask: ShareFileAsk,
    shutdown: &Shutdown,
) -> Outcome<SharedFile> {
    let name = portable_name(&ask.name).map_err(|error| {
        ActionError::new(ErrorKind::Usage, format!("`{}`: {error}", Printable(&ask.name)))
    })?;
    // Shares are told without links.
    let kept = kept.canonicalize().unwrap_or(kept);
    let share =
        index.shares().into_iter().find(|share| share.problem.is_none() && share.folder != kept).ok_or_else(
            || {
                ActionError::new(ErrorKind::Refused, "this peer offers no folder that a file could go into")
                    .hint("offer one with `floodplain share add`")
            },
        )?;
    if name.starts_with('.') {
        let message = format!("`{}` is a hidden name, which is not shared", Printable(&name));
        return Err(ActionError::new(ErrorKind::Usage, message).hint("choose a name that begins with no dot"));
    }
    let destination = share.folder.join(&name);
    let stop = shutdown.clone();
    let taking = shutdown.spawn_blocking(move || {
        let adopted = adopt(&ask.path, &destination, || !stop.is_stopping())?;
        index.note_file(&adopted.path, adopted.hash);
        Ok(adopted)
    });
    let failed = |_| ActionError::new(ErrorKind::Failed, "the file could not be taken over");
    let Adopted { path, hash, size_bytes } =
        taking.await.map_err(failed)?.map_err(|error| store_error(&error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(SharedFile { path: format!("{}/{name}", share.name), share: share.name, hash, size_bytes })
}
