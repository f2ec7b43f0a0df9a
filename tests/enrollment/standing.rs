//! What members may do: renew, register where they are, and no more.

use std::time::SystemTime;

use floodplain::{
    net::PrivateKey,
    wire::pb::{self, enrollment_service_client::EnrollmentServiceClient},
};
use tokio::net::TcpListener;
use tonic::Code;

use crate::common::{ELASTIC, Peer, Registry, code};

#[tokio::test]
async fn a_member_renews_for_its_own_key_and_gets_its_zone() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(2).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let other = PrivateKey::generate().unwrap();
    assert_eq!(code(ana.renew_over(ana.channel().await, &other).await), Code::PermissionDenied);
    let stranger = floodplain::net::enroll::dial(&invite.registry, invite.authority).await.unwrap();
    assert_eq!(code(ana.renew_over(stranger, ana.trust.key()).await), Code::Unauthenticated);

    ana.register().await.unwrap();
    let before = ana.trust.credentials();
    let renewed = ana.renew().await.unwrap();
    assert!(renewed.not_after >= before.not_after);
    let zone_name = format!("z1.zone.{}", ana.trust.network());
    let names = |der: &[u8]| String::from_utf8_lossy(der).into_owned();
    assert!(!names(&before.certificate).contains(&zone_name));
    assert!(names(&renewed.certificate).contains(&zone_name));
    ana.trust.renew(renewed).unwrap();
    assert_eq!(code(ana.register().await), Code::Ok);
    registry.stop().await;
}

#[tokio::test]
async fn a_known_key_renews_after_its_certificate_has_run_out_and_does_nothing_else() {
    let registry = Registry::start(ELASTIC).await;
    let ana = Peer::enroll(&registry.invite(1).await, "ana").await.unwrap();
    let late = ana.expired(&registry).await;
    assert!(late.trust.credentials().not_after < SystemTime::now());
    assert_eq!(code(late.register().await), Code::Unauthenticated);
    let renewed = late.renew().await.unwrap();
    assert!(renewed.not_after > SystemTime::now());
    late.trust.renew(renewed).unwrap();
    assert_eq!(code(late.register().await), Code::Ok);

    registry.revoke("ana").await.unwrap();
    let out = ana.expired(&registry).await;
    assert_ne!(code(out.renew_over(out.channel().await, out.trust.key()).await), Code::Ok);
    registry.stop().await;
}

#[tokio::test]
async fn a_certified_key_that_never_enrolled_is_no_member() {
    let registry = Registry::start(ELASTIC).await;
    let ana = Peer::enroll(&registry.invite(1).await, "ana").await.unwrap();
    let (network, key) = (ana.trust.network(), PrivateKey::generate().unwrap());
    let authority = registry.authority(network);
    let day = std::time::Duration::from_secs(24 * 3600);
    let (certificate, not_after) = authority.certify_peer(&key.public(), network, None, day).unwrap();
    let credentials = floodplain::protocol::trust::Credentials {
        certificate,
        authorities: vec![authority.public()],
        network,
        not_after,
    };
    let unknown = Peer::with(&registry.running.address().to_string(), key, credentials, "eve").await;
    assert_eq!(code(unknown.register().await), Code::PermissionDenied);
    assert_eq!(code(unknown.renew().await), Code::PermissionDenied);
    registry.stop().await;
}

#[tokio::test]
async fn an_address_is_taken_when_the_peer_answers_there() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(3).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let ben = Peer::enroll(&invite, "ben").await.unwrap();
    let at = |peer: &Peer, address: String| {
        let mut request = peer.registration();
        request.peer.as_mut().unwrap().address = address;
        request
    };
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for address in [ben.address, closed, silent.local_addr().unwrap()] {
        let refused = ana.register_as(at(&ana, address.to_string())).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{address}");
        assert!(refused.message().contains("FLOODPLAIN_ADVERTISE"), "{refused}");
    }
    for address in ["0.0.0.0:7001", "127.0.0.1:0", "224.0.0.1:7001", "[fe80::1]:7001", "name:7001"] {
        let refused = ana.register_as(at(&ana, address.into())).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{address}");
    }
    ana.register().await.unwrap();
    registry.stop().await;
}

#[tokio::test]
async fn a_proven_address_is_not_dialed_again_while_a_lease_lasts() {
    let registry = Registry::start(ELASTIC).await;
    let ana = Peer::enroll(&registry.invite(1).await, "ana").await.unwrap();
    let channel = ana.channel().await;
    let mut client = floodplain::wire::pb::registry_service_client::RegistryServiceClient::new(channel);
    client.register(ana.registration()).await.unwrap();
    let again = ana.registration();
    drop(ana);
    client.register(again).await.expect("nobody was asked");
    registry.stop().await;
}

#[tokio::test]
async fn who_registers_or_enrolls_too_often_is_told_to_wait() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(1).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let mut client =
        floodplain::wire::pb::registry_service_client::RegistryServiceClient::new(ana.channel().await);
    let mut codes = Vec::new();
    for _ in 0..40 {
        codes.push(code(client.register(ana.registration()).await));
    }
    assert!(codes[..20].iter().all(|code| *code == Code::Ok), "{codes:?}");
    assert!(codes.contains(&Code::Unavailable), "{codes:?}");

    let channel = floodplain::net::enroll::dial(&invite.registry, invite.authority).await.unwrap();
    let mut client = EnrollmentServiceClient::new(channel);
    let mut codes = Vec::new();
    for _ in 0..100 {
        codes.push(code(client.enroll(pb::EnrollRequest::default()).await));
    }
    assert!(codes[..50].iter().all(|code| *code == Code::InvalidArgument), "{codes:?}");
    assert!(codes.contains(&Code::Unavailable), "{codes:?}");
    registry.stop().await;
}
