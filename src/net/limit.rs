//! Admission: how much each other peer may have running here at once, so that one cannot crowd out the rest.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Why something is not let in now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// This one has its share running.
    #[error("too many at once from this peer")]
    Key,
    /// Everything together is at its bound.
    #[error("too many at once")]
    Total,
}

/// Counts what runs, per key and in all; cheap to clone.
#[derive(Debug)]
pub struct Admission<K: Eq + Hash> {
    // Held for a look-up and a count, never across an await.
    running: Arc<Mutex<Running<K>>>,
    per_key: usize,
    total: usize,
}

#[derive(Debug)]
struct Running<K> {
    by_key: HashMap<K, usize>,
    total: usize,
}

impl<K: Eq + Hash> Clone for Admission<K> {
    fn clone(&self) -> Self {
        Self { running: self.running.clone(), per_key: self.per_key, total: self.total }
    }
}

impl<K: Eq + Hash + Clone> Admission<K> {
    /// At most `per_key` at once for each key and `total` together.
    pub fn new(per_key: usize, total: usize) -> Self {
        Self { running: Arc::new(Mutex::new(Running { by_key: HashMap::new(), total: 0 })), per_key, total }
    }

    /// What runs now, over all keys.
    pub fn running(&self) -> usize {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Lets one in, until the permit is dropped.
    pub fn admit(&self, key: K) -> Result<Permit<K>, Full> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.total >= self.total {
            return Err(Full::Total);
        }
        let count = running.by_key.entry(key.clone()).or_default();
        if *count >= self.per_key {
            return Err(Full::Key);
        }
        *count += 1;
        running.total += 1;
        Ok(Permit { admission: self.clone(), key })
    }
}

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Permit<K: Eq + Hash> {
    admission: Admission<K>,
    key: K,
}

impl<K: Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut running = self.admission.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.total -= 1;
        if let Some(count) = running.by_key.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                running.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_the_room_of_the_others() {
        let admission = Admission::new(2, 3);
        let first = admission.admit("a").expect("room");
        let _second = admission.admit("a").expect("room");
        assert_eq!(admission.admit("a").expect_err("full"), Full::Key);
        let _third = admission.admit("b").expect("room");
        assert_eq!(admission.admit("c").expect_err("full"), Full::Total);
        assert_eq!(admission.running(), 3);
        drop(first);
        assert_eq!(admission.running(), 2);
        assert!(admission.admit("c").is_ok());
    }
}
