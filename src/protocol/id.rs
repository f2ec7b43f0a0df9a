//! Identifiers and names: what they look like, and the only ways to make them.

use std::{fmt, str::FromStr};

use rand::{Rng, RngExt};

/// Why a text or a byte string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidId {
    /// What was to be made of it.
    pub what: &'static str,
    /// What is wrong, as the end of a sentence that begins with `what`.
    pub problem: String,
}

impl InvalidId {
    pub(super) fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self { what, problem: problem.into() }
    }
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $size:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Size in bytes.
            pub const SIZE: usize = $size;

            /// From exactly its bytes.
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// Drawn at random.
            pub fn random(rng: &mut impl Rng) -> Self {
                let mut bytes = [0; $size];
                rng.fill(&mut bytes);
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = InvalidId;

            fn try_from(bytes: &[u8]) -> Result<Self, InvalidId> {
                <[u8; $size]>::try_from(bytes).map(Self).map_err(|_| {
                    InvalidId::new($what, format!("must be {} bytes, not {}", $size, bytes.len()))
                })
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let wrong = || InvalidId::new($what, format!("must be {} hexadecimal digits", 2 * $size));
                if text.len() != 2 * $size || !text.is_ascii() {
                    return Err(wrong());
                }
                let mut bytes = [0; $size];
                for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let high = char::from(digits[0]).to_digit(16).ok_or_else(wrong)?;
                    let low = char::from(digits[1]).to_digit(16).ok_or_else(wrong)?;
                    *byte = u8::try_from(high << 4 | low).expect("two hexadecimal digits fit a byte");
                }
                Ok(Self(bytes))
            }
        }
    };
}

/// What may be seen by anyone.
macro_rules! shown {
    ($($name:ident)+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("..)")
            }
        }
    )+};
}

/// What no log, message or debugger's line may tell: there is no `Display`.
macro_rules! secret {
    ($($name:ident)+) => {$(
        impl $name {
            /// Its digits, for the one file of its owner that keeps it.
            pub fn reveal(&self) -> String {
                self.0.iter().map(|byte| format!("{byte:02x}")).collect()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(secret)", stringify!($name))
            }
        }
    )+};
}

shown!(PeerId QueryId ContentHash OwnerTag);
secret!(LeaseId OwnerKey Credential);

byte_id! {
    /// Who a peer is, stable across restarts: the BLAKE3 hash of its [`Credential`]. The order of ids is the order of
    /// the zone's ring.
    PeerId, 32, "peer id"
}
byte_id! {
    /// One query on its way, drawn at random by its origin.
    QueryId, 16, "query id"
}
byte_id! {
    /// The BLAKE3 hash of a file's bytes: the identity of a file.
    ContentHash, 32, "content hash"
}
byte_id! {
    /// A grant of liveness; a secret between the registry and one incarnation of one peer.
    LeaseId, 16, "lease id"
}
byte_id! {
    /// The secret with which the one who put a content takes it back.
    OwnerKey, 32, "owner key"
}
byte_id! {
    /// The BLAKE3 hash of an [`OwnerKey`]: every replica carries it, and it gives nothing away.
    OwnerTag, 32, "owner tag"
}

impl OwnerKey {
    /// What the holders of a replica check the key against.
    pub fn tag(&self) -> OwnerTag {
        OwnerTag(*blake3::hash(&self.0).as_bytes())
    }
}

byte_id! {
    /// The secret whose BLAKE3 hash is a peer id; shown to the registry alone, to prove that the id is one's own.
    Credential, 32, "credential"
}

impl Credential {
    /// The id that this credential proves.
    pub fn peer_id(&self) -> PeerId {
        PeerId(*blake3::hash(&self.0).as_bytes())
    }
}

impl PeerId {
    /// First 8 bytes as a number: enough to tell the peers of one network apart in a coverage report. Two of 100,000
    /// random ids share theirs with a probability of 3e-10.
    pub fn short(&self) -> u64 {
        let (head, _) = self.0.split_first_chunk::<8>().expect("32 bytes hold 8");
        u64::from_be_bytes(*head)
    }
}

/// A zone's number, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(u32);

impl ZoneId {
    /// The lowest number.
    pub const FIRST: Self = Self(1);

    /// From 1; 0 is no zone.
    pub fn new(number: u32) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A peer's name: 1 to 63 ASCII letters, digits, `-`, `_` or `.`, beginning and ending with a letter or digit, so that
/// it is safe in a terminal, a URL and a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(String);

impl PeerName {
    /// Longest name, in bytes: that of a DNS label.
    pub const MAX_BYTES: usize = 63;

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to any text: for names of machines and users. Falls back to `peer`.
    pub fn from_any(text: &str) -> Self {
        let safe: String =
            text.chars().map(|c| if is_name_char(c) { c } else { '-' }).take(Self::MAX_BYTES).collect();
        let safe = safe.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        safe.parse().unwrap_or_else(|_| Self("peer".into()))
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

impl FromStr for PeerName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = |problem| Err(InvalidId::new("peer name", problem));
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return wrong("must have 1 to 63 characters");
        }
        if !text.chars().all(is_name_char) {
            return wrong("may hold letters, digits, `-`, `_` and `.` only");
        }
        let ends = [text.chars().next(), text.chars().next_back()];
        if !ends.iter().flatten().all(char::is_ascii_alphanumeric) {
            return wrong("must begin and end with a letter or a digit");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_way_through_text_and_bytes() {
        let id = PeerId::from_bytes(std::array::from_fn(|i| u8::try_from(i * 7).expect("below 256")));
        assert_eq!(id.to_string().parse::<PeerId>(), Ok(id));
        assert_eq!(PeerId::try_from(&id.as_bytes()[..]), Ok(id));
    }

    #[test]
    fn secrets_are_not_told_by_mistake() {
        let key = OwnerKey::from_bytes([0xab; 32]);
        assert_eq!(key.reveal().parse(), Ok(key));
        let lease = LeaseId::from_bytes([0xab; 16]);
        for told in [format!("{key:?}"), format!("{lease:#?}"), format!("{:?}", Some(Credential([0xab; 32])))]
        {
            assert!(told.contains("secret") && !told.contains("ab"), "{told}");
        }
        let wrong = "ab".repeat(33).parse::<Credential>().expect_err("too long");
        assert!(!wrong.to_string().contains("abab"), "{wrong}");
    }

    #[test]
    fn malformed_ids_are_refused() {
        assert!(PeerId::try_from(&[0u8; 31][..]).is_err());
        assert!("zz".repeat(32).parse::<PeerId>().is_err());
        assert!("é".repeat(32).parse::<PeerId>().is_err());
        assert!(ZoneId::new(0).is_none());
    }

    #[test]
    fn names_are_checked_and_made_from_anything() {
        for bad in ["", "-a", "a.", "a b", "a\u{1b}[2J", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?}");
        }
        assert_eq!(PeerName::from_any("Ana's laptop").as_str(), "Ana-s-laptop");
        assert_eq!(PeerName::from_any("///").as_str(), "peer");
    }
}
