//! Texts: invites, names, paths, manifests, queries, addresses, and what is shown of any of them.

use std::time::{Duration, SystemTime};

use floodplain::{
    protocol::{
        id::{ContentHash, PeerId, PeerName},
        manifest::{MAX_MANIFEST_PATH_BYTES, Manifest, ManifestFile, portable_path},
        name::{MAX_NAME_BYTES, portable_name, printable_json, to_portable_name},
        query::{MAX_QUERY_BYTES, Query, matches},
        saved::is_name,
        summary::{KeysOf, Probe, Summary},
        text::{fold, words},
        trust::{PublicKey, invite::Invite},
    },
    wire::common::address,
};

use crate::{
    Target,
    oracle::{frugal, is_fit_refusal, is_printable, within},
};

pub const TARGETS: &[(&str, Target)] = &[
    ("invite", invite),
    ("name", name),
    ("manifest", manifest),
    ("query", query),
    ("query_match", query_match),
    ("address", dial_address),
    ("shown", shown),
];

fn invite(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match within(4096, || text.parse::<Invite>()) {
        Ok(invite) => {
            assert_eq!(invite.to_string().parse(), Ok(invite.clone()));
            assert!(!format!("{invite:?}").contains(invite.to_string().rsplit('/').next().expect("a token")));
            assert!(invite.to_string().is_ascii());
        }
        // May hold a token: nothing of the text is repeated.
        Err(error) => assert!(text.len() < 12 || !error.to_string().contains(text)),
    }
    if let Ok(key) = text.parse::<PublicKey>() {
        assert!(PublicKey::from_der(&key.to_der()) == Ok(key) && key.to_string().parse() == Ok(key));
    }
    if let Ok(name) = text.parse::<PeerName>() {
        assert_eq!(name.as_str(), text);
    }
    let made = PeerName::from_any(text);
    assert_eq!(made.as_str().parse(), Ok(made.clone()));
    if let Ok(id) = text.parse::<PeerId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
}

/// One segment, safe everywhere.
fn is_safe(name: &str) {
    assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES && name != "." && name != "..");
    assert!(!name.chars().any(|c| c.is_control() || "/\\<>:\"|?*".contains(c)), "{name:?}");
    assert!(!name.ends_with(['.', ' ']));
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let is_device = ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&&*stem)
        || ["COM", "LPT"].iter().any(|device| {
            stem.strip_prefix(device).is_some_and(|rest| {
                let mut digits = rest.chars();
                matches!((digits.next(), digits.next()), (Some('1'..='9' | '¹' | '²' | '³'), None))
            })
        });
    assert!(!is_device, "{name:?}");
}

fn name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = frugal(data.len(), || portable_name(text)) {
        is_safe(&name);
        assert_eq!(portable_name(&name), Ok(name), "taking it twice changes nothing");
    }
    let made = to_portable_name(text);
    is_safe(&made);
    assert_eq!(portable_name(&made).as_ref(), Ok(&made));
    // The name of a saved search, which its own person gives: a file name here, if not everywhere.
    if is_name(text) {
        assert!(text.is_ascii() && text.len() <= 63 && !text.starts_with('.') && !text.contains(['/', '\0']));
    }
    if let Ok(path) = frugal(data.len(), || portable_path(text)) {
        path.split('/').for_each(is_safe);
        assert_eq!(portable_path(&path), Ok(path));
    }
}

/// Paths, one a line.
fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = |(at, path): (usize, &str)| ManifestFile {
        path: path.into(),
        size_bytes: if path.ends_with('!') { u64::MAX } else { at as u64 },
        hash: (at % 2 == 0).then(|| ContentHash::from_bytes([7; 32])),
    };
    let files: Vec<ManifestFile> = text.split('\n').enumerate().map(file).collect();
    match frugal(4 * data.len(), || Manifest::new(files)) {
        Ok(manifest) => {
            assert!(manifest.files().is_sorted_by(|a, b| a.path < b.path), "no path twice");
            assert!(
                manifest.files().iter().map(|file| file.path.len()).sum::<usize>() <= MAX_MANIFEST_PATH_BYTES
            );
            for file in manifest.files() {
                file.path.split('/').for_each(is_safe);
            }
            // No file is a folder of another.
            for pair in manifest.files().windows(2) {
                assert!(!pair[1].path.starts_with(&format!("{}/", pair[0].path)));
            }
            let mut reversed = manifest.files().to_vec();
            reversed.reverse();
            assert_eq!(Manifest::new(reversed), Ok(manifest), "in any order");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() <= 2 * 6 * 4096 + 200, "a refusal of {} bytes", text.len());
        }
    }
}

fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match frugal(data.len(), || Query::parse(text)) {
        Ok(query) => {
            assert_eq!(query.text(), text.trim());
            assert_eq!(Query::parse(query.text()).as_ref(), Ok(&query));
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            assert_eq!(
                Query::asked_at(text, now).as_ref().map(Query::text),
                Ok(text.trim()),
                "no span of time in it"
            );
        }
        Err(error) => {
            is_printable(&error.to_string());
            assert!(error.to_string().len() <= 1024);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            // What a person may type becomes what peers take.
            if let Ok(asked) = Query::asked_at(text, now) {
                assert!(asked.text().len() <= MAX_QUERY_BYTES);
                assert_eq!(Query::parse(asked.text()).as_ref(), Ok(&asked));
            }
        }
    }
    let folded = fold(text);
    assert_eq!(fold(&folded), folded, "folding twice changes nothing");
    assert!(words(&folded).all(|word| !word.is_empty()));
}

/// A query and a path, a line each: a summary of the path never rules out a query that the path answers.
fn query_match(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((query, path)) = text.split_once('\n') else { return };
    let Ok(query) = Query::parse(query) else { return };
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let answers = matches(&query, path, 1 << 20, time, query.hash().as_ref());
    let folded = fold(path);
    let mut keys = KeysOf::default();
    keys.add(words(&folded));
    let summary = Summary::of(&keys.finish().expect("a few words"));
    assert!(!answers || summary.may_answer(&Probe::of(&query)), "{query:?} was ruled out for {path:?}");
}

fn dial_address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match address("address", text) {
        Ok(address) => {
            let ip = address.ip().to_canonical();
            let is_link_local = match ip {
                std::net::IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
                std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
            };
            assert!(
                address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local,
                "{ip}"
            );
            assert_eq!(floodplain::wire::common::address("address", &address.to_string()), Ok(address));
        }
        Err(invalid) => is_fit_refusal(&invalid),
    }
}

/// Any text on a terminal, and in JSON on a terminal.
fn shown(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    is_printable(&text);
    let json = serde_json::to_string(&text).expect("JSON of a text");
    let safe = frugal(data.len(), || printable_json(&json).into_owned());
    is_printable(&safe);
    assert!(!safe.chars().any(char::is_control));
    assert_eq!(serde_json::from_str::<String>(&safe).expect("still JSON"), text);
}
