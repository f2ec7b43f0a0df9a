//! A registry found over a network of two machines: two network namespaces with a cable between them. Needs root; says so
//! where there is none.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

#[path = "support/processes.rs"]
mod processes;

use processes::{in_home, log, logged};

/// Two machines and their cable; gone when dropped.
struct Lan {
    names: [String; 2],
}

impl Lan {
    fn lay() -> Option<Self> {
        // An interface has at most 15 characters.
        static LAID: AtomicU32 = AtomicU32::new(0);
        let number = LAID.fetch_add(1, Relaxed);
        let names = ["a", "b"].map(|end| format!("fp{}{end}{number}", std::process::id()));
        let ip = |line: &str| {
            let status = Command::new("ip").args(line.split_whitespace()).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        let lan = Self { names };
        let [a, b] = &lan.names;
        let is_laid = [
            format!("netns add {a}"),
            format!("netns add {b}"),
            format!("link add {a} netns {a} type veth peer name {b} netns {b}"),
            format!("-n {a} addr add 10.77.0.1/24 dev {a}"),
            format!("-n {b} addr add 10.77.0.2/24 dev {b}"),
            format!("-n {a} link set lo up"),
            format!("-n {b} link set lo up"),
            format!("-n {a} link set {a} up multicast on"),
            format!("-n {b} link set {b} up multicast on"),
            format!("-n {a} route add default via 10.77.0.2"),
            format!("-n {b} route add default via 10.77.0.1"),
        ];
        // On failure what was made goes with it.
        is_laid.iter().all(|line| ip(line)).then_some(lan)
    }

    fn command(&self, end: usize, home: &Path, arguments: &[&str]) -> Command {
        let mut command = in_home(Command::new("ip"), home);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["netns", "exec", &self.names[end], env!("CARGO_BIN_EXE_floodplain")]).args(arguments);
        command
    }

    fn run(&self, end: usize, home: &Path, arguments: &[&str]) -> Output {
        self.command(end, home, arguments).output().unwrap()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

struct Hub(Child);

impl Hub {
    fn start(lan: &Lan, home: &Path) -> Self {
        let mut command = lan.command(0, home, &["registry"]);
        let mut child = command.stdout(Stdio::piped()).stderr(log(home)).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{}", logged(home));
        Self(child)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn home(folder: &Path, settings: &str) -> PathBuf {
    fs::create_dir_all(folder.join("share")).unwrap();
    fs::write(folder.join(".env"), format!("FLOODPLAIN_DATA=data\nFLOODPLAIN_SHARES=share\n{settings}"))
        .unwrap();
    folder.to_path_buf()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_registry_is_found_from_another_machine_and_entered_by_an_invite_that_names_an_old_address() {
    let Some(lan) = Lan::lay() else {
        println!("SKIPPED: network namespaces cannot be made here (root and `ip` are needed)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let hub = home(&folder.path().join("hub"), "FLOODPLAIN_REGISTRY_LISTEN=0.0.0.0:7000\n");
    let ben = home(&folder.path().join("ben"), "FLOODPLAIN_NAME=ben\n");
    let nobody = lan.run(1, &ben, &["join"]);
    assert_eq!(nobody.status.code(), Some(3), "{}", text(&nobody));
    assert!(text(&nobody).contains("needs an invite"), "{}", text(&nobody));

    let running = Hub::start(&lan, &hub);
    let invited = lan.run(0, &hub, &["invite", "--uses", "3"]);
    let invite = String::from_utf8(invited.stdout.clone()).unwrap().trim().to_owned();
    assert!(invite.starts_with("fp1:10.77.0.1:7000/"), "{}", text(&invited));
    let key = invite.split('/').nth(1).unwrap();

    let listed = lan.run(1, &ben, &["--json", "join"]);
    let told = text(&listed);
    assert_eq!(listed.status.code(), Some(0), "{told}");
    let line: serde_json::Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((&line["type"], &line["fingerprint"]), (&"registry_nearby".into(), &key.into()), "{told}");
    assert_eq!(line["addresses"], serde_json::json!(["10.77.0.1:7000"]), "{told}");
    assert!(told.contains("`floodplain invite`"), "{told}");
    let listed = text(&lan.run(1, &ben, &["join"]));
    assert!(listed.contains("10.77.0.1:7000") && listed.contains(key), "{listed}");
    // Whoever wants to enter, and not to look, hears that it did not.
    assert_eq!(lan.run(1, &ben, &["join", "--enroll-only"]).status.code(), Some(2));

    // The registry has another address than when the invite was made.
    let old = invite.replacen("10.77.0.1:7000", "10.77.0.1:7777", 1);
    let off =
        lan.command(1, &ben, &["join", &old, "--enroll-only"]).env("FLOODPLAIN_DISCOVERY", "false").output();
    assert_eq!(off.unwrap().status.code(), Some(4), "nobody looked around");
    let joined = lan.run(1, &ben, &["join", &old, "--enroll-only"]);
    assert_eq!(joined.status.code(), Some(0), "{}", text(&joined));
    let membership = fs::read_to_string(ben.join("data/network/membership.json")).unwrap();
    assert!(membership.contains("10.77.0.1:7000"), "{membership}");

    // From now on `peer` is enough, and others reach it.
    let mut peer = lan.command(1, &ben, &["peer", "--headless"]);
    let mut peer = peer.stdout(Stdio::piped()).stderr(log(&ben)).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(peer.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "listening on 10.77.0.2:7001\n", "{}", logged(&ben));
    let connected =
        || text(&lan.run(1, &ben, &["--json", "status"])).contains("\"connection\":\"connected\"");
    processes::wait_for("it has joined", connected, || logged(&ben));
    let _ = peer.kill();
    let _ = peer.wait();

    // An invite into another network does not send its token to this one.
    let cem = home(&folder.path().join("cem"), "FLOODPLAIN_NAME=cem\n");
    let other = old.replacen(key, &"a".repeat(52), 1);
    let refused = lan.run(1, &cem, &["join", &other, "--enroll-only"]);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused));
    drop(running);
}

#[test]
fn nobody_hears_of_a_registry_that_shall_not_be_announced() {
    let Some(lan) = Lan::lay() else {
        println!("SKIPPED: network namespaces cannot be made here (root and `ip` are needed)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = "FLOODPLAIN_REGISTRY_LISTEN=0.0.0.0:7000\nFLOODPLAIN_DISCOVERY=false\n";
    let hub = home(&folder.path().join("hub"), settings);
    let _running = Hub::start(&lan, &hub);
    let ben = home(&folder.path().join("ben"), "");
    assert_eq!(lan.run(1, &ben, &["join"]).status.code(), Some(3));
}

const FLOODS: &str = "FLOODPLAIN_TEST_FLOODS";

/// Not a test by itself: on the other machine, announces 40 new hosts a packet.
#[test]
fn flood() {
    if std::env::var_os(FLOODS).is_none() {
        return;
    }
    let socket = std::net::UdpSocket::bind("0.0.0.0:5353").unwrap();
    for packet in 0..4000_u32 {
        // An answer to nobody's question, with as many records (RFC 1035, section 4.1.1).
        let mut message = vec![0, 0, 0x84, 0, 0, 0, 0, 40, 0, 0, 0, 0];
        for record in 0..40 {
            let host = format!("x{packet:06}y{record:02}");
            message.push(u8::try_from(host.len()).unwrap());
            message.extend(host.as_bytes());
            message.extend(b"\x05local\0");
            // An address, for four hours.
            message.extend([0, 1, 0, 1, 0, 0, 0x38, 0x40, 0, 4, 10, 77, 1, 1]);
        }
        socket.send_to(&message, "224.0.0.251:5353").unwrap();
        if packet % 8 == 0 {
            // The pace of the flood.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

#[test]
fn a_flood_of_announcements_takes_a_bounded_part_of_a_registrys_memory() {
    let Some(lan) = Lan::lay() else {
        println!("SKIPPED: network namespaces cannot be made here (root and `ip` are needed)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let hub = home(&folder.path().join("hub"), "FLOODPLAIN_REGISTRY_LISTEN=0.0.0.0:7000\n");
    let running = Hub::start(&lan, &hub);
    let mut flood = Command::new("ip");
    flood.args(["netns", "exec", &lan.names[1]]).arg(std::env::current_exe().unwrap());
    let mut flood = flood.args(["flood", "--exact"]).env(FLOODS, "1").stdout(Stdio::null()).spawn().unwrap();
    let gives_up = || logged(&hub).contains("flooded with announcements");
    processes::wait_for("it gives its announcement up for a while", gives_up, || logged(&hub));
    assert!(flood.wait().unwrap().success());
    let status = fs::read_to_string(format!("/proc/{}/status", running.0.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim().to_owned();
    println!("it held {most} at most");
    let most_kib: u64 = most.split_whitespace().next().unwrap().parse().unwrap();
    assert!(most_kib < 120 << 10, "{most}");
    // Whoever has an invite enters all the same.
    assert!(text(&lan.run(0, &hub, &["invite"])).starts_with("fp1:"));
}
