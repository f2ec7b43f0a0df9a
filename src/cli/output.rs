//! Where a verb prints: data to stdout, everything else to stderr. A closed pipe is an error value here, never a panic.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use bytes::Bytes;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{
    args::{ColorChoice, Global},
    exit::{Ended, Exit, Failure},
    json,
};
use crate::protocol::{
    action::{ActionError, ErrorKind},
    name::{Printable, printable_json, printable_lines},
};

/// How things are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub struct Style {
    /// One JSON object a line.
    pub json: bool,
    /// Aligned tables for people, in place of tab-separated lines.
    pub is_rich: bool,
    /// A moving progress bar may be drawn.
    pub draws_progress: bool,
    /// No messages but errors.
    pub quiet: bool,
    /// Colored messages.
    pub color: bool,
}

impl Style {
    /// From the flags and from what stdout and stderr are.
    pub fn of_process(global: &Global) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_plain = global.plain || is_dumb;
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json: global.json,
            is_rich: out && !is_plain,
            draws_progress: err && !is_plain && !global.quiet,
            quiet: global.quiet,
            color: match global.color {
                ColorChoice::Always => true,
                ColorChoice::Never => false,
                ColorChoice::Auto => err && !is_plain && !no_color,
            },
        }
    }
}

/// The two streams and how to print to them.
pub struct Output {
    /// How.
    pub style: Style,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// What goes to `out` is somebody's bytes, and an error among them would spoil them.
    has_bytes_only: bool,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").field("style", &self.style).finish_non_exhaustive()
    }
}

impl Output {
    /// To any two streams.
    pub fn new(style: Style, out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self { style, out, err, has_bytes_only: false }
    }

    /// From here on `out` gets nothing but bytes as they are; errors go to `err`, with `--json` as an object too.
    pub fn keep_for_bytes(&mut self) {
        self.has_bytes_only = true;
    }

    /// To the process's own.
    pub fn of_process(style: Style) -> Self {
        Self::new(style, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// One line of data, or a table of lines. The caller has made remote text [`Printable`]; what it forgot steers no terminal.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.out, "{}", printable_lines(&line.to_string()))?;
        Ok(self.out.flush()?)
    }

    /// Data as it is.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes)?;
        Ok(self.out.flush()?)
    }

    /// As [`Self::bytes`], on a thread of its own: a reader that does not read keeps nobody from hearing a signal. Dropped half
    /// way, what comes after it goes nowhere.
    pub async fn bytes_apart(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let mut out = std::mem::replace(&mut self.out, Box::new(io::sink()));
        let writing = tokio::task::spawn_blocking(move || {
            let written = out.write_all(&bytes).and_then(|()| out.flush());
            (out, written)
        });
        let (out, written) = writing.await.map_err(|_| Failure::failed("writing to stdout failed"))?;
        self.out = out;
        Ok(written?)
    }

    /// One object as a line of data.
    pub fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(object)
            .map_err(|error| Failure::failed(format!("could not write JSON: {error}")))?;
        self.line(printable_json(&line))
    }

    /// Rows under headings: aligned for people, else tab-separated. Cells are escaped here.
    pub fn table<const N: usize>(
        &mut self,
        headings: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), Failure> {
        let is_number = |heading: &str| matches!(heading, "size" | "files" | "peers" | "id" | "done");
        self.print(Some(headings.map(str::to_uppercase)), headings.map(is_number), rows)
    }

    /// Rows without headings, else as [`Self::table`].
    pub fn rows<const N: usize>(
        &mut self,
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), Failure> {
        self.print(None, [false; N], rows)
    }

    fn print<const N: usize>(
        &mut self,
        headings: Option<[String; N]>,
        is_right: [bool; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Result<(), Failure> {
        let rows = rows.into_iter().map(|row| row.map(|cell| Printable(&cell).to_string()));
        if !self.style.is_rich {
            let mut lines = headings.into_iter().chain(rows);
            return lines.try_for_each(|row| self.line(row.join("\t")));
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).add_rows(rows);
        if let Some(headings) = headings {
            table.set_header(headings);
        } else if table.is_empty() {
            return Ok(());
        }
        for (is_right, column) in is_right.into_iter().zip(table.column_iter_mut()) {
            if is_right {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.line(table.trim_fmt())
    }

    /// One message; not with `--quiet`. A closed stderr is nobody's loss.
    pub fn note(&mut self, message: impl Display) {
        if !self.style.quiet {
            let _ = writeln!(self.err, "{}", printable_lines(&message.to_string()));
        }
    }

    /// One error: to stderr, or as an object where the data goes, if objects go there.
    pub fn error(&mut self, error: &ActionError) {
        if self.style.json {
            if self.has_bytes_only {
                if let Ok(line) = serde_json::to_string(&json::Error::from(error)) {
                    let _ = writeln!(self.err, "{}", printable_json(&line));
                }
                return;
            }
            let _ = self.json(&json::Error::from(error));
            return;
        }
        let (red, dim, off) =
            if self.style.color { ("\x1b[1;31m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
        let _ = writeln!(self.err, "{red}error:{off} {}", Printable(&error.message));
        if !error.hint.is_empty() {
            let _ = writeln!(self.err, "{dim}hint:{off} {}", Printable(&error.hint));
        }
    }

    /// Tells of the failure, if anyone is left to tell, and gives the exit code.
    pub fn finish(&mut self, ended: Ended) -> Exit {
        match ended {
            Ok(exit) => exit,
            Err(Failure::ClosedPipe) => Exit::Done,
            Err(Failure::Action(error)) => {
                self.error(&error);
                error.kind.into()
            }
        }
    }

    /// Asks before something that cannot be taken back; `--yes` answers, and without a terminal it must.
    pub async fn confirm(&mut self, question: &str, is_yes: bool) -> Result<(), Failure> {
        if is_yes {
            return Ok(());
        }
        if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
            return Err(ActionError::new(ErrorKind::Usage, question).hint("pass --yes to go ahead").into());
        }
        let _ = write!(self.err, "{} [y/N] ", printable_lines(question));
        let _ = self.err.flush();
        // On a thread of its own, so that an interrupt is heard meanwhile.
        let read = tokio::task::spawn_blocking(|| io::stdin().lines().next().and_then(Result::ok));
        let answer = read.await.ok().flatten().unwrap_or_default();
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(ActionError::new(ErrorKind::Cancelled, "nothing was done").into())
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().iec().to_string()
}
