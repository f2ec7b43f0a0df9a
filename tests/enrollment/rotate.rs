//! The authority is changed under a running network.

use floodplain::wire::pb::rotate_authority_request::Step;
use tonic::Code;

use crate::common::{ELASTIC, Peer, Registry, code};

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
    session.until_renewal_due().await;
    let renewed = ana.renew().await.unwrap();
    assert_eq!(renewed.authorities.len(), 2);
    ana.trust.renew(renewed).unwrap();
    assert_eq!(code(ana.register().await), Code::Ok, "under the new one");
    assert_eq!(code(ben.register().await), Code::Ok, "under the old one");
    let cyd = Peer::enroll(&invite, "cyd").await.unwrap();
    assert_eq!(code(cyd.register().await), Code::Ok, "let in by an invite of before");
    let dan = Peer::enroll(&registry.invite(1).await, "dan").await.unwrap();
    assert_eq!(dan.trust.network(), ana.trust.network(), "still the same network");

    let refused = registry.rotate(Step::Finish).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("1 members"), "{refused}");
    let registry = registry.restart().await;
    assert_eq!(registry.rotate(Step::Unspecified).await.unwrap().members_on_older, 1, "kept");
    // Whoever was away meanwhile is told when it comes.
    let mut late = ben.session().await.unwrap();
    late.until_renewal_due().await;
    ben.trust.renew(ben.renew().await.unwrap()).unwrap();

    let finished = registry.rotate(Step::Finish).await.unwrap();
    assert_eq!(finished.authorities, begun.authorities[1..]);
    late.until_renewal_due().await;
    for peer in [&ana, &ben, &cyd, &dan] {
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
    ben.trust.renew(ben.renew().await.unwrap()).unwrap();
    assert_eq!(code(registry.rotate(Step::Finish).await), Code::FailedPrecondition);
    assert_eq!(registry.rotate(Step::Force).await.unwrap().authorities.len(), 1);
    assert_eq!(session.end().await, Code::PermissionDenied);
    assert_eq!(code(ana.renew_over(open, ana.trust.key()).await), Code::PermissionDenied);
    assert_eq!(code(ben.register().await), Code::Ok);
    let invite = registry.invite(1).await;
    let ana = Peer::enroll_by(&invite, ana.trust.key().clone(), "ana").await.unwrap();
    assert_eq!(code(ana.register().await), Code::Ok);
    registry.stop().await;
}
