//! One saved search: which contents it has found, and which of them are news.
//!
//! Invariant: a content is news once, as long as it is remembered; what is remembered and what waits to be told is bounded.

use std::{
    collections::{HashSet, VecDeque},
    time::SystemTime,
};

use super::{
    action::{Hit, MAX_NEW_HIT_PEERS, NewHit, SaveAsk, Scope},
    hits::MAX_HITS,
    id::{ContentHash, PeerId, PeerName},
    query::{Query, QueryError},
};

/// Searches that are saved; one more is refused. Each is a flood every few minutes.
pub const MAX_SAVED: usize = 64;
/// Contents that one search remembers, as many as one search finds: those that it has not found for longest are forgotten,
/// and news again when they come back.
pub const MAX_KNOWN: usize = MAX_HITS;
/// News of one search that waits to be told; the oldest is dropped and counted.
pub const MAX_UNTOLD: usize = 100;

/// Why a search cannot be saved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSaved {
    /// The name will not do.
    #[error(
        "`{0}` cannot name a search: use 1 to 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both ends"
    )]
    Name(String),
    /// The text is no query.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// A saved search with what it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// What it is called; a name as peers have them, and so one that a file may have.
    pub name: String,
    /// The query text as typed.
    pub text: String,
    /// How far.
    pub scope: Scope,
    /// It has been asked once: what it finds from now on is news.
    pub has_begun: bool,
    /// The beginnings of the hashes found, 8 bytes each; those that were not found for longest come first.
    pub known: Vec<u64>,
    /// News that nobody was told, oldest first.
    pub untold: VecDeque<NewHit>,
    /// News that was dropped untold.
    pub dropped: u64,
}

/// That will do as a name.
pub fn is_name(name: &str) -> bool {
    name.parse::<PeerName>().is_ok()
}

fn short(hash: &ContentHash) -> u64 {
    let (beginning, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*beginning)
}

impl Saved {
    /// With nothing found yet. `now` is what spans of time in the text are tried with.
    ///
    /// # Errors
    /// The name or the text will not do.
    pub fn new(ask: SaveAsk, now: SystemTime) -> Result<Self, NotSaved> {
        if !is_name(&ask.name) {
            return Err(NotSaved::Name(ask.name.chars().take(64).collect()));
        }
        Query::asked_at(&ask.text, now)?;
        Ok(Self {
            name: ask.name,
            text: ask.text,
            scope: ask.scope,
            has_begun: false,
            known: Vec::new(),
            untold: VecDeque::new(),
            dropped: 0,
        })
    }

    /// Takes in what it found when it was asked; true when there is something to keep on disk. What the first time finds
    /// is known from then on, and no news. A file that is not hashed yet, or that `me` alone has, is passed over: it may be
    /// news later.
    pub fn take_in(&mut self, hits: &[Hit], me: &PeerId, now: SystemTime) -> bool {
        let before: HashSet<u64> = self.known.iter().copied().collect();
        let mut found = HashSet::new();
        let mut order = Vec::new();
        for hit in hits {
            let Some(hash) = hit.file.hash else { continue };
            if hit.holders.iter().all(|holder| holder.peer_id == *me) || !found.insert(short(&hash)) {
                continue;
            }
            order.push(short(&hash));
            if self.has_begun && !before.contains(&short(&hash)) {
                self.add_news(hit, me, now);
            }
        }
        let is_changed = !self.has_begun || order.iter().any(|known| !before.contains(known));
        self.has_begun = true;
        self.known.retain(|known| !found.contains(known));
        self.known.extend(order);
        self.known.drain(..self.known.len().saturating_sub(MAX_KNOWN));
        is_changed
    }

    fn add_news(&mut self, hit: &Hit, me: &PeerId, now: SystemTime) {
        let mut peers: Vec<String> = Vec::new();
        for holder in hit.holders.iter().filter(|holder| holder.peer_id != *me) {
            let name = holder.peer.to_string();
            if peers.len() < MAX_NEW_HIT_PEERS && !peers.contains(&name) {
                peers.push(name);
            }
        }
        if self.untold.len() >= MAX_UNTOLD {
            self.untold.pop_front();
            self.dropped += 1;
        }
        let news = NewHit { search: self.name.clone(), file: hit.file.clone(), peers, found: now };
        self.untold.push_back(news);
    }

    /// Takes out news to tell, oldest first, at most `most`.
    pub fn take_untold(&mut self, most: usize) -> impl Iterator<Item = NewHit> + use<'_> {
        let most = most.min(self.untold.len());
        self.untold.drain(..most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{
        action::{FileInfo, Holder},
        query::Fit,
    };

    const ME: PeerId = PeerId::from_bytes([9; 32]);

    fn saved() -> Saved {
        let ask = SaveAsk { name: "new-reports".into(), text: "report newer:7d".into(), scope: Scope::Mine };
        Saved::new(ask, SystemTime::UNIX_EPOCH).expect("saves")
    }

    fn hit(content: u32, holders: &[u8]) -> Hit {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&content.to_be_bytes());
        let holder = |byte: &u8| Holder {
            peer: PeerName::from_any(&format!("peer-{byte}")),
            peer_id: PeerId::from_bytes([*byte; 32]),
            zone: None,
            hops: 1,
            queue_place: 0,
            path: "d/report".into(),
        };
        let file = FileInfo {
            hash: Some(ContentHash::from_bytes(hash)),
            path: format!("d/report {content}"),
            size_bytes: 1,
            modified: SystemTime::UNIX_EPOCH,
        };
        Hit { number: 1, file, fit: Fit::Name, have: false, holders: holders.iter().map(holder).collect() }
    }

    fn take(saved: &mut Saved, hits: &[Hit]) -> (bool, Vec<String>) {
        let is_changed = saved.take_in(hits, &ME, SystemTime::UNIX_EPOCH);
        (is_changed, saved.take_untold(usize::MAX).map(|news| news.file.path).collect())
    }

    #[test]
    fn what_was_there_when_it_was_saved_is_no_news_and_what_comes_is_news_once() {
        let mut saved = saved();
        assert_eq!(take(&mut saved, &[hit(1, &[1])]), (true, vec![]));
        assert_eq!(take(&mut saved, &[hit(1, &[1, 2])]), (false, vec![]));
        assert_eq!(take(&mut saved, &[hit(2, &[1]), hit(1, &[1])]), (true, vec!["d/report 2".to_owned()]));
        assert_eq!(take(&mut saved, &[]), (false, vec![]));
        assert_eq!(take(&mut saved, &[hit(2, &[3]), hit(2, &[1])]), (false, vec![]));
    }

    #[test]
    fn what_only_this_peer_has_is_news_when_another_has_it() {
        let mut saved = saved();
        take(&mut saved, &[]);
        assert_eq!(take(&mut saved, &[hit(1, &[9])]), (false, vec![]));
        let unhashed = Hit { file: FileInfo { hash: None, ..hit(3, &[1]).file }, ..hit(3, &[1]) };
        assert_eq!(take(&mut saved, &[unhashed]), (false, vec![]));
        saved.take_in(&[hit(1, &[9, 4, 4, 5])], &ME, SystemTime::UNIX_EPOCH);
        let news: Vec<NewHit> = saved.take_untold(10).collect();
        assert_eq!(news[0].peers, ["peer-4", "peer-5"]);
    }

    #[test]
    fn what_waits_and_what_is_remembered_is_bounded() {
        let mut saved = saved();
        take(&mut saved, &[hit(0, &[1])]);
        let many: Vec<Hit> = (1..=u32::try_from(MAX_KNOWN).expect("fits")).map(|at| hit(at, &[1])).collect();
        assert!(saved.take_in(&many, &ME, SystemTime::UNIX_EPOCH));
        assert_eq!((saved.known.len(), saved.untold.len()), (MAX_KNOWN, MAX_UNTOLD));
        assert_eq!(saved.dropped, u64::try_from(MAX_KNOWN - MAX_UNTOLD).expect("fits"));
        assert_eq!(saved.untold[0].file.path, format!("d/report {}", MAX_KNOWN - MAX_UNTOLD + 1));
        assert_eq!(saved.take_untold(3).count(), 3);
        assert_eq!(saved.untold.len(), MAX_UNTOLD - 3);
        // The one that was not found for longest was forgotten.
        assert_eq!(take(&mut saved, &many).1.len(), MAX_UNTOLD - 3);
        assert_eq!(take(&mut saved, &[hit(0, &[1])]).1, ["d/report 0"]);
    }

    #[test]
    fn a_name_may_be_a_files_and_a_text_a_query() {
        let refused = |name: &str, text: &str| {
            let ask = SaveAsk { name: name.into(), text: text.into(), scope: Scope::All };
            Saved::new(ask, SystemTime::UNIX_EPOCH).expect_err("refused").to_string()
        };
        for name in ["", "..", "a/b", "-a", "a b", "é", &"x".repeat(64)] {
            assert!(refused(name, "x").contains("cannot name a search"), "{name}");
        }
        assert!(refused("a", "size:big").contains("size:>1M"));
    }

    proptest! {
        #[test]
        fn nothing_is_told_twice(runs in proptest::collection::vec(proptest::collection::vec(0u32..12, 0..8), 0..12)) {
            let mut saved = saved();
            let mut told = HashSet::new();
            let mut first = None;
            for contents in runs {
                let hits: Vec<Hit> = contents.iter().map(|content| hit(*content, &[1])).collect();
                let (_, news) = take(&mut saved, &hits);
                if first.is_none() {
                    first = Some(hits.iter().map(|hit| hit.file.path.clone()).collect::<HashSet<_>>());
                }
                for path in news {
                    prop_assert!(!first.as_ref().is_some_and(|first| first.contains(&path)));
                    prop_assert!(told.insert(path));
                }
            }
        }
    }
}
