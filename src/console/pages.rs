//! A folder of a peer's shares, page after page.
//!
//! Invariant: a peer whose folder never ends is not followed for ever.

use futures::{Stream, StreamExt, stream};

use crate::{
    peer::{Handle, handle::Outcome},
    protocol::action::{FolderPage, PageAsk, PeerPath},
};

/// Entries of a folder asked for at once, the most that a peer gives.
pub const PAGE_SIZE: usize = 1000;

/// At most so many pages, from the first one. There are more when the last that comes says where the next begins.
pub fn pages<'a>(
    peer: &'a Handle,
    path: &'a PeerPath,
    max_pages: usize,
) -> impl Stream<Item = Outcome<FolderPage>> + 'a {
    stream::try_unfold(Some(None), move |next: Option<Option<String>>| async move {
        let Some(token) = next else { return Ok(None) };
        let page = peer.browse(path.clone(), PageAsk { size: PAGE_SIZE, token }).await?;
        let next = page.next.clone().map(Some);
        Ok(Some((page, next)))
    })
    .take(max_pages)
}
