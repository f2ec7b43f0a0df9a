//! Files in a data folder, which another program, another version or a failing disk may have written. A part file has no
//! header: what it holds is worth what its pieces hash to (`piece_values` in [`crate::transfer`]).

use std::time::{Duration, Instant};

use floodplain::{
    protocol::{
        action::{MAX_NEW_HIT_PEERS, Priority},
        name::portable_name,
        placement::MAX_REPLICAS,
        saved::is_name,
        zone::Layout,
    },
    registry::{
        state::{State, Terms},
        store::encode::{decode, encode},
    },
    store::{jobs::Job, puts::Put, replica::Replica, searches},
};
use rand::{SeedableRng, rngs::SmallRng};

use crate::{
    Target,
    oracle::{frugal, is_printable},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("job", job),
    ("saved_search", saved_search),
    ("put", put),
    ("replica", replica),
    ("snapshot", snapshot),
];

fn job(data: &[u8]) {
    let Ok(job) = frugal(data.len(), || Job::from_json(data)) else { return };
    assert!(job.id > 0 && job.destination.is_absolute());
    assert!(Priority::from_name(job.priority.name()).is_some());
    let json = job.to_json().expect("read from UTF-8");
    assert_eq!(Job::from_json(&json).expect("as it was written"), job);
}

fn saved_search(data: &[u8]) {
    let Ok(saved) = frugal(data.len(), || searches::from_json(data)) else { return };
    assert!(is_name(&saved.name), "it becomes a file of that name");
    for hit in &saved.untold {
        assert!(hit.peers.len() <= MAX_NEW_HIT_PEERS);
        is_printable(&hit.file.path);
    }
    let json = searches::to_json(&saved).expect("JSON");
    assert_eq!(searches::from_json(&json).expect("as it was written"), saved);
}

fn put(data: &[u8]) {
    let Some(put) = frugal(data.len(), || Put::from_json(data)) else { return };
    assert_eq!(portable_name(&put.name), Ok(put.name.clone()));
    assert!(!format!("{put:?}").contains(&put.key.reveal()), "a secret in a log");
}

fn replica(data: &[u8]) {
    let Some(replica) = frugal(data.len(), || Replica::from_record(data)) else { return };
    assert_eq!(portable_name(&replica.name), Ok(replica.name.clone()));
    assert!((1..=MAX_REPLICAS).contains(&replica.replicas));
}

/// The message of a snapshot, sealed as a registry does, which then starts with it.
fn snapshot(data: &[u8]) {
    let _ = frugal(data.len(), || decode(data));
    const HEADER: &[u8] = b"floodplain registry snapshot 1\n";
    let file = [HEADER, blake3::hash(data).as_bytes(), data].concat();
    let Ok(saved) = frugal(file.len(), || decode(&file)) else { return };
    assert_eq!(decode(&encode(&saved)).as_ref(), Ok(&saved));
    let terms = Terms {
        layout: Layout::Elastic { min: 6, target: 16, max: 24 },
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
    };
    let mut rng = SmallRng::seed_from_u64(1);
    let peers = saved.peers.len();
    let state = State::restore(terms, saved.epoch.saturating_add(1), saved, [], Instant::now(), &mut rng);
    assert!(state.peers() <= peers);
    let again = state.save();
    assert_eq!(decode(&encode(&again)), Ok(again));
}
