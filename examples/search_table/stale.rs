//! Claimed floods in a zone where members join and leave, and not everyone has heard of it.

use floodplain::protocol::flood::Mode;

use crate::{
    paper::{Paper, Table},
    percent,
    sim::random::Figures,
    three,
    zone::{Setup, Zone},
};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=40;
const QUERIES: usize = 50;
const PEERS: usize = 100;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "stale rosters",
        "dead",
        "messages / (n - 1)",
        "when the origin has the newest",
        "when it has an older one",
        "recall of all",
        "of those that the origin knows",
        "hops p99",
        "end p50 ms",
        "end p99 ms",
    ]);
    for (stale, dead) in
        [(0.01, 0.0), (0.02, 0.0), (0.05, 0.0), (0.1, 0.0), (0.3, 0.0), (0.05, 0.1), (0.05, 0.3)]
    {
        let (mut newest, mut older, mut all, mut known, mut took) = (vec![], vec![], vec![], vec![], vec![]);
        let mut hops = Vec::new();
        for seed in SEEDS {
            let setup = Setup { stale, dead, queries: QUERIES, ..Setup::new(seed, PEERS, Mode::Claimed) };
            let zone = Zone::run(&setup);
            for outcome in &zone.outcomes {
                let cost = outcome.messages as f64 / (PEERS - 1) as f64;
                if zone.is_behind(outcome.origin) { &mut older } else { &mut newest }.push(cost);
                all.push(outcome.recall(&zone));
                let live = zone.known_to(outcome.origin, &zone.live);
                let found = live.iter().filter(|node| outcome.hits.contains_key(node)).count();
                known.push(found as f64 / live.len() as f64);
                took.push(outcome.took.as_secs_f64() * 1e3);
                hops.extend(outcome.hits.values().map(|hops| f64::from(*hops)).filter(|hops| *hops > 0.0));
            }
        }
        let took = Figures::of(took);
        let mean = |values: &[f64]| Figures::of(values.iter().copied()).mean;
        table.row(&[
            format!("{:.0} %", stale * 100.0),
            format!("{:.0} %", dead * 100.0),
            three(mean(&[&newest[..], &older[..]].concat())),
            three(mean(&newest)),
            if older.is_empty() { "-".into() } else { three(mean(&older)) },
            percent(mean(&all)),
            percent(mean(&known)),
            format!("{:.0}", Figures::of(hops).p99),
            format!("{:.0}", took.median),
            format!("{:.0}", took.p99),
        ]);
    }
    let below = format!(
        "{PEERS} peers, {QUERIES} queries a millisecond apart in each of the seeds {} to {}: {} queries a row. A stale roster is one \
         to three revisions behind; with each of them one member joined and one left.",
        SEEDS.start(),
        SEEDS.end(),
        SEEDS.count() * QUERIES
    );
    paper.put("stale", &table, &below);
}
