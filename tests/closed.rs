//! Closed networks as they are run: real processes that make one, enter it, lose a member and start again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

#[path = "support/processes.rs"]
mod processes;
#[path = "support/secrets.rs"]
mod secrets;

use processes::{Daemon, ask, floodplain, json, log, logged, run, until, wait_for};
use secrets::Secret;

/// Within this a revocation is felt everywhere.
const REVOKED_WITHIN: Duration = Duration::from_secs(10);

/// A network made by `up`: its registry and its first peer. Killed when dropped.
struct Up {
    child: Child,
    registry: String,
    invite: String,
    /// Of its first peer.
    peer: String,
}

impl Up {
    fn start(home: &Path, port: u16, more: &[&str]) -> Self {
        fs::create_dir_all(home.join("share")).unwrap();
        let listen = format!("127.0.0.1:{port}");
        let mut command = floodplain(home);
        command.args([
            "up",
            "--headless",
            "--data",
            "data",
            "--listen",
            &listen,
            "--peer-listen",
            "127.0.0.1:0",
        ]);
        command.args(["--name", "ana", "--share", "share"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(log(home)).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = |prefix: &str| {
            let line = lines.next().unwrap_or_else(|| panic!("it ended: {}", logged(home))).unwrap();
            line.strip_prefix(prefix).unwrap_or_else(|| panic!("{prefix}: {line}")).to_owned()
        };
        let (registry, invite) = (line("registry on "), line("invite "));
        let peer = line("listening on ");
        Self { child, registry, invite, peer }
    }

    fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago: a registry keeps its port when it is started again.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A folder for a peer that shares `share`, with the `.env` of one that knows nothing of any network.
fn home(folder: &Path, name: &str, more: &str) -> PathBuf {
    let home = folder.join(name);
    fs::create_dir_all(home.join("share")).unwrap();
    let settings = format!(
        "FLOODPLAIN_LISTEN=127.0.0.1:0\nFLOODPLAIN_DATA=data\nFLOODPLAIN_SHARES=share\nFLOODPLAIN_NAME={name}\n{more}"
    );
    fs::write(home.join(".env"), settings).unwrap();
    home
}

fn joined(home: &Path) {
    joined_as(home, "");
}

fn joined_as(home: &Path, more: &str) {
    until(home, &format!("--json status {more}"), "\"connection\":\"connected\"");
}

fn invite(up: &Path, more: &str) -> String {
    let (code, text) = run(up, &format!("invite --data data {more}"));
    assert_eq!(code, 0, "{}", logged(up));
    text.trim_end().to_owned()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file below a folder, sockets left out.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    below.filter(|path| path.is_file()).collect()
}

#[test]
fn a_network_is_made_entered_and_found_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (ana, port) = (folder.path().join("ana"), free_port());
    let up = Up::start(&ana, port, &[]);
    fs::write(ana.join("share/annual report.txt"), "words to find").unwrap();
    let ben = home(folder.path(), "ben", "");
    let cem = home(folder.path(), "cem", "");
    let peer = Daemon::start(&ben, &["join", &up.invite, "--headless"]);

    joined(&ben);
    until(&ben, "--json search annual", "\"type\":\"hit\"");
    until(&ben, "--json search annual", "\"hash\":\"");
    let hash = blake3::hash(b"words to find").to_string();
    assert_eq!(run(&ben, &format!("get {hash} -o got.txt")).0, 0);
    assert_eq!(fs::read(ben.join("got.txt")).unwrap(), b"words to find");

    // The token let in one peer, and lets in no other.
    let refused = ask(&cem, &["join", &up.invite, "--enroll-only"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused));
    assert!(text(&refused).contains("new invite"), "{}", text(&refused));
    assert_eq!(run(&cem, "peer --headless").0, 2, "it belongs to no network");

    let members = json(&ana, "members --data data");
    let live: Vec<_> = members.iter().map(|member| (&member["name"], &member["state"])).collect();
    assert_eq!(live, [(&"ana".into(), &"live".into()), (&"ben".into(), &"live".into())]);
    assert_eq!(run(&ana, "health --data data --ready").0, 0);
    assert_eq!(run(&ben, &format!("health --ready --addr {}", up.registry)).0, 0);
    // A peer answers members, and those only: the one by the key in its data folder, the other has none.
    assert_eq!(run(&ben, &format!("health --ready --addr {}", up.peer)).0, 0, "another peer");
    assert_eq!(run(&ben, &format!("health --ready --addr {}", peer.address)).0, 0, "itself");
    assert_eq!(run(&cem, &format!("health --ready --addr {}", up.peer)).0, 4, "a stranger");
    assert_eq!(run(&cem, &format!("health --ready --addr {}", up.registry)).0, 0, "at the registry");

    // The registry and its peer start again, and the other peer finds them by itself.
    let first = up.invite.clone();
    assert_eq!(up.stop(), Some(0));
    until(&ben, "--json status", "\"connection\":\"reconnecting\"");
    let up = Up::start(&ana, port, &[]);
    joined(&ben);
    until(&ana, "--json --data data peers", "\"name\":\"ben\"");
    assert_eq!(json(&ana, "members --data data").len(), 2, "nobody is let in twice");

    // A peer that was let in needs no invite any more, and the one that let it in does no harm.
    assert_eq!(peer.stop(), Some(0));
    let peer = Daemon::start(&ben, &["peer", "--headless"]);
    joined(&ben);
    assert_eq!(peer.stop(), Some(0));
    let again = ask(&ben, &["join", &first, "--enroll-only"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));

    for home in [&ana, &ben] {
        let network = home.join("data/network");
        assert_eq!(mode(&network), 0o700);
        for name in ["key.pem", "membership.json", "certificate.pem"] {
            assert_eq!(mode(&network.join(name)), 0o600, "{name}");
        }
    }
    for file in files(&ana.join("data/registry")) {
        assert_eq!(mode(&file) & 0o077, 0, "{}", file.display());
    }
    // What is secret is in its own file, and nowhere else: not in another, and in no log.
    let second = up.invite.clone();
    assert_eq!(up.stop(), Some(0));
    let mut secrets = vec![Secret::of_invite(&first), Secret::of_invite(&second)];
    secrets.extend([&ana, &ben].into_iter().flat_map(|home| secrets::of_peer(&home.join("data"))));
    secrets.extend(secrets::of_registry(&ana.join("data/registry")));
    let count = |what: &str| secrets.iter().filter(|secret| secret.what == what).count();
    assert_eq!((count("a peer's key"), count("an authority's key")), (2, 1));
    for file in files(folder.path()) {
        let text = secrets::text(&fs::read(&file).unwrap());
        for secret in &secrets {
            let is_at_home = secret.home.as_ref() == Some(&file);
            assert_eq!(secret.is_in(&text), is_at_home, "{} in {}", secret.what, file.display());
        }
    }
}

#[test]
fn a_revoked_peer_is_cut_off_within_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let (ana, port) = (folder.path().join("ana"), free_port());
    fs::create_dir_all(ana.join("share")).unwrap();
    fs::write(ana.join(".env"), "FLOODPLAIN_UPLOAD_LIMIT=256KB\n").unwrap();
    fs::write(ana.join("share/long report.bin"), vec![7; 64 << 20]).unwrap();
    let _up = Up::start(&ana, port, &[]);
    let two = invite(&ana, "--uses 2");
    let [(ben, ben_runs), (cem, _cem)] = ["ben", "cem"].map(|name| {
        let home = home(folder.path(), name, "");
        let daemon = Daemon::start(&home, &["join", &two, "--headless"]);
        joined(&home);
        (home, daemon)
    });
    until(&ben, "--json status", "\"zone_peers\":3");
    until(&ben, "--json search long", "\"hash\":\"");
    assert_eq!(run(&ben, "get --detach 1").0, 0);
    wait_for("bytes move", || processes::status(&ben, "bytes_down") > 0, || logged(&ben));

    let unsure = ask(&ana, &["revoke", "ben", "--data", "data"]);
    assert_eq!(unsure.status.code(), Some(2), "it is asked about first");
    let (code, told) = run(&ana, "--json revoke ben --yes --data data");
    let revoked = Instant::now();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("\"state\":\"revoked\""), "{told}");
    let gone = |what: &str, is_so: &mut dyn FnMut() -> bool| {
        wait_for(what, is_so, || logged(&ben));
        assert!(revoked.elapsed() < REVOKED_WITHIN, "{what}: {:?}", revoked.elapsed());
    };
    gone("others do not list it", &mut || !run(&cem, "--json peers").1.contains("\"name\":\"ben\""));
    gone("its search finds nobody", &mut || {
        !run(&ben, "--json search long --wait 500ms").1.contains("\"peer\":\"ana\"")
    });
    gone("its download is cut", &mut || {
        let uploads = json(&ana, "--data data transfers");
        uploads.iter().all(|transfer| transfer["state"] != "running")
    });
    let left = processes::status(&ben, "bytes_down");
    assert!(left < 64 << 20, "it was cut, not done: {left}");
    assert_ne!(run(&ben, "get 'ana:share/long report.bin' -o - --timeout 5s").0, 0);
    // The others go on.
    assert_eq!(run(&cem, "--json search long").0, 0);
    let again = ask(&ben, &["join", &invite(&ana, ""), "--enroll-only", "--data", "data"]);
    assert_ne!(again.status.code(), Some(0), "its daemon runs: {}", text(&again));

    // It says so once, goes on being asked, and does not start again.
    until(&ben, "--json status", "\"connection\":\"revoked\"");
    let said = |what: &str| fs::read_to_string(ben.join("log")).unwrap().matches(what).count();
    assert_eq!(said("revoked: this peer does not belong"), 1, "{}", logged(&ben));
    assert_eq!(said("the registry refused this peer; trying again"), 0, "{}", logged(&ben));
    assert_eq!(ben_runs.stop(), Some(0));
    let refused = ask(&ben, &["peer", "--headless"]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused));
    assert!(
        text(&refused).contains("shut out") && text(&refused).contains("new invite"),
        "{}",
        text(&refused)
    );
}

#[test]
fn the_authority_is_changed_under_living_peers() {
    let folder = tempfile::tempdir().unwrap();
    let (ana, port) = (folder.path().join("ana"), free_port());
    let up = Up::start(&ana, port, &[]);
    let ben = home(folder.path(), "ben", "");
    let peer = Daemon::start(&ben, &["join", &up.invite, "--headless"]);
    joined(&ben);
    joined_as(&ana, "--data data");
    fs::write(ben.join("share/minutes.txt"), "still here").unwrap();
    let old = json(&ana, "authority --data data");
    assert_eq!(old[0]["keys"].as_array().unwrap().len(), 1);

    assert_eq!(run(&ana, "authority begin --data data").0, 0);
    // Told to renew, twice, and with nothing but time between the steps.
    wait_for(
        "the new key certifies",
        || json(&ana, "authority --data data")[0]["newest_in_use"] == true,
        || logged(&ana),
    );
    wait_for(
        "everyone renewed",
        || json(&ana, "authority --data data")[0]["members_on_older"] == 0,
        || logged(&ben),
    );
    assert_eq!(run(&ana, "authority finish --data data").0, 0);
    let new = json(&ana, "authority --data data");
    assert_eq!(new[0]["keys"].as_array().unwrap().len(), 1);
    assert_ne!(new[0]["keys"], old[0]["keys"]);

    // Both start again, and meet under the new key alone; so does one that is let in now.
    assert_eq!(peer.stop(), Some(0));
    assert_eq!(up.stop(), Some(0));
    let up = Up::start(&ana, port, &[]);
    let _peer = Daemon::start(&ben, &["peer", "--headless"]);
    joined(&ben);
    until(&ana, "--json --data data search minutes", "\"type\":\"hit\"");
    let cem = home(folder.path(), "cem", "");
    assert_eq!(ask(&cem, &["join", &up.invite, "--enroll-only"]).status.code(), Some(0));
    let network = |home: &Path| {
        let text = fs::read_to_string(home.join("data/network/membership.json")).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["network"].clone()
    };
    assert_eq!(network(&cem), network(&ben), "the network is the same");
    assert!(!logged(&ben).contains("no certificate for this zone"), "{}", logged(&ben));
}

#[test]
fn daemons_that_start_together_meet_by_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("invite");
    let setting = format!("FLOODPLAIN_INVITE_FILE={}\n", file.display());
    let ana = home(folder.path(), "ana", &setting);
    // First, and it waits.
    let mut peer = floodplain(&ana);
    let mut peer =
        peer.args(["peer", "--headless"]).stdout(Stdio::piped()).stderr(log(&ana)).spawn().unwrap();
    wait_for("it waits", || logged(&ana).contains("not in the network yet"), || logged(&ana));
    let hub = home(folder.path(), "hub", &setting);
    let registry = Daemon::start(&hub, &["registry", "--listen", "127.0.0.1:0"]);
    assert!(processes::address(peer.stdout.take().unwrap()).is_some(), "{}", logged(&ana));
    joined(&ana);
    assert_eq!(mode(&file), 0o600);
    assert_eq!(run(&hub, "health --ready").0, 0);
    let token = fs::read_to_string(&file).unwrap();
    let token = token.trim_end().rsplit('/').next().unwrap();
    for home in [&ana, &hub] {
        let log = fs::read_to_string(home.join("log")).unwrap();
        assert!(!log.contains(token), "a secret in a log: {log}");
    }
    kill_process(Pid::from_child(&peer), Signal::TERM).unwrap();
    assert_eq!(peer.wait().unwrap().code(), Some(0));
    assert_eq!(registry.stop(), Some(0));
}

#[test]
fn who_belongs_to_no_network_is_told_how_to_enter_one() {
    let folder = tempfile::tempdir().unwrap();
    let ana = home(folder.path(), "ana", "");
    let refused = ask(&ana, &["peer", "--headless"]);
    assert_eq!(refused.status.code(), Some(2));
    for hint in ["floodplain join INVITE", "FLOODPLAIN_INVITE_FILE", "FLOODPLAIN_INSECURE_LOOPBACK=true"] {
        assert!(text(&refused).contains(hint), "{}", text(&refused));
    }
    for arguments in [
        &["peer", "--headless", "--insecure-loopback", "--listen", "0.0.0.0:0"][..],
        &["registry", "--insecure-loopback", "--listen", "0.0.0.0:0"],
    ] {
        let refused = ask(&ana, arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(text(&refused).contains("must be a loopback address"), "{}", text(&refused));
    }
    let token = "abcdefghijklmnopqrstuvwxyy";
    for bad in
        [format!("fp1:127.0.0.1:1/short/{token}"), format!("fp2:127.0.0.1:1/{}/{token}", "a".repeat(52))]
    {
        let refused = ask(&ana, &["join", &bad]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(!text(&refused).contains(token), "{}", text(&refused));
    }
    let nobody = format!("fp1:127.0.0.1:{}/{}/{token}", free_port(), "a".repeat(52));
    assert_eq!(ask(&ana, &["join", &nobody, "--enroll-only"]).status.code(), Some(4));
    assert_eq!(run(&ana, "members").0, 4);
}

#[test]
fn a_data_folder_belongs_to_one_network_until_it_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let first = Up::start(&one, free_port(), &["--uses", "2"]);
    let second = Up::start(&two, free_port(), &[]);
    let ben = home(folder.path(), "ben", "");
    let from_stdin = |invite: &str, arguments: &[&str]| {
        let mut child = floodplain(&ben)
            .args(["join", "-", "--enroll-only", "--json"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log(&ben))
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(invite.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let entered = from_stdin(&first.invite, &[]);
    assert_eq!(entered.status.code(), Some(0), "{}{}", text(&entered), logged(&ben));
    let id = |output: &Output| text(output).split("\"peer_id\":\"").nth(1).unwrap()[..64].to_owned();
    let same = from_stdin(&first.invite, &[]);
    assert_eq!((same.status.code(), id(&same)), (Some(0), id(&entered)));

    let refused = from_stdin(&second.invite, &[]);
    assert_eq!(refused.status.code(), Some(5), "{}", text(&refused));
    assert!(text(&refused).contains("--leave-old"), "{}", text(&refused));
    let moved = from_stdin(&second.invite, &["--leave-old"]);
    assert_eq!(moved.status.code(), Some(0), "the token was kept for it: {}", text(&moved));
}
