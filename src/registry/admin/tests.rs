use std::time::Duration;

use super::*;
use crate::{
    protocol::{
        id::PeerId,
        membership::Registration,
        roster::{Member, Stamp},
    },
    registry::{
        closed::tests::{hold_up, of_one_writer, with_member},
        state::{State, Terms},
    },
};

fn registration(id: PeerId) -> Registration {
    let member = Member {
        id,
        name: "ana".parse().unwrap(),
        address: ([10, 1, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    Registration { member, credential: None, host_id: String::new() }
}

/// Of a network with one member, which is live.
async fn with_live_member() -> (Admin, PeerId) {
    let layout = Layout::Elastic { min: 6, target: 16, max: 24 };
    let terms = Terms { layout, lease: Duration::from_secs(30), heartbeat: Duration::from_secs(10) };
    let hub = Arc::new(Hub::new(State::new(terms, 1)));
    let (closed, key, _) = with_member("ana").await;
    let ana = key.public().peer_id();
    hub.register(registration(ana)).unwrap();
    let (host, shutdown) = ("localhost:1".to_owned(), Shutdown::new());
    (Admin { closed: Some(Arc::new(closed)), hub, layout, host, shutdown }, ana)
}

#[test]
fn who_shuts_a_member_out_and_goes_away_has_shut_it_out() {
    of_one_writer().block_on(async {
        let (admin, ana) = with_live_member().await;
        let _held = hold_up();
        let request = Request::new(pb::RevokeRequest { peer: "ana".into() });
        let mut asked = admin.revoke(request);
        assert!(futures::poll!(&mut asked).is_pending());
        drop(asked);
        assert!(!admin.hub.is_live(&ana));
        assert!(admin.hub.register(registration(ana)).is_err());
    });
}

#[test]
fn who_leaves_members_out_by_force_and_goes_away_has_left_them_out() {
    of_one_writer().block_on(async {
        let (admin, ana) = with_live_member().await;
        for step in [RotationStep::Begin, RotationStep::Switch] {
            admin.rotate(step).await.unwrap();
        }
        let held = hold_up();
        let step = pb::rotate_authority_request::Step::Force.into();
        let request = Request::new(pb::RotateAuthorityRequest { step });
        let mut asked = admin.rotate_authority(request);
        assert!(futures::poll!(&mut asked).is_pending());
        // The step has begun.
        tokio::task::yield_now().await;
        drop(asked);
        assert!(admin.hub.is_live(&ana));
        drop(held);
        assert!(admin.shutdown.drain(Duration::from_secs(9)).await);
        assert!(!admin.hub.is_live(&ana));
    });
}
