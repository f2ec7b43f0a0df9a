//! Files that hold secrets. Invariant: they are written whole or not at all, and read only while nobody but their owner can
//! read them.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, Result, bail};

/// Makes a folder for secrets, its parents too, for its owner alone. One that is there stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("could not make the data folder {}", folder.display()))
}

/// The text of such a file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, or others can read it.
pub fn load(path: &Path) -> Result<Option<String>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("could not read {}", path.display())),
    };
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{} can be read by others: run `chmod 600` on it", path.display());
    }
    Ok(Some(text))
}

/// Puts a text there, in place of what was there. After an error the file is as it was.
///
/// # Errors
/// When it cannot be written.
pub fn save(path: &Path, text: &str) -> Result<()> {
    replace(path, text).with_context(|| format!("could not write {}", path.display()))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    // One that an earlier run left may have had another mode.
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("secret");
        make_folder(path.parent().expect("a parent")).expect("made");
        assert_eq!(load(&path).expect("nothing there"), None);
        save(&path, "one").expect("written");
        save(&path, "two").expect("written");
        assert_eq!(load(&path).expect("read").as_deref(), Some("two"));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a parent"))), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        assert!(load(&path).expect_err("refused").to_string().contains("chmod 600"));
    }
}
