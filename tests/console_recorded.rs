//! A console over a demo network on a real pseudo-terminal, as docs/CONSOLE.md shows it. `docs/record-console` writes it anew.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/emulator.rs"]
mod emulator;
#[path = "support/pty.rs"]
mod pty;

use std::{fs, process::Command};

use emulator::Emulator;
use pty::Pty;

/// No path is so long that it breaks.
const COLUMNS: u16 = 250;
const PROMPT: &str = "floodplain> ";
/// What is typed, and what tells that its answer has come.
const TYPED: [(&str, &str); 12] = [
    ("5 handbok", "did you mean"),
    ("6", "dan "),
    ("5 levee report 2024", "downloads levee report"),
    ("get 1", ": done, "),
    ("5 type:audio -delta -river -meadow", "downloads levee"),
    ("browse chloe:share/reports", "levee report"),
    ("7", "levee report"),
    ("shares", "downloads"),
    ("9", "accept policy"),
    ("4", "version"),
    ("serch levee", "there is no command"),
    ("help", "floodplain doctor"),
];

#[test]
fn the_recorded_run_is_what_the_console_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.args(["demo", "--peers", "4", "--zones", "1"]).current_dir(folder.path());
    command.env("TERM", "xterm").env("HOME", folder.path()).env("TMPDIR", folder.path());
    let mut console = Pty::start(&command, COLUMNS, 40);
    console.expect("[0] Quit");
    for (typed, answer) in TYPED {
        let mark = console.mark();
        console.type_in(&format!("{typed}\r"));
        console.expect_since(mark, answer);
    }
    console.type_in("0\r");
    assert_eq!(console.ended(), 0, "{}", console.written());
    let seen = Emulator::seen(COLUMNS.into(), console.written().trim_start_matches("held"));
    let recorded = document(&normalised(&seen, &folder.path().display().to_string()));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONSOLE.md");
    if std::env::var_os("FLOODPLAIN_KEEP_RECORDING").is_some() {
        fs::write(path, &recorded).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap();
    assert!(recorded == kept, "docs/record-console writes docs/CONSOLE.md anew; it would be\n{recorded}");
}

/// Without what is another at each run: ids, ports, times, the temporary folder, and the lines of progress, which come or
/// do not. What the peer looks up by itself is in its counters.
fn normalised(rows: &[String], folder: &str) -> String {
    let is_progress = |row: &&String| {
        let state = row.strip_prefix('#').and_then(|row| row.split(": ").nth(1)).unwrap_or_default();
        ["waiting", "running", "verifying"].iter().any(|word| state.starts_with(word))
    };
    // A prompt at which nothing was typed was written over by what came, and stands there once more.
    let is_bare = |row: &&String| row.trim_end() == PROMPT.trim_end();
    // Another peer of this machine may have the usual port of the page.
    let is_elsewhere = |row: &&String| row.contains(" is taken; the web page listens on ");
    let rows = rows.iter().filter(|row| !is_progress(row) && !is_bare(row) && !is_elsewhere(row));
    let rows = rows.map(|row| one(row, folder)).filter(|row| !row.is_empty());
    rows.collect::<Vec<_>>().join("\n")
}

fn one(row: &str, folder: &str) -> String {
    let row = row.replace(folder, "/tmp");
    if let Some((before, after)) = row.split_once("/floodplain-demo-") {
        let name = after.find('/').unwrap_or(after.len());
        return one(&format!("{before}/demo{}", &after[name..]), folder);
    }
    if let Some((before, _)) = row.split_once("?ticket=") {
        return format!("{}?ticket=<once>", one(before, folder));
    }
    for (name, shown) in [
        ("id ", "<64 hexadecimal digits>"),
        ("port ", "<port>"),
        ("up for ", "<time>"),
        ("neighbors ", "<two or three names>"),
        ("searches ", "<number>"),
        ("queries answered ", "<number>"),
        ("bytes up ", "<size>"),
        ("bytes down ", "<size>"),
    ] {
        if row.starts_with(name) {
            return format!("{:<19}{shown}", name.trim_end());
        }
    }
    if let Some((before, after)) = row.split_once(", ready in ") {
        let (_, after) = after.split_once(" s. ").unwrap();
        return format!("{before}, ready in <time>. {after}");
    }
    // Two of the four, whichever joined first.
    if row.starts_with("1     4      ") {
        return "1     4      <two of them>".into();
    }
    // Whom this peer asks first is another one each time.
    let row = row.replace(", scanning", "").replace("2 hops", "1 hop");
    without_port(&row)
}

/// Five digits: a port that the system chose has as many.
fn without_port(row: &str) -> String {
    let Some((before, after)) = row.split_once("127.0.0.1:") else { return row.to_owned() };
    let digits = after.chars().take_while(char::is_ascii_digit).count();
    format!("{before}127.0.0.1:<port>{}", &after[digits..])
}

fn document(run: &str) -> String {
    format!(
        "# The console\n\n\
         `floodplain peer` on a terminal, `floodplain console` on a running peer and `floodplain demo` open it. Numbers, words and\n\
         their beginnings are commands; what they take may follow, or is asked for. Tab completes commands, peers, hits and files;\n\
         the arrow keys go through earlier lines. What others do appears above the line that is being typed, which stays. Ctrl-C\n\
         cancels what runs, and quits when it comes twice. On a pipe it reads commands and writes plain lines.\n\n\
         `floodplain top` shows a peer on the whole screen: Tab goes from list to list, arrows, PgUp, PgDn, Home and End scroll in it.\n\
         `floodplain doctor` says what is wrong and what to do about it.\n\n\
         ## A run\n\n\
         Four peers on one machine, recorded by `docs/record-console`, which runs this on a pseudo-terminal; ids, ports and times\n\
         are left out, and lines of progress.\n\n\
         ```text\n$ floodplain demo --peers 4 --zones 1\n{run}\n```\n"
    )
}
