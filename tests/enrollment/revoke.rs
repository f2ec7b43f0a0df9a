//! Who is shut out is gone at once, for good, and everyone hears of it.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::common::{ELASTIC, Peer, Registry, code};

#[tokio::test]
async fn a_revoked_peer_is_gone_at_once_and_everyone_hears_of_it() {
    let registry = Registry::start(ELASTIC).await;
    let invite = registry.invite(3).await;
    let ana = Peer::enroll(&invite, "ana").await.unwrap();
    let ben = Peer::enroll(&invite, "ben").await.unwrap();
    let mut session = ana.session().await.unwrap();
    let mut other = ben.session().await.unwrap();
    assert_eq!(other.until_denied(0).await.peer_ids.len(), 0, "told behind the welcome, though empty");
    let open = ana.channel().await;

    let begun = Instant::now();
    let revoked = registry.revoke("ANA").await.unwrap();
    assert!(revoked.is_revoked && !revoked.is_live);
    assert_eq!(revoked.peer_id, ana.id().as_bytes().to_vec());
    let denied = other.until_denied(1).await;
    assert_eq!(denied.peer_ids, [ana.id().as_bytes().to_vec()]);
    assert_ne!(session.end().await, Code::Ok);
    let took = begun.elapsed();
    println!("shut out, told and cut within {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Over the connection that it had, and over a new one.
    assert_ne!(code(ana.renew_over(open, ana.trust.key()).await), Code::Ok);
    assert_ne!(code(ana.renew().await), Code::Ok);
    assert_ne!(code(ana.register().await), Code::Ok);
    assert_eq!(ben.register().await.unwrap().roster.unwrap().members.len(), 1);

    assert!(registry.revoke("ana").await.unwrap().is_revoked, "again is no fault");
    assert_eq!(code(registry.revoke("nobody").await), Code::NotFound);
    assert_eq!(code(registry.revoke("").await), Code::InvalidArgument);
    let again = Peer::enroll_by(&invite, ana.trust.key().clone(), "ana").await;
    assert_eq!(code(again), Code::PermissionDenied, "not by an invite either");
    // A new key takes the name over.
    let anew = Peer::enroll(&invite, "ana").await.unwrap();
    assert_eq!(code(anew.register().await), Code::Ok);

    let registry = registry.restart().await;
    assert_ne!(code(ana.renew().await), Code::Ok, "a restart forgets nobody");
    let mut other = ben.session().await.unwrap();
    let told = other.until_denied(1).await;
    assert_eq!(told.peer_ids, denied.peer_ids);
    assert!(told.version > denied.version, "a start makes a later list, whatever was restored");
    let digits = ben.id().to_string();
    assert_eq!(registry.revoke(&digits[..12]).await.unwrap().name, "ben");
    assert_ne!(other.end().await, Code::Ok);
    registry.stop().await;
}
