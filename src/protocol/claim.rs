//! Who gets which part of a claimed flood: intervals of the ring of peer ids, split so that every member of a zone is in
//! exactly one part.

use super::{id::PeerId, roster::Roster};

/// Most parts that one peer splits its interval into, and so most branches that one peer opens at first. 64 parts reach
/// 4096 members in two hops, far above any zone.
pub const MAX_PARTS: usize = 64;

/// An open interval of the ring, going round: everyone after the receiver and before `before`. When `before` is the
/// receiver's own id, the interval is the whole rest of the ring; when nobody lies between, the receiver is a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The first member that is no longer in the interval.
    pub before: PeerId,
}

/// Peers that one branch of the flood answers for: the first that answers is responsible for itself and the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// In the order in which they are tried; never empty.
    pub members: Vec<PeerId>,
    /// The claim that whoever is tried gets; `None` in classic flood, where a part is one neighbor.
    pub claim: Option<Claim>,
}

/// The members that a claim gives to its receiver `me`, in the order of the ring. `me` is never among them, whether it
/// is in the roster or not.
pub fn interval(roster: &Roster, me: PeerId, claim: Claim) -> Vec<PeerId> {
    let is_inside = |id: &PeerId| match me.cmp(&claim.before) {
        std::cmp::Ordering::Equal => *id != me,
        std::cmp::Ordering::Less => me < *id && *id < claim.before,
        std::cmp::Ordering::Greater => me < *id || *id < claim.before,
    };
    let first = roster.position(&me).unwrap_or_else(|at| at);
    let (head, tail) = roster.members().split_at(first);
    tail.iter().chain(head).map(|member| member.id).filter(is_inside).collect()
}

/// Splits the interval that a claim gives to `me` into at most ceil(sqrt(n)) parts of nearly equal size, `n` being the
/// size of the roster: each part then has at most sqrt(n) members, and its first one reaches all the others directly, so
/// that n - 1 messages and two hops reach everyone. (With `n` the size of the interval, depth grows: 4 hops at 100.)
pub fn split(roster: &Roster, me: PeerId, claim: Claim) -> Vec<Part> {
    let members = interval(roster, me, claim);
    let parts = part_count(roster.members().len()).min(members.len());
    let cut = |part: usize| members.len() * part / parts;
    (0..parts)
        .map(|part| {
            let before = members.get(cut(part + 1)).copied().unwrap_or(claim.before);
            Part { members: members[cut(part)..cut(part + 1)].to_vec(), claim: Some(Claim { before }) }
        })
        .collect()
}

fn part_count(members: usize) -> usize {
    let root = members.isqrt();
    (root + usize::from(root * root < members)).clamp(1, MAX_PARTS)
}

#[cfg(test)]
mod tests;
