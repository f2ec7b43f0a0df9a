//! The progress line on a real pseudo-terminal, against a peer in memory behind a real socket.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;
#[path = "support/pty.rs"]
mod pty;

use std::process::Command;

use actions::Double;
use floodplain::{
    peer::control::{self, ControlSocket},
    shutdown::Shutdown,
};
use pty::Pty;
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
        terminal.exp_string("1.0 KiB/2.0 KiB  512 B/s, 2s left").unwrap();
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

/// What a row of progress needs of a terminal whose window is resized: as most do, it breaks rows anew and keeps the cursor with its cell,
/// or it cuts them off.
struct Window {
    columns: usize,
    breaks_rows: bool,
    /// Each as it was written, however many rows it takes.
    lines: Vec<Vec<char>>,
    column: usize,
    wraps: bool,
}

impl Window {
    fn new(columns: usize, breaks_rows: bool) -> Self {
        Self { columns, breaks_rows, lines: vec![vec![]], column: 0, wraps: true }
    }

    fn resize(&mut self, columns: usize) {
        self.columns = columns;
        if !self.breaks_rows {
            self.lines.iter_mut().for_each(|line| line.truncate(columns));
            self.column = self.column.min(columns - 1);
        }
    }

    fn write(&mut self, written: &str) {
        let mut rest = written;
        while let Some(c) = rest.chars().next() {
            let line = self.lines.last_mut().unwrap();
            for (sequence, wraps) in [("\u{1b}[?7l", false), ("\u{1b}[?7h", true)] {
                if rest.starts_with(sequence) {
                    self.wraps = wraps;
                }
            }
            if let Some(sequence) =
                ["\u{1b}[?7l", "\u{1b}[?7h"].iter().find(|known| rest.starts_with(**known))
            {
                rest = &rest[sequence.len()..];
                continue;
            }
            if let Some(after) = rest.strip_prefix("\u{1b}[J") {
                line.truncate(self.column);
                rest = after;
                continue;
            }
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => self.column -= self.column % self.columns,
                '\n' => {
                    self.lines.push(vec![]);
                    self.column = 0;
                }
                c => {
                    assert!(
                        !c.is_control() && c != '\u{202e}',
                        "text of others steers the terminal: {written:?}"
                    );
                    let is_at_the_end = !self.wraps && self.column % self.columns == self.columns - 1;
                    line.resize(line.len().max(self.column + 1), ' ');
                    line[self.column] = c;
                    self.column += usize::from(!is_at_the_end);
                }
            }
        }
    }

    fn rows(&self) -> Vec<String> {
        let rows = self.lines.iter().flat_map(|line| line.chunks(self.columns));
        rows.map(|row| row.iter().collect::<String>().trim_end().to_owned())
            .filter(|row| !row.is_empty())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bar_is_one_row_of_every_window_and_leaves_nothing_behind_when_it_is_resized() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let socket = ControlSocket::bind(&control::socket_path(folder.path())).unwrap();
    shutdown.spawn_draining("control", control::serve(Double::new(), socket, shutdown.clone()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.env("TERM", "xterm").env("HOME", folder.path()).current_dir(folder.path());
    command.arg("--data").arg(folder.path()).args(["get", "6"]);
    let looked = tokio::task::spawn_blocking(move || {
        let mut terminal = Pty::start(&command, 100, 30);
        terminal.expect("10 B/s");
        let mut windows = [Window::new(100, true), Window::new(100, false)];
        let begin = "\u{1b}[J";
        // Behind the last row that came whole.
        let drawn = |written: &str| written.rfind("\u{1b}[?7h").unwrap() + "\u{1b}[?7h".len();
        let (mut mark, first) = (0, terminal.written());
        mark += first.find(begin).expect("it is drawn");
        for columns in [40, 25, 120, 70, 12, 100] {
            let now = drawn(&terminal.written());
            terminal.resize(columns, 30);
            // Drawn again in the new size, and once more over that.
            for _ in 0..2 {
                let mark = terminal.mark();
                terminal.expect_since(mark, begin);
            }
            let end = drawn(&terminal.written());
            for window in &mut windows {
                let written = terminal.written();
                window.write(&written[mark..now]);
                window.resize(columns.into());
                window.write(&written[now..end]);
                let rows = window.rows();
                assert!(rows.len() <= 1, "{columns}: {rows:?}");
                let shown = rows.concat();
                assert!(shown.starts_with("\\u{1b}"), "{columns}: {shown:?}");
                assert!(
                    columns < 70 || shown.contains(".pdf") && shown.contains("10 B/s"),
                    "{columns}: {shown:?}"
                );
                assert!(shown.chars().count() < columns.into(), "{columns}: {shown:?}");
            }
            mark = end;
        }
        terminal.type_in("\u{3}");
        assert_eq!(terminal.ended(), 130);
        let written = terminal.written();
        let last = &written[mark..];
        assert!(
            last.contains("interrupted") && !last.rsplit(begin).next().unwrap().contains("annual"),
            "{last:?}"
        );
    });
    looked.await.unwrap();
    shutdown.stop();
}
