//! The daemons as they are run: real processes, a real network, told to stop by a signal.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use rustix::process::Signal;

#[path = "support/processes.rs"]
mod processes;

use processes::{Daemon, PATIENCE, floodplain, home, in_home, run, until, wait_for};

#[test]
fn a_network_of_processes_finds_and_moves_a_file_and_stops_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(folder.join("share")).unwrap();
        folder
    };
    let (hub, ana, ben) = (at("hub"), at("ana"), at("ben"));
    let registry = Daemon::registry(&hub, "127.0.0.1:0");
    std::fs::write(ben.join("share/report.txt"), "words to find").unwrap();
    for folder in [&ana, &ben] {
        home(folder, &registry.address, "FLOODPLAIN_SAVED_SEARCH_EVERY=1s\n");
    }
    let peers =
        [("ana", &ana), ("ben", &ben)].map(|(name, folder)| Daemon::start(folder, &["peer", "--name", name]));

    until(&ana, "--json status", "\"zone_peers\":2");
    until(&ana, "--json search report", "\"type\":\"hit\"");
    assert_eq!(run(&ana, "get 1 -o -"), (0, "words to find".into()));
    assert_eq!(run(&ana, "get 1 -o - --range 6-7"), (0, "to".into()));
    assert_eq!(run(&ana, "get 1 -o - --range 9-"), (0, "find".into()));
    assert_eq!(run(&ana, "get 1 -o - --range 9-2").0, 2);
    assert_eq!(run(&ana, "get 1 --range 9-").0, 2);
    assert_eq!(run(&ana, "search nosuchthing").0, 3);
    assert!(run(&ben, "--json search reprot").1.contains("\"suggestions\":[\"report\"]"));
    assert_eq!(run(&ana, "search report newer:7d --save reports").0, 0);
    std::fs::write(ben.join("share/another report.txt"), "more words").unwrap();
    until(&ana, "--json searches watch --timeout 4s", "\"name\":\"another report.txt\"");
    assert_eq!(run(&ana, "--json searches watch --timeout 1500ms").1.lines().count(), 1, "told once");
    assert_eq!(run(&ana, "searches rm reports"), (0, String::new()));
    assert_eq!(run(&ana, "health --ready").0, 0);
    assert_eq!(run(&hub, &format!("health --ready --addr {}", registry.address)).0, 0);
    assert_eq!(run(&ben, &format!("health --addr {}", peers[0].address)).0, 0);

    for daemon in peers.into_iter().chain([registry]) {
        assert_eq!(daemon.stop(), Some(0));
    }
    assert_eq!(run(&ana, "status").0, 4);
}

#[test]
fn a_hangup_that_is_ignored_stops_no_daemon() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "FLOODPLAIN_INSECURE_LOOPBACK=true\n").unwrap();
    let mut command = in_home(std::process::Command::new("/bin/sh"), folder.path());
    // As `nohup` does it.
    command.args(["-c", "trap '' HUP; exec \"$0\" registry --listen 127.0.0.1:0 --data data"]);
    command.arg(env!("CARGO_BIN_EXE_floodplain"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("listening on "), "{line}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let has_hangup = |field: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim();
        u64::from_str_radix(mask, 16).unwrap() & 1 == 1
    };
    let is_left_alone = has_hangup("SigIgn:") && !has_hangup("SigCgt:");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(is_left_alone, "{status}");
}

#[test]
fn watched_zones_show_the_gateways_and_who_takes_the_place_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(folder.join("share")).unwrap();
        folder
    };
    let hub = at("hub");
    let registry = Daemon::registry(&hub, "127.0.0.1:0");
    // One after the other, so that it is known who is there longest.
    let [_ana, ben, _cem] = ["ana", "ben", "cem"].map(|name| {
        let folder = home(&folder.path().join(name), &registry.address, "");
        let daemon = Daemon::start(&folder, &["peer", "--name", name]);
        until(&folder, "--json status", "\"connection\":\"connected\"");
        daemon
    });
    let ana = folder.path().join("ana");
    let (_, text) = run(&ana, "zones");
    assert!(text.contains('3') && text.contains("ana, ben"), "{text}");

    let mut watch = floodplain(&ana);
    let mut watch = watch
        .args(["--json", "zones", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a watching process");
    let lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let (told, heard) = std::sync::mpsc::channel();
    let reading =
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    let hear = |what: &str| {
        let began = Instant::now();
        loop {
            let line = heard.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never {what}"));
            if line == what {
                return began.elapsed();
            }
        }
    };
    hear(r#"{"type":"zone","zone":1,"peers":3,"gateways":["ana","ben"]}"#);
    // Killed.
    drop(ben);
    let took = hear(r#"{"type":"zone","zone":1,"peers":2,"gateways":["ana","cem"]}"#);
    println!("seen after {took:?}");
    watch.kill().unwrap();
    watch.wait().unwrap();
    let _ = reading.join().unwrap();
}

#[test]
fn downloads_survive_a_kill_of_the_peer() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(folder.join("share")).unwrap();
        folder
    };
    let (hub, ana, ben) = (at("hub"), at("ana"), at("ben"));
    let registry = Daemon::registry(&hub, "127.0.0.1:0");
    for folder in [&ana, &ben] {
        home(folder, &registry.address, "FLOODPLAIN_DOWNLOAD_SLOTS=1\n");
    }
    for name in ["one", "two", "three"] {
        std::fs::write(ana.join("share").join(name), name).unwrap();
    }
    let holder = Daemon::start(&ana, &["peer", "--name", "ana"]);
    let fetcher = Daemon::start(&ben, &["peer", "--name", "ben"]);
    until(&ben, "--json status", "\"zone_peers\":2");
    until(&ben, "--json browse ana:share", "\"name\":\"three\"");
    let out = ben.join("out");
    std::fs::create_dir(&out).unwrap();
    let line = |id: u64, state: &str| -> bool {
        let (_, lines) = run(&ben, "--json transfers");
        let mark = format!("\"id\":{id},");
        let line = lines.lines().find(|line| line.contains(&mark));
        line.is_some_and(|line| line.contains(&format!("\"state\":\"{state}\"")))
    };
    let becomes = |id: u64, state: &str| {
        wait_for(&format!("{id} is {state}"), || line(id, state), || run(&ben, "transfers").1);
    };

    assert_eq!(run(&ben, "get --detach ana:share/late -o out"), (0, "1\n".into()));
    becomes(1, "failed");
    // Nobody answers for a while: the one slot is taken, and the rest waits.
    holder.signal(Signal::STOP);
    assert_eq!(run(&ben, "get --detach ana:share/one -o out"), (0, "2\n".into()));
    assert_eq!(run(&ben, "get --detach ana:share/two -o out"), (0, "3\n".into()));
    assert_eq!(run(&ben, "get --detach --priority high ana:share/three -o out"), (0, "4\n".into()));
    let (_, queue) = run(&ben, "--json transfers");
    let place = |name: &str| {
        let line = queue.lines().find(|line| line.contains(&format!("\"name\":\"{name}\""))).unwrap();
        let line = line.split("\"queue_position\":").nth(1).unwrap();
        line.split(',').next().unwrap().to_owned()
    };
    assert_eq!([place("one"), place("two"), place("three")], ["null", "2", "1"], "{queue}");
    assert_eq!(run(&ben, "transfers pause 3").0, 0);
    assert!(line(3, "paused"));

    drop(fetcher); // By SIGKILL.
    holder.signal(Signal::CONT);
    let fetcher = Daemon::start(&ben, &["peer", "--name", "ben"]);
    assert!(line(1, "failed") && line(3, "paused"), "{:?}", run(&ben, "transfers"));
    becomes(2, "done");
    becomes(4, "done");
    assert_eq!(std::fs::read(out.join("three")).unwrap(), b"three");

    std::fs::write(ana.join("share/late"), "late").unwrap();
    assert_eq!(run(&ana, "share rescan").0, 0);
    assert_eq!(run(&ben, "transfers retry all").0, 0);
    becomes(1, "done");
    assert_eq!(run(&ben, "transfers retry 1").0, 5, "it is done");
    assert!(line(3, "paused"));
    assert_eq!(run(&ben, "transfers resume all").0, 0);
    becomes(3, "done");
    for name in ["one", "two", "three", "late"] {
        assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), name);
    }
    assert_eq!(fetcher.stop(), Some(0));

    let _fetcher = Daemon::start(&ben, &["peer", "--name", "ben"]);
    assert_eq!(run(&ben, "--json transfers"), (0, String::new()), "what is done is forgotten");
    until(&ben, "--json status", "\"zone_peers\":2");
    assert_eq!(run(&ben, "get --detach ana:share/one -o out"), (0, "5\n".into()), "numbers go on rising");
    becomes(5, "done");
}

/// A number of the one line of JSON that has the mark.
fn number(lines: &str, mark: &str, field: &str) -> Option<u64> {
    let line = lines.lines().find(|line| line.contains(mark))?;
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line.pointer(field)?.as_u64()
}

/// Each file below a folder with its content, in order.
fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

fn stages(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".fp-part")).count()
}

/// A peer that shares a folder, and the place of one that fetches it and is killed again and again.
struct Fetching {
    registry: Daemon,
    _holder: Daemon,
    ben: PathBuf,
    out: PathBuf,
    project: PathBuf,
    _folder: tempfile::TempDir,
}

impl Fetching {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (hub, ana, ben) =
            (folder.path().join("hub"), folder.path().join("ana"), folder.path().join("ben"));
        let (project, out) = (ana.join("share/project"), ben.join("out"));
        for folder in [&hub, &project.join("small"), &ben.join("share"), &out] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for number in 0..300 {
            std::fs::write(project.join(format!("small/{number}")), format!("file {number}")).unwrap();
        }
        for (name, size) in [("five", 5_usize << 20), ("three", (3 << 20) + 7)] {
            let bytes: Vec<u8> = (0..size).map(|at| u8::try_from((at ^ (at >> 9)) & 255).unwrap()).collect();
            std::fs::write(project.join(name), bytes).unwrap();
        }
        let registry = Daemon::registry(&hub, "127.0.0.1:0");
        home(&ana, &registry.address, "");
        let holder = Daemon::start(&ana, &["peer", "--name", "ana"]);
        Self { registry, _holder: holder, ben, out, project, _folder: folder }
    }

    /// The fetching peer, which is killed by dropping it.
    fn start(&self, more: &str) -> Daemon {
        home(&self.ben, &self.registry.address, more);
        let daemon = Daemon::start(&self.ben, &["peer", "--name", "ben"]);
        until(&self.ben, "--json status", "\"zone_peers\":2");
        until(&self.ben, "--json browse ana:share/project", "\"name\":\"three\"");
        daemon
    }

    /// So slow that there is time to interrupt it: some 8 s for all.
    fn start_slow(&self) -> Daemon {
        self.start("FLOODPLAIN_DOWNLOAD_LIMIT=1MiB\n")
    }

    fn get(&self, id: u64, more: &str) {
        let line = format!("get --detach ana:share/project {more}");
        assert_eq!(run(&self.ben, &line), (0, format!("{id}\n")));
    }

    fn told(&self, id: u64, field: &str) -> Option<u64> {
        number(&run(&self.ben, "--json transfers").1, &format!("\"id\":{id},"), field)
    }

    fn comes_to(&self, id: u64, percent: u64) {
        let is_there = || self.told(id, "/percent").is_some_and(|now| now >= percent);
        wait_for(&format!("{percent} % of {id}"), is_there, || run(&self.ben, "transfers").1);
    }

    fn is(&self, id: u64, state: &str) -> bool {
        let lines = run(&self.ben, "--json transfers").1;
        let line = lines.lines().find(|line| line.contains(&format!("\"id\":{id},")));
        line.is_some_and(|line| line.contains(&format!("\"state\":\"{state}\"")))
    }

    fn becomes(&self, id: u64, state: &str) {
        wait_for(&format!("{id} is {state}"), || self.is(id, state), || run(&self.ben, "transfers").1);
    }

    /// Until so much of it is here.
    fn pause(&self, id: u64, percent: u64) {
        self.comes_to(id, percent);
        assert_eq!(run(&self.ben, &format!("transfers pause {id}")).0, 0);
        self.becomes(id, "paused");
    }
}

#[test]
fn the_get_of_a_folder_survives_a_kill_of_the_peer() {
    let here = Fetching::new();
    let fetcher = here.start_slow();
    here.get(1, "-o out");
    here.comes_to(1, 60);
    drop(fetcher);
    assert_eq!((stages(&here.out), tree(&here.out).len() > 300), (1, true));
    let fetcher = here.start("");
    here.becomes(1, "done");
    assert_eq!(here.told(1, "/percent"), Some(100));
    let size = here.told(1, "/size_bytes").unwrap();
    let came = number(&run(&here.ben, "--json status").1, "bytes_down", "/bytes_down").unwrap();
    assert!(came < size * 6 / 10, "{came} of {size} bytes came after the kill");
    assert!(tree(&here.out.join("project")) == tree(&here.project));
    drop(fetcher);

    // Killed while it is paused: so it stays, and is shown as far as it was.
    let fetcher = here.start_slow();
    here.get(2, "-o out");
    here.pause(2, 20);
    let percent = here.told(2, "/percent");
    drop(fetcher);
    let kept = std::fs::read_to_string(here.ben.join("data/transfers/2.json")).unwrap();
    let fetcher = here.start("");
    assert!(here.is(2, "paused") && percent >= Some(20));
    assert_eq!(here.told(2, "/percent"), percent);
    assert_eq!(run(&here.ben, "transfers resume 2").0, 0);
    here.becomes(2, "done");
    let second = here.out.join("project (1)");
    assert!(tree(&second) == tree(&here.project));
    drop(fetcher);

    // Killed when the folder had just got its name: it is not fetched once more.
    let mut job: serde_json::Value = serde_json::from_str(&kept).unwrap();
    job["id"] = 9.into();
    job["state"] = "queued".into();
    job["stage_inode"] = std::fs::metadata(&second).unwrap().ino().into();
    std::fs::write(here.ben.join("data/transfers/9.json"), job.to_string()).unwrap();
    let _fetcher = here.start("");
    here.becomes(9, "done");
    assert_eq!(here.told(9, "/percent"), Some(100));
    assert_eq!(std::fs::read_dir(&here.out).unwrap().count(), 2);
}

#[test]
fn what_came_of_a_folder_goes_when_nobody_wants_it_any_more() {
    let here = Fetching::new();
    let downloads = here.ben.join("downloads");
    let left = || (stages(&here.out), stages(&downloads));
    let fetcher = here.start_slow();
    for (id, more) in [(1, "-o out"), (2, "")] {
        here.get(id, more);
        here.pause(id, 5);
    }
    assert_eq!(left(), (1, 1));
    drop(fetcher);
    let fetcher = here.start("");
    assert_eq!(left(), (1, 1), "what is kept is not swept");
    assert_eq!(run(&here.ben, "transfers cancel 1").0, 0);
    here.becomes(1, "cancelled");
    assert_eq!(left(), (0, 1), "no task of it ran");
    drop(fetcher);
    std::fs::remove_file(here.ben.join("data/transfers/2.json")).unwrap();
    let _fetcher = here.start("");
    assert_eq!(left(), (0, 0), "no job goes on with it");
}

#[test]
fn a_send_whose_receiver_is_killed_says_so_and_leaves_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let (hub, ana, ben) = (at("hub"), at("ana"), at("ben"));
    let registry = Daemon::registry(&hub, "127.0.0.1:0");
    for folder in [&ana, &ben] {
        home(folder, &registry.address, "FLOODPLAIN_ACCEPT=all\n");
    }
    let film = ana.join("film");
    std::fs::File::create(&film).unwrap().set_len(1 << 30).unwrap();
    let receiver = Daemon::start(&ben, &["peer", "--name", "ben"]);
    let _sender = Daemon::start(&ana, &["peer", "--name", "ana"]);
    until(&ana, "--json status", "\"zone_peers\":2");
    let mut sending = floodplain(&ana);
    let sending = sending.args(["send", "film", "--to", "ben"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let sending = sending.spawn().unwrap();
    let inbox = ben.join("inbox");
    let is_under_way = || {
        let (_, sends) = run(&ana, "--json transfers");
        let is_running = sends.contains("\"state\":\"running\"") && !sends.contains("\"done_bytes\":0,");
        is_running && inbox.is_dir() && stages(&inbox) > 0
    };
    wait_for("the send is under way", is_under_way, || run(&ana, "transfers").1);
    drop(receiver); // By SIGKILL.
    let output = sending.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("ben broke off after") && said.contains("send it again"), "{said}");
    let _receiver = Daemon::start(&ben, &["peer", "--name", "ben"]);
    assert_eq!(std::fs::read_dir(&inbox).unwrap().count(), 0);
}

#[test]
fn the_demo_holds_what_it_checks() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let output = floodplain(folder.path())
        .env("TMPDIR", &temporary)
        .args(["demo", "--check", "--json"])
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert_eq!(out.lines().filter(|line| line.contains(r#""passed":true"#)).count(), 12, "{out}");
    assert_eq!(std::fs::read_dir(temporary).unwrap().count(), 0, "nothing is left behind");
}
