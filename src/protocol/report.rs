//! What became of a query behind one branch: the members of the own zone as sets, so that no peer is counted twice
//! whichever way its answer came; the peers of other zones as counts.
//!
//! Invariant: a peer is told as answered only along the way that its hits took.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    gateway::MAX_ZONES,
    id::{PeerId, ZoneId},
    roster::Roster,
};

/// Most peers in each set of a report; more are left out and the report is marked truncated.
pub const MAX_REPORTED: usize = 16_384;

/// What became of a query in one zone. No peer is in two of the counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZoneReport {
    /// Its members; 0 when none of its gateways was heard.
    pub listed: u32,
    /// Those whose index was searched.
    pub answered: u32,
    /// Those that were not asked, since their summaries say that they have nothing.
    pub ruled_out: u32,
    /// Those that were tried and did not answer.
    pub unreachable: u32,
}

impl ZoneReport {
    /// On a zone of so many members whose filter says that none of them has anything.
    pub fn all_ruled_out(members: u32) -> Self {
        Self { listed: members, ruled_out: members, ..Self::default() }
    }

    /// Members that answered, by a search or ahead of it by a summary.
    pub fn heard(&self) -> u32 {
        self.answered.saturating_add(self.ruled_out)
    }

    /// Somebody of the zone answered. Whoever reports on a zone has searched itself.
    pub fn is_heard(&self) -> bool {
        self.heard() > 0
    }

    /// No count says more than there are members.
    pub fn is_sound(&self) -> bool {
        self.heard().saturating_add(self.unreachable) <= self.listed
    }

    /// Which of two reports on one zone tells more.
    fn worth(&self) -> (u32, u32) {
        (self.heard(), self.listed)
    }
}

/// What became of a branch. Peers are told by [`PeerId::short`]; a peer is in `answered` only if its hits went ahead of
/// this report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Peers whose index was searched.
    pub answered: BTreeSet<u64>,
    /// Peers that were tried and did not answer; none that another branch has as answered.
    pub unreachable: BTreeSet<u64>,
    /// Peers that were not asked, since their summaries say that they have nothing; none that answered or was tried.
    pub ruled_out: BTreeSet<u64>,
    /// Those of them for whom a gateway of this zone vouches: it looked again at its end. Not told onward, since only an origin
    /// hands its zone over.
    pub vouched_for: BTreeSet<u64>,
    /// Other zones, at most [`MAX_ZONES`]; one that was not heard has no counts.
    pub zones: BTreeMap<ZoneId, ZoneReport>,
    /// A gateway told which other zones there are: `zones` has them all. Not told onward, since only a gateway is asked.
    pub is_crossed: bool,
    /// Copies that a query cache dropped.
    pub duplicates: u32,
    /// Search messages sent in this branch, those that found nobody included.
    pub messages: u32,
    /// Something was left out: a bound or the deadline was reached.
    pub truncated: bool,
}

impl Report {
    /// The whole answer to a duplicate.
    pub fn duplicate() -> Self {
        Self { duplicates: 1, ..Self::default() }
    }

    /// A peer that one branch could not reach, or did not ask, and another heard, has answered.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.unreachable = &self.unreachable - &self.answered;
        self.ruled_out = &(&self.ruled_out - &self.answered) - &self.unreachable;
        self
    }

    /// Takes in what another branch, or another look at the same zone, tells.
    pub fn merge(&mut self, other: &Report) {
        self.merge_members(other);
        self.merge_zones(&other.zones);
        self.is_crossed |= other.is_crossed;
    }

    /// Takes in what a branch inside the zone tells; it has no say on other zones.
    pub fn merge_members(&mut self, other: &Report) {
        for (own, others) in [
            (&mut self.answered, &other.answered),
            (&mut self.unreachable, &other.unreachable),
            (&mut self.ruled_out, &other.ruled_out),
        ] {
            for short in others {
                if own.len() < MAX_REPORTED {
                    own.insert(*short);
                } else if !own.contains(short) {
                    self.truncated = true;
                }
            }
        }
        self.merge_counters(other);
    }

    /// Takes in what a gateway of the own zone tells of all other zones; it has no say on the members of this one.
    pub fn merge_crossing(&mut self, other: &Report) {
        self.merge_other_zones(other);
        self.merge_counters(other);
    }

    /// The same, when what it counts was taken in already.
    pub fn merge_other_zones(&mut self, other: &Report) {
        self.merge_zones(&other.zones);
        self.is_crossed = true;
    }

    /// Takes in what a gateway of that zone tells of it; it has no say on anything else. False when it tells nothing.
    pub fn merge_zone(&mut self, zone: ZoneId, other: &Report) -> bool {
        self.merge_counters(other);
        let told = other.zones.get(&zone).filter(|told| told.is_heard());
        self.merge_zones(told.map(|told| (&zone, told)));
        told.is_some()
    }

    /// What was found out about the own zone, whose members `roster` lists beside `me`. A branch may report whom it likes:
    /// only members count.
    pub fn own_zone(&self, roster: Option<&Roster>, me: PeerId) -> ZoneReport {
        let listed = roster.map_or(&[][..], Roster::members).iter().map(|member| member.id.short());
        let members: BTreeSet<u64> = listed.chain([me.short()]).collect();
        let count = |set: usize| u32::try_from(set).unwrap_or(u32::MAX);
        let of = |set: &BTreeSet<u64>| count(members.intersection(set).count());
        let settled = self.clone().settled();
        ZoneReport {
            listed: count(members.len()),
            answered: of(&settled.answered),
            ruled_out: of(&settled.ruled_out),
            unreachable: of(&settled.unreachable),
        }
    }

    /// As it goes to another zone: the own one as counts.
    #[must_use]
    pub fn as_zone(&self, roster: &Roster, me: PeerId) -> Self {
        let zones = BTreeMap::from([(roster.zone(), self.own_zone(Some(roster), me))]);
        let Self { duplicates, messages, truncated, .. } = *self;
        Self { zones, duplicates, messages, truncated, ..Self::default() }
    }

    fn merge_zones<'a>(&mut self, others: impl IntoIterator<Item = (&'a ZoneId, &'a ZoneReport)>) {
        for (zone, told) in others {
            if let Some(known) = self.zones.get_mut(zone) {
                if told.worth() > known.worth() {
                    *known = *told;
                }
            } else if self.zones.len() < MAX_ZONES {
                self.zones.insert(*zone, *told);
            } else {
                self.truncated = true;
            }
        }
    }

    fn merge_counters(&mut self, other: &Report) {
        self.duplicates = self.duplicates.saturating_add(other.duplicates);
        self.messages = self.messages.saturating_add(other.messages);
        self.truncated |= other.truncated;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn zone(number: u32) -> ZoneId {
        ZoneId::new(number).expect("not 0")
    }

    fn heard(listed: u32, answered: u32) -> ZoneReport {
        ZoneReport { listed, answered, ..ZoneReport::default() }
    }

    fn on(zones: &[(u32, ZoneReport)]) -> Report {
        let zones = zones.iter().map(|(number, told)| (zone(*number), *told)).collect();
        Report { zones, messages: 1, ..Report::default() }
    }

    #[test]
    fn of_two_reports_on_one_zone_the_one_that_heard_more_stays() {
        let mut report = on(&[(1, heard(8, 5)), (2, heard(4, 4))]);
        report.merge_crossing(&on(&[(1, heard(8, 7)), (2, ZoneReport::default()), (3, heard(2, 1))]));
        assert_eq!(report.zones, on(&[(1, heard(8, 7)), (2, heard(4, 4)), (3, heard(2, 1))]).zones);
        assert!(report.is_crossed && report.messages == 2);
    }

    #[test]
    fn a_gateway_has_a_say_on_its_own_zone_only() {
        let mut report = on(&[(1, ZoneReport::default()), (2, ZoneReport::default())]);
        let mut liar = on(&[(1, heard(8, 8)), (2, heard(9, 9))]);
        liar.answered.insert(7);
        assert!(report.merge_zone(zone(1), &liar));
        assert_eq!(report.zones, on(&[(1, heard(8, 8)), (2, ZoneReport::default())]).zones);
        assert!(report.answered.is_empty());
        assert!(!report.merge_zone(zone(2), &Report::duplicate()), "a duplicate tells nothing of the zone");
        report.merge_members(&on(&[(2, heard(9, 9))]));
        assert!(!report.zones[&zone(2)].is_heard(), "a member tells nothing of other zones");
    }

    proptest! {
        #[test]
        fn a_zone_is_told_soundly_whatever_its_branches_said(
            answered in proptest::collection::btree_set(0u64..20, 0..20),
            unreachable in proptest::collection::btree_set(0u64..20, 0..20),
            ruled_out in proptest::collection::btree_set(0u64..20, 0..20),
            members in 1u8..12,
        ) {
            let id = |number: u8| {
                let mut bytes = [0; 32];
                bytes[7] = number;
                PeerId::from_bytes(bytes)
            };
            let member = |number| crate::protocol::roster::Member {
                id: id(number),
                name: crate::protocol::id::PeerName::from_any("peer"),
                address: ([127, 0, 0, 1], 7001).into(),
                incarnation: 1,
                shared_files: 0,
                room_bytes: 0,
                summary: crate::protocol::roster::Stamp::default(),
            };
            let roster = Roster::new(zone(3), 1, (0..members).map(member).collect());
            let report = Report { answered, unreachable, ruled_out, ..Report::default() };
            let told = report.as_zone(&roster, id(0));
            prop_assert_eq!(told.zones.len(), 1);
            let told = told.zones[&zone(3)];
            prop_assert!(told.is_sound() && told.listed == u32::from(members));
        }
    }
}
