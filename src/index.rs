//! tmp
#[derive(Debug, Clone)]
pub struct Index;
impl Index {
    pub fn state(&self) -> crate::protocol::action::IndexState {
        Default::default()
    }
}
