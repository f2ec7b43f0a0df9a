//! What an operator has of running daemons: health, numbers, the registry's page, the log level, the service manager.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[path = "support/processes.rs"]
mod processes;

use processes::{Daemon, PATIENCE, ask, floodplain, home, log, logged, run, until, wait_for};

const ANY_PORT: &str = "FLOODPLAIN_HTTP_LISTEN=127.0.0.1:0\n";

/// A registry whose page takes any port.
fn registry(folder: &Path, listen: &str) -> Daemon {
    fs::create_dir_all(folder).unwrap();
    let settings = "FLOODPLAIN_INSECURE_LOOPBACK=true\nFLOODPLAIN_REGISTRY_HTTP_LISTEN=127.0.0.1:0\n";
    fs::write(folder.join(".env"), settings).unwrap();
    Daemon::start(folder, &["registry", "--listen", listen, "--data", "data"])
}

/// A page or an interface, and its owner's token.
struct Gateway {
    address: String,
    token: String,
}

impl Gateway {
    fn of(folder: &Path, gateway: &str) -> Self {
        let folder = folder.join("data").join(gateway);
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_owned();
        wait_for("the gateway listens", || !read("address").is_empty(), || format!("{}", folder.display()));
        Self { address: read("address"), token: read("token") }
    }

    /// Status, headers and body, with these further headers.
    fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host =
            if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        write!(stream, "GET {path} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{path}: {answer}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    fn owned(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.get(path, &format!("Authorization: Bearer {}\r\n", self.token));
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{path}: {body}")))
    }

    fn metric(&self, series: &str) -> Option<f64> {
        let (status, _, body) = self.get("/metrics", "");
        assert_eq!(status, 200);
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        body.lines().find_map(value)
    }
}

#[test]
fn daemons_tell_their_health_and_their_numbers_and_the_registry_what_it_sees() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, ana) = (folder.path().join("hub"), folder.path().join("ana"));
    let running = registry(&hub, "127.0.0.1:0");
    home(&ana, &running.address, ANY_PORT);
    fs::write(ana.join("share/report.txt"), "words").unwrap();
    let peer = Daemon::start(&ana, &["peer", "--name", "ana"]);
    until(&ana, "--json status", "\"connection\":\"connected\"");
    until(&ana, "--json search report", "\"type\":\"hit\"");

    let page = Gateway::of(&ana, "gateway");
    assert_eq!(page.get("/healthz", "").0, 200);
    assert_eq!(page.get("/readyz", "").2, "ready\n");
    let (_, head, _) = page.get("/metrics", "");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert_eq!(page.metric("floodplain_connection{state=\"connected\"}"), Some(1.0));
    assert!(page.metric("floodplain_searches_total").unwrap() >= 1.0);
    assert!(page.metric("floodplain_search_hits_total").unwrap() >= 1.0);
    assert!(page.metric("floodplain_search_first_hit_seconds_count").unwrap() >= 1.0);
    let ended = page.metric("floodplain_search_duration_seconds_bucket{le=\"+Inf\"}");
    assert_eq!(ended, page.metric("floodplain_search_duration_seconds_count"));
    assert!(ended.unwrap() >= 1.0);
    assert_eq!(page.metric("floodplain_index_files"), Some(1.0));
    assert!(page.metric("process_resident_memory_bytes").unwrap() > 1e6);

    let seen = Gateway::of(&hub, "registry-gateway");
    assert_eq!((seen.get("/healthz", "").0, seen.get("/readyz", "").0), (200, 200));
    assert_eq!(seen.metric("floodplain_registry_peers"), Some(1.0));
    assert_eq!(seen.metric("floodplain_registry_sessions"), Some(1.0));
    assert_eq!(seen.metric("floodplain_registry_registrations_total"), Some(1.0));
    let (status, now) = seen.owned("/api/v1/registry");
    assert_eq!((status, &now["peers"], &now["closed"]), (200, &1.into(), &Value::Null), "{now}");
    assert_eq!((&now["capacity"]["layout"], &now["capacity"]["zone_max"]), (&"elastic".into(), &24.into()));
    let (status, zones) = seen.owned("/api/v1/zones?page_size=1");
    assert_eq!((status, &zones["items"][0]["gateways"][0]), (200, &"ana".into()), "{zones}");
    let (_, peers) = seen.owned("/api/v1/peers?zone=1");
    let first = &peers["items"][0];
    assert_eq!(
        (&first["name"], &first["has_session"], &first["is_gateway"]),
        (&"ana".into(), &true.into(), &true.into())
    );
    let left = first["lease_seconds"].as_f64().unwrap();
    assert!((1.0..=30.0).contains(&left), "{first}");
    assert_eq!(seen.owned("/api/v1/peers?zone=2").1["items"], Value::Array(Vec::new()));
    for wrong in [
        "/api/v1/peers?zone=0",
        "/api/v1/peers?page_token=x",
        "/api/v1/zones?page_size=0",
        "/api/v1/peers?a=b",
    ] {
        assert_eq!(seen.owned(wrong).0, 400, "{wrong}");
    }
    // Its page is there for anybody on the machine, what it shows is not.
    let (status, head, body) = seen.get("/", "");
    assert!(
        status == 200 && head.contains("default-src 'none'") && body.contains("<title>Floodplain registry")
    );
    for path in ["/api/v1/registry", "/api/v1/peers", "/api/v1/zones"] {
        assert_eq!(seen.get(path, "").0, 401, "{path}");
        assert_eq!(seen.get(path, "Host: files.example.org\r\n").0, 403, "{path}");
    }
    let (_, _, described) = seen.get("/openapi.json", "");
    let described: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["paths"].as_object().unwrap().len(), 3);

    // Without its registry a peer lives, and cannot do its work.
    assert_eq!(running.stop(), Some(0));
    wait_for("it is not ready", || page.get("/readyz", "").0 == 503, || logged(&ana));
    assert!(page.get("/readyz", "").2.contains("the registry does not answer"));
    assert_eq!((page.get("/healthz", "").0, peer.stop()), (200, Some(0)));
}

#[test]
fn what_a_daemon_logs_is_changed_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, ana) = (folder.path().join("hub"), folder.path().join("ana"));
    let running = registry(&hub, "127.0.0.1:0");
    home(&ana, &running.address, ANY_PORT);
    let peer = Daemon::start(&ana, &["peer", "--name", "ana"]);
    until(&ana, "--json status", "\"connection\":\"connected\"");

    assert_eq!(run(&ana, "log"), (0, "info\n".into()));
    assert!(!logged(&ana).contains("DEBUG"));
    assert_eq!(run(&ana, "--quiet log warn,floodplain=debug"), (0, "warn,floodplain=debug\n".into()));
    wait_for(
        "it logs more",
        || run(&ana, "search x").0 == 3 && logged(&ana).contains("DEBUG"),
        || logged(&ana),
    );
    assert_eq!(run(&ana, "--json log off"), (0, "{\"type\":\"log_level\",\"level\":\"off\"}\n".into()));
    let before = fs::metadata(ana.join("log")).unwrap().len();
    run(&ana, "search x");
    assert_eq!(fs::metadata(ana.join("log")).unwrap().len(), before, "nothing more is logged");

    for wrong in ["loud", "info,loud", "a=b=c"] {
        let told = ask(&ana, &["log", wrong]);
        assert_eq!(told.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&told.stderr).contains("must be off, error, warn"), "{told:?}");
    }
    assert_eq!(run(&ana, "log"), (0, "off\n".into()));
    assert_eq!(run(&ana, "log --registry").0, 4, "no registry has this data folder");
    let of_hub = |line: &str| run(&hub, &format!("--data data {line}"));
    assert_eq!(of_hub("--quiet log debug"), (0, "debug\n".into()));
    assert_eq!(of_hub("log --registry"), (0, "debug\n".into()));
    assert_eq!((peer.stop(), running.stop()), (Some(0), Some(0)));
}

/// A service manager that listens.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn at(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    /// A daemon that is told of it.
    fn start(&self, folder: &Path, arguments: &[&str]) -> Child {
        let mut command = floodplain(folder);
        command.args(arguments).env("NOTIFY_SOCKET", &self.path).env("WATCHDOG_USEC", "2000000");
        command.stdout(Stdio::null()).stderr(log(folder)).spawn().unwrap()
    }

    /// What it is told next.
    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("it is told in time");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// Everything up to what holds the words.
    fn until(&self, words: &str) -> Vec<String> {
        let (mut told, began) = (Vec::new(), Instant::now());
        while !told.last().is_some_and(|last: &String| last.contains(words)) {
            assert!(began.elapsed() < PATIENCE, "never told {words}: {told:?}");
            told.push(self.next());
        }
        told
    }
}

fn stop(mut daemon: Child) -> Option<i32> {
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    daemon.wait().unwrap().code()
}

#[test]
fn the_service_manager_hears_when_a_peer_has_joined_that_it_lives_and_that_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, ana) = (folder.path().join("hub"), folder.path().join("ana"));
    let first = registry(&hub, "127.0.0.1:0");
    let address = first.address.clone();
    assert_eq!(first.stop(), Some(0));
    home(&ana, &address, ANY_PORT);
    let manager = Manager::at(folder.path());
    let peer = manager.start(&ana, &["peer", "--name", "ana", "--headless"]);
    // Signs of life come from the beginning, and it is not ready while nobody answers.
    let before = manager.until("STATUS=joining");
    assert!(before.iter().all(|told| !told.contains("READY=1")), "{before:?}");
    let signs = manager.until("WATCHDOG=1");
    assert!(signs.iter().all(|told| !told.contains("READY=1")), "{signs:?}");

    let second = registry(&hub, &address);
    let ready = manager.until("READY=1");
    assert!(ready.last().unwrap().contains("STATUS=in a zone of 1 peers"), "{ready:?}");
    let began = Instant::now();
    manager.until("WATCHDOG=1");
    assert!(began.elapsed() < Duration::from_secs(2), "each half of the time that was asked for");
    assert_eq!(stop(peer), Some(0));
    assert!(manager.until("STOPPING=1").last().unwrap().contains("STATUS=stopping"));
    assert_eq!(second.stop(), Some(0));
}

#[test]
fn the_service_manager_hears_when_a_registry_serves() {
    let folder = tempfile::tempdir().unwrap();
    let hub = folder.path().join("hub");
    drop(registry(&hub, "127.0.0.1:0"));
    let manager = Manager::at(folder.path());
    let running = manager.start(&hub, &["registry", "--listen", "127.0.0.1:0", "--data", "data"]);
    let ready = manager.until("READY=1");
    assert!(ready.last().unwrap().contains("STATUS=serving 0 peers in "), "{ready:?}");
    assert_eq!(stop(running), Some(0));
    manager.until("STOPPING=1");
}

#[test]
fn every_verb_has_a_page_of_the_manual() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    let (code, _) = run(folder.path(), &format!("man --dir {}", pages.display()));
    assert_eq!(code, 0);
    for name in ["floodplain", "floodplain-registry", "floodplain-transfers-pause"] {
        let page = fs::read_to_string(pages.join(format!("{name}.1"))).unwrap();
        assert!(page.contains(".TH") && page.contains(".SH NAME"), "{name}: {page}");
    }
}
