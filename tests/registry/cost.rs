//! What a peer costs the registry in CPU and memory. Run it optimised, alone:
//! `cargo test --release --test registry cost -- --ignored --nocapture`

use std::{
    fs,
    time::{Duration, Instant},
};

use floodplain::protocol::roster::Load;
use floodplain::{
    protocol::{
        id::{Credential, LeaseId},
        membership::Registration,
        roster::Member,
    },
    registry::state::{State, Terms},
};

use crate::common::ELASTIC;

const PEERS: u32 = 20_000;

/// Time on a CPU of this thread: other processes do not count.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn registration(number: u32) -> Registration {
    let mut secret = [3; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    let credential = Credential::from_bytes(secret);
    let [_, b, c, d] = number.to_be_bytes();
    let member = Member {
        id: credential.peer_id(),
        name: format!("peer-{number}").parse().unwrap(),
        address: ([10, b, c, d], 7001).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: floodplain::protocol::roster::Stamp::default(),
    };
    Registration { member, credential: Some(credential), host_id: format!("host-{number}") }
}

/// The goals are those of an optimised build; 20 us each.
#[test]
#[ignore = "measures; run it optimised"]
fn a_peer_costs_little() {
    let (now, mut rng) = (Instant::now(), rand::rng());
    let terms = Terms { layout: ELASTIC, lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10) };
    let mut state = State::new(terms, 1);
    let mut registrations: Vec<Registration> = (0..PEERS).map(registration).collect();
    let mut leases: Vec<LeaseId> = Vec::with_capacity(PEERS as usize);

    let (memory, begun) = (resident_bytes(), cpu());
    for registration in &registrations {
        let (membership, _) = state.register(registration.clone(), now, &mut rng).unwrap();
        leases.push(membership.lease);
    }
    let register = cpu().saturating_sub(begun) / PEERS;
    let memory = resident_bytes().saturating_sub(memory) / PEERS as usize;

    let begun = cpu();
    for lease in &leases {
        state.heartbeat(lease, Load::default(), now + Duration::from_secs(10)).unwrap();
    }
    let heartbeat = cpu().saturating_sub(begun) / PEERS;

    let begun = cpu();
    for lease in &leases {
        state
            .heartbeat(lease, Load { shared_files: 1, ..Load::default() }, now + Duration::from_secs(20))
            .unwrap();
    }
    let changed = cpu().saturating_sub(begun) / PEERS;

    let begun = cpu();
    for second in 0..20 {
        state.sweep(now + Duration::from_secs(20) + Duration::from_secs(second));
    }
    let sweep = cpu().saturating_sub(begun) / 20;

    let begun = cpu();
    for (lease, registration) in leases.iter().zip(registrations.drain(..)) {
        state.unregister(lease, now);
        state.register(registration, now, &mut rng).unwrap();
    }
    let rejoin = cpu().saturating_sub(begun) / PEERS;

    println!(
        "register {register:?}, heartbeat {heartbeat:?} (files changed: {changed:?}), leave and join {rejoin:?}"
    );
    println!("a sweep of {PEERS} peers {sweep:?}, {memory} bytes a peer, {} zones", state.zones());
    for cost in [register, heartbeat, changed] {
        assert!(cost <= Duration::from_micros(20), "{cost:?}");
    }
}
