//! The verbs that stay until they are told to stop: registry, peer, console. SIGTERM and Ctrl-C drain and exit 0; a second
//! one ends the drain.

use std::{
    io::{self, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{
    args::{Global, PeerArgs, RegistryArgs},
    exit::{Ended, Exit, Failure, failed},
    json,
    output::Output,
    read_settings, refused, runtime, start_logs, web,
};
use crate::{
    config::{PeerSettings, Raw, RegistrySettings, table, value},
    console::{self, ConsoleOptions, ExitReason},
    net::{
        descriptors,
        discovery::{self, Announcement},
    },
    peer::{self, Handle, Peer, Vitals, control, remote},
    protocol::action::{ActionError, Connection, ErrorKind},
    registry::{self, overview::Overview},
    shutdown::Shutdown,
    store::membership::NetworkFolder,
    telemetry::{Sink, systemd::Manager},
};

/// For running work to end after the stop: `docker stop` kills after 10 s.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(8);
/// As [`DRAIN_GRACE`], for a peer that hands over first what it keeps for the network, for at most 20 s.
const LEAVE_GRACE: Duration = Duration::from_secs(28);
/// For a console's own tasks to end.
const CONSOLE_GRACE: Duration = Duration::from_secs(2);
/// How long a console waits for its peer to have joined; it opens without after that, and says so.
const READY_DEADLINE: Duration = Duration::from_secs(2);
/// Threads of a daemon: each costs memory, and two keep a transfer from delaying a search.
const WORKERS: usize = 2;

/// Where the peer listens when the registry is on another machine and nothing else is said.
pub(super) const EVERYWHERE: &str = "0.0.0.0:7001";

/// Signals that stop; installed before anything starts, so that none is lost. Those that whoever started this has it ignore, as
/// `nohup` does, stay ignored: `None`.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
}

impl Signals {
    pub(super) fn install() -> Result<Self, Failure> {
        let install = |kind| {
            signal(kind).map_err(|error| Failure::failed(format!("could not listen for signals: {error}")))
        };
        let unless_ignored = |kind| if is_ignored(kind) { Ok(None) } else { install(kind).map(Some) };
        Ok(Self {
            interrupt: unless_ignored(SignalKind::interrupt())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            terminate: install(SignalKind::terminate())?,
        })
    }

    /// Any of them.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            () = come(&mut self.hangup) => {}
            () = come(&mut self.interrupt) => {}
        }
    }

    /// All but Ctrl-C, which belongs to the console where there is one.
    async fn but_interrupt(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            () = come(&mut self.hangup) => {}
        }
    }
}

/// Never, for one that is ignored.
async fn come(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}

/// The process ignores that signal. Asked before anything listens for it; no where the system does not tell.
fn is_ignored(kind: SignalKind) -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| is_ignored_in(&status, kind))
}

/// As the kernel writes it: a bit for each signal, the lowest for the first, in hex.
fn is_ignored_in(status: &str, kind: SignalKind) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// Runs a registry.
pub(super) fn registry(global: &Global, args: &RegistryArgs, out: &mut Output) -> Ended {
    let raw = read_settings(global, args.settings())?;
    let settings = RegistrySettings::from_raw(&raw).map_err(refused)?;
    let (http, data) = (settings.http.clone(), settings.data.clone());
    start_logs(global, &raw, "info", Sink::Stderr)?;
    let runtime = daemon_runtime()?;
    let ended = runtime.block_on(async {
        let (shutdown, mut signals) = (Shutdown::new(), Signals::install()?);
        let running = registry::start(settings, shutdown.clone()).await.map_err(|error| failed(&error))?;
        if let Err(failure) = web::open_registry(&http, &data, running.overview(), out, &shutdown).await {
            drain(shutdown.drain(DRAIN_GRACE), &mut signals).await;
            return Err(failure);
        }
        watch_registry(&running.overview(), &shutdown);
        announce(&raw, &running, &shutdown);
        listening(out, running.address());
        let served = tokio::select! {
            () = signals.any() => Ok(()),
            ended = running.ended() => ended,
        };
        let drained = drain(shutdown.drain(DRAIN_GRACE), &mut signals).await;
        served.map_err(|error| failed(&error)).and(Ok(drained))
    });
    runtime.shutdown_background();
    ended
}

/// Tells the local network of a registry that others can enter. Whatever fails, the registry runs.
pub(super) fn announce(raw: &Raw, running: &registry::Running, shutdown: &Shutdown) {
    let (listening, is_wanted) = (running.address(), raw.is_discovery_wanted().unwrap_or_default());
    let (Some(network), Some(authority)) = (running.network(), running.authority()) else { return };
    if !is_wanted || listening.ip().to_canonical().is_loopback() {
        return;
    }
    let announcement = Announcement { network, authority, listening };
    if let Err(error) = discovery::announce(&announcement, shutdown) {
        tracing::info!(error = format!("{error:#}"), "not announced on the local network");
    }
}

/// Runs a peer, with a console where there is a terminal.
pub(super) fn peer(global: &Global, args: &PeerArgs, out: &mut Output) -> Ended {
    let mut raw = read_settings(global, args.settings())?;
    default_listen(&mut raw);
    let settings = PeerSettings::from_raw(&raw).map_err(refused)?;
    let face = Face::of(global, &settings, args.headless);
    start_logs(global, &raw, "info", face.sink())?;
    let runtime = daemon_runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        run_peer(settings, &face, out, &mut signals).await
    });
    runtime.shutdown_background();
    ended
}

/// How a peer shows itself to whoever started it.
#[derive(Debug)]
pub(super) struct Face {
    /// There is a terminal, and a console is wanted.
    pub(super) has_console: bool,
    log: PathBuf,
    history: PathBuf,
    is_plain: bool,
}

impl Face {
    pub(super) fn of(global: &Global, settings: &PeerSettings, is_headless: bool) -> Self {
        Self {
            has_console: !is_headless && io::stdin().is_terminal() && io::stdout().is_terminal(),
            log: settings.data.join("peer.log"),
            history: settings.data.join("history"),
            is_plain: global.plain,
        }
    }

    /// The console has the terminal to itself.
    pub(super) fn sink(&self) -> Sink<'_> {
        if self.has_console { Sink::File(&self.log) } else { Sink::Stderr }
    }
}

/// Runs a peer until it is told to stop, or its console ends.
pub(super) async fn run_peer(
    settings: PeerSettings,
    face: &Face,
    out: &mut Output,
    signals: &mut Signals,
) -> Ended {
    let shutdown = Shutdown::new();
    let (http, data) = (settings.http.clone(), settings.data.clone());
    let mut peer = tokio::select! {
        started = peer::start(settings, shutdown.clone()) => started.map_err(|error| failed(&error))?,
        () = signals.any() => return Ok(drain(shutdown.drain(DRAIN_GRACE), signals).await),
    };
    watch_peer(&peer.vitals(), &shutdown);
    let gateway = match web::open(&http, &data, &peer, out, &shutdown).await {
        Ok(gateway) => gateway,
        Err(failure) => {
            drain(shutdown.drain(DRAIN_GRACE), signals).await;
            return Err(failure);
        }
    };
    let ended = if face.has_console {
        if let Some(gateway) = &gateway {
            out.note(format_args!("web page: {}", web::link_of(gateway)?));
        }
        out.note(format_args!("listening on {}; logs go to {}", peer.address(), face.log.display()));
        let options = ConsoleOptions { history: Some(face.history.clone()), is_plain: face.is_plain };
        match tokio::time::timeout(READY_DEADLINE, peer.until_ready()).await {
            Ok(Err(refused)) => Err(refused.into()),
            Ok(Ok(())) => run_console(peer.handle(), options, &shutdown, signals).await,
            Err(_) => {
                out.note("not joined yet; the peer keeps trying");
                run_console(peer.handle(), options, &shutdown, signals).await
            }
        }
    } else {
        listening(out, peer.address());
        tokio::select! {
            () = signals.any() => Ok(Exit::Done),
            refused = refused_by_registry(&mut peer) => Err(refused.into()),
            () = shutdown.stopping() => Err(Failure::failed("the peer stopped by itself; the log says why")),
        }
    };
    match drain_within(LEAVE_GRACE, peer.leave(), signals).await {
        Exit::Done => ended,
        late => ended.and(Ok(late)),
    }
}

/// Opens a console on the running peer.
pub(super) fn console(global: &Global) -> Ended {
    let raw = read_settings(global, Vec::new())?;
    let data = raw.data().map_err(refused)?;
    let log = data.join("console.log");
    let socket = control::socket_path(&data);
    let runtime = runtime(Builder::new_current_thread())?;
    let ended = runtime.block_on(async {
        let (shutdown, mut signals) = (Shutdown::new(), Signals::install()?);
        // First, so that no folder is made where no peer is.
        let peer = remote::connect(&socket).await?;
        start_logs(global, &raw, "warn", Sink::File(&log))?;
        let options = ConsoleOptions { history: Some(data.join("history")), is_plain: global.plain };
        let ended = run_console(peer, options, &shutdown, &mut signals).await;
        shutdown.drain(CONSOLE_GRACE).await;
        ended
    });
    runtime.shutdown_background();
    ended
}

/// Runs a console to its end; a signal to stop ends it in order.
pub(super) async fn run_console(
    peer: Handle,
    options: ConsoleOptions,
    shutdown: &Shutdown,
    signals: &mut Signals,
) -> Ended {
    let stop = shutdown.child();
    let console = console::run(peer, options, stop.clone());
    tokio::pin!(console);
    let reason = tokio::select! {
        reason = &mut console => reason,
        () = signals.but_interrupt() => {
            stop.stop();
            console.await
        }
    };
    match reason.map_err(|error| failed(&error))? {
        ExitReason::Interrupted => Ok(Exit::Interrupted),
        ExitReason::Quit | ExitReason::EndOfInput | ExitReason::OutputClosed | ExitReason::Stopped => {
            Ok(Exit::Done)
        }
    }
}

/// Completes when the registry says no for good.
async fn refused_by_registry(peer: &mut Peer) -> ActionError {
    match peer.until_ready().await {
        Err(refused) if refused.kind != ErrorKind::Cancelled => refused,
        // Joined; from here on the peer reconnects by itself. Or it is stopping, which others tell.
        _ => std::future::pending().await,
    }
}

/// Waits for what runs to end, within bounds of time and patience.
pub(super) async fn drain(draining: impl Future<Output = bool>, signals: &mut Signals) -> Exit {
    drain_within(DRAIN_GRACE, draining, signals).await
}

async fn drain_within(grace: Duration, draining: impl Future<Output = bool>, signals: &mut Signals) -> Exit {
    tokio::select! {
        is_drained = tokio::time::timeout(grace, draining) => {
            if is_drained == Ok(true) {
                tracing::info!("stopped");
                return Exit::Done;
            }
            tracing::warn!("stopped with work still running");
            Exit::TimedOut
        }
        () = signals.any() => Exit::Interrupted,
    }
}

/// Tells the service manager of a registry, which is ready as soon as it serves.
fn watch_registry(overview: &Overview, shutdown: &Shutdown) {
    let overview = overview.clone();
    let status = move || {
        let now = overview.standing();
        format!("serving {} peers in {} zones", now.peers, now.zones)
    };
    Manager::of_process().start(shutdown, std::future::ready(true), status);
}

/// Tells the service manager of a peer, which is ready once it has joined.
fn watch_peer(vitals: &Vitals, shutdown: &Shutdown) {
    let (joining, vitals) = (vitals.clone(), vitals.clone());
    let joined = async move {
        joining.until_joined().await;
        true
    };
    let status = move || {
        let now = vitals.now();
        let (peers, files) = (now.zone_peers, now.index.files);
        match now.connection {
            Connection::Connected => format!("in a zone of {peers} peers, sharing {files} files"),
            Connection::Reconnecting => "joining: the registry does not answer yet".to_owned(),
            Connection::Disconnected => "left the network".to_owned(),
            Connection::Revoked => "shut out of the network".to_owned(),
        }
    };
    Manager::of_process().start(shutdown, joined, status);
}

/// A member of a network whose registry is on another machine listens where others reach it, unless it is told otherwise: as
/// when it joined.
pub(super) fn default_listen(raw: &mut Raw) {
    let is_plaintext = raw.is_plaintext().unwrap_or(true);
    let Some(data) = raw.data().ok().filter(|_| !is_plaintext) else { return };
    // What is damaged is told by whoever needs it.
    let enrolled = NetworkFolder::of(&data).load().ok().flatten();
    if enrolled.is_some_and(|enrolled| !value::is_loopback(&enrolled.registry)) {
        raw.set_default(table::LISTEN, EVERYWHERE);
    }
}

/// The one line that scripts wait for. A closed stdout stops no daemon.
fn listening(out: &mut Output, address: SocketAddr) {
    let _ = if out.style.json {
        out.json(&json::Listening { address: address.to_string() })
    } else {
        out.line(format_args!("listening on {address}"))
    };
}

pub(super) fn daemon_runtime() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(WORKERS);
    descriptors::raise();
    runtime(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_what_the_kernel_says() {
        let status = "Name:\tfloodplain\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(is_ignored_in(status, SignalKind::hangup()));
        assert!(!is_ignored_in(status, SignalKind::interrupt()));
        assert!(!is_ignored_in("SigIgn:\tnonsense\n", SignalKind::hangup()));
        assert!(!is_ignored_in("", SignalKind::hangup()));
    }
}
