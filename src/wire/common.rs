//! What several services say: peers, files, times.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;

use super::{Invalid, bounded, bytes, pb, required};
use crate::protocol::{
    action::{FileInfo, PeerInfo},
    id::{ContentHash, PeerId, ZoneId},
    name::MAX_PATH_BYTES,
    roster::{Member, Stamp},
};

/// An address that others may be told to dial: an IP with a port, no unspecified, multicast or link-local address and
/// no port 0.
pub fn address(field: &'static str, text: &str) -> Result<SocketAddr, Invalid> {
    let address: SocketAddr =
        text.parse().map_err(|_| Invalid::new(field, "must be IP:PORT or [IPv6]:PORT"))?;
    if address.port() == 0 {
        return Err(Invalid::new(field, "port 0 cannot be dialed"));
    }
    // An IPv4 address in the clothes of IPv6 is dialed as what it is.
    let ip = address.ip().to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if ip.is_unspecified() || ip.is_multicast() || is_link_local {
        return Err(Invalid::new(field, format!("{} cannot be dialed by others", address.ip())));
    }
    Ok(address)
}

/// A peer as a member of some zone, with the zone where it is told.
pub fn member(peer: &pb::Peer) -> Result<(Member, Option<ZoneId>), Invalid> {
    let member = Member {
        id: PeerId::try_from(&peer.peer_id[..]).map_err(Invalid::id("peer.peer_id"))?,
        name: peer.name.parse().map_err(Invalid::id("peer.name"))?,
        address: address("peer.address", &peer.address)?,
        incarnation: peer.incarnation,
        shared_files: peer.shared_files,
        room_bytes: peer.room_bytes,
        summary: Stamp { version: peer.summary_version, is_settled: peer.is_summary_settled },
    };
    Ok((member, ZoneId::new(peer.zone_id)))
}

/// A member on its way out.
pub fn to_peer(member: &Member, zone: Option<ZoneId>) -> pb::Peer {
    pb::Peer {
        peer_id: bytes(member.id.as_bytes()),
        name: member.name.to_string(),
        address: member.address.to_string(),
        zone_id: zone.map_or(0, ZoneId::get),
        incarnation: member.incarnation,
        shared_files: member.shared_files,
        room_bytes: member.room_bytes,
        summary_version: member.summary.version,
        is_summary_settled: member.summary.is_settled,
    }
}

/// A member as faces see it.
pub fn peer_info(member: Member, zone: Option<ZoneId>) -> PeerInfo {
    PeerInfo {
        name: member.name,
        id: member.id,
        zone,
        address: member.address,
        shared_files: member.shared_files,
    }
}

/// One shared file.
pub fn file_info(file: pb::FileEntry) -> Result<FileInfo, Invalid> {
    let hash = match &file.content_hash[..] {
        [] => None,
        bytes => Some(ContentHash::try_from(bytes).map_err(Invalid::id("file.content_hash"))?),
    };
    if file.path.is_empty() || file.path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Invalid::new(
            "file.path",
            "must be `<share>/<path>` without empty, `.` or `..` segments",
        ));
    }
    Ok(FileInfo {
        hash,
        path: bounded("file.path", file.path, MAX_PATH_BYTES)?,
        size_bytes: file.size_bytes,
        modified: time("file.modify_time", required("file.modify_time", file.modify_time)?)?,
    })
}

/// One shared file on its way out.
pub fn to_file_entry(file: &FileInfo) -> pb::FileEntry {
    into_file_entry(file.clone())
}

/// As [`to_file_entry`], of a file that is not needed here any more.
pub fn into_file_entry(file: FileInfo) -> pb::FileEntry {
    pb::FileEntry {
        content_hash: file.hash.map(|hash| bytes(hash.as_bytes())).unwrap_or_default(),
        path: file.path,
        size_bytes: file.size_bytes,
        modify_time: Some(Timestamp::from(file.modified)),
    }
}

/// A point in time that the system can hold.
pub fn time(field: &'static str, time: Timestamp) -> Result<SystemTime, Invalid> {
    SystemTime::try_from(time).map_err(|_| Invalid::new(field, "is not a time"))
}

/// A span of time, at most `max`.
pub fn duration(
    field: &'static str,
    span: prost_types::Duration,
    max: Duration,
) -> Result<Duration, Invalid> {
    // As the documentation of the type has it. The conversion of the library panics at the least numbers there are.
    let (Ok(seconds), Ok(nanos @ 0..1_000_000_000)) =
        (u64::try_from(span.seconds), u32::try_from(span.nanos))
    else {
        return Err(Invalid::new(field, "must not be negative, its nanoseconds below a second"));
    };
    let span = Duration::new(seconds, nanos);
    if span > max {
        return Err(Invalid::new(field, format!("must be at most {} s", max.as_secs())));
    }
    Ok(span)
}

/// A span of time on its way out.
pub fn to_duration(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_of_any_numbers_are_taken_or_refused() {
        let extremes = [i64::MIN, i64::MIN + 1, -1, 0, 1, 1 << 40, i64::MAX];
        for seconds in extremes {
            for nanos in [i32::MIN, -1_000_000_000, -1, 0, 999_999_999, 1_000_000_000, i32::MAX] {
                let span = duration("x", prost_types::Duration { seconds, nanos }, Duration::from_secs(5));
                assert_eq!(span.is_ok(), (0..5).contains(&seconds) && (0..1_000_000_000).contains(&nanos));
                // Any answer will do that is one.
                let _ = time("x", Timestamp { seconds, nanos });
            }
        }
    }

    #[test]
    fn an_address_is_judged_by_what_is_dialed() {
        for text in ["0.0.0.0:1", "224.0.0.1:1", "169.254.1.1:1", "255.255.255.255:1"] {
            assert!(address("x", text).is_err(), "{text}");
            let mapped = format!("[::ffff:{}]:1", text.trim_end_matches(":1"));
            assert!(address("x", &mapped).is_err(), "{mapped}");
        }
        for text in ["[::]:1", "[ff02::1]:1", "[fe80::1]:1", "10.0.0.1:0", "10.0.0.1", "host:1"] {
            assert!(address("x", text).is_err(), "{text}");
        }
        for text in ["10.0.0.1:1", "127.0.0.1:1", "[::1]:1", "[2001:db8::1]:1", "[::ffff:10.0.0.1]:1"] {
            assert!(address("x", text).is_ok(), "{text}");
        }
    }
}
