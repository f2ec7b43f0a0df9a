//! The authority is changed under a running network.

use std::time::Duration;

use floodplain::{
    net::{Purpose, To},
    wire::pb::{RotateAuthorityResponse, rotate_authority_request::Step},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::common::{ELASTIC, PATIENCE, Peer, Registry, code};

/// Waits until certificates are of the new authority.
async fn until_used(registry: &Registry) -> RotateAuthorityResponse {
    let used = async {
        loop {
            let told = registry.rotate(Step::Unspecified).await.unwrap();
            if told.is_newest_used {
                return told;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, used).await.expect("every live peer was told")
}

/// Each dials the other anew, and is answered.
async fn meet(one: &Peer, other: &Peer) {
    for (from, to) in [(one, other), (other, one)] {
        let to = To { address: to.address, peer: to.id() };
        let channel = from.transport.dial(to, Purpose::Link).await.expect("trusted");
        let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        assert_eq!(code(answer), Code::Ok, "{} asks {}", from.name, to.address);
    }
}

#[tokio::test]
async fn whoever_has_renewed_and_whoever_has_not_can_dial_each_other_at_every_step() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(2).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let ben = Peer::enroll(&invite, "ben").await.unwrap();
    let mut sessions = [ana.session().await.unwrap(), ben.session().await.unwrap()];
    for step in [Step::Begin, Step::Unspecified, Step::Finish] {
        if step == Step::Unspecified {
            until_used(&registry).await;
        } else {
            registry.rotate(step).await.unwrap();
        }
        for (session, peer) in sessions.iter_mut().zip([&ana, &ben]) {
            session.until_renewal_due().await;
            meet(&ana, &ben).await;
            peer.trust.renew(peer.renew().await.unwrap()).unwrap();
            meet(&ana, &ben).await;
        }
    }
    let now = registry.rotate(Step::Unspecified).await.unwrap();
    assert_eq!((now.authorities.len(), now.members_on_older), (1, 0));
    registry.stop().await;
}

#[tokio::test]
async fn the_authority_changes_with_both_trusted_until_everyone_has_renewed() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(9).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let ben = Peer::enroll(&invite, "ben").await.unwrap();
    let mut session = ana.session().await.unwrap();
    let told = registry.rotate(Step::Unspecified).await.unwrap();
    assert_eq!((told.authorities.len(), told.members_on_older), (1, 0));
    assert_eq!(code(registry.rotate(Step::Finish).await), Code::Ok, "nothing to finish");

    let begun = registry.rotate(Step::Begin).await.unwrap();
    assert_eq!((begun.authorities.len(), begun.members_on_older), (2, 2));
    assert_eq!(begun.authorities[0], told.authorities[0], "the newest is last");
    assert_eq!(registry.rotate(Step::Begin).await.unwrap(), begun, "there is no third");
    assert!(!begun.is_newest_used, "it is made known first");
    session.until_renewal_due().await;
    let renewed = ana.renew().await.unwrap();
    assert_eq!(renewed.authorities.len(), 2);
    ana.trust.renew(renewed).unwrap();
    assert_eq!(code(registry.rotate(Step::Force).await), Code::FailedPrecondition, "nobody would be left");
    let switched = until_used(&registry).await;
    assert_eq!((switched.members_on_older, switched.live_untold), (2, 0), "ben is away, and not waited for");
    session.until_renewal_due().await;
    ana.trust.renew(ana.renew().await.unwrap()).unwrap();
    assert_eq!(code(ana.register().await), Code::Ok, "under the new one");
    let cyd = Peer::enroll(&invite, "cyd").await.unwrap();
    assert_eq!(code(cyd.register().await), Code::Ok, "let in by an invite of before");
    let dan = Peer::enroll(&registry.invite(1).await, "dan").await.unwrap();
    assert_eq!(dan.trust.network(), ana.trust.network(), "still the same network");

    let refused = registry.rotate(Step::Finish).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("1 members"), "{refused}");
    let registry = registry.restart().await;
    assert_eq!(registry.rotate(Step::Unspecified).await.unwrap().members_on_older, 1, "kept");
    // Whoever was away meanwhile is on no list before it knows whom to trust.
    assert_eq!(ben.register().await.unwrap_err().code(), Code::FailedPrecondition);
    ben.trust.renew(ben.renew().await.unwrap()).unwrap();
    let mut late = ben.session().await.unwrap();

    let finished = registry.rotate(Step::Finish).await.unwrap();
    assert_eq!(finished.authorities, begun.authorities[1..]);
    late.until_renewal_due().await;
    for peer in [&ana, &ben, &cyd, &dan] {
        assert_eq!(code(peer.register().await), Code::FailedPrecondition, "it trusts the old one still");
        peer.trust.renew(peer.renew().await.unwrap()).unwrap();
        assert_eq!(peer.trust.credentials().authorities.len(), 1);
        assert_eq!(code(peer.register().await), Code::Ok);
    }
    assert!(floodplain::net::enroll::dial(&invite.registry, invite.authority).await.is_err());
    let invite = registry.invite(1).await;
    assert_eq!(invite.authority.as_bytes()[..], finished.authorities[0][..]);
    assert_eq!(code(Peer::enroll(&invite, "eve").await), Code::Ok);
    registry.stop().await;
}

#[tokio::test]
async fn by_force_those_who_have_not_renewed_are_left_out_until_they_are_invited_anew() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(9).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let ben = Peer::enroll(&invite, "ben").await.unwrap();
    let (open, mut session) = (ana.channel().await, ana.session().await.unwrap());
    registry.rotate(Step::Begin).await.unwrap();
    assert!(registry.rotate(Step::Switch).await.unwrap().is_newest_used, "not all were told");
    ben.trust.renew(ben.renew().await.unwrap()).unwrap();
    assert_eq!(code(registry.rotate(Step::Finish).await), Code::FailedPrecondition);
    assert_eq!(registry.rotate(Step::Force).await.unwrap().authorities.len(), 1);
    assert_eq!(session.end().await, Code::PermissionDenied);
    assert_eq!(code(ana.renew_over(open, ana.trust.key()).await), Code::PermissionDenied);
    ben.trust.renew(ben.renew().await.unwrap()).unwrap();
    assert_eq!(code(ben.register().await), Code::Ok);
    let invite = registry.invite(1).await;
    let ana = Peer::enroll_by(&invite, ana.trust.key().clone(), "ana").await.unwrap();
    assert_eq!(code(ana.register().await), Code::Ok);
    registry.stop().await;
}
