//! Downloads that are to outlive the process: one small file each.
//!
//! Invariant: a job's file is whole or not there, whatever is killed when; at most [`MAX_JOBS`] are kept, and what
//! cannot be read is set aside, never deleted.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::protocol::{
    action::{ActionError, ErrorKind, HintCode, Priority},
    id::{ContentHash, PeerId},
};

/// Jobs that are kept.
pub const MAX_JOBS: usize = 1024;
/// Largest file of a job that is read: two paths of 4,096 bytes, escaped, and change.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// In the data folder.
const FOLDER: &str = "transfers";
const SUFFIX: &str = ".json";
/// Holds the highest number that was given to a transfer.
const LAST_ID: &str = "last-id";

/// What a job downloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobTarget {
    /// By content, from whoever has it.
    Hash(ContentHash),
    /// By place.
    Path {
        /// Whose.
        peer: PeerId,
        /// `<share>/<path>`.
        path: String,
    },
}

/// Where a job stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Waits, or was running.
    Queued,
    /// Until its person resumes it.
    Paused,
    /// Until its person tries again.
    Failed(ActionError),
}

/// A download that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The transfer's number.
    pub id: u64,
    /// What.
    pub what: JobTarget,
    /// Its name in a folder, once known.
    pub name: Option<String>,
    /// The folder to put it in, or the file to make.
    pub destination: PathBuf,
    /// The destination is a folder.
    pub is_folder: bool,
    /// It is known that a whole folder lies at the path.
    pub is_tree: bool,
    /// Of the whole folder that was about to get its name, which keeps it then.
    pub stage_inode: Option<u64>,
    /// Once known.
    pub size_bytes: Option<u64>,
    /// Verified so far when it was last written, to be shown; what counts is the part file.
    pub done_bytes: u64,
    /// Its place among the others.
    pub priority: Priority,
    /// Where it stands.
    pub state: JobState,
}

/// As it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    id: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    destination: PathBuf,
    #[serde(default)]
    is_folder: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_tree: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stage_inode: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    #[serde(default)]
    done_bytes: u64,
    priority: String,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<WrittenError>,
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenError {
    kind: String,
    message: String,
    hint: String,
    #[serde(default)]
    hint_code: Option<String>,
}

impl From<&Job> for Written {
    fn from(job: &Job) -> Self {
        let (hash, peer, path) = match &job.what {
            JobTarget::Hash(hash) => (Some(hash.to_string()), None, None),
            JobTarget::Path { peer, path } => (None, Some(peer.to_string()), Some(path.clone())),
        };
        let (state, error) = match &job.state {
            JobState::Queued => ("queued", None),
            JobState::Paused => ("paused", None),
            JobState::Failed(error) => ("failed", Some(error)),
        };
        Self {
            id: job.id,
            hash,
            peer,
            path,
            name: job.name.clone(),
            destination: job.destination.clone(),
            is_folder: job.is_folder,
            is_tree: job.is_tree,
            stage_inode: job.stage_inode,
            size_bytes: job.size_bytes,
            done_bytes: job.done_bytes,
            priority: job.priority.name().into(),
            state: state.into(),
            error: error.map(|error| WrittenError {
                kind: error.kind.name().into(),
                message: error.message.clone(),
                hint: error.hint.clone(),
                hint_code: error.hint_code.map(|code| code.name().to_owned()),
            }),
        }
    }
}

impl Written {
    fn into_job(self) -> Option<Job> {
        let what = match (self.hash, self.peer, self.path) {
            (Some(hash), None, None) => JobTarget::Hash(hash.parse().ok()?),
            (None, Some(peer), Some(path)) => JobTarget::Path { peer: peer.parse().ok()?, path },
            _ => return None,
        };
        (!self.is_tree || matches!(what, JobTarget::Path { .. })).then_some(())?;
        let state = match (self.state.as_str(), self.error) {
            ("queued", _) => JobState::Queued,
            ("paused", _) => JobState::Paused,
            ("failed", Some(error)) => JobState::Failed(ActionError {
                kind: ErrorKind::from_name(&error.kind),
                message: error.message,
                hint: error.hint,
                hint_code: error.hint_code.as_deref().and_then(HintCode::from_name),
            }),
            _ => return None,
        };
        (self.id > 0 && self.destination.is_absolute()).then_some(())?;
        Some(Job {
            id: self.id,
            what,
            name: self.name,
            destination: self.destination,
            is_folder: self.is_folder,
            is_tree: self.is_tree,
            stage_inode: self.stage_inode,
            size_bytes: self.size_bytes,
            done_bytes: self.done_bytes,
            priority: Priority::from_name(&self.priority)?,
            state,
        })
    }
}

impl Job {
    /// What the bytes of a file say.
    ///
    /// # Errors
    /// They are no job.
    pub fn from_json(bytes: &[u8]) -> io::Result<Self> {
        let written: Written = serde_json::from_slice(bytes)?;
        written.into_job().ok_or_else(|| io::Error::other("a field makes no sense"))
    }

    /// As its file says it.
    ///
    /// # Errors
    /// Its destination is not UTF-8.
    pub fn to_json(&self) -> io::Result<Vec<u8>> {
        Ok(serde_json::to_vec(&Written::from(self))?)
    }
}

/// The files of the jobs. All functions wait for the disk.
#[derive(Debug)]
pub struct Jobs {
    folder: PathBuf,
}

impl Jobs {
    /// The jobs of the data folder, in order of their ids, and the last id that was given. More than [`MAX_JOBS`] and
    /// what cannot be read are left out with a warning.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(data: &Path) -> Result<(Self, Vec<Job>, u64), StoreError> {
        let folder = data.join(FOLDER);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&folder).map_err(StoreError::io("make the folder", &folder))?;
        let mut jobs = Vec::new();
        let entries = fs::read_dir(&folder).map_err(StoreError::io("read the folder", &folder))?;
        for entry in entries {
            let path = entry.map_err(StoreError::io("read the folder", &folder))?.path();
            let Some(stem) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(SUFFIX)) else {
                continue;
            };
            match read(&path) {
                Ok(job) if job.id.to_string() == stem => jobs.push(job),
                Ok(_) => set_aside(&path, &"it bears another number than its name"),
                Err(error) => set_aside(&path, &error),
            }
        }
        jobs.sort_by_key(|job| job.id);
        if jobs.len() > MAX_JOBS {
            tracing::warn!(left_out = jobs.len() - MAX_JOBS, "too many downloads are kept");
            jobs.truncate(MAX_JOBS);
        }
        let written = fs::read_to_string(folder.join(LAST_ID)).ok();
        let written: u64 = written.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let last_id = jobs.last().map_or(0, |job| job.id).max(written);
        Ok((Self { folder }, jobs, last_id))
    }

    /// Writes a job in place of what was known of it, and on disk.
    ///
    /// # Errors
    /// It could not be written; what was known before is still there.
    pub fn keep(&self, job: &Job) -> Result<(), StoreError> {
        let path = self.path(job.id);
        let failed = |source| StoreError::io("write", &path)(source);
        let mut bytes = job.to_json().map_err(failed)?;
        bytes.push(b'\n');
        self.replace(&path, &bytes, true).map_err(failed)
    }

    /// Forgets a job that is done or cancelled.
    ///
    /// # Errors
    /// Its file could not be removed.
    pub fn forget(&self, id: u64) -> Result<(), StoreError> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Notes the highest number given so far. Survives the process, perhaps not the machine: it only keeps numbers from
    /// meaning two things.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep_last_id(&self, id: u64) -> Result<(), StoreError> {
        let path = self.folder.join(LAST_ID);
        self.replace(&path, format!("{id}\n").as_bytes(), false).map_err(StoreError::io("write", &path))
    }

    fn replace(&self, path: &Path, bytes: &[u8], is_durable: bool) -> io::Result<()> {
        let temporary = self.folder.join(".new");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        io::Write::write_all(&mut file, bytes)?;
        if is_durable {
            file.sync_data()?;
        }
        fs::rename(&temporary, path)?;
        if is_durable {
            fs::File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }

    fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id}{SUFFIX}"))
    }
}

fn read(path: &Path) -> io::Result<Job> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE_BYTES), &mut bytes)?;
    Job::from_json(&bytes)
}

/// Renames it, so that a person can look at it and the next start does not stumble.
fn set_aside(path: &Path, why: &dyn std::fmt::Display) {
    let aside = path.with_extension("unreadable");
    tracing::warn!(path = %path.display(), %why, aside = %aside.display(), "a kept download cannot be read");
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(path = %path.display(), %error, "could not set it aside");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: u64, state: JobState) -> Job {
        Job {
            id,
            what: JobTarget::Path { peer: PeerId::from_bytes([7; 32]), path: "docs/a \u{1b}\".pdf".into() },
            name: Some("a.pdf".into()),
            destination: "/srv/downloads".into(),
            is_folder: true,
            is_tree: true,
            stage_inode: Some(12),
            size_bytes: Some(10),
            done_bytes: 4,
            priority: Priority::High,
            state,
        }
    }

    #[test]
    fn jobs_come_back_as_they_were_and_ids_go_on() {
        let data = tempfile::tempdir().expect("a folder");
        let (jobs, before, last_id) = Jobs::open(data.path()).expect("opens");
        assert_eq!((before, last_id), (vec![], 0));
        let failed = JobState::Failed(
            ActionError::new(ErrorKind::Mismatch, "wrong").hint_as(HintCode::RetryTransfer, "again"),
        );
        let by_hash = Job {
            what: JobTarget::Hash(ContentHash::from_bytes([3; 32])),
            is_tree: false,
            size_bytes: None,
            name: None,
            ..job(10, JobState::Queued)
        };
        let all = vec![job(2, JobState::Paused), job(9, failed), by_hash];
        for job in &all {
            jobs.keep(job).expect("keeps");
        }
        jobs.keep(&job(11, JobState::Queued)).expect("keeps");
        jobs.forget(11).expect("forgets");
        jobs.forget(11).expect("is forgotten");
        assert_eq!(Jobs::open(data.path()).map(|(_, jobs, last)| (jobs, last)).expect("opens"), (all, 10));
        jobs.keep_last_id(40).expect("keeps");
        assert_eq!(Jobs::open(data.path()).expect("opens").2, 40);
    }

    #[test]
    fn what_cannot_be_read_is_set_aside() {
        let data = tempfile::tempdir().expect("a folder");
        let (jobs, ..) = Jobs::open(data.path()).expect("opens");
        jobs.keep(&job(1, JobState::Queued)).expect("keeps");
        let folder = data.path().join(FOLDER);
        fs::copy(folder.join("1.json"), folder.join("2.json")).expect("copies");
        fs::write(folder.join("3.json"), b"{\"id\":3").expect("writes");
        fs::write(folder.join("4.json"), vec![b' '; 1 << 20]).expect("writes");
        let text = fs::read_to_string(folder.join("1.json")).expect("reads");
        fs::write(folder.join("5.json"), text.replace("\"id\":1", "\"id\":5").replace("/srv", "srv"))
            .expect("writes");
        fs::write(folder.join(LAST_ID), "x").expect("writes");
        let (_, kept, last_id) = Jobs::open(data.path()).expect("opens");
        assert_eq!((kept.len(), last_id), (1, 1));
        for id in 2..=5 {
            assert!(folder.join(format!("{id}.unreadable")).exists(), "{id}");
        }
    }
}
