//! Compares bytes with the hash that names them; the one place where a transfer decides that a file is right.

use std::{
    fs::File,
    io::{self, Read},
};

use super::StoreError;
use crate::protocol::id::ContentHash;

/// Hashed at a time when a file is read for its hash.
const READ_BYTES: usize = 256 << 10;

/// The hash of bytes as they come, in order.
#[derive(Debug, Clone, Default)]
pub struct Running(blake3::Hasher);

impl Running {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of everything so far.
    pub fn hash(&self) -> ContentHash {
        ContentHash::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// Nothing when they are the same.
///
/// # Errors
/// [`StoreError::Mismatch`].
pub fn compare(name: &str, expected: ContentHash, found: ContentHash) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    Err(StoreError::Mismatch { name: name.into(), expected, found })
}

/// Reads a file from where it stands to its end; its hash and how many bytes that were. Blocks. `go_on` is asked after
/// every 256 KiB with the bytes so far.
///
/// # Errors
/// Reading fails, or `go_on` said no (`Interrupted`).
pub fn hash_file(mut file: &File, mut go_on: impl FnMut(u64) -> bool) -> io::Result<(ContentHash, u64)> {
    let (mut hash, mut size_bytes) = (Running::default(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hash.hash(), size_bytes)),
            Ok(read) => {
                hash.update(&buffer[..read]);
                size_bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if !go_on(size_bytes) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}
