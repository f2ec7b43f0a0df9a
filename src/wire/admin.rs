//! What the owner of a network asks of its registry, checked on its way in at both ends.

use std::time::{Duration, SystemTime};

use super::{Invalid, bounded, bytes, common, enrollment::time, pb, required};
use crate::protocol::{
    admission::{MAX_INVITE_LIFETIME, MAX_INVITE_USES, MIN_INVITE_LIFETIME},
    id::{PeerId, PeerName, ZoneId},
    trust::{MAX_AUTHORITIES, PublicKey, invite::Invite},
};

/// Largest request in bytes; the longest honest one has some 200.
pub const MAX_REQUEST_BYTES: usize = 1024;
/// What an invite lasts when nothing is said.
pub const DEFAULT_INVITE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest name of a member to be shut out: the digits of an id.
const MAX_WHO_BYTES: usize = 64;
/// Longest text of an invite; see there.
const MAX_INVITE_BYTES: usize = 400;

/// An invite that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InviteAsk {
    /// From now; 1 minute to 365 days.
    pub lifetime: Duration,
    /// Peers that it lets in.
    pub uses: u32,
    /// The only zone of those that it lets in.
    pub zone: Option<ZoneId>,
}

impl Default for InviteAsk {
    fn default() -> Self {
        Self { lifetime: DEFAULT_INVITE_LIFETIME, uses: 1, zone: None }
    }
}

/// One peer that was let in, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Who.
    pub id: PeerId,
    /// Bound to it.
    pub name: PeerName,
    /// When it was let in first.
    pub enrolled: SystemTime,
    /// Its newest certificate is not good from then on.
    pub not_after: SystemTime,
    /// It was shut out.
    pub is_revoked: bool,
    /// It has a lease now.
    pub is_live: bool,
    /// Its certificate is of the newest authority.
    pub is_newest_authority: bool,
}

/// A step of the change of the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// None: only tell how things stand.
    Tell,
    /// Make a new one beside the old one.
    Begin,
    /// Certify with the new one now, whoever has not been told of it.
    Switch,
    /// Trust the old one no longer, once nobody needs it.
    Finish,
    /// The same, whoever needs it.
    Force,
}

/// How the change of the authority stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// Trusted, the newest last.
    pub authorities: Vec<PublicKey>,
    /// Members with good certificates of an older one than the newest.
    pub members_on_older: usize,
    /// The newest certifies already; before that it is made known.
    pub is_newest_used: bool,
    /// Live peers that have not been told which are trusted now.
    pub live_untold: usize,
}

/// An invite that is asked for.
pub fn invite_ask(request: &pb::CreateInviteRequest) -> Result<InviteAsk, Invalid> {
    let lifetime = match request.lifetime {
        None => DEFAULT_INVITE_LIFETIME,
        Some(lifetime) => common::duration("lifetime", lifetime, MAX_INVITE_LIFETIME)?,
    };
    if lifetime < MIN_INVITE_LIFETIME {
        return Err(Invalid::new(
            "lifetime",
            format!("must be at least {} s", MIN_INVITE_LIFETIME.as_secs()),
        ));
    }
    if request.uses > MAX_INVITE_USES {
        return Err(Invalid::new("uses", format!("must be at most {MAX_INVITE_USES}")));
    }
    Ok(InviteAsk { lifetime, uses: request.uses.max(1), zone: ZoneId::new(request.zone_id) })
}

/// An invite that is asked for, on its way out.
pub fn to_invite_ask(ask: &InviteAsk) -> pb::CreateInviteRequest {
    pb::CreateInviteRequest {
        lifetime: Some(common::to_duration(ask.lifetime)),
        uses: ask.uses,
        zone_id: ask.zone.map_or(0, ZoneId::get),
    }
}

/// An invite, and until when it is good.
pub fn invite(response: pb::CreateInviteResponse) -> Result<(Invite, SystemTime), Invalid> {
    let text = bounded("invite", response.invite, MAX_INVITE_BYTES)?;
    let invite = text.parse().map_err(|_| Invalid::new("invite", "is not an invite"))?;
    Ok((invite, time("expires", required("expires", response.expires)?)?))
}

/// An invite on its way out: the one message that carries the text of a token.
pub fn to_invite(invite: &Invite, expires: SystemTime) -> pb::CreateInviteResponse {
    pb::CreateInviteResponse { invite: invite.to_string(), expires: Some(expires.into()) }
}

/// Where the list of members is continued: behind a name, in lower case, and an id.
pub fn member_page_token(text: &str) -> Result<Option<(String, PeerId)>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Invalid::new("page_token", "is not one of this list");
    let (name, id) = text.split_once('/').ok_or_else(wrong)?;
    let name = name.parse::<PeerName>().map_err(|_| wrong())?;
    Ok(Some((name.as_str().to_ascii_lowercase(), id.parse().map_err(|_| wrong())?)))
}

/// Where the list of members is continued, on its way out.
pub fn to_member_page_token((name, id): &(String, PeerId)) -> String {
    format!("{name}/{id}")
}

/// One member of the list.
pub fn member(member: &pb::NetworkMember) -> Result<MemberInfo, Invalid> {
    Ok(MemberInfo {
        id: PeerId::try_from(&member.peer_id[..]).map_err(Invalid::id("peer_id"))?,
        name: member.name.parse().map_err(Invalid::id("name"))?,
        enrolled: time("enrolled", required("enrolled", member.enrolled)?)?,
        not_after: time("not_after", required("not_after", member.not_after)?)?,
        is_revoked: member.is_revoked,
        is_live: member.is_live,
        is_newest_authority: member.is_newest_authority,
    })
}

/// One member of the list, on its way out.
pub fn to_member(member: &MemberInfo) -> pb::NetworkMember {
    pb::NetworkMember {
        peer_id: bytes(member.id.as_bytes()),
        name: member.name.to_string(),
        enrolled: Some(member.enrolled.into()),
        not_after: Some(member.not_after.into()),
        is_revoked: member.is_revoked,
        is_live: member.is_live,
        is_newest_authority: member.is_newest_authority,
    }
}

/// Who is to be shut out: a name, or the beginning of an id.
pub fn who(request: pb::RevokeRequest) -> Result<String, Invalid> {
    let who = bounded("peer", request.peer, MAX_WHO_BYTES)?;
    if who.is_empty() { Err(Invalid::new("peer", "must be a name or an id")) } else { Ok(who) }
}

/// A step of the change of the authority.
pub fn rotation_step(request: pb::RotateAuthorityRequest) -> Result<RotationStep, Invalid> {
    use pb::rotate_authority_request::Step;
    match Step::try_from(request.step) {
        Ok(Step::Unspecified) => Ok(RotationStep::Tell),
        Ok(Step::Begin) => Ok(RotationStep::Begin),
        Ok(Step::Switch) => Ok(RotationStep::Switch),
        Ok(Step::Finish) => Ok(RotationStep::Finish),
        Ok(Step::Force) => Ok(RotationStep::Force),
        Err(_) => Err(Invalid::new("step", "is not a step")),
    }
}

/// A step of the change of the authority, on its way out.
pub fn to_rotation_step(step: RotationStep) -> pb::RotateAuthorityRequest {
    use pb::rotate_authority_request::Step;
    let step = match step {
        RotationStep::Tell => Step::Unspecified,
        RotationStep::Begin => Step::Begin,
        RotationStep::Switch => Step::Switch,
        RotationStep::Finish => Step::Finish,
        RotationStep::Force => Step::Force,
    };
    pb::RotateAuthorityRequest { step: step.into() }
}

/// How the change of the authority stands.
pub fn rotation(response: &pb::RotateAuthorityResponse) -> Result<Rotation, Invalid> {
    if response.authorities.is_empty() || response.authorities.len() > MAX_AUTHORITIES {
        return Err(Invalid::new("authorities", format!("must be 1 to {MAX_AUTHORITIES}")));
    }
    let key = |bytes: &bytes::Bytes| {
        let bytes = <[u8; PublicKey::SIZE]>::try_from(&bytes[..]);
        bytes.map(PublicKey::from_bytes).map_err(|_| Invalid::new("authorities", "must be 32 bytes each"))
    };
    Ok(Rotation {
        authorities: response.authorities.iter().map(key).collect::<Result<_, _>>()?,
        members_on_older: response.members_on_older as usize,
        is_newest_used: response.is_newest_used,
        live_untold: response.live_untold as usize,
    })
}

/// How the change of the authority stands, on its way out.
pub fn to_rotation(rotation: &Rotation) -> pb::RotateAuthorityResponse {
    pb::RotateAuthorityResponse {
        authorities: rotation.authorities.iter().map(|key| bytes(key.as_bytes())).collect(),
        members_on_older: u32::try_from(rotation.members_on_older).unwrap_or(u32::MAX),
        is_newest_used: rotation.is_newest_used,
        live_untold: u32::try_from(rotation.live_untold).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_bounded_and_comes_over_as_it_was() {
        assert_eq!(invite_ask(&pb::CreateInviteRequest::default()), Ok(InviteAsk::default()));
        let ask = InviteAsk { lifetime: Duration::from_secs(60), uses: 7, zone: ZoneId::new(3) };
        assert_eq!(invite_ask(&to_invite_ask(&ask)), Ok(ask));
        for bad in [
            InviteAsk { lifetime: Duration::from_secs(59), ..ask },
            InviteAsk { lifetime: MAX_INVITE_LIFETIME + Duration::from_secs(1), ..ask },
            InviteAsk { uses: MAX_INVITE_USES + 1, ..ask },
        ] {
            assert!(invite_ask(&to_invite_ask(&bad)).is_err(), "{bad:?}");
        }
        let steps = [
            RotationStep::Tell,
            RotationStep::Begin,
            RotationStep::Switch,
            RotationStep::Finish,
            RotationStep::Force,
        ];
        for step in steps {
            assert_eq!(rotation_step(to_rotation_step(step)), Ok(step));
        }
        assert!(rotation_step(pb::RotateAuthorityRequest { step: 9 }).is_err());
        assert!(who(pb::RevokeRequest { peer: String::new() }).is_err());
        assert!(who(pb::RevokeRequest { peer: "a".repeat(65) }).is_err());
    }

    #[test]
    fn a_page_token_is_of_this_list() {
        let place = ("ana".to_owned(), PeerId::from_bytes([7; 32]));
        assert_eq!(member_page_token(&to_member_page_token(&place)), Ok(Some(place)));
        assert_eq!(member_page_token(""), Ok(None));
        for bad in ["ana", "/", "ana/zz", "\u{1b}/00", "3/ana"] {
            assert!(member_page_token(bad).is_err(), "{bad:?}");
        }
    }
}
