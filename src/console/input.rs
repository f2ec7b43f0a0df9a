//! Where lines come from: a line editor on a terminal, a bounded reader elsewhere. Either runs in a thread of its own,
//! because a read of standard input cannot be cancelled; it is left to end with the process.

use std::{
    io::{self, BufRead, Read},
    path::PathBuf,
    sync::mpsc as blocking,
};

use rustyline::{Config, Editor, error::ReadlineError, history::FileHistory};
use tokio::sync::mpsc;

use super::{complete::Completion, parse::MAX_LINE_BYTES};

/// Lines of history that are kept.
const MAX_HISTORY_LINES: usize = 1000;
/// Lines read ahead of the session; the reader waits with more.
const INPUT_QUEUE: usize = 1;

/// One thing typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A line without its end.
    Line(String),
    /// A line longer than [`MAX_LINE_BYTES`], dropped.
    TooLong,
    /// A line that is not UTF-8, dropped.
    NotText,
    /// Ctrl-C; a half-typed line is dropped.
    Interrupt,
    /// No more will come.
    End,
}

/// Lines as they come.
#[derive(Debug)]
pub(super) struct Lines {
    inputs: mpsc::Receiver<Input>,
    /// The editor reads one line for each prompt; a plain reader needs none.
    prompts: Option<blocking::SyncSender<String>>,
    is_prompted: bool,
}

impl Lines {
    /// Reads lines without any prompt.
    pub(super) fn plain(reader: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, inputs) = mpsc::channel(INPUT_QUEUE);
        std::thread::Builder::new().name("console-input".into()).spawn(move || {
            let mut reader = io::BufReader::new(reader);
            loop {
                let input = read_line(&mut reader);
                let is_end = input == Input::End;
                if sender.blocking_send(input).is_err() || is_end {
                    return;
                }
            }
        })?;
        Ok(Self { inputs, prompts: None, is_prompted: false })
    }

    /// Edits lines on the terminal.
    pub(super) fn edited(mut editor: LineEditor) -> io::Result<Self> {
        let (sender, inputs) = mpsc::channel(INPUT_QUEUE);
        let (prompts, asked) = blocking::sync_channel::<String>(1);
        std::thread::Builder::new().name("console-input".into()).spawn(move || {
            for prompt in asked {
                let input = editor.read(&prompt);
                let is_end = input == Input::End;
                if sender.blocking_send(input).is_err() || is_end {
                    return;
                }
            }
        })?;
        Ok(Self { inputs, prompts: Some(prompts), is_prompted: false })
    }

    /// There are prompts, and none is shown.
    pub(super) fn is_prompt_due(&self) -> bool {
        self.prompts.is_some() && !self.is_prompted
    }

    /// Shows the prompt if one is due.
    pub(super) fn prompt(&mut self, prompt: &str) {
        if let Some(prompts) = &self.prompts
            && !self.is_prompted
        {
            // A full queue means that a prompt is on its way; a closed one that the end is.
            _ = prompts.try_send(prompt.to_owned());
            self.is_prompted = true;
        }
    }

    /// The next input. Survives being dropped half way.
    pub(super) async fn next(&mut self) -> Input {
        let input = self.inputs.recv().await.unwrap_or(Input::End);
        self.is_prompted = false;
        input
    }
}

/// The line editor with its history.
pub(super) struct LineEditor {
    editor: Editor<Completion, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    pub(super) fn new(completion: Completion, history: Option<PathBuf>) -> rustyline::Result<Self> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY_LINES)?
            .history_ignore_dups(true)?
            .completion_type(rustyline::CompletionType::List)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(completion));
        if let Some(path) = &history
            && let Err(error) = editor.load_history(path)
        {
            tracing::debug!(path = %path.display(), %error, "no console history was read");
        }
        Ok(Self { editor, history })
    }

    pub(super) fn printer(&mut self) -> rustyline::Result<impl rustyline::ExternalPrinter + Send + use<>> {
        self.editor.create_external_printer()
    }

    fn read(&mut self, prompt: &str) -> Input {
        match self.editor.readline(prompt) {
            Ok(line) if line.len() > MAX_LINE_BYTES => Input::TooLong,
            Ok(line) => {
                self.remember(&line);
                Input::Line(line)
            }
            Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Input::Interrupt,
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => Input::NotText,
            // The terminal is gone.
            Err(_) => Input::End,
        }
    }

    fn remember(&mut self, line: &str) {
        let added = !line.trim().is_empty() && self.editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = &self.history
            && added
            && let Err(error) = self.editor.append_history(path)
        {
            tracing::debug!(path = %path.display(), %error, "the console history was not written");
        }
    }
}

/// Reads one line, and never holds more of it than [`MAX_LINE_BYTES`].
fn read_line(reader: &mut impl BufRead) -> Input {
    let mut line = vec![];
    let limit = u64::try_from(MAX_LINE_BYTES).expect("a small constant") + 1;
    match reader.by_ref().take(limit).read_until(b'\n', &mut line) {
        Ok(0) | Err(_) => return Input::End,
        Ok(_) => {}
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() > MAX_LINE_BYTES {
        return match skip_line(reader) {
            Ok(()) => Input::TooLong,
            Err(_) => Input::End,
        };
    }
    line.pop_if(|last| *last == b'\r');
    String::from_utf8(line).map_or(Input::NotText, Input::Line)
}

fn skip_line(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = available.iter().position(|byte| *byte == b'\n');
        let skipped = end.map_or(available.len(), |end| end + 1);
        reader.consume(skipped);
        if end.is_some() || skipped == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Input> {
        let mut reader = bytes;
        let mut inputs = vec![];
        while inputs.last() != Some(&Input::End) {
            inputs.push(read_line(&mut reader));
        }
        inputs
    }

    #[test]
    fn lines_are_read_whole_and_junk_is_dropped_as_one() {
        let line = |text: &str| Input::Line(text.into());
        assert_eq!(all(b""), [Input::End]);
        assert_eq!(all(b"a\r\n\nb"), [line("a"), line(""), line("b"), Input::End]);
        assert_eq!(all(b"\xff\xfe\nb\n"), [Input::NotText, line("b"), Input::End]);
        let junk = [vec![b'x'; 1 << 20], b"\n0\n".to_vec()].concat();
        assert_eq!(all(&junk), [Input::TooLong, line("0"), Input::End]);
        let longest = [vec![b'x'; MAX_LINE_BYTES], b"\n".to_vec()].concat();
        assert_eq!(all(&longest), [line(&"x".repeat(MAX_LINE_BYTES)), Input::End]);
        assert_eq!(all(&longest[..MAX_LINE_BYTES]), [line(&"x".repeat(MAX_LINE_BYTES)), Input::End]);
        assert_eq!(all(&vec![b'x'; MAX_LINE_BYTES + 1]), [Input::TooLong, Input::End]);
    }
}
