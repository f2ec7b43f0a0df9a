//! `join`: enters a closed network by an invite, and runs a peer in it. Without an invite it lists the registries that announce
//! themselves nearby, which prove nothing by that.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use super::{
    args::{Global, JoinArgs},
    daemon::{EVERYWHERE, Face, Signals, daemon_runtime, run_peer},
    exit::{Ended, Exit, Failure, failed},
    json,
    output::Output,
    read_settings, refused, start_logs, to_its_end,
};
use crate::{
    config::{PeerSettings, table, value},
    net::{
        discovery::{self, Found},
        secret_file,
    },
    peer::{control, enroll},
    protocol::{
        action::{ActionError, ErrorKind},
        trust::invite::Invite,
    },
    store::membership::Enrolled,
    telemetry::Sink,
};

/// Longest text that is read for an invite.
const MAX_STDIN_BYTES: u64 = 4096;
/// How long the local network is looked at: a responder may take 120 ms before it answers (RFC 6762, section 6), and a
/// question may be lost.
const LOOK: Duration = Duration::from_secs(3);
/// Addresses that an invite is tried at beside its own.
const MAX_TRIED: usize = 8;

pub(super) fn join(global: &Global, args: &JoinArgs, out: &mut Output) -> Ended {
    let Some(invite) = &args.invite else { return list(global, args, out) };
    let invite = read(invite)?;
    let mut raw = read_settings(global, args.peer.settings())?;
    if !value::is_loopback(&invite.registry) {
        raw.set_default(table::LISTEN, EVERYWHERE);
    }
    let mut settings = PeerSettings::from_raw(&raw).map_err(refused)?;
    if settings.insecure_loopback {
        let message = "a network without keys, on this machine alone, has no invites";
        let hint = "run `floodplain peer`, or leave out FLOODPLAIN_INSECURE_LOOPBACK";
        return Err(ActionError::new(ErrorKind::Usage, message).hint(hint).into());
    }
    let looks_around = raw.is_discovery_wanted().map_err(refused)?;
    // This invite is meant, whatever the settings name beside it.
    (settings.invite, settings.invite_file) = (None, None);
    let face = Face::of(global, &settings, args.peer.headless);
    start_logs(global, &raw, if args.enroll_only { "warn" } else { "info" }, face.sink())?;
    let runtime = daemon_runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let enrolled = tokio::select! {
            enrolled = enroll(&settings, &invite, args.leave_old, looks_around) => enrolled?,
            () = signals.any() => return Err(ActionError::new(ErrorKind::Cancelled, "interrupted").into()),
        };
        tell(out, &enrolled)?;
        if args.enroll_only {
            return Ok(Exit::Done);
        }
        run_peer(settings, &face, out, &mut signals).await
    });
    runtime.shutdown_background();
    ended
}

/// The invite as it was typed, or from stdin.
fn read(text: &str) -> Result<Invite, Failure> {
    let mut piped = String::new();
    let text = if text == "-" {
        if io::stdin().is_terminal() {
            return Err(ActionError::new(ErrorKind::Usage, "there is no invite on stdin")
                .hint("pipe it in: floodplain join - < FILE")
                .into());
        }
        let read = io::stdin().lock().take(MAX_STDIN_BYTES).read_to_string(&mut piped);
        read.map_err(|error| Failure::usage(format!("no invite can be read from stdin: {error}")))?;
        &piped
    } else {
        text
    };
    text.parse().map_err(|error| {
        ActionError::new(ErrorKind::Usage, format!("{error}"))
            .hint("`floodplain invite` prints one, where the registry runs")
            .into()
    })
}

async fn enroll(
    settings: &PeerSettings,
    invite: &Invite,
    leaves_old: bool,
    looks_around: bool,
) -> Result<Enrolled, Failure> {
    secret_file::make_folder(&settings.data).map_err(|error| failed(&error))?;
    // Held meanwhile, for a peer that runs with this folder must not find itself in another network.
    let lock = control::ControlSocket::bind(&control::socket_path(&settings.data));
    let _lock = lock.map_err(|error| failed(&error.into()))?;
    let missed = match enroll::enroll(settings, invite, leaves_old).await {
        Ok(enrolled) => return Ok(enrolled),
        Err(error) if error.kind == ErrorKind::Unreachable && looks_around => error,
        Err(error) => return Err(error.into()),
    };
    for invite in elsewhere(invite).await {
        tracing::info!(
            registry = invite.registry,
            "trying where the local network says that this registry is"
        );
        if let Ok(enrolled) = enroll::enroll(settings, &invite, leaves_old).await {
            return Ok(enrolled);
        }
    }
    Err(missed.into())
}

/// The same invite at the addresses where a registry of its network announces itself. Whoever answers there still has to
/// prove the key that the invite names, before the token is sent.
async fn elsewhere(invite: &Invite) -> Vec<Invite> {
    let found = discovery::find(LOOK).await.unwrap_or_else(|error| {
        tracing::debug!(error = format!("{error:#}"), "the local network was not looked at");
        Vec::new()
    });
    let same = found.into_iter().filter(|found| found.authority == invite.authority);
    let addresses = same.flat_map(|found| found.addresses).map(|address| address.to_string());
    let others = addresses.filter(|address| *address != invite.registry).take(MAX_TRIED);
    others.map(|registry| Invite { registry, ..invite.clone() }).collect()
}

/// Lists the registries nearby.
fn list(global: &Global, args: &JoinArgs, out: &mut Output) -> Ended {
    let needs = "`join` needs an invite; `floodplain invite` prints one where the registry runs";
    if args.enroll_only || args.leave_old || args.peer.headless {
        return Err(Failure::usage(needs));
    }
    let raw = read_settings(global, Vec::new())?;
    start_logs(global, &raw, "warn", Sink::Stderr)?;
    if !raw.is_discovery_wanted().map_err(refused)? {
        let error = ActionError::new(ErrorKind::Usage, needs);
        return Err(error.hint("FLOODPLAIN_DISCOVERY=false: the local network is not looked at").into());
    }
    let look = async {
        let found = discovery::find(LOOK).await.map_err(|error| failed(&error))?;
        print(out, &found)?;
        if found.is_empty() {
            out.note(format_args!("no registry announces itself on the local network; {needs}"));
            return Ok(Exit::NotFound);
        }
        out.note(format_args!("none of them proves anything yet; {needs}"));
        Ok(Exit::Done)
    };
    to_its_end(look, global.timeout)
}

fn print(out: &mut Output, found: &[Found]) -> Result<(), Failure> {
    if out.style.json {
        return found.iter().try_for_each(|found| out.json(&json::Nearby::from(found)));
    }
    if found.is_empty() {
        return Ok(());
    }
    let rows = found.iter().map(|found| {
        let addresses: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
        [found.name.clone(), addresses.join(", "), found.authority.to_string(), found.version.clone()]
    });
    out.table(["name", "address", "fingerprint", "version"], rows)
}

fn tell(out: &mut Output, enrolled: &Enrolled) -> Result<(), Failure> {
    let network = enrolled.credentials.network;
    if out.style.json {
        return out.json(&json::Enrolled {
            network: network.to_string(),
            peer_id: enrolled.key.public().peer_id().to_string(),
            name: enrolled.name.to_string(),
            registry: enrolled.registry.clone(),
        });
    }
    out.note(format_args!("{} belongs to the network {network}", enrolled.name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_invite_is_refused_and_not_repeated() {
        let Err(Failure::Action(error)) = read("fp1:lab:7000/secret/secret") else { panic!("refused") };
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}
