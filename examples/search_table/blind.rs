//! Floods that nothing steers: what they cost and whom they reach, whatever is dead, stale or lost.

use std::time::Duration;

use floodplain::protocol::flood::Mode;

use crate::{
    chart::Bars,
    paper::{Paper, Table},
    percent,
    sim::random::Figures,
    three,
    zone::{Setup, Zone},
};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=3;
/// Queries at once when several are.
const SEVERAL: usize = 8;
/// Most at once, and peers from which one seed has to do: more would only take longer.
const MOST_AT_ONCE: usize = 200;
const LARGE: usize = 1_000;
const MOST_AT_ONCE_LARGE: usize = 50;
/// Longer than any query lives.
const APART: Duration = Duration::from_secs(10);

/// Of all queries of a row.
#[derive(Default)]
struct Row {
    queries: f64,
    messages: f64,
    recall: f64,
    hops: Vec<u8>,
    took: Vec<f64>,
}

impl Row {
    fn run(&mut self, setup: &Setup) {
        let zone = Zone::run(setup);
        for outcome in &zone.outcomes {
            self.queries += 1.0;
            self.messages += outcome.messages as f64 / (setup.peers - 1) as f64;
            self.recall += outcome.recall(&zone);
            self.hops.extend(outcome.hits.values().copied().filter(|hops| *hops > 0));
            self.took.push(outcome.took.as_secs_f64() * 1e3);
        }
    }

    fn hops_p99(&mut self) -> u8 {
        self.hops.sort_unstable();
        self.hops.get(self.hops.len() * 99 / 100).or(self.hops.last()).copied().unwrap_or(0)
    }
}

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "peers",
        "dead",
        "<flood",
        "messages / (n - 1): one query",
        "several at once",
        "all at once",
        "recall: one query",
        "several at once",
        "all at once",
        "hops p99",
    ]);
    let mut bars: Vec<(String, Vec<f64>)> = vec![("claimed".into(), vec![]), ("classic".into(), vec![])];
    let sizes = [6, 24, 100, 200, 1000];
    for peers in sizes {
        for dead in [0.0, 0.1, 0.3] {
            for (mode, name, series) in [(Mode::Claimed, "claimed", 0), (Mode::Classic, "classic", 1)] {
                let most = if peers < LARGE { MOST_AT_ONCE } else { MOST_AT_ONCE_LARGE };
                let all = peers.min(most);
                let mut hops = 0;
                let mut costs = Vec::new();
                let mut recalls = Vec::new();
                for (queries, at_once) in [(4, 1), (SEVERAL, SEVERAL), (all, all)] {
                    let mut row = Row::default();
                    let seeds = if peers < LARGE { SEEDS } else { *SEEDS.start()..=*SEEDS.start() };
                    for seed in seeds {
                        let pause = if at_once == 1 { APART } else { Duration::ZERO };
                        let setup =
                            Setup { dead, queries, pause, cache: 2_000, ..Setup::new(seed, peers, mode) };
                        row.run(&setup);
                    }
                    hops = hops.max(row.hops_p99());
                    costs.push(row.messages / row.queries);
                    recalls.push(row.recall / row.queries);
                }
                if dead == 0.0 {
                    bars[series].1.push(costs[2]);
                }
                let mut cells = vec![peers.to_string(), format!("{:.0} %", dead * 100.0), name.into()];
                cells.extend(costs.into_iter().map(three));
                cells.extend(recalls.into_iter().map(percent));
                cells.push(hops.to_string());
                table.row(&cells);
            }
        }
    }
    let below = format!(
        "Seeds {} to {}; at 1,000 peers the first alone. One query: 4 in each seed, one after the other. Several: {SEVERAL}. All: \
         every peer; at 1,000 peers {MOST_AT_ONCE_LARGE} of them.",
        SEEDS.start(),
        SEEDS.end()
    );
    paper.put("blind", &table, &below);
    let chart = Bars {
        title: "Messages of one search that nothing steers, for each other peer",
        unit: "messages / (n - 1)",
        groups: &sizes.map(|peers| format!("{peers} peers")),
        series: &bars,
        is_log: false,
    };
    paper.chart("blind", &chart.svg());
}

pub fn trouble(paper: &Paper) {
    let mut table = Table::new(&[
        "stale rosters",
        "lost packets",
        "dead",
        "<flood",
        "messages / (n - 1)",
        "recall",
        "hops p99",
        "end p50 ms",
        "end p99 ms",
    ]);
    let peers = 100;
    for (stale, loss, dead) in [
        (0.0, 0.0, 0.0),
        (0.01, 0.0, 0.0),
        (0.05, 0.0, 0.0),
        (0.0, 0.01, 0.0),
        (0.0, 0.05, 0.0),
        (0.01, 0.01, 0.1),
        (0.05, 0.05, 0.3),
    ] {
        for (mode, name) in [(Mode::Claimed, "claimed"), (Mode::Classic, "classic")] {
            let mut row = Row::default();
            for seed in SEEDS {
                row.run(&Setup { stale, loss, dead, queries: 70, ..Setup::new(seed, peers, mode) });
            }
            let took = Figures::of(row.took.iter().copied());
            let percents = [stale, loss, dead].map(|part| format!("{:.0} %", part * 100.0));
            let mut cells = percents.to_vec();
            cells.push(name.into());
            cells.extend([three(row.messages / row.queries), percent(row.recall / row.queries)]);
            cells.extend([row.hops_p99().to_string(), format!("{:.0}", took.median)]);
            cells.push(format!("{:.0}", took.p99));
            table.row(&cells);
        }
    }
    let below = format!(
        "{peers} peers, 70 queries a millisecond apart in each of the seeds {} to {}. Links take a log-normal time around 2 \
         ms; a lost packet is sent again after 200 ms.",
        SEEDS.start(),
        SEEDS.end()
    );
    paper.put("trouble", &table, &below);
}
