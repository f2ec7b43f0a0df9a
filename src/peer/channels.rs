//! One connection per pair of peers for files, shared by the transfers that run between them (more connections to one
//! peer measured slower) and closed after the last.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tonic::transport::Channel;

use crate::net::{Forbidden, Purpose, To, Transport};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Channels {
    transport: Transport,
    // A std lock: held for one look-up. Bounded by the transfers that run, which hold the channels.
    open: Arc<Mutex<HashMap<To, Weak<Channel>>>>,
}

impl Channels {
    /// None open yet.
    pub fn new(transport: Transport) -> Self {
        Self { transport, open: Arc::default() }
    }

    /// The channel to a peer; connects at its first call. To be held while a transfer uses it.
    ///
    /// # Errors
    /// When the address is forbidden.
    pub fn to(&self, to: To) -> Result<Arc<Channel>, Forbidden> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = open.get(&to).and_then(Weak::upgrade) {
            return Ok(channel);
        }
        open.retain(|_, channel| channel.strong_count() > 0);
        let channel = Arc::new(self.transport.dial_lazily(to, Purpose::Transfer)?);
        open.insert(to, Arc::downgrade(&channel));
        Ok(channel)
    }
}
