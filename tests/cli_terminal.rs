//! The progress line on a real pseudo-terminal, against a peer in memory behind a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;

use std::process::Command;

use actions::Double;
use floodplain::{
    peer::control::{self, ControlSocket},
    shutdown::Shutdown,
};
use rexpect::session::{Options, PtySession, spawn_with_options};

async fn on_a_terminal(
    arguments: &'static [&'static str],
    look: impl FnOnce(&mut PtySession) + Send + 'static,
) {
    let folder = tempfile::tempdir().unwrap();
    let (double, shutdown) = (Double::new(), Shutdown::new());
    let socket = ControlSocket::bind(&control::socket_path(folder.path())).unwrap();
    shutdown.spawn_draining("control", control::serve(double.clone(), socket, shutdown.clone()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.env_clear().env("TERM", "xterm").env("HOME", folder.path()).current_dir(folder.path());
    command.arg("--data").arg(folder.path()).args(arguments);
    let looked = tokio::task::spawn_blocking(move || {
        let mut terminal = spawn_with_options(command, Options::new().timeout_ms(Some(60_000))).unwrap();
        look(&mut terminal);
    });
    looked.await.unwrap();
    // Before the peer ends, so that what it saw was the command's doing.
    if arguments.contains(&"--detach") {
        assert_eq!(double.calls().len(), 1);
    } else {
        double.cancelled().await;
    }
    shutdown.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_line_shows_place_speed_and_what_is_left_and_ctrl_c_cancels() {
    on_a_terminal(&["get", "4"], |terminal| {
        terminal.exp_string("report.pdf (waiting, place 3)").unwrap();
        terminal.exp_string("1.00 KiB/2.00 KiB  512 B/s, 2s left").unwrap();
        terminal.send_control('c').unwrap();
        terminal.exp_string("interrupted").unwrap();
        terminal.exp_eof().unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_download_gives_the_prompt_back_at_once() {
    on_a_terminal(&["get", "4", "--detach"], |terminal| {
        terminal.exp_regex("(?m)^7\r?$").unwrap();
        terminal.exp_string("report.pdf is queued").unwrap();
        terminal.exp_eof().unwrap();
    })
    .await;
}
