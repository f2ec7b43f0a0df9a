//! The way of a query through real daemons, as a collector sees it. Built with the feature `otlp` only.

#![cfg(feature = "otlp")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::Request, routing::post};
use tonic::{
    Response, Status,
    server::{Grpc, UnaryService},
    service::Routes,
    transport::Server,
};
use tonic_prost::ProstCodec;

#[path = "support/processes.rs"]
mod processes;

use processes::{Daemon, ask, home, logged, run, until, wait_for};

// The part of opentelemetry/proto/collector/trace/v1/trace_service.proto that is looked at.

#[derive(Clone, PartialEq, prost::Message)]
struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(int64, tag = "3")]
    int: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Exported {}

/// A span, and the process that it is of.
type Seen = (i64, Span);

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Seen>>>);

impl UnaryService<Export> for Collector {
    type Response = Exported;
    type Future = std::future::Ready<Result<Response<Exported>, Status>>;

    fn call(&mut self, request: tonic::Request<Export>) -> Self::Future {
        for of in request.into_inner().resources {
            let attributes = of.resource.unwrap_or_default().attributes;
            let pid = attributes.iter().find(|attribute| attribute.key == "process.pid");
            let pid = pid.and_then(|attribute| Some(attribute.value.as_ref()?.int)).unwrap_or_default();
            let spans = of.scopes.into_iter().flat_map(|scope| scope.spans);
            self.0.lock().unwrap().extend(spans.map(|span| (pid, span)));
        }
        std::future::ready(Ok(Response::new(Exported {})))
    }
}

impl Collector {
    /// Serves for as long as the test lives; where.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let collector = self.clone();
        let export = post(move |request: Request| async move {
            let mut codec = Grpc::new(ProstCodec::<Exported, Export>::default());
            codec.unary(collector, request).await
        });
        let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
        let routes = Routes::from(Router::new().route(path, export));
        drop(listener);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Server::builder().add_routes(routes).serve(address)).unwrap();
        });
        format!("http://{address}")
    }

    fn named(&self, name: &str) -> Vec<Seen> {
        self.0.lock().unwrap().iter().filter(|(_, span)| span.name == name).cloned().collect()
    }
}

#[test]
fn one_trace_follows_a_query_from_its_origin_through_every_peer() {
    let collector = Collector::default();
    let endpoint = collector.start();
    let folder = tempfile::tempdir().unwrap();
    let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
    let peers = ["ana", "ben", "cem"].map(|name| {
        let more = format!("FLOODPLAIN_HTTP_LISTEN=off\nFLOODPLAIN_OTLP_ENDPOINT={endpoint}\n");
        let folder = home(&folder.path().join(name), &registry.address, &more);
        std::fs::write(folder.join(format!("share/report of {name}.txt")), name).unwrap();
        (Daemon::start(&folder, &["peer", "--name", name]), folder)
    });
    for (_, folder) in &peers {
        until(folder, "--json status", "\"zone_peers\":3");
    }
    let ana = &peers[0].1;
    wait_for("all three answer", || run(ana, "--plain search report").1.lines().count() >= 3, || logged(ana));
    let pids = peers.each_ref().map(|(daemon, _)| i64::from(daemon.pid()));
    // Spans are sent when their peer ends, at the latest.
    for (daemon, _) in peers {
        assert_eq!(daemon.stop(), Some(0));
    }

    let (searches, forwards, answers) =
        (collector.named("search"), collector.named("forward"), collector.named("answer"));
    let whole = searches.iter().find(|(pid, search)| {
        let mine = |(_, span): &&Seen| span.trace_id == search.trace_id;
        let sent: Vec<&Seen> = forwards.iter().filter(mine).collect();
        let of_forward =
            |(_, answer): &&Seen| sent.iter().any(|(_, forward)| forward.span_id == answer.parent_span_id);
        let mut answered: Vec<i64> =
            answers.iter().filter(mine).filter(of_forward).map(|(pid, _)| *pid).collect();
        answered.sort_unstable();
        answered.dedup();
        *pid == pids[0] && search.parent_span_id.is_empty() && {
            let mut others = vec![pids[1], pids[2]];
            others.sort_unstable();
            answered == others
        }
    });
    assert!(whole.is_some(), "{searches:?}\n{forwards:?}\n{answers:?}");
}

#[test]
fn an_endpoint_that_is_none_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["127.0.0.1:4317", "https://127.0.0.1:4317", "http://"] {
        std::fs::write(folder.path().join(".env"), format!("FLOODPLAIN_OTLP_ENDPOINT={wrong}\n")).unwrap();
        let told = ask(folder.path(), &["registry"]);
        assert_eq!(told.status.code(), Some(2), "{wrong}");
        assert!(String::from_utf8_lossy(&told.stderr).contains("must be http://HOST:PORT"), "{told:?}");
    }
}
