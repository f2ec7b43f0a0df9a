//! What a peer's own searches cost while one neighbor asks it as much as it can, against the same without.
//!
//! The zone's peers are processes; the neighbor that storms is this one, over links of its own, and answers what it is asked
//! itself. It takes CPU as well: on a machine of few cores a part of what a storm costs is that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use floodplain::{
    net::Purpose,
    peer::{Handle, control, remote},
    protocol::{
        action::{SearchAsk, SearchEvent},
        id::{Credential, PeerId, QueryId},
    },
    wire::pb::{self, peer_service_client::PeerServiceClient, search_response::Message},
};
use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tonic::{Request, Response};

use crate::{
    daemon::Daemon,
    first_hit::transport,
    measure::{Cpu, Times, millis},
    stand_in::{self, Answer, Answers, Replies, StandIn},
};

/// Peers that do as they should.
const PEERS: usize = 7;
/// Files of each of them; a broad query looks at all.
const FILES: u32 = 2000;
/// Queries that the storm has open at once, on so many connections.
const STORM: (usize, usize) = (256, 4);
const PATIENCE: Duration = Duration::from_secs(60);

/// Says that it has nothing; an answer to its own storm has no end when the storm is to keep its places.
struct Neighbor(PeerId, Arc<AtomicBool>);

#[tonic::async_trait]
impl Answers for Neighbor {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        if request.get_ref().text.starts_with("lecture") && self.1.load(Relaxed) {
            return Ok(Response::new(stream::pending().boxed()));
        }
        let done = pb::SearchDone { answered: vec![self.0.short()], ..pb::SearchDone::default() };
        let done = pb::SearchResponse { message: Some(Message::Done(done)) };
        Ok(Response::new(stream::iter([Ok(done)]).boxed()))
    }
}

/// What becomes of the storm's queries.
#[derive(Default)]
struct Storm {
    is_over: AtomicBool,
    served: AtomicU64,
    refused: AtomicU64,
}

pub(crate) async fn run(samples: u32) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let size = (PEERS + 1).to_string();
    let layout = ["--network-size", &size, "--number-of-zones", "1"];
    let registry = Daemon::registry(&folder.path().join("registry"), &layout)?;
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for number in 0..PEERS {
        let name = format!("peer{number:02}");
        let share = folder.path().join(&name).join("share");
        std::fs::create_dir_all(&share)?;
        std::fs::write(share.join(format!("report of {name}.txt")), &name)?;
        for file in 1..FILES {
            std::fs::write(share.join(format!("lecture {file:04}.txt")), format!("{name} {file}"))?;
        }
        let daemon = Daemon::peer(&folder.path().join(&name), registry.address, &name, true)?;
        handles.push(remote::connect(&control::socket_path(&daemon.data)).await?);
        daemons.push(daemon);
    }
    let (credential, holds) = (Credential::random(&mut rand::rng()), Arc::<AtomicBool>::default());
    let me = credential.peer_id();
    let address = StandIn::serve(Neighbor(me, holds.clone())).await;
    stand_in::register(registry.address, &credential, "storm", address).await;
    let begun = Instant::now();
    for handle in &handles {
        loop {
            let status = handle.status().await?;
            if status.zone_peers as usize == PEERS + 1 && status.index.hashed_files == u64::from(FILES) {
                break;
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the zone is not complete: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    println!(
        "{:34} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9}",
        format!("zone of {size}, {FILES} files each"),
        "p50 ms",
        "p99 ms",
        "complete",
        "served/s",
        "refused/s",
        "target %"
    );
    let target = &daemons[0];
    row("own searches, quiet", &handles[0], target, samples, None).await?;
    row("of the next peer, quiet", &handles[1], target, samples, None).await?;
    for (what, text, keeps) in
        [("a word", "nosuchword", false), ("all files", "lecture", false), ("held places", "lecture", true)]
    {
        holds.store(keeps, Relaxed);
        let storm = Arc::<Storm>::default();
        let mut storms = JoinSet::new();
        for _ in 0..STORM.1 {
            let client = PeerServiceClient::new(
                transport().dial_host(&target.address.to_string(), Purpose::Link).await?,
            );
            for _ in 0..STORM.0 / STORM.1 {
                storms.spawn(ask(client.clone(), storm.clone(), text, me));
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        row(&format!("own searches, storm of {what}"), &handles[0], target, samples, Some(&storm)).await?;
        row(&format!("of the next peer, storm of {what}"), &handles[1], target, samples, Some(&storm))
            .await?;
        storm.is_over.store(true, Relaxed);
        storms.abort_all();
        while storms.join_next().await.is_some() {}
    }
    Ok(())
}

/// One query after the other, each a classic flood of the whole zone, which costs the target the most.
async fn ask(
    mut client: PeerServiceClient<tonic::transport::Channel>,
    storm: Arc<Storm>,
    text: &'static str,
    me: PeerId,
) {
    while !storm.is_over.load(Relaxed) {
        let request = pb::SearchRequest {
            query_id: QueryId::random(&mut rand::rng()).as_bytes().to_vec().into(),
            text: text.into(),
            ttl: 16,
            deadline: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
            origin_id: me.as_bytes().to_vec().into(),
            from_id: me.as_bytes().to_vec().into(),
            ..pb::SearchRequest::default()
        };
        match client.search(request).await {
            Ok(answers) => {
                let mut answers = answers.into_inner();
                while let Some(Ok(_)) = answers.next().await {}
                storm.served.fetch_add(1, Relaxed);
            }
            Err(_) => {
                storm.refused.fetch_add(1, Relaxed);
            }
        }
    }
}

/// So many searches of one peer, one after the other.
async fn row(
    what: &str,
    origin: &Handle,
    target: &Daemon,
    samples: u32,
    storm: Option<&Arc<Storm>>,
) -> Result<()> {
    let count = || storm.map_or((0, 0), |storm| (storm.served.load(Relaxed), storm.refused.load(Relaxed)));
    let (before, cpu, begun) = (count(), Cpu::of(target.pid()), Instant::now());
    let (mut end, mut complete) = (Times::default(), 0_u32);
    for number in 0..samples {
        let text = format!("report peer{:02}", number as usize % PEERS);
        let asked = Instant::now();
        let mut events = origin.search(SearchAsk { text, ..SearchAsk::default() }).await?;
        let mut coverage = None;
        while let Some(event) = events.next().await {
            if let SearchEvent::Done(done) = event? {
                coverage = Some(done);
            }
        }
        end.push(asked.elapsed());
        complete += u32::from(coverage.context("the search ended without an end")?.is_complete());
    }
    let (took, after) = (begun.elapsed().as_secs_f64(), count());
    println!(
        "{what:34} {:8.2} {:8.2} {:8.1}% {:9.0} {:9.0} {:8.0}%",
        millis(end.quantile(0.5)),
        millis(end.quantile(0.99)),
        100.0 * f64::from(complete) / f64::from(samples),
        (after.0 - before.0) as f64 / took,
        (after.1 - before.1) as f64 / took,
        100.0 * Cpu::of(target.pid()).since(&cpu).as_secs_f64() / took,
    );
    Ok(())
}
