//! Bodies of uploads on their way to an action that wants a file: in the gateway's folder, each until nobody needs it.
//!
//! Invariant: a spooled file is removed with the value that stands for it, and at the next start whatever a killed process
//! left; never more than [`MAX_UPLOADS`] at once, and the last of the disk's space is not taken.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rand::RngExt as _;
use tokio::{
    fs::File,
    io::AsyncWriteExt as _,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::problem::Problem;
use crate::{
    net::secret_file,
    protocol::{
        action::ErrorKind,
        name::{InvalidName, MAX_NAME_BYTES, portable_name, to_portable_name},
    },
    store::{SpaceWatch, StoreError, check_space},
};

/// Uploads at once, those included that are being sent on.
pub(super) const MAX_UPLOADS: usize = 8;
/// Between two pieces of a body.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The folder of uploads; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    folder: PathBuf,
    places: Arc<Semaphore>,
}

/// A file that is there until this is dropped.
#[derive(Debug)]
pub(super) struct Spooled {
    path: PathBuf,
    hash: blake3::Hash,
    _place: OwnedSemaphorePermit,
}

impl Spooled {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Of the request that brought it: a repetition has the same address and the same bytes.
    pub(super) fn fingerprint(&self, uri: &http::Uri) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(uri.to_string().as_bytes()).update(&[0]).update(self.hash.as_bytes());
        hasher.finalize()
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    let removed = fs::remove_file(path);
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "could not remove an upload");
    }
    // Where one was in a folder of its own, to have its name.
    if let Some(folder) = path.parent() {
        let _ = fs::remove_dir(folder);
    }
}

impl Spool {
    /// Makes the folder, and removes what an earlier run left in it. Blocks.
    ///
    /// # Errors
    /// When it cannot be made or emptied.
    pub(super) fn open(gateway: &Path) -> anyhow::Result<Self> {
        let folder = gateway.join("spool");
        if fs::symlink_metadata(&folder).is_ok() {
            fs::remove_dir_all(&folder)?;
        }
        secret_file::make_folder(&folder)?;
        Ok(Self { folder, places: Arc::new(Semaphore::new(MAX_UPLOADS)) })
    }

    /// Takes a body in under a name of no meaning.
    ///
    /// # Errors
    /// Too many uploads at once (503), no space (507), or the body broke off (400) or stalled (408). Nothing is left behind.
    pub(super) async fn take(&self, headers: &HeaderMap, body: Body) -> Result<Spooled, Problem> {
        self.take_as("upload", headers, body).await
    }

    /// Takes a body in under that name, which an action tells on.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) async fn take_as(
        &self,
        name: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Spooled, Problem> {
        let place = self.places.clone().try_acquire_owned();
        let place =
            place.map_err(|_| Problem::busy(format!("{MAX_UPLOADS} uploads are under way already")))?;
        if let Some(size) = length(headers)? {
            check_space(&self.folder, size).map_err(|error| stored(&error))?;
        }
        let own = self.folder.join(format!("{:032x}", rand::rng().random::<u128>()));
        let path = own.join(name);
        let made = async {
            tokio::fs::create_dir(&own).await?;
            File::options().write(true).create_new(true).mode(0o600).open(&path).await
        };
        let file = made.await.map_err(|error| stored(&StoreError::io("create", &path)(error)))?;
        // From here on it is removed by whatever way this ends.
        let mut spooled = Spooled { path, hash: blake3::Hash::from_bytes([0; 32]), _place: place };
        spooled.hash = self.fill(file, body, &spooled.path).await?;
        Ok(spooled)
    }

    async fn fill(&self, mut file: File, body: Body, path: &Path) -> Result<blake3::Hash, Problem> {
        let mut space = SpaceWatch::of(&self.folder);
        let mut hasher = blake3::Hasher::new();
        let mut pieces = body.into_data_stream();
        loop {
            let piece = match tokio::time::timeout(STALL_TIMEOUT, pieces.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(None) => break,
                Ok(Some(Err(_))) => {
                    return Err(Problem::usage("the body broke off").hint("send it again"));
                }
                Err(_) => {
                    let detail = format!("no byte came for {} s", STALL_TIMEOUT.as_secs());
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::TimedOut, detail)
                        .header(header::CONNECTION, HeaderValue::from_static("close")));
                }
            };
            hasher.update(&piece);
            file.write_all(&piece).await.map_err(|error| stored(&StoreError::io("write", path)(error)))?;
            space.wrote(piece.len()).map_err(|error| stored(&error))?;
        }
        file.flush().await.map_err(|error| stored(&StoreError::io("write", path)(error)))?;
        Ok(hasher.finalize())
    }
}

/// How long the body says that it is.
fn length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = length.to_str().ok().and_then(|length| length.parse().ok());
    length.map(Some).ok_or_else(|| Problem::usage("Content-Length: is not a number"))
}

fn stored(error: &StoreError) -> Problem {
    match error {
        StoreError::NoSpace { .. } => {
            Problem::new(StatusCode::INSUFFICIENT_STORAGE, ErrorKind::Refused, error.to_string())
                .hint("make room")
        }
        other => {
            tracing::warn!(error = %other, "an upload could not be stored");
            Problem::failed(other.to_string())
        }
    }
}

/// The name that a file from elsewhere gets: what file names may not hold everywhere is replaced. One that means another folder
/// is refused, and so is one that would have to be cut.
pub(super) fn taken_name(name: &str) -> Result<String, Problem> {
    match portable_name(name) {
        Ok(name) => Ok(name),
        Err(InvalidName::Empty | InvalidName::Traversal) => Err(Problem::usage("the name is none of a file")),
        Err(InvalidName::TooLong) => {
            Err(Problem::usage(format!("the name is longer than {MAX_NAME_BYTES} bytes")))
        }
        Err(_) if name.contains(['/', '\\', '\0']) => {
            Err(Problem::usage("the name holds a separator").hint("name the file alone, without folders"))
        }
        Err(_) => Ok(to_portable_name(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upload_is_gone_when_nobody_needs_it_and_at_the_next_start() {
        let gateway = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(gateway.path()).expect("opened");
        let none = HeaderMap::new();
        let spooled = spool.take_as("a #1.txt", &none, Body::from("bytes")).await.expect("taken");
        assert_eq!(fs::read(spooled.path()).expect("there"), b"bytes");
        assert!(spooled.path().ends_with("a #1.txt"));
        assert_eq!(spooled.hash, blake3::hash(b"bytes"));
        let path = spooled.path().to_path_buf();
        drop(spooled);
        assert!(!path.exists());
        assert_eq!(fs::read_dir(gateway.path().join("spool")).expect("there").count(), 0);
        std::mem::forget(spool.take(&none, Body::from("x")).await.expect("taken"));
        Spool::open(gateway.path()).expect("opened");
        assert_eq!(fs::read_dir(gateway.path().join("spool")).expect("there").count(), 0);
    }

    #[tokio::test]
    async fn uploads_are_bounded_in_number_and_by_the_disk() {
        let gateway = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(gateway.path()).expect("opened");
        let mut held = Vec::new();
        for _ in 0..MAX_UPLOADS {
            held.push(spool.take(&HeaderMap::new(), Body::empty()).await.expect("taken"));
        }
        let refused = spool.take(&HeaderMap::new(), Body::empty()).await.expect_err("full");
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        held.clear();
        let huge =
            HeaderMap::from_iter([(header::CONTENT_LENGTH, "9000000000000000000".parse().expect("a value"))]);
        let refused = spool.take(&huge, Body::empty()).await.expect_err("no space");
        assert_eq!(refused.status(), StatusCode::INSUFFICIENT_STORAGE);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_leaves_nothing() {
        let gateway = tempfile::tempdir().expect("a folder");
        let spool = Spool::open(gateway.path()).expect("opened");
        let pieces = futures::stream::iter([Ok("some"), Err(io::Error::other("gone"))]);
        assert!(spool.take(&HeaderMap::new(), Body::from_stream(pieces)).await.is_err());
        assert_eq!(fs::read_dir(gateway.path().join("spool")).expect("there").count(), 0);
    }

    #[test]
    fn names_are_made_portable_and_no_other_folder_is_meant() {
        for (name, taken) in [
            ("a #1 %20.txt", "a #1 %20.txt"),
            ("what? \"x\" <y>.txt", "what_ _x_ _y_.txt"),
            ("txt.\u{202e}exe", "txt._exe"),
        ] {
            assert_eq!(taken_name(name).expect("taken"), taken);
        }
        for name in ["", ".", "..", "../x", "a/b", "..\\x", "a\0", &"x".repeat(256)] {
            assert!(taken_name(name).is_err(), "{name:?}");
        }
    }
}
