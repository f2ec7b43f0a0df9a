//! What the authority of a network knows and signs by, as one value that is kept in one file.
//!
//! Invariant: certificates of peers are issued by the newest authority, those of the registry by the oldest that is trusted,
//! which every peer and every invite of the network knows.

use std::time::SystemTime;

use anyhow::Result;

use super::Refused;
use crate::{
    net::{
        Authority,
        authority::{PEER_LIFETIME, REGISTRY_LIFETIME},
        verify,
    },
    protocol::{
        admission::{Admissions, Issued, NetworkMember, NotAdmitted},
        id::{PeerId, ZoneId},
        trust::{Credentials, NetworkId, PublicKey},
    },
    wire::{
        admin::Rotation,
        enrollment::{Enrollment, signed},
    },
};

/// An authority with its number, which rises with each of a network.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) number: u32,
    pub(super) authority: Authority,
}

/// Everything that outlives the registry of a closed network.
#[derive(Debug, Clone)]
pub(super) struct Book {
    pub(super) admissions: Admissions,
    /// Those that are trusted, the newest last; never empty.
    pub(super) authorities: Vec<Numbered>,
    pub(super) network: NetworkId,
    /// Changes of the authorities since the start.
    pub(super) rotations: u64,
}

impl Book {
    /// Of a new network.
    pub(super) fn found() -> Result<Self> {
        let authority = Authority::generate()?;
        let network = authority.network();
        let authorities = vec![Numbered { number: 1, authority }];
        Ok(Self { admissions: Admissions::default(), authorities, network, rotations: 0 })
    }

    /// Rises whenever the file would differ.
    pub(super) fn generation(&self) -> u64 {
        self.admissions.generation() + self.rotations
    }

    /// The one that every peer knows, and invites name.
    pub(super) fn oldest(&self) -> &Numbered {
        self.authorities.first().expect("there is always an authority")
    }

    fn newest(&self) -> &Numbered {
        self.authorities.last().expect("there is always an authority")
    }

    fn trusted(&self) -> Vec<PublicKey> {
        self.authorities.iter().map(|numbered| numbered.authority.public()).collect()
    }

    /// A certificate for a peer, which its book does not know of yet.
    fn certify(&self, key: &PublicKey, zone: Option<ZoneId>) -> Result<(Credentials, Issued), Refused> {
        let newest = self.newest();
        let (certificate, not_after) = newest
            .authority
            .certify_peer(key, self.network, zone, PEER_LIFETIME)
            .map_err(Refused::NotSigned)?;
        let credentials =
            Credentials { certificate, authorities: self.trusted(), network: self.network, not_after };
        Ok((credentials, Issued { authority: newest.number, not_after }))
    }

    /// Lets a peer in. The cheap checks come first: a signature is looked at only for a token that is known.
    pub(super) fn enroll(&mut self, asked: &Enrollment, now: SystemTime) -> Result<Credentials, Refused> {
        if !self.admissions.is_known(&asked.token, now) {
            return Err(NotAdmitted::UnknownToken.into());
        }
        let is_proven = self.authorities.iter().any(|numbered| {
            let text = signed(&numbered.authority.public(), &asked.token, &asked.key, &asked.name);
            verify(&asked.key, &text, &asked.proof)
        });
        if !is_proven {
            return Err(Refused::WrongProof);
        }
        // The zone comes with the first renewal: it has none yet.
        let (credentials, issued) = self.certify(&asked.key, None)?;
        self.admissions.enroll(&asked.token, asked.key, &asked.name, issued, now)?;
        Ok(credentials)
    }

    /// A new certificate for a member that is in that zone.
    pub(super) fn renew(&mut self, peer: &PeerId, zone: Option<ZoneId>) -> Result<Credentials, Refused> {
        let key = self.check_standing(peer)?;
        let (credentials, issued) = self.certify(&key, zone)?;
        self.admissions.renew(peer, issued)?;
        Ok(credentials)
    }

    /// It is a member, and was so under an authority that is still trusted. Gives its key.
    pub(super) fn check_standing(&self, peer: &PeerId) -> Result<PublicKey, Refused> {
        let member = self.admissions.members().get(peer).ok_or(NotAdmitted::UnknownKey)?;
        if member.is_revoked {
            return Err(NotAdmitted::Revoked.into());
        }
        if member.issued.authority < self.oldest().number {
            return Err(NotAdmitted::UnknownKey.into());
        }
        Ok(member.key)
    }

    /// Its certificate is of an older authority than the newest.
    pub(super) fn is_on_older(&self, peer: &PeerId) -> bool {
        let member = self.admissions.members().get(peer);
        member.is_some_and(|member| member.issued.authority < self.newest().number)
    }

    /// A certificate for the registry itself.
    pub(super) fn certify_registry(&self, key: &PublicKey) -> Result<Credentials> {
        let oldest = &self.oldest().authority;
        let (certificate, not_after) = oldest.certify_registry(key, self.network, REGISTRY_LIFETIME)?;
        Ok(Credentials { certificate, authorities: self.trusted(), network: self.network, not_after })
    }

    /// A new authority beside the present one. Nothing, while there are two already.
    pub(super) fn begin_rotation(&mut self) -> Result<bool> {
        if self.authorities.len() > 1 {
            return Ok(false);
        }
        let key = Authority::generate()?.key().clone();
        let number = self.newest().number + 1;
        self.authorities.push(Numbered { number, authority: Authority::from_key(key, self.network) });
        self.rotations += 1;
        Ok(true)
    }

    /// The newest authority alone. Nothing, while there is only one. Gives who is left out by that.
    pub(super) fn finish_rotation(
        &mut self,
        is_forced: bool,
        now: SystemTime,
    ) -> Result<Option<Vec<PeerId>>, Refused> {
        if self.authorities.len() == 1 {
            return Ok(None);
        }
        let left = self.rotation(now).members_on_older;
        if left > 0 && !is_forced {
            return Err(Refused::MembersLeft(left));
        }
        let newest = self.newest().clone();
        let is_left_out = |peer: &PeerId| self.is_on_older(peer);
        let left_out = self.admissions.members().iter().map(NetworkMember::id).filter(is_left_out).collect();
        self.authorities = vec![newest];
        self.rotations += 1;
        Ok(Some(left_out))
    }

    /// How things stand.
    pub(super) fn rotation(&self, now: SystemTime) -> Rotation {
        let members_on_older = self.admissions.members().on_older(self.newest().number, now);
        Rotation { authorities: self.trusted(), members_on_older }
    }
}
