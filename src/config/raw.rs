//! Where values come from: flag, then environment, then `.env` file, then default. The process environment is only read.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fmt,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{table, value};
use crate::protocol::name::Printable;

/// Largest `.env` file that is read: a hundred times what a full one needs.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Most of a bad value that an error repeats, in characters.
const MAX_SHOWN: usize = 80;
/// What an error says in place of a secret.
const HIDDEN: &str = "(not shown)";

/// Why the program does not start with these settings. Nothing was changed anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A value is out of its bounds.
    #[error("{name}={}: {problem}", Shown(value))]
    Invalid {
        /// The key as it was written.
        name: String,
        /// The value as it was written.
        value: String,
        /// What would do.
        problem: String,
    },
    /// A key that begins like a setting and is none.
    #[error("{} ({origin}) is not a setting; the nearest is {nearest}", Shown(name))]
    Unknown {
        /// The key as it was written.
        name: String,
        /// Where.
        origin: Origin,
        /// The known key that differs least.
        nearest: &'static str,
    },
    /// The `.env` file cannot be read.
    #[error("{}: {problem}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// No data folder was named and there is no home folder to make one in.
    #[error(
        "FLOODPLAIN_DATA is not set and this user has no home folder; set it to a folder to keep state in"
    )]
    NoHome,
}

/// Text of unknown make, safe to print and not too long.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_SHOWN) {
            Some((cut, _)) => write!(f, "{}...", Printable(&self.0[..cut])),
            None => Printable(self.0).fmt(f),
        }
    }
}

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the process environment.
    Environment,
    /// In this file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Everything that settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// From the command line, by the setting's name.
    pub flags: Vec<(&'static str, String)>,
    /// The process environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The `.env` file that was asked for; it must exist.
    pub env_file: Option<PathBuf>,
    /// The working folder: home of `./.env`, and what relative paths are relative to.
    pub folder: PathBuf,
}

impl Sources {
    /// Of this process.
    ///
    /// # Errors
    /// When the working folder is gone.
    pub fn of_process(flags: Vec<(&'static str, String)>, env_file: Option<PathBuf>) -> io::Result<Self> {
        Ok(Self { flags, environment: env::vars_os().collect(), env_file, folder: env::current_dir()? })
    }
}

/// Values as they were written, each under a known name.
#[derive(Debug, Clone, Default)]
pub struct Raw {
    values: BTreeMap<&'static str, String>,
    old: BTreeMap<&'static str, String>,
    folder: PathBuf,
}

impl Raw {
    /// Collects what is set. An empty value counts as not set, so that compose files may pass settings through.
    ///
    /// # Errors
    /// An unknown `FLOODPLAIN_` key, a value that is not UTF-8, or a file that cannot be read.
    pub fn read(sources: &Sources) -> Result<Self, SettingsError> {
        let (raw, problems) = Self::read_all(sources);
        problems.into_iter().next().map_or(Ok(raw), Err)
    }

    /// As [`Self::read`], with everything that is wrong, and without what is.
    pub fn read_all(sources: &Sources) -> (Self, Vec<SettingsError>) {
        let (mut raw, mut problems) =
            (Self { folder: sources.folder.clone(), ..Self::default() }, Vec::new());
        // Least first: what comes later replaces.
        let file = sources.env_file.clone().unwrap_or_else(|| PathBuf::from(".env"));
        let path = sources.folder.join(&file);
        if sources.env_file.is_some() || path.symlink_metadata().is_ok() {
            let origin = Origin::File(file);
            let read = read_file(&path).map_err(|problem| SettingsError::File { path, problem });
            for (name, value) in read.unwrap_or_else(|problem| {
                problems.push(problem);
                Vec::new()
            }) {
                if let Some(old) = table::OLD_KEYS.iter().find(|old| **old == name) {
                    raw.old.insert(old, value);
                } else {
                    problems.extend(raw.set(&name, value, &origin).err());
                }
            }
        }
        for (name, value) in &sources.environment {
            let Some(name) = name.to_str().filter(|name| is_ours(name)) else { continue };
            let value = value.clone().into_string().map_err(|value| SettingsError::Invalid {
                name: name.to_owned(),
                value: if is_secret(name) { HIDDEN.into() } else { value.to_string_lossy().into_owned() },
                problem: "must be UTF-8 text".into(),
            });
            let set = value.and_then(|value| raw.set(name, value, &Origin::Environment));
            problems.extend(set.err());
        }
        for (name, value) in &sources.flags {
            problems.extend(raw.set(name, value.clone(), &Origin::Flag).err());
        }
        raw.values.retain(|_, value| !value.is_empty());
        raw.old.retain(|_, value| !value.is_empty());
        (raw, problems)
    }

    fn set(&mut self, name: &str, value: String, origin: &Origin) -> Result<(), SettingsError> {
        if let Some(setting) = table::known(name) {
            self.values.insert(setting.name, value);
        } else if is_ours(name) {
            let (name, nearest) = (name.to_owned(), table::nearest(name));
            return Err(SettingsError::Unknown { name, origin: origin.clone(), nearest });
        }
        Ok(())
    }

    /// Sets what is set nowhere: a default of one verb, behind flag, environment and file. A file of an older system sets
    /// all its own.
    pub fn set_default(&mut self, name: &'static str, value: &str) {
        if self.old.is_empty() {
            self.values.entry(name).or_insert_with(|| value.to_owned());
        }
    }

    /// The working folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keys of the systems before this one that are set.
    pub fn old_keys(&self) -> Vec<&'static str> {
        self.old.keys().copied().collect()
    }

    /// It is set somewhere.
    pub fn is_set(&self, name: &'static str) -> bool {
        self.values.contains_key(name)
    }

    /// What the setting is, or `None` where it is not set and has no fixed default.
    pub(super) fn parse<T>(
        &self,
        name: &'static str,
        parser: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        let default = table::known(name).map_or("", |setting| setting.default);
        match self.values.get(name).map_or(default, String::as_str) {
            "" => Ok(None),
            text => parser(text).map(Some).map_err(|problem| invalid(name, text, problem)),
        }
    }

    /// As [`Self::parse`], for a setting that always has a value.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        parser: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, SettingsError> {
        self.parse(name, parser)?.ok_or_else(|| invalid(name, "", "must be set".into()))
    }

    /// What an old key is.
    pub(super) fn parse_old<T>(
        &self,
        name: &'static str,
        parser: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(text) = self.old.get(name) else { return Ok(None) };
        parser(text).map(Some).map_err(|problem| invalid(name, text, problem))
    }

    /// Where a daemon listens, by its setting or by the pair of old keys before it.
    pub(super) fn listen(
        &self,
        name: &'static str,
        old_ip: &'static str,
        old_port: &'static str,
    ) -> Result<SocketAddr, SettingsError> {
        let mut address = self.required(name, value::listen)?;
        if !self.is_set(name) {
            if let Some(ip) = self.parse_old(old_ip, value::ip)? {
                address.set_ip(ip);
            }
            if let Some(port) = self.parse_old(old_port, value::port)? {
                address.set_port(port);
            }
        }
        Ok(address)
    }

    /// The data folder.
    ///
    /// # Errors
    /// When none is named and this user has no home folder.
    pub fn data(&self) -> Result<PathBuf, SettingsError> {
        match self.parse(table::DATA, |text| value::path(text, &self.folder))? {
            Some(folder) => Ok(folder),
            None => directories::BaseDirs::new()
                .map(|dirs| dirs.data_local_dir().join("floodplain"))
                .ok_or(SettingsError::NoHome),
        }
    }

    /// The daemons of these settings talk plaintext, on this machine only.
    ///
    /// # Errors
    /// When the setting is neither true nor false.
    pub fn is_plaintext(&self) -> Result<bool, SettingsError> {
        self.required(table::INSECURE_LOOPBACK, value::boolean)
    }

    /// Registries are announced and looked for on the local network.
    ///
    /// # Errors
    /// When the setting is neither true nor false.
    pub fn is_discovery_wanted(&self) -> Result<bool, SettingsError> {
        self.required(table::DISCOVERY, value::boolean)
    }
}

/// Refuses one value by its name.
pub(super) fn invalid(name: &str, value: impl fmt::Display, problem: String) -> SettingsError {
    let value = if is_secret(name) { HIDDEN.into() } else { value.to_string() };
    SettingsError::Invalid { name: name.to_owned(), value, problem }
}

fn is_secret(name: &str) -> bool {
    table::SECRETS.contains(&name)
}

fn is_ours(name: &str) -> bool {
    name.get(..table::PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(table::PREFIX))
}

/// Keys and values of a file, the last of several with one key last.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot be read as a settings file: {error}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err("is too large for a settings file".into());
    }
    // dotenvy takes a blank at the very end for an unfinished line.
    text.push('\n');
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    dotenvy::from_read_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|error| match error {
        dotenvy::Error::LineParse(line, _) => {
            let line = line.lines().next().unwrap_or_default();
            // Whatever it was meant for: a token is not repeated.
            let line = line.find("fp1:").map_or(line, |at| &line[..at]);
            format!(
                "cannot make sense of `{}`: a line is KEY=VALUE, a value with blanks in quotes",
                Shown(line)
            )
        }
        other => other.to_string(),
    })
}
