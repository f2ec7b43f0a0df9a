//! Faults of folders and files: what cannot be written, what others can read, what is offered.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::finding::{
    DATA_NOT_WRITABLE, DISK_NEARLY_FULL, EXPOSED_SECRET, Finding, INBOX_NOT_WRITABLE, NO_SHARES,
    UNREADABLE_SHARE,
};
use crate::{
    cli::output::size,
    protocol::action::{ShareInfo, ShareKind},
    store::{MIN_FREE_BYTES, free_bytes},
};

/// Less than this is soon too little: four times what is never filled.
const LOW_FREE_BYTES: u64 = 4 * MIN_FREE_BYTES;
/// What the data folder keeps for its owner alone; a folder ends in a slash.
const SECRETS: [&str; 11] = [
    "network/",
    "network/key.pem",
    "network/membership.json",
    "identity",
    "authority",
    "invite",
    "gateway/token",
    "registry/authority",
    "registry-gateway/token",
    "control.sock",
    "registry.sock",
];

/// The data folder and the inbox.
pub(super) fn folders(data: &Path, inbox: &Path) -> Vec<Finding> {
    let unwritable = |id, what: &str, folder: &Path, setting| {
        let problem = writable(folder).err()?;
        let folder = folder.display();
        Some(Finding {
            id,
            what: format!("{what} {folder} cannot be written: {problem}"),
            why: "the peer does not start without it".into(),
            todo: format!("let this user write there, or name another folder with {setting}"),
        })
    };
    let mut findings: Vec<Finding> = [
        unwritable(DATA_NOT_WRITABLE, "the data folder", data, "FLOODPLAIN_DATA"),
        unwritable(INBOX_NOT_WRITABLE, "the inbox", inbox, "FLOODPLAIN_INBOX"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut full = [data, inbox].into_iter().filter_map(nearly_full);
    findings.extend(full.next());
    findings
}

/// Makes and removes a file there; where the folder is still to be made, where it would be.
fn writable(folder: &Path) -> io::Result<()> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => tempfile::tempfile_in(folder).map(drop),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match folder.parent() {
            Some(parent) => writable(parent),
            None => Err(error),
        },
        Err(error) => Err(error),
    }
}

fn nearly_full(folder: &Path) -> Option<Finding> {
    let there = folder.ancestors().find(|folder| folder.is_dir())?;
    let free = free_bytes(there).ok()?;
    (free < LOW_FREE_BYTES).then(|| Finding {
        id: DISK_NEARLY_FULL,
        what: format!("{} are free where {} lies", size(free), folder.display()),
        why: format!("nothing is received that would leave less than {}", size(MIN_FREE_BYTES)),
        todo: "make room, or move the folder by its setting".into(),
    })
}

/// Secrets that others can read.
pub(super) fn secrets(data: &Path) -> Vec<Finding> {
    let exposed = |name: &&str| -> Option<(PathBuf, &'static str)> {
        let path = data.join(name.trim_end_matches('/'));
        let mode = fs::symlink_metadata(&path).ok()?.permissions().mode();
        (mode & 0o077 != 0).then_some((path, if name.ends_with('/') { "700" } else { "600" }))
    };
    let finding = |(path, mode): (PathBuf, &str)| Finding {
        id: EXPOSED_SECRET,
        what: format!("others can read {}", path.display()),
        why: "whoever reads it can pass for this peer or command it; a daemon refuses to use it".into(),
        todo: format!("chmod {mode} {}", path.display()),
    };
    SECRETS.iter().filter_map(exposed).map(finding).collect()
}

/// A folder of the settings, looked at as the peer would.
pub(super) fn share(folder: &Path) -> ShareInfo {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (files, problem) = match fs::read_dir(folder) {
        Ok(mut entries) => (u64::from(entries.next().is_some()), None),
        Err(error) => (0, Some(error.to_string())),
    };
    ShareInfo { name, kind: ShareKind::Folder, folder: folder.into(), files, bytes: 0, problem }
}

/// What is offered, or should be.
pub(super) fn shares(shares: &[ShareInfo]) -> Vec<Finding> {
    let unreadable = |share: &ShareInfo| {
        let problem = share.problem.as_ref()?;
        let folder = share.folder.display();
        Some(Finding {
            id: UNREADABLE_SHARE,
            what: format!("the share {} ({folder}) cannot be read: {problem}", share.name),
            why: "nobody finds what is in it".into(),
            todo: if share.kind.is_removable() {
                format!("make {folder} readable, or `floodplain share rm {}`", share.name)
            } else {
                format!("make {folder} readable")
            },
        })
    };
    let mut findings: Vec<Finding> = shares.iter().filter_map(unreadable).collect();
    if shares.iter().all(|share| share.files == 0) {
        findings.push(Finding {
            id: NO_SHARES,
            what: "there is no file in any share".into(),
            why: "others find nothing here".into(),
            todo: "`floodplain share add FOLDER`, or set FLOODPLAIN_SHARES".into(),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_others_can_read_is_found_at_either_gateway() {
        let data = tempfile::tempdir().expect("a folder");
        for (found, gateway) in ["gateway", "registry-gateway"].into_iter().enumerate() {
            let token = data.path().join(gateway).join("token");
            fs::create_dir(data.path().join(gateway)).expect("made");
            fs::write(&token, "text").expect("written");
            fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("set");
            assert_eq!(secrets(data.path()).len(), found);
            fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).expect("set");
            assert_eq!(secrets(data.path()).len(), found + 1, "{gateway}");
        }
    }
}
