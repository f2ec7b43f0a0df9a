use std::{
    pin::pin,
    sync::{Arc, mpsc},
};

use super::*;
use crate::{net::authority::PEER_LIFETIME, wire::enrollment::signed};

fn asked(invite: &Invite, key: &PrivateKey, name: &str) -> Enrollment {
    let (name, token) = (name.parse::<PeerName>().unwrap(), invite.token);
    let proof = key.sign(&signed(&invite.authority, &token, &key.public(), &name));
    Enrollment { token, key: key.public(), proof, name }
}

async fn with_invite(data: &Path) -> (Closed, Invite) {
    let closed = Closed::open(data, PEER_LIFETIME, Shutdown::new()).unwrap();
    let (invite, _) = closed.invite(&InviteAsk::default(), "localhost:1").await.unwrap();
    (closed, invite)
}

/// Has one thread for what blocks.
pub(in crate::registry) fn of_one_writer() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap()
}

/// Nothing is written there until what this gives is dropped.
pub(in crate::registry) fn hold_up() -> mpsc::Sender<()> {
    let (go, held) = mpsc::channel();
    drop(tokio::task::spawn_blocking(move || held.recv()));
    go
}

/// In memory, with a member of that name.
pub(in crate::registry) async fn with_member(name: &str) -> (Closed, PrivateKey, Credentials) {
    let (closed, invite) = with_invite(Path::new("")).await;
    let key = PrivateKey::generate().unwrap();
    let credentials = closed.enroll(&asked(&invite, &key, name)).await.unwrap();
    (closed, key, credentials)
}

#[tokio::test]
async fn an_invite_lets_nobody_in_after_its_time() {
    let (closed, invite) = with_invite(Path::new("")).await;
    let asked = asked(&invite, &PrivateKey::generate().unwrap(), "ana");
    let day = Duration::from_secs(24 * 60 * 60);
    let mut book = closed.lock();
    let late = book.enroll(&asked, day, SystemTime::now() + day).unwrap_err();
    assert!(matches!(late, Refused::NotAdmitted(NotAdmitted::UnknownToken)), "{late}");
    book.enroll(&asked, day, SystemTime::now()).expect("in time");
}

#[tokio::test]
async fn what_could_not_be_written_is_not_answered_and_stays_used() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (closed, invite) = with_invite(&data).await;
    let (one, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let aside = folder.path().join("aside");
    std::fs::rename(&data, &aside).unwrap();
    let refused = closed.enroll(&asked(&invite, &one, "ana")).await.unwrap_err();
    assert!(matches!(refused, Refused::NotWritten), "{refused}");
    std::fs::rename(&aside, &data).unwrap();
    let refused = closed.enroll(&asked(&invite, &other, "ben")).await.unwrap_err();
    assert!(matches!(refused, Refused::NotAdmitted(NotAdmitted::UsedUp)), "{refused}");
    closed.enroll(&asked(&invite, &one, "ana")).await.expect("answered when it is written at last");
    let again = Closed::open(&data, PEER_LIFETIME, Shutdown::new()).unwrap();
    assert_eq!(again.members(None, 9).0.len(), 1);
}

#[tokio::test]
async fn many_at_once_are_all_written_before_they_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Closed::open(folder.path(), PEER_LIFETIME, Shutdown::new()).unwrap();
    let ask = InviteAsk { uses: 40, ..InviteAsk::default() };
    let (invite, _) = closed.invite(&ask, "localhost:1").await.unwrap();
    let keys: Vec<_> = (0..40).map(|_| PrivateKey::generate().unwrap()).collect();
    let asked = keys.iter().enumerate().map(|(n, key)| asked(&invite, key, &format!("peer-{n}")));
    let let_in = asked.map(|asked| {
        let (closed, data) = (&closed, folder.path());
        async move {
            closed.enroll(&asked).await.unwrap();
            let kept = File::at(data).unwrap().load().unwrap().unwrap();
            assert!(kept.admissions.members().get(&asked.key.peer_id()).is_some());
        }
    });
    futures::future::join_all(let_in).await;
}

#[tokio::test]
async fn a_file_with_any_byte_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (closed, invite) = with_invite(folder.path()).await;
    closed.enroll(&asked(&invite, &PrivateKey::generate().unwrap(), "ana")).await.unwrap();
    closed.revoke("ana", |_| ()).await.unwrap();
    let whole = encode::encode(&closed.lock());
    let again = encode::decode(&whole).unwrap();
    assert_eq!(encode::encode(&again), whole);
    assert_eq!(again.admissions.denied(), closed.lock().admissions.denied());
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(encode::decode(&damaged).is_err(), "byte {at}");
        assert!(encode::decode(&whole[..at]).is_err(), "cut at {at}");
    }
}

#[tokio::test]
async fn the_registrys_own_certificate_is_made_anew_in_time() {
    let (closed, _) = with_invite(Path::new("")).await;
    let before = closed.trust().credentials();
    let left = |days: u64| before.not_after - Duration::from_secs(days * 24 * 60 * 60);
    closed.tidy(left(11)).unwrap();
    // Two made within a second are equal, so it is asked which one is shown.
    assert!(Arc::ptr_eq(&closed.trust().credentials(), &before));
    closed.tidy(left(9)).unwrap();
    assert!(!Arc::ptr_eq(&closed.trust().credentials(), &before));
}

#[test]
fn a_write_that_nobody_waits_for_any_more_is_not_overtaken() {
    of_one_writer().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (closed, invite) = with_invite(folder.path()).await;
        let go = hold_up();
        let (one, ask) = (PrivateKey::generate().unwrap(), InviteAsk::default());
        let asked = asked(&invite, &one, "ana");
        let mut gone = Box::pin(closed.enroll(&asked));
        assert!(futures::poll!(&mut gone).is_pending());
        drop(gone);
        assert!(closed.written.try_lock().is_err(), "the write is on its way still");
        let mut next = pin!(closed.invite(&ask, "localhost:1"));
        assert!(futures::poll!(&mut next).is_pending());
        drop(go);
        next.await.unwrap();
        let kept = File::at(folder.path()).unwrap().load().unwrap().unwrap();
        assert_eq!((kept.admissions.members().iter().count(), kept.admissions.grants().count()), (1, 2));
    });
}

#[test]
fn an_authority_is_neither_trusted_nor_used_before_it_is_written() {
    of_one_writer().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (closed, invite) = with_invite(folder.path()).await;
        let ana = PrivateKey::generate().unwrap();
        closed.enroll(&asked(&invite, &ana, "ana")).await.unwrap();
        let (ana, nobody) = (ana.public().peer_id(), |_: &PeerId| false);

        let aside = folder.path().with_extension("aside");
        std::fs::rename(folder.path(), &aside).unwrap();
        let refused = closed.rotate(RotationStep::Begin, nobody).await.unwrap_err();
        assert!(matches!(refused, Refused::NotWritten), "{refused}");
        std::fs::rename(&aside, folder.path()).unwrap();
        assert_eq!(closed.renew(&ana, None).unwrap().authorities.len(), 1);
        assert!(closed.rotate(RotationStep::Begin, nobody).await.unwrap().is_changed, "it had not begun");

        let go = hold_up();
        let mut switch = pin!(closed.rotate(RotationStep::Switch, nobody));
        assert!(futures::poll!(&mut switch).is_pending());
        closed.renew(&ana, None).unwrap();
        assert!(closed.is_on_older(&ana) && !closed.is_behind(&ana));
        drop(go);
        assert!(switch.await.unwrap().is_changed);
        closed.renew(&ana, None).unwrap();
        assert!(!closed.is_on_older(&ana));
    });
}

#[test]
fn who_is_let_in_while_the_authority_changes_is_written_before_it_is_answered() {
    of_one_writer().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let (closed, invite) = with_invite(folder.path()).await;
        let go = hold_up();
        let mut begin = pin!(closed.rotate(RotationStep::Begin, |_| false));
        assert!(futures::poll!(&mut begin).is_pending());
        let ana = PrivateKey::generate().unwrap();
        let asked = asked(&invite, &ana, "ana");
        let mut let_in = pin!(closed.enroll(&asked));
        assert!(futures::poll!(&mut let_in).is_pending());
        drop(go);
        assert!(begin.await.unwrap().is_changed);
        let_in.await.unwrap();
        let kept = File::at(folder.path()).unwrap().load().unwrap().unwrap();
        assert!(kept.admissions.members().get(&ana.public().peer_id()).is_some());
        assert_eq!((kept.authorities.len(), closed.authorities()), (2, 2));
    });
}

#[tokio::test]
async fn after_a_backup_is_restored_peers_take_the_list_of_who_is_shut_out() {
    let folder = tempfile::tempdir().unwrap();
    let closed = Closed::open(folder.path(), PEER_LIFETIME, Shutdown::new()).unwrap();
    let ask = InviteAsk { uses: 9, ..InviteAsk::default() };
    let (invite, _) = closed.invite(&ask, "localhost:1").await.unwrap();
    for name in ["ana", "ben", "cyd", "dan"] {
        closed.enroll(&asked(&invite, &PrivateKey::generate().unwrap(), name)).await.unwrap();
    }
    let file = folder.path().join("authority");
    let backup = std::fs::read(&file).unwrap();
    for name in ["ana", "ben", "cyd"] {
        closed.revoke(name, |_| ()).await.unwrap();
    }
    // What a peer that was there holds.
    let (peer, told) = (closed.trust().clone(), closed.denied().version);
    drop(closed);
    // Nobody shuts out a peer each millisecond for long.
    while encode::millis(SystemTime::now()) <= told {}
    std::fs::write(&file, backup).unwrap();

    let restored = Closed::open(folder.path(), PEER_LIFETIME, Shutdown::new()).unwrap();
    let dan = restored.revoke("dan", |_| ()).await.unwrap();
    peer.deny(restored.denied());
    assert!(peer.is_denied(&dan.id()));
}
