//! The full-screen view on a real pseudo-terminal, against a peer in memory behind a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;
#[path = "support/pty.rs"]
mod pty;

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use actions::Double;
use floodplain::{
    console::top,
    peer::control::{self, ControlSocket},
    shutdown::Shutdown,
};
use pty::Pty;

/// Switches to the other screen, and back.
const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";
const CHILD: &str = "FLOODPLAIN_TEST_TOP";

/// Not a test by itself: the view in the child process, of a peer that makes it panic.
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let double = Double::new();
    double.panic_at_the_second_status();
    let _ = runtime.block_on(top::run(double, false, Shutdown::new()));
}

fn command(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.env("TERM", "xterm").env("HOME", folder).current_dir(folder);
    command.arg("--data").arg(folder).args(arguments);
    command
}

/// Waits until a word is seen. Only what changes is written, unless the window has another size, and blanks never are.
fn shows(terminal: &Pty, sizes: &[(u16, u16)], text: &str) {
    let began = Instant::now();
    for (columns, rows) in sizes.iter().cycle() {
        let mark = terminal.mark();
        terminal.resize(*columns, *rows);
        let drawn = Instant::now();
        while drawn.elapsed() < Duration::from_millis(300) {
            if terminal.has_since(mark, text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(began.elapsed() < Duration::from_secs(60), "never {text:?}: {:?}", terminal.written());
    }
}

async fn on_a_terminal(
    (columns, rows): (u16, u16),
    look: impl FnOnce(&mut Pty, &Double) + Send + 'static,
) -> Arc<Double> {
    let folder = tempfile::tempdir().unwrap();
    let (double, shutdown) = (Double::new(), Shutdown::new());
    let socket = ControlSocket::bind(&control::socket_path(folder.path())).unwrap();
    shutdown.spawn_draining("control", control::serve(double.clone(), socket, shutdown.clone()));
    let (command, seen) = (command(folder.path(), &["top"]), double.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let mut terminal = Pty::start(&command, columns, rows);
        terminal.expect(ENTERED);
        look(&mut terminal, &seen);
        terminal.expect(&format!("{LEFT}{CURSOR_SHOWN}"));
        assert_eq!(terminal.modes(), terminal.modes_before, "the terminal's modes are as they were");
        let written = terminal.written();
        assert!(written.rfind(ENTERED) < written.rfind(LEFT), "{written:?}");
        assert!(!written.contains("\u{1b}[2Jl"), "text of others cleared the screen: {written:?}");
    });
    looked.await.unwrap();
    shutdown.stop();
    double
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_the_peer_and_q_gives_the_terminal_back() {
    on_a_terminal((80, 24), |terminal, _| {
        for shown in ["Transfers:", "Peers:", "Queries:", "ana", "report.pdf", "annual", "own\\u{1b}[2J"] {
            terminal.expect(shown);
        }
        terminal.type_in("q");
        assert_eq!(terminal.ended(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn escape_and_ctrl_c_end_it_too() {
    for (key, code) in [("\u{1b}", 0), ("\u{3}", 130)] {
        on_a_terminal((80, 24), move |terminal, _| {
            terminal.expect("Transfers:");
            terminal.type_in(key);
            assert_eq!(terminal.ended(), code);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_follows_the_size_of_the_window() {
    on_a_terminal((100, 30), |terminal, _| {
        terminal.expect("Transfers:");
        let mark = terminal.mark();
        terminal.resize(50, 12);
        // A blank that was blank before is not written again.
        terminal.expect_since(mark, "50x12;");
        let mark = terminal.mark();
        terminal.resize(80, 24);
        terminal.expect_since(mark, "Transfers:");
        terminal.type_in("q");
        assert_eq!(terminal.ended(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_act_on_the_chosen_transfer() {
    let double = on_a_terminal((80, 24), |terminal, double| {
        terminal.expect("report.pdf");
        let asked = |what: &str| double.calls().iter().any(|call| call == what);
        terminal.type_in("p");
        terminal.expect("paused");
        assert!(asked("control_transfers(One(2), Pause)"), "{:?}", double.calls());
        terminal.type_in("c");
        terminal.expect("y/n");
        terminal.type_in("y");
        terminal.expect("cancelled");
        assert!(asked("control_transfers(One(2), Cancel)"), "{:?}", double.calls());
        terminal.type_in("q");
        assert_eq!(terminal.ended(), 0);
    })
    .await;
    // What it listened to ended with it.
    double.cancelled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_peers_scroll_and_follow_the_window() {
    on_a_terminal((80, 24), |terminal, double| {
        double.is_crowded();
        shows(terminal, &[(81, 24), (80, 24)], "peer-000");
        terminal.type_in("\t");
        // Tab, End, Page Up, Home as an xterm sends them.
        for (key, shown) in [
            ("\u{1b}[F", "peer-199"),
            ("\u{1b}[5~", "peer-189"),
            ("\u{1b}[6~", "peer-199"),
            ("\u{1b}[H", "peer-000"),
        ] {
            terminal.type_in(key);
            shows(terminal, &[(81, 24), (80, 24)], shown);
        }
        terminal.type_in("\u{1b}[F");
        for size in [(60, 16), (120, 40)] {
            shows(terminal, &[size, (80, 24)], "peer-199");
        }
        terminal.type_in("p");
        shows(terminal, &[(81, 24), (80, 24)], "leads");
        assert!(
            !double.calls().iter().any(|call| call.starts_with("control_transfers")),
            "{:?}",
            double.calls()
        );
        terminal.type_in("q");
        assert_eq!(terminal.ended(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_gives_the_terminal_back() {
    on_a_terminal((80, 24), |terminal, _| {
        terminal.expect("Transfers:");
        terminal.terminate();
        assert_eq!(terminal.ended(), 130);
    })
    .await;
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env("TERM", "xterm").env(CHILD, "1");
    command.env("HOME", folder.path()).current_dir(folder.path());
    let mut terminal = Pty::start(&command, 80, 24);
    terminal.expect(ENTERED);
    assert_ne!(terminal.ended(), 0);
    terminal.expect("a status on purpose");
    let written = terminal.written();
    let (left, told) = (written.find(LEFT).unwrap(), written.find("a status on purpose").unwrap());
    assert!(left < told, "it is told where it stays to be read: {written:?}");
    assert_eq!(terminal.modes(), terminal.modes_before);
}

#[test]
fn where_nothing_can_be_drawn_it_says_what_to_ask_instead() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["top"][..], &["top", "--json"], &["top", "--plain"]] {
        let output = command(folder.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("floodplain status --json") && !said.contains('\u{1b}'), "{said}");
    }
}

/// The program on a terminal of which this is the other end; no signal tells it that the terminal is gone.
struct Unannounced {
    child: std::process::Child,
    master: Option<std::os::fd::OwnedFd>,
    slave: std::os::fd::OwnedFd,
    written: Vec<u8>,
}

impl Unannounced {
    fn start(mut command: Command) -> Self {
        let ends = nix::pty::openpty(None, None).unwrap();
        // A program that has the other end of its own terminal keeps it open.
        rustix::io::fcntl_setfd(&ends.master, rustix::io::FdFlags::CLOEXEC).unwrap();
        rustix::io::ioctl_fionbio(&ends.master, true).unwrap();
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&ends.slave, size).unwrap();
        let stdio = || ends.slave.try_clone().unwrap();
        let child = command.stdin(stdio()).stdout(stdio()).stderr(std::process::Stdio::null()).spawn();
        let child = child.unwrap();
        Self { child, master: Some(ends.master), slave: ends.slave, written: Vec::new() }
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = std::time::Instant::now();
        let mut chunk = [0; 4096];
        while !is_so(self) {
            assert!(began.elapsed() < std::time::Duration::from_secs(60), "never: {what}");
            match self.master.as_ref().map(|master| rustix::io::read(master, &mut chunk)) {
                Some(Ok(count @ 1..)) => self.written.extend_from_slice(&chunk[..count]),
                _ => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        }
    }

    fn until_shown(&mut self, text: &str) {
        self.until(text, |this| String::from_utf8_lossy(&this.written).contains(text));
    }

    fn ended(&mut self) -> Option<i32> {
        self.until("it ends", |this| this.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Unannounced {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

async fn on_an_unannounced_terminal(look: impl FnOnce(&mut Unannounced) + Send + 'static) {
    let folder = tempfile::tempdir().unwrap();
    let (double, shutdown) = (Double::new(), Shutdown::new());
    let socket = ControlSocket::bind(&control::socket_path(folder.path())).unwrap();
    shutdown.spawn_draining("control", control::serve(double, socket, shutdown.clone()));
    let command = command(folder.path(), &["top"]);
    let looked = tokio::task::spawn_blocking(move || {
        let mut terminal = Unannounced::start(command);
        terminal.until_shown("Transfers:");
        look(&mut terminal);
    });
    looked.await.unwrap();
    shutdown.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_is_closed_ends_it() {
    on_an_unannounced_terminal(|terminal| {
        terminal.master = None;
        assert_eq!(terminal.ended(), Some(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginning_of_a_key_keeps_nobody_from_ending_it() {
    on_an_unannounced_terminal(|terminal| {
        // As Alt-[ does: the rest may come or not.
        rustix::io::write(terminal.master.as_ref().unwrap(), b"\x1b[").unwrap();
        terminal.until("it is read", |this| rustix::io::ioctl_fionread(&this.slave).unwrap() == 0);
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&terminal.child),
            rustix::process::Signal::TERM,
        )
        .unwrap();
        assert_eq!(terminal.ended(), Some(130));
        terminal.until_shown(LEFT);
    })
    .await;
}
