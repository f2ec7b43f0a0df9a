//! What the registry hears, what it says, and how a peer is let in.

use floodplain::wire::{admin, enrollment, pb, registry, session};

use crate::{
    Target,
    oracle::{message, message_in, sent},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("register_request", register_request),
    ("register_response", register_response),
    ("heartbeat_request", heartbeat_request),
    ("heartbeat_response", heartbeat_response),
    ("session_response", session_response),
    ("list_pages", list_pages),
    ("listed_zone", listed_zone),
    ("listed_peer", listed_peer),
    ("enroll_request", enroll_request),
    ("credentials", credentials),
    ("deny_list", deny_list),
    ("create_invite_request", create_invite_request),
    ("create_invite_response", create_invite_response),
    ("network_member", network_member),
    ("rotate_authority_response", rotate_authority_response),
];

fn create_invite_request(data: &[u8]) {
    message(data, |asked| admin::invite_ask(&asked), |ask| admin::to_invite_ask(&ask), sent);
}

fn create_invite_response(data: &[u8]) {
    message(data, admin::invite, |(invite, expires)| admin::to_invite(&invite, expires), sent);
}

fn network_member(data: &[u8]) {
    message(data, |member| admin::member(&member), |member| admin::to_member(&member), sent);
}

fn rotate_authority_response(data: &[u8]) {
    message(data, |told| admin::rotation(&told), |told| admin::to_rotation(&told), sent);
}

fn register_request(data: &[u8]) {
    message(data, registry::registration, |asked| registry::to_registration(&asked), sent);
}

fn register_response(data: &[u8]) {
    message(data, registry::membership, |granted| registry::to_membership(&granted), sent);
}

fn heartbeat_request(data: &[u8]) {
    let check = |beat: pb::HeartbeatRequest| {
        Ok((registry::lease(&beat.lease_id)?, registry::load(&beat), beat.sequence))
    };
    message(data, check, |(lease, load, sequence)| registry::to_heartbeat(&lease, &load, sequence), sent);
}

fn heartbeat_response(data: &[u8]) {
    message(data, registry::renewal, |renewed| registry::to_renewal(&renewed), sent);
}

fn session_response(data: &[u8]) {
    use pb::session_response::Message;
    let back = |down| {
        let message = match down {
            session::Down::Welcome(membership) => Message::Welcome(registry::to_membership(&membership)),
            session::Down::Ack(renewed) => Message::Ack(registry::to_renewal(&renewed)),
            session::Down::Delta(delta) => Message::Delta(registry::to_delta(&delta)),
            session::Down::Snapshot(roster) => Message::Snapshot(registry::to_roster(&roster)),
            session::Down::Neighbors(neighbors) => Message::Neighbors(registry::to_neighbors(&neighbors)),
            session::Down::News(news) => Message::News(registry::to_news(&news)),
            session::Down::Gateways(told) => Message::Gateways(registry::to_gateways(&told)),
            session::Down::Denied(list) => Message::Denied(enrollment::to_deny_list(&list)),
            session::Down::RenewalDue => Message::RenewalDue(pb::RenewalDue {}),
        };
        pb::SessionResponse { message: Some(message) }
    };
    message(data, session::down, back, sent);
}

fn list_pages(data: &[u8]) {
    if let Some((zone, size)) = message_in(data, |request: pb::ListZonesRequest| {
        Ok((registry::zone_page_token(&request.page_token)?, registry::page_size(request.page_size)?))
    }) {
        assert!((1..=1000).contains(&size));
        let token = zone.map(|zone| zone.to_string()).unwrap_or_default();
        assert_eq!(registry::zone_page_token(&token), Ok(zone));
    }
    if let Some(Some((zone, name))) =
        message_in(data, |request: pb::ListPeersRequest| registry::peer_page_token(&request.page_token, None))
    {
        let token = registry::to_peer_page_token(zone, &name);
        assert_eq!(registry::peer_page_token(&token, Some(zone)), Ok(Some((zone, name))));
    }
}

fn listed_zone(data: &[u8]) {
    message_in(data, registry::zone_info);
}

fn listed_peer(data: &[u8]) {
    use floodplain::wire::common::{member, to_peer};
    let Some((peer, zone)) = message_in(data, |peer: pb::Peer| member(&peer)) else { return };
    let ip = peer.address.ip().to_canonical();
    assert!(peer.address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(), "{ip}");
    assert_eq!(member(&sent(to_peer(&peer, zone))), Ok((peer, zone)));
}

fn enroll_request(data: &[u8]) {
    let check = |request: pb::EnrollRequest| enrollment::enrollment(&request);
    message(data, check, |asked| enrollment::to_enrollment(&asked), sent);
}

fn credentials(data: &[u8]) {
    let check = |given: pb::EnrollResponse| enrollment::credentials(given.credentials);
    let back = |given| pb::EnrollResponse {
        credentials: Some(enrollment::to_credentials(&given)),
        ..Default::default()
    };
    message(data, check, back, sent);
}

fn deny_list(data: &[u8]) {
    let check = |list: pb::DenyList| enrollment::deny_list(&list);
    message(data, check, |list| enrollment::to_deny_list(&list), sent);
}
