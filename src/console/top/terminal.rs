//! The terminal of the full-screen view: taken over, drawn on, given back.
//!
//! Invariant: whoever opened it finds it as it was, also after a panic; keys are read by a thread that ends with it,
//! or that is left to the end of the process when it waits for the rest of a key.

use std::{
    io::{self, Stdout},
    panic::{self, PanicHookInfo},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use ratatui::{
    Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor,
        event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
        execute, terminal,
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use tokio::sync::mpsc;

use super::{
    draw,
    model::{Key, Model},
};

/// Keys read ahead; the reader waits with more.
const INPUT_QUEUE: usize = 16;
/// How long the reader may take to see that it is to end.
const POLL: Duration = Duration::from_millis(100);
/// How long the reader is waited for: twice what it takes, unless it waits for the rest of a key.
const READER_GRACE: Duration = Duration::from_millis(200);
/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// The terminal while it is ours.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    hook: Arc<Hook>,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        let hook: Arc<Hook> = panic::take_hook().into();
        let shown = hook.clone();
        // What a panic says would be gone with the picture that it is written on.
        panic::set_hook(Box::new(move |info| {
            give_back();
            shown(info);
        }));
        terminal::enable_raw_mode()?;
        let entered = execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide);
        let opened = entered.and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        match opened {
            Ok(terminal) => Ok(Self { terminal, hook }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    pub(super) fn draw(&mut self, model: &Model, now: SystemTime) -> io::Result<()> {
        self.terminal.draw(|frame| draw::draw(frame, model, now)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        // A thread that panics may not change the hook; it ends the process.
        if !thread::panicking() {
            let hook = self.hook.clone();
            panic::set_hook(Box::new(move |info| hook(info)));
        }
    }
}

/// Twice does no harm. A terminal that is gone needs nothing back.
fn give_back() {
    _ = execute!(io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
    _ = terminal::disable_raw_mode();
}

/// What comes from the terminal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Key(Key),
    Resized,
    /// The terminal is gone.
    End,
}

/// The thread that reads.
pub(super) struct Inputs {
    received: mpsc::Receiver<Input>,
    is_over: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Inputs {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, received) = mpsc::channel(INPUT_QUEUE);
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = is_over.clone();
        let reader = thread::Builder::new().name("top-input".into()).spawn(move || {
            let mut wait = POLL;
            while !ended.load(Relaxed) {
                let event = read(wait);
                // Behind one event others may have been read already, and nothing tells of those.
                wait = if matches!(event, Ok(Some(_))) { Duration::ZERO } else { POLL };
                let input = match event {
                    Ok(None) => continue,
                    Ok(Some(event)) => match input(&event) {
                        Some(input) => input,
                        None => continue,
                    },
                    Err(_) => Input::End,
                };
                let is_end = input == Input::End;
                if sender.blocking_send(input).is_err() || is_end {
                    return;
                }
            }
        })?;
        Ok(Self { received, is_over, reader: Some(reader) })
    }

    /// The next one. Survives being dropped half way.
    pub(super) async fn next(&mut self) -> Input {
        self.received.recv().await.unwrap_or(Input::End)
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // A sender that waits for room sees that nobody takes any more.
        self.received.close();
        // Before anything is waited for: the terminal is the shell's again, whatever becomes of the reader.
        give_back();
        // What is typed next is for the shell, and not for this thread. But with the beginning of a key, as Alt-[ is one, it
        // waits for the rest until something is typed.
        let Some(reader) = self.reader.take() else { return };
        let until = Instant::now() + READER_GRACE;
        while !reader.is_finished() {
            if Instant::now() >= until {
                return;
            }
            thread::sleep(LOOK);
        }
        _ = reader.join();
    }
}

/// The next event, if one comes in time. An error when the terminal is gone: crossterm, asked then, reads the end of it
/// again and again and never returns.
fn read(wait: Duration) -> io::Result<Option<Event>> {
    let stdin = io::stdin();
    let mut watched = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&wait)) {
        // A new size of the window interrupts it.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    event::poll(Duration::ZERO)?.then(event::read).transpose()
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Resized),
        Event::Key(key) if key.kind != KeyEventKind::Release => meaning(key).map(Input::Key),
        _ => None,
    }
}

fn meaning(key: &KeyEvent) -> Option<Key> {
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char(_) if is_control || key.modifiers.contains(KeyModifiers::ALT) => return None,
        KeyCode::Esc | KeyCode::Char('q') => Key::Quit,
        KeyCode::Tab => Key::NextList,
        KeyCode::BackTab => Key::PreviousList,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Char(key) => Key::Char(key),
        _ => return None,
    })
}
