//! The Unix socket in the data folder: one living daemon has it, and nobody but its owner can connect.

use std::{
    fs::{File, Permissions, TryLockError},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use tokio::net::{UnixListener, UnixSocket};

/// Longest path of a Unix socket: `sun_path` without its ending zero (unix(7); 104 bytes on BSD and macOS).
pub const MAX_SOCKET_PATH_BYTES: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// Connections that wait to be accepted; more are refused by the system.
const BACKLOG: u32 = 64;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process holds the lock beside it.
    #[error("another daemon runs with this data folder ({}); stop it, or choose another folder with --data", .0.display())]
    InUse(PathBuf),
    /// Longer than the system takes.
    #[error("the control socket's path {} has {} bytes, and the system takes {MAX_SOCKET_PATH_BYTES} at most; choose a data folder with a shorter path", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    /// There is something at its place that is no socket; it is left alone.
    #[error("{} is there and is no socket; move it away", .0.display())]
    NotASocket(PathBuf),
    /// Anything else.
    #[error("could not open the control socket {}", path.display())]
    Io {
        /// Of the socket or of the lock beside it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A control socket that listens. Dropping it removes the file and then gives up the lock.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the process lives, however it ends: this, not the socket file, tells whether a daemon runs.
    _lock: File,
}

impl ControlSocket {
    /// Listens at `path` with mode 0600. What a dead process left there is replaced; the lock file `<path>.lock` stays.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        if path.as_os_str().as_bytes().len() > MAX_SOCKET_PATH_BYTES {
            return Err(BindError::TooLong(path.into()));
        }
        let lock = lock(path)?;
        let failed = |source| BindError::Io { path: path.into(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.into())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Between bind and listen nobody can connect yet, so that the mode is set in time whatever the umask.
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, path: path.into(), _lock: lock })
    }

    /// What connections come from.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the control socket was gone already");
        }
    }
}

fn lock(socket: &Path) -> Result<File, BindError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |source| BindError::Io { path: path.clone(), source };
    let file =
        File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(BindError::InUse(socket.parent().unwrap_or(socket).to_path_buf()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_can_connect_and_the_file_goes_with_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
        ControlSocket::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_living_daemon_keeps_its_socket_and_a_dead_ones_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        // A listener that is dropped leaves its file, as a killed process does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let _living = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).unwrap_err();
        assert!(error.to_string().starts_with("another daemon runs with this data folder"), "{error}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_a_socket_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control.sock");
        std::fs::write(&file, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&file), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");

        let long = folder.path().join("x".repeat(MAX_SOCKET_PATH_BYTES));
        let error = ControlSocket::bind(&long).unwrap_err().to_string();
        assert!(error.contains("107 at most"), "{error}");
        assert!(ControlSocket::bind(&folder.path().join("absent/control.sock")).is_err());
    }
}
