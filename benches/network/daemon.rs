//! Daemons as processes of their own, from the binary that is shipped; killed when dropped.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) data: PathBuf,
    /// From exec to the line that says where it listens.
    pub(crate) listened: Duration,
    /// From exec to the line that says that it has joined; of those that were waited for.
    pub(crate) joined: Option<Duration>,
}

impl Daemon {
    pub(crate) fn registry(folder: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start(folder, &[&["registry", "--listen", "127.0.0.1:0"], arguments].concat(), &[], false)
    }

    /// A peer that offers the folder `share` beneath its own.
    pub(crate) fn peer(folder: &Path, registry: SocketAddr, name: &str, waits: bool) -> Result<Self> {
        let registry = registry.to_string();
        let arguments =
            ["peer", "--headless", "--listen", "127.0.0.1:0", "--registry", &registry, "--name", name];
        Self::start(folder, &arguments, &[], waits)
    }

    /// The same with settings of its own, waited for until it has joined.
    pub(crate) fn peer_with(
        folder: &Path,
        registry: SocketAddr,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let registry = registry.to_string();
        let arguments =
            ["peer", "--headless", "--listen", "127.0.0.1:0", "--registry", &registry, "--name", name];
        Self::start(folder, &arguments, settings, true)
    }

    fn start(folder: &Path, arguments: &[&str], settings: &[(&str, &str)], waits: bool) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
        command
            .args(arguments)
            .args(["--data", "data", "--insecure-loopback"])
            .env_clear()
            .env("HOME", folder)
            .envs(settings.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(if waits { Stdio::piped() } else { Stdio::null() });
        let begun = Instant::now();
        let mut child = command.spawn().context("the daemon does not start")?;
        let told = told(child.stdout.take(), "listening on ")?;
        let listened = begun.elapsed();
        let joined = child.stderr.take().map(|log| until(log, "joined the network")).transpose()?;
        let joined = joined.map(|()| begun.elapsed());
        Ok(Self { child, address: told.parse()?, data: folder.join("data"), listened, joined })
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rest of the first line.
fn told(out: Option<impl Read>, what: &str) -> Result<String> {
    let mut line = String::new();
    BufReader::new(out.context("a pipe")?).read_line(&mut line)?;
    let told = line.trim_end().strip_prefix(what);
    Ok(told.with_context(|| format!("the daemon said `{line}`, not `{what}`"))?.to_owned())
}

/// Reads a log up to the line with these words; the rest is read and dropped, so that the daemon never waits.
fn until(log: impl Read + Send + 'static, words: &str) -> Result<()> {
    let mut log = BufReader::new(log);
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        anyhow::ensure!(log.read_line(&mut line)? > 0, "the daemon ended before it {words}");
    }
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    Ok(())
}
