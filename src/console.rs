//! The interactive menu: a face over [`Handle`] that nothing typed ends or disconnects but what says so.
//!
//! On a terminal lines are edited, and events appear above the half-typed one. On a pipe, or where the terminal
//! understands no escapes, lines are read plainly, each action ends before the next line is read, and every event is one
//! complete line with no escape in it.

use std::{
    io::{self, IsTerminal, Read, Write},
    path::PathBuf,
};

use anyhow::Context;

use crate::{peer::Handle, shutdown::Shutdown};

mod act;
mod complete;
mod input;
mod menu;
pub mod pages;
pub mod parse;
pub mod row;
mod screen;
mod session;
pub mod top;
pub mod view;

use complete::{Completion, Names};
use input::{LineEditor, Lines};
use screen::{AbovePrompt, Plain, Screen};
use session::Session;

/// How a console runs.
#[derive(Debug, Clone, Default)]
pub struct ConsoleOptions {
    /// Where typed lines are kept; nowhere when `None`.
    pub history: Option<PathBuf>,
    /// Plain lines even on a terminal.
    pub is_plain: bool,
}

/// Why a console ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// A quit word was typed.
    Quit,
    /// Ctrl-D, or the end of a pipe.
    EndOfInput,
    /// Ctrl-C twice.
    Interrupted,
    /// Nobody reads what it prints any more.
    OutputClosed,
    /// The process was told to stop.
    Stopped,
}

/// How lines come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Edited lines, events above them.
    Terminal,
    /// A person, but no escapes.
    Dumb,
    /// A program.
    Pipe,
}

/// Runs a console on standard input and output until its end. Actions that still run are cancelled then.
///
/// # Errors
/// When the terminal cannot be set up. Nothing that is typed is an error.
pub async fn run(handle: Handle, options: ConsoleOptions, shutdown: Shutdown) -> anyhow::Result<ExitReason> {
    let is_person = io::stdin().is_terminal();
    let is_terminal = is_person && io::stdout().is_terminal() && !options.is_plain && understands_escapes();
    if is_terminal {
        return run_terminal(handle, options, shutdown).await;
    }
    let mode = if is_person { Mode::Dumb } else { Mode::Pipe };
    let lines = Lines::plain(io::stdin()).context("could not start to read standard input")?;
    let screen = Screen::start(Plain(io::stdout())).context("could not start to write standard output")?;
    Session::new(handle, screen, lines, mode, Names::default(), shutdown)?.run().await
}

/// Runs a console on any input and output as on pipes.
///
/// # Errors
/// When its threads cannot be started.
pub async fn run_piped(
    handle: Handle,
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    shutdown: Shutdown,
) -> anyhow::Result<ExitReason> {
    let (lines, screen) = (Lines::plain(input)?, Screen::start(Plain(output))?);
    Session::new(handle, screen, lines, Mode::Pipe, Names::default(), shutdown)?.run().await
}

async fn run_terminal(
    handle: Handle,
    options: ConsoleOptions,
    shutdown: Shutdown,
) -> anyhow::Result<ExitReason> {
    let names = Names::default();
    let _restored = Restored::new();
    let mut editor = LineEditor::new(Completion::new(names.clone()), options.history)
        .context("could not set up the line editor")?;
    let printer = editor.printer().context("could not print above the line editor; try --plain")?;
    let screen = Screen::start(AbovePrompt(printer))?;
    let lines = Lines::edited(editor)?;
    Session::new(handle, screen, lines, Mode::Terminal, names, shutdown)?.run().await
}

/// The terminals that the line editor itself does not serve; no name at all means that nothing is known.
fn understands_escapes() -> bool {
    std::env::var("TERM").is_ok_and(|term| !["", "dumb", "cons25", "emacs"].contains(&term.as_str()))
}

/// Gives the terminal back as it was: the editor's thread may be left in the middle of a line, in raw mode.
struct Restored(Option<rustix::termios::Termios>);

impl Restored {
    fn new() -> Self {
        Self(rustix::termios::tcgetattr(io::stdin()).ok())
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let Some(before) = &self.0 else { return };
        let now = rustix::termios::tcgetattr(io::stdin());
        if now.is_ok_and(|now| now.local_modes == before.local_modes) {
            return;
        }
        _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, before);
        // The editor had switched bracketed paste on.
        _ = io::stdout().write_all(b"\x1b[?2004l\n").and_then(|()| io::stdout().flush());
    }
}
