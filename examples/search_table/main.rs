//! What a search costs and reaches, as tables and charts: `cargo run --release --example search_table`, or the names of some
//! sections behind `--`. Every figure comes from seeded runs of the rules that the daemons run; the same seed gives the same
//! table. Tables are printed and put into docs/SIMULATION.md, charts into docs/simulation.

#![allow(missing_docs, unreachable_pub, clippy::pedantic)]

mod blind;
mod chart;
mod crossing;
mod graph;
mod paper;
mod scale;
#[path = "../../tests/support/sim.rs"]
mod sim;
mod stale;
mod want;
mod words;
#[path = "../../tests/support/zone.rs"]
mod zone;
mod zones;

use std::time::Instant;

use paper::Paper;

type Section = (&'static str, fn(&Paper));

const SECTIONS: [Section; 11] = [
    ("blind", blind::table),
    ("trouble", blind::trouble),
    ("stale", stale::table),
    ("crossing", crossing::table),
    ("words", words::table),
    ("worlds", words::worlds),
    ("shapes", words::shapes),
    ("want", want::table),
    ("zones", zones::table),
    ("graph", graph::table),
    ("scale", scale::table),
];

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = SECTIONS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = chosen.iter().find(|name| !names.contains(&name.as_str())) {
        eprintln!("there is no section {unknown}: use {}", names.join(", "));
        std::process::exit(2);
    }
    let paper = Paper::new();
    for (name, section) in SECTIONS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            let (begun, before) = (Instant::now(), cpu_seconds());
            println!("## {name}\n");
            section(&paper);
            let used = cpu_seconds() - before;
            eprintln!("{name}: {:.1} s, {used:.1} s of CPU\n", begun.elapsed().as_secs_f64());
        }
    }
}

/// Of this thread, the only one; 0 where the kernel does not tell.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds: Option<f64> = stat.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.unwrap_or(0.0) / 1e9
}

/// As it stands in a table.
fn one(value: f64) -> String {
    format!("{value:.1}")
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn three(value: f64) -> String {
    format!("{value:.3}")
}

fn percent(portion: f64) -> String {
    format!("{:.2} %", 100.0 * portion)
}

fn kib(bytes: usize) -> String {
    format!("{:.0}", bytes as f64 / 1024.0)
}
