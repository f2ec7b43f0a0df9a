//! Faults of the registry that this machine runs, or ran: alone in its data folder, or that of `up` in a folder beneath.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    clock, files,
    finding::{
        AUTHORITY_CHANGE_OPEN, BAD_AUTHORITY, CERTIFICATES_SHORT, Found, NO_MEMBERS, OWN_CLOCK_OFF,
        OWN_REGISTRY_NOT_RUNNING, OWN_REGISTRY_PORT_TAKEN,
    },
    port::{cannot_listen, gateway},
};
use crate::{
    cli::{
        admin::{Admin, UP_FOLDER},
        up,
    },
    config::{Raw, RegistrySettings, SettingsError, table},
    protocol::action::{ActionError, ErrorKind},
    registry,
    wire::admin::RotationStep,
};

/// What a registry leaves in its folder.
const TRACES: [&str; 3] = ["authority", "registry.snapshot", "registry.sock"];
/// What a peer leaves in its own.
const PEER_TRACES: [&str; 2] = ["network", "control.sock"];
/// Peers renew after two thirds of a certificate: with less than this, a registry that is away over a break cuts all links.
const LEAST_LIFETIME: Duration = Duration::from_secs(3600);

/// A registry of this machine.
#[derive(Debug)]
pub(super) struct Own {
    folder: PathBuf,
    /// No peer belongs to that data folder.
    pub(super) is_alone: bool,
}

impl Own {
    /// The registry of a data folder, by what it left there.
    pub(super) fn of(data: &Path, raw: &Raw) -> Option<Self> {
        let has = |folder: &Path, names: &[&str]| names.iter().any(|name| folder.join(name).exists());
        let folder =
            [data.to_path_buf(), data.join(UP_FOLDER)].into_iter().find(|folder| has(folder, &TRACES))?;
        let wants_peer = [table::SHARES, table::INVITE, table::NAME].into_iter().any(|name| raw.is_set(name));
        let is_alone = folder == data && !wants_peer && !has(data, &PEER_TRACES);
        Some(Self { folder, is_alone })
    }

    /// Its settings: those of `up` differ by where it listens when nothing is said.
    ///
    /// # Errors
    /// The first that will not do.
    pub(super) fn settings(&self, data: &Path, raw: &mut Raw) -> Result<RegistrySettings, SettingsError> {
        if self.folder != data {
            raw.set_default(table::REGISTRY_LISTEN, up::REGISTRY_LISTEN);
        }
        RegistrySettings::from_raw(raw)
    }
}

/// Looks at all of it.
pub(super) async fn look(own: &Own, settings: &RegistrySettings) -> Found {
    let mut found = Found::default();
    found.findings.extend(files::registry_folder(&own.folder));
    if let Err(error) = registry::check_authority(&own.folder) {
        let why = "the registry does not start without it: nobody could be let in by another one";
        let todo =
            "restore it from a backup; without one, remove it, start the registry and invite every peer anew";
        found.add(BAD_AUTHORITY, format!("{error:#}"), why, todo);
    }
    clock_of(&own.folder, &mut found);
    if !settings.insecure_loopback && settings.certificate_lifetime < LEAST_LIFETIME {
        let lifetime = humantime::format_duration(settings.certificate_lifetime);
        let what = format!("certificates of peers are good for {lifetime} only");
        let why = "peers that cannot reach the registry for so long cannot reach each other either";
        let todo = format!("leave {} out, or set it to 1h or more", table::CERTIFICATE_LIFETIME);
        found.add(CERTIFICATES_SHORT, what, why, &todo);
    }
    match Admin::find_in(&own.folder).await {
        Ok(admin) => members(admin, &mut found).await,
        Err(error) => not_running(own, settings, &error, &mut found),
    }
    found
}

fn not_running(own: &Own, settings: &RegistrySettings, error: &ActionError, found: &mut Found) {
    let start = if own.folder.ends_with(UP_FOLDER) { "floodplain up" } else { "floodplain registry" };
    if error.kind != ErrorKind::Unreachable {
        let what =
            format!("the registry of {} answers with a fault: {}", own.folder.display(), error.message);
        let todo = "restart it, with the same version as this program";
        return found.add(OWN_REGISTRY_NOT_RUNNING, what, "nobody can be told what it knows", todo);
    }
    let what = format!("the registry of {} does not run", own.folder.display());
    let why = "no peer can join, and peers that are there cannot renew their certificates";
    found.add(OWN_REGISTRY_NOT_RUNNING, what, why, &format!("start it with `{start}`"));
    if let Some((problem, todo)) = cannot_listen(settings.listen, table::REGISTRY_LISTEN) {
        let what = format!("the registry cannot listen on {}: {problem}", settings.listen);
        found.add(OWN_REGISTRY_PORT_TAKEN, what, "it does not start without its port", &todo);
    }
    gateway(&settings.http, table::REGISTRY_HTTP_LISTEN, found);
}

/// What was written later than now says that the clock was ahead then, or is behind now.
fn clock_of(folder: &Path, found: &mut Found) {
    let written = TRACES.iter().filter_map(|name| fs::metadata(folder.join(name)).ok()?.modified().ok());
    let Some(newest) = written.max() else { return };
    let Ok(ahead) = newest.duration_since(SystemTime::now()) else { return };
    if ahead > clock::TOLERANCE {
        let ahead = humantime::format_duration(Duration::from_secs(ahead.as_secs()));
        let what = format!("what the registry wrote into {} is from {ahead} ahead of now", folder.display());
        let why = "the clock of this machine was ahead when it was written, or is behind now; certificates go by it";
        let todo = "set the clock; a time service keeps it right (`timedatectl set-ntp true`)";
        found.add(OWN_CLOCK_OFF, what, why, todo);
    }
}

/// Who was let in, and by which authority.
async fn members(mut admin: Admin, found: &mut Found) {
    let members = match admin.members().await {
        Ok(members) => members,
        // A network without keys has none.
        Err(error) if error.kind == ErrorKind::Refused => return,
        Err(error) => {
            return found.notes.push(format!("the members could not be asked for: {}", error.message));
        }
    };
    if members.iter().all(|member| member.is_revoked) {
        let what = "nobody has been let into the network of this registry".into();
        let why = "a closed network lets in only whoever was invited";
        found.add(
            NO_MEMBERS,
            what,
            why,
            "`floodplain invite`, and `floodplain join INVITE` on the other machine",
        );
    }
    let Ok(change) = admin.rotation(RotationStep::Tell).await else { return };
    if change.authorities.len() > 1 {
        let what = format!(
            "the authority of the network is being changed, and {} members hold certificates of the old one",
            change.members_on_older
        );
        let why = "until that is finished, whoever has the old key can still let peers in";
        let todo =
            "`floodplain authority finish` once the members have renewed; `floodplain members` lists them";
        found.add(AUTHORITY_CHANGE_OPEN, what, why, todo);
    }
}
