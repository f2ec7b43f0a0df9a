//! One console from its first prompt to its end. Nothing typed ends it or disconnects but the words that say so; what
//! runs in it ends with it.

use std::{
    future::Future,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use futures::{
    StreamExt,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{
    ExitReason, Mode,
    act::{Acting, absolute, announce},
    complete::Names,
    input::{Input, Lines},
    menu,
    parse::{self, Command},
    screen::Screen,
    view,
};
use crate::{
    peer::{Handle, handle::Outcome},
    protocol::{
        action::{
            Answer, Connection, GetAsk, Priority, PutAsk, PutContent, SearchAsk, SendAsk, Target,
            TransferState,
        },
        name::Printable,
        placement::{DEFAULT_REPLICAS, MAX_REPLICAS},
    },
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

    async fn perform(&mut self, command: Command) -> Result<(), ExitReason> {
        let acting = self.acting.clone();
        match command {
            Command::Quit => return Err(ExitReason::Quit),
            Command::Help => acting.screen.lines(menu::help()).await,
            Command::Menu => self.start(acting.menu()).await,
            Command::Toggle => {
                if let Some(status) = self.wait(acting.handle.status()).await? {
                    self.connect(status.connection == Connection::Disconnected).await?;
                }
            }
            Command::SetConnected(is_connected) => self.connect(is_connected).await?,
            Command::Upload { file, peer } => self.upload(file, peer).await?,
            Command::Put { file, replicas } => self.put(file, replicas).await?,
            Command::Unput(what) => {
                if let Some(what) = self.given(what, "name or hash to take back: ").await? {
                    self.start(acting.unput(what)).await;
                }
            }
            Command::Download { targets, destination, priority } => {
                self.download(targets, destination, priority).await?;
            }
            Command::Status => self.start(acting.status()).await,
            Command::Search(Some(ask)) => self.search(ask).await,
            Command::Search(None) => {
                if let Some(Some(ask)) = self.ask_for("search for: ", parse::search).await? {
                    self.search(ask).await;
                }
            }
            Command::Network => self.start(acting.network()).await,
            Command::Peers(zone) => self.start(acting.peers(zone)).await,
            Command::Zones => self.start(acting.zones()).await,
            Command::Browse(path) => {
                let path = match path {
                    Some(path) => Some(path),
                    None => self.ask_for("which peer, or PEER:FOLDER: ", parse::peer_path).await?,
                };
                if let Some(path) = path {
                    self.start(acting.browse(path)).await;
                }
            }
            Command::Transfers => self.start(acting.transfers()).await,
            Command::Control(which, control) => {
                let which = match which {
                    Some(which) => Some(which),
                    None => self.ask_for("number of the transfer, or all: ", parse::which).await?,
                };
                if let Some(which) = which {
                    self.start(acting.control_transfers(which, control)).await;
                }
            }
            Command::Shares => self.start(acting.shares()).await,
            Command::AddShare(folder) => {
                if let Some(folder) = self.given(folder, "folder to share: ").await? {
                    self.start(acting.add_share(absolute(&folder))).await;
                }
            }
            Command::RemoveShare(name) => {
                if let Some(name) = self.given(name, "name of the share: ").await? {
                    self.start(acting.remove_share(name)).await;
                }
            }
            Command::Rescan => self.start(acting.rescan()).await,
            Command::Inbox => self.start(acting.inbox()).await,
            Command::Answer(id, answer) => self.answer(id, answer).await?,
        }
        Ok(())
    }

    async fn given(&mut self, text: Option<String>, question: &str) -> Result<Option<String>, ExitReason> {
        match text {
            Some(text) => Ok(Some(text)),
            // One answer is one argument: quotes are taken off, but blanks need none.
            None => self.ask_for(question, |answer| Ok(unquoted(answer))).await,
        }
    }

    async fn number(&mut self, number: Option<u64>, question: &str) -> Result<Option<u64>, ExitReason> {
        match number {
            Some(number) => Ok(Some(number)),
            None => self.ask_for(question, parse::number).await,
        }
    }

    /// A new search takes the place of the one that runs.
    async fn search(&mut self, ask: SearchAsk) {
        let (search, handle) = abortable(self.acting.clone().search(ask));
        if let Some(before) = self.search.replace(handle) {
            before.abort();
        }
        self.start(async { _ = search.await }).await;
    }

    async fn upload(&mut self, file: Option<String>, peer: Option<String>) -> Result<(), ExitReason> {
        let Some(file) = self.given(file, "file to upload: ").await? else { return Ok(()) };
        let is_asked = peer.is_none();
        let Some(peer) = self.given(peer, "to which peer, or `network` to have it kept: ").await? else {
            return Ok(());
        };
        if is_asked && peer == "network" {
            return self.put(Some(file), None).await;
        }
        self.start(self.acting.clone().send(SendAsk { path: absolute(&file), peer })).await;
        Ok(())
    }

    async fn put(&mut self, file: Option<String>, replicas: Option<u64>) -> Result<(), ExitReason> {
        let Some(file) = self.given(file, "file that the network is to keep: ").await? else { return Ok(()) };
        let replicas = match replicas.map(usize::try_from) {
            None => DEFAULT_REPLICAS,
            Some(Ok(replicas)) if replicas <= MAX_REPLICAS => replicas,
            Some(_) => {
                self.complain(&format!("at most {MAX_REPLICAS} peers keep a file")).await;
                return Ok(());
            }
        };
        let ask = PutAsk { content: PutContent::Path(absolute(&file)), name: None, replicas };
        self.start(self.acting.clone().put(ask)).await;
        Ok(())
    }

    async fn download(
        &mut self,
        mut targets: Vec<Target>,
        destination: Option<String>,
        priority: Priority,
    ) -> Result<(), ExitReason> {
        if targets.is_empty() {
            let question = "number of a hit, content hash, or PEER:PATH: ";
            targets.extend(self.ask_for(question, |answer| parse::target(&unquoted(answer))).await?);
        }
        let destination = destination.as_deref().map(absolute);
        // What is fetched goes on when nobody looks at it any more.
        let ask = |target| GetAsk { target, destination: destination.clone(), priority, is_detached: true };
        let asks: Vec<GetAsk> = targets.into_iter().map(ask).collect();
        if !asks.is_empty() {
            let (followed, get) = (Arc::clone(&self.followed), self.acting.clone().get(asks));
            self.start(async move {
                get.await;
                drop(followed);
            })
            .await;
        }
        Ok(())
    }

    async fn answer(&mut self, id: Option<u64>, answer: Answer) -> Result<(), ExitReason> {
        if let Some(id) = self.number(id, "number of the offer: ").await? {
            self.start(self.acting.clone().answer(id, answer)).await;
        }
        Ok(())
    }

    /// Joins or leaves. A person is asked first when leaving would end transfers.
    async fn connect(&mut self, is_connected: bool) -> Result<(), ExitReason> {
        if !is_connected && self.mode != Mode::Pipe {
            let handle = Handle::clone(&self.acting.handle);
            let Some(transfers) = self.wait(handle.transfers()).await? else { return Ok(()) };
            let is_going = |state: &TransferState| !state.is_final() && *state != TransferState::Paused;
            let running = transfers.iter().filter(|transfer| is_going(&transfer.state)).count();
            if running > 0 {
                let question = format!("transfers that would end: {running}. Disconnect? [y/N] ");
                let answer = self.ask(&question).await?.unwrap_or_default().to_lowercase();
                if !["y", "yes"].contains(&answer.as_str()) {
                    self.acting.screen.line("still connected").await;
                    return Ok(());
                }
            }
        }
        self.start(self.acting.clone().set_connected(is_connected)).await;
        Ok(())
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

fn unquoted(answer: &str) -> String {
    match parse::split(answer) {
        Ok(parts) if parts.len() == 1 => parts.into_iter().next().unwrap_or_default(),
        _ => answer.to_owned(),
    }
}
