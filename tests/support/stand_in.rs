//! A peer service of which a test or a benchmark answers only the methods that it is about, by hand; all others are
//! unimplemented.

// Shared as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use floodplain::{
    peer::receive::Responses,
    protocol::id::Credential,
    wire::pb::{
        self,
        peer_service_server::{PeerService, PeerServiceServer},
        registry_service_client::RegistryServiceClient,
    },
};
use futures::stream::BoxStream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

pub type Replies<T> = BoxStream<'static, Result<T, Status>>;
pub type Answer<T> = Result<Response<T>, Status>;

fn none<T>() -> Answer<T> {
    Err(Status::unimplemented("not of this stand-in"))
}

/// What is answered.
#[tonic::async_trait]
pub trait Answers: Send + Sync + 'static {
    async fn search(&self, _: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        none()
    }

    async fn get_summary(&self, _: Request<pb::GetSummaryRequest>) -> Answer<pb::GetSummaryResponse> {
        none()
    }

    async fn get_keys(&self, _: Request<pb::GetKeysRequest>) -> Answer<pb::GetKeysResponse> {
        none()
    }

    async fn watch_zone(&self, _: Request<pb::WatchZoneRequest>) -> Answer<Replies<pb::WatchZoneResponse>> {
        none()
    }

    async fn browse(&self, _: Request<pb::BrowseRequest>) -> Answer<pb::BrowseResponse> {
        none()
    }

    async fn list_files(&self, _: Request<pb::ListFilesRequest>) -> Answer<pb::ListFilesResponse> {
        none()
    }

    async fn download(&self, _: Request<pb::DownloadRequest>) -> Answer<Replies<pb::DownloadResponse>> {
        none()
    }

    async fn download_many(
        &self,
        _: Request<Streaming<pb::DownloadManyRequest>>,
    ) -> Answer<Replies<pb::DownloadManyResponse>> {
        none()
    }

    async fn send(&self, _: Request<Streaming<pb::SendRequest>>) -> Answer<Responses> {
        none()
    }
}

/// Keeps a peer of that name and address in the registry's lists for as long as the runtime lives, whoever listens there.
pub async fn register(registry: SocketAddr, credential: &Credential, name: &str, address: SocketAddr) {
    let peer = pb::Peer {
        peer_id: credential.peer_id().as_bytes().to_vec().into(),
        name: name.into(),
        address: address.to_string(),
        incarnation: 1,
        ..pb::Peer::default()
    };
    let request = pb::RegisterRequest {
        peer: Some(peer),
        credential: credential.as_bytes().to_vec().into(),
        host_id: String::new(),
    };
    let mut client = RegistryServiceClient::connect(format!("http://{registry}")).await.expect("a registry");
    let lease_id = client.register(request).await.expect("registered").into_inner().lease_id;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let beat = pb::HeartbeatRequest { lease_id: lease_id.clone(), ..Default::default() };
            let _ = client.heartbeat(beat).await;
        }
    });
}

/// As generated code wants it.
pub struct StandIn<A>(Arc<A>);

impl<A: Answers> StandIn<A> {
    pub fn service(answers: A) -> PeerServiceServer<Self> {
        PeerServiceServer::new(Self(Arc::new(answers)))
    }

    /// Serves it on a port that the system chooses, for as long as the runtime lives.
    pub async fn serve(answers: A) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let serving = tonic::transport::Server::builder().add_service(Self::service(answers));
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

#[tonic::async_trait]
impl<A: Answers> PeerService for StandIn<A> {
    type SearchStream = Replies<pb::SearchResponse>;
    type WatchZoneStream = Replies<pb::WatchZoneResponse>;
    type DownloadStream = Replies<pb::DownloadResponse>;
    type DownloadManyStream = Replies<pb::DownloadManyResponse>;
    type SendStream = Responses;

    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Self::SearchStream> {
        self.0.search(request).await
    }

    async fn get_summary(&self, request: Request<pb::GetSummaryRequest>) -> Answer<pb::GetSummaryResponse> {
        self.0.get_summary(request).await
    }

    async fn get_keys(&self, request: Request<pb::GetKeysRequest>) -> Answer<pb::GetKeysResponse> {
        self.0.get_keys(request).await
    }

    async fn watch_zone(&self, request: Request<pb::WatchZoneRequest>) -> Answer<Self::WatchZoneStream> {
        self.0.watch_zone(request).await
    }

    async fn browse(&self, request: Request<pb::BrowseRequest>) -> Answer<pb::BrowseResponse> {
        self.0.browse(request).await
    }

    async fn list_files(&self, request: Request<pb::ListFilesRequest>) -> Answer<pb::ListFilesResponse> {
        self.0.list_files(request).await
    }

    async fn download(&self, request: Request<pb::DownloadRequest>) -> Answer<Self::DownloadStream> {
        self.0.download(request).await
    }

    async fn download_many(
        &self,
        request: Request<Streaming<pb::DownloadManyRequest>>,
    ) -> Answer<Self::DownloadManyStream> {
        self.0.download_many(request).await
    }

    async fn send(&self, request: Request<Streaming<pb::SendRequest>>) -> Answer<Self::SendStream> {
        self.0.send(request).await
    }
}
