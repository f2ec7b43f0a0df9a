//! The same query to the same real processes in three ways: by a search of one of them, by a plain client that asks one peer
//! after another, and by one that asks all at once. The client keeps a connection to each peer, speaks the same messages and
//! checks them as a peer does. Everything is asked in turns, and ratios are taken within a round, so that whatever else the
//! machine does falls on all alike.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use floodplain::{
    net::Purpose,
    protocol::{
        claim::Reach,
        id::{PeerId, QueryId},
    },
    wire::{
        pb::peer_service_client::PeerServiceClient,
        peer::{Found, OutgoingSearch, found, to_search},
    },
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, FuturesUnordered},
};
use tonic::transport::Channel;

use crate::{
    first_hit::transport,
    load::{Outcome, Zone, one_holder, search},
    measure::{Cpu, Times, millis},
};

const FILES: u32 = 300;
/// Queries of one kind in one round.
const BLOCK: usize = 20;
/// Queries at once, for what the machine bears, and how long each kind is asked so.
const AT_ONCE: [usize; 3] = [1, 4, 16];
const SPAN: Duration = Duration::from_millis(900);
const SPANS: usize = 3;
/// A search by all summaries takes no more.
const SETTLED_MESSAGES: u32 = 3;
const DEADLINE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);

/// Who has a hit, and who can be ruled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// Everyone has one.
    Everyone,
    /// One has one, and no summary rules the others out.
    OneOfAll,
    /// One has one, and summaries rule the others out; a plain client has none.
    OneKnown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Search,
    OneByOne,
    Star,
}

const AIMS: [(Aim, &str); 3] = [
    (Aim::Everyone, "every peer has a hit"),
    (Aim::OneOfAll, "one has, no summary tells"),
    (Aim::OneKnown, "one has, summaries tell"),
];
const WAYS: [(Way, &str); 3] =
    [(Way::Search, "search"), (Way::OneByOne, "one by one"), (Way::Star, "all at once")];

struct Network {
    zone: Zone,
    /// To everyone but the first, through whom searches begin.
    links: Vec<PeerServiceClient<Channel>>,
    me: PeerId,
}

/// One kind's figures of one round: means and medians of a block.
struct Block {
    first: Duration,
    end: Duration,
    cpu: Duration,
}

/// What one kind came to.
#[derive(Default)]
struct Row {
    blocks: Vec<Block>,
    ends: Times,
    messages: u32,
    /// For each number of queries at once: done, in what time, and how long each took.
    at_once: [(u32, Duration, Times); AT_ONCE.len()],
}

pub(crate) async fn run(peers: usize, rounds: usize) -> Result<()> {
    let network = Arc::new(Network::start(peers).await?);
    let mut rows: [[Row; WAYS.len()]; AIMS.len()] = Default::default();
    for round in 0..=rounds {
        for (at, (aim, _)) in AIMS.into_iter().enumerate() {
            for turn in 0..WAYS.len() {
                let way = (turn + round) % WAYS.len();
                let row = &mut rows[at][way];
                // The first round warms everything up.
                let mut unused = Row::default();
                network.block(aim, WAYS[way].0, if round == 0 { &mut unused } else { row }).await?;
            }
        }
    }
    for span in 0..SPANS {
        for (width, at_once) in AT_ONCE.into_iter().enumerate() {
            for (at, (aim, _)) in AIMS.into_iter().enumerate() {
                for turn in 0..WAYS.len() {
                    let way = (turn + span) % WAYS.len();
                    let into = &mut rows[at][way].at_once[width];
                    network.press(aim, WAYS[way].0, at_once, into).await?;
                }
            }
        }
    }
    print(peers, rounds, &mut rows);
    Ok(())
}

impl Network {
    async fn start(peers: usize) -> Result<Self> {
        // The usual 10,000 ids, each kept for 8 s, are enough for 1,250 queries a second.
        let zone = Zone::start(peers, FILES, &[("FLOODPLAIN_QUERY_CACHE", "200000")]).await?;
        let mut links = Vec::new();
        for peer in &zone.peers[1..] {
            links.push(PeerServiceClient::new(
                transport().dial_host(&peer.address.to_string(), Purpose::Link).await?,
            ));
        }
        let network = Self { zone, links, me: PeerId::from_bytes([7; 32]) };
        // Summaries are there when few messages find what one peer has; one of a hundred is a false alarm.
        let begun = Instant::now();
        for number in 1..peers {
            loop {
                let messages = network.ask(Aim::OneKnown, Way::Search, number).await?.messages;
                if messages <= SETTLED_MESSAGES {
                    break;
                }
                let late = begun.elapsed() > PATIENCE;
                ensure!(!late, "the summaries do not settle: {messages} messages for the report of {number}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(network)
    }

    /// One query, and whether all that there is was found.
    async fn ask(&self, aim: Aim, way: Way, number: usize) -> Result<Outcome> {
        let holder = 1 + number % self.links.len();
        let text = match aim {
            Aim::Everyone => format!("lecture {:03}", 1 + number % 250),
            Aim::OneOfAll => one_holder(holder),
            // Words of its own: all peers share the words of their lectures, and with them their false alarms.
            Aim::OneKnown => format!("peer{holder:02} author{holder:02} desk{holder:02} report"),
        };
        let begun = Instant::now();
        let outcome = match way {
            Way::Search => search(&self.zone.handles[0], text, begun).await?,
            Way::OneByOne => {
                let answers = stream::iter(0..self.links.len()).then(|peer| self.call(peer, &text, begun));
                self.gathered(&answers.try_collect::<Vec<_>>().await?, begun)
            }
            Way::Star => {
                let calls = (0..self.links.len()).map(|peer| self.call(peer, &text, begun));
                self.gathered(&calls.collect::<FuturesUnordered<_>>().try_collect::<Vec<_>>().await?, begun)
            }
        };
        ensure!(outcome.is_complete, "{aim:?} {way:?}: not everything was found");
        Ok(outcome)
    }

    /// One peer alone, which passes nothing on: when its first hit came.
    async fn call(&self, peer: usize, text: &str, begun: Instant) -> Result<Option<Duration>> {
        let request = to_search(&OutgoingSearch {
            id: QueryId::random(&mut rand::rng()),
            text,
            ttl: 0,
            hops: 1,
            deadline: DEADLINE,
            roster_revision: 0,
            claim: None,
            reach: Reach::Inside,
            want: None,
            origin: self.me,
            from: self.me,
        });
        let mut answers = self.links[peer].clone().search(request).await?.into_inner();
        let mut first = None;
        while let Some(answer) = answers.message().await? {
            match found(answer)? {
                Found::Hits(_) => drop(first.get_or_insert(begun.elapsed())),
                Found::Done(report) => {
                    ensure!(report.answered.len() == 1, "the peer did not search");
                    return Ok(first);
                }
            }
        }
        anyhow::bail!("the answer was cut")
    }

    fn gathered(&self, firsts: &[Option<Duration>], begun: Instant) -> Outcome {
        let with_hits = firsts.iter().flatten().count();
        Outcome {
            first: firsts.iter().flatten().min().copied(),
            end: begun.elapsed(),
            is_complete: firsts.len() == self.links.len() && (with_hits == 1 || with_hits == firsts.len()),
            messages: u32::try_from(firsts.len()).unwrap_or(u32::MAX),
        }
    }

    /// One query after the other. CPU is that of all peers and of the process that asks.
    async fn block(&self, aim: Aim, way: Way, row: &mut Row) -> Result<()> {
        let (mut first, mut end) = (Times::default(), Times::default());
        let (before, own) = (self.zone.cpu(), Cpu::of(std::process::id()));
        for number in 0..BLOCK {
            let outcome = self.ask(aim, way, row.blocks.len() * BLOCK + number).await?;
            first.push(outcome.first.context("no hit")?);
            end.push(outcome.end);
            row.ends.push(outcome.end);
            row.messages += outcome.messages;
        }
        let spent: Duration = self.zone.spent(&before).iter().sum();
        let spent = spent + Cpu::of(std::process::id()).since(&own);
        let cpu = spent / u32::try_from(BLOCK)?;
        row.blocks.push(Block { first: first.quantile(0.5), end: end.quantile(0.5), cpu });
        Ok(())
    }

    /// So many at once, each followed by the next, for a while.
    async fn press(
        self: &Arc<Self>,
        aim: Aim,
        way: Way,
        at_once: usize,
        into: &mut (u32, Duration, Times),
    ) -> Result<()> {
        let begun = Instant::now();
        let mut asking = tokio::task::JoinSet::new();
        for asker in 0..at_once {
            let network = self.clone();
            asking.spawn(async move {
                let (mut ends, mut number) = (Vec::new(), asker * 7);
                while begun.elapsed() < SPAN {
                    ends.push(network.ask(aim, way, number).await.ok().map(|outcome| outcome.end));
                    number += 1;
                }
                ends
            });
        }
        while let Some(ends) = asking.join_next().await {
            for end in ends? {
                // One that did not find everything is not done, and as late as can be.
                into.0 += u32::from(end.is_some());
                into.2.push(end.unwrap_or(DEADLINE));
            }
        }
        into.1 += begun.elapsed();
        Ok(())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn print(peers: usize, rounds: usize, rows: &mut [[Row; WAYS.len()]; AIMS.len()]) {
    println!(
        "{peers} processes with {FILES} files each, {rounds} rounds of {BLOCK} queries of a kind; ratios are to the search, medians of those of the rounds; load {}",
        crate::measure::load_average()
    );
    println!(
        "{:26} {:11} {:>4} {:>9} {:>8} {:>8} {:>7} {:>9} {:>6} {:>6} {:>13} {:>13} {:>13}",
        "",
        "",
        "msgs",
        "first ms",
        "end ms",
        "p99 ms",
        "CPU ms",
        "first x",
        "end x",
        "CPU x",
        "1: q/s p99",
        "4: q/s p99",
        "16: q/s p99"
    );
    for ((_, aim), row) in AIMS.into_iter().zip(rows) {
        let base: Vec<[f64; 3]> = row[0].blocks.iter().map(Block::figures).collect();
        for ((_, way), row) in WAYS.into_iter().zip(row) {
            let own: Vec<[f64; 3]> = row.blocks.iter().map(Block::figures).collect();
            let value = |at: usize| median(own.iter().map(|block| block[at]).collect());
            let ratio =
                |at: usize| median(own.iter().zip(&base).map(|(own, base)| own[at] / base[at]).collect());
            let pressed = row.at_once.each_mut().map(|(done, took, ends)| {
                let rate = f64::from(*done) / took.as_secs_f64().max(f64::MIN_POSITIVE);
                format!("{rate:6.0} {:6.1}", millis(ends.quantile(0.99)))
            });
            let [one, four, sixteen] = pressed;
            println!(
                "{aim:26} {way:11} {:4.1} {:9.2} {:8.2} {:8.2} {:7.2} {:9.2} {:6.2} {:6.2} {one} {four} {sixteen}",
                f64::from(row.messages) / row.ends.count().max(1) as f64,
                value(0),
                value(1),
                millis(row.ends.quantile(0.99)),
                value(2),
                ratio(0),
                ratio(1),
                ratio(2),
            );
        }
    }
}

impl Block {
    fn figures(&self) -> [f64; 3] {
        [self.first, self.end, self.cpu].map(millis)
    }
}
