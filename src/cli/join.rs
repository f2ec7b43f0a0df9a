//! `join`: enters a closed network by an invite, and runs a peer in it.

use std::io::{self, IsTerminal, Read};

use super::{
    args::{Global, JoinArgs},
    daemon::{Face, Signals, daemon_runtime, failed, run_peer},
    exit::{Ended, Exit, Failure},
    json,
    output::Output,
    read_settings, refused, start_logs,
};
use crate::{
    config::{PeerSettings, table, value},
    net::secret_file,
    peer::{control, enroll},
    protocol::{
        action::{ActionError, ErrorKind},
        trust::invite::Invite,
    },
    store::membership::Enrolled,
};

/// Longest text that is read for an invite.
const MAX_STDIN_BYTES: u64 = 4096;
/// Where the peer listens when the registry is on another machine and nothing else is said.
const EVERYWHERE: &str = "0.0.0.0:7001";

pub(super) fn join(global: &Global, args: &JoinArgs, out: &mut Output) -> Ended {
    let invite = read(&args.invite)?;
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
    // This invite is meant, whatever the settings name beside it.
    (settings.invite, settings.invite_file) = (None, None);
    let face = Face::of(global, &settings, args.peer.headless);
    start_logs(global, &raw, if args.enroll_only { "warn" } else { "info" }, face.sink())?;
    let runtime = daemon_runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        let enrolled = tokio::select! {
            enrolled = enroll(&settings, &invite, args.leave_old) => enrolled?,
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

async fn enroll(settings: &PeerSettings, invite: &Invite, leaves_old: bool) -> Result<Enrolled, Failure> {
    secret_file::make_folder(&settings.data).map_err(|error| failed(&error))?;
    // Held meanwhile, for a peer that runs with this folder must not find itself in another network.
    let lock = control::ControlSocket::bind(&control::socket_path(&settings.data));
    let _lock = lock.map_err(|error| failed(&error.into()))?;
    Ok(enroll::enroll(settings, invite, leaves_old).await?)
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
