//! Who is in a zone at one revision. The same type serves the registry, which makes revisions, and the peers, which follow.

use std::net::SocketAddr;

use super::id::{PeerId, PeerName, ZoneId};

/// One member of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Stable id; its place in the ring.
    pub id: PeerId,
    /// Unique among live peers.
    pub name: PeerName,
    /// Where it is dialed.
    pub address: SocketAddr,
    /// Rises with every start of the peer.
    pub incarnation: u64,
    /// Files in its index when it last said so. No part of what a revision tells apart: it changes without one.
    pub shared_files: u64,
    /// Bytes that it would keep for the network when it last said so; makes no revision either.
    pub room_bytes: u64,
    /// The summary that it announced last; makes no revision.
    pub summary: Stamp,
}

/// Which summary of its words a member announced. The announcement goes out before anybody can rely on a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// Rises with every summary of the member's present start; 0 before the first.
    pub version: u64,
    /// Its words are those of that version. False from the first change on, until a newer version is ready.
    pub is_settled: bool,
}

/// What a member says of itself that changes without a revision, or every new file in the zone would make a claimed
/// flood that is on its way fall back to a classic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// As in [`Member`].
    pub shared_files: u64,
    /// As in [`Member`].
    pub room_bytes: u64,
    /// As in [`Member`].
    pub summary: Stamp,
}

impl Member {
    /// What it said of itself last.
    pub fn load(&self) -> Load {
        Load { shared_files: self.shared_files, room_bytes: self.room_bytes, summary: self.summary }
    }

    /// The same member with another load.
    #[must_use]
    pub fn with_load(self, load: Load) -> Self {
        let Load { shared_files, room_bytes, summary } = load;
        Self { shared_files, room_bytes, summary, ..self }
    }
}

/// One change of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// Of which zone.
    pub zone: ZoneId,
    /// The revision it applies to.
    pub from_revision: u64,
    /// The revision after it; greater.
    pub to_revision: u64,
    /// Joined or changed.
    pub joined: Vec<Member>,
    /// Left.
    pub left: Vec<PeerId>,
}

/// A delta does not apply: the roster is of another zone or revision. The roster is unchanged; ask for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a change from revision {from} does not apply to revision {at}")]
pub struct Gap {
    /// Where the roster is.
    pub at: u64,
    /// What the delta applies to.
    pub from: u64,
}

/// Everyone in one zone at one revision, in order of their ids, which is the order of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    zone: ZoneId,
    revision: u64,
    members: Vec<Member>,
}

impl Roster {
    /// From members in any order; of two with one id the later incarnation stays.
    pub fn new(zone: ZoneId, revision: u64, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.id.cmp(&b.id).then(b.incarnation.cmp(&a.incarnation)));
        members.dedup_by_key(|member| member.id);
        Self { zone, revision, members }
    }

    /// Which zone.
    pub fn zone(&self) -> ZoneId {
        self.zone
    }

    /// Which revision.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// That revision is of a newer roster, of which this one is a former state. One of another start of the registry, which
    /// counts them in the upper 32 bits, is not: members come back to it one after the other.
    pub fn is_behind(&self, revision: u64) -> bool {
        self.revision < revision && self.revision >> 32 == revision >> 32
    }

    /// In order of their ids.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that id.
    pub fn get(&self, id: &PeerId) -> Option<&Member> {
        self.position(id).ok().map(|at| &self.members[at])
    }

    /// The member of that name, whatever its case.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name.as_str().eq_ignore_ascii_case(name))
    }

    /// Notes what a member says of itself now; the revision stays. Gives what it said before when that is different.
    pub fn set_load(&mut self, id: &PeerId, load: Load) -> Option<Load> {
        let at = self.position(id).ok()?;
        let member = &mut self.members[at];
        let before = member.load();
        *member = member.clone().with_load(load);
        (before != load).then_some(before)
    }

    /// Where the id is in the ring, or where it would be.
    pub fn position(&self, id: &PeerId) -> Result<usize, usize> {
        self.members.binary_search_by(|member| member.id.cmp(id))
    }

    /// Takes one change in.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), Gap> {
        if delta.zone != self.zone || delta.from_revision != self.revision {
            return Err(Gap { at: self.revision, from: delta.from_revision });
        }
        for id in &delta.left {
            if let Ok(at) = self.position(id) {
                self.members.remove(at);
            }
        }
        for member in &delta.joined {
            match self.position(&member.id) {
                Ok(at) => self.members[at] = member.clone(),
                Err(at) => self.members.insert(at, member.clone()),
            }
        }
        self.revision = delta.to_revision;
        Ok(())
    }
}
