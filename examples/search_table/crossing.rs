//! Searches of all zones that nothing steers: what leaving a zone costs, with gateways alive and dead.

use floodplain::protocol::flood::Mode;

use crate::{
    paper::{Paper, Table},
    percent,
    sim::random::Figures,
    three,
    zone::{Setup, Zone},
};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=5;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "zones",
        "peers each",
        "dead gateways each",
        "other peers dead",
        "messages / (n - 1)",
        "to gateways",
        "hops p99",
        "recall",
        "end p50 ms",
    ]);
    for (zones, peers) in [(3, 4), (10, 8), (10, 24), (10, 100)] {
        for (dead_gateways, dead) in [(0, 0.0), (1, 0.0), (1, 0.1)] {
            let (mut messages, mut to_gateways, mut recall, mut took) = (vec![], vec![], vec![], vec![]);
            let mut hops = Vec::new();
            for (seed, number) in SEEDS.flat_map(|seed| (0..zones).map(move |number| (seed, number))) {
                // The last live peer of a zone when none but gateways are dead, and none of its gateways.
                let first_origin = (number + 1) * (peers - dead_gateways) - 1;
                let setup = Setup {
                    zones,
                    dead_gateways,
                    dead,
                    first_origin,
                    queries: 1,
                    ..Setup::new(seed, peers, Mode::Claimed)
                };
                let zone = Zone::run(&setup);
                for outcome in &zone.outcomes {
                    messages.push(outcome.messages as f64 / (zones * peers - 1) as f64);
                    to_gateways.push(outcome.to_gateways as f64);
                    recall.push(outcome.recall(&zone));
                    took.push(outcome.took.as_secs_f64() * 1e3);
                    hops.extend(
                        outcome.hits.values().map(|hops| f64::from(*hops)).filter(|hops| *hops > 0.0),
                    );
                }
            }
            table.row(&[
                zones.to_string(),
                peers.to_string(),
                dead_gateways.to_string(),
                format!("{:.0} %", dead * 100.0),
                three(Figures::of(messages).mean),
                format!("{:.1}", Figures::of(to_gateways).mean),
                format!("{:.0}", Figures::of(hops).p99),
                percent(Figures::of(recall).mean),
                format!("{:.0}", Figures::of(took).median),
            ]);
        }
    }
    let below = format!(
        "Seeds {} to {}; in each, a peer of each zone asks all zones, alone. The dead refuse at once. Without dead peers the \
         origins are no gateways.",
        SEEDS.start(),
        SEEDS.end()
    );
    paper.put("crossing", &table, &below);
}
