//! What is said around moving folders: lists of files, packs of small ones, and a folder on its way to an inbox.

use bytes::Bytes;

use super::{Invalid, bounded, bytes, common, pb, required};
use crate::protocol::{
    action::FileInfo,
    id::ContentHash,
    manifest::{ManifestFile, SMALL_FILE_BYTES},
    name::MAX_PATH_BYTES,
};

/// Most files of a page, and how many there are when no number is asked for.
pub const PAGE_SIZES: (usize, usize) = (10_000, 1000);
/// Largest page, as its files are encoded.
pub const MAX_PAGE_BYTES: usize = 512 << 10;
/// Largest message taken from a holder: a page or a pack, its last file with all its fields, and their framing.
pub const MAX_FOLDER_MESSAGE_BYTES: usize = MAX_PAGE_BYTES + (16 << 10);
/// Most paths of a request, and their bytes together.
pub const MAX_MANY_PATHS: usize = 64;
/// See [`MAX_MANY_PATHS`].
pub const MAX_MANY_PATH_BYTES: usize = 16 << 10;
/// A pack is sent before it grows beyond this.
pub const PACK_BYTES: usize = 256 << 10;
/// Most files of a pack that is pushed.
pub const MAX_PACK_FILES: usize = 1024;
/// What a file takes in a message beside its path and its bytes: hash, size, time, framing.
pub const ENTRY_BYTES: usize = 96;
const MAX_TOKEN_BYTES: usize = 2 * MAX_PATH_BYTES;
const MAX_MESSAGE_BYTES: usize = 256;

/// Which files below a folder are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesAsk {
    /// `<share>` or `<share>/<folder>`.
    pub path: String,
    /// Most files.
    pub size: usize,
    /// From the last page.
    pub token: Option<String>,
}

/// Checks a request for the files below a folder.
pub fn files_ask(request: pb::ListFilesRequest) -> Result<FilesAsk, Invalid> {
    let path = shared_path("path", request.path)?;
    let (most, usual) = PAGE_SIZES;
    let size = match usize::try_from(request.page_size) {
        Ok(0) => usual,
        Ok(size) if size <= most => size,
        _ => return Err(Invalid::new("page_size", format!("must be at most {most}"))),
    };
    let token = bounded("page_token", request.page_token, MAX_TOKEN_BYTES)?;
    Ok(FilesAsk { path, size, token: (!token.is_empty()).then_some(token) })
}

/// The request for the largest page.
pub fn to_files_request(path: &str, token: Option<String>) -> pb::ListFilesRequest {
    let page_size = u32::try_from(PAGE_SIZES.0).expect("a small constant");
    pb::ListFilesRequest { path: path.into(), page_size, page_token: token.unwrap_or_default() }
}

/// A page on its way out.
pub fn to_files_page((files, next): (Vec<FileInfo>, Option<String>)) -> pb::ListFilesResponse {
    let files = files.iter().map(common::to_file_entry).collect();
    pb::ListFilesResponse { files, next_page_token: next.unwrap_or_default() }
}

/// Checks a page of the files below `folder`: those files, their paths below it, and where the next page begins.
pub fn files_page(
    folder: &str,
    response: pb::ListFilesResponse,
) -> Result<(Vec<ManifestFile>, Option<String>), Invalid> {
    if response.files.len() > PAGE_SIZES.0 {
        return Err(Invalid::new("files", format!("must be at most {}", PAGE_SIZES.0)));
    }
    let next = bounded("next_page_token", response.next_page_token, MAX_TOKEN_BYTES)?;
    let below = |file| {
        let FileInfo { hash, path, size_bytes, .. } = common::file_info(file)?;
        let below = path.strip_prefix(folder).and_then(|path| path.strip_prefix('/'));
        let below = below.ok_or_else(|| Invalid::new("files.path", "must lie below the folder"))?;
        Ok(ManifestFile { path: below.into(), size_bytes, hash })
    };
    let files = response.files.into_iter().map(below).collect::<Result<_, _>>()?;
    Ok((files, (!next.is_empty()).then_some(next)))
}

/// Checks the paths of the files that are wanted.
pub fn many_ask(request: pb::DownloadManyRequest) -> Result<Vec<String>, Invalid> {
    let total: usize = request.paths.iter().map(String::len).sum();
    if request.paths.is_empty() || request.paths.len() > MAX_MANY_PATHS || total > MAX_MANY_PATH_BYTES {
        let problem = format!("must be 1 to {MAX_MANY_PATHS}, at most {MAX_MANY_PATH_BYTES} bytes together");
        return Err(Invalid::new("paths", problem));
    }
    request.paths.into_iter().map(|path| shared_path("paths", path)).collect()
}

/// Requests for all these paths, as few as may be.
pub fn to_many_requests(paths: impl Iterator<Item = String>) -> Vec<pb::DownloadManyRequest> {
    let (mut requests, mut last, mut last_bytes) = (Vec::new(), Vec::new(), 0);
    for path in paths {
        if last.len() == MAX_MANY_PATHS || last_bytes + path.len() > MAX_MANY_PATH_BYTES {
            requests.push(pb::DownloadManyRequest { paths: std::mem::take(&mut last) });
            last_bytes = 0;
        }
        last_bytes += path.len();
        last.push(path);
    }
    if !last.is_empty() {
        requests.push(pb::DownloadManyRequest { paths: last });
    }
    requests
}

/// One of many files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downloaded {
    /// All of it.
    File {
        /// As its holder has it.
        info: FileInfo,
        /// As many as its size.
        data: Bytes,
    },
    /// The holder says why not.
    Failed(String),
}

/// Checks one of many files.
pub fn downloaded(item: pb::DownloadedFile) -> Result<Downloaded, Invalid> {
    if let Some(error) = item.error {
        let said: String = error.message.chars().take(MAX_MESSAGE_BYTES).collect();
        return Ok(Downloaded::Failed(said));
    }
    let info = common::file_info(required("file", item.file)?)?;
    if item.data.len() as u64 != info.size_bytes || info.size_bytes > SMALL_FILE_BYTES {
        return Err(Invalid::new("data", "must be as long as the file says, at most 262144 bytes"));
    }
    Ok(Downloaded::File { info, data: item.data })
}

/// One of many files on its way out, or why there is none.
pub fn to_downloaded(file: Result<(&FileInfo, Bytes), (tonic::Code, String)>) -> pb::DownloadedFile {
    match file {
        Ok((info, data)) => {
            pb::DownloadedFile { file: Some(common::to_file_entry(info)), data, ..Default::default() }
        }
        Err((code, message)) => {
            let code = u32::try_from(code as i32).unwrap_or_default();
            let error = Some(pb::DownloadError { code, message });
            pb::DownloadedFile { error, ..Default::default() }
        }
    }
}

/// One file of a folder that is pushed: what it is to be, and its first bytes.
pub fn sent_file(file: pb::SendFile) -> Result<(ManifestFile, Bytes), Invalid> {
    let hash =
        ContentHash::try_from(&file.content_hash[..]).map_err(Invalid::id("pack.files.content_hash"))?;
    let path = bounded("pack.files.path", file.path, MAX_PATH_BYTES)?;
    if file.data.len() as u64 > file.size_bytes {
        return Err(Invalid::new("pack.files.data", "must not be longer than the file"));
    }
    Ok((ManifestFile { path, size_bytes: file.size_bytes, hash: Some(hash) }, file.data))
}

/// One file of a folder on its way out.
pub fn to_sent_file(file: &ManifestFile, data: Bytes) -> pb::SendFile {
    pb::SendFile {
        path: file.path.clone(),
        size_bytes: file.size_bytes,
        content_hash: file.hash.map(|hash| bytes(hash.as_bytes())).unwrap_or_default(),
        data,
    }
}

fn shared_path(field: &'static str, path: String) -> Result<String, Invalid> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err(Invalid::new(field, "must be `<share>/<path>` without empty, `.` or `..` segments"));
    }
    bounded(field, path, MAX_PATH_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_packed_within_the_bounds_of_a_request() {
        let requests = to_many_requests((0..130).map(|n| format!("share/{n}")));
        assert_eq!(requests.iter().map(|r| r.paths.len()).collect::<Vec<_>>(), [64, 64, 2]);
        let long = to_many_requests((0..9).map(|n| format!("{n}/{}", "x".repeat(4000))));
        assert_eq!(long.iter().map(|r| r.paths.len()).collect::<Vec<_>>(), [4, 4, 1]);
        assert!(requests.into_iter().chain(long).all(|request| many_ask(request).is_ok()));
    }

    #[test]
    fn requests_out_of_bounds_are_refused() {
        let many = |paths: Vec<String>| many_ask(pb::DownloadManyRequest { paths });
        assert!(many(vec![]).is_err());
        assert!(many(vec!["a/b".into(); 65]).is_err());
        assert!(many(vec!["x".repeat(4096); 5]).is_err());
        for path in ["", "../x", "/etc/passwd", "a//b", "a\0b"] {
            assert!(many(vec![path.into()]).is_err(), "{path:?}");
            assert!(files_ask(pb::ListFilesRequest { path: path.into(), ..Default::default() }).is_err());
        }
        let page = pb::ListFilesRequest { path: "a".into(), page_size: 10_001, ..Default::default() };
        assert_eq!(files_ask(page).expect_err("refused").field, "page_size");
    }

    #[test]
    fn a_listed_file_outside_the_folder_or_a_lying_size_is_refused() {
        let file = |path: &str, size_bytes| pb::FileEntry {
            path: path.into(),
            size_bytes,
            modify_time: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        let page = |path| {
            let response = pb::ListFilesResponse { files: vec![file(path, 1)], ..Default::default() };
            files_page("share/docs", response)
        };
        assert_eq!(page("share/docs/a/b").expect("valid").0[0].path, "a/b");
        for path in ["share/docs2/a", "share/docs", "share/other", "share/docs/../../x", "/share/docs/a"] {
            assert!(page(path).is_err(), "{path}");
        }
        let item = |size, data: &'static [u8]| {
            let file = Some(file("share/docs/a", size));
            downloaded(pb::DownloadedFile { file, data: Bytes::from_static(data), ..Default::default() })
        };
        assert!(item(3, b"abc").is_ok());
        assert!(item(4, b"abc").is_err() && item(2, b"abc").is_err());
    }
}
