//! A file that always holds a good invite, for peers that are started beside their registry.
//!
//! Invariant: the invite in it has at least half its life before it, or a new one is on its way; one that is still good is
//! kept over a restart, so that restarts do not pile up invites.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, anyhow};

use super::{admin::Admin, closed::Closed};
use crate::{
    net::secret_file,
    protocol::{admission::MAX_INVITE_USES, trust::invite::Invite, zone::Layout},
    wire::admin::{DEFAULT_INVITE_LIFETIME, InviteAsk},
};

/// How many peers such an invite lets in where the layout does not say how many there are.
const USES: u32 = 1000;

/// The file.
#[derive(Debug)]
pub(super) struct InviteFile {
    path: PathBuf,
    uses: u32,
}

impl InviteFile {
    pub(super) fn new(path: PathBuf, layout: Layout) -> Self {
        let size = layout.capacity().and_then(|size| u32::try_from(size).ok());
        Self { path, uses: size.unwrap_or(USES).clamp(1, MAX_INVITE_USES) }
    }

    /// Writes a new invite if that is due.
    pub(super) async fn refresh(&mut self, admin: &Admin, closed: &Closed) -> Result<()> {
        let now = SystemTime::now();
        let half = DEFAULT_INVITE_LIFETIME / 2;
        let present = load(&self.path).filter(|invite| invite.registry == admin.host);
        let good_until = present.and_then(|invite| closed.good_until(&invite));
        // One that somebody took away, used up, or that names an authority of the past, is replaced at once.
        let is_due =
            good_until.is_none_or(|until| until.duration_since(now).unwrap_or(Duration::ZERO) < half);
        if !is_due {
            return Ok(());
        }
        let ask = InviteAsk { uses: self.uses, ..InviteAsk::default() };
        let (invite, _) = admin.invite(&ask).await.map_err(|status| anyhow!("{}", status.message()))?;
        save(&self.path, &invite).context("could not write the invite file")?;
        tracing::info!(path = %self.path.display(), uses = self.uses, "wrote a new invite");
        Ok(())
    }
}

fn load(path: &Path) -> Option<Invite> {
    let text = secret_file::load(path).ok().flatten()?;
    text.parse().ok()
}

fn save(path: &Path, invite: &Invite) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        secret_file::make_folder(folder)?;
    }
    secret_file::save(path, &format!("{invite}\n"))
}
