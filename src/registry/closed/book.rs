//! What the authority of a network knows and signs by, as one value that is kept in one file.
//!
//! Invariant: certificates of peers are issued by the newest authority that the live ones among them have been told to trust,
//! those of the registry by the oldest that is trusted, which every peer and every invite of the network knows.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::Refused;
use crate::{
    net::{Authority, authority::REGISTRY_LIFETIME, verify},
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
    /// The number of the one that certifies peers: of the newest, or of the one before while the newest is made known.
    pub(super) issuing: u32,
    pub(super) network: NetworkId,
}

impl Book {
    /// Of a new network.
    pub(super) fn found() -> Result<Self> {
        let authority = Authority::generate()?;
        let network = authority.network();
        let authorities = vec![Numbered { number: 1, authority }];
        Ok(Self { admissions: Admissions::default(), authorities, issuing: 1, network })
    }

    /// Rises whenever the file would differ, but for the authorities: those are written before they are here.
    pub(super) fn generation(&self) -> u64 {
        self.admissions.generation()
    }

    /// Takes over the authorities of a book that was written, and nothing else: that may be newer here.
    pub(super) fn adopt(&mut self, written: Self) {
        (self.authorities, self.issuing) = (written.authorities, written.issuing);
    }

    /// The one that every peer knows, and invites name.
    pub(super) fn oldest(&self) -> &Numbered {
        self.authorities.first().expect("there is always an authority")
    }

    /// The one that certifies peers.
    fn issuing(&self) -> &Numbered {
        let is_it = |numbered: &&Numbered| numbered.number == self.issuing;
        self.authorities.iter().find(is_it).expect("only a number of these is ever taken")
    }

    /// The number of the list of trusted authorities: it rises when a newer one is added to it, and when an older one leaves it.
    fn trusted_list(&self) -> u32 {
        self.oldest().number + self.newest().number
    }

    fn newest(&self) -> &Numbered {
        self.authorities.last().expect("there is always an authority")
    }

    /// Those whose certificates are good.
    pub(super) fn trusted(&self) -> Vec<PublicKey> {
        self.authorities.iter().map(|numbered| numbered.authority.public()).collect()
    }

    /// A certificate for a peer, which its book does not know of yet.
    fn certify(
        &self,
        key: &PublicKey,
        zone: Option<ZoneId>,
        lifetime: Duration,
    ) -> Result<(Credentials, Issued), Refused> {
        let issuing = self.issuing();
        let (certificate, not_after) =
            issuing.authority.certify_peer(key, self.network, zone, lifetime).map_err(Refused::NotSigned)?;
        let credentials =
            Credentials { certificate, authorities: self.trusted(), network: self.network, not_after };
        Ok((credentials, Issued { authority: issuing.number, trusted: self.trusted_list(), not_after }))
    }

    /// Lets a peer in. The cheap checks come first: a signature is looked at only for a token that is known.
    pub(super) fn enroll(
        &mut self,
        asked: &Enrollment,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Credentials, Refused> {
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
        let (credentials, issued) = self.certify(&asked.key, None, lifetime)?;
        self.admissions.enroll(&asked.token, asked.key, &asked.name, issued, now)?;
        Ok(credentials)
    }

    /// A new certificate for a member that is in that zone.
    pub(super) fn renew(
        &mut self,
        peer: &PeerId,
        zone: Option<ZoneId>,
        lifetime: Duration,
    ) -> Result<Credentials, Refused> {
        let key = self.check_standing(peer)?;
        let (credentials, issued) = self.certify(&key, zone, lifetime)?;
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

    /// Its newest certificate came with the authorities that are trusted now.
    pub(super) fn is_told(&self, peer: &PeerId) -> bool {
        let member = self.admissions.members().get(peer);
        member.is_some_and(|member| member.issued.trusted == self.trusted_list())
    }

    /// Its certificate is of an older authority than it could be.
    pub(super) fn is_behind(&self, peer: &PeerId) -> bool {
        let member = self.admissions.members().get(peer);
        member.is_some_and(|member| member.issued.authority < self.issuing)
    }

    /// A certificate for the registry itself.
    pub(super) fn certify_registry(&self, key: &PublicKey) -> Result<Credentials> {
        let oldest = &self.oldest().authority;
        let (certificate, not_after) = oldest.certify_registry(key, self.network, REGISTRY_LIFETIME)?;
        Ok(Credentials { certificate, authorities: self.trusted(), network: self.network, not_after })
    }

    /// A new authority beside the present one, which goes on certifying. Nothing, while there are two already.
    pub(super) fn begin_rotation(&mut self) -> Result<bool> {
        if self.authorities.len() > 1 {
            return Ok(false);
        }
        let key = Authority::generate()?.key().clone();
        let number = self.newest().number + 1;
        self.authorities.push(Numbered { number, authority: Authority::from_key(key, self.network) });
        Ok(true)
    }

    /// The newest authority is to be used, and is not yet.
    pub(super) fn is_making_known(&self) -> bool {
        self.issuing != self.newest().number
    }

    /// The newest authority certifies from now on. Whoever has not been told of it may for a moment not be talked to by those
    /// who renew. False, when it does already.
    pub(super) fn switch(&mut self) -> bool {
        let is_changed = self.is_making_known();
        self.issuing = self.newest().number;
        is_changed
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
        if self.is_making_known() {
            return Err(Refused::NotInUse);
        }
        let left = self.members_on_older(now);
        if left > 0 && !is_forced {
            return Err(Refused::MembersLeft(left));
        }
        let newest = self.newest().clone();
        let is_left_out = |peer: &PeerId| self.is_on_older(peer);
        let left_out = self.admissions.members().iter().map(NetworkMember::id).filter(is_left_out).collect();
        self.authorities = vec![newest];
        Ok(Some(left_out))
    }

    fn members_on_older(&self, now: SystemTime) -> usize {
        self.admissions.members().on_older(self.newest().number, now)
    }

    /// How things stand, when those are the live peers.
    pub(super) fn rotation(&self, is_live: impl Fn(&PeerId) -> bool, now: SystemTime) -> Rotation {
        let members = self.admissions.members().iter();
        let is_untold = |member: &&NetworkMember| {
            member.issued.trusted != self.trusted_list()
                && !member.is_revoked
                && now < member.issued.not_after
                && is_live(&member.id())
        };
        Rotation {
            authorities: self.trusted(),
            members_on_older: self.members_on_older(now),
            is_newest_used: !self.is_making_known(),
            live_untold: members.filter(is_untold).count(),
        }
    }
}
