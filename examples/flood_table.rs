//! What a search costs and reaches, as a table: `cargo run --example flood_table`. Every figure comes from seeded runs of
//! the rules that the daemons run; the seeds are printed below the table.

#![allow(missing_docs, clippy::pedantic)]

#[path = "../tests/support/zone.rs"]
mod zone;

use floodplain::protocol::flood::Mode;
use zone::{Setup, Zone};

const SEEDS: std::ops::Range<u64> = 1..6;

fn main() {
    println!(
        "| peers | dead | flood | messages / (n - 1) | messages / live others | hops p99 | recall | answered of listed |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|");
    for peers in [6, 24, 100] {
        for dead in [0.0, 0.1, 0.3] {
            for (mode, name) in [(Mode::Claimed, "claimed"), (Mode::Classic, "classic")] {
                row(peers, dead, mode, name);
            }
        }
    }
    println!("\nSeeds {} to {}, every live peer asks once in each.", SEEDS.start, SEEDS.end - 1);
    println!("\n| zones | peers each | dead gateways each | messages / (n - 1) | hops p99 | recall |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for (zones, peers) in [(3, 4), (10, 8), (10, 24), (10, 100)] {
        for dead_gateways in [0, 1] {
            beyond(zones, peers, dead_gateways);
        }
    }
    println!("\nSeeds {} to {}, a peer of each zone asks all zones in each.", SEEDS.start, SEEDS.end - 1);
}

fn beyond(zones: usize, peers: usize, dead_gateways: usize) {
    let (mut messages, mut recall, mut queries) = (0.0, 0.0, 0.0);
    let mut hops = Vec::new();
    for (seed, number) in SEEDS.flat_map(|seed| (0..zones).map(move |number| (seed, number))) {
        // The last peer of a zone, which is no gateway.
        let first_origin = (number + 1) * (peers - dead_gateways) - 1;
        let setup = Setup {
            zones,
            dead_gateways,
            first_origin,
            queries: 1,
            ..Setup::new(seed, peers, Mode::Claimed)
        };
        let zone = Zone::run(&setup);
        for outcome in &zone.outcomes {
            queries += 1.0;
            messages += outcome.messages as f64 / (zones * peers - 1) as f64;
            recall += outcome.recall(&zone);
            hops.extend(outcome.hits.values().copied().filter(|hops| *hops > 0));
        }
    }
    hops.sort_unstable();
    let p99 = hops.get(hops.len() * 99 / 100).or(hops.last()).copied().unwrap_or(0);
    println!(
        "| {zones} | {peers} | {dead_gateways} | {:.3} | {p99} | {:.2} % |",
        messages / queries,
        100.0 * recall / queries
    );
}

fn row(peers: usize, dead: f64, mode: Mode, name: &str) {
    let (mut messages, mut cost, mut recall, mut coverage, mut queries) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut hops = Vec::new();
    for seed in SEEDS {
        let mut setup = Setup { dead, ..Setup::new(seed, peers, mode) };
        setup.queries = peers - (dead * peers as f64).round() as usize;
        let zone = Zone::run(&setup);
        for outcome in &zone.outcomes {
            queries += 1.0;
            messages += outcome.messages as f64 / (peers - 1) as f64;
            cost += outcome.cost(&zone);
            recall += outcome.recall(&zone);
            let answered = outcome.report.as_ref().map_or(0, |report| report.answered.len());
            coverage += answered as f64 / peers as f64;
            hops.extend(outcome.hits.values().copied().filter(|hops| *hops > 0));
        }
    }
    hops.sort_unstable();
    let p99 = hops.get(hops.len() * 99 / 100).or(hops.last()).copied().unwrap_or(0);
    println!(
        "| {peers} | {:.0} % | {name} | {:.3} | {:.3} | {p99} | {:.2} % | {:.2} % |",
        dead * 100.0,
        messages / queries,
        cost / queries,
        100.0 * recall / queries,
        100.0 * coverage / queries,
    );
}
