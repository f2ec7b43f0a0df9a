//! Keys that were let in, each with the one name that is pinned to it.

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, SystemTime},
};

use super::{Issued, NotAdmitted};
use crate::protocol::{
    id::{PeerId, PeerName, ZoneId},
    trust::{PublicKey, invite::TokenHash},
};

/// Keys that are known at once, those that were shut out among them; about 30 MB. When they are that many, those whose
/// certificates ran out long ago are forgotten, and have to be invited again.
pub const MAX_MEMBERS: usize = 100_000;
/// So long after its certificate ran out a member may be forgotten. A guess: longer than any holidays.
const FORGET_AFTER: Duration = Duration::from_secs(180 * 24 * 3600);
/// How far the clocks of peers may be behind: so long a certificate that ran out may still be taken for good somewhere.
const CLOCK_MARGIN: Duration = Duration::from_secs(24 * 3600);
/// Fewest digits of an id that name a member.
const MIN_PREFIX_DIGITS: usize = 4;

/// One peer that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMember {
    /// Its key; the id is the key's hash.
    pub key: PublicKey,
    /// Pinned to it, unless it was shut out and another key has the name now.
    pub name: PeerName,
    /// The only zone that it may be in.
    pub zone: Option<ZoneId>,
    /// When it was let in first.
    pub enrolled: SystemTime,
    /// Of its newest certificate; it lasts as long as the longest that it was given.
    pub issued: Issued,
    /// It was shut out.
    pub is_revoked: bool,
    /// By which invite it was let in last.
    pub token: TokenHash,
}

impl NetworkMember {
    /// Its id.
    pub fn id(&self) -> PeerId {
        self.key.peer_id()
    }

    /// Some peer may still take a certificate of it for good.
    pub(super) fn is_shown_at(&self, now: SystemTime) -> bool {
        self.issued.not_after.checked_add(CLOCK_MARGIN).is_none_or(|until| now < until)
    }
}

/// Why no member is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No name and no id is or begins like that.
    #[error("no member has this name, nor an id that begins like this (with 4 digits at least)")]
    Nobody,
    /// Several ids begin like that.
    #[error("several members have ids that begin like this; give more digits")]
    Several,
}

/// Who was let in, by id, by key of the name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    by_id: BTreeMap<PeerId, NetworkMember>,
    /// Names in lower case, as `Ana` and `ana` are one name.
    by_name: BTreeMap<String, PeerId>,
}

impl Members {
    pub(super) fn restore(members: Vec<NetworkMember>) -> Option<Self> {
        let mut restored = Self::default();
        if members.len() > MAX_MEMBERS {
            return None;
        }
        for member in members {
            let id = member.id();
            let name = name_key(&member.name);
            let owner = restored.by_name.get(&name).and_then(|owner| restored.by_id.get(owner));
            match owner {
                // Two keys that may both come have one name.
                Some(owner) if !owner.is_revoked && !member.is_revoked => return None,
                Some(_) if member.is_revoked => {}
                _ => {
                    restored.by_name.insert(name, id);
                }
            }
            if restored.by_id.insert(id, member).is_some() {
                return None;
            }
        }
        Some(restored)
    }

    /// Who has that id.
    pub fn get(&self, peer: &PeerId) -> Option<&NetworkMember> {
        self.by_id.get(peer)
    }

    /// Everyone, in order of ids.
    pub fn iter(&self) -> impl Iterator<Item = &NetworkMember> {
        self.by_id.values()
    }

    /// Everyone in order of names and ids, after that place.
    pub fn page(&self, after: Option<&(String, PeerId)>, limit: usize) -> (Vec<&NetworkMember>, bool) {
        // Those that lost their names to others are in no order yet.
        let mut members: BTreeMap<(String, PeerId), &NetworkMember> = BTreeMap::new();
        members.extend(self.iter().map(|member| (place(member), member)));
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = members.range::<(String, PeerId), _>((after, Bound::Unbounded));
        let page = rest.by_ref().take(limit).map(|(_, member)| *member).collect();
        (page, rest.next().is_some())
    }

    /// The member of that name, or of the only id that begins with those digits.
    ///
    /// # Errors
    /// As [`NotFound`] says.
    pub fn find(&self, text: &str) -> Result<&NetworkMember, NotFound> {
        if let Some(id) = self.by_name.get(&text.to_ascii_lowercase()) {
            return self.by_id.get(id).ok_or(NotFound::Nobody);
        }
        let is_prefix = text.len() >= MIN_PREFIX_DIGITS
            && text.len() <= 64
            && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_prefix {
            return Err(NotFound::Nobody);
        }
        let digits = text.to_ascii_lowercase();
        let mut found = self.by_id.values().filter(|member| member.id().to_string().starts_with(&digits));
        match (found.next(), found.next()) {
            (None, _) => Err(NotFound::Nobody),
            (Some(member), None) => Ok(member),
            (Some(_), Some(_)) => Err(NotFound::Several),
        }
    }

    /// Members that are not shut out and hold certificates, good now, of authorities before that one.
    pub fn on_older(&self, authority: u32, now: SystemTime) -> usize {
        let is_left = |member: &&NetworkMember| {
            !member.is_revoked && member.issued.authority < authority && now < member.issued.not_after
        };
        self.by_id.values().filter(is_left).count()
    }

    pub(super) fn enroll(
        &mut self,
        key: PublicKey,
        name: &PeerName,
        token: TokenHash,
        zone: Option<ZoneId>,
        issued: Issued,
        now: SystemTime,
    ) -> Result<(), NotAdmitted> {
        let id = key.peer_id();
        if self.by_id.get(&id).is_some_and(|member| member.is_revoked) {
            return Err(NotAdmitted::Revoked);
        }
        if self.owner(name).is_some_and(|owner| owner.id() != id && !owner.is_revoked) {
            return Err(NotAdmitted::NameTaken(name.clone()));
        }
        if !self.by_id.contains_key(&id) && self.by_id.len() >= MAX_MEMBERS && !self.forget(now) {
            return Err(NotAdmitted::MembersFull);
        }
        let before = self.by_id.get(&id);
        let enrolled = before.map_or(now, |before| before.enrolled);
        let issued = before.map_or(issued, |before| issued.beside(before.issued));
        if let Some(before) = before.map(|before| name_key(&before.name)) {
            self.by_name.remove(&before);
        }
        self.by_name.insert(name_key(name), id);
        let name = name.clone();
        self.by_id.insert(id, NetworkMember { key, name, zone, enrolled, issued, is_revoked: false, token });
        Ok(())
    }

    pub(super) fn renew(&mut self, peer: &PeerId, issued: Issued) -> Result<(), NotAdmitted> {
        let member = self.standing(peer)?;
        member.issued = issued.beside(member.issued);
        Ok(())
    }

    pub(super) fn pin_name(&mut self, peer: &PeerId, name: &PeerName) -> Result<bool, NotAdmitted> {
        let taken = self.by_name.get(&name_key(name)).is_some_and(|owner| owner != peer);
        let member = self.standing(peer)?;
        if member.name == *name {
            return Ok(false);
        }
        if taken {
            return Err(NotAdmitted::NameTaken(name.clone()));
        }
        let before = std::mem::replace(&mut member.name, name.clone());
        self.by_name.remove(&name_key(&before));
        self.by_name.insert(name_key(name), *peer);
        Ok(true)
    }

    /// Its name stays with it until another key enrolls under it.
    pub(super) fn revoke(&mut self, peer: &PeerId) {
        if let Some(member) = self.by_id.get_mut(peer) {
            member.is_revoked = true;
        }
    }

    fn standing(&mut self, peer: &PeerId) -> Result<&mut NetworkMember, NotAdmitted> {
        let member = self.by_id.get_mut(peer).ok_or(NotAdmitted::UnknownKey)?;
        if member.is_revoked { Err(NotAdmitted::Revoked) } else { Ok(member) }
    }

    fn owner(&self, name: &PeerName) -> Option<&NetworkMember> {
        self.by_name.get(&name_key(name)).and_then(|owner| self.by_id.get(owner))
    }

    /// Makes room. Those that were shut out are remembered for good: they would be let in again otherwise.
    fn forget(&mut self, now: SystemTime) -> bool {
        let is_stale = |member: &NetworkMember| {
            let until = member.issued.not_after.checked_add(FORGET_AFTER);
            !member.is_revoked && until.is_some_and(|until| until <= now)
        };
        self.by_id.retain(|_, member| !is_stale(member));
        self.by_name.retain(|_, id| self.by_id.contains_key(id));
        self.by_id.len() < MAX_MEMBERS
    }
}

/// Where a member is in the list of all.
pub fn place(member: &NetworkMember) -> (String, PeerId) {
    (name_key(&member.name), member.id())
}

/// What names are compared by.
fn name_key(name: &PeerName) -> String {
    name.as_str().to_ascii_lowercase()
}
