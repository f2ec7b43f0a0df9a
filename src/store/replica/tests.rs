//! Replicas in real folders.

use std::fs;

use super::*;

pub(super) fn replica(content: &[u8], name: &str, owner: u8) -> Replica {
    Replica {
        hash: ContentHash::from_bytes(*blake3::hash(content).as_bytes()),
        size_bytes: content.len() as u64,
        name: name.into(),
        replicas: 2,
        owner_tag: key(owner).tag(),
        owner: PeerId::from_bytes([owner; 32]),
    }
}

pub(super) fn key(owner: u8) -> OwnerKey {
    OwnerKey::from_bytes([owner; 32])
}

pub(super) fn open(home: &Path, quota: u64) -> Replicas {
    Replicas::open(home.join("replicas"), &home.join("data"), quota).expect("opens")
}

pub(super) fn keep(replicas: &Replicas, content: &[u8], name: &str) -> PathBuf {
    let Admitted::Pull(reservation) = replicas.admit(replica(content, name, 1)).expect("room") else {
        panic!("kept already");
    };
    let incoming = reservation.incoming();
    fs::write(&incoming, content).expect("writes");
    reservation.keep(&incoming).expect("keeps")
}

#[test]
fn what_is_kept_outlives_a_restart_and_never_takes_another_name() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let one = keep(&replicas, b"one", "note.txt");
    let two = keep(&replicas, b"two", "note.txt");
    assert_eq!(two.file_name().expect("named"), "note (1).txt");
    drop(replicas);
    let replicas = open(home.path(), 100);
    assert_eq!(replicas.list().len(), 2);
    assert_eq!((fs::read(one).expect("reads"), replicas.room_bytes()), (b"one".to_vec(), 94));
}

#[test]
fn a_record_without_its_content_is_dropped_and_a_content_without_record_stays_the_owners() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let path = keep(&replicas, b"one", "one");
    keep(&replicas, b"two", "two");
    fs::write(home.path().join("replicas/mine"), b"own file").expect("writes");
    fs::write(home.path().join("replicas/.incoming/half"), b"ha").expect("writes");
    fs::remove_file(path).expect("removes");
    assert_eq!(replicas.mend(), 1);
    assert_eq!(replicas.list().len(), 1);
    let replicas = open(home.path(), 100);
    assert_eq!(replicas.list()[0].name, "two");
    assert!(home.path().join("replicas/mine").exists());
    assert!(!home.path().join("replicas/.incoming/half").exists());
}

#[test]
fn a_disk_that_cannot_be_looked_at_loses_no_record() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    keep(&replicas, b"one", "one");
    // Neither there nor away: what is called so has no files in it.
    fs::rename(home.path().join("replicas"), home.path().join("aside")).expect("renames");
    fs::write(home.path().join("replicas"), b"").expect("writes");
    assert_eq!((replicas.mend(), replicas.list().len()), (0, 1));
    fs::remove_file(home.path().join("replicas")).expect("removes");
    fs::rename(home.path().join("aside"), home.path().join("replicas")).expect("renames");
    assert_eq!((replicas.mend(), replicas.list().len()), (0, 1));
    fs::remove_file(home.path().join("replicas/one")).expect("removes");
    assert_eq!((replicas.mend(), replicas.list().len()), (1, 0));
}

#[test]
fn the_quota_counts_what_is_on_its_way() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 10);
    let Ok(Admitted::Pull(first)) = replicas.admit(replica(b"123456", "a", 1)) else { panic!("room") };
    assert!(matches!(replicas.admit(replica(b"12345", "b", 1)), Err(Refusal::NoRoom { room_bytes: 4 })));
    assert!(matches!(replicas.admit(replica(b"123456", "a", 1)), Err(Refusal::Coming)));
    assert!(matches!(replicas.admit(replica(b"123456", "a", 2)), Err(Refusal::OtherOwner)));
    drop(first);
    assert_eq!(replicas.room_bytes(), 10);
    assert!(matches!(open(home.path(), 0).admit(replica(b"", "b", 1)), Err(Refusal::NoRoom { .. })));
}

#[test]
fn a_content_of_another_size_is_not_kept() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let Ok(Admitted::Pull(reservation)) = replicas.admit(replica(b"123456", "a", 1)) else { panic!("room") };
    let incoming = reservation.incoming();
    fs::write(&incoming, b"12345").expect("writes");
    assert!(reservation.keep(&incoming).is_err());
    assert!(!incoming.exists() && replicas.list().is_empty() && replicas.room_bytes() == 100);
}

#[test]
fn only_the_owner_releases_and_what_was_released_does_not_come_back() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let path = keep(&replicas, b"one", "one");
    let hash = replica(b"one", "one", 1).hash;
    assert_eq!(replicas.release(&hash, key(2)), Err(WrongKey));
    assert!(matches!(replicas.admit(replica(b"one", "one", 2)), Err(Refusal::OtherOwner)));
    assert!(matches!(replicas.admit(replica(b"one", "one", 1)), Ok(Admitted::Kept)));
    assert_eq!(replicas.release(&hash, key(1)), Ok(true));
    assert!(!path.exists());
    assert_eq!(replicas.release(&hash, key(1)), Ok(false));
    let replicas = open(home.path(), 100);
    assert_eq!(replicas.released(&hash), Some(key(1)));
    assert!(matches!(replicas.admit(replica(b"one", "one", 1)), Err(Refusal::Released)));
    assert!(matches!(replicas.admit(replica(b"one", "one", 2)), Ok(Admitted::Pull(_))), "another put of it");
}

#[test]
fn releases_are_bounded() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let hash = |number: u32| ContentHash::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes());
    let mut state = replicas.lock();
    state.released = (0..4096).map(|number| (hash(number), key(1))).collect();
    drop(state);
    replicas.bury(hash(5000), key(1));
    assert_eq!((replicas.released(&hash(0)), replicas.released(&hash(5000))), (None, Some(key(1))));
    assert_eq!(replicas.lock().released.len(), MAX_RELEASED);
}

#[test]
fn what_is_released_on_its_way_is_not_kept_when_it_has_come() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let Ok(Admitted::Pull(reservation)) = replicas.admit(replica(b"one", "one", 1)) else { panic!("room") };
    let incoming = reservation.incoming();
    fs::write(&incoming, b"one").expect("writes");
    let hash = replica(b"one", "one", 1).hash;
    assert_eq!(replicas.release(&hash, key(2)), Err(WrongKey));
    assert_eq!(replicas.release(&hash, key(1)), Ok(true));
    assert!(reservation.keep(&incoming).is_err());
    assert!(replicas.list().is_empty() && !incoming.exists() && !home.path().join("replicas/one").exists());
}

#[test]
fn a_pull_that_ends_early_leaves_no_part() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), 100);
    let Ok(Admitted::Pull(reservation)) = replicas.admit(replica(b"one", "one", 1)) else { panic!("room") };
    let Ok(Admitted::Pull(other)) = replicas.admit(replica(b"two", "two", 1)) else { panic!("room") };
    let part = |reservation: &Reservation| {
        let incoming = reservation.incoming();
        let folder = incoming.parent().expect("has one");
        let name = incoming.file_name().expect("named").to_string_lossy();
        crate::store::pieces::part_path(folder, &reservation.replica.hash, &name)
    };
    let (gone, there) = (part(&reservation), part(&other));
    for part in [&gone, &there] {
        fs::write(part, b"on").expect("writes");
    }
    drop(reservation);
    assert!(!gone.exists() && there.exists());
}

#[test]
fn what_a_killed_process_was_about_to_write_is_removed() {
    let home = tempfile::tempdir().expect("a folder");
    drop(open(home.path(), 100));
    let records = home.path().join("data/replicas");
    let left = temporary(&records).expect("makes").into_temp_path().keep().expect("keeps");
    drop(open(home.path(), 100));
    assert!(!left.exists());
}

#[test]
fn the_least_free_space_is_never_given_away() {
    let home = tempfile::tempdir().expect("a folder");
    let replicas = open(home.path(), u64::MAX);
    let free = free_bytes(home.path()).expect("asks");
    assert!(replicas.room_bytes() <= free.saturating_sub(MIN_FREE_BYTES / 2), "{free}");
    let large = Replica { size_bytes: free, ..replica(b"large", "large", 1) };
    assert!(matches!(replicas.admit(large), Err(Refusal::NoRoom { .. })));
}
