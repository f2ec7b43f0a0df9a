//! What a peer put, as the control service tells of it.

use prost_types::Timestamp;

use super::{MAX_PAGE_SIZE, MAX_TOKEN_BYTES};
use crate::{
    protocol::{
        action::{PageAsk, PutInfo, PutPage},
        id::ContentHash,
        name::MAX_NAME_BYTES,
        placement::MAX_REPLICAS,
    },
    wire::{Invalid, bounded, common::time, pb},
};

/// Most keepers of one content: as many as are asked.
const MAX_KEEPERS: usize = 256;

/// Which page.
pub fn puts_ask(request: pb::GetPutsRequest) -> Result<PageAsk, Invalid> {
    if request.page_size > MAX_PAGE_SIZE {
        return Err(Invalid::new("page_size", format!("must be at most {MAX_PAGE_SIZE}")));
    }
    let token = bounded("page_token", request.page_token, MAX_TOKEN_BYTES)?;
    Ok(PageAsk {
        size: usize::try_from(request.page_size).expect("at most 1000"),
        token: Some(token).filter(|token| !token.is_empty()),
    })
}

/// Which page, on its way out. A page size above the largest becomes the largest.
pub fn to_puts_request(page: &PageAsk) -> pb::GetPutsRequest {
    pb::GetPutsRequest {
        page_size: u32::try_from(page.size).unwrap_or(u32::MAX).min(MAX_PAGE_SIZE),
        page_token: page.token.clone().unwrap_or_default(),
    }
}

/// One page.
pub fn put_page(response: pb::GetPutsResponse) -> Result<PutPage, Invalid> {
    let next = bounded("next_page_token", response.next_page_token, MAX_TOKEN_BYTES)?;
    Ok(PutPage {
        rows: response.puts.into_iter().map(put).collect::<Result<_, _>>()?,
        next: Some(next).filter(|token| !token.is_empty()),
    })
}

/// One page, on its way out.
pub fn to_put_page(page: PutPage) -> pb::GetPutsResponse {
    pb::GetPutsResponse {
        puts: page.rows.into_iter().map(to_put).collect(),
        next_page_token: page.next.unwrap_or_default(),
    }
}

fn put(put: pb::Put) -> Result<PutInfo, Invalid> {
    let replicas = usize::try_from(put.replicas).unwrap_or(usize::MAX);
    if !(1..=MAX_REPLICAS).contains(&replicas) {
        return Err(Invalid::new("put.replicas", format!("must be 1 to {MAX_REPLICAS}")));
    }
    let is_counted = usize::try_from(put.kept.unwrap_or(0)) == Ok(put.keepers.len());
    if !is_counted || put.keepers.len() > MAX_KEEPERS {
        return Err(Invalid::new("put.keepers", format!("must be `kept` names, at most {MAX_KEEPERS}")));
    }
    let keepers = put.keepers.into_iter().map(|name| bounded("put.keepers", name, MAX_NAME_BYTES));
    let keepers = keepers.collect::<Result<_, _>>()?;
    Ok(PutInfo {
        hash: ContentHash::try_from(&put.content_hash[..]).map_err(Invalid::id("put.content_hash"))?,
        name: bounded("put.name", put.name, MAX_NAME_BYTES)?,
        size_bytes: put.size_bytes,
        replicas,
        put_time: put.put_time.map(|at| time("put.put_time", at)).transpose()?,
        keepers: put.kept.map(|_| keepers),
    })
}

fn to_put(put: PutInfo) -> pb::Put {
    let kept = put.keepers.as_ref().map(|keepers| u32::try_from(keepers.len()).unwrap_or(u32::MAX));
    pb::Put {
        content_hash: put.hash.as_bytes().to_vec().into(),
        name: put.name,
        size_bytes: put.size_bytes,
        replicas: u32::try_from(put.replicas).unwrap_or(u32::MAX),
        kept,
        keepers: put.keepers.unwrap_or_default(),
        put_time: put.put_time.map(Timestamp::from),
    }
}
