//! Whom a peer forwards a classic flood to: its neighbors in a few random rings over the roster. Every ring goes through
//! all members, so that the links are symmetric and connect the whole zone, and everyone computes the same.

use super::{id::PeerId, roster::Member};

#[cfg(test)]
mod tests;

/// Rings in a zone of ordinary size: 4 links a peer, which reached every peer in simulated floods of 100.
const RINGS: u8 = 2;

/// Rings in a zone with more than [`LARGE_ZONE`] members: 6 links a peer.
const RINGS_LARGE: u8 = 3;

/// Above this many members 4 links reached 98 % and 6 reached all, in the same simulation.
const LARGE_ZONE: usize = 100;

/// Most neighbors that a peer can have.
pub const MAX_NEIGHBORS: usize = 2 * RINGS_LARGE as usize;

/// The neighbors of one member, in order of their ids; none when it is not among the members or is alone.
pub fn neighbors(members: &[Member], me: &PeerId) -> Vec<PeerId> {
    let mut found = Vec::with_capacity(MAX_NEIGHBORS);
    for ring in rings(members) {
        if let Some(at) = ring.iter().position(|(_, id)| *id == me) {
            found.extend(beside(&ring, at));
        }
    }
    distinct(found, me)
}

/// The neighbors of every member, in the order of the members.
pub fn all_neighbors(members: &[Member]) -> Vec<(PeerId, Vec<PeerId>)> {
    let mut all: Vec<(PeerId, Vec<PeerId>)> =
        members.iter().map(|member| (member.id, Vec::with_capacity(MAX_NEIGHBORS))).collect();
    let mut by_id: Vec<usize> = (0..all.len()).collect();
    by_id.sort_unstable_by_key(|at| all[*at].0);
    for ring in rings(members) {
        for (at, (_, id)) in ring.iter().enumerate() {
            if let Ok(place) = by_id.binary_search_by_key(id, |at| &all[*at].0) {
                let place = by_id[place];
                all[place].1.extend(beside(&ring, at));
            }
        }
    }
    for (id, found) in &mut all {
        *found = distinct(std::mem::take(found), id);
    }
    all
}

type Ring<'a> = Vec<([u8; 32], &'a PeerId)>;

/// Ring k goes through all members in the order of BLAKE3(k || id).
fn rings(members: &[Member]) -> impl Iterator<Item = Ring<'_>> {
    let count = if members.len() > LARGE_ZONE { RINGS_LARGE } else { RINGS };
    (0..count).map(move |number| {
        let mut ring: Ring<'_> =
            members.iter().map(|member| (place(number, &member.id), &member.id)).collect();
        ring.sort_unstable();
        ring
    })
}

fn place(ring: u8, id: &PeerId) -> [u8; 32] {
    let mut input = [ring; 1 + PeerId::SIZE];
    input[1..].copy_from_slice(id.as_bytes());
    *blake3::hash(&input).as_bytes()
}

fn beside(ring: &Ring<'_>, at: usize) -> [PeerId; 2] {
    let size = ring.len();
    [*ring[(at + size - 1) % size].1, *ring[(at + 1) % size].1]
}

fn distinct(mut found: Vec<PeerId>, me: &PeerId) -> Vec<PeerId> {
    found.retain(|id| id != me);
    found.sort_unstable();
    found.dedup();
    found
}
