//! `doctor` against real daemons: a sound peer has no finding, and every finding there is is provoked once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use floodplain::{
    cli::doctor::finding,
    net::Authority,
    protocol::trust::Credentials,
    store::membership::{Enrolled, NetworkFolder},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[path = "support/processes.rs"]
mod processes;

use processes::{Daemon, ask, floodplain, home, logged, run, until, wait_for};

/// What a look finds there, as it is told to a program; it ends with 1 when that is anything.
fn look(home: &Path) -> Vec<Value> {
    let output = ask(home, &["doctor", "--json"]);
    let told = String::from_utf8(output.stdout).unwrap();
    let found: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for one in &found {
        let texts = ["id", "what", "why", "todo"].map(|key| one[key].as_str().unwrap().to_owned());
        assert!(one["type"] == "finding" && texts.iter().all(|text| !text.is_empty()), "{one}");
        assert!(!one.to_string().contains("/secret/"), "{one}");
    }
    assert_eq!(output.status.code(), Some(i32::from(!found.is_empty())), "{told}");
    found
}

fn ids(found: &[Value]) -> BTreeSet<String> {
    found.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

fn what(found: &[Value], id: &str) -> String {
    let one = found.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id}: {found:?}"));
    one["what"].as_str().unwrap().to_owned()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A folder for a member of a closed network with something to share, and its `.env`.
fn closed_home(folder: &Path, more: &str) -> PathBuf {
    fs::create_dir_all(folder.join("share")).unwrap();
    fs::write(folder.join("share/report.txt"), "words").unwrap();
    write_settings(folder, more);
    folder.to_path_buf()
}

fn write_settings(home: &Path, more: &str) {
    let settings = format!(
        "FLOODPLAIN_LISTEN=127.0.0.1:0\nFLOODPLAIN_DATA=data\nFLOODPLAIN_SHARES=share\nFLOODPLAIN_DISCOVERY=false\n{more}"
    );
    fs::write(home.join(".env"), settings).unwrap();
}

#[test]
fn a_sound_peer_has_no_finding_and_one_that_left_has() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
    let ana = home(&folder.path().join("ana"), &registry.address, "");
    fs::write(ana.join("share/report.txt"), "words").unwrap();
    let peer = Daemon::start(&ana, &["peer", "--name", "ana"]);
    until(&ana, "--json status", "\"connection\":\"connected\"");
    wait_for("it is sound", || look(&ana).is_empty(), || format!("{:?}", look(&ana)));
    let output = ask(&ana, &["doctor"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing is wrong"));

    let mut console = floodplain(&ana);
    let mut console = console.arg("console").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    console.stdin.take().unwrap().write_all(b"disconnect\n").unwrap();
    assert!(console.wait().unwrap().success());
    assert_eq!(ids(&look(&ana)), BTreeSet::from([finding::DISCONNECTED.to_owned()]));
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(ids(&look(&ana)), BTreeSet::from([finding::NOT_RUNNING.to_owned()]));
}

#[test]
fn every_finding_is_provoked_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut provoked = BTreeSet::new();
    let mut note = |found: &[Value]| provoked.extend(ids(found));
    settings(folder.path(), &mut note);
    files(folder.path(), &mut note);
    let is_full_disk_made = full_disk(folder.path(), &mut note);
    on_the_way(folder.path(), &mut note);
    clock(folder.path(), &mut note);
    membership(folder.path(), &mut note);
    closed(folder.path(), &mut note);
    own_registry(folder.path(), &mut note);
    // By the test above.
    provoked.insert(finding::DISCONNECTED.to_owned());
    let mut all: BTreeSet<String> = finding::ALL.iter().map(|id| (*id).to_owned()).collect();
    if !is_full_disk_made {
        println!("SKIPPED: no small file system can be mounted here, so that no disk was full");
        all.remove(finding::DISK_NEARLY_FULL);
    }
    assert_eq!(provoked, all);
}

fn settings(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let home = folder.join("settings");
    fs::create_dir_all(&home).unwrap();
    let invite = "fp1:lab:7000/secret/secret";
    let text = format!(
        "FLOODPLAIN_REGISTY=x\nFLOODPLAIN_SHAERS=y\nSERVER_IP=127.0.0.1\nFLOODPLAIN_TTL=99\nFLOODPLAIN_INVITE={invite}\n"
    );
    fs::write(home.join(".env"), text).unwrap();
    fs::set_permissions(home.join(".env"), fs::Permissions::from_mode(0o644)).unwrap();
    let found = look(&home);
    note(&found);
    assert_eq!(found.iter().filter(|one| one["id"] == finding::UNKNOWN_SETTING).count(), 2, "all of them");
    assert!(found[0]["todo"].as_str().unwrap().contains("FLOODPLAIN_REGISTRY"), "{found:?}");
    assert_eq!(what(&found, finding::OLD_SETTING).split(": ").nth(1), Some("SERVER_IP"));
    what(&found, finding::EXPOSED_SECRET);
    what(&found, finding::BAD_SETTING);
    fs::write(home.join(".env"), "this is = no settings file 'at all\n").unwrap();
    let found = look(&home);
    what(&found, finding::BAD_SETTINGS_FILE);
    note(&found);
}

fn files(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let home = folder.join("files");
    fs::create_dir_all(home.join("data/network")).unwrap();
    fs::set_permissions(home.join("data/network"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.join("file"), "").unwrap();
    let closed = "FLOODPLAIN_LISTEN=127.0.0.1:0\nFLOODPLAIN_INBOX=file/inbox\n";
    let text = |data: &str| format!("{closed}FLOODPLAIN_DATA={data}\nFLOODPLAIN_SHARES=nosuch:empty\n");
    fs::create_dir_all(home.join("empty")).unwrap();
    fs::write(home.join(".env"), text("data")).unwrap();
    let found = look(&home);
    note(&found);
    for id in [finding::INBOX_NOT_WRITABLE, finding::NO_SHARES, finding::UNREADABLE_SHARE] {
        what(&found, id);
    }
    assert!(what(&found, finding::EXPOSED_SECRET).ends_with("data/network"));
    fs::write(home.join(".env"), text("file")).unwrap();
    let found = look(&home);
    what(&found, finding::DATA_NOT_WRITABLE);
    note(&found);
}

/// Where a file system of 16 MiB can be mounted beside those of everybody else.
fn full_disk(folder: &Path, note: &mut dyn FnMut(&[Value])) -> bool {
    let home = folder.join("full");
    fs::create_dir_all(home.join("inbox")).unwrap();
    fs::write(home.join(".env"), "FLOODPLAIN_DATA=data\nFLOODPLAIN_LISTEN=127.0.0.1:0\n").unwrap();
    let script = "mount -t tmpfs -o size=16m none inbox && echo mounted >&2 && exec \"$0\" doctor --json";
    let mut command = processes::in_home(Command::new("unshare"), &home);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_floodplain")]);
    let Ok(output) = command.output() else { return false };
    if !String::from_utf8_lossy(&output.stderr).contains("mounted") {
        return false;
    }
    let told = String::from_utf8(output.stdout).unwrap();
    let found: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(what(&found, finding::DISK_NEARLY_FULL).starts_with("16"), "{found:?}");
    note(&found);
    true
}

/// What lies between a peer and its registry, in a plaintext network: those are found without any key.
fn on_the_way(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let at = |name: &str, registry: &str, more: &str| {
        let home = home(&folder.join(name), registry, more);
        fs::write(home.join("share/report.txt"), "words").unwrap();
        home
    };
    let nobody = free_address().to_string();
    let found = look(&at("refused", &nobody, ""));
    assert!(what(&found, finding::REGISTRY_REFUSED).contains(&nobody), "{found:?}");
    note(&found);

    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("FLOODPLAIN_LISTEN={}\n", silent.local_addr().unwrap());
    let found = look(&at("taken", &nobody, &taken));
    what(&found, finding::PORT_TAKEN);
    note(&found);
}

/// A registry whose clock is an hour behind, as far as its answers say.
fn clock(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let late = |mut answer: http::Response<tonic::body::Body>| {
            let then = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
            answer.headers_mut().insert("date", then.parse().unwrap());
            answer
        };
        let (_, health) = tonic_health::server::health_reporter();
        let server = tonic::transport::Server::builder()
            .layer(tower::util::MapResponseLayer::new(late))
            .add_service(health)
            .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
        tokio::spawn(server);
        address
    });
    let found = look(&home(&folder.join("clock"), &address.to_string(), ""));
    let off = what(&found, finding::CLOCK_OFF);
    assert!(off.contains("1h") && off.contains("ahead of"), "{off}");
    note(&found);
}

/// What a peer keeps of its membership.
fn membership(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let home = closed_home(&folder.join("member"), "");
    let found = look(&home);
    what(&found, finding::NO_MEMBERSHIP);
    note(&found);

    let kept = NetworkFolder::of(&home.join("data"));
    let (authority, key) = (Authority::generate().unwrap(), kept.key().unwrap());
    let network = authority.network();
    let (certificate, _) =
        authority.certify_peer(&key.public(), network, None, Duration::from_secs(1)).unwrap();
    let issued = SystemTime::now() - Duration::from_secs(48 * 3600);
    let not_after = SystemTime::now() - Duration::from_secs(24 * 3600);
    let credentials = Credentials { certificate, authorities: vec![authority.public()], network, not_after };
    let name = "ana".parse().unwrap();
    kept.save(&Enrolled { key, credentials, issued, registry: "no-such-registry.invalid:7000".into(), name })
        .unwrap();
    let found = look(&home);
    assert!(what(&found, finding::CERTIFICATE_EXPIRED).contains("1day"), "{found:?}");
    assert!(what(&found, finding::REGISTRY_UNKNOWN).contains("no-such-registry.invalid"), "{found:?}");
    note(&found);

    // In a closed network a connection is one when the other side has spoken.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    write_settings(&home, &format!("FLOODPLAIN_REGISTRY={}\n", silent.local_addr().unwrap()));
    let found = look(&home);
    what(&found, finding::REGISTRY_TIMED_OUT);
    note(&found);

    let path = kept.path().join("membership.json");
    let half = fs::read_to_string(&path).unwrap();
    fs::write(&path, &half[..half.len() / 2]).unwrap();
    let found = look(&home);
    what(&found, finding::BAD_MEMBERSHIP);
    note(&found);
}

/// The registry of this machine: alone, without members, in the midst of a change, and away.
fn own_registry(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let hub = folder.join("own");
    fs::create_dir_all(&hub).unwrap();
    let settings = |more: &str| fs::write(hub.join(".env"), format!("FLOODPLAIN_DATA=data\n{more}")).unwrap();
    settings("");
    let registry = Daemon::start(&hub, &["registry", "--listen", "127.0.0.1:0"]);
    let found = look(&hub);
    assert_eq!(ids(&found), BTreeSet::from([finding::NO_MEMBERS.to_owned()]), "{found:?}");
    note(&found);

    let (_, invite) = run(&hub, "invite");
    let ana = closed_home(&folder.join("let-in"), "FLOODPLAIN_NAME=ana\n");
    assert_eq!(
        ask(&ana, &["join", invite.trim(), "--enroll-only"]).status.code(),
        Some(0),
        "{}",
        logged(&ana)
    );
    assert_eq!(look(&hub), Vec::<Value>::new(), "a sound registry");
    assert_eq!(run(&hub, "authority begin").0, 0);
    let found = look(&hub);
    assert!(what(&found, finding::AUTHORITY_CHANGE_OPEN).contains("1 members"), "{found:?}");
    note(&found);
    settings("FLOODPLAIN_CERTIFICATE_LIFETIME=5m\n");
    let found = look(&hub);
    assert!(what(&found, finding::CERTIFICATES_SHORT).contains("5m"), "{found:?}");
    note(&found);
    settings("FLOODPLAIN_ZONE_TARGET=0\n");
    what(&look(&hub), finding::BAD_SETTING);

    assert_eq!(registry.stop(), Some(0));
    let (hub_port, web_port) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let at = |taken: &TcpListener| taken.local_addr().unwrap().to_string();
    settings(&format!(
        "FLOODPLAIN_REGISTRY_LISTEN={}\nFLOODPLAIN_REGISTRY_HTTP_LISTEN={}\n",
        at(&hub_port),
        at(&web_port)
    ));
    let later = SystemTime::now() + Duration::from_secs(7200);
    fs::File::options().append(true).open(hub.join("data/authority")).unwrap().set_modified(later).unwrap();
    let found = look(&hub);
    what(&found, finding::OWN_REGISTRY_NOT_RUNNING);
    assert!(what(&found, finding::OWN_REGISTRY_PORT_TAKEN).contains(&at(&hub_port)), "{found:?}");
    assert!(what(&found, finding::GATEWAY_PORT_TAKEN).contains(&at(&web_port)), "{found:?}");
    assert!(what(&found, finding::OWN_CLOCK_OFF).contains("1h 59m"), "{found:?}");
    note(&found);

    let authority = hub.join("data/authority");
    let kept = fs::read(&authority).unwrap();
    fs::write(&authority, &kept[..kept.len() / 2]).unwrap();
    let found = look(&hub);
    assert!(what(&found, finding::BAD_AUTHORITY).contains("damaged"), "{found:?}");
    assert!(!ids(&found).contains(finding::NOT_RUNNING), "no peer is missed where only a registry is");
    note(&found);
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_network_of_up_is_looked_at_whole() {
    let folder = tempfile::tempdir().unwrap();
    let home = closed_home(folder.path(), "FLOODPLAIN_REGISTRY_LISTEN=127.0.0.1:0\nFLOODPLAIN_NAME=ana\n");
    // Its first line is another one.
    let said = fs::File::create(home.join("said")).unwrap();
    let mut up = floodplain(&home);
    let mut up =
        Running(up.args(["up", "--headless"]).stdout(said).stderr(processes::log(&home)).spawn().unwrap());
    until(&home, "--json status", "\"connection\":\"connected\"");
    wait_for("it is sound", || look(&home).is_empty(), || format!("{:?}", look(&home)));
    kill_process(Pid::from_child(&up.0), Signal::TERM).unwrap();
    assert!(up.0.wait().unwrap().success(), "{}", logged(&home));
    let both = [finding::NOT_RUNNING, finding::OWN_REGISTRY_NOT_RUNNING].map(str::to_owned);
    let found = ids(&look(&home));
    assert!(both.iter().all(|id| found.contains(id)), "{found:?}");
}

/// A closed network as it runs, another beside it, and a member that is dialed in vain, away, and shut out.
fn closed(folder: &Path, note: &mut dyn FnMut(&[Value])) {
    let registry = |name: &str| {
        let hub = closed_home(&folder.join(name), "");
        let daemon = Daemon::start(&hub, &["registry", "--listen", "127.0.0.1:0"]);
        let (code, invite) = run(&hub, "invite --uses 2");
        assert_eq!(code, 0, "{}", logged(&hub));
        (hub, daemon, invite.trim().to_owned())
    };
    let (hub, _hub, invite) = registry("hub");
    let (_, other, _) = registry("other");
    let ben = closed_home(&folder.join("ben"), "FLOODPLAIN_NAME=ben\n");
    assert_eq!(ask(&ben, &["join", &invite, "--enroll-only"]).status.code(), Some(0), "{}", logged(&ben));
    // This process stands in for the peer that does not run, so that the way back can be tried.
    let found = look(&ben);
    assert_eq!(ids(&found), BTreeSet::from([finding::NOT_RUNNING.to_owned()]), "{found:?}");

    let nobody = free_address();
    write_settings(&ben, &format!("FLOODPLAIN_NAME=ben\nFLOODPLAIN_ADVERTISE={nobody}\n"));
    let found = look(&ben);
    assert!(what(&found, finding::NOT_REACHABLE).contains(&nobody.to_string()), "{found:?}");
    note(&found);

    write_settings(&ben, &format!("FLOODPLAIN_NAME=ben\nFLOODPLAIN_REGISTRY={}\n", other.address));
    let found = look(&ben);
    what(&found, finding::REGISTRY_FOREIGN);
    note(&found);

    write_settings(&ben, "FLOODPLAIN_NAME=ben\n");
    let peer = Daemon::start(&ben, &["peer", "--headless"]);
    until(&ben, "--json status", "\"connection\":\"connected\"");
    wait_for("it is sound", || look(&ben).is_empty(), || format!("{:?}", look(&ben)));
    assert_eq!(run(&hub, "revoke ben --yes").0, 0);
    wait_for("it is shut out", || ids(&look(&ben)).contains(finding::SHUT_OUT), || logged(&ben));
    note(&look(&ben));
    drop(peer);
}
