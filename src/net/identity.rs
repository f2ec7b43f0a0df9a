//! Who a daemon is, across restarts: a credential in its data folder and an incarnation that rises with every start.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};

use crate::protocol::id::{Credential, PeerId};

const CREDENTIAL_FILE: &str = "identity";
const INCARNATION_FILE: &str = "incarnation";

/// Who a daemon is. The credential is shown to the registry alone.
#[derive(Debug, Clone)]
pub struct Identity {
    credential: Credential,
    id: PeerId,
    incarnation: u64,
}

impl Identity {
    /// From the data folder; made there at the first start, readable by its owner alone.
    ///
    /// # Errors
    /// When the folder cannot be written, or the file is not a credential or can be read by others.
    pub fn load_or_create(data: &Path) -> Result<Self> {
        fs::create_dir_all(data)
            .with_context(|| format!("could not make the data folder {}", data.display()))?;
        let path = data.join(CREDENTIAL_FILE);
        let credential = match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let credential = Credential::random(&mut rand::rng());
                replace(&path, &format!("{}\n", credential.reveal()))
                    .with_context(|| format!("could not write {}", path.display()))?;
                credential
            }
            Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
        };
        let incarnation = next_incarnation(&data.join(INCARNATION_FILE))?;
        Ok(Self { credential, id: credential.peer_id(), incarnation })
    }

    /// A new one that is nowhere kept: for daemons that are not peers, and for tests.
    pub fn ephemeral() -> Self {
        let credential = Credential::random(&mut rand::rng());
        Self { credential, id: credential.peer_id(), incarnation: now_millis() }
    }

    /// The proof that the id is ours.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Our id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Greater than that of every earlier start.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }
}

fn parse(path: &Path, text: &str) -> Result<Credential> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others: run `chmod 600` on it", path.display());
    }
    text.trim_end().parse().with_context(|| {
        format!("{} is not an identity; remove it to start as a new peer, or restore it", path.display())
    })
}

/// The clock orders starts; the file keeps the order when the clock was set back.
fn next_incarnation(path: &Path) -> Result<u64> {
    let last = match fs::read_to_string(path) {
        Ok(text) => text.trim_end().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let next = now_millis().max(last + 1);
    replace(path, &format!("{next}\n")).with_context(|| format!("could not write {}", path.display()))?;
    Ok(next)
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whole or not at all, for the owner's eyes.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_stays_and_its_incarnation_rises() {
        let data = tempfile::tempdir().expect("a folder");
        let first = Identity::load_or_create(data.path()).expect("made");
        fs::write(data.path().join(INCARNATION_FILE), format!("{}", u64::MAX / 2)).expect("written");
        let second = Identity::load_or_create(data.path()).expect("loaded");
        assert_eq!(first.id(), second.id());
        assert_eq!(second.incarnation(), u64::MAX / 2 + 1, "even when the clock was set back");
    }

    #[test]
    fn a_damaged_or_exposed_identity_is_refused() {
        let data = tempfile::tempdir().expect("a folder");
        let path = data.path().join(CREDENTIAL_FILE);
        replace(&path, "garbage").expect("written");
        assert!(Identity::load_or_create(data.path()).is_err());
        replace(&path, &"ab".repeat(32)).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let error = Identity::load_or_create(data.path()).expect_err("refused");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
