//! One console from its first prompt to its end. Nothing typed ends it or disconnects but the words that say so; what
//! runs in it ends with it.

mod perform;

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{AbortHandle, BoxFuture},
    stream::FuturesUnordered,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{
    ExitReason, Mode,
    act::{Acting, announce, tell_news},
    complete::Names,
    input::{Input, Lines},
    menu, parse,
    screen::Screen,
    view,
};
use crate::{
    peer::{Handle, handle::Outcome},
    protocol::name::Printable,
    shutdown::Shutdown,
};

/// Actions at once in one console; one more is refused.
const MAX_RUNNING: usize = 16;
/// A second Ctrl-C within this time quits.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(2);
/// How often the inbox is looked at while a person sits there.
const INBOX_INTERVAL: Duration = Duration::from_secs(2);
/// For one look at the inbox, and for learning names.
const QUIET_DEADLINE: Duration = Duration::from_secs(10);
/// Names for Tab are learned anew every so many looks at the inbox.
const LEARN_EVERY: u64 = 30;

type Running = FuturesUnordered<BoxFuture<'static, ()>>;

/// What a prompt gave.
enum Typed {
    Line(String),
    Interrupt,
}

pub(super) struct Session {
    acting: Acting,
    lines: Lines,
    mode: Mode,
    shutdown: Shutdown,
    running: Running,
    /// What nobody asked for: looks at the inbox, names for Tab. At most one of each runs.
    quiet: Running,
    search: Option<AbortHandle>,
    interrupted: Option<Instant>,
    /// Ctrl-C while no line is edited; none on a pipe, where it keeps its usual meaning.
    interrupts: Option<Signal>,
    ticks: Interval,
    tick: u64,
    /// Held by every action that follows downloads, which go on without it.
    followed: Arc<()>,
    /// The highest offer that was announced.
    announced: Arc<AtomicU64>,
}

impl Session {
    pub(super) fn new(
        handle: Handle,
        screen: Screen,
        lines: Lines,
        mode: Mode,
        names: Names,
        shutdown: Shutdown,
    ) -> std::io::Result<Self> {
        let mut ticks = interval(INBOX_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            acting: Acting { handle, screen, names },
            lines,
            mode,
            shutdown,
            running: Running::new(),
            quiet: Running::new(),
            search: None,
            interrupted: None,
            interrupts: (mode != Mode::Pipe).then(|| signal(SignalKind::interrupt())).transpose()?,
            ticks,
            tick: 0,
            followed: Arc::default(),
            announced: Arc::default(),
        })
    }

    pub(super) async fn run(mut self) -> anyhow::Result<ExitReason> {
        let reason = self.serve().await;
        let followed = self.followed();
        let cancelled = self.running.len() - followed;
        self.running.clear();
        if self.mode != Mode::Pipe && followed > 0 {
            self.acting.screen.line("downloads go on while the peer runs").await;
        }
        if self.mode != Mode::Pipe && cancelled > 0 {
            self.acting.screen.line(format!("running actions cancelled: {cancelled}")).await;
        }
        self.acting.screen.written().await;
        Ok(reason)
    }

    async fn serve(&mut self) -> ExitReason {
        if self.mode != Mode::Pipe {
            self.start(self.acting.clone().menu()).await;
        }
        loop {
            let typed = match self.typed(menu::PROMPT).await {
                Ok(typed) => typed,
                Err(reason) => return reason,
            };
            let outcome = match typed {
                Typed::Interrupt => self.interrupt().await,
                Typed::Line(line) => match parse::parse(&line) {
                    Ok(command) => self.perform(command).await,
                    Err(problem) => {
                        self.complain(&problem).await;
                        Ok(())
                    }
                },
            };
            if let Err(reason) = outcome {
                return reason;
            }
        }
    }

    /// Waits for a line while everything else goes on. On a pipe, only once what was started has ended.
    async fn typed(&mut self, prompt: &str) -> Result<Typed, ExitReason> {
        loop {
            if (self.mode == Mode::Terminal || self.running.is_empty()) && self.lines.is_prompt_due() {
                // What is printed while the line editor starts waits in its queue, and stays there when the next line was
                // typed ahead.
                self.acting.screen.written().await;
                self.lines.prompt(prompt);
            }
            let is_ready = self.mode == Mode::Terminal || self.running.is_empty();
            tokio::select! {
                () = self.shutdown.stopping() => return Err(ExitReason::Stopped),
                () = self.acting.screen.closed() => return Err(ExitReason::OutputClosed),
                Some(()) = self.running.next() => {}
                Some(()) = self.quiet.next() => {}
                _ = self.ticks.tick(), if self.mode != Mode::Pipe => self.tick(),
                () = interrupted(&mut self.interrupts) => return Ok(Typed::Interrupt),
                input = self.lines.next(), if is_ready => match input {
                    Input::Line(line) => {
                        self.acting.screen.entered().await;
                        return Ok(Typed::Line(line));
                    }
                    Input::Interrupt => return Ok(Typed::Interrupt),
                    Input::End => return Err(ExitReason::EndOfInput),
                    Input::TooLong => {
                        let most = parse::MAX_LINE_BYTES;
                        self.complain(&format!("the line is longer than {most} bytes and was dropped")).await;
                    }
                    Input::NotText => self.complain("the line is not UTF-8 and was dropped").await,
                },
            }
        }
    }

    /// Ctrl-C: what runs is cancelled; twice means the end.
    async fn interrupt(&mut self) -> Result<(), ExitReason> {
        let now = Instant::now();
        if self.interrupted.replace(now).is_some_and(|before| now - before < DOUBLE_INTERRUPT) {
            return Err(ExitReason::Interrupted);
        }
        let (running, followed) = (self.running.len(), self.followed());
        self.running.clear();
        let said = match (running, followed) {
            (0, _) => "Ctrl-C again quits",
            (_, 0) => "cancelled; Ctrl-C again quits",
            _ => "downloads go on, see `transfers`; Ctrl-C again quits",
        };
        self.acting.screen.line(said).await;
        Ok(())
    }

    /// Running actions that follow downloads.
    fn followed(&self) -> usize {
        Arc::strong_count(&self.followed).saturating_sub(1).min(self.running.len())
    }

    async fn complain(&mut self, problem: &str) {
        self.acting.screen.line(format!("error: {}", Printable(problem))).await;
    }

    async fn start(&mut self, action: impl Future<Output = ()> + Send + 'static) {
        if self.running.len() >= MAX_RUNNING {
            self.complain(&format!(
                "{MAX_RUNNING} actions run already; wait for one, or cancel them with Ctrl-C"
            ))
            .await;
            return;
        }
        self.running.push(Box::pin(action));
    }

    /// Asks for a missing argument; `None` when nothing is given, which leads back to the menu.
    async fn ask(&mut self, question: &str) -> Result<Option<String>, ExitReason> {
        if self.mode == Mode::Dumb {
            self.acting.screen.line(question.trim_end()).await;
        }
        match self.typed(question).await? {
            Typed::Line(line) => Ok(Some(line.trim().to_owned()).filter(|line| !line.is_empty())),
            Typed::Interrupt => {
                self.interrupted = Some(Instant::now());
                Ok(None)
            }
        }
    }

    /// Asks for a missing argument and makes something of it; `None` when nothing is given or it will not do.
    async fn ask_for<T>(
        &mut self,
        question: &str,
        make: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ExitReason> {
        let Some(answer) = self.ask(question).await? else { return Ok(None) };
        match make(&answer) {
            Ok(value) => Ok(Some(value)),
            Err(problem) => {
                self.complain(&problem).await;
                Ok(None)
            }
        }
    }

    /// Waits for a short answer of the peer; `None` when it failed or Ctrl-C came first, which was told.
    async fn wait<T>(&mut self, answer: impl Future<Output = Outcome<T>>) -> Result<Option<T>, ExitReason> {
        tokio::select! {
            () = self.shutdown.stopping() => Err(ExitReason::Stopped),
            () = interrupted(&mut self.interrupts) => self.interrupt().await.map(|()| None),
            outcome = answer => match outcome {
                Ok(value) => Ok(Some(value)),
                Err(error) => {
                    self.acting.screen.line(view::error(&error)).await;
                    Ok(None)
                }
            },
        }
    }

    fn tick(&mut self) {
        if !self.quiet.is_empty() {
            return;
        }
        let (acting, announced) = (self.acting.clone(), Arc::clone(&self.announced));
        let is_learning = self.tick.is_multiple_of(LEARN_EVERY);
        self.tick += 1;
        let look = async move {
            announce(&acting, &announced).await;
            tell_news(&acting).await;
            if is_learning {
                acting.learn().await;
            }
        };
        // Late: the next tick looks again.
        self.quiet.push(Box::pin(async { _ = tokio::time::timeout(QUIET_DEADLINE, look).await }));
    }
}

async fn interrupted(interrupts: &mut Option<Signal>) {
    match interrupts {
        Some(interrupts) => _ = interrupts.recv().await,
        None => std::future::pending().await,
    }
}
