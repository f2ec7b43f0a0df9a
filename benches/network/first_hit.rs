//! How long a search takes over warm links, against a plain tonic call of the same shape: the same request and the same two
//! answers over the same channel settings, from a server that does nothing but answer. All of it in one process, taken in
//! turns, so that whatever else the machine does falls on all alike.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use floodplain::{
    config::{PeerSettings, RegistrySettings},
    net::{Identity, Purpose, Security, Transport, standard::with_standard},
    peer::{self, Peer},
    protocol::{
        action::{AcceptPolicy, SearchAsk, SearchEvent},
        bucket::RateLimits,
        claim::{Claim, Reach},
        id::QueryId,
        zone::Layout,
    },
    registry,
    shutdown::Shutdown,
    wire::{
        self,
        pb::{self, peer_service_client::PeerServiceClient, peer_service_server},
        peer::OutgoingSearch,
    },
};
use futures::{StreamExt, stream};
use tonic::{Request, Response, service::Routes, transport::Channel};

use crate::stand_in::{Answer, Answers, Replies, StandIn};
use crate::{
    heap,
    measure::{Times, micros, own_cpu_nanos},
};

/// Rounds before anything is counted: links open, caches fill.
const WARM_UP: u32 = 200;

/// Times to the first hit and to the end.
#[derive(Default)]
struct Row {
    first: Times,
    end: Times,
}

impl Row {
    fn push(&mut self, (first, end): (Duration, Duration)) {
        self.first.push(first);
        self.end.push(end);
    }

    fn print(&mut self, what: &str, echo: [f64; 4]) -> [f64; 4] {
        let now = [(0.5, 0.99)].map(|(p50, p99)| {
            [
                self.first.quantile(p50),
                self.first.quantile(p99),
                self.end.quantile(p50),
                self.end.quantile(p99),
            ]
        })[0]
            .map(micros);
        let against = if echo[0] > 0.0 {
            format!("{:6.2} {:6.2}", now[0] / echo[0], now[1] / echo[1])
        } else {
            String::new()
        };
        let [a, b, c, d] = now;
        println!("{what:38} {:7} {a:7.0} {b:7.0} {c:7.0} {d:7.0}   {against}", self.first.count());
        now
    }
}

/// What is taken in turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A plain tonic call.
    Echo,
    /// A peer's `Search`, called directly.
    Direct,
    /// A search in a zone of 2.
    Pair,
    /// A search in a zone of 4, in which everybody is asked.
    Square,
    /// The same, in which summaries name the holder.
    Named,
}

const KINDS: [Kind; 5] = [Kind::Echo, Kind::Direct, Kind::Pair, Kind::Square, Kind::Named];

/// All that is asked, over warm links.
struct Asked {
    pair: Vec<Peer>,
    square: Vec<Peer>,
    peer: PeerServiceClient<Channel>,
    echo: PeerServiceClient<Channel>,
    request: pb::SearchRequest,
    _folder: tempfile::TempDir,
}

impl Asked {
    async fn new(shutdown: &Shutdown) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let pair = zone(&folder.path().join("pair"), 2, shutdown).await?;
        let square = zone(&folder.path().join("square"), 4, shutdown).await?;
        let mut peer = direct(&pair).await?;
        let (request, answers) = one_answer(&pair, &mut peer).await?;
        let echo = echo(answers, shutdown).await?;
        Ok(Self { pair, square, peer, echo, request, _folder: folder })
    }

    /// The times to the first hit and to the end, and the hops to the holder.
    async fn ask(&mut self, kind: Kind, round: u32) -> Result<((Duration, Duration), u8)> {
        let blind = |holder| format!("report size:{}", report_bytes(holder));
        let other = 1 + round % 3;
        match kind {
            Kind::Echo => Ok((call(&mut self.echo, self.request.clone()).await?, 1)),
            Kind::Direct => Ok((call(&mut self.peer, fresh(&self.request)).await?, 1)),
            Kind::Pair => search(&self.pair[0], blind(1)).await,
            Kind::Square => search(&self.square[0], blind(other)).await,
            Kind::Named => search(&self.square[0], format!("peer{other} report")).await,
        }
    }

    /// What one costs, the echo's or the peers' part included.
    async fn print_cost(&mut self, kind: Kind, samples: u32) -> Result<()> {
        heap::begin();
        let begun = own_cpu_nanos();
        for round in 0..samples {
            self.ask(kind, round).await?;
        }
        let (nanos, allocations) = (own_cpu_nanos() - begun, heap::allocations());
        heap::end();
        let each = f64::from(samples);
        let name = format!("{kind:?}").to_lowercase();
        println!("{name:38} {:12.1} {:12.1}", nanos as f64 / 1e3 / each, allocations as f64 / each);
        Ok(())
    }
}

pub(crate) async fn run(samples: u32) -> Result<()> {
    let shutdown = Shutdown::new();
    let mut asked = Asked::new(&shutdown).await?;
    let [mut plain, mut straight, mut near, mut one, mut two, mut named] = [(); 6].map(|()| Row::default());
    for round in 0..samples + WARM_UP {
        for kind in KINDS {
            let (times, hops) = asked.ask(kind, round).await?;
            if round < WARM_UP {
                continue;
            }
            let row = match kind {
                Kind::Echo => &mut plain,
                Kind::Direct => &mut straight,
                Kind::Pair => &mut near,
                Kind::Square if hops == 1 => &mut one,
                Kind::Square => &mut two,
                Kind::Named => &mut named,
            };
            row.push(times);
        }
    }
    println!(
        "{:38} {:>7} first hit, us   to the end, us   first hit / echo",
        "one process, warm links", "count"
    );
    println!(
        "{:38} {:>7} {:>7} {:>7} {:>7} {:>7}   {:>6} {:>6}",
        "", "", "p50", "p99", "p50", "p99", "p50", "p99"
    );
    let base = plain.print("plain tonic echo", [0.0; 4]);
    straight.print("a peer's Search, called directly", base);
    near.print("search, zone of 2, one hop", base);
    one.print("search, zone of 4, holder at one hop", base);
    two.print("search, zone of 4, holder at two hops", base);
    named.print("the same, but summaries name the holder", base);
    println!("{:38} {:>12} {:>12}", "one after another, both ends", "CPU us", "allocations");
    for kind in KINDS {
        asked.print_cost(kind, samples).await?;
    }
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}

/// One kind alone, that many times.
pub(crate) async fn run_one(samples: u32, kind: Kind) -> Result<()> {
    let shutdown = Shutdown::new();
    Asked::new(&shutdown).await?.print_cost(kind, samples).await?;
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}

/// A registry and its peers, each with 100 files of its own name.
pub(crate) async fn zone(folder: &Path, size: u32, shutdown: &Shutdown) -> Result<Vec<Peer>> {
    let settings = RegistrySettings {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        invite_file: None,
        layout: Layout::Fixed { zones: 1, zone_size: size },
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        certificate_lifetime: floodplain::net::authority::PEER_LIFETIME,
        data: folder.join("registry"),
        http: floodplain::config::HttpSettings::default(),
        insecure_loopback: true,
    };
    let registry = registry::start(settings, shutdown.clone()).await?;
    let mut peers = Vec::new();
    for number in 0..size {
        let (home, name) = (folder.join(number.to_string()), format!("peer{number}"));
        let share = home.join("docs");
        std::fs::create_dir_all(&share)?;
        std::fs::write(share.join(format!("report of {name}.txt")), vec![b'.'; report_bytes(number)])?;
        for file in 1..100 {
            std::fs::write(share.join(format!("lecture {file:03}.txt")), format!("{name} {file}"))?;
        }
        let settings = peer_settings(&home, &name, registry.address(), share)?;
        let peer = peer::start(settings, shutdown.clone()).await?;
        peer.until_ready().await?;
        peer.until_hashed().await;
        peers.push(peer);
    }
    for peer in &peers {
        let is_whole = |members: usize| members == size as usize;
        peer.view().until(|now| now.roster.as_ref().is_some_and(|all| is_whole(all.members().len()))).await;
    }
    Ok(peers)
}

/// Sizes are in no summary: a query for the report of this size is asked of everybody, and one peer has it.
pub(crate) fn report_bytes(number: u32) -> usize {
    1000 + number as usize
}

/// Those of a peer with its folders beneath `home`.
pub(crate) fn peer_settings(
    home: &Path,
    name: &str,
    registry: SocketAddr,
    share: PathBuf,
) -> Result<PeerSettings> {
    Ok(PeerSettings {
        registry: registry.to_string(),
        is_registry_default: false,
        invite: None,
        invite_file: None,
        name: name.parse().ok().context("a name")?,
        is_name_default: false,
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        http: floodplain::config::HttpSettings::default(),
        shares: vec![share],
        inbox: home.join("inbox"),
        data: home.join("data"),
        ttl: 16,
        search_timeout: Duration::from_secs(3),
        saved_search_every: Duration::from_secs(300),
        // More searches in a row than anybody types: a third of the usual 10,000 ids, each kept for 8 s, is for own ones.
        query_cache: 200_000,
        upload_slots: 8,
        download_slots: 4,
        upload_limits: RateLimits::default(),
        download_limits: RateLimits::default(),
        accept: AcceptPolicy::None,
        replica_space: 0,
        replica_grace: Duration::from_secs(300),
        insecure_loopback: true,
    })
}

/// One search for the file of one peer: time to the first hit and to the end, and the hops to its holder.
async fn search(origin: &Peer, text: String) -> Result<((Duration, Duration), u8)> {
    let ask = SearchAsk { text, ..SearchAsk::default() };
    let handle = origin.handle();
    let begun = Instant::now();
    let mut events = handle.search(ask).await?;
    let mut first = None;
    while let Some(event) = events.next().await {
        match event? {
            SearchEvent::Hit(hit) => {
                let hops = hit.holders.first().map_or(0, |holder| holder.hops);
                first.get_or_insert((begun.elapsed(), hops));
            }
            SearchEvent::Done(coverage) => {
                anyhow::ensure!(coverage.answered == coverage.asked, "not everyone answered: {coverage:?}");
            }
        }
    }
    let (first, hops) = first.context("no hit")?;
    Ok(((first, begun.elapsed()), hops))
}

/// One plain call: time to its first answer and to its end.
async fn call(
    client: &mut PeerServiceClient<Channel>,
    request: pb::SearchRequest,
) -> Result<(Duration, Duration)> {
    let begun = Instant::now();
    let mut answers = client.search(request).await?.into_inner();
    let mut first = None;
    while let Some(answer) = answers.next().await {
        answer?;
        first.get_or_insert(begun.elapsed());
    }
    Ok((first.context("no answer")?, begun.elapsed()))
}

fn fresh(request: &pb::SearchRequest) -> pb::SearchRequest {
    let id = QueryId::random(&mut rand::rng());
    pb::SearchRequest { query_id: id.as_bytes().to_vec().into(), ..request.clone() }
}

/// A link to the second peer of a pair, as its neighbor has it.
async fn direct(pair: &[Peer]) -> Result<PeerServiceClient<Channel>> {
    Ok(PeerServiceClient::new(transport().dial_host(&pair[1].address().to_string(), Purpose::Link).await?))
}

pub(crate) fn transport() -> Transport {
    Transport::new(Identity::ephemeral(), Security::PlaintextLoopback)
}

/// What the first peer of a pair asks the second, and what it gets.
async fn one_answer(
    pair: &[Peer],
    asked: &mut PeerServiceClient<Channel>,
) -> Result<(pb::SearchRequest, Vec<pb::SearchResponse>)> {
    let now = pair[0].view().now();
    let request = wire::peer::to_search(&OutgoingSearch {
        id: QueryId::random(&mut rand::rng()),
        text: "report peer1",
        ttl: 15,
        hops: 1,
        deadline: Duration::from_secs(3),
        roster_revision: now.roster.as_ref().map_or(0, |roster| roster.revision()),
        claim: Some(Claim { before: now.me.id }),
        reach: Reach::Inside,
        want: None,
        origin: now.me.id,
        from: now.me.id,
    });
    let answers: Vec<_> = asked.search(request.clone()).await?.into_inner().collect().await;
    let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(answers.len() == 2, "one message of hits and the end, not {}", answers.len());
    Ok((request, answers))
}

/// Answers every search alike, and a list of files with 1 KiB.
struct Echo(Vec<pb::SearchResponse>);

#[tonic::async_trait]
impl Answers for Echo {
    async fn list_files(&self, _: Request<pb::ListFilesRequest>) -> Answer<pb::ListFilesResponse> {
        Ok(Response::new(pb::ListFilesResponse { next_page_token: "x".repeat(1024), ..Default::default() }))
    }

    async fn search(&self, _: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        Ok(Response::new(stream::iter(self.0.clone()).map(Ok).boxed()))
    }
}

pub(crate) async fn echo(
    answers: Vec<pb::SearchResponse>,
    shutdown: &Shutdown,
) -> Result<PeerServiceClient<Channel>> {
    let transport = transport();
    let address = serve_echo(&transport, answers, shutdown).await?;
    Ok(PeerServiceClient::new(transport.dial_host(&address.to_string(), Purpose::Link).await?))
}

/// A server that answers what it was given, and where.
pub(crate) async fn serve_echo(
    transport: &Transport,
    answers: Vec<pb::SearchResponse>,
    shutdown: &Shutdown,
) -> Result<SocketAddr> {
    let listener = transport.listen(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.address();
    let routes = Routes::new(StandIn::service(Echo(answers)));
    let routes = with_standard(routes, &[peer_service_server::SERVICE_NAME], shutdown).await;
    shutdown.spawn("echo", transport.serve(listener, routes, None, shutdown));
    Ok(address)
}
