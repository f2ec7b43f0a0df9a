//! `top`: the full-screen view of the running peer, where there is a screen.

use tokio::runtime::Builder;

use super::{
    args::{ColorChoice, Global},
    daemon::Signals,
    exit::{Ended, Exit, Failure, failed},
    output::Output,
    read_settings, refused, runtime, start_logs,
};
use crate::{
    console::{ExitReason, top},
    peer::{control, remote},
    protocol::action::{ActionError, ErrorKind},
    shutdown::Shutdown,
    telemetry::Sink,
};

pub(super) fn top(global: &Global, out: &mut Output) -> Ended {
    if out.style.json || global.plain || !top::can_draw() {
        let message = "`top` draws on a whole terminal, and this is none";
        let hint = "for a program or a pipe: `floodplain status --json`, `floodplain transfers --json`";
        return Err(ActionError::new(ErrorKind::Usage, message).hint(hint).into());
    }
    let raw = read_settings(global, Vec::new())?;
    let data = raw.data().map_err(refused)?;
    let (log, socket) = (data.join("console.log"), control::socket_path(&data));
    let has_color = global.color != ColorChoice::Never
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let runtime = runtime(Builder::new_current_thread())?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::install()?;
        // First, so that no folder is made where no peer is.
        let peer = remote::connect(&socket).await?;
        start_logs(global, &raw, "warn", Sink::File(&log))?;
        // A signal drops the view, which gives the terminal back.
        tokio::select! {
            reason = top::run(peer, has_color, Shutdown::new()) => match reason.map_err(|error| failed(&error))? {
                ExitReason::Interrupted => Ok(Exit::Interrupted),
                _ => Ok(Exit::Done),
            },
            () = signals.any() => Err(Failure::from(ActionError::new(ErrorKind::Cancelled, "interrupted"))),
        }
    });
    runtime.shutdown_background();
    ended
}
