//! Who gets which part of a claimed flood: intervals of the ring of peer ids, split so that every member of a zone is in
//! exactly one part.

use super::{
    id::{PeerId, ZoneId},
    roster::{Member, Roster},
};

/// Most parts that one peer splits its interval into, and so most branches that one peer opens at first. 64 parts reach
/// 4096 members in two hops, far above any zone.
pub const MAX_PARTS: usize = 64;

/// Members in the first wave of a query that wants some hits only; each further wave has twice as many, so that a rare word
/// costs a handful of waves and no message more than asking everyone at once.
pub const FIRST_WAVE: usize = 4;

/// An open interval of the ring, going round: everyone after the receiver and before `before`. When `before` is the
/// receiver's own id, the interval is the whole rest of the ring; when nobody lies between, the receiver is a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The first member that is no longer in the interval.
    pub before: PeerId,
}

/// How far a query goes from its receiver on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Inside the zone of its sender: by a claim, or to neighbors.
    #[default]
    Inside,
    /// An origin's own: its zone, and every other one.
    Everywhere,
    /// To a gateway of the sender's zone, which asks all other zones and does not search itself.
    OtherZones,
    /// To a gateway of that zone, from another one: it asks the whole zone as if the query began there.
    WholeZone(ZoneId),
    /// To a gateway of the sender's zone: it answers for that zone, the sender left out, since it knows better whom to ask, and
    /// asks all other zones.
    AllZones,
}

/// Peers that one branch of the flood answers for: the first that answers is responsible for itself and the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// In the order in which they are tried; never empty.
    pub members: Vec<PeerId>,
    /// The claim that whoever is tried gets; `None` in classic flood, where a part is one neighbor, and where the part
    /// leads to another zone, whose gateways take each other's place.
    pub claim: Option<Claim>,
    /// What whoever is tried is asked for.
    pub reach: Reach,
}

impl Part {
    /// It leads out of the zone, and there alone.
    pub fn is_beyond(&self) -> bool {
        !matches!(self.reach, Reach::Inside | Reach::AllZones)
    }
}

/// The members that a claim gives to its receiver `me`, in the order of the ring. `me` is never among them, whether it
/// is in the roster or not.
pub fn interval(roster: &Roster, me: PeerId, claim: Claim) -> Vec<PeerId> {
    members(roster, me, claim).map(|member| member.id).collect()
}

fn members(roster: &Roster, me: PeerId, claim: Claim) -> impl Iterator<Item = &Member> {
    let is_inside = move |id: &PeerId| match me.cmp(&claim.before) {
        std::cmp::Ordering::Equal => *id != me,
        std::cmp::Ordering::Less => me < *id && *id < claim.before,
        std::cmp::Ordering::Greater => me < *id || *id < claim.before,
    };
    let first = roster.position(&me).unwrap_or_else(|at| at);
    let (head, tail) = roster.members().split_at(first);
    tail.iter().chain(head).filter(move |member| is_inside(&member.id))
}

/// Members that a query may pass by, since they have nothing that answers it. A rule of its own, so that a claim knows
/// nothing of how that is found out.
pub trait RulesOut: std::fmt::Debug {
    /// It has nothing that answers the query, for sure.
    fn rules_out(&self, member: &Member) -> bool;

    /// Whoever is asked would rule out fewer: nobody is to be asked again whom this rules out.
    fn knows_best(&self) -> bool {
        false
    }
}

/// Rules nobody out.
#[derive(Debug, Clone, Copy)]
pub struct Everyone;

impl RulesOut for Everyone {
    fn rules_out(&self, _: &Member) -> bool {
        false
    }
}

/// What becomes of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// The parts, a wave after the other.
    pub waves: Vec<Vec<Part>>,
    /// Members that nobody is asked for.
    pub ruled_out: Vec<PeerId>,
}

/// Splits the interval that a claim gives to `me` into at most ceil(sqrt(n)) parts of nearly equal size, `n` being the
/// size of the roster: each part then has at most sqrt(n) members, and its first one reaches all the others directly, so
/// that n - 1 messages and two hops reach everyone. (With `n` the size of the interval, depth grows: 4 hops at 100.)
///
/// Members that are ruled out are in no part; the claim of a part goes over them, and whoever gets it rules on its own. Where the
/// rule knows better than theirs, each member is a part of its own and its claim ends before the next one, unless there are more
/// than [`MAX_PARTS`], which few of those whom it rules out lie between.
///
/// When it `is_widening` there are waves of 4, 8, 16 members and so on, each split so.
pub fn split(roster: &Roster, me: PeerId, claim: Claim, rule: &dyn RulesOut, is_widening: bool) -> Split {
    let (ruled_out, asked): (Vec<&Member>, Vec<&Member>) =
        members(roster, me, claim).partition(|member| rule.rules_out(member));
    let ids = |members: Vec<&Member>| -> Vec<PeerId> { members.iter().map(|member| member.id).collect() };
    let is_alone = rule.knows_best() && asked.len() <= MAX_PARTS;
    let (ruled_out, asked) = (ids(ruled_out), ids(asked));
    let most_parts = part_count(roster.members().len());
    let mut waves = Vec::new();
    let (mut begin, mut size) = (0, if is_widening { FIRST_WAVE } else { usize::MAX });
    while begin < asked.len() {
        let end = begin.saturating_add(size).min(asked.len());
        let before = asked.get(end).copied().unwrap_or(claim.before);
        let wave = &asked[begin..end];
        waves.push(if is_alone { leaves(roster, wave) } else { parts(wave, before, most_parts) });
        (begin, size) = (end, size.saturating_mul(2));
    }
    Split { waves, ruled_out }
}

fn parts(members: &[PeerId], before: PeerId, most: usize) -> Vec<Part> {
    let count = most.min(members.len());
    let cut = |part: usize| members.len() * part / count;
    (0..count)
        .map(|part| {
            let before = members.get(cut(part + 1)).copied().unwrap_or(before);
            let members = members[cut(part)..cut(part + 1)].to_vec();
            Part { members, claim: Some(Claim { before }), reach: Reach::Inside }
        })
        .collect()
}

/// Each for itself: nobody lies in its claim.
fn leaves(roster: &Roster, asked: &[PeerId]) -> Vec<Part> {
    let members = roster.members();
    let leaf = |id: &PeerId| {
        let next = roster.position(id).map_or(0, |at| (at + 1) % members.len());
        Part { members: vec![*id], claim: Some(Claim { before: members[next].id }), reach: Reach::Inside }
    };
    asked.iter().map(leaf).collect()
}

fn part_count(members: usize) -> usize {
    let root = members.isqrt();
    (root + usize::from(root * root < members)).clamp(1, MAX_PARTS)
}

#[cfg(test)]
mod tests;
