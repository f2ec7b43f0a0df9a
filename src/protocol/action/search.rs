//! Searches: what is asked, what is found, and who was heard.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::protocol::{
    id::{ContentHash, PeerId, PeerName, ZoneId},
    query::Fit,
};

/// How far a search goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// The peer's own zone.
    #[default]
    Mine,
    /// Every zone that can be reached.
    All,
}

impl Scope {
    /// As typed after `--zones`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mine => "mine",
            Self::All => "all",
        }
    }
}

/// A search to start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchAsk {
    /// The query text.
    pub text: String,
    /// How far.
    pub scope: Scope,
    /// Set: classic flood with this TTL.
    pub ttl: Option<u8>,
    /// How long to wait; `None` means the peer's setting.
    pub wait: Option<Duration>,
    /// Stop after this many hits.
    pub want: Option<u32>,
}

/// One content and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Its number in this search, from 1.
    pub number: u32,
    /// The file, as the first holder has it.
    pub file: FileInfo,
    /// How well the best of its names answers.
    pub fit: Fit,
    /// This peer has it already.
    pub have: bool,
    /// Everyone who answered with it, in order of arrival.
    pub holders: Vec<Holder>,
}

impl Hit {
    /// Who has it, as every face tells it: each peer once, by its nearest answer.
    pub fn places(&self) -> String {
        let mut nearest: Vec<&Holder> = Vec::new();
        for holder in &self.holders {
            match nearest.iter_mut().find(|other| other.peer_id == holder.peer_id) {
                Some(other) if holder.hops < other.hops => *other = holder,
                Some(_) => {}
                None => nearest.push(holder),
            }
        }
        let places: Vec<String> = nearest.into_iter().map(ToString::to_string).collect();
        places.join(", ")
    }
}

/// One peer that has a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub peer: PeerName,
    /// Its id.
    pub peer_id: PeerId,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// Forwards between.
    pub hops: u8,
    /// The place in its line that a download would have got when it answered, from 1; 0: it would have begun at once.
    pub queue_place: u32,
    /// Where it has it: `<share>/<path>`.
    pub path: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hops = match self.hops {
            0 => "here".to_owned(),
            1 => "1 hop".to_owned(),
            hops => format!("{hops} hops"),
        };
        write!(f, "{} (", self.peer)?;
        if let Some(zone) = self.zone {
            write!(f, "zone {zone}, ")?;
        }
        f.write_str(&hops)?;
        match self.queue_place {
            0 => f.write_str(")"),
            place => write!(f, ", place {place} in its queue)"),
        }
    }
}

/// One shared file as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// `None` while it is still being hashed.
    pub hash: Option<ContentHash>,
    /// `<share>/<path>`, `/` between segments.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Last modification.
    pub modified: SystemTime,
}

impl FileInfo {
    /// The last segment of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Who was asked and who answered: sums over the zones in scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Peers that answered, the origin included: by a search of their index, or ahead by a summary that has nothing of it.
    pub answered: u32,
    /// Those of them that were not asked, since their summaries had answered.
    pub ruled_out: u32,
    /// Peers in scope.
    pub asked: u32,
    /// Peers that were tried and did not answer.
    pub unreachable: u32,
    /// Copies dropped by query caches.
    pub duplicates: u32,
    /// Search messages sent.
    pub messages: u32,
    /// Hits were left out because a bound was reached.
    pub truncated: bool,
    /// The zones in scope as far as known, in order of their ids.
    pub zones: Vec<ZoneCoverage>,
    /// Other zones are in scope, and neither a gateway nor the registry could tell which there are.
    pub are_zones_unknown: bool,
    /// When nothing was found: the query with known words in place of misspelt ones, best first, at most
    /// [`MAX_SUGGESTIONS`](crate::protocol::query::MAX_SUGGESTIONS).
    pub suggestions: Vec<String>,
}

/// Who answered in one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ZoneCoverage {
    /// Which; `None` is the own zone of a peer that is in none.
    pub zone: Option<ZoneId>,
    /// Its peers that answered, by a search or ahead by a summary; 0 when it was not reached or not asked.
    pub answered: u32,
    /// Those of them that were not asked.
    pub ruled_out: u32,
    /// Its peers; 0 when nobody could tell how many there are.
    pub asked: u32,
    /// Those that were tried and did not answer.
    pub unreachable: u32,
}

impl ZoneCoverage {
    /// Everyone in it answered.
    pub fn is_complete(&self) -> bool {
        self.answered > 0 && self.answered >= self.asked
    }
}

impl fmt::Display for ZoneCoverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.zone {
            Some(zone) => write!(f, "zone {zone}: ")?,
            None => f.write_str("no zone: ")?,
        }
        match (self.answered, self.asked) {
            (0, 0) => f.write_str("not heard"),
            (answered, asked) => {
                write!(f, "{answered} of {asked}")?;
                and_unreachable(f, self.unreachable)
            }
        }
    }
}

fn and_unreachable(f: &mut fmt::Formatter<'_>, unreachable: u32) -> fmt::Result {
    if unreachable > 0 { write!(f, ", {unreachable} unreachable") } else { Ok(()) }
}

/// Zones that a text tells one by one; of more it tells those that are not complete, as many at most.
const MAX_ZONES_SHOWN: usize = 8;

impl Coverage {
    /// The sum over these zones.
    #[must_use]
    pub fn over(self, zones: Vec<ZoneCoverage>) -> Self {
        let sum = |of: fn(&ZoneCoverage) -> u32| zones.iter().map(of).fold(0, u32::saturating_add);
        let (answered, asked) = (sum(|zone| zone.answered), sum(|zone| zone.asked));
        let (ruled_out, unreachable) = (sum(|zone| zone.ruled_out), sum(|zone| zone.unreachable));
        Self { answered, ruled_out, asked, unreachable, zones, ..self }
    }

    /// Everyone in scope answered and nothing was left out: an empty answer means that there is nothing.
    pub fn is_complete(&self) -> bool {
        self.answered >= self.asked
            && !self.truncated
            && !self.are_zones_unknown
            && self.zones.iter().all(ZoneCoverage::is_complete)
    }

    fn fmt_zones(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are_few = self.zones.len() <= MAX_ZONES_SHOWN;
        let incomplete = self.zones.iter().filter(|zone| !zone.is_complete()).count();
        if !are_few {
            write!(f, " ({} of {} zones completely", self.zones.len() - incomplete, self.zones.len())?;
        }
        let shown = self.zones.iter().filter(|zone| are_few || !zone.is_complete()).take(MAX_ZONES_SHOWN);
        for (at, zone) in shown.enumerate() {
            f.write_str(if are_few && at == 0 { " (" } else { ", " })?;
            write!(f, "{zone}")?;
        }
        if !are_few && incomplete > MAX_ZONES_SHOWN {
            f.write_str(", ...")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} answered", self.answered, self.asked)?;
        and_unreachable(f, self.unreachable)?;
        if self.zones.len() > 1 {
            self.fmt_zones(f)?;
        }
        if self.are_zones_unknown {
            f.write_str(", other zones could not be asked")?;
        }
        if self.truncated {
            f.write_str(", more hits were left out")?;
        }
        Ok(())
    }
}

/// What a running search tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchEvent {
    /// A new content, or one told before with more holders (the same number).
    Hit(Hit),
    /// The end.
    Done(Coverage),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(number: u32, answered: u32, asked: u32) -> ZoneCoverage {
        ZoneCoverage { zone: ZoneId::new(number), answered, asked, ..ZoneCoverage::default() }
    }

    #[test]
    fn a_peer_that_has_a_content_twice_is_told_once_by_its_nearest_answer() {
        let holder = |id: u8, name: &str, zone: Option<u32>, hops: u8| Holder {
            peer: PeerName::from_any(name),
            peer_id: PeerId::from_bytes([id; 32]),
            zone: zone.and_then(ZoneId::new),
            hops,
            queue_place: hops.saturating_sub(2).into(),
            path: "share/x".into(),
        };
        let hit = Hit {
            number: 1,
            file: FileInfo {
                hash: None,
                path: "share/x".into(),
                size_bytes: 1,
                modified: SystemTime::UNIX_EPOCH,
            },
            fit: Fit::Name,
            have: false,
            holders: vec![
                holder(1, "ana", Some(1), 2),
                holder(2, "bo", Some(2), 3),
                holder(1, "ana", Some(1), 1),
                holder(3, "me", None, 0),
            ],
        };
        assert_eq!(hit.places(), "ana (zone 1, 1 hop), bo (zone 2, 3 hops, place 1 in its queue), me (here)");
    }

    #[test]
    fn coverage_is_the_sum_of_its_zones_and_names_them_when_there_are_several() {
        let lost = ZoneCoverage { unreachable: 1, ruled_out: 2, ..zone(2, 7, 8) };
        let coverage = Coverage::default().over(vec![zone(1, 8, 8), lost]);
        assert_eq!((coverage.answered, coverage.asked), (15, 16));
        assert_eq!((coverage.unreachable, coverage.ruled_out), (1, 2));
        let text = "15 of 16 answered, 1 unreachable (zone 1: 8 of 8, zone 2: 7 of 8, 1 unreachable)";
        assert_eq!(coverage.to_string(), text);
        assert_eq!(Coverage::default().over(vec![zone(1, 8, 8)]).to_string(), "8 of 8 answered");
    }

    #[test]
    fn a_zone_that_nobody_heard_makes_an_answer_incomplete_even_when_its_size_is_unknown() {
        let coverage = Coverage::default().over(vec![zone(1, 8, 8), zone(2, 0, 0)]);
        assert!(!coverage.is_complete());
        assert_eq!(coverage.to_string(), "8 of 8 answered (zone 1: 8 of 8, zone 2: not heard)");
        let unknown = Coverage { are_zones_unknown: true, ..Coverage::default() }.over(vec![zone(1, 8, 8)]);
        assert!(!unknown.is_complete());
        assert_eq!(unknown.to_string(), "8 of 8 answered, other zones could not be asked");
        assert!(Coverage::default().over(vec![zone(1, 8, 8), zone(2, 1, 1)]).is_complete());
    }

    #[test]
    fn of_many_zones_a_text_names_those_that_are_not_complete() {
        let mut zones: Vec<ZoneCoverage> = (1..=100).map(|number| zone(number, 9, 9)).collect();
        zones[41].answered = 8;
        let coverage = Coverage::default().over(zones.clone());
        assert_eq!(coverage.to_string(), "899 of 900 answered (99 of 100 zones completely, zone 42: 8 of 9)");
        for zone in &mut zones {
            zone.answered = 1;
        }
        let text = Coverage::default().over(zones).to_string();
        assert!(text.ends_with("zone 8: 1 of 9, ...)") && text.len() < 300, "{text}");
    }
}
