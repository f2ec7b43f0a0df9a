//! A hundred thousand peers.

use floodplain::protocol::summary::{
    Density,
    zone::{MAX_FILTERS_BYTES, MAX_ZONE_FILTERS},
};

use crate::{
    kib, one,
    paper::{Paper, Table},
    sim::{
        large::{Errors, Large, Scale, message_bytes},
        random::Figures,
        team,
        world::{Kind, TEAM, World},
        zones::{Cost, Network, Way},
    },
    two,
};

const SEED: u64 = 1;
const ZONE: usize = 100;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "peers",
        "filters at a gateway",
        "<query",
        "<want",
        "messages a query, mean",
        "p50",
        "p99",
        "other zones entered",
        "messages a query and peer",
        "bytes a query and peer",
        "<by",
    ]);
    let bytes = message_bytes();
    let mut row = |peers: usize,
                   filters: usize,
                   (kind, want): (Kind, Option<f64>),
                   messages: Figures,
                   zones: Figures,
                   by: &str| {
        let each = messages.mean / peers as f64;
        table.row(&[
            peers.to_string(),
            filters.to_string(),
            kind.name(),
            want.map_or("all".into(), |want| format!("{want:.0}")),
            one(messages.mean),
            format!("{:.0}", messages.median),
            format!("{:.0}", messages.p99),
            two(zones.mean),
            format!("{each:.5}"),
            two(each * bytes),
            by.into(),
        ]);
    };
    // The model beside the event simulation.
    let world = World::new(TEAM, 1_000, SEED);
    let network = Network::new(&world, ZONE);
    for kind in [Kind::Words(2), Kind::Miss] {
        let costs = network.run(&team::draw(&world, kind, 400, SEED + 1), Way::Filters, None, SEED + 2);
        let messages = Figures::of(costs.iter().map(Cost::messages));
        let zones = Figures::of(costs.iter().map(|cost| cost.zones));
        row(1_000, 9, (kind, None), messages, zones, "events");
    }
    let peer_errors = Errors::of(network.summaries(), Density::PEER);
    let zone_errors = Errors::of(network.filters(), Density::ZONE);
    let (filter_bytes, summary_bytes) = network.bytes_a_zone();
    let held = MAX_ZONE_FILTERS.min(MAX_FILTERS_BYTES / filter_bytes);
    for (peers, searches) in [(1_000, 2_000), (10_000, 1_000), (100_000, 300)] {
        let large = Large::new(TEAM, peers, SEED);
        let others = peers / ZONE - 1;
        let asks = [
            (Kind::Words(2), None),
            (Kind::Miss, None),
            (Kind::Words(2), Some(50.0)),
            (Kind::Words(2), Some(1.0)),
        ];
        let bounded = (held < others).then_some(held);
        for filters in [Some(others), bounded].into_iter().flatten() {
            for (kind, want) in asks {
                let scale =
                    Scale { peers, zone_size: ZONE, searches, peer_errors, zone_errors, filters, want };
                let reach = large.run(&scale, kind, SEED + 3);
                let messages = Figures::of(reach.iter().map(|reach| reach.messages));
                let zones = Figures::of(reach.iter().map(|reach| reach.zones));
                row(peers, filters, (kind, want), messages, zones, "model");
            }
        }
    }
    let below = format!(
        "Seeds {SEED} to {}. A message and its answer are {bytes:.0} bytes. Each peer holds the summaries of its zone, {} KiB; a \
         gateway holds filters of {} KiB a zone, {MAX_ZONE_FILTERS} at most in {} MiB at most, so {held} of these; zones whose filter it \
         does not hold are always asked. Rows with more show what the bound costs. A filter lets a word pass that it does not have in {:.1} %, a pair \
         in {:.1} %; that of a zone in {:.1} and {:.1} %.",
        SEED + 3,
        kib(summary_bytes),
        kib(filter_bytes),
        MAX_FILTERS_BYTES >> 20,
        100.0 * peer_errors.single,
        100.0 * peer_errors.pair,
        100.0 * zone_errors.single,
        100.0 * zone_errors.pair,
    );
    paper.put("scale", &table, &below);
}
