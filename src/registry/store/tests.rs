use std::time::{Duration, Instant};

use super::*;
use crate::{
    protocol::{id::Credential, membership::Registration, roster::Member, zone::Layout},
    registry::state::{State, Terms},
};

fn hub(peers: u8) -> Hub {
    let layout = Layout::Elastic { min: 6, target: 16, max: 24 };
    let terms = Terms { layout, lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10) };
    let mut state = State::new(terms, 7);
    for number in 0..peers {
        let credential = Credential::from_bytes([number; 32]);
        let member = Member {
            id: credential.peer_id(),
            name: format!("peer-{number}").parse().unwrap(),
            address: ([10, 0, 0, number], 7001).into(),
            incarnation: 1,
            shared_files: 5,
            room_bytes: 6,
            summary: crate::protocol::roster::Stamp::default(),
        };
        let registration = Registration { member, credential: Some(credential), host_id: String::new() };
        state.register(registration, Instant::now(), &mut rand::rng()).unwrap();
    }
    Hub::new(state)
}

#[test]
fn a_snapshot_survives_and_the_epoch_rises() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let hub = hub(30);
    store.save(&hub);
    let (saved, epoch) = Store::open(folder.path()).unwrap().load().unwrap();
    assert_eq!(saved, hub.read(State::save));
    assert!(epoch > 7);
    // A clock that stands behind the last epoch does not lower it.
    let ahead = Saved { epoch: u32::MAX - 5, peers: Vec::new() };
    write(folder.path(), FILE_NAME, &encode::encode(&ahead)).unwrap();
    assert_eq!(store.load().unwrap().1, u32::MAX - 4);
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_never_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.save(&hub(3));
    let path = folder.path().join(FILE_NAME);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(encode::decode(&damaged).is_err(), "byte {at}");
        assert!(encode::decode(&whole[..at]).is_err(), "cut at {at}");
    }
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(store.load().unwrap().0, Saved::default());
    assert!(!path.exists());
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), whole[..whole.len() - 1]);
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let hub = hub(3);
    store.save(&hub);
    fs::remove_file(folder.path().join(FILE_NAME)).unwrap();
    store.save(&hub);
    assert!(!folder.path().join(FILE_NAME).exists());
}

#[test]
fn a_snapshot_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    Store::open(folder.path()).unwrap().save(&hub(1));
    let mode = fs::metadata(folder.path().join(FILE_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
}
