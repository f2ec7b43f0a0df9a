//! Logs: to stderr, or into a file where a console owns the terminal. No text from others reaches a terminal unescaped.

pub mod histogram;
pub mod level;
#[cfg(feature = "otlp")]
mod otlp;
pub mod service;
pub mod systemd;
pub mod trace;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, layer::SubscriberExt as _, registry::LookupSpan, reload,
};

use crate::{
    config::{LogFormat, LogSettings},
    protocol::name::{Printable, printable_json},
};

/// Crates that tell of every frame; heard from `warn` on unless a directive names them.
const NOISY: &str =
    "h2=warn,hyper=warn,hyper_util=warn,tower=warn,tonic=warn,notify=warn,notify_debouncer_full=warn";
/// A log file is set aside at this size, and the one set aside before it is dropped: twice this is the most on disk.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Where logs go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink<'a> {
    /// Standard error.
    Stderr,
    /// This file, appended to, readable by its owner alone; an old one is kept as `<name>.1`.
    File(&'a Path),
}

/// Starts logging for the whole process; once.
///
/// # Errors
/// When the file cannot be opened or logging was started before.
pub fn init(settings: &LogSettings, sink: Sink<'_>) -> anyhow::Result<()> {
    let target: Arc<Mutex<dyn Write + Send>> = match sink {
        Sink::Stderr => Arc::new(Mutex::new(io::stderr())),
        Sink::File(path) => Arc::new(Mutex::new(
            LogFile::open(path).with_context(|| format!("could not open the log file {}", path.display()))?,
        )),
    };
    let (filter, handle) = reload::Layer::new(directives(&settings.filter)?);
    let subscriber = Registry::default().with(lines(settings.format, target).with_filter(filter));
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(settings.otlp_endpoint.as_deref().map(otlp::layer).transpose()?);
    tracing::subscriber::set_global_default(subscriber).context("logging was started before")?;
    level::started(handle, &settings.filter);
    Ok(())
}

/// Sends what waits to be sent; to be called when nothing runs any more.
pub fn finish() {
    #[cfg(feature = "otlp")]
    otlp::finish();
}

/// What is logged, by a level or directives that were checked.
fn directives(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{NOISY},{filter}"))
}

fn lines<S>(format: LogFormat, target: Arc<Mutex<dyn Write + Send>>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let is_text = format == LogFormat::Text;
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || LineWriter { target: target.clone(), is_text });
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

/// Takes one event a write, which is how the formatter gives them, and escapes it.
struct LineWriter {
    /// The lock keeps lines whole; it is held for one write.
    target: Arc<Mutex<dyn Write + Send>>,
    is_text: bool,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_text {
            let text = String::from_utf8_lossy(line);
            let text = format!("{}\n", Printable(text.strip_suffix('\n').unwrap_or(&text)));
            target.write_all(text.as_bytes())?;
        } else {
            target.write_all(printable_json(&String::from_utf8_lossy(line)).as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.target.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// A file that is set aside when it is full.
struct LogFile {
    path: PathBuf,
    file: File,
    written_bytes: u64,
    max_bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let written_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, written_bytes, max_bytes: MAX_FILE_BYTES })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        if self.written_bytes > 0 && self.written_bytes + length > self.max_bytes {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
            *self = Self { max_bytes: self.max_bytes, ..Self::open(&self.path)? };
        }
        self.file.write_all(bytes)?;
        self.written_bytes += length;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(filter: &str, format: LogFormat, events: impl FnOnce()) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/peer.log");
        let target = Arc::new(Mutex::new(LogFile::open(&path).unwrap()));
        let lines = lines(format, target).with_filter(directives(filter).unwrap());
        tracing::subscriber::with_default(Registry::default().with(lines), events);
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn remote_text_is_escaped_whichever_way_it_is_logged() {
        let text = logged("info", LogFormat::Text, || {
            let name = "a\u{1b}[2J\n2026 ERROR forged\u{202e}";
            tracing::info!(peer = %name, "found {name}");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']) && text.contains("\\u{202e}"), "{text}");
    }

    #[test]
    fn noisy_crates_speak_from_warn_on_unless_they_are_named() {
        let events = || {
            tracing::debug!(target: "h2", "a frame");
            tracing::warn!(target: "h2", "a problem");
            tracing::debug!("ours");
        };
        let text = logged("debug", LogFormat::Text, events);
        assert!(!text.contains("a frame") && text.contains("a problem") && text.contains("ours"), "{text}");
        assert!(logged("debug,h2=trace", LogFormat::Text, events).contains("a frame"));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged("info", LogFormat::Json, || tracing::info!(peer = "ana\n", "joined"));
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((&line["message"], &line["peer"]), (&"joined".into(), &"ana\n".into()));
    }

    #[test]
    fn a_log_file_never_takes_more_than_twice_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.log");
        let mut file = LogFile { max_bytes: 100, ..LogFile::open(&path).unwrap() };
        for _ in 0..100 {
            file.write_all(&[b'x'; 30]).unwrap();
        }
        let sizes: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    }
}
