//! Faults of the settings: all of them, not only the first at which a daemon would refuse to start.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use super::finding::{BAD_SETTING, BAD_SETTINGS_FILE, EXPOSED_SECRET, Finding, OLD_SETTING, UNKNOWN_SETTING};
use crate::config::{Raw, SettingsError, Sources, table};

/// What is set, without what is wrong, and what is wrong.
pub(super) fn examine(sources: &Sources) -> (Raw, Vec<Finding>) {
    let (raw, problems) = Raw::read_all(sources);
    let mut findings: Vec<Finding> = problems.iter().map(bad).collect();
    let old = raw.old_keys();
    if !old.is_empty() {
        findings.push(Finding {
            id: OLD_SETTING,
            what: format!("the settings file has keys of an earlier system: {}", old.join(", ")),
            why: "they are understood, but only where no FLOODPLAIN_ setting says otherwise, and nothing more can be said with them"
                .into(),
            todo: "write FLOODPLAIN_REGISTRY, FLOODPLAIN_LISTEN and so on in their place; .env.example has them all".into(),
        });
    }
    findings.extend(exposed(sources));
    (raw, findings)
}

/// A setting that will not do.
pub(super) fn bad(error: &SettingsError) -> Finding {
    let refused = "a daemon does not start with it, so that no fault of a setting goes unseen";
    match error {
        SettingsError::Unknown { nearest, .. } => Finding {
            id: UNKNOWN_SETTING,
            what: error.to_string(),
            why: refused.into(),
            todo: format!("write {nearest}, or remove it"),
        },
        SettingsError::Invalid { name, .. } => Finding {
            id: BAD_SETTING,
            what: error.to_string(),
            why: refused.into(),
            todo: format!("correct or remove {name}; .env.example says what it may be"),
        },
        SettingsError::File { path, .. } => Finding {
            id: BAD_SETTINGS_FILE,
            what: error.to_string(),
            why: "none of the settings in it are known".into(),
            todo: format!("correct {}, or name another file with --env-file", path.display()),
        },
        SettingsError::NoHome => Finding {
            id: BAD_SETTING,
            what: error.to_string(),
            why: "there is no place for keys and index".into(),
            todo: format!("set {}", table::DATA),
        },
    }
}

/// An invite in a file that others can read.
fn exposed(sources: &Sources) -> Option<Finding> {
    let file = sources.env_file.clone().unwrap_or_else(|| PathBuf::from(".env"));
    let path = sources.folder.join(file);
    let mode = path.metadata().ok()?.permissions().mode();
    let alone =
        Sources { env_file: Some(path.clone()), folder: sources.folder.clone(), ..Sources::default() };
    let holds_secret = table::SECRETS.iter().any(|name| Raw::read_all(&alone).0.is_set(name));
    (holds_secret && mode & 0o044 != 0).then(|| Finding {
        id: EXPOSED_SECRET,
        what: format!("{} holds an invite, and others can read it", path.display()),
        why: "whoever reads an invite can enter the network with it".into(),
        todo: format!("chmod 600 {}", path.display()),
    })
}
