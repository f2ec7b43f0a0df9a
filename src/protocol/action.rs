//! The values that cross `peer::Handle`: what a face may ask of a peer, and what it gets.
//!
//! Console, command line, control service and web page all speak in these.

mod activity;
mod error;
mod file;
mod inbox;
mod peer;
mod saved;
mod search;
mod transfer;

pub use activity::{Activity, ActivityKind, MAX_ACTIVITY_ASKED, MAX_ACTIVITY_CHARS};
pub use error::{ActionError, ErrorKind};
pub use file::{
    GetAsk, PeerPath, PutAsk, PutContent, PutInfo, PutPage, ReadAsk, ReadEvent, SendAsk, ShareFileAsk,
    SharedFile, Target, Unput,
};
pub use inbox::{AcceptPolicy, Answer, InboxInfo, Offer};
pub use peer::{
    Connection, Counters, FolderPage, IndexState, Listing, PageAsk, PeerInfo, ShareInfo, ShareKind, Status,
    ZoneInfo,
};
pub use saved::{MAX_NEW_HIT_PEERS, NewHit, SaveAsk, SavedSearch};
pub use search::{Coverage, FileInfo, Hit, Holder, Scope, SearchAsk, SearchEvent, ZoneCoverage};
pub use transfer::{Direction, MAX_NOTE_CHARS, Priority, Transfer, TransferControl, TransferState, Which};
