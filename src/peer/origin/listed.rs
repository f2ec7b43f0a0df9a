//! How far a search came, zone by zone: what the own zone and the gateways said, beside what the registry lists.
//!
//! Invariant: a zone that the registry lists, or that a gateway told of, is in the coverage, heard or not.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::super::{directory::Directory, view::Knowledge};
use crate::{
    protocol::{
        action::{Connection, Coverage, ZoneCoverage, ZoneInfo},
        gateway::MAX_ZONES,
        id::ZoneId,
        report::{Report, ZoneReport},
    },
    shutdown::Shutdown,
};

/// How long the registry may take. It is asked while the search runs, and so holds up only one that ends sooner.
const LIST_TIMEOUT: Duration = Duration::from_millis(500);

/// The registry's list of zones, on its way.
#[derive(Debug)]
pub(super) struct Asked(JoinHandle<Option<Beyond>>);

/// What the registry says of other zones.
#[derive(Debug, Default)]
pub(super) enum Beyond {
    /// Nobody asked: they are not in scope.
    OutOfScope,
    /// It could not be asked.
    #[default]
    Unlisted,
    /// All zones.
    Listed(Vec<ZoneInfo>),
}

impl Asked {
    /// Asks for it, unless this peer knows that it would not be answered.
    pub(super) fn begin(directory: Arc<Directory>, now: &Knowledge, shutdown: &Shutdown) -> Self {
        let is_connected = now.connection == Connection::Connected;
        let ask = async move {
            if !is_connected {
                return Beyond::Unlisted;
            }
            match timeout(LIST_TIMEOUT, directory.zones()).await {
                Ok(listing) if !listing.is_stale => Beyond::Listed(listing.rows),
                _ => Beyond::Unlisted,
            }
        };
        Self(shutdown.spawn("zones of a search", ask))
    }

    /// What it said.
    pub(super) async fn end(self) -> Beyond {
        self.0.await.ok().flatten().unwrap_or_default()
    }
}

/// What a search came to.
pub(super) fn coverage(report: &Report, knowledge: &Knowledge, beyond: &Beyond) -> Coverage {
    let home = knowledge.zone();
    let own = report.own_zone(knowledge.roster.as_deref(), knowledge.me.id);
    let (mut zones, mut is_cut) = (vec![of_zone(home, own)], false);
    let listed: &[ZoneInfo] = if let Beyond::Listed(rows) = beyond { rows } else { &[] };
    if !matches!(beyond, Beyond::OutOfScope) {
        let others = others(report, home, listed);
        is_cut = others.len() > MAX_ZONES;
        zones.extend(others.into_iter().take(MAX_ZONES));
        zones.sort_by_key(|zone| zone.zone);
    }
    let are_zones_unknown = matches!(beyond, Beyond::Unlisted) && !report.is_crossed;
    let Report { duplicates, messages, truncated, .. } = *report;
    let truncated = truncated || is_cut;
    Coverage { duplicates, messages, truncated, are_zones_unknown, ..Coverage::default() }.over(zones)
}

/// A gateway knows its zone better than a list; of a zone that was not heard the list knows the size.
fn others(report: &Report, home: Option<ZoneId>, listed: &[ZoneInfo]) -> Vec<ZoneCoverage> {
    let mut zones: BTreeMap<ZoneId, ZoneReport> = report.zones.clone();
    for row in listed.iter().filter(|row| row.peers > 0) {
        let told = zones.entry(row.zone).or_default();
        if !told.is_heard() {
            told.listed = row.peers;
        }
    }
    let others = zones.into_iter().filter(|(zone, _)| Some(*zone) != home);
    others.map(|(zone, told)| of_zone(Some(zone), told)).collect()
}

fn of_zone(zone: Option<ZoneId>, told: ZoneReport) -> ZoneCoverage {
    let ZoneReport { listed, ruled_out, unreachable, .. } = told;
    ZoneCoverage { zone, answered: told.heard(), ruled_out, asked: listed, unreachable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        peer::view::View,
        protocol::{id::PeerId, id::PeerName, roster::Roster},
    };

    fn zone(number: u32) -> ZoneId {
        ZoneId::new(number).expect("not 0")
    }

    /// A peer alone in zone 1.
    fn alone() -> Knowledge {
        let address = ([127, 0, 0, 1], 7001).into();
        let view = View::new(PeerId::from_bytes([1; 32]), PeerName::from_any("me"), address, 1);
        let mut knowledge = Knowledge::clone(&view.now());
        knowledge.roster = Some(Arc::new(Roster::new(zone(1), 1, vec![knowledge.me.clone()])));
        knowledge
    }

    fn report(zones: &[(u32, u32, u32)], is_crossed: bool) -> Report {
        let told = |(number, listed, answered): &(u32, u32, u32)| {
            (zone(*number), ZoneReport { listed: *listed, answered: *answered, ..ZoneReport::default() })
        };
        let answered = [PeerId::from_bytes([1; 32]).short()].into();
        Report { answered, zones: zones.iter().map(told).collect(), is_crossed, ..Report::default() }
    }

    fn row(number: u32, peers: u32) -> ZoneInfo {
        ZoneInfo { zone: zone(number), peers, gateways: Vec::new() }
    }

    fn figures(coverage: &Coverage) -> Vec<(u32, u32, u32)> {
        let zones = coverage.zones.iter();
        zones.map(|told| (told.zone.map_or(0, ZoneId::get), told.answered, told.asked)).collect()
    }

    #[test]
    fn what_a_gateway_says_of_a_zone_goes_before_the_list_and_the_list_fills_what_is_missing() {
        let report = report(&[(2, 7, 7), (3, 0, 0), (1, 99, 99)], true);
        let listed = Beyond::Listed(vec![row(1, 1), row(2, 8), row(3, 5), row(4, 6), row(5, 0)]);
        let coverage = coverage(&report, &alone(), &listed);
        assert_eq!(figures(&coverage), [(1, 1, 1), (2, 7, 7), (3, 0, 5), (4, 0, 6)]);
        assert_eq!((coverage.answered, coverage.asked), (8, 19));
        assert!(!coverage.is_complete() && !coverage.are_zones_unknown);
    }

    #[test]
    fn of_more_zones_than_a_report_holds_it_is_told_that_some_are_left_out() {
        let most = u32::try_from(MAX_ZONES).expect("small");
        let heard = |zones: u32| {
            let told: Vec<_> = (2..=zones + 1).map(|number| (number, 1, 1)).collect();
            coverage(&report(&told, true), &alone(), &Beyond::Unlisted)
        };
        assert!(heard(most).is_complete());
        // One more, that was never heard, is known by the list alone.
        let told: Vec<_> = (2..=most + 1).map(|number| (number, 1, 1)).collect();
        let listed = Beyond::Listed(vec![row(1, 1), row(most + 2, 1)]);
        let cut = coverage(&report(&told, true), &alone(), &listed);
        assert!(cut.truncated && !cut.is_complete() && cut.zones.len() == MAX_ZONES + 1);
    }

    #[test]
    fn gateways_are_enough_to_be_complete_without_the_registry() {
        let told = coverage(&report(&[(2, 7, 7)], true), &alone(), &Beyond::Unlisted);
        assert!(told.is_complete(), "{told}");
        let unheard = coverage(&report(&[(2, 7, 7), (3, 0, 0)], true), &alone(), &Beyond::Unlisted);
        assert!(!unheard.is_complete(), "{unheard}");
    }

    #[test]
    fn with_neither_gateways_nor_the_registry_it_is_told_that_other_zones_are_unknown() {
        let nobody = report(&[], false);
        let told = coverage(&nobody, &alone(), &Beyond::Unlisted);
        assert!(told.are_zones_unknown && !told.is_complete());
        let listed = Beyond::Listed(vec![row(1, 1)]);
        assert!(coverage(&nobody, &alone(), &listed).is_complete(), "there is one zone");
        assert!(coverage(&nobody, &alone(), &Beyond::OutOfScope).is_complete(), "no other zone is in scope");
    }
}
