//! Which peers keep a content for the network, and what each holder does about it.
//!
//! Invariant: a holder gives its copy up only when as many better-scoring holders as are wanted have just told that they
//! have theirs. The best-scoring holder therefore never does, whatever the others know, and who repairs too much is
//! undone by the same rule.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use super::id::{ContentHash, PeerId};

/// Most replicas of one content that may be wanted.
pub const MAX_REPLICAS: usize = 16;
/// Replicas when nothing is said.
pub const DEFAULT_REPLICAS: usize = 2;

/// Rendezvous score of a peer for a content: everyone computes the same, without asking. First 8 bytes of
/// BLAKE3(content hash, peer id); the higher, the better.
pub fn score(content: &ContentHash, peer: &PeerId) -> u64 {
    let hash = blake3::Hasher::new().update(content.as_bytes()).update(peer.as_bytes()).finalize();
    let (head, _) = hash.as_bytes().split_first_chunk::<8>().expect("32 bytes hold 8");
    u64::from_be_bytes(*head)
}

/// Sorts by score, the best first; equal scores by id.
pub fn rank<T>(content: &ContentHash, peers: &mut [T], id: impl Fn(&T) -> PeerId) {
    peers.sort_by_cached_key(|peer| (Reverse(score(content, &id(peer))), id(peer)));
}

/// Another member of the zone, as a holder sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// Who.
    pub id: PeerId,
    /// What it just told of the content.
    pub told: Told,
    /// The roster says that it has room for it.
    pub has_room: bool,
}

/// What a member told of a content in this very round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It keeps it.
    Kept,
    /// It does not.
    Absent,
    /// Nothing: it was not reached.
    Silent,
}

/// What is wanted of one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub content: ContentHash,
    /// Replicas in the zone.
    pub replicas: usize,
    /// How long a missing one is waited for.
    pub grace: Duration,
}

/// What a holder does about its replica now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: enough are there, or it is for a better-scoring holder to repair.
    Rest,
    /// Too few are there: look again when the grace is over.
    WaitUntil(Instant),
    /// Too few are there for longer than the grace: ask these, the best first, until `missing` have taken it.
    Repair {
        /// Replicas to make.
        missing: usize,
        /// Whom to ask.
        candidates: Vec<PeerId>,
    },
    /// Enough better-scoring holders have it: give this copy up.
    Drop,
}

/// What the holder `me` does, when too few are seen since `short_since` (`None`: not before now).
pub fn decide(
    wanted: &Wanted,
    me: PeerId,
    others: &[Other],
    short_since: Option<Instant>,
    now: Instant,
) -> Decision {
    let content = &wanted.content;
    let rank_of = |id: PeerId| (Reverse(score(content, &id)), id);
    let is_better = |other: &&Other| rank_of(other.id) < rank_of(me);
    let holders = || others.iter().filter(|other| other.told == Told::Kept);
    let (live, better) = (1 + holders().count(), holders().filter(is_better).count());
    if better >= wanted.replicas {
        return Decision::Drop;
    }
    if live >= wanted.replicas || better > 0 {
        return Decision::Rest;
    }
    let due = short_since.unwrap_or(now) + wanted.grace;
    if now < due {
        return Decision::WaitUntil(due);
    }
    Decision::Repair { missing: wanted.replicas - live, candidates: candidates(content, others) }
}

/// Whom to ask to keep a content: those who told that they lack it and have room, the best first.
pub fn candidates(content: &ContentHash, others: &[Other]) -> Vec<PeerId> {
    let free = others.iter().filter(|other| other.told == Told::Absent && other.has_room);
    let mut free: Vec<PeerId> = free.map(|other| other.id).collect();
    rank(content, &mut free, |id| *id);
    free
}

/// Too few live holders are seen: what starts the grace, and what its end is looked up by.
pub fn is_short(wanted: &Wanted, others: &[Other]) -> bool {
    1 + others.iter().filter(|other| other.told == Told::Kept).count() < wanted.replicas
}

#[cfg(test)]
mod tests;
