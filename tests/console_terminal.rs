//! The console on a real pseudo-terminal: this test binary runs itself as the console.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;
#[path = "support/emulator.rs"]
mod emulator;
#[path = "support/pty.rs"]
mod pty;

use std::{path::Path, process::Command, time::Duration};

use actions::Double;
use emulator::Emulator;
use floodplain::{
    console::{self, ConsoleOptions},
    shutdown::Shutdown,
};
use pty::Pty;
use rexpect::session::{Options, PtySession, spawn_with_options};

const HISTORY: &str = "FLOODPLAIN_TEST_CONSOLE_HISTORY";
const OFFER: &str = "FLOODPLAIN_TEST_CONSOLE_OFFER";
const PROMPT: &str = "floodplain> ";

/// Not a test by itself: the console in the child process. Says how it ended.
#[test]
fn child() {
    let Ok(history) = std::env::var(HISTORY) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let double = Double::new();
    if std::env::var(OFFER).is_ok() {
        double.offer(actions::offer(5));
    }
    println!("pid {}.", std::process::id());
    let options = ConsoleOptions { history: Some(history.into()), is_plain: false };
    let modes = || rustix::termios::tcgetattr(std::io::stdin()).unwrap().local_modes;
    let before = modes();
    let reason = runtime.block_on(async {
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        shutdown.spawn("terminate", async move {
            terminate.recv().await;
            stop.stop();
        });
        console::run(double.clone(), options, shutdown).await.unwrap()
    });
    println!("ended: {reason:?}; restored: {}; calls: {:?}", modes() == before, double.calls());
    // The input thread may still read; the process ends all the same.
    std::process::exit(0);
}

fn console(folder: &Path, edit: impl FnOnce(&mut Command)) -> PtySession {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child", "--exact", "--nocapture"])
        .env("TERM", "xterm")
        .env(HISTORY, folder.join("history"));
    edit(&mut command);
    spawn_with_options(command, Options::new().timeout_ms(Some(60_000))).unwrap()
}

fn started(folder: &Path) -> PtySession {
    let mut console = console(folder, |_| ());
    console.exp_string("[1] Disconnect").unwrap();
    console.exp_string(PROMPT).unwrap();
    console
}

#[test]
fn the_menu_and_the_prompt_appear_and_quit_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = started(folder.path());
    console.send_line("").unwrap();
    console.exp_string("[0] Quit").unwrap();
    console.send_line("abc").unwrap();
    console.exp_string("there is no command `abc`").unwrap();
    console.send_line("4").unwrap();
    console.exp_string("duplicates dropped 9").unwrap();
    console.send_line("0").unwrap();
    console.exp_string("ended: Quit").unwrap();
    console.exp_eof().unwrap();
    let history = std::fs::read_to_string(folder.path().join("history")).unwrap();
    assert!(history.ends_with("abc\n4\n0\n"), "{history:?}");
}

#[test]
fn tab_completes_commands_and_hit_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = started(folder.path());
    console.send("sea\t").unwrap();
    console.flush().unwrap();
    console.exp_string("search").unwrap();
    console.send_line(" report").unwrap();
    console.exp_string("2 hits: 6 of 6 answered").unwrap();
    console.send("get 1\t").unwrap();
    console.send_line("").unwrap();
    console.exp_string("done, 2.0 KiB from ana, ben").unwrap();
    console.send_line("q").unwrap();
    console.exp_string("ended: Quit").unwrap();
}

#[test]
fn events_appear_above_the_half_typed_line_which_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = console(folder.path(), |command| _ = command.env(OFFER, "1"));
    console.exp_string("ben offers photo5.jpg (4.0 KiB): `accept 5`").unwrap();
    console.send_line("5 slow").unwrap();
    console.exp_string("[1] report.pdf").unwrap();
    console.send("stat").unwrap();
    console.flush().unwrap();
    console.exp_string("stat").unwrap();
    console.send_line("us").unwrap();
    console.exp_string("bytes down").unwrap();
    console.send_control('d').unwrap();
    console.exp_string("running actions cancelled: 1").unwrap();
    console.exp_string("ended: EndOfInput").unwrap();
}

#[test]
fn ctrl_c_leaves_downloads_alone_and_twice_quits() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = started(folder.path());
    console.send_line("3 2").unwrap();
    console.exp_string("running, 50 % of 2.0 KiB").unwrap();
    console.send_control('c').unwrap();
    console.exp_string("downloads go on, see `transfers`; Ctrl-C again quits").unwrap();
    // Twice within two seconds, which may pass on a machine with other things to do.
    let has_quit = (0..10).any(|_| {
        console.send_control('c').unwrap();
        let (_, said) = console.exp_regex("again quits|ended: Interrupted").unwrap();
        said.starts_with("ended")
    });
    assert!(has_quit, "Ctrl-C again and again does not quit");
}

#[test]
fn a_person_is_asked_before_transfers_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = started(folder.path());
    console.send_line("1").unwrap();
    console.exp_string("transfers that would end: 1. Disconnect? [y/N] ").unwrap();
    console.send_line("").unwrap();
    console.exp_string("still connected").unwrap();
    console.send_line("1").unwrap();
    console.exp_string("[y/N] ").unwrap();
    console.send_line("y").unwrap();
    console.exp_string("disconnected; 1 connects again").unwrap();
    console.send_line("0").unwrap();
    let rest = console.exp_eof().unwrap();
    assert_eq!(rest.matches("set_connected(false)").count(), 1, "{rest}");
}

#[test]
fn lines_typed_ahead_are_all_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = started(folder.path());
    console.send("abc\n5 report\n0\n").unwrap();
    console.flush().unwrap();
    console.exp_string("there is no command `abc`").unwrap();
    console.exp_string("ended: Quit").unwrap();
}

#[test]
fn control_bytes_and_broken_text_do_not_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = started(folder.path());
    // No Ctrl-C, Ctrl-D or Ctrl-Z among them: these mean something.
    console
        .send("\u{1}\u{2}\u{5}\u{6}\u{7}\u{8}\u{b}\u{e}\u{1b}[200~\u{1b}[201~\u{1b}OP\u{1b}[9999~é漢\u{202e}")
        .unwrap();
    console.send_line("").unwrap();
    console.exp_string("error: ").unwrap();
    console.send_line("4").unwrap();
    console.exp_string("bytes down").unwrap();
    console.send_line("0").unwrap();
    console.exp_string("ended: Quit").unwrap();
}

#[test]
fn a_terminal_without_escapes_gets_none() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = console(folder.path(), |command| _ = command.env("TERM", "dumb"));
    console.exp_string("[1] Disconnect").unwrap();
    console.send_line("5").unwrap();
    console.exp_string("search for:").unwrap();
    console.send_line("report").unwrap();
    console.exp_string("2 hits").unwrap();
    console.send_line("5 slow").unwrap();
    console.exp_string("[1] report.pdf").unwrap();
    console.send_control('c').unwrap();
    console.exp_string("cancelled; Ctrl-C again quits").unwrap();
    console.send_line("0").unwrap();
    let all = console.exp_eof().unwrap();
    assert!(all.contains("ended: Quit") && !all.contains('\u{1b}'), "{all:?}");
}

#[test]
fn a_stop_in_the_middle_of_a_line_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = console(folder.path(), |_| ());
    let (_, pid) = console.exp_regex("pid [0-9]+").unwrap();
    console.exp_string(PROMPT).unwrap();
    console.send("half").unwrap();
    console.flush().unwrap();
    console.exp_string("half").unwrap();
    assert!(Command::new("kill").arg(pid.trim_start_matches("pid ")).status().unwrap().success());
    console.exp_string("ended: Stopped; restored: true").unwrap();
}

#[test]
fn lines_of_progress_stay_one_row_when_the_window_is_resized() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).current_dir(folder.path());
    command.env("TERM", "xterm").env("HOME", folder.path()).env(HISTORY, folder.path().join("history"));
    let mut console = Pty::start(&command, 100, 30);
    console.expect(PROMPT);
    console.type_in("3 5\r");
    // Three bytes a line at most: the name and the end of it do not change.
    console.expect("#7 report.pdf: running");
    console.type_in("stat");
    for columns in [40, 25, 120] {
        console.resize(columns, 30);
        let mark = console.mark();
        // The first line behind the change stands below the last one, the next over it.
        console.expect_since(mark, "\u{1b}[1A\r\u{1b}[2K#7");
        let mark = console.mark();
        console.expect_since(mark, "\u{1b}[1A\r\u{1b}[2K#7");
        let written = console.written();
        let seen = Emulator::seen(columns.into(), &written[written.rfind("[1A").unwrap() + 3..]);
        let rows = seen.iter().filter(|row| row.contains("report.pdf")).count();
        assert!(rows <= 1, "{columns}: {seen:?}");
        let mut pieces = written[mark..].split("\u{1b}[2K").filter_map(|piece| piece.split('\r').next());
        assert!(pieces.all(|piece| piece.chars().count() < columns.into()), "{columns}: {written:?}");
    }
    // The half-typed line is still there.
    console.type_in("us\r");
    console.expect("bytes down");
    console.type_in("0\r");
    console.expect("ended: Quit");
}

/// User and system time of a process, in clock ticks (proc(5), fields 14 and 15).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_console_uses_no_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let mut console = console(folder.path(), |_| ());
    let (_, pid) = console.exp_regex("pid [0-9]+").unwrap();
    let pid = pid.trim_start_matches("pid ").parse().unwrap();
    console.exp_string(PROMPT).unwrap();
    // The one wait that is the subject itself: three looks at the inbox, and again where a slow machine still had to begin.
    let is_idle = (0..5).any(|_| {
        let before = cpu_ticks(pid);
        std::thread::sleep(Duration::from_secs(5));
        let spent = cpu_ticks(pid) - before;
        println!("{spent} ticks of 10 ms in 5 s");
        spent <= 5
    });
    assert!(is_idle, "more than 5 ticks of 10 ms in 5 s, again and again");
    console.send_line("0").unwrap();
    console.exp_string("ended: Quit").unwrap();
}
