//! What may be typed after `get` and `transfers`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::target;
use crate::protocol::action::{Priority, Target, Which};

/// Arguments of `get`.
#[derive(Debug, Clone, Args)]
pub struct GetArgs {
    /// A content hash, PEER:PATH, or the number of a hit of the last search
    #[arg(value_name = "HASH|PEER:PATH|HIT", value_parser = target)]
    pub target: Target,
    /// A folder to put it in, the file to make, or - for stdout; by default the peer's folder for downloads
    #[arg(short, long, value_name = "PATH|-")]
    pub output: Option<PathBuf>,
    /// Queue it and return at once; `transfers` tells how it goes
    #[arg(short, long)]
    pub detach: bool,
    /// Before or after the other downloads that wait: high, normal or low
    #[arg(long, value_name = "PRIORITY", default_value = "normal", value_parser = priority)]
    pub priority: Priority,
    /// With -o -: only these bytes, FIRST-LAST or FIRST-, counted from 0
    #[arg(long, value_name = "FIRST-LAST", value_parser = byte_range)]
    pub range: Option<ByteRange>,
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteRange {
    /// First byte.
    pub offset: u64,
    /// How many; `None` to the end.
    pub length: Option<u64>,
}

/// As in an HTTP `Range` header.
fn byte_range(text: &str) -> Result<ByteRange, String> {
    let wrong = || format!("`{text}` is not FIRST-LAST, such as 0-1023, or FIRST-");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let offset: u64 = first.parse().map_err(|_| wrong())?;
    let length = match last {
        "" => None,
        last => {
            let last: u64 = last.parse().map_err(|_| wrong())?;
            let length = last.checked_sub(offset).and_then(|length| length.checked_add(1));
            Some(length.ok_or_else(|| format!("`{text}` ends before it begins"))?)
        }
    };
    Ok(ByteRange { offset, length })
}

/// What to do with transfers.
#[derive(Debug, Clone, Subcommand)]
pub enum TransferAction {
    /// List them
    Ls,
    /// Stop a download and keep what it has
    Pause {
        /// Its number, or all
        #[arg(value_name = "ID|all", value_parser = which)]
        which: Which,
    },
    /// Let a paused download go on
    Resume {
        /// Its number, or all
        #[arg(value_name = "ID|all", value_parser = which)]
        which: Which,
    },
    /// Start a failed download again, under its number
    Retry {
        /// Its number, or all
        #[arg(value_name = "ID|all", value_parser = which)]
        which: Which,
    },
    /// End one for good; all spares uploads
    Cancel {
        /// Its number, or all
        #[arg(value_name = "ID|all", value_parser = which)]
        which: Which,
    },
    /// Let a download begin before or after the others that wait
    Priority {
        /// Its number, or all
        #[arg(value_name = "ID|all", value_parser = which)]
        which: Which,
        /// high, normal or low
        #[arg(value_parser = priority)]
        priority: Priority,
    },
}

fn which(text: &str) -> Result<Which, String> {
    match text.parse() {
        _ if text == "all" => Ok(Which::All),
        Ok(id) if id > 0 => Ok(Which::One(id)),
        _ => Err("must be a transfer's number, from 1, or all".into()),
    }
}

fn priority(text: &str) -> Result<Priority, String> {
    Priority::from_name(text).ok_or_else(|| "must be high, normal or low".into())
}
