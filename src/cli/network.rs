//! `browse`, `peers`, `zones`, `status`: looking, and changing nothing.

use std::{pin::pin, time::Duration};

use futures::TryStreamExt;

use super::{
    exit::{Ended, Exit, Failure},
    json,
    output::{Output, size},
};
use crate::{
    console::pages::pages,
    peer::Handle,
    protocol::{
        action::{Listing, PeerPath, ZoneInfo},
        id::ZoneId,
    },
};

/// How often a watched list is asked for: half of the 2 s within which a change is to be seen.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Pages after which a listing is cut: a peer that never ends would be followed for ever.
const MAX_PAGES: usize = 1000;

/// Lists one folder of a peer's shares, all of its pages.
pub async fn browse(peer: &Handle, out: &mut Output, path: &PeerPath) -> Ended {
    let (mut entries, mut page_number, mut has_more) = (0, 0, false);
    let mut pages = pin!(pages(peer, path, MAX_PAGES));
    while let Some(page) = pages.try_next().await? {
        entries += page.folders.len() + page.files.len();
        if out.style.json {
            page.folders.iter().try_for_each(|name| out.json(&json::Folder { name }))?;
            page.files.iter().try_for_each(|file| out.json(&json::File::from(file)))?;
        } else if entries > 0 {
            let folders = page
                .folders
                .iter()
                .map(|name| [format!("{name}/"), String::new(), String::new(), String::new()]);
            let files = page.files.iter().map(|file| {
                let size =
                    if out.style.is_rich { size(file.size_bytes) } else { file.size_bytes.to_string() };
                let hash = file.hash.map(|hash| hash.to_string()).unwrap_or_default();
                [file.name().to_owned(), size, json::time(file.modified).unwrap_or_default(), hash]
            });
            let rows: Vec<_> = folders.chain(files).collect();
            if page_number == 0 {
                out.table(["name", "size", "modified", "hash"], rows)?;
            } else {
                out.rows(rows)?;
            }
        }
        page_number += 1;
        has_more = page.next.is_some();
    }
    if has_more {
        out.note(format_args!("the listing does not end; cut after {entries} entries"));
        return Ok(Exit::TimedOut);
    }
    if entries == 0 {
        out.note("nothing there");
    }
    Ok(Exit::Done)
}

/// Lists the peers of the network, or of one zone.
pub async fn peers(peer: &Handle, out: &mut Output, zone: Option<ZoneId>) -> Ended {
    let listing = peer.peers(zone).await?;
    if out.style.json {
        listing.rows.iter().try_for_each(|row| out.json(&json::Peer::from(row)))?;
    } else {
        let rows = listing.rows.iter().map(|row| {
            let zone = row.zone.map(|zone| zone.to_string()).unwrap_or_default();
            [
                zone,
                row.name.to_string(),
                row.address.to_string(),
                row.shared_files.to_string(),
                row.id.to_string(),
            ]
        });
        out.table(["zone", "name", "address", "files", "peer id"], rows)?;
    }
    warn_if_stale(out, listing.is_stale);
    Ok(Exit::Done)
}

/// Lists the zones of the network; when watching, again at every change, until interrupted.
pub async fn zones(peer: &Handle, out: &mut Output, is_watching: bool) -> Ended {
    let mut last = None;
    loop {
        let listing = peer.zones().await?;
        if last.as_ref() != Some(&listing) {
            print_zones(out, &listing)?;
            last = Some(listing);
        }
        if !is_watching {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn print_zones(out: &mut Output, listing: &Listing<ZoneInfo>) -> Result<(), Failure> {
    if out.style.json {
        listing.rows.iter().try_for_each(|row| out.json(&json::Zone::from(row)))?;
    } else {
        let rows = listing
            .rows
            .iter()
            .map(|row| [row.zone.to_string(), row.peers.to_string(), row.gateways.join(", ")]);
        out.table(["zone", "peers", "gateways"], rows)?;
    }
    warn_if_stale(out, listing.is_stale);
    Ok(())
}

fn warn_if_stale(out: &mut Output, is_stale: bool) {
    if is_stale {
        out.note("the registry cannot be reached; this is the last that was heard of the own zone");
    }
}

/// Prints the peer's own state.
pub async fn status(peer: &Handle, out: &mut Output) -> Ended {
    let status = peer.status().await?;
    if out.style.json {
        out.json(&json::Status::from(&status))?;
        return Ok(Exit::Done);
    }
    let (me, index, counters) = (&status.me, &status.index, &status.counters);
    let zone = me.zone.map_or("none".into(), |zone| format!("{zone}, {} peers", status.zone_peers));
    let scanning = if index.is_scanning { ", scanning" } else { "" };
    let rows = [
        ("name", me.name.to_string()),
        ("peer id", me.id.to_string()),
        ("address", me.address.to_string()),
        ("zone", zone),
        ("connection", status.connection.name().into()),
        ("registry", status.registry.clone()),
        ("neighbors", status.neighbors.join(", ")),
        (
            "shared files",
            format!("{} ({}), {} hashed{scanning}", index.files, size(index.bytes), index.hashed_files),
        ),
        ("searches", counters.searches.to_string()),
        ("queries answered", counters.queries_answered.to_string()),
        ("duplicates dropped", counters.duplicates_dropped.to_string()),
        ("queries refused", counters.queries_refused.to_string()),
        ("bytes up", size(counters.bytes_up)),
        ("bytes down", size(counters.bytes_down)),
        (
            "uptime",
            humantime::format_duration(std::time::Duration::from_secs(status.uptime.as_secs())).to_string(),
        ),
        ("version", status.version.clone()),
    ];
    out.rows(rows.map(|(name, value)| [name.to_owned(), value]))?;
    Ok(Exit::Done)
}
