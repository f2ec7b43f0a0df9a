//! Private Ed25519 keys, and what is signed by them. Invariant: a private key leaves only as the text of a secret file.

use std::{fmt, path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow};
use data_encoding::BASE64;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::secret_file;
use crate::protocol::trust::PublicKey;

/// DER of an Ed25519 key in PKCS #8, version 1, up to its seed (RFC 8410, section 7).
const PKCS8_V1: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const SEED_BYTES: usize = 32;

/// A private Ed25519 key; cheap to clone.
#[derive(Clone)]
pub struct PrivateKey(Arc<KeyPair>);

impl PrivateKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate() -> Result<Self> {
        let pair = KeyPair::generate_for(&PKCS_ED25519).context("could not make a key")?;
        Ok(Self(Arc::new(pair)))
    }

    /// From PKCS #8 in PEM.
    ///
    /// # Errors
    /// When it is something else, or another kind of key. The error does not repeat the text.
    pub fn from_pem(pem: &str) -> Result<Self> {
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ED25519)
            .map_err(|_| anyhow!("not an Ed25519 key in PEM (PKCS #8)"))?;
        Ok(Self(Arc::new(pair)))
    }

    /// PKCS #8 in PEM: a secret. Of version 1, without the public key: OpenSSL 3.0, and what is built on it, reads no other.
    pub fn to_pem(&self) -> String {
        let der = self.0.serialize_der();
        let seed = der.get(PKCS8_V1.len()..PKCS8_V1.len() + SEED_BYTES);
        // The two versions differ in two bytes of this part, neither of them its length.
        let seed = seed.expect("PKCS #8 of an Ed25519 key begins with 16 bytes and its seed, of 32");
        let text = BASE64.encode(&[&PKCS8_V1[..], seed].concat());
        format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
    }

    /// From a secret file; made there when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, is no key, or can be read by others.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        if let Some(pem) = secret_file::load(path)? {
            return Self::from_pem(&pem).with_context(|| format!("{} is damaged", path.display()));
        }
        let key = Self::generate()?;
        secret_file::save(path, &key.to_pem())?;
        Ok(key)
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let bytes = <[u8; PublicKey::SIZE]>::try_from(self.0.der_bytes());
        PublicKey::from_bytes(bytes.expect("every constructor makes an Ed25519 key, which has 32 bytes"))
    }

    /// The Ed25519 signature of a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.0.sign(message).expect("signing with an Ed25519 key does not fail");
        <[u8; 64]>::try_from(&signature[..]).expect("an Ed25519 signature has 64 bytes")
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(super) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(secret)")
    }
}

/// The signature is of that message and by that key.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    webpki::aws_lc_rs::ED25519.verify_signature(key.as_bytes(), message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_message() {
        let (key, other) = (PrivateKey::generate().expect("a key"), PrivateKey::generate().expect("a key"));
        let signature = key.sign(b"let me in");
        assert!(verify(&key.public(), b"let me in", &signature));
        assert!(!verify(&key.public(), b"let me on", &signature));
        assert!(!verify(&other.public(), b"let me in", &signature));
    }

    #[test]
    fn a_key_is_kept_in_a_file_and_shown_nowhere() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        let key = PrivateKey::load_or_create(&path).expect("made");
        assert_eq!(PrivateKey::load_or_create(&path).expect("loaded").public(), key.public());
        assert_eq!(format!("{key:?}"), "PrivateKey(secret)");
        // What OpenSSL reads: version 1, and nothing behind the seed.
        let pem = key.to_pem();
        let der = BASE64.decode(pem.lines().nth(1).expect("one line").as_bytes()).expect("base 64");
        assert_eq!((&der[..16], der.len()), (&PKCS8_V1[..], 48));
        assert_eq!(PrivateKey::from_pem(&pem).expect("read again").public(), key.public());
        let p256 = KeyPair::generate().expect("a key").serialize_pem();
        assert!(PrivateKey::from_pem(&p256).is_err(), "another kind of key");
        let error = PrivateKey::from_pem(&key.to_pem()[..60]).expect_err("damaged");
        assert!(!format!("{error:?}").contains(&key.to_pem()[30..60]));
    }
}
