//! What a peer keeps of the closed network that it belongs to: its key, what the network gave for it, and where the
//! registry is.
//!
//! Invariant: the key never leaves its file, which only its owner can read; a data folder belongs to one network at most,
//! and what it holds of it is replaced whole or not at all.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::{
    net::{PrivateKey, secret_file},
    protocol::{
        id::{PeerId, PeerName},
        trust::{Credentials, DenyList, MAX_AUTHORITIES, NetworkId, PublicKey},
    },
};

/// In the data folder.
const FOLDER: &str = "network";
const KEY: &str = "key.pem";
const MEMBERSHIP: &str = "membership.json";
const DENIED: &str = "denied.json";
/// What is in the membership as well, for tools that speak to the network with it.
const CERTIFICATE: &str = "certificate.pem";
/// Width of a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// A peer's place in a closed network.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Proves who it is.
    pub key: PrivateKey,
    /// What the network gave for the key.
    pub credentials: Credentials,
    /// When it was given.
    pub issued: SystemTime,
    /// The registry, `HOST:PORT`.
    pub registry: String,
    /// The name that is bound to the key.
    pub name: PeerName,
}

/// The folder in which a peer keeps it.
#[derive(Debug, Clone)]
pub struct NetworkFolder(PathBuf);

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    network: String,
    registry: String,
    name: String,
    authorities: Vec<String>,
    certificate: String,
    issued_unix_s: u64,
    not_after_unix_s: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedDenied {
    peers: Vec<String>,
}

impl NetworkFolder {
    /// That of a data folder. Nothing is made or read yet.
    pub fn of(data: &Path) -> Self {
        Self(data.join(FOLDER))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The peer's key; made at the first call.
    ///
    /// # Errors
    /// When the folder cannot be written, or the key is damaged or can be read by others.
    pub fn key(&self) -> Result<PrivateKey> {
        self.make()?;
        PrivateKey::load_or_create(&self.0.join(KEY))
    }

    /// The network that it belongs to, `None` when it belongs to none.
    ///
    /// # Errors
    /// When a file is damaged, is missing, or can be read by others.
    pub fn load(&self) -> Result<Option<Enrolled>> {
        let path = self.0.join(MEMBERSHIP);
        let Some(text) = secret_file::load(&path)? else { return Ok(None) };
        let key = self.0.join(KEY);
        let pem = secret_file::load(&key)?.ok_or_else(|| {
            anyhow!("{} is missing: restore it, or remove {} to join anew", key.display(), self.0.display())
        })?;
        let key = PrivateKey::from_pem(&pem).with_context(|| format!("{} is damaged", key.display()))?;
        let enrolled = enrolled(key, &text).with_context(|| {
            format!("{} is damaged: restore it, or remove it and join with a new invite", path.display())
        })?;
        Ok(Some(enrolled))
    }

    /// Belongs to that network from now on. After an error it belongs where it did before.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, enrolled: &Enrolled) -> Result<()> {
        let Enrolled { key: _, credentials, issued, registry, name } = enrolled;
        let saved = Saved {
            network: credentials.network.to_string(),
            registry: registry.clone(),
            name: name.to_string(),
            authorities: credentials.authorities.iter().map(ToString::to_string).collect(),
            certificate: BASE64.encode(&credentials.certificate),
            issued_unix_s: unix_seconds(*issued),
            not_after_unix_s: unix_seconds(credentials.not_after),
        };
        self.make()?;
        secret_file::save(&self.0.join(MEMBERSHIP), &serde_json::to_string_pretty(&saved)?)?;
        secret_file::save(&self.0.join(CERTIFICATE), &pem(&credentials.certificate))
    }

    /// Who was shut out when it was last heard; nobody when it never was.
    ///
    /// # Errors
    /// When the file is damaged or can be read by others.
    pub fn denied(&self) -> Result<DenyList> {
        let path = self.0.join(DENIED);
        let Some(text) = secret_file::load(&path)? else { return Ok(DenyList::default()) };
        denied(&text).with_context(|| format!("{} is damaged: remove it", path.display()))
    }

    /// Keeps who was shut out. The version is not kept: whatever the registry says next replaces it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save_denied(&self, list: &DenyList) -> Result<()> {
        let peers = list.peers().iter().map(ToString::to_string).collect();
        secret_file::save(&self.0.join(DENIED), &serde_json::to_string(&SavedDenied { peers })?)
    }

    /// For its owner alone, whoever made it.
    fn make(&self) -> Result<()> {
        secret_file::make_folder(&self.0)?;
        let failed = || format!("could not close {} to others", self.0.display());
        fs::set_permissions(&self.0, Permissions::from_mode(0o700)).with_context(failed)
    }
}

fn enrolled(key: PrivateKey, text: &str) -> Result<Enrolled> {
    let saved: Saved = serde_json::from_str(text)?;
    let network = BASE32_NOPAD.decode(saved.network.to_ascii_uppercase().as_bytes())?;
    let network =
        <[u8; NetworkId::SIZE]>::try_from(network).map_err(|_| anyhow!("no network is called so"))?;
    let authorities: Vec<PublicKey> =
        saved.authorities.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
    ensure!(
        (1..=MAX_AUTHORITIES).contains(&authorities.len()),
        "it must have 1 to {MAX_AUTHORITIES} authorities"
    );
    let credentials = Credentials {
        certificate: BASE64.decode(saved.certificate.as_bytes())?,
        authorities,
        network: NetworkId::from_bytes(network),
        not_after: time(saved.not_after_unix_s)?,
    };
    Ok(Enrolled {
        key,
        credentials,
        issued: time(saved.issued_unix_s)?,
        registry: saved.registry,
        name: saved.name.parse()?,
    })
}

fn denied(text: &str) -> Result<DenyList> {
    let saved: SavedDenied = serde_json::from_str(text)?;
    let peers = saved.peers.iter().map(|text| peer(text)).collect::<Result<_>>()?;
    DenyList::new(0, peers).context("it is too long")
}

fn peer(text: &str) -> Result<PeerId> {
    let Ok(bytes) = <[u8; 32]>::try_from(HEXLOWER.decode(text.as_bytes())?) else {
        bail!("an id has 64 hexadecimal digits");
    };
    Ok(PeerId::from_bytes(bytes))
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn time(unix_seconds: u64) -> Result<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(unix_seconds)).context("a time is out of range")
}

fn pem(der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines = text.as_bytes().chunks(PEM_LINE).map(String::from_utf8_lossy);
    let body: Vec<_> = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", body.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Authority;

    fn enrolled_in(folder: &NetworkFolder) -> Enrolled {
        let authority = Authority::generate().expect("made");
        let key = folder.key().expect("made");
        let network = authority.network();
        let lifetime = Duration::from_secs(60);
        let (certificate, not_after) =
            authority.certify_peer(&key.public(), network, None, lifetime).expect("signed");
        let authorities = vec![authority.public()];
        Enrolled {
            key,
            credentials: Credentials { certificate, authorities, network, not_after },
            issued: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            registry: "lab:7000".into(),
            name: "ana".parse().expect("a name"),
        }
    }

    #[test]
    fn a_membership_is_read_as_it_was_written_and_is_its_owners_alone() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = NetworkFolder::of(data.path());
        assert!(folder.load().expect("nothing there").is_none());
        let written = enrolled_in(&folder);
        folder.save(&written).expect("written");
        let read = folder.load().expect("read").expect("there");
        assert_eq!(read.credentials, written.credentials);
        assert_eq!((read.registry, read.name, read.issued), (written.registry, written.name, written.issued));
        assert_eq!(read.key.public(), written.key.public());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        let modes =
            fs::read_dir(folder.path()).expect("read").map(|entry| mode(&entry.expect("there").path()));
        assert_eq!(modes.collect::<Vec<_>>(), [0o600; 3]);
    }

    #[test]
    fn what_others_can_read_or_is_not_whole_is_refused() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = NetworkFolder::of(data.path());
        folder.save(&enrolled_in(&folder)).expect("written");
        let (key, membership) = (folder.path().join(KEY), folder.path().join(MEMBERSHIP));
        fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("set");
        assert!(folder.load().expect_err("refused").to_string().contains("chmod 600"));
        assert!(folder.key().is_err());
        fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("set");
        let whole = fs::read_to_string(&membership).expect("read");
        for damaged in [whole[..whole.len() / 2].to_owned(), whole.replace("network\": \"", "network\": \"a")]
        {
            secret_file::save(&membership, &damaged).expect("written");
            let error = format!("{:#}", folder.load().expect_err("refused"));
            assert!(error.contains("join with a new invite"), "{error}");
        }
        fs::remove_file(&key).expect("removed");
        assert!(folder.load().expect_err("refused").to_string().contains("is missing"));
    }

    #[test]
    fn who_was_shut_out_is_known_at_the_next_start() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = NetworkFolder::of(data.path());
        let peers = vec![folder.key().expect("made").public().peer_id()];
        let list = DenyList::new(7, peers.clone()).expect("short");
        assert_eq!(folder.denied().expect("none"), DenyList::default());
        folder.save_denied(&list).expect("written");
        assert_eq!(folder.denied().expect("read"), DenyList::new(0, peers).expect("short"));
    }
}
