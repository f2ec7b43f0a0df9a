//! Ten zones.

use crate::{
    chart::Bars,
    kib, one,
    paper::{Paper, Table},
    sim::{
        filter::Shape,
        random::Figures,
        team::{self, InShape},
        world::{Kind, TEAM, World},
        zones::{Cost, Network, Way},
    },
    two,
};

const SEED: u64 = 1;
const QUERIES: usize = 400;
const PEERS: usize = 1_000;
const ZONE: usize = 100;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "<ruled out",
        "<query",
        "<want",
        "messages, mean",
        "p50",
        "p99",
        "in the own zone",
        "to gateways",
        "in other zones",
        "other zones entered",
        "end p50 ms",
    ]);
    let world = World::new(TEAM, PEERS, SEED);
    let kinds = [Kind::Words(2), Kind::Words(3), Kind::Miss];
    let searches = kinds.map(|kind| team::draw(&world, kind, QUERIES, SEED + 1));
    let network = Network::new(&world, ZONE);
    let by_words = InShape::new(&world, Shape { pair_chars: None, ..Shape::PROTOCOL });
    let ways = [
        ("nobody", Way::Blind, None),
        ("members by words alone", Way::InShape(&by_words), None),
        ("members by words and pairs", Way::Summaries, None),
        ("the same, zones by theirs", Way::Filters, None),
        ("the same, zones by theirs", Way::Filters, Some(50)),
        ("the same, zones by theirs", Way::Filters, Some(1)),
    ];
    let mut bars: Vec<(String, Vec<f64>)> = kinds.iter().map(|kind| (kind.name(), Vec::new())).collect();
    let mut groups = Vec::new();
    for (name, way, want) in ways {
        let is_blind = matches!(way, Way::Blind);
        for (at, kind) in kinds.iter().enumerate() {
            let is_left_out = is_blind && at > 0 || want.is_some() && *kind == Kind::Miss;
            let mut mean_messages = (PEERS - 1) as f64;
            if !is_left_out {
                let costs = network.run(&searches[at], way, want, SEED + 2);
                let mean = |of: fn(&Cost) -> f64| Figures::of(costs.iter().map(of)).mean;
                let messages = Figures::of(costs.iter().map(Cost::messages));
                let took = Figures::of(costs.iter().map(|cost| cost.took.as_secs_f64() * 1e3));
                mean_messages = messages.mean;
                table.row(&[
                    name.into(),
                    if is_blind { "any".into() } else { kind.name() },
                    want.map_or("all".into(), |want| want.to_string()),
                    two(messages.mean),
                    format!("{:.0}", messages.median),
                    format!("{:.0}", messages.p99),
                    two(mean(|cost| cost.home)),
                    two(mean(|cost| cost.gateways)),
                    two(mean(|cost| cost.beyond)),
                    two(mean(|cost| cost.zones)),
                    one(took.median),
                ]);
            }
            if want.is_none() {
                bars[at].1.push(mean_messages);
            }
        }
        if want.is_none() {
            groups.push(name.to_owned());
        }
    }
    let (filter, summaries) = network.bytes_a_zone();
    let hits = Figures::of(searches[0].iter().map(|search| search.asked.files.len() as f64));
    let below = format!(
        "{PEERS} peers in zones of {ZONE}, {QUERIES} queries a row, seeds {SEED} to {}. A zone: {} KiB of summaries at each \
         member, a filter of {} KiB at each gateway of another. With words alone the summaries would take {} KiB. A query for two \
         words has hits at {} peers (mean; median {:.0}).",
        SEED + 2,
        kib(summaries),
        kib(filter),
        kib(by_words.size_bytes() * ZONE / PEERS),
        one(hits.mean),
        hits.median
    );
    paper.put("zones", &table, &below);
    let chart = Bars {
        title: "Messages of a search through 1,000 peers in 10 zones, by who is ruled out",
        unit: "messages",
        groups: &groups,
        series: &bars,
        is_log: true,
    };
    paper.chart("zones", &chart.svg());
}
