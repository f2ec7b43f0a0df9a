//! What the program is held against: each a process that serves a file, and a command that fetches it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::measure::Killed;

/// How long a server may take until it serves; some hash the file first.
const PATIENCE: Duration = Duration::from_secs(60);
/// Read and written at a time by the plain copy.
const COPY_BYTES: usize = 256 << 10;
/// Keeps rqbit to this machine.
const RQBIT: [&str; 10] = [
    "-v",
    "error",
    "--disable-dht",
    "--disable-lsd",
    "--disable-trackers",
    "--disable-upnp-port-forward",
    "--listen-ip",
    "127.0.0.1",
    "--http-api-listen-addr",
    "127.0.0.1:0",
];
/// Keeps sendme to this machine.
const SENDME: [&str; 5] = ["--relay", "disabled", "--magic-ipv4-addr", "127.0.0.1:0", "--no-progress"];

/// A process that serves, and what it said of where.
#[derive(Debug)]
pub(crate) struct Server {
    child: Killed,
    pub(crate) told: String,
}

impl Server {
    /// Waits for the first line of its output in which `found` finds something.
    pub(crate) fn start(mut command: Command, found: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let started = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = Killed(started.with_context(|| format!("could not run {command:?}"))?);
        let mut out = BufReader::new(child.0.stdout.take().context("piped")?);
        let mut line = String::new();
        let told = loop {
            line.clear();
            ensure!(out.read_line(&mut line)? > 0, "{command:?} ended early");
            if let Some(told) = found(line.trim()) {
                break told;
            }
        };
        // What else it says is dropped, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Ok(Self { child, told })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }
}

/// A way to bring a file from one process to another.
pub(crate) trait Rival {
    fn name(&self) -> &'static str;
    fn pid(&self) -> u32;
    /// Fetches once into that empty folder.
    fn get(&self, folder: &Path) -> Command;
}

/// Nginx with sendfile, and curl.
#[derive(Debug)]
pub(crate) struct Nginx(Killed, u16);

impl Nginx {
    pub(crate) fn start(home: &Path, file: &Path) -> Result<Self> {
        Self::with(home, file, "", "")
    }

    fn with(home: &Path, file: &Path, listen: &str, server: &str) -> Result<Self> {
        let port = free_port()?;
        let (root, home_text) = (file.parent().context("a folder")?.display(), home.display());
        let config = format!(
            "daemon off; master_process off; pid {home_text}/nginx.pid; error_log {home_text}/error.log;\n\
             user root; events {{}}\nhttp {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {home_text}/t;\n\
             server {{ listen 127.0.0.1:{port}{listen}; {server}location / {{ root {root}; }} }} }}\n"
        );
        let path = home.join("nginx.conf");
        fs::write(&path, config)?;
        let child = Command::new("nginx").arg("-c").arg(path).stderr(Stdio::null()).spawn();
        let nginx = Self(Killed(child.context("could not run nginx")?), port);
        await_port(port)?;
        Ok(nginx)
    }
}

impl Rival for Nginx {
    fn name(&self) -> &'static str {
        "nginx to curl"
    }

    fn pid(&self) -> u32 {
        self.0.0.id()
    }

    fn get(&self, folder: &Path) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sf", "-o"]).arg(folder.join("copy")).arg(format!("http://127.0.0.1:{}/file", self.1));
        curl
    }
}

/// The same over TLS 1.3. Neither end proves anything: curl takes any certificate, and shows none.
#[derive(Debug)]
pub(crate) struct NginxTls(Nginx);

impl NginxTls {
    pub(crate) fn start(home: &Path, file: &Path) -> Result<Self> {
        let home = home.join("tls");
        fs::create_dir_all(&home)?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (home.join("certificate.pem"), home.join("key.pem"));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let server = format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3; ",
            certificate.display(),
            key.display()
        );
        Ok(Self(Nginx::with(&home, file, " ssl", &server)?))
    }
}

impl Rival for NginxTls {
    fn name(&self) -> &'static str {
        "nginx TLS 1.3 to curl"
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn get(&self, folder: &Path) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sfk", "--tlsv1.3", "-o"]).arg(folder.join("copy"));
        curl.arg(format!("https://127.0.0.1:{}/file", self.0.1));
        curl
    }
}

/// A plain program at either end: reads the file, sends it over one TCP connection, writes it.
#[derive(Debug)]
pub(crate) struct PlainCopy {
    binary: PathBuf,
    server: Server,
}

impl PlainCopy {
    pub(crate) fn start(file: &Path) -> Result<Self> {
        let binary = std::env::current_exe()?;
        let mut command = Command::new(&binary);
        command.arg("plain-serve").arg(file);
        Ok(Self { binary, server: Server::start(command, |line| Some(line.to_owned()))? })
    }
}

impl Rival for PlainCopy {
    fn name(&self) -> &'static str {
        "plain copy"
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn get(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["plain-get", &self.server.told]).arg(folder.join("copy"));
        command
    }
}

/// Serves one connection after the other; prints its address first.
pub(crate) fn plain_serve(file: &Path) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let (mut peer, _) = listener.accept()?;
        let mut file = fs::File::open(file)?;
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 || peer.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    }
}

/// To the end of what comes.
pub(crate) fn plain_get(address: &str, copy: &Path) -> Result<()> {
    let (mut peer, mut copy) = (TcpStream::connect(address)?, fs::File::create(copy)?);
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match peer.read(&mut buffer)? {
            0 => return Ok(()),
            count => copy.write_all(&buffer[..count])?,
        }
    }
}

/// `BitTorrent`: pieces checked with SHA-1, one seeder, told to the fetcher.
#[derive(Debug)]
pub(crate) struct Rqbit {
    binary: PathBuf,
    port: u16,
    server: Server,
}

impl Rqbit {
    pub(crate) fn start(binary: &Path, file: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(binary);
        command.args(RQBIT).args(["--listen-port", &port.to_string(), "share"]).arg(file);
        let magnet = |line: &str| line.find("magnet:").map(|at| line[at..].to_owned());
        let server = Server::start(command, magnet)?;
        await_port(port)?;
        Ok(Self { binary: binary.into(), port, server })
    }
}

impl Rival for Rqbit {
    fn name(&self) -> &'static str {
        "rqbit"
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn get(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(RQBIT).args(["download", "--exit-on-finish", "--disable-http-api"]);
        command.args(["--initial-peers", &format!("127.0.0.1:{}", self.port), "-o"]).arg(folder);
        command.arg(&self.server.told);
        command
    }
}

/// QUIC of iroh, BLAKE3 checked.
#[derive(Debug)]
pub(crate) struct Sendme {
    binary: PathBuf,
    server: Server,
}

impl Sendme {
    pub(crate) fn start(binary: &Path, home: &Path, file: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("send").args(SENDME).arg(file).current_dir(home);
        let ticket = |line: &str| line.strip_prefix("sendme receive ").map(|ticket| ticket.trim().to_owned());
        Ok(Self { binary: binary.into(), server: Server::start(command, ticket)? })
    }
}

impl Rival for Sendme {
    fn name(&self) -> &'static str {
        "sendme"
    }

    fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn get(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("receive").args(SENDME).arg(&self.server.told).current_dir(folder);
        command
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn await_port(port: u16) -> Result<()> {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(began.elapsed() < PATIENCE, "nobody listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
