//! How a query leaves its zone: by one message to a gateway of the own zone, and from there by one to a gateway of each
//! other zone that may have a hit. The gateways of a zone are one part, so that the second takes the place of the first when
//! it is silent or breaks.
//!
//! Invariant: whoever knows of other zones tells of every one of them, reached or not; one that is passed by is told as ruled
//! out.

use std::collections::BTreeMap;

use super::{
    claim::{Everyone, FIRST_WAVE, Part, Reach, RulesOut},
    gateway::Gateways,
    id::{PeerId, QueryId, ZoneId},
    report::ZoneReport,
    roster::Member,
};

/// Most members of its own zone that an origin leaves to the gateway to which the query goes anyway. Few are mostly errors of
/// their summaries, many are mostly hits (`docs/adr/0020-gateways-answer-for-their-own-zone.md`).
pub const MAX_HANDED_OVER: usize = 32;

/// Zones that one gateway asks at once: as many channels as that are open at most for queries to other zones. The next ones
/// follow as waves do.
pub const MAX_ZONES_AT_ONCE: usize = 128;

/// Zones that a query may pass by, since nobody there has anything that answers it.
pub trait RulesOutZones: std::fmt::Debug {
    /// The number of the members of that zone, when none of them has anything that answers the query, for sure.
    fn ruled_out(&self, zone: ZoneId) -> Option<u32>;
}

impl RulesOutZones for Everyone {
    fn ruled_out(&self, _: ZoneId) -> Option<u32> {
        None
    }
}

/// What a query does outside its zone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Crossing {
    /// Whom to ask, a wave after the other.
    pub waves: Vec<Vec<Part>>,
    /// At a gateway: all other zones, as they stand before one of them is asked.
    pub zones: Option<BTreeMap<ZoneId, ZoneReport>>,
}

/// From `me` in that zone. A gateway asks the other zones that the rule does not rule out, in waves of 4, 8, 16 and so on
/// when some hits are enough; whoever is none asks a gateway of its own zone. With no gateway known there is nobody to ask.
///
/// Which gateway and which zone comes first changes with the query, so that the older gateways do not carry all.
pub fn cross(
    me: PeerId,
    zone: ZoneId,
    gateways: &Gateways,
    rule: &dyn RulesOutZones,
    id: QueryId,
    is_widening: bool,
) -> Crossing {
    if !is_gateway(me, zone, gateways) {
        let part = to_gateways(zone, gateways, id, Reach::OtherZones);
        return Crossing { waves: part.map(|part| vec![part]).into_iter().collect(), zones: None };
    }
    let others = gateways.zones().filter(|other| *other != zone);
    let known: BTreeMap<ZoneId, ZoneReport> = others
        .map(|zone| (zone, rule.ruled_out(zone).map(ZoneReport::all_ruled_out).unwrap_or_default()))
        .collect();
    let unruled = known.iter().filter(|(_, told)| !told.is_heard());
    let mut zones: Vec<ZoneId> = unruled.map(|(zone, _)| *zone).collect();
    let [.., high, low] = *id.as_bytes();
    let first = usize::from(u16::from_be_bytes([high, low])) % zones.len().max(1);
    zones.rotate_left(first);
    let mut waves = Vec::new();
    let (mut left, mut size) = (zones.as_slice(), if is_widening { FIRST_WAVE } else { MAX_ZONES_AT_ONCE });
    while !left.is_empty() {
        let (wave, rest) = left.split_at(size.min(left.len()));
        let part = |zone: &ZoneId| Part {
            members: in_turn(gateways.of(*zone), id),
            claim: None,
            reach: Reach::WholeZone(*zone),
        };
        waves.push(wave.iter().map(part).collect());
        (left, size) = (rest, (size * 2).min(MAX_ZONES_AT_ONCE));
    }
    Crossing { waves, zones: Some(known) }
}

/// The gateways of the own zone as one part.
pub fn to_gateways(zone: ZoneId, gateways: &Gateways, id: QueryId, reach: Reach) -> Option<Part> {
    let members = in_turn(gateways.of(zone), id);
    (!members.is_empty()).then_some(Part { members, claim: None, reach })
}

/// A rule at a gateway that answers for its zone: whoever asks it knows what it has itself.
#[derive(Debug)]
pub struct AllBut<'a> {
    /// Who asks.
    pub asker: PeerId,
    /// Of the others.
    pub rule: &'a dyn RulesOut,
}

impl RulesOut for AllBut<'_> {
    fn rules_out(&self, member: &Member) -> bool {
        member.id == self.asker || self.rule.rules_out(member)
    }

    /// Whoever is asked on a claim would ask the asker again.
    fn knows_best(&self) -> bool {
        true
    }
}

/// Queries of other zones enter this one through `me`, and those of this one leave.
pub fn is_gateway(me: PeerId, zone: ZoneId, gateways: &Gateways) -> bool {
    gateways.of(zone).iter().any(|gateway| gateway.id == me)
}

fn in_turn(gateways: &[Member], id: QueryId) -> Vec<PeerId> {
    let mut members: Vec<PeerId> = gateways.iter().map(|gateway| gateway.id).collect();
    let first = usize::from(id.as_bytes()[0]) % members.len().max(1);
    members.rotate_left(first);
    members
}

#[cfg(test)]
mod tests;
