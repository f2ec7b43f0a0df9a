//! Who may use a gateway: whoever can read its token file, and a browser that followed a link made of it.
//!
//! Invariant: the token never stands in an address or a page. A link holds a ticket that opens once and for ten minutes; a
//! cookie holds a session. Both are vouched for by a keyed hash under the token, so that a new token ends them all.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64URL_NOPAD;
use rand::RngExt as _;

use crate::net::secret_file;

/// How long a link can be followed.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a browser stays logged in.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Tickets remembered as used. Each is forgotten when it would be too old; above it no further one is taken until then.
const MAX_USED: usize = 1024;
/// Bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Bytes of a ticket's own.
const NONCE_BYTES: usize = 16;
/// Expiry, nonce and keyed hash.
const TICKET_BYTES: usize = 8 + NONCE_BYTES + 32;
/// Expiry and keyed hash.
const SESSION_BYTES: usize = 8 + 32;

/// The folder of a peer's gateway.
pub fn folder(data: &Path) -> PathBuf {
    data.join("gateway")
}

/// The folder of a registry's, which may have the same data folder as a peer.
pub fn registry_folder(data: &Path) -> PathBuf {
    data.join("registry-gateway")
}

/// Why a ticket opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not made with this token.
    #[error("this link was not made by this gateway")]
    Forged,
    /// Over ten minutes old, or from before the gateway started.
    #[error("this link is too old")]
    Expired,
    /// Followed before.
    #[error("this link was used already")]
    Used,
    /// Too many links at once.
    #[error("too many links were used within ten minutes")]
    Crowded,
}

/// The token and what is made of it.
#[derive(Debug)]
pub struct Token {
    text: String,
    ticket_key: [u8; 32],
    session_key: [u8; 32],
    started: u64,
    used: Mutex<HashMap<[u8; NONCE_BYTES], u64>>,
}

impl Token {
    /// The token of a gateway's folder; the folder and a new token are made when there is none. Blocks.
    ///
    /// # Errors
    /// When it cannot be read or written, others can read it, or it is no token.
    pub fn load_or_create(folder: &Path) -> Result<Self> {
        secret_file::make_folder(folder)?;
        if let Some(token) = Self::load(folder)? {
            return Ok(token);
        }
        let mut bytes = [0; TOKEN_BYTES];
        rand::rng().fill(&mut bytes);
        let text = BASE64URL_NOPAD.encode(&bytes);
        secret_file::save(&token_file(folder), &text)?;
        Ok(Self::of(text))
    }

    /// The token of a gateway's folder, if it has one. Blocks.
    ///
    /// # Errors
    /// As [`Self::load_or_create`].
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        let path = token_file(folder);
        let Some(text) = secret_file::load(&path)? else { return Ok(None) };
        let text = text.trim().to_owned();
        if BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|bytes| bytes.len() == TOKEN_BYTES) {
            return Ok(Some(Self::of(text)));
        }
        bail!("{} holds no token: delete it, and a new one is made at the next start", path.display())
    }

    fn of(text: String) -> Self {
        let key = |of: &str| blake3::derive_key(of, text.as_bytes());
        Self {
            ticket_key: key("floodplain 2026 gateway ticket"),
            session_key: key("floodplain 2026 gateway session"),
            started: seconds(SystemTime::now()),
            used: Mutex::default(),
            text,
        }
    }

    /// Whether this is the token.
    pub fn is(&self, text: &str) -> bool {
        // Hashes compare in constant time.
        blake3::hash(text.as_bytes()) == blake3::hash(self.text.as_bytes())
    }

    /// For a link that opens once.
    pub fn ticket(&self, now: SystemTime) -> String {
        let mut nonce = [0; NONCE_BYTES];
        rand::rng().fill(&mut nonce);
        let mut ticket = Vec::with_capacity(TICKET_BYTES);
        ticket.extend((seconds(now) + TICKET_LIFETIME.as_secs()).to_be_bytes());
        ticket.extend(nonce);
        let vouched = blake3::keyed_hash(&self.ticket_key, &ticket);
        ticket.extend(vouched.as_bytes());
        BASE64URL_NOPAD.encode(&ticket)
    }

    /// Uses a ticket up.
    ///
    /// # Errors
    /// When it opens nothing; it is as it was.
    pub fn redeem(&self, ticket: &str, now: SystemTime) -> Result<(), Refused> {
        let expiry = vouched(ticket, TICKET_BYTES, &self.ticket_key).ok_or(Refused::Forged)?;
        let now = seconds(now);
        let (expiry, nonce) = (seconds_of(&expiry), &expiry[8..]);
        // What was used before this start is forgotten, so that none from before it is taken.
        let made = expiry.saturating_sub(TICKET_LIFETIME.as_secs());
        if expiry < now || made < self.started {
            return Err(Refused::Expired);
        }
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| Refused::Forged)?;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|_, expiry| *expiry >= now);
        if used.contains_key(&nonce) {
            return Err(Refused::Used);
        }
        if used.len() >= MAX_USED {
            return Err(Refused::Crowded);
        }
        used.insert(nonce, expiry);
        Ok(())
    }

    /// What a cookie holds from now on.
    pub fn session(&self, now: SystemTime) -> String {
        let mut session = Vec::with_capacity(SESSION_BYTES);
        session.extend((seconds(now) + SESSION_LIFETIME.as_secs()).to_be_bytes());
        let vouched = blake3::keyed_hash(&self.session_key, &session);
        session.extend(vouched.as_bytes());
        BASE64URL_NOPAD.encode(&session)
    }

    /// Whether a cookie's value is a session that has not ended.
    pub fn is_session(&self, session: &str, now: SystemTime) -> bool {
        vouched(session, SESSION_BYTES, &self.session_key)
            .is_some_and(|body| seconds_of(&body) >= seconds(now))
    }
}

/// Where a gateway listens, as it wrote it down; `None` when none runs there.
///
/// # Errors
/// When the file cannot be read.
pub fn address(folder: &Path) -> Result<Option<String>> {
    let path = address_file(folder);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
    }
}

/// File that says where a gateway listens.
pub(super) fn address_file(folder: &Path) -> PathBuf {
    folder.join("address")
}

fn token_file(folder: &Path) -> PathBuf {
    folder.join("token")
}

/// The body of a text of that many bytes, when the keyed hash at its end is right.
fn vouched(text: &str, bytes: usize, key: &[u8; 32]) -> Option<Vec<u8>> {
    let mut body = BASE64URL_NOPAD.decode(text.as_bytes()).ok().filter(|body| body.len() == bytes)?;
    let end = body.split_off(bytes - 32);
    let shown = blake3::Hash::from_bytes(end.try_into().ok()?);
    (blake3::keyed_hash(key, &body) == shown).then_some(body)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn seconds_of(body: &[u8]) -> u64 {
    body.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_and_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().expect("a folder");
        let folder = folder(data.path());
        assert!(Token::load(&folder).expect("none yet").is_none());
        let token = Token::load_or_create(&folder).expect("made");
        assert_eq!(token.text.len(), 43);
        let again = Token::load_or_create(&folder).expect("read");
        assert!(again.is(&token.text) && !again.is("") && !again.is(&token.text[1..]));
        let mode = std::fs::metadata(token_file(&folder)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(token_file(&folder), "short").expect("written");
        assert!(Token::load(&folder).is_err());
    }

    #[test]
    fn a_link_opens_once_and_not_for_long() {
        let (token, other) = (Token::of("a".into()), Token::of("b".into()));
        let now = SystemTime::now();
        let ticket = token.ticket(now);
        assert_eq!(other.redeem(&ticket, now), Err(Refused::Forged));
        assert_eq!(
            token.redeem(&ticket, now + TICKET_LIFETIME + Duration::from_secs(2)),
            Err(Refused::Expired)
        );
        assert_eq!(token.redeem(&ticket, now), Ok(()));
        assert_eq!(token.redeem(&ticket, now), Err(Refused::Used));
        for bad in ["", "a", &ticket[1..], &format!("B{}", &ticket[1..])] {
            assert_eq!(token.redeem(bad, now), Err(Refused::Forged), "{bad}");
        }
        let before = token.ticket(now - Duration::from_secs(60));
        assert_eq!(token.redeem(&before, now), Err(Refused::Expired), "made before this start");
    }

    #[test]
    fn used_links_are_bounded_and_forgotten_only_when_too_old() {
        let token = Token::of("a".into());
        let now = SystemTime::now();
        for _ in 0..MAX_USED {
            assert_eq!(token.redeem(&token.ticket(now), now), Ok(()));
        }
        assert_eq!(token.redeem(&token.ticket(now), now), Err(Refused::Crowded));
        let later = now + TICKET_LIFETIME + Duration::from_secs(1);
        assert_eq!(token.redeem(&token.ticket(later), later), Ok(()));
    }

    #[test]
    fn a_session_ends_with_its_token_and_with_time() {
        let (token, other) = (Token::of("a".into()), Token::of("b".into()));
        let now = SystemTime::now();
        let session = token.session(now);
        assert!(token.is_session(&session, now) && !other.is_session(&session, now));
        assert!(!token.is_session(&session, now + SESSION_LIFETIME + Duration::from_secs(2)));
        assert!(!token.is_session(&token.ticket(now), now), "a ticket is no session");
    }
}
