//! The workload of Lv and others (2002).

use floodplain::protocol::{query::Query, summary::Probe};
use rand::{SeedableRng, rngs::SmallRng};

use crate::{
    chart::Bars,
    paper::{Paper, Table},
    percent,
    sim::{
        random_graph::{self, Way, Workload},
        vocabulary::Vocabulary,
        world::{TEAM, World},
        zones::Network,
    },
};

const SEED: u64 = 2;
const TRIALS: usize = 120;
const ZONE: usize = 100;

/// How often filters let a query for two words pass that nobody has: the summary of a peer, and the filter of a zone.
fn errors() -> (f64, f64) {
    let world = World::new(TEAM, ZONE, SEED);
    let strange = Vocabulary::new(4_000, &mut SmallRng::seed_from_u64(SEED + 1));
    // A letter that no word of the world begins with: neither do these words have a beginning in common with any.
    let strange: Vec<String> = strange.words().map(|word| format!("q{word}")).collect();
    let network = Network::new(&world, ZONE);
    let (mut peers, mut zones, mut tries) = (0_usize, 0_usize, 0_usize);
    for words in strange.chunks_exact(2) {
        let probe = Probe::of(&Query::parse(&words.join(" ")).expect("words are a query"));
        peers += network.summaries().filter(|summary| summary.may_answer(&probe)).count();
        zones += network.filters().filter(|filter| filter.may_answer(&probe)).count();
        tries += 1;
    }
    (peers as f64 / (tries * ZONE) as f64, zones as f64 / tries as f64)
}

pub fn table(paper: &Paper) {
    let (peer_errors, zone_errors) = errors();
    let ways = [
        (Way::ZonesInWaves, "zones with summaries, other zones in waves of 4, 8, 16 ..", "-"),
        (Way::Zones, "zones with summaries, all other zones that may match at once", "-"),
        (Way::BlindBound, "peers one by one, nobody twice: the bound of blind search", "757 / 99"),
        (Way::Walks(1), "random walk, 1 walker", "-"),
        (Way::Walks(32), "random walk, 32 walkers that check each 4th step", "1,139 / 187 (prototype)"),
        (Way::ExpandingRing, "floods with TTL 1, 2, 3 ..", "-"),
        (Way::Flood(5), "flood, TTL 5", "-"),
        (Way::Flood(7), "flood, TTL 7", "16,840 / 16,683 (prototype)"),
        (Way::Flood(9), "flood, TTL 9", "-"),
    ];
    let results = [0.001_25, 0.01].map(|replication| {
        let workload = Workload { replication, trials: TRIALS, zone_size: ZONE, peer_errors, zone_errors };
        random_graph::run(&workload, SEED)
    });
    let mut table = Table::new(&[
        "<way",
        "messages, 0.125 %",
        "p99",
        "found",
        "messages, 1 %",
        "p99",
        "found",
        "expected",
    ]);
    let mut bars = vec![("0.125 %".to_owned(), Vec::new()), ("1 %".to_owned(), Vec::new())];
    let mut groups = Vec::new();
    for (way, name, expected) in ways {
        let mut cells = vec![name.to_owned()];
        for (result, bars) in results.iter().zip(&mut bars) {
            let measured = &result.ways[&way];
            cells.push(format!("{:.0}", measured.messages.mean));
            cells.push(format!("{:.0}", measured.messages.p99));
            cells.push(percent(measured.found));
            bars.1.push(measured.messages.mean);
        }
        cells.push(expected.into());
        table.row(&cells);
        groups.push(match way {
            Way::ZonesInWaves => "zones, waves".into(),
            Way::Zones => "zones".into(),
            Way::BlindBound => "bound".into(),
            Way::Walks(count) => format!("walk {count}"),
            Way::ExpandingRing => "ring".into(),
            Way::Flood(ttl) => format!("flood {ttl}"),
        });
    }
    let below = format!(
        "{} peers, random graph of mean degree {}, {TRIALS} trials a row, seed {SEED}; the object is at {} and {} peers. Zones \
         of {ZONE} peers; a summary lets a query for two words that nobody has pass in {}, the filter of a zone in {}, as measured on filters of \
         the profile.",
        random_graph::PEERS,
        random_graph::DEGREE,
        results[0].holders,
        results[1].holders,
        percent(peer_errors),
        percent(zone_errors)
    );
    paper.put("graph", &table, &below);
    let chart = Bars {
        title: "Messages to find one copy among 9,836 peers that have it at 0.125 % and 1 %",
        unit: "messages",
        groups: &groups,
        series: &bars,
        is_log: true,
    };
    paper.chart("graph", &chart.svg());
}
