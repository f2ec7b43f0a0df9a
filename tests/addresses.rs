//! No address that a peer tells is dialed: peers have no field to tell one in, and whatever they write elsewhere, a listener
//! at that address sees nobody.

#![allow(clippy::unwrap_used)]

#[path = "support/stand_in.rs"]
mod stand_in;
#[allow(dead_code)]
#[path = "support/network.rs"]
mod support;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
};

use floodplain::{
    protocol::{
        action::{PeerPath, Target, TransferState},
        id::{ContentHash, Credential, OwnerKey},
        zone::Layout,
    },
    wire::pb::{
        self, peer_service_client::PeerServiceClient, replica_service_client::ReplicaServiceClient,
        search_response::Message,
    },
};
use futures::{StreamExt, stream};
use prost::Message as _;
use prost_types::{FileDescriptorSet, field_descriptor_proto::Type};
use stand_in::{Answer, Answers, Replies, StandIn};
use support::{TestPeer, TestRegistry, soon};
use tonic::{Request, Response};

/// Has a file that a peer nobody knows is said to have, at an address written wherever text is taken.
#[derive(Debug)]
struct Lure {
    trap: SocketAddr,
    stranger: Credential,
}

#[tonic::async_trait]
impl Answers for Lure {
    async fn search(&self, _: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        let file = |path: String| pb::FileEntry {
            content_hash: vec![9; 32].into(),
            path,
            size_bytes: 7,
            modify_time: Some(prost_types::Timestamp::default()),
        };
        let hits = pb::Hits {
            peer_id: self.stranger.peer_id().as_bytes().to_vec().into(),
            // As near to an address as a name may be.
            peer_name: self.trap.ip().to_string(),
            zone_id: 1,
            hops: 1,
            queue_place: 0,
            files: vec![
                file(format!("{}/lure.txt", self.trap)),
                file(format!("http:/{}/lure2.txt", self.trap)),
            ],
        };
        let done = Message::Done(pb::SearchDone::default());
        let told =
            [Message::Hits(hits), done].map(|message| Ok(pb::SearchResponse { message: Some(message) }));
        Ok(Response::new(stream::iter(told).boxed()))
    }
}

#[tokio::test]
async fn an_address_out_of_a_hit_an_offer_or_a_request_to_keep_is_not_dialed() {
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let at = trap.local_addr().unwrap();
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let ana =
        TestPeer::start_changed(registry.address, "ana", &[], |settings| settings.replica_space = 1 << 30)
            .await;
    let stranger = Credential::random(&mut rand::rng());
    let lure = StandIn::serve(Lure { trap: at, stranger }).await;
    stand_in::register(registry.address, &Credential::random(&mut rand::rng()), "lure", lure).await;
    ana.until_zone_has(2).await;

    let (hits, _) = ana.search("lure").await;
    assert!(!hits.is_empty(), "the lure was found");
    let hash = ContentHash::from_bytes([9; 32]);
    let place = |peer: String| Target::Path(PeerPath { peer, path: format!("{at}/lure.txt") });
    let id = stranger.peer_id().to_string();
    let mut targets = vec![Target::Hash(hash), place(at.to_string()), place(at.ip().to_string()), place(id)];
    targets.extend(hits.iter().map(|hit| Target::Hit(hit.number)));
    for target in targets {
        let told = format!("{target:?}");
        let ask = floodplain::protocol::action::GetAsk::new(target, Some(ana.folder.path().join("to")));
        // Refused at once, or waiting for a holder that the registry knows.
        if let Ok(mut events) = ana.handle.get(ask).await {
            let first = soon("a word of the download", events.next()).await;
            let state = first.map(|event| event.unwrap().state);
            assert_ne!(state, Some(TransferState::Done), "{told}");
        }
    }

    let mut sender = PeerServiceClient::connect(format!("http://{}", ana.peer.address())).await.unwrap();
    for name in [at.to_string(), format!("{}.txt", at.ip())] {
        let offer = pb::SendOffer {
            sender_id: stranger.peer_id().as_bytes().to_vec().into(),
            sender_name: at.ip().to_string(),
            name,
            size_bytes: 7,
            content_hash: vec![9; 32].into(),
            files: None,
        };
        let request = pb::SendRequest { message: Some(pb::send_request::Message::Offer(offer)) };
        let answers = sender.send(stream::iter([request])).await;
        if let Ok(answers) = answers {
            let _ = soon("the end of a push", answers.into_inner().collect::<Vec<_>>()).await;
        }
    }

    let mut keeper = ReplicaServiceClient::connect(format!("http://{}", ana.peer.address())).await.unwrap();
    let keep = pb::KeepRequest {
        content_hash: vec![9; 32].into(),
        size_bytes: 7,
        name: format!("{}.txt", at.ip()),
        replicas: 2,
        owner_tag: OwnerKey::from_bytes([1; 32]).tag().as_bytes().to_vec().into(),
        owner_id: stranger.peer_id().as_bytes().to_vec().into(),
        source_id: stranger.peer_id().as_bytes().to_vec().into(),
    };
    if let Ok(answers) = keeper.keep(keep).await {
        let said = soon("the end of a request to keep", answers.into_inner().collect::<Vec<_>>()).await;
        assert!(said.iter().any(Result::is_err), "nothing was there to keep: {said:?}");
    }

    assert_eq!(trap.accept().map(|(_, from)| from).unwrap_err().kind(), ErrorKind::WouldBlock);
    // It would have been seen.
    let _seen = std::net::TcpStream::connect(at).unwrap();
    let seen = soon("a connection", async {
        while trap.accept().is_err() {
            tokio::task::yield_now().await;
        }
    });
    seen.await;
}

#[test]
fn peers_have_no_field_to_tell_an_address_in() {
    let set = FileDescriptorSet::decode(pb::DESCRIPTORS).unwrap();
    let ours: Vec<_> = set.file.iter().filter(|file| file.package() == "floodplain.v1").collect();
    let messages: Vec<_> = ours.iter().flat_map(|file| &file.message_type).collect();
    let services = ours.iter().flat_map(|file| &file.service);
    let peers = services.filter(|service| ["PeerService", "ReplicaService"].contains(&service.name()));
    let methods: Vec<_> = peers.flat_map(|service| &service.method).collect();
    assert!(methods.len() > 10, "{} methods", methods.len());
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> =
        methods.iter().flat_map(|method| [method.input_type(), method.output_type()]).collect();
    while let Some(name) = next.pop() {
        let name = name.trim_start_matches(".floodplain.v1.");
        if !reached.insert(name) {
            continue;
        }
        let Some(message) = messages.iter().find(|message| message.name() == name) else { continue };
        for field in &message.field {
            let told = format!("{name}.{}", field.name());
            let is_place = ["address", "host", "port", "url", "uri", "endpoint"]
                .iter()
                .any(|word| field.name().split('_').any(|part| part.trim_end_matches('s') == *word));
            assert!(!is_place, "{told}");
            if field.r#type() == Type::Message {
                next.push(field.type_name());
            }
        }
    }
    assert!(reached.contains("Hits") && !reached.contains("Peer"), "{reached:?}");
}
