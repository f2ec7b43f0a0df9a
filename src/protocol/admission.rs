//! Who may enter a closed network, as its registry keeps it: invites by the hashes of their tokens, members by their keys,
//! names pinned to keys, and who was shut out.
//!
//! Invariant: a token lets in no more keys than it was made for and none after its time; a name belongs to one key, whether
//! or not its peer is there; a key that was shut out is never certified again.

mod members;
#[cfg(test)]
mod tests;
mod tokens;

use std::time::{Duration, SystemTime};

pub use members::{MAX_MEMBERS, Members, NetworkMember, NotFound, place};
pub use tokens::{Grant, MAX_GRANTS, Tokens};

use super::{
    id::{PeerId, PeerName, ZoneId},
    trust::{
        DenyList, MAX_DENIED, PublicKey,
        invite::{Token, TokenHash},
    },
};

/// Shortest life of an invite.
pub const MIN_INVITE_LIFETIME: Duration = Duration::from_secs(60);
/// Longest life of an invite.
pub const MAX_INVITE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// Most peers that one invite lets in.
pub const MAX_INVITE_USES: u32 = 10_000;

/// Why somebody is not let in, or something not done. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// No invite has this token, or its time is over. Which of the two is not told.
    #[error("the invite is not known here, or has expired; ask for a new one")]
    UnknownToken,
    /// It let in as many as it was made for.
    #[error("the invite is used up; ask for a new one")]
    UsedUp,
    /// The key was shut out.
    #[error(
        "this peer was shut out of the network; it comes back only as a new peer, with a new key and a new invite"
    )]
    Revoked,
    /// The key never enrolled, or so long ago that it was forgotten.
    #[error("this peer is not a member of the network; join with an invite")]
    UnknownKey,
    /// The name is pinned to another key.
    #[error(
        "the name {0} belongs to another member of the network, whether it is there or not; set FLOODPLAIN_NAME to another one, or have that member shut out"
    )]
    NameTaken(PeerName),
    /// No more members fit.
    #[error("the network is full: at most {MAX_MEMBERS} peers can be members")]
    MembersFull,
    /// No more invites fit.
    #[error("there are {MAX_GRANTS} invites that are still good; wait until some have expired")]
    InvitesFull,
    /// No more fit into the list that every peer holds.
    #[error(
        "{MAX_DENIED} peers whose certificates are still good were shut out; wait a day, or change the authority"
    )]
    DeniedFull,
    /// An invite that nobody could use, or that lasts too long.
    #[error("an invite lasts 1 minute to 365 days and lets in 1 to {MAX_INVITE_USES} peers")]
    BadInvite,
}

/// Everything that a registry remembers of who may enter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admissions {
    tokens: Tokens,
    members: Members,
    denied: DenyList,
    /// Rises whenever what is kept on disk would differ.
    generation: u64,
}

impl Admissions {
    /// As they were kept. `None` when they contradict themselves.
    pub fn restore(tokens: Vec<Grant>, members: Vec<NetworkMember>, denied: DenyList) -> Option<Self> {
        let (tokens, members) = (Tokens::restore(tokens)?, Members::restore(members)?);
        let is_revoked = |peer: &PeerId| members.get(peer).is_some_and(|member| member.is_revoked);
        let is_sound = denied.peers().iter().all(is_revoked);
        is_sound.then_some(Self { tokens, members, denied, generation: 0 })
    }

    /// Makes an invite good.
    ///
    /// # Errors
    /// [`NotAdmitted::BadInvite`] and [`NotAdmitted::InvitesFull`].
    pub fn issue(
        &mut self,
        token: TokenHash,
        lifetime: Duration,
        uses: u32,
        zone: Option<ZoneId>,
        now: SystemTime,
    ) -> Result<SystemTime, NotAdmitted> {
        let expires = self.tokens.issue(token, lifetime, uses, zone, now)?;
        self.generation += 1;
        Ok(expires)
    }

    /// The token is of an invite that has not expired: worth the check of a signature.
    pub fn is_known(&self, token: &Token, now: SystemTime) -> bool {
        self.tokens.get(&token.hash(), now).is_some()
    }

    /// The invite lets in more peers until then.
    pub fn good_until(&self, token: &Token, now: SystemTime) -> Option<SystemTime> {
        self.tokens.get(&token.hash(), now).filter(|grant| grant.uses_left > 0).map(|grant| grant.expires)
    }

    /// Lets a key in under a name. Its certificate, by that authority, is good until `not_after`. The same key with the token
    /// that it was let in by last uses that token no further. A key that is a member already may take another name, which
    /// frees its former one. The name of a key that was shut out is free for the key that enrolls under it next.
    ///
    /// # Errors
    /// As [`NotAdmitted`] says; nothing changed.
    pub fn enroll(
        &mut self,
        token: &Token,
        key: PublicKey,
        name: &PeerName,
        issued: Issued,
        now: SystemTime,
    ) -> Result<(), NotAdmitted> {
        let hash = token.hash();
        let grant = self.tokens.get(&hash, now).ok_or(NotAdmitted::UnknownToken)?;
        let zone = grant.zone;
        let was_used_by_it = self.members.get(&key.peer_id()).is_some_and(|member| member.token == hash);
        if grant.uses_left == 0 && !was_used_by_it {
            return Err(NotAdmitted::UsedUp);
        }
        self.members.enroll(key, name, hash, zone, issued, now)?;
        if !was_used_by_it {
            self.tokens.take(&hash);
        }
        self.generation += 1;
        Ok(())
    }

    /// A member may have another certificate.
    ///
    /// # Errors
    /// [`NotAdmitted::Revoked`] and [`NotAdmitted::UnknownKey`].
    pub fn renew(&mut self, peer: &PeerId, issued: Issued) -> Result<(), NotAdmitted> {
        self.members.renew(peer, issued)?;
        self.generation += 1;
        Ok(())
    }

    /// A member registers under a name: it is pinned to its key from now on, and the one that it had before is free. True
    /// when that changed anything. A name whose owner was shut out needs a new enrollment.
    ///
    /// # Errors
    /// As [`NotAdmitted`] says; nothing changed.
    pub fn pin_name(&mut self, peer: &PeerId, name: &PeerName) -> Result<bool, NotAdmitted> {
        let is_changed = self.members.pin_name(peer, name)?;
        self.generation += u64::from(is_changed);
        Ok(is_changed)
    }

    /// Shuts a member out, for good. True when it was not yet.
    ///
    /// # Errors
    /// [`NotAdmitted::UnknownKey`] and [`NotAdmitted::DeniedFull`].
    pub fn revoke(&mut self, peer: &PeerId, now: SystemTime) -> Result<bool, NotAdmitted> {
        let member = self.members.get(peer).ok_or(NotAdmitted::UnknownKey)?;
        if member.is_revoked {
            return Ok(false);
        }
        let still = |peer: &PeerId| self.members.get(peer).is_some_and(|member| member.is_shown_at(now));
        let mut peers: Vec<PeerId> = self.denied.peers().iter().copied().filter(still).collect();
        peers.push(*peer);
        self.denied = DenyList::new(self.denied.version + 1, peers).ok_or(NotAdmitted::DeniedFull)?;
        self.members.revoke(peer);
        self.generation += 1;
        Ok(true)
    }

    /// Gives the list of those who were shut out this version at least: peers take none that is older than the one they have,
    /// which may be of a time after that of what was kept.
    pub fn lift_denied(&mut self, version: u64) {
        self.generation += u64::from(self.denied.version < version);
        self.denied.version = self.denied.version.max(version);
    }

    /// Forgets invites whose time is over.
    pub fn expire(&mut self, now: SystemTime) {
        self.generation += u64::from(self.tokens.expire(now));
    }

    /// Whom no peer is to talk to: those shut out whose certificates could still be good.
    pub fn denied(&self) -> &DenyList {
        &self.denied
    }

    /// Who was let in.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// Invites, in order of their hashes.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.tokens.iter()
    }

    /// Rises whenever what is kept on disk would differ.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// What is noted of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issued {
    /// The number of the authority that issued it; rises with each.
    pub authority: u32,
    /// Which list of trusted authorities came with it; rises with each change of that list.
    pub trusted: u32,
    /// It is not good from then on.
    pub not_after: SystemTime,
}

impl Issued {
    /// Of a certificate for one who may hold another still: until then it could show one.
    #[must_use]
    fn beside(self, other: Self) -> Self {
        Self { not_after: self.not_after.max(other.not_after), ..self }
    }
}
