//! Text that is to take one row of a window, however wide that is now.

use std::os::fd::AsFd;

/// How wide the window behind that is; `None` where there is none, or none that tells.
pub fn columns(terminal: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(terminal).ok()?;
    // Some terminals tell none.
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Cut so that it takes one row, and leaves the last column, after which some terminals break.
pub fn in_one_row(line: &str, columns: Option<usize>) -> String {
    let Some(room) = columns.map(|columns| columns.saturating_sub(1)) else { return line.to_owned() };
    let mut taken = 0;
    let fits = |c: &char| {
        taken += width(*c);
        taken <= room
    };
    line.chars().take_while(fits).collect()
}

/// Cells that it takes at most: a character that is not ASCII may be two columns wide.
pub fn width(c: char) -> usize {
    if c.is_ascii() { 1 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_never_longer_than_the_window() {
        assert_eq!(in_one_row("abc", None), "abc");
        assert_eq!(in_one_row("abc", Some(4)), "abc");
        assert_eq!(in_one_row("abc", Some(3)), "ab");
        assert_eq!(in_one_row("漢字", Some(4)), "漢");
        assert_eq!(in_one_row("abc", Some(0)), "");
    }
}
