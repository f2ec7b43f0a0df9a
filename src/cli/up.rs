//! `up`: a closed network in one command. Its registry and a peer of it run in this process; the first start makes the keys,
//! and later ones find them.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use super::{
    admin::{UP_FOLDER, lets_in},
    args::{Global, UpArgs},
    daemon::{DRAIN_GRACE, Face, Signals, announce, daemon_runtime, drain, run_peer},
    exit::{Ended, Exit, Failure, failed},
    json::{self, when},
    output::Output,
    read_settings, refused, start_logs, web,
};
use crate::{
    config::{PeerSettings, Raw, RegistrySettings, table},
    protocol::{
        action::{ActionError, ErrorKind},
        trust::invite::Invite,
    },
    registry,
    shutdown::Shutdown,
    wire::admin::InviteAsk,
};

/// Where the registry listens when nothing is said: others are to reach it.
pub(super) const REGISTRY_LISTEN: &str = "0.0.0.0:7000";
/// Where the peer does.
const PEER_LISTEN: &str = "0.0.0.0:7001";
/// How long that of the own peer is good; it is used at once or not at all.
const OWN_LIFETIME: Duration = Duration::from_secs(60);

pub(super) fn up(global: &Global, args: &UpArgs, out: &mut Output) -> Ended {
    let mut raw = read_settings(global, args.settings())?;
    raw.set_default(table::REGISTRY_LISTEN, REGISTRY_LISTEN);
    raw.set_default(table::LISTEN, PEER_LISTEN);
    let mut hub = RegistrySettings::from_raw(&raw).map_err(refused)?;
    let settings = PeerSettings::from_raw(&raw).map_err(refused)?;
    if settings.insecure_loopback {
        let message =
            "`up` makes a closed network, and FLOODPLAIN_INSECURE_LOOPBACK=true asks for one without keys";
        let hint = "leave it out, or run `floodplain registry` and `floodplain peer`";
        return Err(ActionError::new(ErrorKind::Usage, message).hint(hint).into());
    }
    hub.data = settings.data.join(UP_FOLDER);
    let face = Face::of(global, &settings, args.headless);
    start_logs(global, &raw, "info", face.sink())?;
    let runtime = daemon_runtime()?;
    let ended = runtime.block_on(async {
        let (shutdown, mut signals) = (Shutdown::new(), Signals::install()?);
        let ended = run((&raw, hub), settings, args.uses, &face, out, &shutdown, &mut signals).await;
        let drained = drain(shutdown.drain(DRAIN_GRACE), &mut signals).await;
        ended.map(|exit| if exit == Exit::Done { drained } else { exit })
    });
    runtime.shutdown_background();
    ended
}

/// The registry, and then the peer, which leaves before the registry ends.
async fn run(
    (raw, hub): (&Raw, RegistrySettings),
    mut settings: PeerSettings,
    uses: u32,
    face: &Face,
    out: &mut Output,
    shutdown: &Shutdown,
    signals: &mut Signals,
) -> Ended {
    let http = hub.http.clone();
    let running = registry::start(hub, shutdown.clone()).await.map_err(|error| failed(&error))?;
    web::open_registry(&http, &settings.data, running.overview(), out, shutdown).await?;
    announce(raw, &running, shutdown);
    // A member needs none, but is told by it that this is its network.
    let own = InviteAsk { lifetime: OWN_LIFETIME, ..InviteAsk::default() };
    let (own, _) = running.invite(&own).await.map_err(|error| failed(&error))?;
    // As others dial it: the peer tells them the address that faces it.
    settings.registry.clone_from(&own.registry);
    settings.is_registry_default = false;
    (settings.invite, settings.invite_file) = (Some(own), None);
    let ask = InviteAsk { uses, ..InviteAsk::default() };
    let invited = running.invite(&ask).await.map_err(|error| failed(&error))?;
    tell(out, face, running.address(), uses, &invited);
    tokio::select! {
        ended = run_peer(settings, face, out, signals) => ended,
        ended = running.ended() => {
            ended.map_err(|error| failed(&error))?;
            Err(Failure::failed("the registry stopped by itself; the log says why"))
        }
    }
}

/// What others need. A closed stdout stops no daemon.
fn tell(
    out: &mut Output,
    face: &Face,
    address: SocketAddr,
    uses: u32,
    (invite, until): &(Invite, SystemTime),
) {
    let text = invite.to_string();
    if out.style.json {
        let _ = out.json(&json::Registry { address: address.to_string() });
        let _ = out.json(&json::Invite { invite: &text, expires: when(*until) });
        return;
    }
    let lets = lets_in(uses, *until);
    if face.has_console {
        out.note(format_args!(
            "The network is up; its registry listens on {address}. On another machine:\n\n  floodplain join {text}\n\n\
             {lets}; `floodplain invite` prints more.\n"
        ));
    } else {
        let _ = out.line(format_args!("registry on {address}"));
        let _ = out.line(format_args!("invite {text}"));
        out.note(format_args!("{lets}. On another machine: floodplain join INVITE"));
    }
}
