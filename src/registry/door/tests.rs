use std::pin::pin;

use tonic::service::Routes;

use super::*;
use crate::{
    net::{Identity, Security, Transport, Trust, caller::Standing},
    protocol::{
        roster::{Member, Stamp},
        zone::Layout,
    },
    registry::{
        closed::tests::with_member,
        state::{State, Terms},
    },
    shutdown::Shutdown,
    wire::admin::RotationStep,
};

#[tokio::test]
async fn who_is_dialed_back_while_the_authority_changes_renews_first() {
    let (closed, key, credentials) = with_member("ana").await;
    let (closed, ana) = (Arc::new(closed), key.public().peer_id());
    let peer = Security::Closed(Trust::new(key, credentials).unwrap());
    let peer = Transport::new(Identity::ephemeral(), peer);
    // It answers there later: until then the dial waits in the kernel's queue.
    let listener = peer.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.address();

    let (lease, heartbeat) = (Duration::from_secs(30), Duration::from_secs(10));
    let layout = Layout::Elastic { min: 6, target: 16, max: 24 };
    let hub = Arc::new(Hub::new(State::new(Terms { layout, lease, heartbeat }, 1)));
    let registry = Transport::new(Identity::ephemeral(), Security::Closed(closed.trust().clone()));
    let door = Door::new(hub, Some((closed.clone(), Reach::new(registry, lease))));
    let member = Member {
        id: ana,
        name: "ana".parse().unwrap(),
        address,
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    let registration = Registration { member, credential: None, host_id: String::new() };
    let caller = Caller::new(Some(address), Standing::Member { peer: ana, zone: None });
    let mut admitted = pin!(door.admit(&registration, &caller));
    assert!(futures::poll!(&mut admitted).is_pending());

    closed.rotate(RotationStep::Begin, |_| false).await.unwrap();
    let shutdown = Shutdown::new();
    drop(shutdown.spawn("peer", peer.serve(listener, Routes::default(), None, &shutdown)));
    let refused = admitted.await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("renew"), "{}", refused.message());

    let credentials = closed.renew(&ana, None).unwrap();
    peer.trust().unwrap().renew(credentials).unwrap();
    door.admit(&registration, &caller).await.expect("it knows them all");
}
