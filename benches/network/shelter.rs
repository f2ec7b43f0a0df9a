//! What the shelter of every call costs: the same unary call to the same service with it and without, in turns, on one
//! connection each, one call after the other.

use std::{net::SocketAddr, num::NonZeroU32, time::Instant};

use anyhow::Result;
use floodplain::{
    net::shelter::{Bounds, ShelterLayer},
    wire::pb::{self, peer_service_client::PeerServiceClient},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response,
    transport::{Channel, Server},
};

use crate::{
    measure::{Times, micros},
    stand_in::{Answer, Answers, StandIn},
};

/// Turns of both.
const ROUNDS: u32 = 20;

struct Echo;

#[tonic::async_trait]
impl Answers for Echo {
    async fn browse(&self, _: Request<pb::BrowseRequest>) -> Answer<pb::BrowseResponse> {
        Ok(Response::new(pb::BrowseResponse::default()))
    }
}

async fn client(is_sheltered: bool) -> Result<PeerServiceClient<Channel>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    let incoming = TcpListenerStream::new(listener);
    let service = StandIn::service(Echo);
    if is_sheltered {
        let mut bounds = Bounds::default();
        // The cost of a call that passes is asked for.
        (bounds.rate.per_second, bounds.rate.burst) = (NonZeroU32::MAX, u32::MAX);
        let server =
            Server::builder().tcp_nodelay(true).layer(ShelterLayer::new(bounds)).add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
    } else {
        let server = Server::builder().tcp_nodelay(true).add_service(service);
        tokio::spawn(server.serve_with_incoming(incoming));
    }
    Ok(PeerServiceClient::connect(format!("http://{address}")).await?)
}

pub(crate) async fn run(samples: u32) -> Result<()> {
    let mut clients = [client(false).await?, client(true).await?];
    let mut times = [Times::default(), Times::default()];
    for round in 0..=ROUNDS {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            for _ in 0..samples / ROUNDS {
                let begun = Instant::now();
                client.browse(pb::BrowseRequest::default()).await?;
                // The first turn warms up.
                if round > 0 {
                    times.push(begun.elapsed());
                }
            }
        }
    }
    let [bare, sheltered] = &mut times;
    println!("{:24} {:>9} {:>9} {:>7}", "unary call, us", "bare", "sheltered", "ratio");
    for (what, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let (bare, sheltered) = (micros(bare.quantile(part)), micros(sheltered.quantile(part)));
        println!("{what:24} {bare:9.1} {sheltered:9.1} {:7.3}", sheltered / bare);
    }
    Ok(())
}
