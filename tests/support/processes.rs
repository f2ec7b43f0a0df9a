//! Registries and peers as they are run: real processes in folders of their own, on loopback ports that the system chooses.

// Shared by several tests as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for any one step on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program, in this folder and with its `.env`: that of this build, or what `FLOODPLAIN_TEST_BINARY` names, to measure.
pub fn floodplain(home: &Path) -> Command {
    let chosen = std::env::var_os("FLOODPLAIN_TEST_BINARY");
    in_home(Command::new(chosen.unwrap_or_else(|| env!("CARGO_BIN_EXE_floodplain").into())), home)
}

/// Any command, with nothing of this process's environment.
pub fn in_home(mut command: Command, home: &Path) -> Command {
    command.env_clear().env("HOME", home).current_dir(home).stdin(Stdio::null());
    command
}

/// A daemon that has said where it listens; killed when dropped.
pub struct Daemon {
    child: Child,
    pub address: String,
}

impl Daemon {
    pub fn start(home: &Path, arguments: &[&str]) -> Self {
        let mut command = floodplain(home);
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(log(home)).spawn().expect("starts");
        let address = address(child.stdout.take().expect("piped"))
            .unwrap_or_else(|| panic!("it ended at once: {}", logged(home)));
        Self { child, address }
    }

    pub fn registry(home: &Path, listen: &str) -> Self {
        fs::create_dir_all(home).expect("makes");
        fs::write(home.join(".env"), "FLOODPLAIN_INSECURE_LOOPBACK=true\n").expect("writes");
        Self::start(home, &["registry", "--listen", listen, "--data", "data"])
    }
}

impl Daemon {
    /// As the system knows it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it hold still, go on, or end in order.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Its exit status after SIGTERM.
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().expect("ends").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder for a peer of that registry that shares `share`; `more` are lines of its `.env`.
pub fn home(folder: &Path, registry: &str, more: &str) -> PathBuf {
    fs::create_dir_all(folder.join("share")).expect("makes");
    let settings = format!(
        "FLOODPLAIN_REGISTRY={registry}\nFLOODPLAIN_LISTEN=127.0.0.1:0\nFLOODPLAIN_DATA=data\n\
         FLOODPLAIN_INSECURE_LOOPBACK=true\nFLOODPLAIN_SHARES=share\n{more}"
    );
    fs::write(folder.join(".env"), settings).expect("writes");
    folder.to_path_buf()
}

/// Where the log of all daemons of a folder goes.
pub fn log(home: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(home.join("log")).expect("opens")
}

/// The end of that log.
pub fn logged(home: &Path) -> String {
    let log = fs::read_to_string(home.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// What the first line says, `None` when there is none.
pub fn address(stdout: impl Read) -> Option<String> {
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("reads");
    line.trim_end().strip_prefix("listening on ").map(str::to_owned)
}

/// One command to its end.
pub fn ask(home: &Path, arguments: &[&str]) -> Output {
    floodplain(home).args(arguments).output().expect("runs")
}

/// Exit status and standard output.
pub fn run(home: &Path, line: &str) -> (i32, String) {
    let output = ask(home, &line.split_whitespace().collect::<Vec<_>>());
    (output.status.code().expect("exits"), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The objects that a command prints.
pub fn json(home: &Path, line: &str) -> Vec<Value> {
    let (_, printed) = run(home, &format!("--json {line}"));
    printed.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// Runs until it says so.
pub fn until(home: &Path, line: &str, says: &str) {
    wait_for(&format!("`{line}` says {says}"), || run(home, line).1.contains(says), || logged(home));
}

/// Asks until it is so; panics with the state when that takes too long.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool, state: impl Fn() -> String) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}\n{}", state());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A number that `status` tells.
pub fn status(home: &Path, field: &str) -> u64 {
    json(home, "status").first().and_then(|status| status[field].as_u64()).expect("the peer answers")
}
