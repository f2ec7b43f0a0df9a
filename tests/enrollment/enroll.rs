//! Invites and tokens, keys and proofs, names and zones.

use floodplain::{
    net::PrivateKey,
    protocol::{id::ZoneId, trust::invite::Invite, zone::Layout},
    wire::admin::InviteAsk,
};
use tonic::Code;

use crate::common::{Peer, Registry, ask, code, request};
use floodplain::wire::pb;

#[tokio::test]
async fn who_has_an_invite_is_let_in_and_others_are_not() {
    let registry = Registry::start(crate::common::ELASTIC).await;
    let invite = registry.invite(1).await;
    let key = PrivateKey::generate().unwrap();
    let good = request(&invite, &key, "ana");

    let forged =
        Invite { token: floodplain::protocol::trust::invite::Token::from_bytes([7; 16]), ..invite.clone() };
    assert_eq!(code(ask(&forged, request(&forged, &key, "ana")).await), Code::Unauthenticated);
    // An X25519 key, and half of one.
    let mut x25519 = good.public_key.to_vec();
    x25519[8] = 0x6e;
    for public_key in [x25519.into(), good.public_key.slice(..20)] {
        let refused = ask(&invite, pb::EnrollRequest { public_key, ..good.clone() }).await;
        assert_eq!(code(refused), Code::InvalidArgument);
    }
    let refused = ask(&invite, pb::EnrollRequest { name: "ben".into(), ..good.clone() }).await;
    assert_eq!(code(refused), Code::InvalidArgument, "the proof is for another name");
    let other = PrivateKey::generate().unwrap();
    let proof = request(&invite, &other, "ana").proof;
    let refused = ask(&invite, pb::EnrollRequest { proof, ..good.clone() }).await;
    assert_eq!(code(refused), Code::InvalidArgument, "the proof is by another key");
    let refused = ask(&invite, pb::EnrollRequest { name: "a\u{1b}[2J".into(), ..good.clone() }).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    assert_eq!(registry.members().await.len(), 0);

    let first = ask(&invite, good.clone()).await.unwrap();
    assert_eq!(first.network, invite.authority.network_id());
    let again = ask(&invite, good).await.unwrap();
    assert_eq!(again.authorities, first.authorities, "the same key is answered again");
    assert_eq!(code(ask(&invite, request(&invite, &other, "ben")).await), Code::Unauthenticated, "used up");
    let members = registry.members().await;
    assert_eq!(members.iter().map(|member| &*member.name).collect::<Vec<_>>(), ["ana"]);
    assert!(!members[0].is_live && !members[0].is_revoked && members[0].is_newest_authority);
    registry.stop().await;
}

#[tokio::test]
async fn a_wrong_authority_in_an_invite_reaches_nobody() {
    let registry = Registry::start(crate::common::ELASTIC).await;
    let invite = registry.invite(1).await;
    let authority = PrivateKey::generate().unwrap().public();
    assert!(floodplain::net::enroll::dial(&invite.registry, authority).await.is_err());
    registry.stop().await;
}

#[tokio::test]
async fn a_name_is_its_members_own_also_while_that_is_away() {
    let registry = Registry::start(crate::common::ELASTIC).await;
    let invite = registry.invite(9).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let ben = Peer::enroll(&invite, "ben").await.unwrap();
    assert_eq!(code(Peer::enroll(&invite, "Ana").await), Code::AlreadyExists);
    let as_name = |peer: &Peer, name: &str| {
        let mut request = peer.registration();
        request.peer.as_mut().unwrap().name = name.into();
        request
    };
    let refused = ben.register_as(as_name(&ben, "ana")).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    // A rename moves the pin, and frees the name.
    ana.register_as(as_name(&ana, "zoe")).await.unwrap();
    ben.register_as(as_name(&ben, "ana")).await.unwrap();
    let names: Vec<String> = registry.members().await.into_iter().map(|member| member.name).collect();
    assert_eq!(names, ["ana", "zoe"]);
    let registry = registry.restart().await;
    assert_eq!(code(ana.register_as(as_name(&ana, "ben")).await), Code::Ok);
    assert_eq!(code(ben.register_as(as_name(&ben, "ben")).await), Code::AlreadyExists);
    registry.stop().await;
}

#[tokio::test]
async fn an_invite_for_a_zone_leads_there_and_nowhere_else() {
    let registry = Registry::start(Layout::Fixed { zones: 3, zone_size: 2 }).await;
    let zone = |number| InviteAsk { uses: 9, zone: ZoneId::new(number), ..InviteAsk::default() };
    assert!(registry.running.invite(&zone(4)).await.is_err());
    let (invite, _) = registry.running.invite(&zone(3)).await.unwrap();
    for name in ["ana", "ben"] {
        let peer = Peer::enroll(&invite, name).await.unwrap();
        assert_eq!(peer.register().await.unwrap().roster.unwrap().zone_id, 3);
        let credentials = peer.renew().await.unwrap();
        peer.trust.renew(credentials).unwrap();
    }
    let late = Peer::enroll(&invite, "cyd").await.unwrap();
    let refused = late.register().await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("zone 3"), "{refused}");
    // With another invite it may be anywhere.
    let invite = registry.invite(1).await;
    let late = Peer::enroll_by(&invite, late.trust.key().clone(), "cyd").await.unwrap();
    assert_ne!(late.register().await.unwrap().roster.unwrap().zone_id, 3);
    registry.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_the_network_its_members_and_used_tokens() {
    let registry = Registry::start(crate::common::ELASTIC).await;
    let (once, twice) = (registry.invite(1).await, registry.invite(2).await);
    let ana = Peer::enroll(&once, "ana").await.unwrap();
    let ben = Peer::enroll(&twice, "ben").await.unwrap();
    ana.register().await.unwrap();
    let authority = registry.running.authority();

    let registry = registry.restart().await;
    assert_eq!(registry.running.authority(), authority);
    assert_eq!(code(Peer::enroll(&once, "cyd").await), Code::Unauthenticated, "used is used");
    assert_eq!(code(Peer::enroll(&twice, "cyd").await), Code::Ok, "one use was left");
    assert_eq!(code(Peer::enroll(&twice, "dan").await), Code::Unauthenticated);
    assert_eq!(code(ben.register().await), Code::Ok);
    assert_eq!(code(ana.renew().await), Code::Ok);
    registry.stop().await;
}

#[tokio::test]
async fn a_damaged_or_exposed_authority_is_refused_and_left_alone() {
    use std::os::unix::fs::PermissionsExt;
    let registry = Registry::start(crate::common::ELASTIC).await;
    Peer::enroll(&registry.invite(1).await, "ana").await.unwrap();
    let path = registry.folder().join("authority");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(registry.folder())), (0o600, 0o700));
    let (address, folder) = (registry.running.address(), registry.folder().to_path_buf());
    let data = registry.stop().await;

    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for bytes in [&damaged[..], &whole[..whole.len() - 1], &[]] {
        std::fs::write(&path, bytes).unwrap();
        let error = start(&folder, address).await.unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("backup"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "left alone");
    }
    std::fs::write(&path, &whole).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = start(&folder, address).await.unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let registry = Registry::start_in(data, |settings| settings.data = folder).await;
    assert_eq!(registry.members().await.len(), 1);
    registry.stop().await;
}

async fn start(
    data: &std::path::Path,
    listen: std::net::SocketAddr,
) -> anyhow::Result<floodplain::registry::Running> {
    let settings = floodplain::config::RegistrySettings {
        listen,
        layout: crate::common::ELASTIC,
        lease: std::time::Duration::from_secs(30),
        heartbeat: std::time::Duration::from_secs(10),
        data: data.to_path_buf(),
        http: floodplain::config::HttpSettings::default(),
        insecure_loopback: false,
        advertise: None,
        invite_file: None,
    };
    floodplain::registry::start(settings, floodplain::shutdown::Shutdown::new()).await
}

#[tokio::test]
async fn an_invite_file_holds_a_good_invite_that_outlives_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("shared").join("invite");
    let file = path.clone();
    let registry = Registry::start_in(data, |settings| {
        settings.invite_file = Some(file);
        settings.advertise = Some("localhost:1".into());
        settings.layout = Layout::Fixed { zones: 1, zone_size: 2 };
    })
    .await;
    let read = || std::fs::read_to_string(&path).unwrap().parse::<Invite>().unwrap();
    let invite = read();
    assert_eq!(invite.registry, "localhost:1");
    let there = Invite { registry: registry.running.address().to_string(), ..invite.clone() };
    for name in ["ana", "ben"] {
        Peer::enroll(&there, name).await.unwrap();
    }
    assert_eq!(
        code(Peer::enroll(&there, "cyd").await),
        Code::Unauthenticated,
        "as many as the network holds"
    );
    let registry = registry.restart().await;
    let anew = read();
    assert_ne!(anew, invite, "a used one is replaced");
    let registry = registry.restart().await;
    assert_eq!(read(), anew, "a good one stays");
    registry.stop().await;
}
