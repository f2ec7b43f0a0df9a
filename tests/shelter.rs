//! Whatever a handler does, its caller hears a status of gRPC and the server goes on.

#![allow(clippy::unwrap_used)]

#[path = "support/raw.rs"]
mod raw;
#[path = "support/stand_in.rs"]
mod stand_in;

use std::{
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use floodplain::{
    net::{
        accept::accepted,
        shelter::{Bounds, ShelterLayer},
    },
    wire::pb::{self, peer_service_client::PeerServiceClient, search_response::Message},
};
use futures::{StreamExt, future::join_all, stream};
use raw::{Connection, End};
use stand_in::{Answer, Answers, Replies, StandIn};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Server},
};
use tonic_types::StatusExt;

/// Does what the path says, or the text of a query.
struct Handler;

#[tonic::async_trait]
impl Answers for Handler {
    async fn browse(&self, request: Request<pb::BrowseRequest>) -> Answer<pb::BrowseResponse> {
        match request.get_ref().path.as_str() {
            "panic" => panic!("a fault in the handler"),
            "pause" => tokio::time::sleep(Duration::from_millis(300)).await,
            "never" => std::future::pending().await,
            _ => {}
        }
        Ok(Response::new(pb::BrowseResponse::default()))
    }

    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        let text = request.into_inner().text;
        let done = pb::SearchResponse { message: Some(Message::Done(pb::SearchDone::default())) };
        let rest = async move {
            match text.as_str() {
                "panic" => panic!("a fault in the stream"),
                "never" => std::future::pending().await,
                _ => Err(Status::aborted("by the handler")),
            }
        };
        Ok(Response::new(stream::iter([Ok(done)]).chain(stream::once(rest)).boxed()))
    }
}

async fn serve(bounds: Bounds) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder().layer(ShelterLayer::new(bounds)).add_service(StandIn::service(Handler));
    // As daemons do it, which tells callers from each other.
    tokio::spawn(server.serve_with_incoming(accepted(listener, 16)));
    address
}

async fn client(address: SocketAddr) -> PeerServiceClient<Channel> {
    PeerServiceClient::connect(format!("http://{address}")).await.unwrap()
}

async fn browse(client: &PeerServiceClient<Channel>, path: &str) -> Code {
    let request = pb::BrowseRequest { path: path.into(), ..Default::default() };
    client.clone().browse(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// How a search ends.
async fn search(client: &PeerServiceClient<Channel>, text: &str) -> Code {
    let request = pb::SearchRequest { text: text.into(), ..Default::default() };
    let mut answers = client.clone().search(request).await.unwrap().into_inner();
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Code::Ok,
            Err(status) => return status.code(),
        }
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_is_answered_logged_in_one_line_and_survived() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_ansi(false)
        .with_writer(move || writer.clone());
    // The server runs on this thread too.
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let client = client(serve(Bounds::default()).await).await;
    assert_eq!(browse(&client, "panic").await, Code::Internal);
    assert_eq!(search(&client, "panic").await, Code::Internal);
    assert_eq!(browse(&client, "").await, Code::Ok);
    assert_eq!(search(&client, "").await, Code::Aborted);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert!(lines[0].contains("Browse") && lines[0].contains("a fault in the handler"), "{log}");
    assert!(lines[1].contains("Search") && lines[1].contains("a fault in the stream"), "{log}");
}

#[tokio::test]
async fn a_deadline_that_is_over_is_told_as_such_in_calls_and_in_streams() {
    // A client of tonic would end the call by itself at the same moment.
    let connection = Connection::open(serve(Bounds::default()).await).await;
    for header in ["0m", "1m", "2m", "5m", "10m", "50m", "100000u", "1000n"] {
        let ask = pb::BrowseRequest { path: "never".into(), ..Default::default() };
        let end = connection.call(&path("Browse"), &[("grpc-timeout", header)], message(&ask)).await;
        assert_eq!(end, End::Grpc(Code::DeadlineExceeded), "{header}");
    }
    let query = |text: &str| message(&pb::SearchRequest { text: text.into(), ..Default::default() });
    for header in ["100m", "250000u"] {
        let end = connection.call(&path("Search"), &[("grpc-timeout", header)], query("never")).await;
        assert_eq!(end, End::Grpc(Code::DeadlineExceeded), "{header}");
    }
    let end = connection.call(&path("Search"), &[("grpc-timeout", "1M")], query("")).await;
    assert_eq!(end, End::Grpc(Code::Aborted));
}

fn path(method: &str) -> String {
    format!("/floodplain.v1.PeerService/{method}")
}

fn message(message: &impl prost::Message) -> Vec<u8> {
    raw::framed(&message.encode_to_vec())
}

#[tokio::test]
async fn calls_above_the_bounds_are_told_when_to_come_again() {
    let client = client(serve(Bounds { at_once: 4, whole: 6, ..Bounds::default() }).await).await;
    let held = join_all((0..4).map(|_| browse(&client, "pause")));
    let above = async {
        // All four are there by then: they were asked first, on the same connection.
        client.clone().browse(pb::BrowseRequest { path: "pause".into(), ..Default::default() }).await
    };
    let (held, above) = tokio::join!(held, above);
    assert_eq!(held, [Code::Ok; 4]);
    let refused = above.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().is_some_and(|retry| retry.retry_delay.is_some()));
    assert_eq!(browse(&client, "").await, Code::Ok, "there is room again");
}

#[tokio::test]
async fn when_all_together_are_too_many_another_caller_hears_unavailable() {
    let address = serve(Bounds { at_once: 4, whole: 4, ..Bounds::default() }).await;
    let (first, second) = (client(address).await, client(address).await);
    let mut held = Vec::new();
    for _ in 0..4 {
        let request = pb::SearchRequest { text: "never".into(), ..Default::default() };
        held.push(first.clone().search(request).await.unwrap());
    }
    assert_eq!(browse(&second, "").await, Code::Unavailable);
    // A stream that nobody reads any more gives its place back.
    drop(held);
    let began = std::time::Instant::now();
    while browse(&second, "").await != Code::Ok {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn a_caller_above_its_rate_is_refused_and_another_is_not() {
    let mut bounds = Bounds::default();
    bounds.rate.per_second = 1.try_into().unwrap();
    bounds.rate.burst = 20;
    let address = serve(bounds).await;
    let (greedy, modest) = (client(address).await, client(address).await);
    let answers = join_all((0..40).map(|_| browse(&greedy, ""))).await;
    let served = answers.iter().filter(|code| **code == Code::Ok).count();
    assert!((20..30).contains(&served), "{answers:?}");
    assert!(answers.iter().all(|code| matches!(code, Code::Ok | Code::ResourceExhausted)), "{answers:?}");
    assert_eq!(browse(&modest, "").await, Code::Ok);
}
