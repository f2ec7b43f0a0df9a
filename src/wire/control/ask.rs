//! What a face asks, to and from the wire. Every bound of a request is here.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::{
        Invalid, bounded,
        common::{duration, to_duration},
        pb, required,
    },
    numbered,
};
use crate::protocol::{
    action::{
        Answer, GetAsk, PageAsk, PeerPath, Priority, PutAsk, PutContent, ReadAsk, Scope, SearchAsk, SendAsk,
        ShareFileAsk, SharedFile, Target, TransferControl, Unput, Which,
    },
    flood::MAX_TTL_PLUS_HOPS,
    id::ContentHash,
    name::{MAX_NAME_BYTES, MAX_PATH_BYTES, portable_name},
    placement::{DEFAULT_REPLICAS, MAX_REPLICAS},
    query::MAX_QUERY_BYTES,
};

/// Longest wait of one search. Between peers a query lives at most 60 s.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// The highest TTL, as between peers.
pub const MAX_TTL: u32 = MAX_TTL_PLUS_HOPS as u32;
/// Largest page of a folder, as between peers.
pub const MAX_PAGE_SIZE: u32 = 1000;
/// Longest page token.
pub const MAX_TOKEN_BYTES: usize = MAX_PATH_BYTES;
/// Longest reason told to a sender.
pub const MAX_REASON_BYTES: usize = 256;
/// Longest text that is put; more is a file.
pub const MAX_TEXT_BYTES: usize = 8 << 10;
/// Longest name of a peer or hexadecimal id.
const MAX_PEER_BYTES: usize = 64;

/// What a search asks.
pub fn search_ask(request: pb::StartSearchRequest) -> Result<SearchAsk, Invalid> {
    let scope = scope(request.scope)?;
    let ttl = match request.ttl {
        None => None,
        Some(ttl) => Some(
            u8::try_from(ttl)
                .ok()
                .filter(|_| (1..=MAX_TTL).contains(&ttl))
                .ok_or_else(|| Invalid::new("ttl", format!("must be 1 to {MAX_TTL}, not {ttl}")))?,
        ),
    };
    let wait = request.wait.map(|wait| duration("wait", wait, MAX_WAIT)).transpose()?;
    let text = bounded("text", request.text, MAX_QUERY_BYTES)?;
    if text.trim().is_empty() {
        return Err(Invalid::new("text", "must hold a word to search for"));
    }
    Ok(SearchAsk {
        text,
        scope,
        ttl,
        wait: wait.filter(|wait| !wait.is_zero()),
        want: Some(request.want).filter(|want| *want > 0),
    })
}

/// What a search asks, on its way out.
pub fn to_search_request(ask: &SearchAsk) -> pb::StartSearchRequest {
    pb::StartSearchRequest {
        text: ask.text.clone(),
        scope: to_scope(ask.scope).into(),
        ttl: ask.ttl.map(u32::from),
        wait: ask.wait.map(to_duration),
        want: ask.want.unwrap_or(0),
    }
}

pub(super) fn scope(scope: i32) -> Result<Scope, Invalid> {
    match pb::Scope::try_from(scope) {
        Ok(pb::Scope::Unspecified | pb::Scope::Mine) => Ok(Scope::Mine),
        Ok(pb::Scope::All) => Ok(Scope::All),
        Err(_) => Err(Invalid::new("scope", "must be SCOPE_MINE or SCOPE_ALL")),
    }
}

pub(super) fn to_scope(scope: Scope) -> pb::Scope {
    match scope {
        Scope::Mine => pb::Scope::Mine,
        Scope::All => pb::Scope::All,
    }
}

/// What a download asks.
pub fn get_ask(request: pb::StartGetRequest) -> Result<GetAsk, Invalid> {
    use pb::start_get_request::Target as Pb;
    let target = match required("target", request.target)? {
        Pb::ContentHash(hash) => by_hash(&hash)?,
        Pb::Path(path) => by_path(path)?,
        Pb::Hit(number) => Target::Hit(numbered("hit", number)?),
    };
    let destination = match request.destination.as_str() {
        "" => None,
        _ => Some(absolute("destination", request.destination)?),
    };
    let priority = priority("priority", request.priority)?;
    Ok(GetAsk { target, destination, priority, is_detached: request.is_detached })
}

/// What a download asks, on its way out.
pub fn to_get_request(ask: &GetAsk) -> Result<pb::StartGetRequest, Invalid> {
    use pb::start_get_request::Target as Pb;
    let target = match &ask.target {
        Target::Hash(hash) => Pb::ContentHash(hash.as_bytes().to_vec().into()),
        Target::Path(path) => Pb::Path(to_peer_path(path)),
        Target::Hit(number) => Pb::Hit(*number),
    };
    let destination = ask.destination.as_deref().map(|path| utf8("destination", path)).transpose()?;
    Ok(pb::StartGetRequest {
        target: Some(target),
        destination: destination.unwrap_or_default(),
        priority: to_priority(ask.priority).into(),
        is_detached: ask.is_detached,
    })
}

/// What to do with which transfers.
pub fn control_ask(request: pb::ControlTransfersRequest) -> Result<(Which, TransferControl), Invalid> {
    use pb::{TransferControl as Control, control_transfers_request::Which as Pb};
    let which = match required("which", request.which)? {
        Pb::Id(id) => Which::One(numbered("id", id)?),
        Pb::IsAll(true) => Which::All,
        Pb::IsAll(false) => return Err(Invalid::new("is_all", "must be true when it is set")),
    };
    let control = match Control::try_from(request.control) {
        Ok(Control::Pause) => TransferControl::Pause,
        Ok(Control::Resume) => TransferControl::Resume,
        Ok(Control::Cancel) => TransferControl::Cancel,
        Ok(Control::Retry) => TransferControl::Retry,
        Ok(Control::Priority) => TransferControl::Priority(priority("priority", request.priority)?),
        Ok(Control::Unspecified) | Err(_) => {
            return Err(Invalid::new("control", "is nothing that can be done"));
        }
    };
    Ok((which, control))
}

/// What to do with which transfers, on its way out.
pub fn to_control_request(which: Which, control: TransferControl) -> pb::ControlTransfersRequest {
    use pb::{TransferControl as Control, control_transfers_request::Which as Pb};
    let which = match which {
        Which::One(id) => Pb::Id(id),
        Which::All => Pb::IsAll(true),
    };
    let (control, priority) = match control {
        TransferControl::Pause => (Control::Pause, pb::Priority::Unspecified),
        TransferControl::Resume => (Control::Resume, pb::Priority::Unspecified),
        TransferControl::Cancel => (Control::Cancel, pb::Priority::Unspecified),
        TransferControl::Retry => (Control::Retry, pb::Priority::Unspecified),
        TransferControl::Priority(priority) => (Control::Priority, to_priority(priority)),
    };
    pb::ControlTransfersRequest { which: Some(which), control: control.into(), priority: priority.into() }
}

pub(super) fn priority(field: &'static str, priority: i32) -> Result<Priority, Invalid> {
    match pb::Priority::try_from(priority) {
        Ok(pb::Priority::Unspecified | pb::Priority::Normal) => Ok(Priority::Normal),
        Ok(pb::Priority::Low) => Ok(Priority::Low),
        Ok(pb::Priority::High) => Ok(Priority::High),
        Err(_) => Err(Invalid::new(field, "must be PRIORITY_LOW, PRIORITY_NORMAL or PRIORITY_HIGH")),
    }
}

pub(super) fn to_priority(priority: Priority) -> pb::Priority {
    match priority {
        Priority::Low => pb::Priority::Low,
        Priority::Normal => pb::Priority::Normal,
        Priority::High => pb::Priority::High,
    }
}

/// What a read asks.
pub fn read_ask(request: pb::StartReadRequest) -> Result<ReadAsk, Invalid> {
    use pb::start_read_request::Target as Pb;
    let target = match required("target", request.target)? {
        Pb::ContentHash(hash) => by_hash(&hash)?,
        Pb::Path(path) => by_path(path)?,
        Pb::Hit(number) => Target::Hit(numbered("hit", number)?),
    };
    if request.length == Some(0) {
        return Err(Invalid::new("length", "must be at least 1, or absent for the rest of the file"));
    }
    Ok(ReadAsk { target, offset: request.offset, length: request.length })
}

/// What a read asks, on its way out.
pub fn to_read_request(ask: &ReadAsk) -> pb::StartReadRequest {
    use pb::start_read_request::Target as Pb;
    let target = match &ask.target {
        Target::Hash(hash) => Pb::ContentHash(hash.as_bytes().to_vec().into()),
        Target::Path(path) => Pb::Path(to_peer_path(path)),
        Target::Hit(number) => Pb::Hit(*number),
    };
    pb::StartReadRequest { target: Some(target), offset: ask.offset, length: ask.length }
}

fn by_hash(hash: &[u8]) -> Result<Target, Invalid> {
    Ok(Target::Hash(ContentHash::try_from(hash).map_err(Invalid::id("content_hash"))?))
}

fn by_path(path: pb::PeerPath) -> Result<Target, Invalid> {
    let path = peer_path(Some(path))?;
    if path.path.is_empty() {
        return Err(Invalid::new("path.path", "must name a file"));
    }
    Ok(Target::Path(path))
}

/// What a push asks.
pub fn send_ask(request: pb::StartSendRequest) -> Result<SendAsk, Invalid> {
    Ok(SendAsk { path: absolute("path", request.path)?, peer: peer("peer", request.peer)? })
}

/// What a push asks, on its way out.
pub fn to_send_request(ask: &SendAsk) -> Result<pb::StartSendRequest, Invalid> {
    Ok(pb::StartSendRequest { path: utf8("path", &ask.path)?, peer: ask.peer.clone() })
}

/// What a put asks.
pub fn put_ask(request: pb::StartPutRequest) -> Result<PutAsk, Invalid> {
    use pb::start_put_request::Content as Pb;
    let content = match required("content", request.content)? {
        Pb::Path(path) => PutContent::Path(absolute("path", path)?),
        Pb::Text(text) => PutContent::Text(bounded("text", text, MAX_TEXT_BYTES)?),
    };
    let name = bounded("name", request.name, MAX_NAME_BYTES)?;
    let replicas = match usize::try_from(request.replicas) {
        Ok(0) => DEFAULT_REPLICAS,
        Ok(replicas) if replicas <= MAX_REPLICAS => replicas,
        _ => return Err(Invalid::new("replicas", format!("must be 1 to {MAX_REPLICAS}"))),
    };
    Ok(PutAsk { content, name: Some(name).filter(|name| !name.is_empty()), replicas })
}

/// What a put asks, on its way out.
pub fn to_put_request(ask: &PutAsk) -> Result<pb::StartPutRequest, Invalid> {
    use pb::start_put_request::Content as Pb;
    let content = match &ask.content {
        PutContent::Path(path) => Pb::Path(utf8("path", path)?),
        PutContent::Text(text) => Pb::Text(bounded("text", text.clone(), MAX_TEXT_BYTES)?),
    };
    Ok(pb::StartPutRequest {
        content: Some(content),
        name: ask.name.clone().unwrap_or_default(),
        replicas: u32::try_from(ask.replicas).unwrap_or(u32::MAX),
    })
}

/// What is to be taken back: a hash or a name.
pub fn unput_ask(request: pb::UnputRequest) -> Result<String, Invalid> {
    if request.target.is_empty() {
        return Err(Invalid::new("target", "must be a content hash or a name"));
    }
    bounded("target", request.target, MAX_NAME_BYTES)
}

/// What became of a content that was taken back.
pub fn unput(response: pb::UnputResponse) -> Result<Unput, Invalid> {
    let hash = ContentHash::try_from(&response.content_hash[..]).map_err(Invalid::id("content_hash"))?;
    let pb::UnputResponse { name, released_by, unreachable, .. } = response;
    Ok(Unput { hash, name, released_by, unreachable })
}

/// What became of a content that was taken back, on its way out.
pub fn to_unput(unput: Unput) -> pb::UnputResponse {
    let Unput { hash, name, released_by, unreachable } = unput;
    pb::UnputResponse { content_hash: hash.as_bytes().to_vec().into(), name, released_by, unreachable }
}

/// Which folder of which peer.
pub fn browse_ask(request: pb::BrowsePeerRequest) -> Result<(PeerPath, PageAsk), Invalid> {
    if request.page_size > MAX_PAGE_SIZE {
        return Err(Invalid::new("page_size", format!("must be at most {MAX_PAGE_SIZE}")));
    }
    let token = bounded("page_token", request.page_token, MAX_TOKEN_BYTES)?;
    let page = PageAsk {
        size: usize::try_from(request.page_size).expect("at most 1000"),
        token: Some(token).filter(|token| !token.is_empty()),
    };
    Ok((peer_path(request.path)?, page))
}

/// Which folder of which peer, on its way out. A page size above the largest becomes the largest.
pub fn to_browse_request(path: &PeerPath, page: &PageAsk) -> pb::BrowsePeerRequest {
    pb::BrowsePeerRequest {
        path: Some(to_peer_path(path)),
        page_size: u32::try_from(page.size).unwrap_or(u32::MAX).min(MAX_PAGE_SIZE),
        page_token: page.token.clone().unwrap_or_default(),
    }
}

/// The folder to offer.
pub fn add_share_ask(request: pb::AddShareRequest) -> Result<PathBuf, Invalid> {
    absolute("folder", request.folder)
}

/// The folder to offer, on its way out.
pub fn to_add_share_request(folder: &Path) -> Result<pb::AddShareRequest, Invalid> {
    Ok(pb::AddShareRequest { folder: utf8("folder", folder)? })
}

/// The file to take over.
pub fn share_file_ask(request: pb::ShareFileRequest) -> Result<ShareFileAsk, Invalid> {
    Ok(ShareFileAsk {
        path: absolute("path", request.path)?,
        name: portable_name(&request.name).map_err(|error| Invalid::new("name", error.to_string()))?,
    })
}

/// The file to take over, on its way out.
pub fn to_share_file_request(ask: &ShareFileAsk) -> Result<pb::ShareFileRequest, Invalid> {
    Ok(pb::ShareFileRequest { path: utf8("path", &ask.path)?, name: ask.name.clone() })
}

/// The file that was taken over.
pub fn shared_file(response: pb::ShareFileResponse) -> Result<SharedFile, Invalid> {
    Ok(SharedFile {
        hash: ContentHash::try_from(&response.content_hash[..]).map_err(Invalid::id("content_hash"))?,
        share: bounded("share", response.share, MAX_NAME_BYTES)?,
        path: bounded("path", response.path, MAX_PATH_BYTES)?,
        size_bytes: response.size_bytes,
        was_there: response.was_there,
    })
}

/// The file that was taken over, on its way out.
pub fn to_shared_file(shared: SharedFile) -> pb::ShareFileResponse {
    pb::ShareFileResponse {
        share: shared.share,
        path: shared.path,
        content_hash: shared.hash.as_bytes().to_vec().into(),
        size_bytes: shared.size_bytes,
        was_there: shared.was_there,
    }
}

/// The name of the share to take away.
pub fn remove_share_ask(request: pb::RemoveShareRequest) -> Result<String, Invalid> {
    if request.name.is_empty() {
        return Err(Invalid::new("name", "is empty"));
    }
    bounded("name", request.name, MAX_NAME_BYTES)
}

/// Which offer, and the answer to it.
pub fn answer(request: pb::AnswerOfferRequest) -> Result<(u64, Answer), Invalid> {
    let reason = bounded("reason", request.reason, MAX_REASON_BYTES)?;
    let answer = match pb::Answer::try_from(request.answer) {
        Ok(pb::Answer::Accept) => Answer::Accept,
        Ok(pb::Answer::Decline) => Answer::Decline(reason),
        Ok(pb::Answer::Trust) => Answer::Trust,
        Ok(pb::Answer::Unspecified) | Err(_) => {
            return Err(Invalid::new("answer", "must be ANSWER_ACCEPT, ANSWER_DECLINE or ANSWER_TRUST"));
        }
    };
    Ok((numbered("id", request.id)?, answer))
}

/// The answer to an offer, on its way out.
pub fn to_answer_request(id: u64, answer: Answer) -> pb::AnswerOfferRequest {
    let (answer, reason) = match answer {
        Answer::Accept => (pb::Answer::Accept, String::new()),
        Answer::Decline(reason) => (pb::Answer::Decline, reason),
        Answer::Trust => (pb::Answer::Trust, String::new()),
    };
    pb::AnswerOfferRequest { id, answer: answer.into(), reason }
}

fn peer(field: &'static str, peer: String) -> Result<String, Invalid> {
    if peer.is_empty() {
        return Err(Invalid::new(field, "must be the name of a peer or the beginning of its id"));
    }
    bounded(field, peer, MAX_PEER_BYTES)
}

fn peer_path(path: Option<pb::PeerPath>) -> Result<PeerPath, Invalid> {
    let path = required("path", path)?;
    Ok(PeerPath {
        peer: peer("path.peer", path.peer)?,
        path: bounded("path.path", path.path, MAX_PATH_BYTES)?,
    })
}

fn to_peer_path(path: &PeerPath) -> pb::PeerPath {
    pb::PeerPath { peer: path.peer.clone(), path: path.path.clone() }
}

fn absolute(field: &'static str, path: String) -> Result<PathBuf, Invalid> {
    let path = bounded(field, path, MAX_PATH_BYTES)?;
    if !path.starts_with('/') || path.contains('\0') {
        return Err(Invalid::new(field, "must be an absolute path"));
    }
    Ok(path.into())
}

fn utf8(field: &'static str, path: &Path) -> Result<String, Invalid> {
    path.to_str().map(Into::into).ok_or_else(|| Invalid::new(field, "must be a path in UTF-8"))
}
