//! Where lines go: one thread writes them, so that a slow or closed output never holds up the runtime. Every line is
//! written whole, and none steers the terminal but by the one sequence that is written here.

use std::io::{self, Write};

use tokio::sync::{mpsc, oneshot};

use super::row::{columns, in_one_row};
use crate::protocol::name::printable_lines;

/// Batches of lines that wait to be written; whoever prints more waits.
const OUTPUT_QUEUE: usize = 64;
/// How long lines may take to be written where someone waits for them.
const WRITTEN_DEADLINE: std::time::Duration = std::time::Duration::from_secs(1);

/// What lines are written to.
pub(super) trait Sink: Send + 'static {
    /// Writes whole lines.
    fn write(&mut self, text: String) -> io::Result<()>;

    /// Cursor movements are understood: a line may be written over.
    fn is_terminal(&self) -> bool;

    /// How wide it is now; `None` where lines have no end.
    fn columns(&self) -> Option<usize>;
}

/// Lines to a pipe, a file or a terminal that understands no escapes.
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write + Send + 'static> Sink for Plain<W> {
    fn write(&mut self, text: String) -> io::Result<()> {
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }

    fn is_terminal(&self) -> bool {
        false
    }

    fn columns(&self) -> Option<usize> {
        None
    }
}

/// Lines above the half-typed one.
pub(super) struct AbovePrompt<P>(pub(super) P);

impl<P: rustyline::ExternalPrinter + Send + 'static> Sink for AbovePrompt<P> {
    fn write(&mut self, text: String) -> io::Result<()> {
        self.0.print(text).map_err(io::Error::other)
    }

    fn is_terminal(&self) -> bool {
        true
    }

    fn columns(&self) -> Option<usize> {
        columns(io::stdout())
    }
}

enum Output {
    Lines(Vec<String>),
    Progress { key: u64, line: String },
    Entered,
    Written(oneshot::Sender<()>),
}

/// The way to the output; cheap to clone. What is printed after the output was closed is dropped.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    output: mpsc::Sender<Output>,
    is_terminal: bool,
}

impl Screen {
    /// Starts the writing thread. It ends when the last screen is dropped, or at the first error of the sink.
    pub(super) fn start(sink: impl Sink) -> io::Result<Self> {
        let (output, queue) = mpsc::channel(OUTPUT_QUEUE);
        let is_terminal = sink.is_terminal();
        // A thread of its own and no task: a write to a terminal that was stopped with Ctrl-S may block for ever.
        std::thread::Builder::new().name("console-output".into()).spawn(move || write(sink, queue))?;
        Ok(Self { output, is_terminal })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    pub(super) async fn line(&self, line: impl Into<String>) {
        self.lines(vec![line.into()]).await;
    }

    pub(super) async fn lines(&self, lines: Vec<String>) {
        self.send(Output::Lines(lines)).await;
    }

    /// A line that takes the place of the last one, if that had the same key and nothing was written since.
    pub(super) async fn progress(&self, key: u64, line: String) {
        self.send(Output::Progress { key, line }).await;
    }

    /// A typed line now stands below what was written.
    pub(super) async fn entered(&self) {
        self.send(Output::Entered).await;
    }

    /// Completes when the output takes no more.
    pub(super) async fn closed(&self) {
        self.output.closed().await;
    }

    /// Waits until everything printed so far is written, for a moment at most.
    pub(super) async fn written(&self) {
        let (done, written) = oneshot::channel();
        let all = async {
            self.send(Output::Written(done)).await;
            _ = written.await;
        };
        if tokio::time::timeout(WRITTEN_DEADLINE, all).await.is_err() {
            tracing::debug!("the console's lines were not written in time");
        }
    }

    async fn send(&self, output: Output) {
        // Closed: the session hears of it through `closed` and ends.
        _ = self.output.send(output).await;
    }
}

fn write(mut sink: impl Sink, mut queue: mpsc::Receiver<Output>) {
    let mut replaceable = None;
    while let Some(output) = queue.blocking_recv() {
        let text = match output {
            Output::Lines(lines) => {
                replaceable = None;
                lines.iter().flat_map(|line| [printable_lines(line), "\n".into()]).collect()
            }
            Output::Progress { key, line } => {
                let columns = sink.columns();
                // In a window of another width the last one may be in several rows by now, or may not: it stays.
                let is_same = replaceable.replace((key, columns)) == Some((key, columns));
                // One row up, and clear it.
                let over = if is_same && sink.is_terminal() { "\x1b[1A\r\x1b[2K" } else { "" };
                format!("{over}{}\n", in_one_row(&printable_lines(&line), columns))
            }
            Output::Entered => {
                replaceable = None;
                continue;
            }
            Output::Written(done) => {
                _ = done.send(());
                continue;
            }
        };
        if !text.is_empty() && sink.write(text).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::sync::{Arc, Mutex};

    use super::*;

    /// A terminal that changes its width after each write.
    struct Window(Arc<Mutex<String>>, Vec<usize>);

    impl Sink for Window {
        fn write(&mut self, text: String) -> io::Result<()> {
            self.0.lock().unwrap().push_str(&text);
            self.1.pop();
            Ok(())
        }

        fn is_terminal(&self) -> bool {
            true
        }

        fn columns(&self) -> Option<usize> {
            self.1.last().copied()
        }
    }

    #[tokio::test]
    async fn a_line_of_progress_is_one_row_and_goes_over_the_last_one_of_the_same_width_only() {
        let shown = Arc::<Mutex<String>>::default();
        let screen = Screen::start(Window(shown.clone(), vec![11, 11, 11, 21, 21])).unwrap();
        for _ in 0..4 {
            screen.progress(1, "0123456789é123456789".into()).await;
        }
        screen.progress(2, "other".into()).await;
        screen.written().await;
        let over = "\u{1b}[1A\r\u{1b}[2K";
        let (wide, narrow) = ("0123456789é12345678", "0123456789");
        let expected = format!("{wide}\n{over}{wide}\n{narrow}\n{over}{narrow}\nother\n");
        assert_eq!(*shown.lock().unwrap(), expected);
    }
}
