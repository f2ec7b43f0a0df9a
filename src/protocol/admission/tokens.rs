//! Invites as the registry keeps them. A token itself is never kept: its hash lets nobody in.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{MAX_INVITE_LIFETIME, MAX_INVITE_USES, MIN_INVITE_LIFETIME, NotAdmitted};
use crate::protocol::{id::ZoneId, trust::invite::TokenHash};

/// Invites that are good at once; 300 KiB. One more is refused until some have expired.
pub const MAX_GRANTS: usize = 4096;

/// One invite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Of its token.
    pub token: TokenHash,
    /// It lets nobody in from then on.
    pub expires: SystemTime,
    /// Keys that it will still let in.
    pub uses_left: u32,
    /// Whom it lets in belongs to this zone.
    pub zone: Option<ZoneId>,
}

/// Invites that have not expired, and some that have until they are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens(BTreeMap<[u8; 32], Grant>);

impl Tokens {
    pub(super) fn restore(grants: Vec<Grant>) -> Option<Self> {
        let count = grants.len();
        let tokens: BTreeMap<_, _> =
            grants.into_iter().map(|grant| (*grant.token.as_bytes(), grant)).collect();
        let is_bounded = tokens.values().all(|grant| grant.uses_left <= MAX_INVITE_USES);
        (tokens.len() == count && count <= MAX_GRANTS && is_bounded).then_some(Self(tokens))
    }

    pub(super) fn issue(
        &mut self,
        token: TokenHash,
        lifetime: Duration,
        uses: u32,
        zone: Option<ZoneId>,
        now: SystemTime,
    ) -> Result<SystemTime, NotAdmitted> {
        let is_good = (MIN_INVITE_LIFETIME..=MAX_INVITE_LIFETIME).contains(&lifetime)
            && (1..=MAX_INVITE_USES).contains(&uses);
        let expires = now.checked_add(lifetime).filter(|_| is_good).ok_or(NotAdmitted::BadInvite)?;
        if self.0.len() >= MAX_GRANTS {
            self.expire(now);
        }
        if self.0.len() >= MAX_GRANTS {
            return Err(NotAdmitted::InvitesFull);
        }
        self.0.insert(*token.as_bytes(), Grant { token, expires, uses_left: uses, zone });
        Ok(expires)
    }

    /// The one of that token, unless its time is over.
    pub(super) fn get(&self, token: &TokenHash, now: SystemTime) -> Option<&Grant> {
        self.0.get(token.as_bytes()).filter(|grant| now < grant.expires)
    }

    /// One use is gone.
    pub(super) fn take(&mut self, token: &TokenHash) {
        if let Some(grant) = self.0.get_mut(token.as_bytes()) {
            grant.uses_left = grant.uses_left.saturating_sub(1);
        }
    }

    /// True when there was any to forget.
    pub(super) fn expire(&mut self, now: SystemTime) -> bool {
        let before = self.0.len();
        self.0.retain(|_, grant| now < grant.expires);
        self.0.len() < before
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.0.values()
    }
}
