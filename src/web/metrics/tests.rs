#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use super::*;
use crate::{
    net::{Calls, Connections},
    peer::{
        transfers::{TransferCount, Transfers},
        vitals::{ReplicaSpace, Signs},
    },
    protocol::{
        action::{Connection, Counters, IndexState},
        strikes::Tally,
        zone::Layout,
    },
    registry::{
        counts::Counted,
        overview::{Capacity, ClosedNetwork, Standing},
    },
    telemetry::histogram::Histogram,
};

fn signs() -> Signs {
    let first_hit = Histogram::new(&[0.001, 1.0]);
    first_hit.observe(Duration::from_millis(20));
    let table = Transfers::new(4);
    let count = |of: TransferCount| TransferCount { count: 7, ..of };
    Signs {
        connection: Connection::Reconnecting,
        zone_peers: 16,
        neighbors: 4,
        roster_revision: (3 << 32) + 5,
        is_gateway: true,
        counters: Counters { searches: 2, bytes_up: 11, bytes_down: 12, ..Counters::default() },
        refusals: crate::peer::vitals::Refusals { muted: 9, ..Default::default() },
        tally: Tally::default(),
        running_queries: 1,
        searched: crate::peer::vitals::Searched {
            hits: 3,
            first_hit: first_hit.now(),
            duration: first_hit.now(),
        },
        index: IndexState { files: 1, bytes: 2, hashed_files: 1, is_scanning: true },
        live_transfers: table.live_counts().into_iter().map(count).collect(),
        ended_transfers: table.ended_counts().into_iter().map(count).collect(),
        upload_slots: table.slots(),
        download_slots: table.slots(),
        replicas: ReplicaSpace { contents: 1, used_bytes: 5, quota_bytes: 10 },
        connections: Connections { open: 1, accepted: 4, refused: 2, unproven: 1 },
        calls: Calls { nonsense_strikes: 8, ..Calls::default() },
        certificate_not_after: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)),
        uptime: Duration::from_secs(60),
    }
}

fn standing() -> Standing {
    Standing {
        address: "127.0.0.1:7000".parse().unwrap(),
        peers: 30,
        zones: 3,
        zone_sizes: vec![(6, 1), (12, 2)],
        sessions: 29,
        epoch: 3,
        revision: (3 << 32) + 8,
        capacity: Capacity { peers: 100_000, layout: Layout::Elastic { min: 6, target: 16, max: 24 } },
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        closed: Some(ClosedNetwork {
            network: "n".into(),
            members: 31,
            revoked: 1,
            denied: 1,
            authorities: 1,
            certificate_not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
        }),
        connections: Connections::default(),
        calls: Calls::default(),
        counted: Counted::default(),
        uptime: Duration::from_secs(60),
    }
}

fn told() -> [String; 2] {
    [
        text([Box::new(PeerNumbers(signs())) as Box<dyn Collector>, Box::new(ProcessNumbers)]).unwrap(),
        text([Box::new(RegistryNumbers(standing())) as Box<dyn Collector>, Box::new(ProcessNumbers)])
            .unwrap(),
    ]
}

/// Families with their types.
fn families(told: &str) -> BTreeMap<String, String> {
    let types = told.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

fn of_package(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The names as queries know them, with their types: the rows of the tables of the document.
fn documented() -> BTreeMap<String, String> {
    let document = of_package("docs/OPERATIONS.md");
    let rows = document.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` |")?;
        let kind = rest.split('|').next()?.trim();
        let is_kind = ["counter", "gauge", "histogram", "info"].contains(&kind);
        is_kind.then(|| (name.to_owned(), kind.to_owned()))
    });
    rows.collect()
}

/// As the samples of a family are named.
fn sample(name: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

#[test]
fn the_document_names_what_is_told_and_nothing_else() {
    let told: BTreeMap<String, String> = told()
        .iter()
        .flat_map(|told| families(told))
        .map(|(name, kind)| (sample(&name, &kind), kind))
        .collect();
    assert!(told.len() > 50, "{told:?}");
    assert_eq!(told, documented());
}

#[test]
fn what_is_told_is_well_formed_and_its_series_are_few() {
    for told in told() {
        assert!(told.ends_with("# EOF\n"));
        let samples: Vec<&str> = told.lines().filter(|line| !line.starts_with('#')).collect();
        let names: BTreeSet<&str> = samples.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(names.len(), samples.len(), "no series is told twice");
        assert!(samples.len() < 200, "{}", samples.len());
        assert!(samples.iter().all(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok()), "{told}");
    }
    let [peer, registry] = told();
    for line in [
        "floodplain_connection{state=\"reconnecting\"} 1",
        "floodplain_connection{state=\"connected\"} 0",
        "floodplain_transferred_bytes_total{direction=\"up\"} 11",
        "floodplain_queries_refused_total{reason=\"muted\"} 9",
        "floodplain_call_strikes_total{kind=\"nonsense\"} 8",
        "floodplain_search_first_hit_seconds_bucket{le=\"1.0\"} 1",
        "floodplain_search_first_hit_seconds_bucket{le=\"+Inf\"} 1",
        "floodplain_transfers_ended_total{direction=\"put\",state=\"cancelled\"} 7",
        "floodplain_certificate_expiry_timestamp_seconds 1900000000",
    ] {
        assert!(peer.lines().any(|told| told == line), "{line}\n{peer}");
    }
    for line in [
        "floodplain_registry_zones_by_size{peers=\"6\"} 1",
        "floodplain_registry_zones_by_size{peers=\"+Inf\"} 3",
    ] {
        assert!(registry.lines().any(|told| told == line), "{line}\n{registry}");
    }
}

#[test]
fn the_dashboard_asks_for_documented_names_only() {
    let dashboard: serde_json::Value = serde_json::from_str(&of_package("deploy/grafana.json")).unwrap();
    let known = documented();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            queries += 1;
            let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let names: Vec<&str> = words
                .filter(|word| word.starts_with("floodplain_") || word.starts_with("process_"))
                .collect();
            assert!(!names.is_empty(), "{expression}");
            for name in names {
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let is_known = known.contains_key(name)
                    || family.is_some_and(|family| known.get(family).is_some_and(|kind| kind == "histogram"));
                assert!(is_known, "{name} in {expression}");
            }
        }
    }
    assert!(queries > 20, "{queries}");
}
