//! How far a transfer is: a bar where one can be drawn, else whole lines, few enough to be read in a log.
//!
//! Invariant: the bar is one row of the window that it is drawn in, and leaves nothing behind in one that became narrower.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use super::output::{Style, size};
use crate::{
    console::{
        row::{self, columns, in_one_row},
        view::{is_news, pace, state, word},
    },
    protocol::{
        action::{Transfer, TransferState},
        name::{Printable, printable_lines},
    },
};

/// Time between two lines of one transfer that say nothing but more bytes.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The same of one that waits: what it waits for changes every second.
const WAITING_LINE_EVERY: Duration = Duration::from_secs(30);

/// Time between two pictures of a bar that tell nothing but more bytes: more cannot be seen, and a slow terminal has to write each.
const DRAW_EVERY: Duration = Duration::from_millis(50);

/// Back to the first cell of the row, and everything from there on gone.
///
/// The cursor rests in that cell, before the row and not behind it: in a window that became narrower most terminals break the row into
/// several and keep the cursor with its cell, others cut it off. Either way all of it is behind the cursor.
const CLEAR: &str = "\r\x1b[J";
/// Around a row: one that comes late, when the window is narrower already, is cut and does not go on in the next row.
const NO_WRAP: (&str, &str) = ("\x1b[?7l", "\x1b[?7h");

/// Cells of the inside of a bar, the most first; a narrow window has less of it, and then none.
const BAR_CELLS: [usize; 3] = [30, 10, 0];

/// A name is not cut below this for the sake of a longer bar.
const LEAST_NAME: usize = 16;

/// A window whose width is not told.
const USUAL_COLUMNS: usize = 80;

/// Shows one transfer on stderr. The bar is taken off when this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    style: Style,
    /// Told beside the name, where one command sends to several.
    receiver: Option<String>,
    /// Something is drawn.
    is_drawn: bool,
    /// What the last line told, and when.
    last: Option<(Transfer, Instant)>,
}

impl Progress {
    pub(super) fn new(style: Style) -> Self {
        Self { style, receiver: None, is_drawn: false, last: None }
    }

    /// Of one of several sends.
    pub(super) fn to(style: Style, receiver: &str) -> Self {
        Self { style, receiver: Some(receiver.to_owned()), is_drawn: false, last: None }
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

    /// The window has another size.
    pub(super) fn resized(&mut self) {
        if let Some((transfer, _)) = self.last.take().filter(|_| self.is_drawn) {
            self.draw(&transfer);
        }
    }

    fn draw(&mut self, transfer: &Transfer) {
        let now = Instant::now();
        if let Some((last, at)) = &self.last
            && !is_news(last, transfer)
            && now.duration_since(*at) < DRAW_EVERY
        {
            return;
        }
        self.last = Some((transfer.clone(), now));
        self.is_drawn = true;
        let room = columns(io::stderr()).unwrap_or(USUAL_COLUMNS);
        let ((begin, end), picture) = (NO_WRAP, picture(transfer, room));
        // In one piece. A terminal that is gone takes no picture.
        let _ = io::stderr().write_all(format!("{CLEAR}{begin}{picture}\r{end}").as_bytes());
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
        if self.is_drawn {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }
}

/// The picture of a transfer in a window of so many columns: name, bar, bytes, and what is left or waited for. The name is cut before the bar
/// is, and what stands at the end before the rest.
fn picture(transfer: &Transfer, columns: usize) -> String {
    let name = match transfer.state {
        TransferState::Running => Printable(&transfer.name).to_string(),
        _ => format!("{} ({})", Printable(&transfer.name), word(transfer)),
    };
    let bytes = format!("{}/{}", size(transfer.done_bytes), size(transfer.size_bytes));
    let note = Some(&transfer.note).filter(|note| !note.is_empty()).map(|note| Printable(note).to_string());
    // Speed and what is left come with the transfer: one place computes them for every face.
    let said = pace(transfer).into_iter().chain(note).collect::<Vec<_>>().join(", ");
    let least_name = LEAST_NAME.min(width(&name));
    let (left, rest) = BAR_CELLS
        .into_iter()
        .map(|cells| {
            let rest = format!("  {}{bytes}  {said}", bar(transfer, cells));
            (columns.saturating_sub(1 + width(rest.trim_end())), rest)
        })
        .find(|(left, _)| *left >= least_name)
        .unwrap_or_else(|| (least_name, format!("  {bytes}  {said}")));
    in_one_row(format!("{}{rest}", shortened(name, left)).trim_end(), Some(columns))
}

fn bar(transfer: &Transfer, cells: usize) -> String {
    if cells == 0 {
        return String::new();
    }
    let percent = usize::from(transfer.percent().unwrap_or_default().min(100));
    let full = cells * percent / 100;
    let tip = usize::from(full < cells && percent > 0);
    format!("[{}{}{}] ", "=".repeat(full), ">".repeat(tip), " ".repeat(cells - full - tip))
}

/// Cut in its midst where it takes more cells: the beginning and the end of a name say most.
fn shortened(name: String, cells: usize) -> String {
    const GAP: &str = "...";
    if width(&name) <= cells {
        return name;
    }
    let room = cells.saturating_sub(GAP.len());
    let front = in_one_row(&name, Some(room - room / 2 + 1));
    let back: String = name.chars().rev().collect();
    let back: String = in_one_row(&back, Some(room / 2 + 1)).chars().rev().collect();
    format!("{front}{GAP}{back}")
}

/// Cells that it takes at most.
fn width(text: &str) -> usize {
    text.chars().map(row::width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::action::{Direction, Priority};

    fn waiting() -> Transfer {
        Transfer {
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
        }
    }

    #[test]
    fn a_row_fits_every_window_and_the_name_is_cut_first() {
        let running =
            Transfer { state: TransferState::Running, done_bytes: 1024, bytes_per_second: 512, ..waiting() };
        assert_eq!(
            picture(&running, 100),
            "a\\u{1b}.bin  [===============>              ] 1.0 KiB/2.0 KiB  512 B/s, 2s left"
        );
        let long = Transfer { name: "the yearly report of everybody.pdf".into(), ..running.clone() };
        let shown = picture(&long, 70);
        assert!(
            shown.starts_with("the year") && shown.contains("...") && shown.contains(".pdf  [=="),
            "{shown}"
        );
        assert!(shown.ends_with("512 B/s, 2s left"), "{shown}");
        assert!(!picture(&long, 50).contains('['), "{}", picture(&long, 50));
        let hostile = "\u{1b}[2J\u{202e}\r\n漢字e\u{301}".repeat(40);
        for transfer in
            [waiting(), running, long, Transfer { name: hostile.clone(), note: hostile, ..waiting() }]
        {
            for columns in 0..200 {
                let shown = picture(&transfer, columns);
                assert!(width(&shown) < columns.max(1), "{columns}: {shown:?}");
                assert!(!shown.contains(|c: char| c.is_control() || c == '\u{202e}'), "{shown:?}");
            }
        }
    }

    #[test]
    fn lines_come_at_a_bounded_rate_and_with_every_change_of_state() {
        let mut transfer = waiting();
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
