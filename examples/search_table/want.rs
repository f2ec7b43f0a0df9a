//! Searches for which some hits are enough.

use crate::{
    chart::Bars,
    one,
    paper::{Paper, Table},
    percent,
    sim::{
        random::Figures,
        team::{self, Team},
        world::{Kind, TEAM, World},
    },
    two,
    zone::Rule,
};

const SEED: u64 = 1;
const QUERIES: usize = 400;
const PEERS: usize = 100;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "<query",
        "<want",
        "messages, with summaries",
        "p99",
        "end p50 ms",
        "messages, without",
        "p99",
        "end p50 ms",
        "got what there was to get",
    ]);
    let world = World::new(TEAM, PEERS, SEED);
    let team = Team::new(&world, 0..PEERS);
    let wants = [Some(1), Some(10), Some(50), None];
    let mut bars = vec![("with summaries".to_owned(), vec![]), ("without".to_owned(), vec![])];
    let mut groups = Vec::new();
    for kind in [Kind::Words(1), Kind::Words(2)] {
        let searches = team::draw(&world, kind, QUERIES, SEED + 1);
        for want in wants {
            let name = want.map_or("all".to_owned(), |want| want.to_string());
            let mut cells = vec![kind.name(), name.clone()];
            let mut got = 0.0;
            for (at, bars) in bars.iter_mut().enumerate() {
                let asks = searches.iter().map(|search| {
                    let rule =
                        if at == 0 { Rule::Summary(search.asked.probe.clone()) } else { Rule::Everyone };
                    team.ask(search.origin, &search.asked, rule, want)
                });
                let outcomes = team.run(asks.collect(), SEED + 2);
                for (search, outcome) in searches.iter().zip(&outcomes) {
                    let mut there: Vec<u64> = search.asked.files.values().flatten().copied().collect();
                    there.sort_unstable();
                    there.dedup();
                    let most = there.len().min(want.unwrap_or(usize::MAX));
                    got += f64::from(u8::from(outcome.contents.len() == most)) / 2.0;
                }
                let messages = Figures::of(outcomes.iter().map(|outcome| outcome.messages as f64));
                let took = Figures::of(outcomes.iter().map(|outcome| outcome.took.as_secs_f64() * 1e3));
                cells.extend([two(messages.mean), format!("{:.0}", messages.p99), one(took.median)]);
                bars.1.push(messages.mean);
            }
            cells.push(percent(got / searches.len() as f64));
            table.row(&cells);
            groups.push(format!("{}, {name}", kind.name()));
        }
    }
    let below =
        format!("{PEERS} peers, {QUERIES} queries a row, seeds {SEED} to {}; nobody is dead.", SEED + 2);
    paper.put("want", &table, &below);
    let chart = Bars {
        title: "Messages of a search that wants 1, 10, 50 or all hits, 100 peers",
        unit: "messages",
        groups: &groups,
        series: &bars,
        is_log: false,
    };
    paper.chart("want", &chart.svg());
}
