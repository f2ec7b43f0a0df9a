//! A network of real processes in one temporary folder, a folder each; what runs is killed when the test is over.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use tempfile::TempDir;

#[path = "processes.rs"]
pub(crate) mod processes;

pub(crate) use processes::Daemon;
use processes::{PATIENCE, floodplain, home};

/// A registry, and peers of one zone.
pub(crate) struct Daemons {
    folder: TempDir,
    registry: Daemon,
}

impl Daemons {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
        Self { folder, registry }
    }

    /// The folder of a peer, with its share.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        fs::create_dir_all(folder.join("share")).unwrap();
        folder
    }

    /// A file in a peer's share, whose content is its own.
    pub(crate) fn share(&self, peer: &str, name: &str, size_bytes: u64) {
        let mut file = fs::File::create(self.at(peer).join("share").join(name)).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        file.set_len(size_bytes).unwrap();
    }

    /// Starts a peer with these settings, and waits until it knows itself.
    pub(crate) fn peer(&self, name: &str, settings: &[&str]) -> Daemon {
        let more: Vec<String> = settings.iter().map(|setting| format!("FLOODPLAIN_{setting}\n")).collect();
        let folder = home(&self.at(name), &self.registry.address, &more.concat());
        let daemon = Daemon::start(&folder, &["peer", "--name", name]);
        self.until(name, "--json peers", &format!("\"name\":\"{name}\""));
        daemon
    }

    pub(crate) fn command(&self, peer: &str, line: &str) -> Command {
        let mut command = floodplain(&self.at(peer));
        command.args(line.split_whitespace());
        command
    }

    /// Exit code, stdout and stderr of a verb.
    pub(crate) fn run(&self, peer: &str, line: &str) -> (i32, String, String) {
        let output = self.command(peer, line).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// A verb that has to end well; what it printed.
    pub(crate) fn ok(&self, peer: &str, line: &str) -> String {
        let (code, out, err) = self.run(peer, line);
        assert_eq!(code, 0, "{peer}: {line}: {out}{err}");
        out
    }

    /// Runs it until a line holds the words; that line. What it says is written to be seen when it never does.
    pub(crate) fn until(&self, peer: &str, line: &str, words: &str) -> String {
        let began = Instant::now();
        loop {
            let (_, out, err) = self.run(peer, line);
            if let Some(found) = out.lines().find(|line| line.contains(words)) {
                return found.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "{peer}: {line} never says {words}: {out}{err}");
        }
    }

    /// What a console on a pipe prints for one typed line, again and again until a line holds the words.
    pub(crate) fn console_until(&self, peer: &str, typed: &str, words: &str) -> String {
        let began = Instant::now();
        loop {
            let mut command = self.command(peer, "console");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut console = command.spawn().unwrap();
            // Its end closes the pipe, which ends the console.
            writeln!(console.stdin.take().unwrap(), "{typed}").unwrap();
            let out = String::from_utf8(console.wait_with_output().unwrap().stdout).unwrap();
            if let Some(found) = out.lines().find(|line| line.contains(words)) {
                return found.to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "{peer}: {typed} never says {words}: {out}");
        }
    }
}

/// The lines that a command prints to stderr; it is killed when these are dropped.
pub(crate) struct Messages {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Messages {
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that holds the words.
    pub(crate) fn until(&mut self, words: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let Some(line) = self.lines.next() else { panic!("ended before it said {words}: {seen:?}") };
            seen.push(line.unwrap());
            if seen.last().unwrap().contains(words) {
                return seen.pop().unwrap();
            }
        }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
