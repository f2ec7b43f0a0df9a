//! A hundred thousand peers.

use super::zones::BY_BEGINNING;
use crate::{
    graph, kib, one,
    paper::{Paper, Table},
    sim::{
        filter::Shape,
        large::{Large, Scale, message_bytes},
        random::Figures,
        team::{self, Team},
        world::{Kind, TEAM, World},
        zones::{Beyond, Cost, Network},
    },
    two,
};

const SEED: u64 = 1;
const ZONE: usize = 100;

pub fn table(paper: &Paper) {
    let mut table = Table::new(&[
        "peers",
        "<pairs",
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
    let world = World::new(TEAM, ZONE, SEED);
    let key_errors = key_errors(&world);
    let (_, pair_errors) = graph::errors();
    let bytes = message_bytes();
    // The model beside the event simulation.
    let small = World::new(TEAM, 1_000, SEED);
    for kind in [Kind::Words(2), Kind::Miss] {
        let network = Network::new(&small, ZONE, Shape::PROTOCOL);
        let costs = network.run(&team::draw(&small, kind, 400, SEED + 1), Beyond::Pairs, None, SEED + 2);
        let messages = Figures::of(costs.iter().map(Cost::messages));
        let zones = Figures::of(costs.iter().map(|cost| cost.zones));
        row(&mut table, 1_000, "keys", kind, None, messages, zones, bytes, "events");
    }
    let pairs = [("keys", Shape::PROTOCOL), ("beginnings", BY_BEGINNING)];
    for (peers, searches) in [(1_000, 2_000), (10_000, 1_000), (100_000, 400)] {
        let large = Large::new(TEAM, peers, SEED);
        for (kind, want, pairs) in [
            (Kind::Words(2), None, pairs[0]),
            (Kind::Miss, None, pairs[0]),
            (Kind::Words(2), None, pairs[1]),
            (Kind::Miss, None, pairs[1]),
            (Kind::Words(2), Some(50.0), pairs[0]),
            (Kind::Words(2), Some(1.0), pairs[0]),
        ] {
            let scale = Scale {
                peers,
                zone_size: ZONE,
                searches,
                key_errors,
                pair_errors,
                pair_shape: pairs.1,
                want,
            };
            let reach = large.run(&scale, kind, SEED + 3);
            let messages = Figures::of(reach.iter().map(|reach| reach.messages));
            let zones = Figures::of(reach.iter().map(|reach| reach.zones));
            row(&mut table, peers, pairs.0, kind, want, messages, zones, bytes, "model");
        }
    }
    let zone = Team::new(&world, 0..ZONE);
    let sizes = pairs.map(|(_, shape)| Network::new(&world, ZONE, shape).pair_bytes()[0]);
    let below = format!(
        "Seeds {SEED} to {}. A message and its answer are {bytes:.0} bytes. Each peer holds the summaries of its zone, {} KiB; a \
         gateway holds one filter over pairs for each zone, {} KiB each with all keys and {} KiB with beginnings, so at 1,000 \
         zones {:.1} or {:.1} GiB; a member gives {:.1} or {:.1} KiB of it.",
        SEED + 3,
        kib(zone.size_bytes()),
        kib(sizes[0]),
        kib(sizes[1]),
        sizes[0] as f64 * 1e3 / f64::from(1 << 30),
        sizes[1] as f64 * 1e3 / f64::from(1 << 30),
        sizes[0] as f64 / ZONE as f64 / 1024.0,
        sizes[1] as f64 / ZONE as f64 / 1024.0,
    );
    paper.put("scale", &table, &below);
}

#[allow(clippy::too_many_arguments)]
fn row(
    table: &mut Table,
    peers: usize,
    pairs: &str,
    kind: Kind,
    want: Option<f64>,
    messages: Figures,
    zones: Figures,
    bytes: f64,
    by: &str,
) {
    let each = messages.mean / peers as f64;
    table.row(&[
        peers.to_string(),
        pairs.into(),
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
}

/// How often a summary has a key that is not in it.
fn key_errors(world: &World) -> f64 {
    let (mut seems, mut tries) = (0.0, 0.0);
    for peer in 0..world.peers() {
        let filter = Shape::PROTOCOL.filter(world.words_of(peer));
        for number in 0..200 {
            seems += f64::from(u8::from(filter.may_hold(Shape::PROTOCOL.whole(&format!("absent{number}")))));
            tries += 1.0;
        }
    }
    seems / tries
}
