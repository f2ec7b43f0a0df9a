//! What a daemon holds before anybody asked it for anything, as the system counts it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

#[path = "support/processes.rs"]
mod processes;

use processes::{Daemon, home, logged, wait_for};

/// Of a peer with its gateway that nobody has asked yet, without the program itself. It takes 3.6 MiB unoptimised; with room for all
/// senders and queries that may ever come, the description of the REST interface, and reflection, it took 5.7 MiB.
const MOST_KIB: u64 = 4700;

#[test]
fn a_peer_makes_room_for_what_is_asked_only_when_it_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Daemon::registry(&folder.path().join("registry"), "127.0.0.1:0");
    let home = home(&folder.path().join("ana"), &registry.address, "FLOODPLAIN_HTTP_LISTEN=127.0.0.1:0\n");
    let peer = Daemon::start(&home, &["peer", "--headless", "--name", "ana"]);
    let is_up =
        || ["joined the network", "the gateway listens"].iter().all(|words| logged(&home).contains(words));
    wait_for("it is up", is_up, || logged(&home));
    let status = fs::read_to_string(format!("/proc/{}/status", peer.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let held_kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(held_kib <= MOST_KIB, "{held_kib} KiB");
}
