//! How far a transfer is: a bar where one can be drawn, else whole lines, few enough to be read in a log.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{Style, size};
use crate::{
    console::view::{is_news, pace, state, word},
    protocol::{
        action::{Transfer, TransferState},
        name::{Printable, printable_lines},
    },
};

/// Time between two lines of one transfer that say nothing but more bytes.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The same of one that waits: what it waits for changes every second.
const WAITING_LINE_EVERY: Duration = Duration::from_secs(30);

/// Shows one transfer on stderr. The bar is taken off when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    style: Style,
    /// Told beside the name, where one command sends to several.
    receiver: Option<String>,
    bar: Option<ProgressBar>,
    /// What the last line told, and when.
    last: Option<(Transfer, Instant)>,
}

impl Progress {
    pub(super) fn new(style: Style) -> Self {
        Self { style, receiver: None, bar: None, last: None }
    }

    /// Of one of several sends.
    pub(super) fn to(style: Style, receiver: &str) -> Self {
        Self { style, receiver: Some(receiver.to_owned()), bar: None, last: None }
    }

    pub(super) fn show(&mut self, transfer: &Transfer) {
        if self.style.quiet || transfer.state.is_final() {
            return;
        }
        if self.style.draws_progress {
            self.draw(transfer);
        } else if let Some(line) = self.line(transfer, Instant::now()) {
            let _ = writeln!(std::io::stderr(), "{}", printable_lines(&line));
        }
    }

    fn draw(&mut self, transfer: &Transfer) {
        let bar = self.bar.get_or_insert_with(|| {
            // Speed and what is left come with the transfer: one place computes them for every face.
            let template = "{msg}  [{bar:30}] {binary_bytes}/{binary_total_bytes}  {prefix}";
            let style =
                ProgressStyle::with_template(template).expect("the template is a constant that parses");
            ProgressBar::new(0).with_style(style.progress_chars("=> "))
        });
        bar.set_length(transfer.size_bytes);
        bar.set_position(transfer.done_bytes);
        // A row is cut at its end: what is longest stands there.
        let note = Some(&transfer.note).filter(|note| !note.is_empty());
        let note = note.map(|note| Printable(note).to_string());
        bar.set_prefix(pace(transfer).into_iter().chain(note).collect::<Vec<_>>().join(", "));
        bar.set_message(match transfer.state {
            TransferState::Running => Printable(&transfer.name).to_string(),
            _ => format!("{} ({})", Printable(&transfer.name), word(transfer)),
        });
    }

    /// The first line of each state and of each reason, then one at times.
    fn line(&mut self, transfer: &Transfer, now: Instant) -> Option<String> {
        let every = if transfer.state == TransferState::Waiting { WAITING_LINE_EVERY } else { LINE_EVERY };
        if let Some((last, at)) = &self.last
            && !is_news(last, transfer)
            && now.duration_since(*at) < every
        {
            return None;
        }
        self.last = Some((transfer.clone(), now));
        let (mut name, said) = (Printable(&transfer.name).to_string(), state(transfer));
        if let Some(receiver) = &self.receiver {
            name = format!("{name} to {}", Printable(receiver));
        }
        if transfer.state == TransferState::Waiting {
            // Its size may not be known yet.
            return Some(format!("{name}: {said}"));
        }
        let (done, whole) = (size(transfer.done_bytes), size(transfer.size_bytes));
        let mut parts = vec![format!("{name}: {said}"), format!("{done} of {whole}")];
        parts.extend(pace(transfer));
        Some(parts.join(", "))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::action::{Direction, Priority};

    #[test]
    fn lines_come_at_a_bounded_rate_and_with_every_change_of_state() {
        let mut transfer = Transfer {
            id: 1,
            direction: Direction::Download,
            state: TransferState::Waiting,
            name: "a\u{1b}.bin".into(),
            path: None,
            hash: None,
            size_bytes: 2048,
            done_bytes: 0,
            sources: Vec::new(),
            priority: Priority::Normal,
            bytes_per_second: 0,
            queue_position: None,
            note: String::new(),
            note_code: None,
        };
        let mut progress = Progress::new(Style::default());
        let start = Instant::now();
        assert_eq!(progress.line(&transfer, start).unwrap(), "a\\u{1b}.bin: waiting");
        transfer.queue_position = Some(2);
        assert_eq!(
            Progress::new(Style::default()).line(&transfer, start).unwrap(),
            "a\\u{1b}.bin: waiting, place 2"
        );
        transfer.queue_position = None;
        transfer.note = "place 3 in ana's queue\u{7}".into();
        assert_eq!(
            progress.line(&transfer, start).unwrap(),
            "a\\u{1b}.bin: waiting: place 3 in ana's queue\\u{7}",
            "why is told at once"
        );
        transfer.note = "place 2 in ana's queue\u{7}".into();
        assert!(progress.line(&transfer, start + LINE_EVERY).is_none());
        assert!(progress.line(&transfer, start + WAITING_LINE_EVERY).is_some());
        transfer.note.clear();
        transfer.state = TransferState::Running;
        transfer.bytes_per_second = 512;
        assert_eq!(
            progress.line(&transfer, start).unwrap(),
            "a\\u{1b}.bin: running, 0 B of 2.0 KiB, 512 B/s, 4s left"
        );
        assert!(progress.line(&transfer, start + LINE_EVERY / 2).is_none());
        assert!(progress.line(&transfer, start + LINE_EVERY).is_some());
    }
}
