//! Every secret that a data folder holds, and the ways in which a file or a log could show it.

// Shared by several tests as a module of each: nothing of it can be reached from elsewhere, and each uses its part.
#![allow(dead_code, missing_debug_implementations, unreachable_pub)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};

/// So many bytes of a secret tell it from chance.
const ENOUGH: usize = 8;
/// What is before the seed in the DER of a private key.
const PKCS8_HEADER: usize = 16;

pub struct Secret {
    pub what: &'static str,
    /// The one file where it may be, if there is one.
    pub home: Option<PathBuf>,
    shown: Vec<Vec<u8>>,
}

impl Secret {
    /// As bytes, as a list of numbers, escaped, in base 16, 32 and 64.
    pub fn of_bytes(what: &'static str, home: Option<&Path>, secret: &[u8]) -> Self {
        let beginning = &secret[..ENOUGH];
        let numbers: Vec<String> = beginning.iter().map(u8::to_string).collect();
        let mut shown: Vec<Vec<u8>> =
            [numbers.join(", "), numbers.join(","), beginning.escape_ascii().to_string()]
                .map(String::into_bytes)
                .into();
        shown.push(beginning.to_vec());
        let hex = HEXLOWER.encode(beginning);
        shown.extend([hex.to_ascii_uppercase().into(), hex.into()]);
        // Whole groups, so that what follows changes nothing: 10 bytes in base 32, 9 in base 64.
        let base32 = BASE32_NOPAD.encode(&secret[..10]);
        shown.extend([base32.to_ascii_lowercase().into(), base32.into()]);
        // Inside something longer it may begin at any of three places of a group.
        for skipped in 0..3 {
            shown.push(BASE64.encode(&secret[skipped..skipped + 9]).into());
        }
        Self { what, home: home.map(Path::to_path_buf), shown }
    }

    /// A private key, by its text in PEM: the line of it, and the seed that it holds.
    fn of_pem(what: &'static str, home: &Path, line: &str) -> Self {
        let der = BASE64.decode(line.as_bytes()).expect("base 64");
        let mut secret = Self::of_bytes(what, Some(home), &der[PKCS8_HEADER..]);
        // The first third is the same in all keys.
        secret.shown.push(line.as_bytes()[line.len() / 2..].to_vec());
        secret
    }

    /// The token of an invite.
    pub fn of_invite(invite: &str) -> Self {
        let token = invite.rsplit('/').next().expect("a token");
        let bytes = BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).expect("base 32");
        Self::of_bytes("the token of an invite", None, &bytes)
    }

    /// What is looked through goes through [`text`] first.
    pub fn is_in(&self, text: &str) -> bool {
        self.shown.iter().any(|part| text.contains(&self::text(part)))
    }
}

/// A letter for each byte: texts are looked through a hundred times faster than slices.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Private keys in PEM in a file, of whatever format.
pub fn keys(what: &'static str, file: &Path) -> Vec<Secret> {
    let bytes = fs::read(file).expect("reads");
    let text = String::from_utf8_lossy(&bytes);
    let after = text.split("-----BEGIN PRIVATE KEY-----\n").skip(1);
    after.map(|pem| Secret::of_pem(what, file, pem.lines().next().expect("a line"))).collect()
}

/// A peer's: its key or its credential, and the keys of what it put.
pub fn of_peer(data: &Path) -> Vec<Secret> {
    let (key, identity) = (data.join("network/key.pem"), data.join("identity"));
    let mut secrets = if key.exists() { keys("a peer's key", &key) } else { Vec::new() };
    if identity.exists() {
        let text = fs::read_to_string(&identity).expect("reads");
        secrets.push(Secret::of_bytes("a credential", Some(&identity), &from_hex(&text)));
    }
    for put in fs::read_dir(data.join("puts")).into_iter().flatten() {
        let path = put.expect("reads").path();
        let text = fs::read_to_string(&path).expect("reads");
        let put: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let key = from_hex(put["key"].as_str().expect("a key"));
        secrets.push(Secret::of_bytes("a key of a put", Some(&path), &key));
    }
    secrets
}

/// A registry's that has stopped: the keys of its authorities, and the leases that it gave.
pub fn of_registry(data: &Path) -> Vec<Secret> {
    let (authority, snapshot) = (data.join("authority"), data.join("registry.snapshot"));
    let mut secrets = if authority.exists() { keys("an authority's key", &authority) } else { Vec::new() };
    let saved = fs::read(&snapshot).expect("reads");
    let saved = floodplain::registry::store::encode::decode(&saved).expect("a snapshot");
    let lease = |text: &str| Secret::of_bytes("a lease", Some(&snapshot), &from_hex(text));
    secrets.extend(saved.peers.iter().map(|peer| lease(&peer.lease.reveal())));
    secrets
}

fn from_hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.trim().as_bytes()).expect("hexadecimal digits")
}
