//! The text that a new peer joins with: `fp1:HOST:PORT/<authority's public key>/<token>`.
//!
//! Invariant: the token is a secret and is printed by [`Invite`]'s `Display` alone.

use std::{fmt, str::FromStr};

use rand::{Rng, RngExt};

use super::{PublicKey, base32, from_base32};

/// Longest invite that is read, in bytes; one for a host name of 253 bytes has 344.
const MAX_TEXT_BYTES: usize = 400;
const SCHEME: &str = "fp1:";
/// RFC 1035, section 2.3.4.
const MAX_HOST_BYTES: usize = 253;

/// Why a text is not an invite. Never repeats the text, which may hold a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an invite: {problem}; it looks like fp1:HOST:PORT/<key>/<token>")]
pub struct InvalidInvite {
    problem: &'static str,
}

/// 128 secret bits that let a peer in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 16]);

/// What is kept of a token: gives nothing away, and comparing it takes no time that tells of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl Token {
    /// Size in bytes.
    pub const SIZE: usize = 16;

    /// Drawn at random; `rng` must be one for secrets.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; Self::SIZE];
        rng.fill(&mut bytes);
        Self(bytes)
    }

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes, for the one message that carries them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// What the registry keeps.
    pub fn hash(&self) -> TokenHash {
        TokenHash(*blake3::hash(&self.0).as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

impl TokenHash {
    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What lets a peer into a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The registry, `HOST:PORT`; an IPv6 address in brackets.
    pub registry: String,
    /// The key that the registry proves to be of the network by.
    pub authority: PublicKey,
    /// The secret.
    pub token: Token,
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}/{}", self.registry, self.authority, base32(self.token.as_bytes()))
    }
}

impl FromStr for Invite {
    type Err = InvalidInvite;

    fn from_str(text: &str) -> Result<Self, InvalidInvite> {
        let because = |problem| InvalidInvite { problem };
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return Err(because("it is too long"));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| because("it does not begin with fp1:"))?;
        let mut parts = rest.split('/');
        let (Some(registry), Some(authority), Some(token), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(because("it does not have three parts"));
        };
        if !is_host_and_port(registry) {
            return Err(because("its first part is not HOST:PORT"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            authority: authority.parse().map_err(|_| because("its key is damaged"))?,
            token: from_base32(token).map(Token).ok_or_else(|| because("its token is damaged"))?,
        })
    }
}

/// A name or an address that can be looked up, and a port that can be dialed.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_name = |name: &str| {
        name.len() <= MAX_HOST_BYTES
            && name.split('.').all(|label| {
                !label.is_empty()
                    && label.len() <= 63
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            })
    };
    let is_v6 = |host: &str| {
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inside.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())
    };
    port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port != 0)
        && (is_name(host) || is_v6(host))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite(registry: &str) -> Invite {
        let authority = PublicKey::from_bytes([3; 32]);
        Invite { registry: registry.into(), authority, token: Token::from_bytes([9; 16]) }
    }

    #[test]
    fn an_invite_is_read_as_it_was_written() {
        for registry in ["10.0.0.1:7000", "lab.example:7000", "[fe80::1]:7000", "registry:1"] {
            let invite = invite(registry);
            assert_eq!(invite.to_string().parse(), Ok(invite.clone()));
            assert_eq!(format!("  {invite}\n").parse(), Ok(invite.clone()));
            assert_eq!(invite.to_string().replacen("fp1", "fp2", 1).parse::<Invite>().ok(), None);
            assert!(!format!("{invite:?}").contains(&base32(&[9; 16])), "a secret in a log");
        }
    }

    #[test]
    fn what_cannot_be_dialed_is_no_invite() {
        let good = invite("host:7000").to_string();
        for registry in [
            "host",
            "host:",
            "host:0",
            "host:70000",
            ":7000",
            "ho st:7000",
            "[::1:7000",
            "a..b:7000",
            "\u{1b}:1",
            "h:+7",
        ] {
            let bad = good.replacen("host:7000", registry, 1);
            assert!(bad.parse::<Invite>().is_err(), "{registry:?}");
        }
        let long = good.replacen("host", &"a.".repeat(200), 1);
        assert!(long.parse::<Invite>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,500}") {
            let _ = text.parse::<Invite>();
            let _ = format!("fp1:{text}").parse::<Invite>();
        }
    }
}
