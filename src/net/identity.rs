//! Who a daemon is, across restarts: its id and an incarnation that rises with every start.
//!
//! In a closed network the id is the hash of its key; in a plaintext one, that of a credential in its data folder.

use std::{
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};

use super::{Trust, secret_file};
use crate::protocol::id::{Credential, PeerId};

const CREDENTIAL_FILE: &str = "identity";
const INCARNATION_FILE: &str = "incarnation";

/// Who a daemon is.
#[derive(Debug, Clone)]
pub struct Identity {
    credential: Option<Credential>,
    id: PeerId,
    incarnation: u64,
}

impl Identity {
    /// In a plaintext network: from the data folder; made there at the first start, readable by its owner alone.
    ///
    /// # Errors
    /// When the folder cannot be written, or the file is not a credential or can be read by others.
    pub fn load_or_create(data: &Path) -> Result<Self> {
        secret_file::make_folder(data)?;
        let path = data.join(CREDENTIAL_FILE);
        let credential = if let Some(text) = secret_file::load(&path)? {
            text.trim_end().parse().with_context(|| {
                let path = path.display();
                format!("{path} is not an identity; remove it to start as a new peer, or restore it")
            })?
        } else {
            let credential = Credential::random(&mut rand::rng());
            secret_file::save(&path, &format!("{credential}\n"))?;
            credential
        };
        let incarnation = next_incarnation(&data.join(INCARNATION_FILE))?;
        Ok(Self { credential: Some(credential), id: credential.peer_id(), incarnation })
    }

    /// In a closed network: the peer whose key that is. The incarnation is kept in the data folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn proven(data: &Path, trust: &Trust) -> Result<Self> {
        secret_file::make_folder(data)?;
        let incarnation = next_incarnation(&data.join(INCARNATION_FILE))?;
        Ok(Self { credential: None, id: trust.key().public().peer_id(), incarnation })
    }

    /// A new one that is nowhere kept: for daemons that are not peers, and for tests.
    pub fn ephemeral() -> Self {
        let credential = Credential::random(&mut rand::rng());
        Self { credential: Some(credential), id: credential.peer_id(), incarnation: now_millis() }
    }

    /// The proof that the id is ours, shown to the registry alone; in a closed network the connection proves it.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
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

/// The clock orders starts; the file keeps the order when the clock was set back.
fn next_incarnation(path: &Path) -> Result<u64> {
    let last = match fs::read_to_string(path) {
        Ok(text) => text.trim_end().parse().unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let next = now_millis().max(last + 1);
    secret_file::save(path, &format!("{next}\n"))?;
    Ok(next)
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        secret_file::save(&path, "garbage").expect("written");
        assert!(Identity::load_or_create(data.path()).is_err());
        secret_file::save(&path, &"ab".repeat(32)).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let error = Identity::load_or_create(data.path()).expect_err("refused");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}
