use std::time::Duration;

use super::*;
use crate::{
    protocol::{
        id::Credential,
        roster::{Member, Stamp},
        zone::Layout,
    },
    registry::state::Terms,
};

fn hub() -> Hub {
    let layout = Layout::Elastic { min: 6, target: 16, max: 24 };
    let terms = Terms { layout, lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10) };
    Hub::new(State::new(terms, 1))
}

fn registration(number: u8, incarnation: u64) -> Registration {
    let credential = Credential::from_bytes([number; 32]);
    let member = Member {
        id: credential.peer_id(),
        name: format!("peer-{number}").parse().unwrap(),
        address: ([10, 1, 1, number], 7001).into(),
        incarnation,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    Registration { member, credential, host_id: String::new() }
}

#[test]
fn a_session_that_is_never_read_keeps_no_outbox_after_its_lease() {
    let hub = hub();
    let (unread, _) = hub.open(registration(1, 1)).unwrap();
    let (other, _) = hub.open(registration(2, 1)).unwrap();
    assert!(matches!(hub.next(&unread), Ok(Some(Down::Delta(_)))));
    hub.unregister(&unread.lease);
    assert_eq!(hub.lock().outboxes.keys().collect::<Vec<_>>(), [&other.peer]);
    assert_eq!(hub.next(&unread), Err(End::Lease(Reason::Left)), "it is told why when it reads at last");
    hub.close(&unread);
    assert_eq!(hub.read(State::peers), 1);
}

#[test]
fn a_peer_cannot_pile_up_streams_that_it_does_not_read() {
    let hub = hub();
    let open = |incarnation| hub.open(registration(1, incarnation));
    let mut unread: Vec<_> =
        (1..).take(STREAMS_PER_PEER).map(|incarnation| open(incarnation).unwrap()).collect();
    assert!(matches!(open(9), Err(NotOpened::Full(Full::Key))));
    assert_eq!(hub.next(&unread[0].0), Err(End::OtherSession));
    assert!(hub.open(registration(2, 1)).is_ok(), "others are let in");
    unread.pop();
    assert!(open(9).is_ok());
}
