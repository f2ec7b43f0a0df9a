//! What a person sees of what was written to a terminal: as much of one as a line editor and lines of progress need. Lines that
//! scroll off are kept.

// Shared by several tests as a module of each.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

/// A terminal of some width and any height.
pub struct Emulator {
    columns: usize,
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Emulator {
    pub fn new(columns: usize) -> Self {
        Self { columns, lines: vec![vec![]], row: 0, column: 0 }
    }

    /// As seen after all of it was written.
    pub fn seen(columns: usize, written: &str) -> Vec<String> {
        let mut emulator = Self::new(columns);
        emulator.write(written);
        emulator.rows()
    }

    pub fn rows(&self) -> Vec<String> {
        self.lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    pub fn write(&mut self, written: &str) {
        let mut rest = written.chars();
        while let Some(c) = rest.next() {
            match c {
                '\u{1b}' => {
                    // Only control sequences: ESC [ parameters final.
                    if rest.next() != Some('[') {
                        continue;
                    }
                    let mut parameters = String::new();
                    let last = rest.by_ref().find(|c| {
                        let is_last = ('@'..='~').contains(c);
                        if !is_last {
                            parameters.push(*c);
                        }
                        is_last
                    });
                    self.control(last.unwrap_or(' '), &parameters);
                }
                '\r' => self.column = 0,
                '\n' => self.down(),
                '\u{8}' => self.column = self.column.saturating_sub(1),
                c if c.is_control() => {}
                c => self.put(c),
            }
        }
    }

    fn control(&mut self, last: char, parameters: &str) {
        let count = parameters.parse().unwrap_or(1).max(1);
        match last {
            'A' => self.row = self.row.saturating_sub(count),
            'B' => (0..count).for_each(|_| self.down()),
            'C' => self.column = (self.column + count).min(self.columns - 1),
            'D' => self.column = self.column.saturating_sub(count),
            'G' => self.column = count - 1,
            'K' if parameters == "2" => self.lines[self.row].clear(),
            'K' => self.lines[self.row].truncate(self.column),
            'J' => {
                self.lines[self.row].truncate(self.column);
                self.lines.truncate(self.row + 1);
            }
            // Colors and modes.
            'm' | 'h' | 'l' => {}
            other => panic!("a sequence that is not known here: {parameters}{other}"),
        }
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.lines.len() {
            self.lines.push(vec![]);
        }
    }

    fn put(&mut self, c: char) {
        if self.column == self.columns {
            self.down();
            self.column = 0;
        }
        let line = &mut self.lines[self.row];
        while line.len() <= self.column {
            line.push(' ');
        }
        line[self.column] = c;
        self.column += 1;
    }
}
