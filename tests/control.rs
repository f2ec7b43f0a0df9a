//! The whole of `Actions` through the control socket: the same values and the same errors as without it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/actions.rs"]
mod actions;

use std::{path::PathBuf, sync::Arc, time::Duration};

use actions::{Double, new_hit};
use floodplain::{
    peer::{
        Actions, Handle,
        control::{self, ControlSocket},
        remote,
    },
    protocol::{
        action::{
            ActionError, Answer, ErrorKind, GetAsk, PageAsk, PeerPath, Priority, SaveAsk, Scope, SearchAsk,
            SendAsk, ShareFileAsk, Target, TransferControl, Which,
        },
        id::{ContentHash, ZoneId},
    },
    shutdown::Shutdown,
    wire::pb::{
        self, control_service_client::ControlServiceClient, control_transfers_request::Which as PbWhich,
    },
};
use futures::{StreamExt, TryStreamExt};
use tonic::Code;
use tonic_types::StatusExt;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Served {
    double: Arc<Double>,
    remote: Handle,
    socket: PathBuf,
    shutdown: Shutdown,
    _folder: tempfile::TempDir,
}

async fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = control::socket_path(folder.path());
    let (double, shutdown) = (Double::new(), Shutdown::new());
    let bound = ControlSocket::bind(&socket).unwrap();
    shutdown.spawn_draining("control", control::serve(double.clone(), bound, shutdown.clone()));
    let remote = remote::connect(&socket).await.unwrap();
    Served { double, remote, socket, shutdown, _folder: folder }
}

/// Runs one action on a peer itself and through its socket, and compares what came and what was asked.
macro_rules! same {
    ($served:ident, $actions:ident => $call:expr) => {{
        let before = $served.double.calls().len();
        let $actions: &dyn Actions = &*$served.remote;
        let through = $call.await;
        let direct_double = Double::new();
        let $actions: &dyn Actions = &*direct_double;
        let direct = $call.await;
        assert_eq!(through, direct);
        assert_eq!($served.double.calls()[before..], direct_double.calls()[..]);
        through
    }};
}

async fn search(actions: &dyn Actions, ask: SearchAsk) -> (Vec<String>, Option<ActionError>) {
    let mut seen = vec![];
    let mut events = match actions.search(ask).await {
        Ok(events) => events,
        Err(error) => return (seen, Some(error)),
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => seen.push(format!("{event:?}")),
            Err(error) => return (seen, Some(error)),
        }
    }
    (seen, None)
}

#[tokio::test]
async fn searches_are_the_same_through_the_socket() {
    let served = served().await;
    for text in ["report", "missing", "bugdet", "broken", "refused"] {
        let ask = SearchAsk {
            text: text.into(),
            scope: Scope::All,
            ttl: Some(7),
            wait: Some(Duration::from_millis(1500)),
            want: Some(3),
        };
        same!(served, actions => search(actions, ask.clone()));
    }
    let bare = SearchAsk { text: "report".into(), ..Default::default() };
    let (events, error) = same!(served, actions => search(actions, bare.clone()));
    assert_eq!((events.len(), error), (3, None));
}

#[tokio::test]
async fn saved_searches_are_the_same_through_the_socket() {
    let served = served().await;
    for (name, scope) in [("a", Scope::Mine), ("a.b", Scope::All), ("taken", Scope::All)] {
        let ask = SaveAsk { name: name.into(), text: "report newer:7d".into(), scope };
        let _ = same!(served, actions => actions.save_search(ask.clone()));
    }
    assert_eq!(same!(served, actions => actions.saved_searches()).unwrap().len(), 2);
    same!(served, actions => actions.remove_saved_search("reports".into())).unwrap();
    same!(served, actions => actions.remove_saved_search("none".into())).unwrap_err();
    served.double.finds(new_hit(2));
    assert_eq!(served.remote.take_new_hits(Duration::from_secs(20)).await, Ok(vec![new_hit(2)]));
    assert_eq!(served.remote.take_new_hits(Duration::ZERO).await, Ok(vec![]));
    let refused = served.remote.remove_saved_search("../a".into()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Usage);
}

#[tokio::test]
async fn transfers_are_the_same_through_the_socket() {
    let served = served().await;
    let hash = ContentHash::from_bytes([1; 32]);
    let path = PeerPath { peer: "ana".into(), path: "docs/x".into() };
    for target in [Target::Hash(hash), Target::Path(path), Target::Hit(1), Target::Hit(3), Target::Hit(9)] {
        let ask = GetAsk::new(target, Some("/tmp/x".into()));
        let _ = same!(served, actions => async {
            actions.get(ask.clone()).await?.try_collect::<Vec<_>>().await
        });
    }
    for peer in ["ana", "eve"] {
        let ask = SendAsk { path: "/etc/hostname".into(), peer: peer.into() };
        let _ = same!(served, actions => async {
            actions.send(ask.clone()).await?.try_collect::<Vec<_>>().await
        });
    }
    assert_eq!(same!(served, actions => actions.transfers()).unwrap().len(), 2);
    same!(served, actions => actions.control_transfers(Which::One(2), TransferControl::Cancel)).unwrap();
    same!(served, actions => actions.control_transfers(Which::One(3), TransferControl::Cancel)).unwrap_err();
    for control in [
        TransferControl::Pause,
        TransferControl::Resume,
        TransferControl::Retry,
        TransferControl::Priority(Priority::High),
        TransferControl::Priority(Priority::Low),
    ] {
        let count = same!(served, actions => actions.control_transfers(Which::All, control));
        assert_eq!(count, Ok(2), "{control:?}");
    }
    let ask = GetAsk { priority: Priority::High, is_detached: true, ..GetAsk::new(Target::Hit(1), None) };
    let _ = same!(served, actions => async {
        actions.get(ask.clone()).await?.try_collect::<Vec<_>>().await
    });
}

#[tokio::test]
async fn lists_and_settings_are_the_same_through_the_socket() {
    let served = served().await;
    for (peer, token) in [("ana", None), ("ana", Some("report.pdf".to_owned())), ("eve", None)] {
        let path = PeerPath { peer: peer.into(), path: String::new() };
        let page = PageAsk { size: 50, token };
        let _ = same!(served, actions => actions.browse(path.clone(), page.clone()));
    }
    same!(served, actions => actions.peers(None)).unwrap();
    assert!(same!(served, actions => actions.peers(ZoneId::new(2))).unwrap().is_stale);
    same!(served, actions => actions.zones()).unwrap();
    same!(served, actions => actions.status()).unwrap();
    for token in [None, Some("1".to_owned())] {
        let page = PageAsk { size: 50, token };
        same!(served, actions => actions.puts(page.clone())).unwrap();
    }
    for name in ["new", "again"] {
        let ask = ShareFileAsk { path: "/tmp/x".into(), name: name.into() };
        same!(served, actions => actions.share_file(ask.clone())).unwrap();
    }
    same!(served, actions => actions.shares()).unwrap();
    same!(served, actions => actions.add_share("/srv/docs".into())).unwrap();
    same!(served, actions => actions.remove_share("docs".into())).unwrap();
    same!(served, actions => actions.remove_share("none".into())).unwrap_err();
    same!(served, actions => actions.rescan()).unwrap();
    same!(served, actions => actions.set_connected(false)).unwrap();
    same!(served, actions => actions.set_connected(true)).unwrap();
}

#[tokio::test]
async fn the_inbox_is_the_same_through_the_socket() {
    let served = served().await;
    same!(served, actions => actions.inbox()).unwrap();
    for id in 1..=3 {
        served.double.offer(actions::offer(id));
    }
    assert_eq!(served.remote.inbox().await, served.double.inbox().await);
    for (id, answer) in [(1, Answer::Accept), (2, Answer::Decline("not now".into())), (3, Answer::Trust)] {
        served.remote.answer_offer(id, answer.clone()).await.unwrap();
        assert_eq!(served.double.calls().last(), Some(&format!("answer_offer({id}, {answer:?})")));
    }
    same!(served, actions => actions.answer_offer(9, Answer::Accept)).unwrap_err();
}

#[tokio::test]
async fn activity_is_the_same_through_the_socket_until_it_is_dropped() {
    let served = served().await;
    let seen = same!(served, actions => async {
        actions.activity().await?.take(3).try_collect::<Vec<_>>().await
    });
    assert_eq!(seen, Ok(actions::activities()));
    served.double.cancelled().await;
}

#[tokio::test]
async fn a_dropped_stream_cancels_the_action() {
    let served = served().await;
    let ask = SearchAsk { text: "slow".into(), ..Default::default() };
    let mut events = served.remote.search(ask.clone()).await.unwrap();
    events.next().await.unwrap().unwrap();
    drop(events);
    served.double.cancelled().await;

    let mut events = served.remote.get(GetAsk::new(Target::Hit(2), None)).await.unwrap();
    events.next().await.unwrap().unwrap();
    drop(events);
    served.double.cancelled().await;
}

#[tokio::test]
async fn a_stop_ends_running_streams_and_removes_the_socket() {
    let served = served().await;
    let ask = SearchAsk { text: "slow".into(), ..Default::default() };
    let mut events = served.remote.search(ask).await.unwrap();
    events.next().await.unwrap().unwrap();
    assert!(served.shutdown.drain(PATIENCE).await);
    assert_eq!(events.next().await.unwrap().unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(events.next().await, None);
    assert!(!served.socket.exists());
    let error = served.remote.status().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
    assert_eq!(remote::connect(&served.socket).await.unwrap_err().kind, ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_restarted_peer_is_reached_again() {
    let served = served().await;
    served.remote.status().await.unwrap();
    assert!(served.shutdown.drain(PATIENCE).await);
    served.remote.status().await.unwrap_err();
    let shutdown = Shutdown::new();
    let bound = ControlSocket::bind(&served.socket).unwrap();
    shutdown.spawn_draining("control", control::serve(served.double.clone(), bound, shutdown.clone()));
    served.remote.status().await.unwrap();
}

#[tokio::test]
async fn a_malformed_request_is_refused_by_the_name_of_its_field() {
    let served = served().await;
    let mut client = ControlServiceClient::new(remote::channel(&served.socket).await.unwrap());
    let named = |status: tonic::Status| {
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        status.get_details_bad_request().unwrap().field_violations[0].field.clone()
    };
    let ttl = pb::StartSearchRequest { text: "x".into(), ttl: Some(99), ..Default::default() };
    assert_eq!(named(client.start_search(ttl).await.unwrap_err()), "ttl");
    assert_eq!(named(client.start_get(pb::StartGetRequest::default()).await.unwrap_err()), "target");
    let send = pb::StartSendRequest { path: "etc/passwd".into(), peer: "ana".into() };
    assert_eq!(named(client.start_send(send).await.unwrap_err()), "path");
    assert_eq!(named(client.browse_peer(pb::BrowsePeerRequest::default()).await.unwrap_err()), "path");
    let folder = pb::AddShareRequest { folder: "docs".into() };
    assert_eq!(named(client.add_share(folder).await.unwrap_err()), "folder");
    assert_eq!(named(client.remove_share(pb::RemoveShareRequest::default()).await.unwrap_err()), "name");
    assert_eq!(named(client.cancel_transfer(pb::CancelTransferRequest::default()).await.unwrap_err()), "id");
    let none = pb::ControlTransfersRequest::default();
    assert_eq!(named(client.control_transfers(none).await.unwrap_err()), "which");
    for (which, control, priority, field) in [
        (PbWhich::Id(0), 1, 0, "id"),
        (PbWhich::IsAll(false), 1, 0, "is_all"),
        (PbWhich::Id(1), 0, 0, "control"),
        (PbWhich::Id(1), 9, 0, "control"),
        (PbWhich::IsAll(true), 5, 9, "priority"),
    ] {
        let request = pb::ControlTransfersRequest { which: Some(which), control, priority };
        assert_eq!(named(client.control_transfers(request).await.unwrap_err()), field);
    }
    let answer = pb::AnswerOfferRequest { id: 1, ..Default::default() };
    assert_eq!(named(client.answer_offer(answer).await.unwrap_err()), "answer");
    assert_eq!(served.double.calls(), Vec::<String>::new());

    let huge = pb::StartSearchRequest { text: "x".repeat(control::MAX_REQUEST_BYTES), ..Default::default() };
    assert_eq!(client.start_search(huge).await.unwrap_err().code(), Code::OutOfRange);
    let usage = SearchAsk { ttl: Some(99), text: "x".into(), ..Default::default() };
    assert_eq!(served.remote.search(usage).await.err().unwrap().kind, ErrorKind::Usage);
}

#[tokio::test]
async fn a_panic_in_one_action_ends_no_other() {
    let served = served().await;
    let path = PeerPath { peer: "panic".into(), path: String::new() };
    let error = served.remote.browse(path, PageAsk { size: 1, token: None }).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Failed);
    served.remote.status().await.unwrap();
}

#[tokio::test]
async fn one_action_too_many_is_refused() {
    let served = served().await;
    // Over several connections: one connection lets no more streams through than there may be actions.
    let other = remote::connect(&served.socket).await.unwrap();
    let ask = SearchAsk { text: "slow".into(), ..Default::default() };
    let mut running = vec![];
    for _ in 0..control::MAX_ACTIONS {
        running.push(served.remote.search(ask.clone()).await.unwrap());
    }
    assert_eq!(other.status().await.unwrap_err().kind, ErrorKind::Refused);
    drop(running.pop());
    served.double.cancelled().await;
    // The permit is given back right after the stream is dropped; ask until it is.
    while let Err(error) = other.status().await {
        assert_eq!(error.kind, ErrorKind::Refused);
    }
}

#[tokio::test]
async fn the_health_service_answers_on_the_same_socket() {
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
    };
    let served = served().await;
    let mut client = HealthClient::new(remote::channel(&served.socket).await.unwrap());
    for service in ["", "floodplain.v1.ControlService"] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(client.check(request).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
}

#[tokio::test]
async fn nobody_there_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = control::socket_path(folder.path());
    let error = remote::connect(&socket).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.starts_with("no peer runs at "), "{error}");
    assert!(error.hint.contains("floodplain peer"));
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(remote::connect(&socket).await.unwrap_err().message.starts_with("no peer runs at "));
}
