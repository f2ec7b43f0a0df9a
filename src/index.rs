//! tmp
use crate::protocol::{action::*, id::*, query::Query};
#[derive(Debug, Clone)]
pub struct Index;
impl Index {
    pub fn state(&self) -> IndexState {
        Default::default()
    }
    pub fn search(&self, _q: &Query, _l: usize) -> Vec<FileInfo> {
        vec![]
    }
    pub fn find_hash(&self, _h: &ContentHash) -> Option<FileInfo> {
        None
    }
    pub fn browse(&self, _p: &str, _page: &PageAsk) -> Result<FolderPage, String> {
        Ok(Default::default())
    }
}
