//! Bloom filters: of a peer, of a zone, and what gateways tell of zones, message by message.

use floodplain::{
    protocol::{
        crossing::RulesOutZones,
        id::ZoneId,
        query::Query,
        summary::{
            Change, Density, Keys, KeysOf, Probe, Summary,
            zone::{ByFilter, Filters, MAX_FILTERS_BYTES, News},
        },
        text::{fold, words},
    },
    wire::{pb, zone_filter},
};
use prost::Message;

use crate::{
    Target,
    oracle::{frugal, sent, within},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("summary", summary),
    ("summary_change", summary_change),
    ("zone_filter", zone_filter_news),
    ("keys", keys),
];

/// Paths, one a line: the summary of them all, on its way to another peer, knows every word of every path.
fn summary(data: &[u8]) {
    let text = fold(&String::from_utf8_lossy(data));
    // Pairs of words grow with the square of a path.
    let mut keys = KeysOf::default();
    for path in text.split('\n') {
        keys.add(words(path).take(64));
    }
    let Some(keys) = keys.finish() else { return };
    let made = Summary::of(&keys);
    let told =
        Summary::from_bytes(&made.to_bytes(), made.has_pairs(), Density::PEER).expect("as it was made");
    assert_eq!(made, told);
    let zone = Summary::of_all([&keys.gateway], Density::ZONE).expect("few keys");
    for path in text.split('\n') {
        let some: Vec<&str> = words(path).take(64).take(3).collect();
        let Ok(query) = Query::parse(&some.iter().map(|word| format!("\"{word}\" ")).collect::<String>())
        else {
            continue;
        };
        let probe = Probe::of(&query);
        assert!(told.may_answer(&probe) && zone.may_answer(&probe), "{some:?} was ruled out");
        assert!(keys.gateway.may_answer(&probe), "{some:?} was ruled out by keys");
    }
}

/// Two filters of a peer and a change that anybody may tell: places and blocks.
fn summary_change(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (filter, change) = rest.split_at(rest.len().min(8 * usize::from(*length)));
    let made = frugal(data.len(), || Summary::from_bytes(filter, length % 2 == 0, Density::PEER));
    let Ok(made) = made else { return };
    assert_eq!(made.to_bytes(), filter);
    let (entries, _) = change.as_chunks::<10>();
    let blocks = entries.iter().map(|entry| {
        let [low, high, block @ ..] = *entry;
        (u32::from(low) | u32::from(high) << 8, u64::from_le_bytes(block))
    });
    let change = Change { blocks: blocks.collect() };
    let mut changed = made.clone();
    match changed.apply(&change) {
        Err(_) => assert_eq!(changed, made, "all of a change or nothing"),
        Ok(()) => {
            assert_eq!(changed.size_bytes(), made.size_bytes());
            if let Some(between) = made.change_to(&changed) {
                let mut again = made.clone();
                assert_eq!(again.apply(&between), Ok(()));
                assert_eq!(again, changed);
            }
        }
    }
}

/// Messages of a gateway, each with its length before it; the first byte of a message says of which zone.
fn zone_filter_news(mut data: &[u8]) {
    // A filter may be long though the word of its beginning is short: that is bounded by the zone, and by all of them.
    within((4 << 20) * 20, || {
        let mut filters = Filters::new();
        let mut begun = 0;
        while let Some((length, rest)) = data.split_first() {
            let (message, rest) = rest.split_at(rest.len().min(usize::from(*length)));
            data = rest;
            let Some((zone, message)) = message.split_first() else { continue };
            let zone = ZoneId::new(u32::from(*zone % 4) + 1).expect("not 0");
            let news = pb::WatchZoneResponse::decode(message).ok().map(zone_filter::news);
            let Some(Ok(news)) = news else {
                filters.forget(zone);
                continue;
            };
            assert_eq!(zone_filter::news(sent(zone_filter::to_news(news.clone()))).as_ref(), Ok(&news));
            // Each costs time to make, as it would a peer.
            begun += usize::from(matches!(news, News::Begin { .. }));
            if begun > 8 {
                return;
            }
            if filters.take_in(zone, news).is_err() {
                filters.forget(zone);
            }
            assert!(filters.size_bytes() <= MAX_FILTERS_BYTES);
        }
        let probe = Probe::of(&Query::parse("word").expect("a query"));
        for zone in 1..=4 {
            let ruled_out =
                ByFilter { filters: &filters, probe: &probe }.ruled_out(ZoneId::new(zone).expect("not 0"));
            assert!(ruled_out.is_none_or(|members| members > 0));
        }
    });
}

/// Keys as a member may give them, into the filter of its zone.
fn keys(data: &[u8]) {
    let (keys, _) = data.as_chunks::<4>();
    let keys: Vec<u32> = keys.iter().map(|key| u32::from_le_bytes(*key)).collect();
    for has_pairs in [false, true] {
        let Ok(given) = Keys::from_sorted(keys.clone(), has_pairs) else { continue };
        assert_eq!(given.as_slice(), keys);
        let filter = Summary::of_all([&given, &given], Density::ZONE).expect("few keys");
        assert!(filter.size_bytes() <= Density::ZONE.max_bytes && filter.has_pairs() == has_pairs);
    }
}
