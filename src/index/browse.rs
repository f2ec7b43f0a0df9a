//! One page of one folder, folders first. A page token names the last entry told, so that a page stays where it is when the
//! folder changes between two pages.

use std::ops::Bound;

use super::{
    IndexError,
    files::{Entry, Files, below},
};
use crate::protocol::action::{FileInfo, FolderPage, PageAsk};

/// Entries on a page when none are asked for.
const PAGE: usize = 100;
/// Most entries on a page.
const PAGE_MAX: usize = 1000;

/// What a file takes in a page beside its path: hash, size, time and their framing.
const ENTRY_BYTES: usize = 96;

/// Lists a folder of the index; `shares` are the names told for the empty path.
pub(super) fn browse(
    files: &Files,
    shares: &[String],
    path: &str,
    page: &PageAsk,
) -> Result<FolderPage, IndexError> {
    let size = if page.size == 0 { PAGE } else { page.size.min(PAGE_MAX) };
    let (mut after_folder, mut after_file) = (None, None);
    match page.token.as_deref().map(|token| (token.get(..1), token.get(1..))) {
        None => {}
        Some((Some("d"), Some(name))) => after_folder = Some(name),
        Some((Some("f"), Some(name))) => after_file = Some(name),
        Some(_) => return Err(IndexError::BadPage),
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        let mut names: Vec<&String> =
            shares.iter().filter(|name| after_folder.is_none_or(|after| name.as_str() > after)).collect();
        names.sort_unstable();
        let has_more = names.len() > size;
        names.truncate(size);
        let next = names.last().filter(|_| has_more).map(|name| format!("d{name}"));
        return Ok(FolderPage { folders: names.into_iter().cloned().collect(), files: Vec::new(), next });
    }
    let (prefix, behind) = below(&path.replace('/', "\0"));
    let is_there =
        |from: &str| files.keys_from(Bound::Included(from)).next().is_some_and(|(key, _)| *key < *behind);
    if path.contains('\0') || !is_there(&prefix) && !shares.iter().any(|name| name == path) {
        return Err(IndexError::NotFound { path: path.into() });
    }

    let mut told = FolderPage::default();
    if after_file.is_none() {
        told.folders = folders(files, &prefix, &behind, after_folder, size + 1);
        if told.folders.len() > size {
            told.folders.truncate(size);
            told.next = told.folders.last().map(|name| format!("d{name}"));
            return Ok(told);
        }
    }
    let room = size - told.folders.len();
    let mut entries = entries(files, &prefix, &behind, after_file, room + 1);
    if entries.len() > room {
        entries.truncate(room);
        told.next = Some(match entries.last() {
            Some(entry) => format!("f{}", &entry.key()[prefix.len()..]),
            // Folders filled the page to the brim.
            None => "f".into(),
        });
    }
    told.files = entries.into_iter().map(Entry::info).collect();
    Ok(told)
}

/// Every file below a folder, in order of key, at most `most` and `most_bytes` of paths but one at least; and the token of
/// the next page, which is the last path told.
pub(super) fn below_folder(
    files: &Files,
    shares: &[String],
    path: &str,
    token: Option<&str>,
    (most, most_bytes): (usize, usize),
) -> Result<(Vec<FileInfo>, Option<String>), IndexError> {
    let path = path.trim_end_matches('/');
    let (prefix, behind) = below(&path.replace('/', "\0"));
    let is_there = files.keys_from(Bound::Included(&prefix)).next().is_some_and(|(key, _)| *key < *behind);
    if path.is_empty() || path.contains('\0') || !is_there && !shares.iter().any(|name| name == path) {
        return Err(IndexError::NotFound { path: path.into() });
    }
    let last = token.map(|token| token.replace('/', "\0"));
    let from = match &last {
        None => Bound::Included(prefix.as_str()),
        Some(last) if last.starts_with(&prefix) => Bound::Excluded(last.as_str()),
        Some(_) => return Err(IndexError::BadPage),
    };
    let (mut told, mut bytes) = (Vec::new(), 0);
    for (key, id) in files.keys_from(from).take_while(|(key, _)| *key < &*behind) {
        bytes += key.len() + ENTRY_BYTES;
        if told.len() == most || !told.is_empty() && bytes > most_bytes {
            let next = told.last().map(|file: &FileInfo| file.path.clone());
            return Ok((told, next));
        }
        told.extend(files.entry(id).map(Entry::info));
    }
    Ok((told, None))
}

fn folders(files: &Files, prefix: &str, behind: &str, after: Option<&str>, most: usize) -> Vec<String> {
    let mut names = Vec::new();
    let mut from = after.map_or_else(|| prefix.to_owned(), |name| below(&format!("{prefix}{name}")).1);
    while names.len() < most {
        let next = files
            .keys_from(Bound::Included(&from))
            .take_while(|(key, _)| *key < behind)
            .find_map(|(key, _)| Some(key[prefix.len()..].split_once('\0')?.0.to_owned()));
        let Some(name) = next else { break };
        // Past everything below it in one step.
        from = below(&format!("{prefix}{name}")).1;
        names.push(name);
    }
    names
}

fn entries<'a>(
    files: &'a Files,
    prefix: &str,
    behind: &str,
    after: Option<&str>,
    most: usize,
) -> Vec<&'a Entry> {
    let mut found = Vec::new();
    let mut from = Bound::Excluded(format!("{prefix}{}", after.unwrap_or_default()));
    while found.len() < most {
        let mut below_folder = None;
        for (key, id) in
            files.keys_from(from.as_ref().map(String::as_str)).take_while(|(key, _)| *key < behind)
        {
            if let Some((name, _)) = key[prefix.len()..].split_once('\0') {
                below_folder = Some(name.to_owned());
                break;
            }
            found.extend(files.entry(id));
            if found.len() >= most {
                break;
            }
        }
        let Some(name) = below_folder else { break };
        from = Bound::Included(below(&format!("{prefix}{name}")).1);
    }
    found
}
