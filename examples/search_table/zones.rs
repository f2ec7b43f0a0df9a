//! Ten zones.

use crate::{
    chart::Bars,
    kib, one,
    paper::{Paper, Table},
    sim::{
        filter::Shape,
        random::Figures,
        team,
        world::{Kind, TEAM, World},
        zones::{Beyond, Cost, Network},
    },
    two,
};

const SEED: u64 = 1;
const QUERIES: usize = 400;
const PEERS: usize = 1_000;
const ZONE: usize = 100;

/// Beginnings that stand for whole words: one key a word.
pub const BY_BEGINNING: Shape = Shape { bits: 7, beginnings: &[5], has_whole_words: false };

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "<other zones are ruled out",
        "<query",
        "messages, mean",
        "p50",
        "p99",
        "in the own zone",
        "to gateways",
        "in other zones",
        "other zones entered",
        "KiB of pairs, a zone",
    ]);
    let world = World::new(TEAM, PEERS, SEED);
    let kinds = [Kind::Words(2), Kind::Words(3), Kind::Miss];
    let searches = kinds.map(|kind| team::draw(&world, kind, QUERIES, SEED + 1));
    let networks = [
        ("pairs of keys as in summaries", Network::new(&world, ZONE, Shape::PROTOCOL)),
        ("pairs of beginnings of 5", Network::new(&world, ZONE, BY_BEGINNING)),
        ("the same, 10 bits", Network::new(&world, ZONE, Shape { bits: 10, ..BY_BEGINNING })),
        (
            "pairs of beginnings of 3 and 6",
            Network::new(&world, ZONE, Shape { bits: 7, beginnings: &[3, 6], has_whole_words: false }),
        ),
    ];
    let mut ways = vec![
        ("not, and nobody in zones", &networks[0].1, Beyond::Blind),
        ("not", &networks[0].1, Beyond::EveryZone),
    ];
    ways.extend(networks.iter().map(|(name, network)| (*name, network, Beyond::Pairs)));
    ways.push(("pairs of keys as in summaries, the own zone too", &networks[0].1, Beyond::PairsAtHome));
    let mut bars: Vec<(String, Vec<f64>)> = kinds.iter().map(|kind| (kind.name(), Vec::new())).collect();
    let mut groups = Vec::new();
    for (name, network, beyond) in ways {
        for (at, kind) in kinds.iter().enumerate() {
            if beyond == Beyond::Blind && at > 0 {
                continue;
            }
            let costs = network.run(&searches[at], beyond, None, SEED + 2);
            let mean = |of: fn(&Cost) -> f64| Figures::of(costs.iter().map(of)).mean;
            let messages = Figures::of(costs.iter().map(Cost::messages));
            let bytes = network.pair_bytes();
            let bytes = bytes.iter().sum::<usize>() / bytes.len();
            let is_paired = matches!(beyond, Beyond::Pairs | Beyond::PairsAtHome);
            table.row(&[
                name.into(),
                if beyond == Beyond::Blind { "any".into() } else { kind.name() },
                two(messages.mean),
                format!("{:.0}", messages.median),
                format!("{:.0}", messages.p99),
                two(mean(|cost| cost.home)),
                two(mean(|cost| cost.gateways)),
                two(mean(|cost| cost.beyond)),
                two(mean(|cost| cost.zones)),
                if is_paired { kib(bytes) } else { "-".into() },
            ]);
            if beyond != Beyond::Blind {
                bars[at].1.push(messages.mean);
            }
        }
        if beyond != Beyond::Blind {
            groups.push(name.split(',').next().unwrap_or(name).replace("pairs of ", ""));
        }
    }
    let summaries = networks[0].1.summary_bytes();
    let hits = Figures::of(searches[0].iter().map(|search| search.asked.files.len() as f64));
    let below = format!(
        "{PEERS} peers in zones of {ZONE}, {QUERIES} queries a row, seeds {SEED} to {}. Summaries of words: {} KiB a zone. A \
         query for two words has hits at {} peers (mean; median {:.0}). Pairs are modelled here with the keys of the summaries.",
        SEED + 2,
        kib(summaries.iter().sum::<usize>() / summaries.len()),
        one(hits.mean),
        hits.median
    );
    paper.put("zones", &table, &below);
    let chart = Bars {
        title: "Messages of a search through 1,000 peers in 10 zones, by what rules zones out",
        unit: "messages",
        groups: &groups,
        series: &bars,
        is_log: true,
    };
    paper.chart("zones", &chart.svg());
}
